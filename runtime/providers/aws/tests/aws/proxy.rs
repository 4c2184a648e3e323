//! A proxy between a provider and what it asks (moto, a Docker Engine) that loses requests, loses
//! answers, or answers in its place; it also notes what was asked.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// What happens to a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It arrives and takes effect; its answer does not come back.
    LoseAnswer,
    /// It never arrives.
    LoseRequest,
    /// It arrives nowhere, and the connection stays open.
    Hang,
    /// This status and body come back, and AWS never hears of it.
    Answer(u16, String),
}

/// Where requests go on to.
#[derive(Clone, Debug)]
pub enum Upstream {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl From<SocketAddr> for Upstream {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

/// A fault for the next `times` requests of one kind.
struct Rule {
    action: String,
    fault: Fault,
    times: usize,
}

#[derive(Default)]
struct Shared {
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<Vec<String>>,
    hung: Mutex<Vec<TcpStream>>,
    over: AtomicBool,
}

pub struct Proxy {
    pub address: SocketAddr,
    upstream: Upstream,
    shared: Arc<Shared>,
    listening: Mutex<Option<JoinHandle<()>>>,
}

impl Proxy {
    pub fn to(upstream: impl Into<Upstream>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, upstream) = (listener.local_addr().unwrap(), upstream.into());
        let proxy = Self { address, upstream, shared: Arc::default(), listening: Mutex::default() };
        proxy.listen(listener);
        proxy
    }

    fn listen(&self, listener: TcpListener) {
        let (shared, upstream) = (Arc::clone(&self.shared), self.upstream.clone());
        let thread = std::thread::spawn(move || {
            for client in listener.incoming() {
                if shared.over.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(client), shared) = (client, Arc::clone(&shared)) else { continue };
                let upstream = upstream.clone();
                // A client that goes away ends its own connection only.
                std::thread::spawn(move || drop(serve(client, &upstream, &shared)));
            }
        });
        *self.listening.lock().unwrap() = Some(thread);
    }

    /// Nobody listens at the address from here on: a connection to it is refused.
    pub fn go_away(&self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // Wakes the listener, so that it sees that it is over.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.listening.lock().unwrap().take() {
            thread.join().expect("no panic");
        }
    }

    /// Listen there again.
    pub fn come_back(&self) {
        self.shared.over.store(false, Ordering::SeqCst);
        self.listen(TcpListener::bind(self.address).unwrap());
    }

    /// Let this happen to the next `times` requests of an action of AWS (`CreateVolume`), or of a
    /// method and path (`POST /containers/*/start`).
    pub fn on(&self, action: &str, times: usize, fault: Fault) {
        let rule = Rule { action: action.to_owned(), fault, times };
        self.shared.rules.lock().unwrap().push(rule);
    }

    /// The bodies of the requests of an action, those that were lost included.
    pub fn seen(&self, action: &str) -> Vec<String> {
        let all = self.shared.seen.lock().unwrap();
        all.iter().filter(|text| is(text, action)).map(|text| body_of(text).to_owned()).collect()
    }

    /// How many requests came, whatever they were.
    pub fn count(&self) -> usize {
        self.shared.seen.lock().unwrap().len()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.go_away();
    }
}

/// An error as EC2 answers it (Amazon EC2 API Reference, *Error codes*: *Example error response*).
pub fn ec2_error(status: u16, code: &str, message: &str) -> Fault {
    let error = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
    let body = format!("<Response><Errors>{error}</Errors><RequestID>r</RequestID></Response>");
    Fault::Answer(status, body)
}

/// An error as STS answers it (AWS STS API Reference, *Common errors*).
pub fn sts_error(status: u16, code: &str, message: &str) -> Fault {
    let error = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
    Fault::Answer(status, format!("<ErrorResponse>{error}</ErrorResponse>"))
}

