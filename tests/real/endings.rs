//! How containers end, and what would be lost with them.

use crate::parts::{TestCluster, are_possible};
use crate::place::Ran;
use std::process::Stdio;
use std::time::Duration;

/// It takes some seconds to end when it is told to.
const SLOW: &str = "trap 'sleep 4; exit 0' TERM; while :; do sleep 1 & wait $!; done";

fn step(parts: &TestCluster, uses: &str, with: &str) -> Ran {
    parts.step(uses, &format!("host = \"i-a\", container = \"main\", {with}"), "")
}

fn is_running(parts: &TestCluster) -> bool {
    parts.a.docker(&["inspect", "-f", "{{.State.Running}}", "main"]) == "true"
}

/// An engine goes on with a stop whose runner is dead: it is not taken for one that never was.
#[test]
fn a_stop_that_goes_on_without_its_runner_is_waited_for() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.configure("");
    let text = "schema = 1\n[operation]\nname = \"stop\"\n[[steps]]\nid = \"stop\"\n\
                uses = \"docker/stop-container\"\n\
                with = { host = \"i-a\", container = \"main\", grace = \"20s\" }\n";
    std::fs::write(parts.path("stop.toml"), text).expect("a file");
    parts.a.docker(&["run", "--detach", "--name", "main", "helper:1", "sh", "-c", SLOW]);
    let kills = || {
        let all = ["events", "--since", "1", "--until", "0s", "--filter", "event=kill"];
        parts.a.docker(&all).lines().count()
    };
    for (number, command) in ["rollback", "cancel", "resume"].iter().enumerate() {
        let id = (number + 1).to_string();
        let before = kills();
        let mut command_of = parts.command(&["run", "stop.toml"]);
        let mut child =
            command_of.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        parts.until("it is not told to stop", || kills() > before);
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        assert!(is_running(&parts), "it takes its time");
        let ran = parts.run(&[command, &id]);
        match *command {
            "resume" => drop(ran.exits(0)),
            _ => drop(ran.exits(3).says("verdict: restored")),
        }
        // What was to come of the stop has come by now.
        std::thread::sleep(Duration::from_secs(5));
        assert_eq!(is_running(&parts), *command != "resume", "{command}");
    }
}

#[test]
fn a_container_that_takes_longer_than_its_grace_is_left_alone() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.configure("");
    let slow = ["--stop-timeout", "120", "helper:1", "sh", "-c", SLOW];
    parts.a.docker(&[&["run", "--detach", "--name", "main"], &slow[..]].concat());
    let refused = step(&parts, "docker/stop-container", "grace = \"60s\"").exits(2);
    refused.says("may take 120 s to stop (`--stop-timeout`), and would be killed after 60 s");
    assert!(is_running(&parts));
    // It would come back without that.
    parts.a.docker(&["pause", "main"]);
    let refused = step(&parts, "docker/stop-container", "grace = \"120s\"").exits(2);
    refused.says("is paused, and would not be when it is started again");
    parts.a.docker(&["unpause", "main"]);
    step(&parts, "docker/stop-container", "grace = \"120s\"").exits(0);
}

#[test]
fn a_container_with_something_of_its_own_does_not_make_way() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.configure("");
    let replace = |with: &str| step(&parts, "docker/check-replace", with);
    let run = ["run", "--detach", "--name", "main", "--volume", "data:/data", "helper:1"];
    parts.a.docker(&[&run[..], &["sleep", "600"]].concat());
    let write =
        |path: &str| parts.a.docker(&["exec", "main", "sh", "-c", &format!("echo > {path}")]);
    // What is worth nothing, or is in a volume, goes and stays.
    for path in ["/tmp/x", "/data/rows"] {
        write(path);
    }
    replace("").exits(0);
    write("/etc/main.conf");
    replace("").exits(2).says("/etc/main.conf");
    replace("own_files = \"lost\"").exits(0);
    let other = ["run", "--detach", "--name", "other", "helper:1", "sleep", "600"];
    let other = |more: &[&str]| {
        let _ = parts.a.try_docker(&["rm", "--force", "other"]);
        let (first, last) = other.split_at(4);
        parts.a.docker(&[first, more, last].concat());
    };
    other(&["--volume", "data:/backup"]);
    let refused = replace("own_files = \"lost\"").exits(2);
    refused.says("container `other` on i-a has Docker volume `data` mounted too");
    // The same device goes by another name.
    let device = ["--opt", "type=tmpfs", "--opt", "device=tmpfs"];
    for volume in ["device-1", "device-2"] {
        parts.a.docker(&[&["volume", "create"], &device[..], &[volume]].concat());
    }
    parts.a.docker(&["rm", "--force", "main"]);
    let run = ["run", "--detach", "--name", "main", "--volume", "device-1:/data", "helper:1"];
    parts.a.docker(&[&run[..], &["sleep", "600"]].concat());
    other(&["--volume", "device-2:/backup"]);
    let refused = replace("own_files = \"lost\"").exits(2);
    refused
        .says("container `other` on i-a has Docker volume `device-2` mounted too, or its device");
    // By its name, before there was one of it.
    let _ = parts.a.try_docker(&["rm", "--force", "main", "other"]);
    let made = ["create", "--name", "other", "--network", "container:main", "helper:1", "true"];
    parts.a.docker(&made);
    parts.a.docker(&[&run[..], &["sleep", "600"]].concat());
    let refused = replace("own_files = \"lost\"").exits(2);
    refused.says("container `other` on i-a has the network of `main`");
    other(&["--network", "container:main"]);
    replace("own_files = \"lost\"")
        .exits(2)
        .says("container `other` on i-a has the network of `main`");
    for what in ["pid", "ipc"] {
        // Its own memory is shared only where that was said (`--ipc shareable`).
        if what == "ipc" {
            let _ = parts.a.try_docker(&["rm", "--force", "main"]);
            let run = ["run", "--detach", "--ipc", "shareable", "--name", "main", "helper:1"];
            parts.a.docker(&[&run[..], &["sleep", "600"]].concat());
        }
        other(&[&format!("--{what}"), "container:main"]);
        let refused = replace("own_files = \"lost\"").exits(2);
        refused.says(&format!("container `other` on i-a has the {what} of `main`"));
    }
}
