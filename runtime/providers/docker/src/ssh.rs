//! An engine behind SSH: each connection is an `ssh` of this machine that runs `docker system
//! dial-stdio` there, as Docker's own client does (Docker docs, *Protect the Docker daemon
//! socket*, *Use SSH to protect the Docker daemon socket*).
//!
//! The user's own configuration counts (names, ports, keys, known hosts, jump hosts), and nobody
//! is ever asked anything. A connection counts as made when the engine has answered a ping over
//! it: whatever fails before is proof that no request was sent.

use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::cut;
use stepback_provider::children;
use stepback_provider::endpoint::Destination;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Join, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

/// How long a connection may take to be made.
const CONNECT_S_MAX: u64 = 20;
/// How often one that is sent away at the door comes again, and after how long at first.
const CONNECTS_MAX: u32 = 5;
const FIRST_PAUSE_MS: u64 = 250;
const SENT_AWAY_MAX: Duration = Duration::from_secs(2);
/// A connection that is silent for so long is asked whether it lives, three times.
const ALIVE_S: u64 = 15;
/// What `ssh` says of a failure, at most.
const STDERR_BYTES_MAX: usize = 4096;
const ANSWER_BYTES_MAX: usize = 8192;
/// Answered with a head and no body (Docker docs, *Engine API*, *SystemPingHead*).
const PING: &[u8] = b"HEAD /_ping HTTP/1.1\r\nHost: docker\r\n\r\n";

/// Why there is no connection: what `ssh` said, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{why}; `ssh {tried} docker version` must work with no question asked: mend what it tells")]
pub(super) struct NoConnection {
    why: String,
    tried: String,
}

/// A connection to the engine, which has answered a ping over it.
///
/// # Errors
/// No request was sent, whatever it is.
pub(super) async fn connected(to: &Destination, clock: &Clock) -> Result<Stream, NoConnection> {
    let tried = to.arguments().join(" ");
    connect_patiently(to, clock).await.map_err(|why| NoConnection { why, tried })
}

/// A server that has too many guests at its door sends some away, whoever they are (sshd_config(5),
/// *MaxStartups*): that is not the last word in the middle of a downtime.
async fn connect_patiently(to: &Destination, clock: &Clock) -> Result<Stream, String> {
    let mut pause = Duration::from_millis(FIRST_PAUSE_MS);
    for _ in 1..CONNECTS_MAX {
        let began = clock.now();
        match connect(to, clock).await {
            // One that takes its time to say no has no crowd at its door.
            Err(why) if is_sent_away(&why) && clock.now().since(began) < SENT_AWAY_MAX => {
                clock.sleep(pause).await;
            }
            answer => return answer,
        }
        pause *= 2;
    }
    connect(to, clock).await
}

/// Whether the server ended it before it knew who came.
fn is_sent_away(why: &str) -> bool {
    let at_the_door = ["kex_exchange_identification", "banner exchange", "Exceeded MaxStartups"];
    at_the_door.iter().any(|words| why.contains(words))
}

async fn connect(to: &Destination, clock: &Clock) -> Result<Stream, String> {
    let mut command = Command::new("ssh");
    command
        .env_clear()
        .envs(children::environment())
        .args(["-T", "-o", "BatchMode=yes"])
        .args(["-o", &format!("ConnectTimeout={CONNECT_S_MAX}")])
        .args(["-o", &format!("ServerAliveInterval={ALIVE_S}")])
        .args(to.arguments())
        .args(["docker", "system", "dial-stdio"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A Ctrl-C at the terminal is for the program alone, which has things to take back.
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("`ssh` can't be run: {error}"))?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(stdin), Some(stdout), Some(mut stderr)) = (stdin, stdout, stderr) else {
        return Err("`ssh` has no streams".to_owned());
    };
    let mut stream = Stream { io: tokio::io::join(stdout, stdin), _child: child };
    let limit = Duration::from_secs(CONNECT_S_MAX);
    match clock.timeout(limit, ping(&mut stream.io)).await {
        Ok(Ok(())) => {
            // What `ssh` has to say later is nobody's; full, the pipe would stop it.
            tokio::spawn(async move { tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await });
            Ok(stream)
        }
        Ok(Err(error)) => Err(last_words(&mut stderr, &error, clock).await),
        Err(_) => Err(format!("no answer in {limit:?}")),
    }
}

async fn ping(io: &mut Join<ChildStdout, ChildStdin>) -> io::Result<()> {
    io.write_all(PING).await?;
    io.flush().await?;
    let mut answer = vec![];
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= ANSWER_BYTES_MAX {
            return Err(io::Error::other("what answers is no Docker Engine"));
        }
        answer.push(io.read_u8().await?);
    }
    match answer.starts_with(b"HTTP/1.") {
        true => Ok(()),
        false => Err(io::Error::other("what answers is no Docker Engine")),
    }
}

/// What `ssh`, or `docker` at the other end, wrote before it ended.
async fn last_words(stderr: &mut ChildStderr, error: &io::Error, clock: &Clock) -> String {
    let mut said = vec![];
    let read = stderr.take(STDERR_BYTES_MAX as u64 + 1);
    // One that does not end has said what it has to say.
    let _ = clock.timeout(Duration::from_secs(2), { read }.read_to_end(&mut said)).await;
    let said = cut::beginning_of_bytes(&said, STDERR_BYTES_MAX);
    let lines: Vec<&str> = said
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('@'))
        .collect();
    match lines.is_empty() {
        true => format!("`ssh` ended: {error}"),
        false => lines.join(" "),
    }
}

/// The engine's end of the pipe; dropped, its `ssh` is killed.
pub(super) struct Stream {
    io: Join<ChildStdout, ChildStdin>,
    _child: Child,
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
