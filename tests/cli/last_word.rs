//! What a rollback's last word names, and what it says to do about it.

use crate::harness::Place;

const SWAP: &str = r#"
schema = 1
[operation]
name = "swap"
[[steps]]
id = "stop"
uses = "docker/stop-container"
phase = "downtime"
with = { host = "i-db-1", container = "main" }
[[steps]]
id = "rename"
uses = "docker/rename-container"
phase = "downtime"
with = { host = "i-db-1", container = "main", to = "main-old" }
[[steps]]
id = "wait"
uses = "docker/wait-healthy"
phase = "downtime"
with = { host = "i-db-1", container = "main-old" }
"#;

/// One that the operation renamed is its own doing, under either name, and is told once.
#[test]
fn a_container_that_is_not_renamed_back_is_told_by_its_names() {
    let place = Place::new();
    place.write("swap.toml", SWAP);
    let faults = [
        "--inject",
        "docker.wait-healthy=refuse",
        "--inject",
        "undo:docker.rename-container=refuse",
    ];
    let ran = place.run(&[&["run", "swap.toml"][..], &faults].concat()).exits(5);
    ran.says("do:   rename docker:i-db-1/container/main-old back to main; then ")
        .says("do:   it is docker:i-db-1/container/main, renamed: see there")
        .lacks("it is not this operation's")
        .lacks("make it anew")
        .lacks("container/container:");
    let shown = place.show(1);
    let named = shown["not_restored"].as_array().expect("a list").iter();
    let mut named: Vec<_> = named.map(|one| one["resource"].as_str().expect("a name")).collect();
    named.sort_unstable();
    assert_eq!(named, ["docker:i-db-1/container/main", "docker:i-db-1/container/main-old"]);
}

const ENCRYPT: &str = r#"
schema = 1
[operation]
name = "encrypt"
[[steps]]
id = "stop"
uses = "ec2/stop-instance"
phase = "downtime"
with = { instance = "i-app" }
[[steps]]
id = "detach"
uses = "ebs/detach-volume"
phase = "downtime"
with = { volume = "vol-old", instance = "i-app" }
[[steps]]
id = "start"
uses = "ec2/start-instance"
phase = "downtime"
with = { instance = "i-app" }
"#;

const INSTANCE: &str = r#"
[instances.i-app]
state = "running"
type = "m5.large"
zone = "us-east-1a"
private_ip = "10.0.1.11"
[volumes.vol-old]
size_gib = 8
type = "gp3"
zone = "us-east-1a"
attachments = [{ instance = "i-app", device = "/dev/sdf" }]
filesystem = { type = "ext4", size_gib = 8 }
"#;

/// An instance need not run Docker.
#[test]
fn an_instance_without_an_engine_is_restored() {
    let place = Place::new();
    place.write("encrypt.toml", ENCRYPT);
    let world = |more: &str| {
        place.write("world.toml", format!("{INSTANCE}{more}"));
        place.write(
            "stepback.toml",
            "[environments.local]\nprovider = \"simulated\"\nworld = \"world.toml\"\n",
        );
    };
    world("");
    let fault = ["--inject", "ec2.start=refuse"];
    let ran = place.run(&[&["run", "encrypt.toml"][..], &fault].concat()).exits(3);
    ran.says("not compared: docker:i-app/containers: no Docker Engine was there before");
    let shown = place.show(1);
    assert_eq!(shown["verdict"], "restored");
    assert_eq!(shown["not_compared"], serde_json::json!(["docker:i-app/containers"]));
    assert_eq!(shown["not_restored"], serde_json::json!([]));
    // With one that answers, all is compared, and nothing is left to say.
    std::fs::remove_dir_all(place.path("state")).expect("a directory");
    world("[engines.i-app]\n");
    let ran = place.run(&[&["run", "encrypt.toml"][..], &fault].concat()).exits(3);
    ran.lacks("not compared");
}

/// Whoever did not answer before, and does now, has something that nobody compared.
#[test]
fn an_engine_that_answers_by_now_was_not_compared() {
    let place = Place::new();
    place.write("encrypt.toml", ENCRYPT);
    place.write("world.toml", format!("{INSTANCE}[engines.i-app]\n"));
    place.write(
        "stepback.toml",
        "[environments.local]\nprovider = \"simulated\"\nworld = \"world.toml\"\n",
    );
    // One that is slow, or denies, is there, whoever asks how often.
    for answer in ["refuse", "transient"] {
        let mut faults = vec!["--inject".to_owned(), "ec2.start=refuse".to_owned()];
        for nth in 1..30 {
            let listed = format!("docker.list-containers#{nth}={answer}");
            faults.extend(["--inject".to_owned(), listed]);
        }
        let faults: Vec<&str> = faults.iter().map(String::as_str).collect();
        let ran = place.run(&[&["run", "encrypt.toml"][..], &faults].concat()).exits(5);
        ran.says("it can't be compared, because it could not be read before");
        std::fs::remove_dir_all(place.path("state")).expect("a directory");
    }
}
