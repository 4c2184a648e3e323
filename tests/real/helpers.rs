//! The helper that stays: what it sees, and that it ends with whoever asks it.

use crate::hazards::made_and_attached;
use crate::left::has_none;
use crate::parts::{Engine, TestCluster, are_possible, loops_below};
use crate::place::operation;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

impl TestCluster {
    /// What an engine that was killed has left is cleared away by whoever looks there next.
    #[track_caller]
    pub fn is_cleared_away(&self, killed: &Engine, operation: &str, to: &str) {
        killed.was_killed.store(false, Ordering::SeqCst);
        self.until_or(
            || format!("a helper stays: {}", self.helpers()),
            || {
                has_none(killed) || {
                    let looks = self.command(&["plan", operation, "-i", to]).output();
                    println!("{}", String::from_utf8_lossy(&looks.expect("it starts").stderr));
                    false
                }
            },
        );
    }
}

/// The helpers that run there.
fn helpers(engine: &Engine) -> Vec<String> {
    let listed = engine.docker(&["ps", "--quiet", "--filter", "label=stepback.helper"]);
    listed.lines().map(str::to_owned).collect()
}

/// In the downtime there is one on each host, made before, that has nothing of the host but its
/// devices; one that is gone is made anew; and none outlives the program.
#[test]
fn one_helper_a_host_looks_in_the_downtime_and_ends_with_the_program() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.provision();
    let mut seen = vec![];
    let (path, to) = (operation("redeploy-database"), "to_instance=i-b");
    parts
        .run_watched(&["run", &path, "-i", to], |line| {
            if line.contains("downtime window opens") {
                for engine in [&parts.a, &parts.b] {
                    let mut there = helpers(engine);
                    let helper = there.pop().expect("one is ready");
                    assert!(there.is_empty(), "and only one");
                    let binds = ["inspect", "-f", "{{.HostConfig.Binds}}", &helper];
                    assert_eq!(engine.docker(&binds), "[/dev:/dev]");
                    seen.push(helper);
                }
                // As an engine that is restarted does.
                parts.b.docker(&["kill", &seen[1]]);
            }
        })
        .exits(0);
    assert_eq!(seen.len(), 2);
    assert_eq!(parts.b.redis(&["get", "row"]), "kept");
    none_is_left(&parts);
    let dies = ["--inject", "docker.stop-container=crash-after"];
    assert_eq!(parts.redeploy("i-a", &dies).code, None, "it was killed");
    none_is_left(&parts);
    parts.run(&["resume", "--all"]).exits(0);
    parts.deprovision();
    none_is_left(&parts);
}

/// They end by themselves, which takes a moment; and so are they removed.
#[track_caller]
fn none_is_left(parts: &TestCluster) {
    let all = ["ps", "--all", "--quiet", "--filter", "label=stepback.helper"];
    parts.until("a helper is left", || {
        [&parts.a, &parts.b].iter().all(|engine| engine.docker(&all).is_empty())
    });
}

/// A plan makes them too, and says so.
#[test]
fn a_plan_says_what_it_made_to_look_and_how_long_the_last_runs_were_down() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.provision();
    let path = operation("redeploy-database");
    let plan = |to: &str| parts.run(&["plan", &path, "-i", &format!("to_instance={to}")]);
    let first = plan("i-b").exits(0).says("expected downtime: not known");
    first.says("it made a container of helper:1 on i-a, a container of helper:1 on i-b");
    none_is_left(&parts);
    parts.redeploy("i-b", &[]).exits(0);
    plan("i-a").exits(0).says("(as it was the last time)");
    parts.redeploy("i-a", &[]).exits(0);
    plan("i-b").exits(0).says("(the last 2 times ");
    parts.deprovision();
}

