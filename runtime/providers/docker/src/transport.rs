//! Connections to engines on which no answer is longer than it may be: whoever took a host over
//! could fill the memory of all who ask it.
//!
//! A client of an engine reads whole answers, and whole messages of a stream, before it shows any.
//! So bytes are counted where they come in: since the last request on that connection, or of a
//! stream since the last message that was taken from it.

use super::errors::{RequestError, TooLong, told, too_long};
use super::ssh;
use bollard::errors::Error;
use bollard::{BollardRequest, ClientVersion, Docker as Client};
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use stepback_clock::Clock;
use stepback_provider::endpoint::Destination;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;
use tower_service::Service;

/// Of one answer, or one message of a stream. A thousand containers are listed in some 4 MiB.
pub(super) const ANSWER_BYTES_MAX: usize = 32 << 20;
/// Of one message of a stream: what a client of JSON lines does with one grows with its square.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// Where an engine listens, with what it takes to get there.
#[derive(Clone)]
pub(super) enum To {
    Unix(PathBuf),
    Tcp(String),
    Tls(String, Arc<ClientConfig>),
    Ssh(Destination, Clock),
}

/// What was heard on a stream since the last message was taken from it.
#[derive(Clone, Default)]
pub(super) struct Heard(Arc<AtomicUsize>);

impl Heard {
    /// A message was taken.
    pub(super) fn taken(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// What a stream of `what` failed with: whoever reads it is not told that it is too long.
    pub(super) fn told(&self, error: Error, what: &str) -> RequestError {
        match self.0.load(Ordering::Relaxed) > MESSAGE_BYTES_MAX {
            true => too_long(&TooLong(MESSAGE_BYTES_MAX), what),
            false => told(error, what),
        }
    }
}

/// A client, not connected yet: for answers, or with `heard` for one stream.
pub(super) fn client(
    to: To,
    heard: Option<Heard>,
    answer_s_max: u64,
    version: &ClientVersion,
) -> Result<Client, Error> {
    let address = match &to {
        To::Unix(path) if !path.exists() => {
            return Err(Error::SocketNotFoundError(path.display().to_string()));
        }
        // The name is only for the head of a request: the other end is the engine itself.
        To::Unix(_) | To::Ssh(..) => "http://docker".to_owned(),
        To::Tcp(at) => format!("http://{at}"),
        To::Tls(at, _) => format!("https://{at}"),
    };
    let mut builder = Http::builder(TokioExecutor::new());
    // Only a connection by SSH is dear enough to be kept.
    if !matches!(to, To::Ssh(..)) {
        builder.pool_max_idle_per_host(0);
    }
    let client = builder.build(Connector { to, heard });
    let transport = move |request: BollardRequest| {
        let asked = client.request(request);
        async move { asked.await.map_err(Error::from) }
    };
    Client::connect_with_custom_transport(transport, Some(address), answer_s_max, version)
}

#[derive(Clone)]
struct Connector {
    to: To,
    heard: Option<Heard>,
}

type Failed = Box<dyn std::error::Error + Send + Sync>;
type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, Failed>> + Send>>;

impl Service<http::Uri> for Connector {
    type Response = TokioIo<Bounded>;
    type Error = Failed;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, at: http::Uri) -> Self::Future {
        let (to, heard) = (self.to.clone(), self.heard.clone());
        let bytes_max = if heard.is_some() { MESSAGE_BYTES_MAX } else { ANSWER_BYTES_MAX };
        Box::pin(async move {
            let heard = heard.unwrap_or_default();
            let io = connected(to, at).await?;
            Ok(TokioIo::new(Bounded { io, heard, bytes_max }))
        })
    }
}

