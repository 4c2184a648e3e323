//! A onebox after a reboot: engines, containers, mounts and loop devices are gone, disks are not.

use crate::parts::{Engine, TestCluster, are_possible, loops_below};
use std::process::Command;
use std::sync::atomic::Ordering;

impl TestCluster {
    /// Take from the machine what a reboot takes: every process at once, then what the kernel
    /// held, then what lies in `/run`.
    fn go_down(&self) {
        for engine in [&self.a, &self.b] {
            let containers = engine.processes();
            engine.kill();
            for pid in containers {
                let pid = pid.to_string();
                assert!(
                    Command::new("kill").args(["-KILL", &pid]).status().expect("kill").success()
                );
            }
        }
        for mount in self.mounts() {
            let lazily = Command::new("umount").args(["--lazy", &mount]).status();
            assert!(lazily.expect("umount").success(), "{mount}");
        }
        for device in loops_below(&self.path("")) {
            let detached = Command::new("losetup").args(["--detach", &device]).status();
            assert!(detached.expect("losetup").success(), "{device}");
        }
        self.wait_for_no_loops();
        for engine in [&self.a, &self.b] {
            engine.forget_run();
        }
        assert_eq!(self.mounts(), Vec::<String>::new());
    }

    fn start_engines(&self) {
        for engine in [&self.a, &self.b] {
            engine.start_again();
            // What was there was killed with it, so that nothing is left by whoever comes now.
            engine.was_killed.store(false, Ordering::SeqCst);
        }
    }

    /// Reboot, with the volumes attached before the engines start, as docs/environments.md has it.
    fn reboot(&self) {
        self.go_down();
        self.run(&["env", "check"]).exits(2).says("✗ Docker Engine of i-a");
        self.start_engines();
    }

    /// Mounts of volumes; an engine's own for its containers are its own business.
    fn mounts_of_volumes(&self) -> Vec<String> {
        self.mounts().into_iter().filter(|at| at.contains("/data/volumes/")).collect()
    }

    fn wait_for_no_loops(&self) {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !loops_below(&self.path("")).is_empty() {
            assert!(std::time::Instant::now() < until, "a loop device stays");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// The database serves there, with its data, and nowhere else is anything of it.
#[track_caller]
fn is_only_on(parts: &TestCluster, here: &Engine, there: &Engine, why: &str) {
    assert_eq!(here.redis(&["get", "row"]), "kept", "{why}");
    assert!(here.redis(&["incr", "writes"]).parse::<u32>().is_ok(), "{why}: it takes writes");
    assert_eq!(there.docker(&["ps", "--all", "--quiet"]), "", "{why}: a container is left");
    assert_eq!(there.docker(&["volume", "ls", "--quiet"]), "", "{why}: a volume is left");
    assert_eq!(loops_below(&parts.path("")).len(), 1, "{why}: loop devices");
    assert_eq!(parts.mounts_of_volumes().len(), 1, "{why}: {:?}", parts.mounts());
}

#[test]
fn a_onebox_outlives_a_reboot_and_so_does_what_was_under_way() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.provision();
    println!("the volumes come back before the engines");
    parts.reboot();
    parts.run(&["env", "check"]).exits(0);
    parts.a.until_healthy("main");
    is_only_on(&parts, &parts.a, &parts.b, "after a reboot");

    println!("the engines come back before the volumes");
    parts.go_down();
    parts.start_engines();
    assert_eq!(loops_below(&parts.path("")), Vec::<String>::new());
    parts.run(&["env", "check"]).exits(0);
    assert_eq!(loops_below(&parts.path("")).len(), 1, "the volume is attached again");
    parts.a.restart_with(&[]);
    parts.a.until_healthy("main");
    is_only_on(&parts, &parts.a, &parts.b, "after another");

    let ends = [("i-b", &parts.b, &parts.a), ("i-a", &parts.a, &parts.b)];
    let mut way = ends.iter().cycle();
    let cuts = [
        "docker.create-container=crash-after",
        "docker.stop-container=crash-after",
        "ebs.detach=crash-before",
        "ebs.attach=crash-after",
        "docker.start-container=crash-after",
    ];
    for cut in cuts {
        let (to, here, there) = way.next().expect("it goes round");
        let left = parts.redeploy(to, &["--inject", cut]);
        assert_eq!(left.code, None, "{cut}: it was not killed\n{}", left.said);
        parts.reboot();
        parts.run(&["resume", left.id()]).exits(0);
        is_only_on(&parts, here, there, cut);
    }

    println!("on the way back");
    let failing = ["--inject", "docker.wait-healthy=refuse"];
    for cut in ["undo:ebs.detach=crash-after", "undo:docker.start-container=crash-before"] {
        let (to, there, here) = way.clone().next().expect("it goes round");
        let left = parts.redeploy(to, &[&failing[..], &["--inject", cut]].concat());
        assert_eq!(left.code, None, "{cut}: it was not killed\n{}", left.said);
        parts.reboot();
        parts.run(&["resume", left.id()]).exits(3).says("verdict: restored");
        is_only_on(&parts, here, there, cut);
    }

    parts.deprovision();
    assert_eq!(loops_below(&parts.path("")), Vec::<String>::new(), "a loop device is left");
    assert_eq!(parts.mounts_of_volumes(), Vec::<String>::new(), "a mount is left");
}
