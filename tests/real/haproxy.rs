//! HAProxy, with what it sends traffic to.

use crate::parts::{self, Part};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// Whether it is here.
pub fn is_possible() -> bool {
    parts::has("haproxy", "haproxy")
}

/// An address of this machine that no other set of parts has.
pub fn address() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let (pid, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
    format!("127.{}.{}.{}", 64 + next % 64, (pid >> 8) % 256, pid % 254 + 1)
}

/// A process with its workers, which serves one pool.
pub struct HaProxy {
    part: Part,
    dir: PathBuf,
}

/// The slots of its backend `web`; `localhost` is this machine's name in every network.
const SLOTS: &str =
    "  server-template app 1-4 localhost:1 check disabled init-addr last,libc,none\n";

impl HaProxy {
    /// Start one in a directory of its own, that listens at an address, with the servers
    /// beside its slots.
    pub fn start(dir: &Path, bind: &str, servers: &str) -> Self {
        Self::start_with(dir, bind, &format!("{SLOTS}{servers}"))
    }

    /// The same with all of its servers.
    pub fn start_with(dir: &Path, bind: &str, servers: &str) -> Self {
        let shown = dir.display();
        let text = format!(
            "global\n  stats socket {shown}/admin.sock mode 600 level admin expose-fd listeners\n\
             \x20 server-state-base {shown}/state\n  maxconn 200\n\
             defaults\n  mode http\n  timeout connect 1s\n  timeout check 2s\n\
             \x20 timeout client 30s\n\
             \x20 timeout server 30s\n  timeout tunnel 1h\n  option redispatch 1\n  retries 3\n\
             \x20 retry-on conn-failure empty-response response-timeout\n\
             frontend f\n  bind {bind}\n  default_backend web\n\
             backend web\n  option httpchk GET /health\n  load-server-state-from-file local\n\
             \x20 http-request disable-l7-retry if !{{ method GET HEAD OPTIONS }}\n\
             \x20 default-server inter 100ms rise 2 fall 4\n{servers}"
        );
        Self::of(dir, &text)
    }

    /// One of a configuration whose sockets and state are in a directory.
    pub fn of(dir: &Path, text: &str) -> Self {
        std::fs::create_dir_all(dir.join("state")).expect("a directory");
        std::fs::write(dir.join("haproxy.cfg"), text).expect("it is written");
        let at = |name: &str| dir.join(name).display().to_string();
        let arguments =
            ["-W", "-S", &at("master.sock"), "-f", &at("haproxy.cfg")].map(str::to_owned);
        let part = Part::start("haproxy", &arguments, dir.join("haproxy.log"));
        let mut haproxy = Self { part, dir: dir.to_owned() };
        let (admin, master) = (dir.join("admin.sock"), dir.join("master.sock"));
        haproxy.part.until(|| ask(&admin, "show info").is_some() && master.exists());
        haproxy
    }

    pub fn admin(&self) -> PathBuf {
        self.dir.join("admin.sock")
    }

    pub fn master(&self) -> PathBuf {
        self.dir.join("master.sock")
    }

    /// What its backend loads when it starts.
    pub fn state_file(&self) -> PathBuf {
        self.dir.join("state/web")
    }

    /// Tell it something, and hear its answer.
    pub fn told(&self, command: &str) -> String {
        ask(&self.admin(), command).expect("it answers")
    }

    /// Read its configuration and its state anew: a worker takes the place of the one before.
    pub fn reload(&self) {
        let before = self.begin_a_reload();
        self.until_reloaded(&before);
    }

    /// Begin that; the worker which serves until then.
    pub fn begin_a_reload(&self) -> String {
        let before = self.worker().expect("it serves");
        ask(&self.master(), "reload");
        before
    }

    /// Wait until another worker serves.
    pub fn until_reloaded(&self, before: &str) {
        let until = std::time::Instant::now() + Duration::from_secs(20);
        while !self.is_reloaded(before) {
            assert!(std::time::Instant::now() < until, "it does not reload");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Whether another worker serves than this one.
    pub fn is_reloaded(&self, before: &str) -> bool {
        self.worker().is_some_and(|now| now != before)
    }

    /// The process that serves now.
    fn worker(&self) -> Option<String> {
        let told = ask(&self.admin(), "show info")?;
        told.lines().find_map(|line| line.strip_prefix("Pid: ").map(str::to_owned))
    }

    /// End it as a crash would.
    pub fn kill(&mut self) {
        self.part.kill();
    }
}

/// Ask over a socket of HAProxy's; nobody may be there.
fn ask(at: &Path, command: &str) -> Option<String> {
    let mut stream = std::os::unix::net::UnixStream::connect(at).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(format!("{command}\n").as_bytes()).ok()?;
    stream.shutdown(std::net::Shutdown::Write).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// A server that answers every request with its name, until it is dropped.
pub struct App {
    pub at: SocketAddr,
    is_over: Arc<AtomicBool>,
}

impl App {
    pub fn start(address: &str, port: u16, name: &'static str) -> Self {
        let listener = TcpListener::bind(format!("{address}:{port}")).expect("its port is free");
        let at = listener.local_addr().expect("an address");
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                std::thread::spawn(move || serve(stream, name));
            }
        });
        Self { at, is_over }
    }
}

/// Answer the requests of one connection; one to `/slow` takes a while.
fn serve(mut stream: TcpStream, name: &str) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
    let (mut buffer, mut read) = ([0; 4096], Vec::new());
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        read.extend_from_slice(&buffer[..count]);
        let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        if read.starts_with(b"GET /slow") {
            std::thread::sleep(Duration::from_millis(2_500));
        }
        read.drain(..end + 4);
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Its listener goes when the next connection comes.
        let _ = TcpStream::connect(self.at);
    }
}

/// What is answered at an address, and nothing where nobody serves.
pub fn get(at: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(at).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
}