fn body_of(request: &str) -> &str {
    request.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

/// Whether a request is one of this action, or of this method and path.
fn is(request: &str, wanted: &str) -> bool {
    let Some((method, pattern)) = wanted.split_once(' ') else {
        // EC2 and STS name it in the body, KMS in a header.
        let target = format!("x-amz-target: TrentService.{wanted}");
        let head = request.lines().take_while(|line| !line.is_empty());
        return body_of(request)
            .split('&')
            .any(|pair| pair.strip_prefix("Action=") == Some(wanted))
            || head.into_iter().any(|line| line.eq_ignore_ascii_case(&target));
    };
    let mut words = request.split(' ');
    let (asked, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = path.split('?').next().unwrap_or_default();
    // A path begins with the version of the API.
    let segments: Vec<&str> = path.split('/').filter(|part| !part.starts_with("v1.")).collect();
    let wanted: Vec<&str> = pattern.split('/').collect();
    let fits = |(part, wanted): (&&str, &&str)| *wanted == "*" || part == wanted;
    // The last name in a path may have slashes in it.
    let is_long = segments.len() > wanted.len() && wanted.last() == Some(&"*");
    let is_whole = segments.len() == wanted.len() || is_long;
    asked == method && is_whole && segments.iter().zip(&wanted).all(fits)
}

impl Shared {
    fn fault_for(&self, request: &str) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap();
        let rule = rules.iter_mut().find(|r| r.times > 0 && is(request, &r.action))?;
        rule.times -= 1;
        Some(rule.fault.clone())
    }
}

fn serve(mut client: TcpStream, upstream: &Upstream, shared: &Shared) -> std::io::Result<()> {
    let Some(request) = read_request(&mut client)? else { return Ok(()) };
    let text = String::from_utf8_lossy(&request).into_owned();
    let fault = shared.fault_for(&text);
    let is_upgraded = text.to_lowercase().contains("\r\nupgrade: tcp");
    shared.seen.lock().unwrap().push(text);
    match fault {
        Some(Fault::LoseRequest) => Ok(()),
        Some(Fault::Hang) => {
            shared.hung.lock().unwrap().push(client);
            Ok(())
        }
        Some(Fault::Answer(status, body)) => {
            let head = format!("HTTP/1.1 {status} X\r\ncontent-type: text/xml\r\n");
            let length = format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len());
            client.write_all(format!("{head}{length}{body}").as_bytes())
        }
        Some(Fault::LoseAnswer) => forward(&request, upstream, &mut std::io::sink()),
        None if is_upgraded => stay_between(&request, upstream, client),
        None => forward(&request, upstream, &mut client),
    }
}

/// Both sides talk on after the request, until one of them ends it.
fn stay_between(request: &[u8], upstream: &Upstream, client: TcpStream) -> std::io::Result<()> {
    let Upstream::Unix(path) = upstream else { return Ok(()) };
    let mut engine = UnixStream::connect(path)?;
    engine.write_all(request)?;
    let (mut from, mut to) = (client.try_clone()?, engine.try_clone()?);
    std::thread::spawn(move || {
        // Whoever goes away ends it for the other.
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    std::io::copy(&mut engine, &mut &client)?;
    client.shutdown(Shutdown::Both)
}

/// One request, one connection: the other side closes it behind its answer.
fn forward(request: &[u8], upstream: &Upstream, to: &mut dyn Write) -> std::io::Result<()> {
    let request = closing(request);
    match upstream {
        Upstream::Tcp(address) => pass(TcpStream::connect(address)?, &request, to),
        Upstream::Unix(path) => pass(UnixStream::connect(path)?, &request, to),
    }
}

fn pass(mut server: impl Read + Write, request: &[u8], to: &mut dyn Write) -> std::io::Result<()> {
    server.write_all(request)?;
    let mut part = [0; 8192];
    loop {
        let got = server.read(&mut part)?;
        if got == 0 {
            return Ok(());
        }
        to.write_all(&part[..got])?;
        to.flush()?;
    }
}

/// The request with its connection ended behind the answer; one that becomes a stream of its own
/// (Docker docs, *Engine API*, *ExecStart*) is as it is.
fn closing(request: &[u8]) -> Vec<u8> {
    let end = request.windows(4).position(|part| part == b"\r\n\r\n").unwrap_or(request.len());
    let (head, rest) = request.split_at(end);
    let head = String::from_utf8_lossy(head);
    let is_connection = |line: &&str| line.to_ascii_lowercase().starts_with("connection:");
    if head
        .lines()
        .any(|line| is_connection(&line) && line.to_ascii_lowercase().contains("upgrade"))
    {
        return request.to_vec();
    }
    let mut lines: Vec<&str> = head.split("\r\n").filter(|line| !is_connection(line)).collect();
    lines.push("Connection: close");
    [lines.join("\r\n").as_bytes(), rest].concat()
}

fn read_request(client: &mut TcpStream) -> std::io::Result<Option<Vec<u8>>> {
    let (mut request, mut part) = (vec![], [0; 4096]);
    loop {
        let got = client.read(&mut part)?;
        if got == 0 {
            return Ok(None);
        }
        request.extend_from_slice(&part[..got]);
        if is_whole(&request) {
            return Ok(Some(request));
        }
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let length = lines.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(0);
    body.len() >= length
}
