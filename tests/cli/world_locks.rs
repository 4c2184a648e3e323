//! Locks that a world holds itself: two state directories, or two environments, on one world.

use crate::harness::{Place, Running, operation};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Two state directories, `state` and `other`, whose simulated worlds are the same.
pub fn two() -> (Place, String) {
    let place = Place::new();
    fs::create_dir(place.path("worlds")).expect("a directory");
    for state in ["state", "other"] {
        fs::create_dir(place.path(state)).expect("a directory");
        symlink(place.path("worlds"), place.path(state).join("worlds")).expect("a link");
    }
    let other = place.path("other").display().to_string();
    (place, other)
}

pub fn kept(place: &Place) -> std::path::PathBuf {
    place.path("worlds/local/locks.json")
}

/// A move that hangs in its downtime, and holds its lock.
pub fn moving(place: &Place) -> Running {
    let mut running =
        place.start(&["run", &operation("redeploy-database"), "--inject", "ebs.attach=hang"]);
    running.wait_for("ebs.attach");
    running
}

/// The same, killed in it.
pub fn killed(place: &Place) {
    let running = moving(place);
    running.signal("KILL");
    running.ends();
}

pub fn locks_are(place: &Place, state: &str, holders: &[&str]) {
    let held = place.run(&["--state", state, "locks", "-e", "local", "--json"]).exits(0).json();
    let held: Vec<_> =
        held.as_array().expect("a list").iter().map(|lock| &lock["holder"]).collect();
    assert_eq!(held, holders);
}

#[test]
fn what_another_state_directory_moves_is_not_moved_here() {
    let (place, other) = two();
    let running = moving(&place);
    let own = place.path("state").display().to_string();
    let backup = operation("backup-database");
    let refused = place.run(&["--state", &other, "run", &backup, "--no-wait"]).exits(2);
    refused.says("lock `database/main` is held by operation 1").says(&own).says("where it runs");
    locks_are(&place, &own, &["this state directory"]);
    locks_are(&place, &other, &["another state directory, running"]);
    let listed = place.run(&["--state", &other, "locks", "-e", "local"]).exits(0);
    listed.says("database/main").says(&own);
    let unlock = |state: &str, name: &str| {
        place.run(&["--state", state, "unlock", "-e", "local", name, "--reason", "it is late"])
    };
    unlock(&other, "database/main").exits(2).says("which runs");
    unlock(&own, "database/main").exits(2).says("stepback cancel 1");
    unlock(&own, "database/mian").exits(2).says("these are: database/main");

    // It waits in line, and goes on when the other has let go.
    let mut waiting = place.start(&["--state", &other, "run", &backup]);
    waiting.wait_for("waits in line");
    place.run(&["cancel", "1"]).exits(0);
    running.ends().exits(3);
    waiting.ends().exits(0);
    locks_are(&place, &own, &[]);
}

#[test]
fn the_lock_of_a_state_directory_that_is_gone_is_freed_by_hand() {
    let (place, other) = two();
    killed(&place);
    // Unfinished, it is there for whoever resumes it.
    let backup = operation("backup-database");
    let left = place.run(&["--state", &other, "run", &backup, "--no-wait"]).exits(2);
    left.says("where it is unfinished").says("resume 1");
    let unlock = ["unlock", "-e", "local", "database/main", "--reason", "the runner is no more"];
    let unlock = [&["--state", other.as_str()][..], &unlock].concat();
    place.run(&unlock).exits(2).says("which has it").says("cancel 1");
    fs::remove_dir_all(place.path("state")).expect("a directory");
    let gone = place.run(&["--state", &other, "run", &backup]).exits(2);
    gone.says("is gone").says("unlock -e local database/main --reason …` frees it");
    locks_are(&place, &other, &["gone"]);
    place.run(&unlock).exits(0).says("is free");
    let kept = fs::read_to_string(kept(&place)).expect("a file");
    assert!(kept.contains("the runner is no more"), "it is on record: {kept}");
    locks_are(&place, &other, &[]);
    place.run(&unlock).exits(2).says("none is");
    place.run(&["unlock", "database/main", "--reason", "x"]).exits(2);
}

/// Killed when the store had let go and the world had not, it holds up nobody of its own.
#[test]
fn what_was_left_at_the_very_end_is_let_go_by_whoever_comes_next() {
    let (place, other) = two();
    let own = place.path("state").display().to_string();
    let running = moving(&place);
    let held = fs::read_to_string(kept(&place)).expect("a file");
    running.signal("INT");
    running.ends().exits(3);
    let put_back = || fs::write(kept(&place), &held).expect("a file");
    put_back();
    // Nobody else lets go of it, though anybody can tell; its own do, whichever asks first.
    locks_are(&place, &other, &["gone"]);
    locks_are(&place, &own, &[]);
    put_back();
    place.run(&["run", &operation("backup-database"), "--no-wait"]).exits(0);

    // A copy of a state directory has its identity, and its next operation the same number.
    copy(&place.path("state"), &place.path("copy"));
    let running = moving(&place);
    let copy = place.path("copy").display().to_string();
    let again = ["--state", &copy, "run", &operation("backup-database"), "--no-wait"];
    place.run(&again).exits(2).says("held by operation 3").says("of another state directory");
    locks_are(&place, &own, &["this state directory"]);
    running.signal("INT");
    running.ends().exits(3);
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a directory");
    for file in fs::read_dir(from).expect("a directory") {
        let file = file.expect("an entry");
        if file.file_type().expect("a type").is_file() {
            fs::copy(file.path(), to.join(file.file_name())).expect("a file");
        }
    }
    symlink(to.with_file_name("worlds"), to.join("worlds")).expect("a link");
}

