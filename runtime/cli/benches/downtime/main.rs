//! How long a database is down when it is moved, beside a script that does the same by hand.
//!
//! Both move a Redis with its volume from one Docker Engine of this machine to another and back, in
//! turn, and wait until its health check says that it is up. Each is measured by what it tells, and
//! from outside by a client that asks the database every 5 ms.

#[path = "../../../../tests/cli/leaks.rs"]
#[allow(dead_code, reason = "the tests of the program alone need the rest")]
mod leaks;
#[path = "../../../../tests/real/left.rs"]
mod left;
#[allow(dead_code)]
#[path = "../../../../tests/real/parts.rs"]
mod parts;
#[allow(dead_code)]
#[path = "../../../../tests/real/place.rs"]
mod place;
#[path = "../../../../tests/real/turn.rs"]
mod turn;

use jiff::Timestamp;
use parts::{Engine, TestCluster, are_possible, free_port};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const ROUNDS: usize = 11;
const ASKED_EVERY: Duration = Duration::from_millis(5);
const BUDGET: f64 = 1.2;

/// What a person would type, with all that can be done before done before: the container and the
/// name of the volume are there, and the image is pulled.
const BY_HAND: &str = r#"
set -e
from="docker --host $FROM"
to="docker --host $TO"
$from stop --time 60 hand >/dev/null
while grep -q " $FROM_DATA/volumes/hand/" /proc/self/mountinfo; do sleep 0.01; done
losetup --detach "$(readlink "$FROM_DEVICE")"
ln -sfn "$(losetup --find --show "$IMAGE_FILE")" "$TO_DEVICE"
$to start hand >/dev/null
until [ "$($to inspect --format '{{.State.Health.Status}}' hand)" = healthy ]; do sleep 0.01; done
"#;

fn main() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    let (ours, hand) = (free_port(), free_port());
    ours_begins(&parts, ours);
    by_hand_begins(&parts, hand);
    let (mut moved, mut by_hand) = (Measured::default(), Measured::default());
    for round in 0..ROUNDS {
        let ends = [("i-a", &parts.a), ("i-b", &parts.b)];
        let (from, to) = (ends[round % 2], ends[(round + 1) % 2]);
        moved.add(ours, || {
            let ran = parts.redeploy(to.0, &[]).exits(0);
            told_ms(&parts, ran.id())
        });
        by_hand.add(hand, || {
            let began = Instant::now();
            move_by_hand(&parts, from.1, to.1);
            began.elapsed().as_secs_f64() * 1000.0
        });
    }
    println!(
        "{:<44} {:>12} {:>12}   budget",
        "downtime of a move, median of 11", "told", "outside"
    );
    for (what, measured) in [("by hand", &by_hand), ("redeploy-database", &moved)] {
        println!("{what:<44} {:>9.0} ms {:>9.0} ms", measured.told(), measured.outside());
    }
    let told = moved.told() / by_hand.told();
    let outside = moved.outside() / by_hand.outside();
    let verdict = if told.max(outside) <= BUDGET { "" } else { "  MISSED" };
    println!("{:<44} {told:>10.2} × {outside:>10.2} ×   ≤ {BUDGET} ×{verdict}", "  the ratio");
    timeline(&parts);
}

#[derive(Default)]
struct Measured {
    told_ms: Vec<f64>,
    outside_ms: Vec<f64>,
}

impl Measured {
    fn add(&mut self, port: u16, moves: impl FnOnce() -> f64) {
        let client = Client::start(port);
        self.told_ms.push(moves());
        self.outside_ms.push(client.longest_ms());
    }

    fn told(&self) -> f64 {
        median(&self.told_ms)
    }

    fn outside(&self) -> f64 {
        median(&self.outside_ms)
    }
}

fn median(of: &[f64]) -> f64 {
    let mut sorted = of.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Asks the database, and knows the longest time for which it did not answer.
struct Client {
    is_over: Arc<AtomicBool>,
    asks: JoinHandle<Duration>,
}

impl Client {
    fn start(port: u16) -> Self {
        let is_over = Arc::<AtomicBool>::default();
        let until = Arc::clone(&is_over);
        let asks = std::thread::spawn(move || {
            let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
            let mut connection = None;
            while !until.load(Ordering::Relaxed) {
                if answers(&mut connection, port) {
                    longest = longest.max(last.elapsed());
                    last = Instant::now();
                }
                std::thread::sleep(ASKED_EVERY);
            }
            longest
        });
        Self { is_over, asks }
    }

    fn longest_ms(self) -> f64 {
        // What comes back last is seen too.
        std::thread::sleep(Duration::from_millis(300));
        self.is_over.store(true, Ordering::Relaxed);
        self.asks.join().expect("it ends").as_secs_f64() * 1000.0
    }
}

fn answers(connection: &mut Option<TcpStream>, port: u16) -> bool {
    let mut asked = || -> std::io::Result<TcpStream> {
        let mut stream = match connection.take() {
            Some(stream) => stream,
            None => TcpStream::connect((Ipv4Addr::LOCALHOST, port))?,
        };
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer)?;
        // It answers otherwise while it reads its data.
        if &answer == b"+PONG\r\n" {
            Ok(stream)
        } else {
            Err(std::io::ErrorKind::InvalidData.into())
        }
    };
    match asked() {
        Ok(stream) => {
            *connection = Some(stream);
            true
        }
        Err(_) => false,
    }
}