async fn connected(to: To, at: http::Uri) -> Result<Box<dyn Io>, Failed> {
    let name = at.host().map(|host| host.trim_matches(['[', ']']).to_owned());
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    Ok(match to {
        To::Unix(path) => Box::new(UnixStream::connect(path).await?),
        To::Tcp(_) => Box::new(tcp.call(at).await?.into_inner()),
        To::Tls(_, config) => {
            let name = ServerName::try_from(name.unwrap_or_default())?;
            let tcp = tcp.call(at).await?.into_inner();
            Box::new(TlsConnector::from(config).connect(name, tcp).await?)
        }
        To::Ssh(to, clock) => Box::new(ssh::connected(&to, &clock).await?),
    })
}

/// Both ways of a connection.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection on which no more is read than an answer has.
struct Bounded {
    io: Box<dyn Io>,
    heard: Heard,
    bytes_max: usize,
}

impl Connection for Bounded {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        let bytes = buffer.filled().len() - before;
        match self.heard.0.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) {
            all if all > self.bytes_max => {
                Poll::Ready(Err(io::Error::other(TooLong(self.bytes_max))))
            }
            _ => read,
        }
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // What comes now is another answer.
        self.heard.taken();
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::API_DEFAULT_VERSION;
    use bollard::query_parameters::LogsOptionsBuilder;
    use futures_util::StreamExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    /// An engine whose answers begin so and never end.
    fn endless(path: &std::path::Path, begin: &'static [u8]) {
        let listener = UnixListener::bind(path).expect("a socket");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let _ = stream.read(&mut [0; 4096]).await;
                    let head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n";
                    let mut sent = stream.write_all(&[head, begin].concat()).await;
                    while sent.is_ok() {
                        sent = stream.write_all(&[b'x'; 1 << 16]).await;
                    }
                });
            }
        });
    }

    #[tokio::test]
    async fn an_answer_without_end_is_no_answer() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("socket");
        endless(&path, b"{\"Id\":\"");
        let client = client(To::Unix(path), None, 20, API_DEFAULT_VERSION).expect("a client");
        let error = client.inspect_container("app", None).await.expect_err("it has no end");
        let told = told(error, "container `app` on i-1");
        assert!(told.is_unknown() && !told.failure.is_retryable(), "{told:?}");
        assert_eq!(told.failure.code.as_deref(), Some("too-large"));
        assert!(told.failure.message.contains("more than 33554432 bytes"), "{told:?}");
    }

    /// A line of a container with a terminal, and a frame of one without.
    #[tokio::test]
    async fn a_message_without_end_is_none() {
        for begin in [&b"x"[..], b"\x01\0\0\0\xff\xff\xff\xff"] {
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join("socket");
            endless(&path, begin);
            let heard = Heard::default();
            let client = client(To::Unix(path), Some(heard.clone()), 20, API_DEFAULT_VERSION);
            let client = client.expect("a client");
            let options = LogsOptionsBuilder::new().stdout(true).build();
            let first = Box::pin(client.logs("app", Some(options))).next().await;
            let error = first.expect("an end").expect_err("it has no end");
            let told = heard.told(error, "the log");
            assert!(told.failure.message.contains("more than 4194304 bytes"), "{told:?}");
        }
    }

    #[tokio::test]
    async fn a_stream_of_short_messages_may_be_as_long_as_it_likes() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path).expect("a socket");
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a guest");
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            let frame = [&b"\x01\0\0\0\0\0\x40\0"[..], &[b'x'; 1 << 14]].concat();
            for _ in 0..2 * MESSAGE_BYTES_MAX / frame.len() {
                let _ = stream.write_all(&frame).await;
            }
        });
        let heard = Heard::default();
        let client = client(To::Unix(path), Some(heard.clone()), 20, API_DEFAULT_VERSION);
        let client = client.expect("a client");
        let options = LogsOptionsBuilder::new().stdout(true).build();
        let mut chunks = Box::pin(client.logs("app", Some(options)));
        let mut bytes = 0;
        while let Some(chunk) = chunks.next().await {
            bytes += chunk.expect("it is short").into_bytes().len();
            heard.taken();
        }
        assert!(bytes > MESSAGE_BYTES_MAX, "{bytes}");
    }
}