#[test]
fn an_incomplete_rollback_keeps_the_worlds_lock_until_it_is_accepted() {
    for last in
        [&["rollback", "1", "--accept", "it is well"][..], &["unlock", "1", "--reason", "x"]]
    {
        let (place, other) = two();
        let faults =
            ["--inject", "docker.wait-healthy=refuse", "--inject", "undo:ebs.attach=refuse"];
        let flagship = operation("redeploy-database");
        place.run(&[&["run", flagship.as_str()][..], &faults].concat()).exits(5);
        locks_are(&place, &other, &["another state directory, its rollback incomplete"]);
        // From elsewhere it is not waited for, and what to do is told.
        let own = place.path("state").display().to_string();
        let backup = ["--state", &other, "run", &operation("backup-database")];
        let refused = place.run(&backup).exits(2).says("where its rollback is incomplete");
        refused.says(&format!("`stepback --state {own} rollback 1` takes it up again"));
        let unlock = ["unlock", "-e", "local", "database/main", "--reason", "it is late"];
        let unlock = place.run(&[&["--state", other.as_str()][..], &unlock].concat()).exits(2);
        unlock.says(&format!("`stepback --state {own} rollback 1`")).lacks("resume 1");
        place.run(last).exits(0);
        locks_are(&place, &other, &[]);
    }
}

#[test]
fn two_environments_of_one_world_are_told_apart() {
    let (place, _) = two();
    symlink(place.path("worlds/local"), place.path("worlds/again")).expect("a link");
    place.write(
        "stepback.toml",
        "default_environment = \"local\"\n[environments.again]\nprovider = \"simulated\"\n",
    );
    let running = moving(&place);
    let again = ["run", &operation("backup-database"), "--no-wait", "-e", "again"];
    place.run(&again).exits(2).says("of the environment `local`, which is the same world");
    running.signal("INT");
    running.ends().exits(3);
    place.run(&again).exits(0);
}

#[test]
fn a_file_of_locks_that_is_none_is_told_before_anything_is_changed() {
    let (place, _) = two();
    place.untouched();
    fs::write(kept(&place), "odd").expect("a file");
    let refused = place.run(&["run", &operation("redeploy-database")]).exits(2);
    refused.says("locks can't be had").says("locks.json does not hold locks");
}

#[test]
fn nobody_goes_on_without_locks_that_can_not_be_read() {
    let place = Place::new();
    let moved = operation("redeploy-database");
    place.run(&["run", &moved, "--inject", "ebs.attach=crash-after"]);
    let locks = place.path("state/worlds/local/locks.json");
    let kept = fs::read(&locks).expect("locks");
    fs::write(&locks, "odd").expect("a file");
    for verb in ["resume", "cancel"] {
        let left = place.run(&[verb, "1"]).exits(6);
        left.says("locks can't be had").says("does not hold locks").lacks("freed meanwhile");
    }
    fs::write(&locks, kept).expect("a file");
    place.run(&["cancel", "1"]).exits(3).says("verdict: restored");
}

/// They are not synced: a power cut leaves names with nothing in them.
#[test]
fn who_ran_what_has_no_locks_keeps_nobody_from_ending_what_was_begun() {
    for left in ["", "\0\0"] {
        let place = Place::new();
        let moved = operation("redeploy-database");
        let cut = ["--inject", "ebs.attach=crash-after"];
        place.run(&[&["run", &moved][..], &cut].concat());
        let runs = place.path("state/worlds/local/runs");
        fs::create_dir_all(&runs).expect("a directory");
        for number in 0..=u8::MAX {
            let file = Path::new(&runs).join(format!("{number:02x}.json"));
            fs::write(file, left).expect("a file");
        }
        place.run(&["cancel", "1"]).exits(3).says("verdict: restored").lacks("could not be");
        place.run(&["run", &operation("restart-database")]).exits(0).lacks("could not be");
    }
}

/// Whoever has the locks of its store, and waits for the world's, is before those who wait for it.
#[test]
fn two_that_wait_for_another_state_directory_both_go_on() {
    let (place, other) = two();
    let running = moving(&place);
    let backup = operation("backup-database");
    let mut all = vec![];
    for name in ["one", "two"] {
        let mut waiting = place.start_as(name, &["--state", &other, "run", &backup]);
        waiting.wait_for("waits in line");
        all.push(waiting);
    }
    running.signal("INT");
    running.ends().exits(3);
    for waiting in all {
        waiting.ends().exits(0);
    }
}

