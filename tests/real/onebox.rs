//! A real database with real bytes on this machine: moved, grown, backed up, and put back.

use crate::parts::{TestCluster, are_possible, loops_below};
use crate::place::operation;
use std::fs::File;

/// The old database serves again, with its data, and the operation says so.
#[track_caller]
fn is_back_on_a(parts: &TestCluster) {
    assert_eq!(parts.a.redis(&["get", "row"]), "kept");
    assert!(parts.a.redis(&["incr", "writes"]).parse::<u32>().is_ok(), "it takes writes");
    assert_eq!(parts.b.docker(&["ps", "--all", "--quiet"]), "", "a container is left on i-b");
    assert_eq!(parts.b.docker(&["volume", "ls", "--quiet"]), "", "a volume is left on i-b");
    assert_eq!(loops_below(&parts.path("")).len(), 1);
    assert!(!parts.run(&["locks"]).exits(0).said.contains("database/main"), "a lock is left");
}

#[test]
fn a_database_moves_between_two_engines_and_back_with_its_data() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.provision();
    let moved = parts.redeploy("i-b", &[]).exits(0).says("downtime: ");
    println!("{}", moved.said.lines().find(|line| line.starts_with("downtime")).unwrap_or("?"));
    assert_eq!(parts.b.redis(&["get", "row"]), "kept");
    assert_eq!(parts.b.redis(&["set", "row", "changed"]), "OK");
    assert_eq!(parts.a.docker(&["ps", "--all", "--quiet"]), "");
    assert_eq!(parts.a.docker(&["volume", "ls", "--quiet"]), "");
    // Again towards where it is: nothing happens.
    parts.redeploy("i-b", &[]).exits(2).says("nothing to move");
    parts.redeploy("i-a", &[]).exits(0);
    assert_eq!(parts.a.redis(&["get", "row"]), "changed");
}

#[test]
fn every_shipped_operation_runs_on_real_parts() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.provision();
    parts.run(&["run", &operation("backup-database")]).exits(0).says("snapshot = \"snap-");
    parts.run(&["run", &operation("restart-database")]).exits(0);
    assert_eq!(parts.a.redis(&["get", "row"]), "kept");
    let resize = operation("resize-database-volume");
    parts.run(&["run", &resize, "-i", "size_gib=2", "-i", "delete_old=true"]).exits(0);
    assert_eq!(parts.a.redis(&["get", "row"]), "kept");
    let size = parts.a.docker(&["exec", "main", "busybox", "df", "-k", "/data"]);
    let kib: u64 = size.split_whitespace().nth(8).and_then(|kib| kib.parse().ok()).expect("a size");
    assert!(kib > 1_500_000, "the file system did not grow: {size}");
    let files = parts.a.docker(&["exec", "main", "busybox", "ls", "-A", "/data"]);
    assert!(!files.contains("lost+found"), "what checks a file system made it anew: {files}");
    // With a failure at its end it is as it was, on the old volume.
    let failing = ["run", &resize, "-i", "size_gib=3", "--inject", "docker.wait-healthy=refuse"];
    parts.run(&failing).exits(3).says("verdict: restored");
    assert_eq!(parts.a.redis(&["get", "row"]), "kept");
    parts.deprovision();
    assert_eq!(loops_below(&parts.path("")), Vec::<String>::new(), "a loop device is left");
    assert_eq!(parts.a.docker(&["ps", "--all", "--quiet"]), "");
}

#[test]
fn when_a_real_part_breaks_the_old_database_serves_again() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.provision();
    println!("the image is missing on the new instance, and the registry has it no more");
    let gone = parts.path("registry/images/docker/registry/v2/repositories");
    let away = parts.path("away");
    std::fs::rename(&gone, &away).expect("it can be moved");
    parts.redeploy("i-b", &[]).exits(2).says("pull-image").says("manifest unknown");
    std::fs::rename(&away, &gone).expect("it can be moved back");
    is_back_on_a(&parts);

    println!("somebody has the volume's device open");
    let device = loops_below(&parts.path("")).remove(0);
    let open = File::open(&device).expect("it can be opened");
    parts.redeploy("i-b", &[]).exits(3).says("has it open").says("verdict: restored");
    drop(open);
    is_back_on_a(&parts);

    println!("the new instance takes it for another file system than it is");
    let wrong = changed(&parts, "{{ steps.running.filesystems[0] }}", "xfs");
    let ran = parts.run(&["run", &wrong, "-i", "to_instance=i-b"]);
    ran.exits(3).says("start-new").says("verdict: restored");
    is_back_on_a(&parts);

    println!("the new instance's engine dies after the old container stopped, and comes back");
    let device = "volume = \"{{ steps.find-volume.id }}\", timeout = ";
    let path = changed(&parts, &format!("{device}\"2m\""), &format!("{device}\"1s\""));
    let arguments = ["run", &path, "-i", "to_instance=i-b"];
    let ran = parts.run_watched(&arguments, |line| match line {
        line if line.contains("✓ stop-old") => parts.b.kill(),
        line if line.starts_with("rolling back") => parts.b.start_again(),
        _ => {}
    });
    ran.exits(3).says("verdict: restored");
    // A helper whose making the engine's death cut off is whoever's that looks next.
    parts.is_cleared_away(&parts.b, &operation("redeploy-database"), "to_instance=i-b");
    is_back_on_a(&parts);

    println!("it stays away: the old database serves, and what is left is taken up later");
    let ran = parts.run_watched(&arguments, |line| {
        if line.contains("✓ stop-old") {
            parts.b.kill();
        }
    });
    let left = ran.exits(5).says("docker:i-b/container/main");
    assert_eq!(parts.a.redis(&["get", "row"]), "kept");
    parts.b.start_again();
    let id = left.said.split_whitespace().nth(1).unwrap_or_default().trim_end_matches(':');
    parts.run(&["rollback", id]).exits(3).says("verdict: restored");
    parts.is_cleared_away(&parts.b, &operation("redeploy-database"), "to_instance=i-b");
    is_back_on_a(&parts);
}

