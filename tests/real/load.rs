//! Traffic while something else goes on: requests that may be repeated, others, and WebSockets.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long nobody waits for an answer.
const ANSWER: Duration = Duration::from_secs(20);
/// How many ask at once, and how long each rests between two requests: some hundreds a second.
const CLIENTS: usize = 6;
const REST: Duration = Duration::from_millis(10);

/// What became of requests.
#[derive(Default)]
struct Counted {
    answered: AtomicU64,
    /// Before anything of an answer had come.
    failed: AtomicU64,
    /// In the middle of an answer.
    cut: AtomicU64,
    /// The connection was closed while nothing was under way, as any of them may be (RFC 9112,
    /// *9.5*): what may be repeated is, once.
    closed: AtomicU64,
}

/// A look at the counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub answered: u64,
    pub failed: u64,
    pub cut: u64,
    pub closed: u64,
}

impl Counted {
    fn add(&self, outcome: Outcome) {
        let count = match outcome {
            Outcome::Answered => &self.answered,
            Outcome::Failed => &self.failed,
            Outcome::Cut => &self.cut,
            Outcome::Closed => &self.closed,
        };
        count.fetch_add(1, Ordering::SeqCst);
    }

    fn now(&self) -> Counts {
        let of = |count: &AtomicU64| count.load(Ordering::SeqCst);
        let (answered, failed) = (of(&self.answered), of(&self.failed));
        Counts { answered, failed, cut: of(&self.cut), closed: of(&self.closed) }
    }
}

