//! Two journals of one operation, whose ways part: one of them goes on, and the world is told.

use crate::harness::{Place, operation};
use crate::world_locks::{copy, locks_are, two};
use serde_json::Value;
use std::fs;

/// Tags a volume, runs what can't be taken back, and tags it again.
fn charging(place: &Place, locks: &str) -> String {
    place.write(
        "charging.toml",
        format!(
            "schema = 1\n[operation]\nname = \"charging\"\n{locks}\n\
             [[steps]]\nid = \"one\"\nuses = \"ebs/tag-volume\"\n\
             with = {{ volume = \"vol-db-main\", key = \"one\", value = \"v\" }}\n\
             [[steps]]\nid = \"job\"\nuses = \"docker/run-once\"\nirreversible = \"a job\"\n\
             with = {{ host = \"i-db-1\", image = \"postgres:16\", command = [\"charge\"] }}\n\
             [[steps]]\nid = \"two\"\nuses = \"ebs/tag-volume\"\n\
             with = {{ volume = \"vol-db-main\", key = \"two\", value = \"v\" }}\n"
        ),
    )
}

fn jobs(place: &Place) -> usize {
    let world = fs::read(place.path("worlds/local/world.json")).expect("a world");
    let world: Value = serde_json::from_slice(&world).expect("JSON");
    let made = world["effects"].as_object().expect("effects").values();
    made.filter(|one| one["function"] == "docker.run-once").count()
}

/// How far the world knows the journal of the only operation to be.
fn noted(place: &Place) -> u64 {
    let dir = place.path("worlds/local/journaled");
    let mut files = fs::read_dir(dir).expect("a directory").flatten().map(|file| file.path());
    let file = files.find(|path| path.extension().is_some_and(|end| end == "json"));
    let text = fs::read(file.expect("it is known")).expect("a file");
    serde_json::from_slice::<Value>(&text).expect("JSON")["last_seq"].as_u64().expect("a number")
}

/// It holds no lock, and is one operation all the same.
#[test]
fn an_operation_without_locks_is_run_by_one_program() {
    let (place, _) = two();
    let manifest = charging(&place, "");
    let mut running = place.start(&["run", &manifest, "--inject", "docker.run-once=hang"]);
    running.wait_for("docker.run-once");
    copy(&place.path("state"), &place.path("copy"));
    let copy = place.path("copy").display().to_string();
    for (command, code) in [("resume", 2), ("rollback", 2), ("cancel", 6), ("resume", 2)] {
        let refused = place.run(&["--state", &copy, command, "1"]).exits(code);
        refused.says("operation 1 is run from another state directory").says("/state on ");
    }
    assert_eq!(jobs(&place), 0, "the copy ran it");
    running.signal("KILL");
    assert_eq!(running.ends().code, None);
    place.run(&["resume", "1"]).exits(0);
    assert_eq!(jobs(&place), 1);
    place.run(&["locks", "-e", "local"]).exits(0).lacks("operation 1");
}

/// Whoever took it up last has the newest journal, even if it changed nothing since.
#[test]
fn a_journal_from_before_the_last_takeover_does_not_go_on() {
    for locks in ["", "locks = [\"database/main\"]"] {
        let (place, _) = two();
        let manifest = charging(&place, locks);
        let died = place.run(&["run", &manifest, "--inject", "ebs.tag#1=crash-after"]);
        assert_eq!(died.code, None, "{}", died.stderr);
        copy(&place.path("state"), &place.path("older"));
        let before = noted(&place);
        let died = place.run(&["resume", "1", "--inject", "docker.run-once=crash-before"]);
        assert_eq!(died.code, None, "{}", died.stderr);
        assert!(noted(&place) > before, "the world was not told of the takeover");
        fs::rename(place.path("state"), place.path("newest")).expect("a directory");
        copy(&place.path("older"), &place.path("state"));
        for command in ["resume", "rollback", "resume"] {
            place.run(&[command, "1"]).exits(2).says("older copy").says("the newest journal");
        }
        fs::remove_dir_all(place.path("state")).expect("a directory");
        fs::rename(place.path("newest"), place.path("state")).expect("a directory");
        place.run(&["resume", "1"]).exits(0);
        assert_eq!(jobs(&place), 1, "{locks}");
    }
}

