//! One question over a runtime socket (HAProxy Management Guide, *9.3. Unix Socket commands*): a
//! line there, its answer, and the connection is over.

use std::io;
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::{Failure, FailureClass};
use stepback_provider::endpoint::Endpoint;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// How long a process may take to answer.
pub(super) const ANSWER_MS_MAX: u64 = 5_000;
/// What a backend of thousands of servers has to say of them.
const ANSWER_BYTES_MAX: u64 = 32 << 20;

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct NoAnswer {
    pub(super) failure: Failure,
    /// Whether the command may have been heard.
    pub(super) is_unknown: bool,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Ask a process, and hear all of its answer.
///
/// # Errors
/// Nobody listens there, or the connection broke; whether the command was heard by then is told.
pub(super) async fn ask(at: &Endpoint, command: &str, clock: &Clock) -> Result<String, NoAnswer> {
    let limit = Duration::from_millis(ANSWER_MS_MAX);
    let told =
        |is_unknown| move |error: io::Error| NoAnswer { failure: failure(at, &error), is_unknown };
    let late = |is_unknown| {
        let why = io::Error::new(io::ErrorKind::TimedOut, "it does not answer");
        NoAnswer { failure: failure(at, &why), is_unknown }
    };
    let connected = clock.timeout(limit, connect(at)).await;
    let mut stream = connected.map_err(|_| late(false))?.map_err(told(false))?;
    let exchange = async {
        stream.write_all(format!("{command}\n").as_bytes()).await?;
        // The master's socket answers until nothing more can come.
        stream.shutdown().await?;
        let mut answer = vec![];
        stream.take(ANSWER_BYTES_MAX + 1).read_to_end(&mut answer).await?;
        if answer.len() as u64 > ANSWER_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its answer has no end"));
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    clock.timeout(limit, exchange).await.map_err(|_| late(true))?.map_err(told(true))
}

async fn connect(at: &Endpoint) -> io::Result<Box<dyn Stream>> {
    match at {
        Endpoint::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
        Endpoint::Tcp(place) => Ok(Box::new(TcpStream::connect(place).await?)),
        Endpoint::Ssh(_) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "a runtime socket is reached over `unix://` or `tcp://`",
        )),
    }
}

fn failure(at: &Endpoint, error: &io::Error) -> Failure {
    let (class, help) = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            (FailureClass::Denied, ": this user may not write to its socket")
        }
        io::ErrorKind::Unsupported => (FailureClass::InvalidInput, ""),
        _ => (FailureClass::Transient, ""),
    };
    let message = format!("HAProxy at {at} can't be asked: {error}{help}");
    Failure::new(class, message).with_code("haproxy-unreachable")
}
