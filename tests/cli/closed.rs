//! What a person closes in a copy of a state directory, or where the journal is damaged: the locks
//! of whoever has the operation, or one of the same number, are kept.

use crate::harness::{Place, operation};
use crate::world_locks::{copy, killed, locks_are, moving, two};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

const INCOMPLETE: [&str; 4] =
    ["--inject", "docker.wait-healthy=refuse", "--inject", "undo:ebs.attach=refuse"];

fn other(place: &Place, name: &str) -> String {
    copy(&place.path("state"), &place.path(name));
    place.path(name).display().to_string()
}

/// As it was found: whoever gave a copy up took from the one that it is a copy of all that could
/// have taken its downtime back.
#[test]
fn what_is_given_up_in_a_copy_goes_on_where_it_stands() {
    let (place, _) = two();
    place.run(&["run", &operation("backup-database")]).exits(0);
    let before = place.facts();
    killed(&place);
    let copied = other(&place, "copy");
    let own = place.path("state").display().to_string();
    let unlock = ["--state", &copied, "unlock", "2", "--reason", "looked at it"];
    let told =
        place.run(&unlock).exits(0).says("its locks in the environment, if it has any, are kept");
    told.says("unfinished in another state directory").says(&own).says("not its last word");
    let shown = place.run(&["--state", &copied, "show", "2", "--json"]).exits(0).json();
    let why = shown["abandoned"]["elsewhere"].as_str().expect("a text");
    assert!(why.contains(&own), "{why}");
    locks_are(&place, &own, &["this state directory"]);
    place.run(&["rollback", "2"]).exits(3).says("verdict: restored");
    assert_eq!(place.facts(), before);
}

#[test]
fn what_is_accepted_in_a_copy_is_accepted_where_it_stands() {
    let (place, _) = two();
    place.run(&["run", &operation("backup-database")]).exits(0);
    let before = place.facts();
    place.run(&[&["run", &operation("redeploy-database")][..], &INCOMPLETE].concat()).exits(5);
    let copied = other(&place, "copy");
    let own = place.path("state").display().to_string();
    let accept = ["--state", &copied, "rollback", "2", "--accept", "tried it"];
    let refused = place.run(&accept).exits(2).says("unfinished in another state directory");
    refused.says(&format!("stepback --state {own} rollback 2"));
    locks_are(&place, &own, &["this state directory"]);
    place.run(&["rollback", "2"]).exits(3).says("verdict: restored");
    assert_eq!(place.facts(), before);
    // It has ended there: that it has not, as the copy has it, is no reason to keep anything.
    place.run(&accept).exits(2).says("has ended in another state directory");
}

/// A directory is no copy of itself.
#[test]
fn what_is_closed_by_another_path_is_closed() {
    let (place, another) = two();
    place.run(&[&["run", &operation("redeploy-database")][..], &INCOMPLETE].concat()).exits(5);
    let link = place.path("by-link");
    std::os::unix::fs::symlink(place.path("state"), &link).expect("a link");
    let link = link.display().to_string();
    place.run(&["--state", &link, "rollback", "1", "--accept", "it is well"]).exits(0);
    locks_are(&place, &another, &[]);
}

/// It was moved: nobody else has it.
#[test]
fn what_is_closed_in_a_state_directory_that_was_moved_is_closed() {
    let (place, another) = two();
    place.run(&[&["run", &operation("redeploy-database")][..], &INCOMPLETE].concat()).exits(5);
    let moved = place.path("moved").display().to_string();
    fs::rename(place.path("state"), &moved).expect("a directory");
    place.run(&["--state", &moved, "rollback", "1", "--accept", "it is well"]).exits(0);
    locks_are(&place, &another, &[]);
}

/// As it was found: a backup numbers anew what comes after it, and the damaged journal's number was
/// that of the operation that ran.
#[test]
fn giving_up_a_damaged_journal_frees_no_lock_of_another_operation() {
    for is_first_whole in [true, false] {
        let (place, another) = two();
        place.run(&["run", &operation("backup-database")]).exits(0);
        copy(&place.path("state"), &place.path("backup"));
        let moving_it = operation("redeploy-database");
        let crash = ["run", &moving_it, "--inject", "docker.create-volume=crash-before"];
        assert_eq!(place.run(&crash).code, None);
        let journal = rusqlite::Connection::open(place.path("state/journal.db")).expect("a store");
        let event = if is_first_whole { 5 } else { 1 };
        let damage = "UPDATE events SET record = '{' WHERE operation = 2 AND seq = ?1";
        assert_eq!(journal.execute(damage, [event]).expect("it is damaged"), 1);
        drop(journal);
        fs::rename(place.path("state"), place.path("damaged")).expect("a directory");
        copy(&place.path("backup"), &place.path("state"));
        let unlock = ["unlock", "-e", "local", "database/main", "--reason", "it is damaged"];
        place.run(&unlock).exits(0);
        let running = moving(&place);
        let damaged = place.path("damaged").display().to_string();
        let give_up = ["--state", &damaged, "unlock", "2", "--reason", "it is damaged"];
        let told = place.run(&give_up).exits(0).says("is given up");
        match is_first_whole {
            true => told.lacks("are kept"),
            false => told.says("are kept").says("whether the lock `database/main` is its own"),
        };
        locks_are(&place, &another, &["another state directory, running"]);
        running.signal("INT");
        running.ends().exits(3).says("verdict: restored");
        locks_are(&place, &another, &[]);
    }
}