impl Counts {
    /// What has come since an earlier look.
    pub fn since(self, before: Self) -> Self {
        Self {
            answered: self.answered - before.answered,
            failed: self.failed - before.failed,
            cut: self.cut - before.cut,
            closed: self.closed - before.closed,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Answered,
    Failed,
    Cut,
    Closed,
}

/// Clients that ask all the time, until it is dropped.
pub struct Load {
    gets: Arc<Counted>,
    posts: Arc<Counted>,
    sockets: Arc<Counted>,
    is_over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    pub fn start(at: &str) -> Self {
        let (gets, posts, sockets) = <(Arc<Counted>, Arc<Counted>, Arc<Counted>)>::default();
        let is_over = Arc::new(AtomicBool::new(false));
        let mut clients = vec![];
        for _ in 0..CLIENTS {
            let (at, gets, posts) = (at.to_owned(), Arc::clone(&gets), Arc::clone(&posts));
            let is_over = Arc::clone(&is_over);
            clients.push(std::thread::spawn(move || ask(&at, &gets, &posts, &is_over)));
        }
        for _ in 0..4 {
            let (at, posts) = (at.to_owned(), Arc::clone(&posts));
            let is_over = Arc::clone(&is_over);
            clients.push(std::thread::spawn(move || ask_slowly(&at, &posts, &is_over)));
        }
        for _ in 0..2 {
            let (at, sockets) = (at.to_owned(), Arc::clone(&sockets));
            let is_over = Arc::clone(&is_over);
            clients.push(std::thread::spawn(move || socket(&at, &sockets, &is_over)));
        }
        Self { gets, posts, sockets, is_over, clients }
    }

    /// Requests that may be repeated, others, and what was said over WebSockets.
    pub fn counts(&self) -> [Counts; 3] {
        [self.gets.now(), self.posts.now(), self.sockets.now()]
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        for client in self.clients.drain(..) {
            let _ = client.join();
        }
    }
}

fn connect(at: &str) -> Option<TcpStream> {
    let stream = TcpStream::connect(at).ok()?;
    stream.set_read_timeout(Some(ANSWER)).ok()?;
    stream.set_nodelay(true).ok()?;
    Some(stream)
}

/// One client: two requests that may be repeated, one that may not, and so on, on one connection as
/// long as that is kept.
fn ask(at: &str, gets: &Counted, posts: &Counted, is_over: &AtomicBool) {
    let mut kept: Option<TcpStream> = None;
    for number in 0u64.. {
        if is_over.load(Ordering::SeqCst) {
            return;
        }
        let is_post = number % 3 == 2;
        let request: &[u8] = match is_post {
            true => b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\ndata",
            false => b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        };
        let counted = if is_post { posts } else { gets };
        let mut outcome = request_on(at, &mut kept, request);
        if outcome == Outcome::Closed && !is_post {
            counted.add(Outcome::Closed);
            outcome = match request_on(at, &mut None, request) {
                Outcome::Closed => Outcome::Failed,
                outcome => outcome,
            };
        }
        counted.add(outcome);
        std::thread::sleep(REST);
    }
}

fn request_on(at: &str, kept: &mut Option<TcpStream>, request: &[u8]) -> Outcome {
    let is_kept = kept.is_some();
    let Some(mut stream) = kept.take().or_else(|| connect(at)) else { return Outcome::Failed };
    let nothing = if is_kept { Outcome::Closed } else { Outcome::Failed };
    if stream.write_all(request).is_err() {
        return nothing;
    }
    let (mut read, mut buffer) = (vec![], [0; 4096]);
    loop {
        let count = match stream.read(&mut buffer) {
            Ok(0) | Err(_) if read.is_empty() => return nothing,
            Ok(0) | Err(_) => return Outcome::Cut,
            Ok(count) => count,
        };
        read.extend_from_slice(&buffer[..count]);
        let Some(head) = read.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&read[..head]).to_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
        if read.len() < head + 4 + length {
            continue;
        }
        if !text.contains("connection: close") {
            *kept = Some(stream);
        }
        return match text.starts_with("http/1.1 200") {
            true => Outcome::Answered,
            false => Outcome::Failed,
        };
    }
}

/// One client whose requests take some seconds each, and may not be repeated.
fn ask_slowly(at: &str, posts: &Counted, is_over: &AtomicBool) {
    let mut kept = None;
    while !is_over.load(Ordering::SeqCst) {
        let request = b"POST /slow HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\ndata";
        posts.add(request_on(at, &mut kept, request));
        std::thread::sleep(REST);
    }
}

/// The beginning of a WebSocket, and the answer to its key (RFC 6455, *1.3*).
const UPGRADE: &[u8] =
    b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const ACCEPTED: &str = "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=";
/// `ping` as a text (RFC 6455, *5.2*): masked, as a client must.
const PING: [u8; 10] = [0x81, 0x84, 1, 2, 3, 4, b'p' ^ 1, b'i' ^ 2, b'n' ^ 3, b'g' ^ 4];
const PONG: &[u8] = b"\x81\x04ping";

/// One client of a WebSocket, which says something now and then: *failed* is one that could not be
/// had, *cut* one that ended.
fn socket(at: &str, counted: &Counted, is_over: &AtomicBool) {
    while !is_over.load(Ordering::SeqCst) {
        let Some(mut stream) = connect(at) else { continue };
        let (mut buffer, mut answer) = ([0; 4096], vec![]);
        let _ = stream.write_all(UPGRADE);
        while !answer.ends_with(b"\r\n\r\n") {
            match stream.read(&mut buffer) {
                Ok(count @ 1..) => answer.extend_from_slice(&buffer[..count]),
                Ok(0) | Err(_) => break,
            }
        }
        let answer = String::from_utf8_lossy(&answer).to_lowercase();
        if !answer.starts_with("http/1.1 101") || !answer.contains(ACCEPTED) {
            counted.add(Outcome::Failed);
            std::thread::sleep(REST);
            continue;
        }
        while !is_over.load(Ordering::SeqCst) {
            let mut said = [0; PONG.len()];
            let heard = stream.write_all(&PING).and_then(|()| stream.read_exact(&mut said));
            if heard.is_err() || said != PONG {
                counted.add(Outcome::Cut);
                break;
            }
            counted.add(Outcome::Answered);
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
