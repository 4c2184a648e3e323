//! What becomes of an operation when its store can't be written: it stops before its next effect,
//! says why, and goes on when the store is mended.

use crate::harness::{Place, operation};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A small disk of its own for the state directory; gone with the value.
struct Disk(PathBuf);

impl Disk {
    /// `None` where this user may not mount anything.
    fn mount(place: &Place) -> Option<Disk> {
        let dir = place.path("state");
        std::fs::create_dir_all(&dir).expect("a directory");
        let mounted = mount(&["-t", "tmpfs", "-o", "size=16m,mode=0700", "stepback-test"], &dir);
        if !mounted {
            println!("SKIPPED: mounting a small disk takes root");
        }
        mounted.then_some(Disk(dir))
    }

    fn remount(&self, how: &str) {
        assert!(mount(&["-o", &format!("remount,{how}")], &self.0), "remounted {how}");
    }

    /// Leave no room on it.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filler")).expect("a file");
        let block = vec![1u8; 4096];
        while std::io::Write::write_all(&mut file, &block).is_ok() {}
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("filler")).expect("it is there");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn mount(arguments: &[&str], dir: &Path) -> bool {
    let status = Command::new("mount").args(arguments).arg(dir).status();
    status.is_ok_and(|status| status.success())
}

#[test]
fn a_full_disk_stops_the_operation_before_its_next_effect() {
    let place = Place::new();
    let Some(disk) = Disk::mount(&place) else { return };
    let before = place.untouched();
    let flagship = operation("redeploy-database");
    let mut running = place.start(&["run", &flagship, "--inject", "ebs.attach=hang"]);
    running.wait_for("ebs.attach");
    disk.fill();
    running.signal("INT");
    let left = running.ends().exits(6).says("no room is left for the store");
    left.says("downtime: since").says("the cancel could not be kept: `stepback").says("cancel 1");
    disk.make_room();
    let effects = place.world().effects.len();
    place.run(&["cancel", "1"]).exits(3).says("verdict: restored");
    assert!(place.world().effects.len() > effects, "the undos were made after the mending");
    assert_eq!(place.facts(), before);
    assert!(place.world().effects.values().all(|made| made.times == 1));
}

/// Where the store can't be read, nobody can say what became of the cancel.
#[test]
fn what_can_not_be_told_of_a_cancel_is_not_claimed() {
    let place = Place::new();
    place.untouched();
    let flagship = operation("redeploy-database");
    let mut running = place.start(&["run", &flagship, "--inject", "ebs.attach=hang"]);
    running.wait_for("ebs.attach");
    let store = rusqlite::Connection::open(place.path("state/journal.db")).expect("the store");
    store.execute_batch("DROP TABLE requests").expect("it can be changed");
    running.signal("INT");
    let left = running.ends().exits(6).says("downtime: since").lacks("could not be kept");
    left.says("whether the cancel is kept can't be told: ").says("`stepback show 1` tells it");
}

#[test]
fn a_read_only_store_is_told_and_nothing_goes_on() {
    let place = Place::new();
    let Some(disk) = Disk::mount(&place) else { return };
    place.untouched();
    let flagship = operation("redeploy-database");
    let killed = place.run(&["run", &flagship, "--inject", "ebs.attach=crash-before"]);
    assert_eq!(killed.code, None, "it was killed");
    disk.remount("ro");
    let world = place.facts();
    place.run(&["cancel", "1"]).exits(1).says("the store").says("make this one writable");
    // The simulated world is on the same disk, and is met first.
    place.run(&["resume", "1"]).exits(2).says("Read-only file system");
    place.run(&["run", &flagship]).exits(2).says("Read-only file system");
    assert_eq!(place.facts(), world);
    disk.remount("rw");
    place.run(&["resume", "1"]).exits(0);
    assert!(place.world().effects.values().all(|made| made.times == 1));
}

