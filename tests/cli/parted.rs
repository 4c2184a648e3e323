//! Two journals of one operation, whose ways part: one of them goes on, and the world is told.

use crate::harness::Place;
use crate::world_locks::{copy, two};
use serde_json::Value;
use std::fs;
use std::time::Duration;

/// Tags a volume, waits, runs what can't be taken back, and tags it again.
fn waiting(place: &Place, locks: &str) -> String {
    place.write(
        "waiting.toml",
        format!(
            "schema = 1\n[operation]\nname = \"waiting\"\n{locks}\n\
             [[steps]]\nid = \"one\"\nuses = \"ebs/tag-volume\"\n\
             with = {{ volume = \"vol-db-main\", key = \"one\", value = \"v\" }}\n\
             [[steps]]\nid = \"wait\"\nuses = \"core/sleep\"\nwith = {{ duration = \"3s\" }}\n\
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
    let manifest = waiting(&place, "");
    let mut running = place.start(&["run", &manifest]);
    running.wait_for("clock.sleep");
    copy(&place.path("state"), &place.path("copy"));
    let copy = place.path("copy").display().to_string();
    for command in ["resume", "rollback", "cancel"] {
        let refused = place.run(&["--state", &copy, command, "1"]);
        let is_told = refused.stderr.contains("is run from another state directory")
            || refused.stderr.contains("is being run by");
        assert!(is_told || refused.code == Some(0), "{command}: {}", refused.stderr);
    }
    running.ends().exits(0);
    assert_eq!(jobs(&place), 1);
    place.run(&["locks", "-e", "local"]).exits(0).lacks("operation 1");
}

/// Whoever took it up last has the newest journal, even if it did nothing since.
#[test]
fn a_journal_from_before_the_last_takeover_does_not_go_on() {
    for locks in ["", "locks = [\"database/main\"]"] {
        let (place, _) = two();
        let manifest = waiting(&place, locks);
        let mut running = place.start(&["run", &manifest]);
        running.wait_for("clock.sleep");
        running.signal("KILL");
        assert_eq!(running.ends().code, None);
        copy(&place.path("state"), &place.path("older"));
        let before = noted(&place);
        let running = place.start(&["resume", "1"]);
        // Bounded by what nothing takes that comes at all; no assertion rests on the time.
        for _ in 0..400 {
            if noted(&place) > before {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        running.signal("KILL");
        assert_eq!(running.ends().code, None);
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
    let manifest = waiting(&place, "");
    let mut running = place.start(&["run", &manifest]);
    running.wait_for("clock.sleep");
    let path = place.path("worlds/local/world.json");
    let mut world: Value =
        serde_json::from_slice(&fs::read(&path).expect("a world")).expect("JSON");
    for (_, epoch) in world["epochs"].as_object_mut().expect("epochs") {
        *epoch = 99.into();
    }
    fs::write(&path, world.to_string()).expect("a file");
    let ended = running.ends().exits(6);
    ended.says("another has taken it over").lacks("verdict").lacks("docker.run-once refused");
    let tags: Value = serde_json::from_slice(&fs::read(&path).expect("a world")).expect("JSON");
    assert_eq!(tags["volumes"]["vol-db-main"]["tags"]["one"], "v", "it was taken back");
    assert_eq!(jobs(&place), 0);
}
