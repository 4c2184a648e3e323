//! Registries that fail: one that serves manifests and never a layer, and mirrors.

use crate::parts::{Registry, TestCluster, are_possible, free_port};
use crate::place::operation;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

/// A registry that answers everything but for layers, for which it lets the client wait.
struct Stalling {
    port: u16,
}

impl Stalling {
    fn before(registry: &Registry) -> Self {
        let (port, upstream) = (free_port(), registry.port);
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a port");
        // It ends with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                std::thread::spawn(move || answer(client, upstream));
            }
        });
        Self { port }
    }
}

/// One request; an error of either side ends it, and the client sees that.
fn answer(mut client: TcpStream, upstream: u16) -> Option<()> {
    let mut head = vec![];
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    if head.lines().next()?.contains("/blobs/") {
        // Until the client goes away.
        while client.read(&mut byte).ok()? > 0 {}
        return None;
    }
    let mut server = TcpStream::connect(("127.0.0.1", upstream)).ok()?;
    let (request, rest) = head.split_once("\r\n")?;
    let keeps = |line: &&str| !line.to_lowercase().starts_with("connection:");
    let rest: Vec<&str> = rest.split("\r\n").filter(keeps).collect();
    write!(server, "{request}\r\nConnection: close\r\n{}", rest.join("\r\n")).ok()?;
    std::io::copy(&mut server, &mut client).ok().map(|_| ())
}

/// The arguments that make a database from an image of a registry.
fn provision(image: &str) -> Vec<String> {
    let mut arguments = vec!["run".to_owned(), operation("provision-database")];
    let image = format!("image={image}");
    for input in ["instance=i-b", "data_dir=/data", "size_gib=1", "database=main", &image] {
        arguments.extend(["-i".to_owned(), input.to_owned()]);
    }
    arguments
}

fn run(parts: &TestCluster, arguments: &[String]) -> crate::place::Ran {
    parts.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Put an image into a registry under the name that the first one has for its own.
fn push(parts: &TestCluster, from: &str, to: &str) {
    parts.a.docker(&["pull", from]);
    parts.a.docker(&["tag", from, to]);
    parts.a.docker(&["push", to]);
}

/// A name that a registry moved on, and a container that nobody made anew since: the next one by
/// that name is to be what it was.
#[test]
fn a_pull_that_moves_a_name_is_taken_back() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.configure("");
    let moved = parts.registry.image("moved:1");
    let id = |engine: &crate::parts::Engine| engine.docker(&["inspect", "-f", "{{.Id}}", &moved]);
    push(&parts, &parts.image(), &moved);
    parts.b.docker(&["pull", &moved]);
    let old = id(&parts.b);
    parts.a.docker(&["import", &parts.path("helper.tar").display().to_string(), &moved]);
    parts.a.docker(&["push", &moved]);
    let pull = pulling(&parts, &moved);
    let fail = ["--inject", "docker.create-volume=refuse"];
    let failed = parts.run(&[&["run", &pull][..], &fail].concat());
    failed.exits(3).says("verdict: restored");
    assert_eq!(id(&parts.b), old);
    parts.run(&["run", &pull]).exits(0);
    assert_eq!(id(&parts.b), id(&parts.a));

    println!("where it can't be, nobody says that all is as it was");
    parts.b.docker(&["tag", &old, &moved]);
    parts.b.docker(&["volume", "rm", "pull"]);
    let stays = [&fail[..], &["--inject", "undo:docker.tag-image=refuse"]].concat();
    parts.run(&[&["run", &pull][..], &stays].concat()).exits(5).says(&moved);
}

/// A manifest that pulls an image on the second engine and then fails where it is told to.
fn pulling(parts: &TestCluster, image: &str) -> String {
    let manifest = format!(
        "schema = 1\n[operation]\nname = \"pull\"\n\
         [[steps]]\nid = \"pull\"\nuses = \"docker/pull-image\"\n\
         with = {{ host = \"i-b\", image = \"{image}\" }}\n\
         [[steps]]\nid = \"volume\"\nuses = \"docker/create-volume\"\nneeds = [\"pull\"]\n\
         with = {{ host = \"i-b\", volume = \"pull\" }}\n"
    );
    let path = parts.path("pull.toml");
    std::fs::write(&path, manifest).expect("a file");
    path.display().to_string()
}

#[test]
fn a_pull_that_stalls_goes_on_from_a_mirror_with_the_same_image() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    let stalling = Stalling::before(&parts.registry);
    let mirror = Registry::start(&parts.path("mirror"));
    push(&parts, &parts.image(), &mirror.image("redis:7"));
    let name = format!("127.0.0.1:{}", stalling.port);
    let config = |mirrors: &str| {
        format!("stall = \"2s\"\n[environments.box.registries.\"{name}\"]\nmirrors = [{mirrors}]\n")
    };
    let at = |registry: &Registry| format!("\"127.0.0.1:{}\"", registry.port);
    let image = format!("{name}/redis:7");

    println!("with no mirror the pull ends, and nothing is left of it");
    parts.configure(&config(""));
    run(&parts, &provision(&image)).exits(3).says("stalled").says("verdict: restored");

    println!("a mirror that has another image is not used");
    let other = Registry::start(&parts.path("other"));
    parts.a.docker(&["import", &parts.path("helper.tar").display().to_string(), "another:1"]);
    parts.a.docker(&["tag", "another:1", &other.image("redis:7")]);
    parts.a.docker(&["push", &other.image("redis:7")]);
    parts.configure(&config(&at(&other)));
    let refused = run(&parts, &provision(&image)).exits(3).says("has another image");
    refused.says("verdict: restored");

    println!("one that has the same is");
    parts.configure(&config(&format!("{}, {}", at(&other), at(&mirror))));
    let done =
        run(&parts, &provision(&image)).exits(0).says("stalled").says("pulled from the mirror");
    let id =
        done.said.split_whitespace().nth(1).unwrap_or_default().trim_end_matches(':').to_owned();
    // Every failover is a line of the log, also later.
    parts.run(&["logs", &id]).exits(0).says("has another image").says("pulled from the mirror");
    assert_eq!(parts.b.redis(&["ping"]), "PONG");
    assert_eq!(parts.b.docker(&["inspect", "-f", "{{.Config.Image}}", "main"]), image);
}