/// Between the stop and the start that takes it back the device goes away; it is back only when
/// the start has begun.
const LATE: &str = r#"
schema = 1
[operation]
name = "late"
[downtime]
[[steps]]
id = "stop"
uses = "docker/stop-container"
phase = "downtime"
with = { host = "i-a", container = "main" }
[[steps]]
id = "pause"
uses = "core/sleep"
phase = "downtime"
with = { duration = "2s" }
[[steps]]
id = "fail"
uses = "core/assert"
phase = "downtime"
with = { condition = "{{ steps.stop.running }}", message = "on purpose" }
"#;

#[test]
fn a_start_that_takes_a_stop_back_waits_for_its_device() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.provision();
    let path = parts.path("late.toml");
    std::fs::write(&path, LATE).expect("a file");
    let devices = parts.path("onebox/instances/i-a");
    let away = parts.path("away");
    let (mut is_away, mut back) = (false, None);
    let ran = parts.run_watched(&["run", &path.display().to_string()], |line| {
        if line.contains("✓ stop") {
            std::fs::rename(&devices, &away).expect("it can be moved");
            is_away = true;
        }
        if is_away && line.contains("docker.start-container …") {
            is_away = false;
            let (devices, away) = (devices.clone(), away.clone());
            back = Some(std::thread::spawn(move || {
                std::thread::sleep(std::time::Duration::from_secs(3));
                std::fs::rename(&away, &devices).expect("it can be moved back");
            }));
        }
    });
    let back = back.expect("it was started on the way back");
    back.join().expect("no panic");
    ran.exits(3).says("on purpose").says("verdict: restored");
    assert_eq!(parts.a.redis(&["get", "row"]), "kept");
}

/// The flagship's manifest with one thing changed.
fn changed(parts: &TestCluster, from: &str, to: &str) -> String {
    let text = std::fs::read_to_string(operation("redeploy-database")).expect("a manifest");
    assert!(text.contains(from));
    let path = parts.path("changed.toml");
    std::fs::write(&path, text.replace(from, to)).expect("a file");
    path.display().to_string()
}

/// What was made since the backup is somebody's data, whatever the ledger knows.
#[test]
fn a_ledger_from_a_backup_writes_over_nothing() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.configure("");
    let text = "schema = 1\n[operation]\nname = \"volume\"\n[[steps]]\nid = \"volume\"\n\
                uses = \"ebs/create-volume\"\nwith = { size_gib = 1, zone = \"local\" }\n";
    std::fs::write(parts.path("volume.toml"), text).expect("a file");
    let volumes = || {
        let all = std::fs::read_dir(parts.path("onebox/volumes")).expect("a directory");
        let mut all: Vec<_> = all.map(|entry| entry.expect("an entry").path()).collect();
        all.sort();
        all
    };
    let ledger = parts.path("onebox/world.json");
    parts.run(&["run", "volume.toml"]).exits(0);
    let backup = std::fs::read(&ledger).expect("a ledger");
    parts.run(&["run", "volume.toml"]).exits(0);
    let made = volumes();
    assert_eq!(made.len(), 2, "{made:?}");
    let newest = &made[1];
    let file = File::options().write(true).open(newest).expect("a volume");
    std::os::unix::fs::FileExt::write_all_at(&file, b"PRECIOUS", 0).expect("it is written");
    std::fs::write(&ledger, backup).expect("a ledger");
    parts.run(&["run", "volume.toml"]).exits(0);
    assert_eq!(volumes().len(), 3, "{:?}", volumes());
    let mut bytes = [0; 8];
    let file = File::open(newest).expect("a volume");
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 0).expect("it is read");
    assert_eq!(&bytes, b"PRECIOUS");
}
