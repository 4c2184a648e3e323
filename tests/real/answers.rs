//! Answers that prove nothing: an engine, or what is before it, that says no to what it has done.

use crate::parts::{TestCluster, are_possible};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// What is answered in an engine's place.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// The engine does it, and its answer is thrown away.
    After(u16),
    /// The engine hears nothing of it.
    Instead(u16),
}

/// What stands before an engine: it answers requests whose first line has a text in it.
struct Between {
    port: u16,
    answers: Arc<Mutex<Vec<(String, usize, Answer)>>>,
}

impl Between {
    fn start(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let answers = Arc::<Mutex<Vec<(String, usize, Answer)>>>::default();
        let known = Arc::clone(&answers);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (known, socket) = (Arc::clone(&known), socket.clone());
                // What breaks off ends with its connection.
                std::thread::spawn(move || pass(client, &socket, &known));
            }
        });
        Self { port, answers }
    }

    /// Answer a request with this in its first line, after some that pass.
    fn on(&self, text: &str, passing: usize, answer: Answer) {
        self.answers.lock().expect("no panic").push((text.to_owned(), passing, answer));
    }

    #[track_caller]
    fn is_used_up(&self) {
        assert!(self.answers.lock().expect("no panic").is_empty(), "a request never came");
    }
}

/// Pass one request on, and its connection with it.
fn pass(
    mut client: TcpStream,
    socket: &PathBuf,
    answers: &Mutex<Vec<(String, usize, Answer)>>,
) -> std::io::Result<()> {
    let (head, rest) = head_of(&mut client)?;
    let first = head.lines().next().unwrap_or_default().to_owned();
    let answer = {
        let mut answers = answers.lock().expect("no panic");
        let at = answers.iter().position(|(text, ..)| first.contains(text));
        at.and_then(|at| match &mut answers[at].1 {
            0 => Some(answers.remove(at).2),
            passing => {
                *passing -= 1;
                None
            }
        })
    };
    // One request a connection; only what is upgraded goes on.
    let head = match head.to_lowercase().contains("upgrade: tcp") {
        true => head,
        false => head.replacen("\r\n", "\r\nConnection: close\r\n", 1),
    };
    if let Some(Answer::Instead(status)) = answer {
        return refuse(&mut client, status);
    }
    let mut engine = UnixStream::connect(socket)?;
    engine.write_all(head.as_bytes())?;
    engine.write_all(&rest)?;
    let (mut from, mut to) = (client.try_clone()?, engine.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    if let Some(Answer::After(status)) = answer {
        engine.read_to_end(&mut vec![])?;
        return refuse(&mut client, status);
    }
    std::io::copy(&mut engine, &mut client)?;
    client.shutdown(Shutdown::Both)
}

fn head_of(client: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let mut bytes = vec![];
    let mut chunk = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&bytes).into_owned(), rest));
        }
        match client.read(&mut chunk)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => bytes.extend_from_slice(&chunk[..n]),
        }
    }
}

fn refuse(client: &mut TcpStream, status: u16) -> std::io::Result<()> {
    let body = "{\"message\":\"it went wrong\"}";
    let length = body.len();
    write!(
        client,
        "HTTP/1.1 {status} Error\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )?;
    client.shutdown(Shutdown::Both)
}

/// A stop that is answered with an error has happened, or has not: the world tells.
#[test]
fn an_error_of_the_engine_is_no_proof_of_anything() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.provision();
    let socket = parts.b.host().trim_start_matches("unix://").into();
    let between = Between::start(socket);
    parts.configure_with(&format!("tcp://127.0.0.1:{}", between.port), "");
    let create = "/containers/create?name=main";
    for (to, call, status) in [
        ("i-b", create, 500),
        ("i-a", "/stop", 500),
        ("i-b", "/start", 500),
        ("i-a", "/stop", 504),
        ("i-b", create, 502),
        ("i-a", "/stop", 503),
        ("i-b", "/volumes/create", 500),
    ] {
        // The helper is started before the database is.
        between.on(call, usize::from(call == "/start"), Answer::After(status));
        parts.redeploy(to, &[]).exits(0);
        between.is_used_up();
    }
    // What did not happen is no success either; the answer's text is told.
    assert_eq!(parts.b.redis(&["get", "row"]), "kept");
    between.on("/stop", 0, Answer::Instead(500));
    let failed = parts.redeploy("i-a", &[]).exits(3).says("it went wrong");
    failed.says("verdict: restored");
    between.is_used_up();
    // What a proxy answers, whatever it is, is asked again.
    between.on("/stop", 0, Answer::Instead(502));
    parts.redeploy("i-a", &[]).exits(0);
    between.is_used_up();
    assert_eq!(parts.a.redis(&["get", "row"]), "kept");
    parts.deprovision();
}

/// What is made to look at a host is removed, whatever the engine says of its making and of its
/// removal: each run here ends with no helper on either engine.
#[test]
fn a_helper_whose_making_or_removal_went_wrong_is_removed() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.provision();
    let socket = parts.b.host().trim_start_matches("unix://").into();
    let between = Between::start(socket);
    parts.configure_with(&format!("tcp://127.0.0.1:{}", between.port), "");
    let (create, remove) = ("/containers/create?name=stepback-helper", "DELETE /");
    for went_wrong in [
        &[(create, Answer::After(500))][..],
        &[(create, Answer::After(500)), (remove, Answer::Instead(500))],
        &[("/attach", Answer::Instead(500)), (remove, Answer::Instead(500))],
    ] {
        for (call, answer) in went_wrong {
            between.on(call, 0, *answer);
        }
        parts.redeploy("i-b", &[]).exits(2).says("it went wrong");
        between.is_used_up();
    }
    parts.redeploy("i-b", &[]).exits(0);
    parts.deprovision();
}
