//! What is wrong with an environment is told before anything is changed, with what to do.

use crate::parts::{TestCluster, are_possible, free_port};
use crate::place::operation;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;

/// An engine that only speaks an old version of the API.
fn old_engine(socket: &std::path::Path) {
    let listener = UnixListener::bind(socket).expect("a socket");
    // It ends with the test's process.
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let _ = client.read(&mut [0; 4096]);
            let body = "{\"Version\":\"1.9.1\",\"ApiVersion\":\"1.21\"}";
            let length = body.len();
            let _ = write!(
                client,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\
                 Content-Length: {length}\r\n\r\n{body}"
            );
        }
    });
}

#[test]
fn what_is_wrong_with_an_environment_is_told_before_anything_is_changed() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.provision();
    let old = parts.path("old.sock");
    old_engine(&old);
    let unreachable = format!("tcp://127.0.0.1:{}", free_port());
    let path = operation("redeploy-database");
    let table = [
        ("unix:///nowhere/docker.sock".to_owned(), "there is no socket /nowhere/docker.sock"),
        (unreachable, "onnection refused"),
        (format!("unix://{}", old.display()), "API 1.21; Stepback needs 1.41"),
    ];
    for (docker, wanted) in table {
        let more = format!("[environments.box.instances.i-c]\ndocker = \"{docker}\"\n");
        parts.configure(&more);
        parts.run(&["run", &path, "-i", "to_instance=i-c"]).exits(2).says(wanted);
        let checked = parts.run(&["env", "check", "box"]).exits(2).says(wanted);
        checked.says("✗ Docker Engine of i-c").says("✓ Docker Engine of i-a: Docker 2");
        assert_eq!(parts.a.redis(&["get", "row"]), "kept");
    }
    parts.configure("");
    parts.run(&["env", "check"]).exits(0).says("✓ helper image on i-b: helper:1");
    let unknown = parts.run(&["run", &path, "-i", "to_instance=i-none"]).exits(2);
    unknown.says("there is no instance `i-none`");
    let provision = operation("provision-database");
    let needing = [
        vec!["run", &path, "-i", "to_instance=i-b"],
        vec!["run", &provision, "-i", "instance=i-b", "-i", "database=other"],
    ];
    let config = std::fs::read_to_string(parts.path("stepback.toml")).expect("a file");
    let nobodys = "helper_image = \"nobodys:1\"";
    for (helper_image, wanted) in [("", "name an image"), (nobodys, "nobodys:1 is not on i-")] {
        let other = config.replace("helper_image = \"helper:1\"", helper_image);
        std::fs::write(parts.path("stepback.toml"), other).expect("a file");
        for arguments in &needing {
            parts.run(arguments).exits(2).says(wanted);
        }
    }
    parts.run(&["run", &operation("restart-database")]).exits(0);
    assert_eq!(parts.a.redis(&["get", "row"]), "kept");
}

/// A `root` that is another one by now keeps what was done in the old one from being taken back.
#[test]
fn what_can_be_rolled_back_in_another_world_is_not_promised_to_be_all() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.configure("");
    let image = format!("image={}", parts.image());
    let given = ["instance=i-a", "data_dir=/data", "size_gib=1", "database=main", &image];
    let (path, fault) = (operation("provision-database"), "docker.create-container=crash-before");
    let mut arguments = vec!["run", &path, "--inject", fault];
    arguments.extend(given.iter().flat_map(|input| ["-i", input]));
    assert_eq!(parts.run(&arguments).code, None, "it was killed");
    let text = std::fs::read_to_string(parts.path("stepback.toml")).expect("a file");
    let other = text.replace("root = \"onebox\"", "root = \"another\"");
    assert_ne!(text, other);
    std::fs::write(parts.path("stepback.toml"), other).expect("a file");
    let left = parts.run(&["resume", "1"]).exits(6);
    left.says("it began in another world").says("rolls back only what can be without it");
    std::fs::write(parts.path("stepback.toml"), text).expect("a file");
    parts.run(&["cancel", "1"]).exits(3).says("verdict: restored");
}

/// Before Docker 23 the engines of one machine have one id: a host that leads to another of them is
/// told all the same, and nothing there is taken for what was on the old one.
#[test]
fn a_host_that_leads_to_another_engine_of_the_machine_is_told() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.provision();
    let stop =
        ["run", &operation("restart-database"), "--inject", "docker.start-container=crash-before"];
    assert_eq!(parts.run(&stop).code, None, "it was killed");
    let text = std::fs::read_to_string(parts.path("stepback.toml")).expect("a file");
    let (a, b) = (parts.a.host(), parts.b.host());
    let other = text.replace(&a, "an other").replace(&b, &a).replace("an other", &b);
    assert_ne!(text, other);
    std::fs::write(parts.path("stepback.toml"), other).expect("a file");
    let back = parts.run(&["rollback", "2"]).exits(5).says("verdict: incomplete");
    back.says("the Docker Engine of i-a was");
    std::fs::write(parts.path("stepback.toml"), text).expect("a file");
    parts.run(&["rollback", "2"]).exits(3).says("verdict: restored");
    assert_eq!(parts.a.redis(&["get", "row"]), "kept");
}
