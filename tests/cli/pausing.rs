//! A container that is frozen while something else is done, and goes on whatever comes of that.

use crate::harness::{Place, operation};
use crate::hazards::{demo, demo_with, in_world};

const ON: &str = "with = { host = \"i-db-1\", container = \"main\" }";

/// Freeze the database, take a snapshot of its volume, let it go on.
fn frozen_backup(place: &Place) -> String {
    place.write(
        "frozen.toml",
        format!(
            "schema = 1\n[operation]\nname = \"frozen-backup\"\n\
             [[steps]]\nid = \"freeze\"\nuses = \"docker/pause-container\"\n{ON}\n\
             [[steps]]\nid = \"snapshot\"\nneeds = [\"freeze\"]\n\
             uses = \"ebs/create-snapshot\"\nwith = {{ volume = \"vol-db-main\" }}\n\
             [[steps]]\nid = \"go-on\"\nneeds = [\"snapshot\"]\n\
             uses = \"docker/unpause-container\"\n{ON}\n"
        ),
    )
}

fn is_paused(place: &Place) -> bool {
    place.world().engines["i-db-1"].containers["main"].paused
}

#[test]
fn a_frozen_container_goes_on_whatever_comes_of_the_rest() {
    let place = Place::new();
    let frozen = frozen_backup(&place);
    let before = place.untouched();
    for fault in [
        "ebs.create-snapshot=refuse",
        "docker.unpause-container=refuse",
        "docker.pause-container=lost",
        "docker.unpause-container=lost",
    ] {
        let ran = place.run(&["run", &frozen, "--inject", fault]);
        match fault.ends_with("refuse") {
            true => {
                ran.exits(3).says("verdict: restored");
                assert_eq!(place.facts(), before, "{fault}");
            }
            false => drop(ran.exits(0)),
        }
        assert!(!is_paused(&place), "{fault}");
    }
}

/// An engine that does what it is asked and never says so: the world is looked at when the step is
/// to end, and nobody waits for the answer.
#[test]
fn an_answer_that_never_comes_is_told_by_the_world() {
    let place = Place::new();
    let frozen = frozen_backup(&place);
    let text = std::fs::read_to_string(&frozen).expect("a file");
    let hurried = text.replace("id = \"go-on\"", "id = \"go-on\"\ntimeout = \"1s\"");
    place.write("frozen.toml", hurried);
    place.run(&["run", &frozen, "--inject", "docker.unpause-container=hang-after"]).exits(0);
    assert!(!is_paused(&place));
}

#[test]
fn what_is_frozen_is_not_stopped_even_if_it_was_not_when_it_was_checked() {
    let place = Place::new();
    let stop = place.write(
        "stop.toml",
        format!(
            "schema = 1\n[operation]\nname = \"stop\"\n\
             [[steps]]\nid = \"freeze\"\nuses = \"docker/pause-container\"\n{ON}\n\
             [[steps]]\nid = \"stop\"\nneeds = [\"freeze\"]\n\
             uses = \"docker/stop-container\"\n{ON}\n"
        ),
    );
    let before = place.untouched();
    place.run(&["run", &stop]).exits(3).says("is paused").says("verdict: restored");
    assert_eq!(place.facts(), before);
}

#[test]
fn a_frozen_container_goes_on_after_a_kill() {
    for (command, code) in [("rollback", 3), ("resume", 0)] {
        let place = Place::new();
        let frozen = frozen_backup(&place);
        let fault = "ebs.create-snapshot=crash-before";
        let ran = place.run(&["run", &frozen, "--inject", fault]);
        assert_eq!(ran.code, None, "{}", ran.stderr);
        assert!(is_paused(&place));
        place.run(&[command, "1"]).exits(code);
        assert!(!is_paused(&place), "{command}");
    }
}

#[test]
fn what_is_frozen_already_or_not_at_all_is_told() {
    let step = |place: &Place, uses: &str| {
        place.write(
            "one.toml",
            format!(
                "schema = 1\n[operation]\nname = \"one\"\n\
                 [[steps]]\nid = \"one\"\nuses = \"docker/{uses}\"\n{ON}\n"
            ),
        )
    };
    let place = Place::new();
    place.run(&["run", &step(&place, "unpause-container")]).exits(2).says("is not paused");
    place.run(&["plan", &step(&place, "pause-container")]).exits(0).says("pause");
    place.run(&["run", &step(&place, "pause-container")]).exits(0);
    assert!(is_paused(&place));
    place.run(&["run", &step(&place, "pause-container")]).exits(2).says("is paused already");
    place.run(&["run", &step(&place, "unpause-container")]).exits(0);
    place.run(&["run", &step(&place, "stop-container")]).exits(0);
    place.run(&["run", &step(&place, "pause-container")]).exits(2).says("is not running");
}