#[test]
fn a_store_that_another_program_holds_is_waited_for() {
    let place = Place::new();
    place.untouched();
    let flagship = operation("redeploy-database");
    let mut running = place.start(&["run", &flagship, "--inject", "ebs.attach=hang"]);
    running.wait_for("ebs.attach");
    let path = place.path("state/journal.db");
    let other = rusqlite::Connection::open(path).expect("the store");
    other.execute_batch("BEGIN IMMEDIATE").expect("it can be held");
    running.signal("INT");
    running.wait_for("cancel asked for");
    let told = place.run(&["show", "1", "--json"]).exits(0).json();
    assert_eq!(told["status"], "running", "readers are not in anybody's way");
    other.execute_batch("COMMIT").expect("it is let go");
    running.ends().exits(3).says("verdict: restored");
}

#[test]
fn a_damaged_store_is_told_and_left_alone() {
    let place = Place::new();
    place.run(&["run", &operation("backup-database")]).exits(0);
    let path = place.path("state/journal.db");
    // What is in the log beside the file would stand in for what is damaged in it.
    let store = rusqlite::Connection::open(&path).expect("the store");
    store.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("a checkpoint");
    drop(store);
    let mut bytes = std::fs::read(&path).expect("the store");
    let length = bytes.len();
    bytes[4096..length].fill(0x5a);
    std::fs::write(&path, &bytes).expect("it can be damaged");
    for arguments in [vec!["show", "1"], vec!["resume", "--all"], vec!["locks"]] {
        place.run(&arguments).exits(1).says("the store is damaged").says("backup");
    }
    let run = place.run(&["run", &operation("backup-database")]);
    run.exits(1).says("the store is damaged");
    assert_eq!(std::fs::read(&path).expect("the store"), bytes, "nothing is written to it");
}

/// A place where a move was killed half way, and the operation's file.
fn died() -> (Place, String) {
    let place = Place::new();
    let flagship = operation("redeploy-database");
    let died = place.run(&["run", &flagship, "--inject", "ebs.attach=crash-after"]);
    assert_eq!(died.code, None);
    (place, flagship)
}

/// An emptied journal beside its log is no new store: what it knew may still be recovered.
#[test]
fn an_emptied_journal_is_no_new_store() {
    let (place, flagship) = died();
    let journal = place.path("state").join("journal.db");
    std::fs::write(&journal, "").expect("a file");
    for command in [&["list"][..], &["locks"], &["run", &flagship]] {
        place.run(command).exits(1).says("from a backup");
    }
    std::fs::remove_file(&journal).expect("a file");
    place.run(&["list"]).exits(1).says("from a backup");
    // With its log gone too it looks like one that never was; who ran here tells that it was.
    for log in ["journal.db-wal", "journal.db-shm"] {
        let _ = std::fs::remove_file(place.path("state").join(log));
    }
    place.run(&["list"]).exits(1).says("it is not there").says("from a backup");
    std::fs::write(&journal, "").expect("a file");
    place.run(&["run", &flagship]).exits(1).says("it is empty").says("from a backup");
    std::fs::rename(place.path("state"), place.path("moved away")).expect("a directory");
    place.run(&["run", &flagship]).exits(0);
}

/// What a runner that died wrote last is in the journal's log alone: copied without it, the journal
/// is not taken for one in which nothing ever ran.
#[test]
fn a_journal_without_its_log_is_no_new_store() {
    let (place, flagship) = died();
    let state = place.path("state");
    for log in ["journal.db-wal", "journal.db-shm"] {
        std::fs::rename(state.join(log), place.path(log)).expect("a log");
    }
    for command in [&["list"][..], &["resume", "--all"], &["run", &flagship]] {
        place.run(command).exits(1).says("its `-wal` file belongs to it").says("from a backup");
    }
    std::fs::rename(place.path("journal.db-wal"), state.join("journal.db-wal")).expect("a log");
    place.run(&["resume", "1"]).exits(0);
}