/// A state directory that was lost, with a new one at its place: its operation 1 is another one.
#[test]
fn a_new_state_directory_at_the_same_place_is_another_one() {
    let (place, other) = two();
    killed(&place);
    let lost = place.path("lost");
    fs::rename(place.path("state"), &lost).expect("a directory");
    fs::create_dir(place.path("state")).expect("a directory");
    symlink(place.path("worlds"), place.path("state/worlds")).expect("a link");
    let backup = operation("backup-database");
    place.run(&["run", &backup]).exits(2).says("has it no more").says("unlock -e local");
    let unlock = ["unlock", "-e", "local", "database/main", "--reason", "it was lost"];
    place.run(&unlock).exits(0).says("is free");
    // Found again, it finds somebody else at work, and waits until that one is through.
    let mut holder = place.start_as(
        "holder",
        &["--state", &other, "run", &backup, "--inject", "ebs.create-snapshot=hang"],
    );
    holder.wait_for("ebs.create-snapshot");
    let lost = lost.display().to_string();
    for command in ["resume", "rollback"] {
        let left = place.run(&["--state", &lost, command, "1"]).exits(6);
        left.says("its locks were freed meanwhile").says("where it runs");
    }
    holder.signal("INT");
    holder.ends().exits(3);
    place.run(&["--state", &lost, "rollback", "1"]).exits(3).says("verdict: restored");
    locks_are(&place, &other, &[]);
}

/// An operation whose records can't be read any more is given up with its locks in the world.
#[test]
fn what_can_not_be_read_any_more_keeps_no_lock_of_the_world() {
    let (place, other) = two();
    killed(&place);
    let broken = std::process::Command::new("python3")
        .args([
            "-c",
            "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); \
              c.execute(\"update events set record='{}' where seq=1\"); c.commit()",
        ])
        .arg(place.path("state/journal.db"))
        .status();
    assert!(broken.expect("python3").success());
    // What can't be looked into may be freed by hand, too.
    locks_are(&place, &other, &["not to be seen from here"]);
    place.run(&["unlock", "1", "--reason", "it can't be read"]).exits(0);
    locks_are(&place, &other, &[]);
}

/// Asking makes nothing.
#[test]
fn a_world_that_nobody_made_holds_no_locks() {
    let place = Place::new();
    place.run(&["locks", "-e", "local"]).exits(2).says("nothing has run in `local`");
    assert!(!place.path("state/worlds").exists(), "a world was made");
}

/// What somebody else wrote into the file draws nothing on the terminal.
#[test]
fn what_a_lock_tells_of_its_holder_is_shown_as_text() {
    let (place, other) = two();
    killed(&place);
    let held = fs::read_to_string(kept(&place)).expect("a file");
    let mut odd: serde_json::Value = serde_json::from_str(&held).expect("JSON");
    let mut marked = 0;
    mark(&mut odd, &mut marked);
    assert!(marked > 0, "{held}");
    fs::write(kept(&place), odd.to_string()).expect("a file");
    for arguments in [&["locks", "-e", "local"][..], &["locks", "-e", "local", "--json"]] {
        let listed = place.run(&[&["--state", other.as_str()][..], arguments].concat()).exits(0);
        assert!(!listed.stdout.contains(['\u{1b}', '\u{9b}', '\u{7f}']), "{:?}", listed.stdout);
        match arguments.contains(&"--json") {
            true => {
                let host = listed.json()[0]["host"].clone();
                assert_eq!(host, "box\u{9b}31m\u{7f}\u{202e}\u{1b}[2J");
            }
            false => {
                let shown = "box\\u009b31m\\u007f\\u202e\\u001b[2J";
                assert!(!listed.stdout.contains('\u{202e}'), "{:?}", listed.stdout);
                listed.says(shown);
            }
        }
    }
}

/// Give every holder an odd host.
fn mark(value: &mut serde_json::Value, marked: &mut usize) {
    if let Some(host) = value.get_mut("host") {
        *host = "box\u{9b}31m\u{7f}\u{202e}\u{1b}[2J".into();
        *marked += 1;
    }
    match value {
        serde_json::Value::Array(all) => all.iter_mut().for_each(|one| mark(one, marked)),
        serde_json::Value::Object(all) => all.values_mut().for_each(|one| mark(one, marked)),
        _ => {}
    }
}

/// Who wants to free a lock by hand must be able to read its name.
#[test]
fn what_the_world_holds_is_told_beside_a_damaged_journal() {
    let (place, _) = two();
    killed(&place);
    fs::write(place.path("state/journal.db"), "").expect("a file");
    place.run(&["locks"]).exits(1).says("from a backup");
    place.run(&["locks", "-e", "local"]).exits(0).says("database/main");
}