/// Make the database's container, on the network of the machine so that it can be asked.
fn create(engine: &Engine, parts: &TestCluster, name: &str, volume: &str, port: u16) {
    let mount = format!("type=volume,source={volume},target=/data,volume-nocopy");
    let (port, image) = (port.to_string(), parts.image());
    let health = format!("--health-cmd=redis-cli -p {port} ping");
    let options = ["--health-interval=100ms", "--health-retries=100", "--network=host"];
    let command = ["redis-server", "--dir", "/data", "--appendonly", "yes", "--appendfsync"];
    let more = ["always", "--bind", "127.0.0.1", "--port", &port];
    let first = ["create", "--name", name, "--mount", &mount, &health];
    engine.docker(&[&first[..], &options, &[&image], &command, &more].concat());
}

fn ours_begins(parts: &TestCluster, port: u16) {
    parts.provision();
    let volume = parts.a.docker(&["volume", "ls", "--quiet"]);
    parts.a.docker(&["rm", "--force", "main"]);
    create(&parts.a, parts, "main", &volume, port);
    parts.a.docker(&["start", "main"]);
    parts.a.until_healthy("main");
}

fn file(parts: &TestCluster, name: &str) -> String {
    parts.path(name).display().to_string()
}

/// The link by which an engine knows the device of the volume that is moved by hand.
fn device(parts: &TestCluster, engine: &Engine) -> String {
    let of = if std::ptr::eq(engine, &parts.a) { "a" } else { "b" };
    file(parts, &format!("hand-{of}"))
}

fn by_hand_begins(parts: &TestCluster, port: u16) {
    let image = file(parts, "hand.img");
    run("truncate", &["--size=1G", &image]);
    run("mkfs.ext4", &["-q", &image]);
    for engine in [&parts.a, &parts.b] {
        engine.docker(&["pull", &parts.image()]);
        let device = format!("device={}", device(parts, engine));
        let named = ["volume", "create", "--opt", "type=ext4", "--opt", &device, "hand"];
        engine.docker(&named);
        create(engine, parts, "hand", "hand", port);
    }
    let found = run("losetup", &["--find", "--show", &image]);
    std::os::unix::fs::symlink(found, device(parts, &parts.a)).expect("a link");
    parts.a.docker(&["start", "hand"]);
    parts.a.until_healthy("hand");
}

fn move_by_hand(parts: &TestCluster, from: &Engine, to: &Engine) {
    let data = if std::ptr::eq(from, &parts.a) { "a/data" } else { "b/data" };
    let moved = Command::new("bash")
        .args(["-c", BY_HAND])
        .env("FROM", from.host())
        .env("TO", to.host())
        .env("FROM_DATA", file(parts, data))
        .env("FROM_DEVICE", device(parts, from))
        .env("TO_DEVICE", device(parts, to))
        .env("IMAGE_FILE", file(parts, "hand.img"))
        .status();
    assert!(moved.expect("bash").success());
}

fn run(program: &str, arguments: &[&str]) -> String {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let said = Command::new(program).args(arguments).env("PATH", path).output().expect(program);
    assert!(said.status.success(), "{program}: {}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8_lossy(&said.stdout).trim().to_owned()
}

fn shown(parts: &TestCluster, id: &str) -> serde_json::Value {
    let shown = parts.run(&["show", id, "--json"]).exits(0).said;
    serde_json::from_str(&shown).expect("JSON")
}

fn told_ms(parts: &TestCluster, id: &str) -> f64 {
    shown(parts, id)["downtime_ms"].as_f64().expect("it was down")
}

/// Where the time of the last move went.
fn timeline(parts: &TestCluster) {
    let list = parts.run(&["list", "--json"]).exits(0).said;
    let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    let last = list.as_array().and_then(|all| all.last()).expect("there are some");
    let operation = shown(parts, &last["id"].to_string());
    println!("the last move, step by step:");
    for step in operation["steps"].as_array().into_iter().flatten() {
        if step["phase"] == "downtime" {
            let at = |what: &str| -> Timestamp {
                step[what].as_str().and_then(|at| at.parse().ok()).expect("it is over")
            };
            let took_ms = at("finished_at").duration_since(at("started_at")).as_millis();
            println!("  {:<42} {took_ms:>9} ms", step["id"].as_str().unwrap_or_default());
        }
    }
    let _ = std::fs::remove_file(Path::new(&file(parts, "hand.img")));
}
