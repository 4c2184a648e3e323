//! moto's server as a stand-in for AWS: started on a free port of this machine, stopped by its
//! own process id when the last test that uses it is over.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// A server that does not answer after so many looks never will.
const LOOKS_MAX: u32 = 600;
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// Somebody else may take a free port before moto does.
const STARTS_MAX: u32 = 3;

pub struct Moto {
    child: Child,
    pub address: SocketAddr,
}

static SHARED: Mutex<Weak<Moto>> = Mutex::new(Weak::new());

fn program() -> PathBuf {
    // Whichever crate's tests ask, it is below the workspace.
    let mut above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let workspace = above.find(|dir| dir.join("Cargo.lock").is_file());
    let workspace = workspace.expect("a workspace has a lock file");
    let made = workspace.join("target/moto/bin/moto_server");
    let path = std::env::var_os("STEPBACK_MOTO").map_or(made, PathBuf::from);
    assert!(
        path.exists(),
        "moto's server is not at {}: run tests/moto.sh, or set STEPBACK_MOTO to a moto_server",
        path.display()
    );
    path
}

impl Moto {
    /// The server that all tests of this process share.
    pub fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let made = Arc::new(Self::start(&[]));
            *shared = Arc::downgrade(&made);
            made
        })
    }

    /// A server of a test's own.
    pub fn start(env: &[(&str, &str)]) -> Self {
        for _ in 0..STARTS_MAX {
            if let Some(moto) = Self::try_start(env) {
                return moto;
            }
        }
        panic!("moto's server ({}) does not start", program().display());
    }

    fn try_start(env: &[(&str, &str)]) -> Option<Self> {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new(program())
            .args(["-H", "127.0.0.1", "-p", &address.port().to_string()])
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut moto = Self { child, address };
        for _ in 0..LOOKS_MAX {
            if moto.child.try_wait().unwrap().is_some() {
                return None;
            }
            if TcpStream::connect(address).is_ok() {
                return Some(moto);
            }
            std::thread::sleep(LOOK_PAUSE);
        }
        None
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