/// A start would not freeze it again, and the copy of an environment has it as it is.
#[test]
fn a_database_that_is_frozen_is_not_moved() {
    let place = in_world(&demo_with("running = true\n", "running = true\npaused = true\n"));
    let before = place.untouched();
    for name in ["redeploy-database", "resize-database-volume"] {
        place.run_shipped(name, &[]).exits(2).says("is paused");
        assert_eq!(place.facts(), before, "{name}");
    }
    let copy = place.run(&["env", "snapshot"]).exits(0).says("paused = true");
    in_world(&copy.stdout).run(&["plan", &operation("redeploy-database")]).exits(2);
}

/// What ran on an instance that is stopped was ended; it runs again, and is frozen again.
#[test]
fn what_was_frozen_on_an_instance_is_frozen_again() {
    for is_paused in [true, false] {
        let place = in_world(&match is_paused {
            true => demo_with("running = true\n", "running = true\npaused = true\n"),
            false => demo(),
        });
        let before = place.untouched();
        let stop = place.write(
            "stop.toml",
            "schema = 1\n[operation]\nname = \"stop\"\n\
             [[steps]]\nid = \"stop\"\nuses = \"ec2/stop-instance\"\n\
             with = { instance = \"i-db-1\" }\n\
             [[steps]]\nid = \"tag\"\nneeds = [\"stop\"]\nuses = \"ebs/tag-volume\"\n\
             with = { volume = \"vol-db-main\", key = \"k\", value = \"v\" }\n",
        );
        let ran = place.run(&["run", &stop, "--inject", "ebs.tag=refuse"]);
        ran.exits(3).says("verdict: restored");
        assert_eq!(place.facts(), before, "paused: {is_paused}");
    }
}

/// Frozen, renamed away by somebody else, and another one in its place: nothing that is seen by
/// name tells that the database is frozen still.
#[test]
fn what_was_frozen_is_looked_for_by_its_id() {
    let place = Place::new();
    let frozen = frozen_backup(&place);
    place.untouched();
    let died = place.run(&["run", &frozen, "--inject", "ebs.create-snapshot=crash-before"]);
    assert_eq!(died.code, None);
    let path = place.path("state/worlds/local/world.json");
    let text = std::fs::read_to_string(&path).expect("a world");
    let mut world: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let all = &mut world["engines"]["i-db-1"]["containers"];
    let mut anew = all["main"].clone();
    all["main-old"] = anew.clone();
    (anew["id"], anew["paused"]) = ("another".into(), false.into());
    all["main"] = anew;
    std::fs::write(&path, world.to_string()).expect("a world");
    let ran = place.run(&["rollback", "1"]).exits(5).says("verdict: incomplete");
    ran.says("paused: was false, is true");
    // Somebody lets it go on.
    world["engines"]["i-db-1"]["containers"]["main-old"]["paused"] = false.into();
    std::fs::write(&path, world.to_string()).expect("a world");
    place.run(&["rollback", "1"]).exits(3).says("verdict: restored");
}

/// What is frozen answers nobody: the downtime goes on.
#[test]
fn a_frozen_service_is_down() {
    let place = Place::new();
    let text = std::fs::read_to_string(frozen_backup(&place)).expect("a file");
    let windowed = text.replace("uses =", "phase = \"downtime\"\nuses =");
    let frozen = place.write("frozen.toml", windowed);
    let faults = ["ebs.create-snapshot=refuse", "undo:docker.unpause-container=refuse"];
    let [snapshot, undo] = faults.map(|fault| ["--inject", fault]);
    let ran = place.run(&[&["run", &frozen][..], &snapshot, &undo].concat()).exits(5);
    ran.says("and not over");
    place.run(&["rollback", "1"]).exits(3).lacks("and not over");
}

/// The same of what is made: it is found by its mark when its step is to end.
#[test]
fn a_create_that_nobody_answers_for_is_found_and_taken_back() {
    let place = Place::new();
    let frozen = frozen_backup(&place);
    let text = std::fs::read_to_string(&frozen).expect("a file");
    let hurried = text.replace("id = \"snapshot\"", "id = \"snapshot\"\ntimeout = \"1s\"");
    place.write(
        "frozen.toml",
        hurried
            + "[[steps]]\nid = \"fail\"\nuses = \"ebs/untag-volume\"\n\
        with = { volume = \"vol-db-main\", key = \"none\" }\n",
    );
    let before = place.untouched();
    let faults = ["ebs.create-snapshot=hang-after", "docker.unpause-container=refuse"];
    let [create, go_on] = faults.map(|fault| ["--inject", fault]);
    let ran = place.run(&[&["run", &frozen][..], &create, &go_on].concat()).exits(3);
    ran.says("verdict: restored");
    assert_eq!(place.facts(), before);
}
