//! What was built once goes on working: a component of the contract's version 0.2, and a state
//! directory with two unfinished operations of it (`tests/golden`).

use crate::harness::{Place, root};
use serde_json::Value;
use std::path::Path;

/// A copy of what is kept; lock files are made by whoever needs them.
fn golden() -> Place {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).expect("a directory");
        for entry in std::fs::read_dir(from).expect("a directory") {
            let entry = entry.expect("an entry");
            let (path, to) = (entry.path(), to.join(entry.file_name()));
            match path.is_dir() {
                true => copy(&path, &to),
                false => drop(std::fs::copy(&path, &to).expect("a file")),
            }
        }
    }
    let place = Place::new();
    copy(&root().join("tests/golden"), &place.path(""));
    place
}

fn container(place: &Place, world: &str) -> Value {
    let text = std::fs::read_to_string(place.path(&format!("state/worlds/{world}/world.json")));
    let world: Value = serde_json::from_str(&text.expect("a world")).expect("JSON");
    world["engines"]["i-db-1"]["containers"]["main"].clone()
}

#[test]
fn what_was_left_unfinished_is_carried_to_its_end() {
    let place = golden();
    let restart = |world: &str| container(&place, world)["spec"]["restart"].clone();
    assert_eq!(container(&place, "forward")["running"], false, "it was killed after the stop");
    assert_eq!(container(&place, "back")["running"], false, "it was killed after the stop");
    place.run(&["resume", "1"]).exits(0).says("operation 1 succeeded");
    assert_eq!(container(&place, "forward")["running"], false);
    assert_eq!(restart("forward"), "on-failure:3");
    let shown = place.show(1);
    let seen = &shown["steps"][0]["output"];
    assert_eq!(seen["instance"], "i-db-1 is running");
    assert_eq!(seen["volume"], "vol-db-main is in-use, 20 GiB");
    assert_eq!(seen["ports"], serde_json::json!(["5432:5432/tcp"]), "{seen}");
    place.run(&["rollback", "2"]).exits(3).says("verdict: restored");
    assert_eq!(container(&place, "back")["running"], true);
    assert_eq!(restart("back"), "unless-stopped");
}

#[test]
fn the_component_of_then_runs_and_is_undone_now() {
    let place = golden();
    std::fs::remove_dir_all(place.path("state")).expect("it can be removed");
    place.run(&["run", "golden.toml"]).exits(0).says("1 volumes and 1 snapshots have these tags");
    let fails = ["run", "golden.toml", "-e", "back", "--inject", "docker.stop-container=refuse"];
    place.run(&fails).exits(3).says("verdict: restored");
    assert_eq!(container(&place, "back")["spec"]["restart"], "unless-stopped");
    let inspected = place.run(&["plugin", "inspect", "golden.wasm"]).exits(0);
    assert!(inspected.stdout.contains("log, clock, effects, ec2, ebs, docker"));
}

/// A journal whose end is gone is not believed: what it forgot was done, and would be called
/// restored.
#[test]
fn a_journal_whose_end_is_gone_is_told_so() {
    for from in [15, 19, 21] {
        let place = golden();
        let store = rusqlite::Connection::open(place.path("state/journal.db")).expect("the store");
        let cut = "DELETE FROM events WHERE operation = 1 AND seq >= ?1";
        store.execute(cut, [from]).expect("it can be damaged");
        drop(store);
        for command in [&["rollback", "1"][..], &["resume", "1"], &["show", "1"]] {
            let ran = place.run(command);
            assert!(ran.code.is_some_and(|code| ![0, 3, 101].contains(&code)), "{}", ran.stderr);
            ran.says(&format!("operation 1 can't be read: event {from}: it is gone"));
        }
        assert_eq!(
            container(&place, "forward")["running"],
            false,
            "nothing was asked of the world"
        );
        place.run(&["rollback", "2"]).exits(3).says("verdict: restored");
    }
}