/// A step does not fail of it, and nothing is taken back: it is another one's to do.
#[test]
fn a_runner_that_the_world_has_shut_out_ends_and_judges_nothing() {
    let (place, _) = two();
    let manifest = charging(&place, "");
    assert_eq!(place.run(&["run", &manifest, "--inject", "ebs.tag#1=crash-after"]).code, None);
    let path = place.path("worlds/local/world.json");
    let mut world: Value =
        serde_json::from_slice(&fs::read(&path).expect("a world")).expect("JSON");
    // Somebody else has it by now, with a later lease than any that this store gives.
    for (_, epoch) in world["epochs"].as_object_mut().expect("epochs") {
        *epoch = 99.into();
    }
    fs::write(&path, world.to_string()).expect("a file");
    let ended = place.run(&["resume", "1"]).exits(6);
    ended.says("another has taken it over").lacks("verdict").lacks("docker.run-once refused");
    let tags: Value = serde_json::from_slice(&fs::read(&path).expect("a world")).expect("JSON");
    assert_eq!(tags["volumes"]["vol-db-main"]["tags"]["one"], "v", "it was taken back");
    assert_eq!(jobs(&place), 0);
}

/// The copy waits in line with what the original has begun, and left half undone, meanwhile.
#[test]
fn a_copy_that_waited_in_line_lets_go_of_nothing() {
    let (place, other) = two();
    let backup = ["--state", &other, "run", &operation("backup-database")];
    let hang = ["--inject", "ebs.create-snapshot=hang"];
    let mut holder = place.start_as("holder", &[&backup[..], &hang].concat());
    holder.wait_for("ebs.create-snapshot");
    let mut waiting = place.start(&["run", &operation("redeploy-database")]);
    waiting.wait_for("waits in line");
    waiting.signal("KILL");
    waiting.ends();
    copy(&place.path("state"), &place.path("copy"));
    let copy = place.path("copy").display().to_string();
    let mut of_copy = place.start_as("copy", &["--state", &copy, "resume", "1"]);
    of_copy.wait_for("waits in line");
    of_copy.signal("STOP");
    holder.signal("INT");
    holder.ends().exits(3);
    let faults = ["--inject", "docker.wait-healthy=refuse", "--inject", "undo:ebs.attach=refuse"];
    place.run(&[&["resume", "1"][..], &faults].concat()).exits(5);
    let before = place.world();
    of_copy.signal("CONT");
    let ended = of_copy.ends();
    assert_eq!(place.world(), before, "{}", ended.stderr);
    locks_are(&place, &other, &["another state directory, its rollback incomplete"]);
    let refused = place.run(&[&backup[..], &["--no-wait"]].concat()).exits(2);
    refused.says("lock `database/main` is held by operation 1");
    place.run(&["rollback", "1"]).exits(3).says("verdict: restored");
}

/// What was looked at, and what was waited for, an older journal looks at and waits for once more.
#[test]
fn the_world_is_told_of_what_was_changed_and_not_of_every_look() {
    let (place, _) = two();
    let text = "schema = 1\n[operation]\nname = \"looks\"\n\
                [[steps]]\nid = \"pause\"\nuses = \"core/sleep\"\nwith = { duration = \"400ms\" }\n\
                [[steps]]\nid = \"look\"\nuses = \"docker/wait-healthy\"\n\
                with = { host = \"i-db-1\", container = \"main\", timeout = \"1s\" }\n\
                [[steps]]\nid = \"tag\"\nuses = \"ebs/tag-volume\"\n\
                with = { volume = \"vol-db-main\", key = \"one\", value = \"v\" }\n";
    let manifest = place.write("looks.toml", text);
    let killed = |arguments: &[&str]| assert_eq!(place.run(arguments).code, None);
    killed(&["run", &manifest, "--inject", "docker.wait-healthy=crash-before"]);
    let dir = place.path("worlds/local/journaled");
    let files = fs::read_dir(&dir).map_or(0, |files| files.flatten().count());
    assert_eq!(files, 0, "it was told of what it has no need to know");
    killed(&["resume", "1", "--inject", "ebs.tag=crash-before"]);
    let told = noted(&place);
    place.run(&["resume", "1"]).exits(0);
    assert!(noted(&place) > told);
}