/// What is known of an older journal is not told as what is.
#[test]
fn an_older_journal_that_is_given_up_says_so() {
    let (place, _) = two();
    place.run(&[&["run", &operation("redeploy-database")][..], &INCOMPLETE].concat()).exits(5);
    copy(&place.path("state"), &place.path("backup"));
    place.run(&["rollback", "1"]).exits(3).says("verdict: restored");
    fs::rename(place.path("state"), place.path("newest")).expect("a directory");
    copy(&place.path("backup"), &place.path("state"));
    let told = place.run(&["unlock", "1", "--reason", "it is a backup"]).exits(0);
    told.says("not its last word").says("older copy").lacks("not restored:");
    // Nothing was read of the world since.
    place.run(&["show", "1"]).says("not its last word").says("when it was last compared: ebs");
}

/// A directory with all that is in it.
fn copy_whole(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let (from, to) = entry.map(|one| (one.path(), to.join(one.file_name()))).expect("an entry");
        match from.is_dir() {
            true => copy_whole(&from, &to),
            false => drop(fs::copy(&from, &to).expect("a file")),
        }
    }
}

/// A simulated world that was copied with its state directory is a world of its own: what is held
/// from the original holds nothing there.
#[test]
fn a_copy_with_its_own_world_is_closed_there() {
    let redeploy = operation("redeploy-database");
    let (killed, incomplete) = (
        vec!["--inject", "docker.start-container=crash-after"],
        vec!["--inject", "docker.wait-healthy=refuse", "--inject", "undo:ebs.attach=refuse"],
    );
    for (faults, close) in [
        (&killed, &["unlock", "1", "--reason", "a copy"][..]),
        (&incomplete, &["rollback", "1", "--accept", "a copy"]),
        (&incomplete, &["unlock", "1", "--reason", "a copy"]),
    ] {
        let place = Place::new();
        place.run(&[&["run", redeploy.as_str()][..], faults].concat());
        copy_whole(&place.path("state"), &place.path("copy"));
        let copy = place.path("copy").display().to_string();
        let at_copy = |command: &[&str]| place.run(&[&["--state", &copy][..], command].concat());
        at_copy(close).exits(0).lacks("are kept");
        at_copy(&["run", &operation("backup-database"), "--no-wait"]).exits(0);
        // The original is as it was.
        let busy = place.run(&["run", &operation("backup-database"), "--no-wait"]).exits(2);
        busy.says("is held by operation 1");
    }
}

#[test]
fn what_can_not_be_accepted_now_is_refused_and_not_left() {
    let place = Place::new();
    let faults = ["--inject", "docker.wait-healthy=refuse", "--inject", "undo:ebs.attach=refuse"];
    place.run(&[&["run", &operation("redeploy-database")][..], &faults].concat()).exits(5);
    let locks = place.path("state/worlds/local/locks.json");
    let before = fs::read(&locks).expect("a file");
    fs::write(&locks, "{").expect("a file");
    let refused = place.run(&["rollback", "1", "--accept", "as it is"]).exits(2);
    refused.says("the environment's locks can't be had").lacks("resume");
    let unlocked = place.run(&["unlock", "1", "--reason", "as it is", "--json"]).exits(0);
    assert_eq!(unlocked.json()["status"], "abandoned");
    unlocked.says("its locks in the environment, if it has any, are kept");
    fs::write(&locks, before).expect("a file");
}

/// By a link to it the state directory is the same one, also where its journal can't be read.
#[test]
fn a_damaged_operation_is_given_up_by_any_path_of_its_directory() {
    let place = Place::new();
    let crash = ["--inject", "docker.stop-container=crash-after"];
    place.run(&[&["run", &operation("redeploy-database")][..], &crash].concat());
    let journal = rusqlite::Connection::open(place.path("state/journal.db")).expect("a journal");
    let damage = "UPDATE events SET record = '{' WHERE operation = 1 AND seq = 1";
    assert_eq!(journal.execute(damage, []).expect("it is damaged"), 1);
    drop(journal);
    symlink(place.path("state"), place.path("link")).expect("a link");
    let link = place.path("link").display().to_string();
    let unlock = ["--state", &link, "unlock", "1", "--reason", "it is damaged"];
    place.run(&unlock).exits(0).lacks("nothing that can be read of its journal");
    place.run(&["run", &operation("backup-database"), "--no-wait"]).exits(0);
}