/// A Docker Engine may have a mount namespace of its own, and anybody else too: what is mounted in
/// one is mounted.
#[test]
fn a_mount_in_another_namespace_is_a_mount() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.configure("");
    let made = parts.run(&["run", &made_and_attached(&parts)]).exits(0);
    let volume = made.said.split("volume = \"").nth(1).and_then(|rest| rest.split('"').next());
    let volume = volume.expect("its id").to_owned();
    let (with, declared) =
        (format!("host = \"i-a\", volume = \"{volume}\""), "irreversible = \"a test\"");
    // What an image labels so itself is no helper that writes, and nobody waits for it.
    let label = format!("stepback.helper.writes={volume}");
    let run = ["run", "--detach", "--name", "labelled", "--label", &label];
    parts.a.docker(&[&run[..], &["helper:1", "sleep", "600"]].concat());
    parts.step("docker/make-filesystem", &with, declared).exits(0);
    parts.a.docker(&["rm", "--force", "labelled"]);
    let device = loops_below(&parts.path("")).remove(0);
    let at = parts.path("private").display().to_string();
    std::fs::create_dir(&at).expect("a directory");
    let script = format!("mount {device} {at} && exec sleep 600");
    let mut elsewhere = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &script])
        .stdin(Stdio::null())
        .spawn()
        .expect("it starts");
    let table = Path::new("/proc").join(elsewhere.id().to_string()).join("mountinfo");
    parts.until("it is not mounted", || {
        std::fs::read_to_string(&table).is_ok_and(|mounts| mounts.contains(&device))
    });
    let waits = |volume: &str| {
        let with = format!("host = \"i-a\", volume = \"{volume}\", timeout = \"1s\"");
        parts.step("docker/wait-unmounted", &with, "")
    };
    let detaches = |volume: &str| {
        let with = format!("instance = \"i-a\", volume = \"{volume}\"");
        parts.step("ebs/detach-volume", &with, "")
    };
    waits(&volume)
        .exits(3)
        .says("still mounted on i-a")
        .says(&format!("of process {}", elsewhere.id()));
    detaches(&volume).exits(3).says("is mounted at /proc/");
    elsewhere.kill().expect("it can be ended");
    elsewhere.wait().expect("it ends");
    // A namespace may also be held by a file alone, where no process shows its mounts.
    let (dir, file) = (parts.path("held").display().to_string(), parts.path("held/ns"));
    std::fs::create_dir(&dir).expect("a directory");
    let file = file.display().to_string();
    let run = |program: &str, arguments: &[&str]| {
        let done = Command::new(program).args(arguments).status().expect(program);
        assert!(done.success(), "{program} {arguments:?}");
    };
    run("mount", &["--bind", &dir, &dir]);
    run("mount", &["--make-private", &dir]);
    std::fs::write(&file, "").expect("a file");
    run("unshare", &[&format!("--mount={file}"), "mount", &device, &at]);
    waits(&volume).exits(3).says("still mounted on i-a");
    detaches(&volume).exits(3).says("in use by the kernel");
    run("umount", &[&file]);
    run("umount", &[&dir]);
    waits(&volume).exits(0);
    detaches(&volume).exits(0);
}

/// A port of the host may be a process's that is no container's.
#[test]
fn a_port_that_a_process_has_is_told_before_anything_is_made() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.configure("");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let asks = |ports: &str| {
        parts.step("docker/check-ports", &format!("host = \"i-a\", ports = [\"{ports}\"]"), "")
    };
    let held = format!("port {port}/tcp of i-a is in use by a process");
    asks(&format!("{port}:80")).exits(2).says(&held);
    asks(&format!("127.0.0.1:{port}:80")).exits(2).says(&held);
    asks(&format!("127.0.0.2:{port}:80")).exits(0);
    asks(&format!("{port}:80/udp")).exits(0);
    drop(listener);
    asks(&format!("{port}:80")).exits(0);
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = udp.local_addr().expect("its address").port();
    asks(&format!("{port}:80/udp")).exits(2).says(&format!("port {port}/udp of i-a is in use"));
}
