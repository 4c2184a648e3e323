//! A proxy between the provider and moto that loses requests, loses answers, or answers in AWS's
//! place; it also notes what was asked.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

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

/// A fault for the next `times` requests of one action.
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
    shared: Arc<Shared>,
}

impl Proxy {
    pub fn to(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if of_thread.over.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(client), shared) = (client, Arc::clone(&of_thread)) else { continue };
                // A client that goes away ends its own connection only.
                std::thread::spawn(move || drop(serve(client, upstream, &shared)));
            }
        });
        Self { address, shared }
    }

    /// Let this happen to the next `times` requests of an action (`CreateVolume`).
    pub fn on(&self, action: &str, times: usize, fault: Fault) {
        let rule = Rule { action: action.to_owned(), fault, times };
        self.shared.rules.lock().unwrap().push(rule);
    }

    /// The bodies of the requests of an action, those that were lost included.
    pub fn seen(&self, action: &str) -> Vec<String> {
        let all = self.shared.seen.lock().unwrap();
        all.iter().filter(|body| is_action(body, action)).cloned().collect()
    }

    /// How many requests came, whatever they were.
    pub fn count(&self) -> usize {
        self.shared.seen.lock().unwrap().len()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // Wakes the listener, so that it sees that it is over.
        let _ = TcpStream::connect(self.address);
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

fn is_action(body: &str, action: &str) -> bool {
    body.split('&').any(|pair| pair.strip_prefix("Action=") == Some(action))
}

impl Shared {
    fn fault_for(&self, body: &str) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap();
        let rule = rules.iter_mut().find(|r| r.times > 0 && is_action(body, &r.action))?;
        rule.times -= 1;
        Some(rule.fault.clone())
    }
}

fn serve(mut client: TcpStream, upstream: SocketAddr, shared: &Shared) -> std::io::Result<()> {
    let Some(request) = read_request(&mut client)? else { return Ok(()) };
    let text = String::from_utf8_lossy(&request);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
    shared.seen.lock().unwrap().push(body.clone());
    match shared.fault_for(&body) {
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
        Some(Fault::LoseAnswer) => forward(&request, upstream).map(|_| ()),
        None => client.write_all(&forward(&request, upstream)?),
    }
}

/// moto closes each connection behind its answer.
fn forward(request: &[u8], upstream: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(upstream)?;
    server.write_all(request)?;
    let mut answer = vec![];
    server.read_to_end(&mut answer)?;
    Ok(answer)
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
