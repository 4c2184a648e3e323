//! `kill -9` beside every commit and every effect, then `resume`: nothing is lost, nothing happens
//! twice, and the last word is true.
//!
//! The points are enumerated from a run that is left alone, not drawn by chance.

use crate::harness::{Place, operation};
use std::collections::BTreeMap;

/// What a run's journal shows: how many commits it took, and each effect with its uses.
struct Points {
    commits: u32,
    effects: BTreeMap<(String, bool), u32>,
}

/// The two sides of a point at which the program can die.
const SIDES: [&str; 2] = ["crash-before", "crash-after"];

/// Each effect of a run with these faults, in do or in undo, with its uses.
fn points_of_effects(name: &str, faults: &[&str]) -> BTreeMap<(String, bool), u32> {
    let place = Place::new();
    let operation = operation(name);
    let mut arguments = vec!["run", operation.as_str(), "--json"];
    for fault in faults {
        arguments.extend(["--inject", fault]);
    }
    let ran = place.run(&arguments);
    let mut effects = BTreeMap::new();
    for line in ran.json_lines() {
        let record = &line["record"];
        if record["event"] == "call-started" {
            let function = record["call"]["function"].as_str().expect("a function").to_owned();
            let undo = record["id"]["of"]["direction"] == "undo";
            *effects.entry((function, undo)).or_default() += 1;
        }
    }
    effects
}

/// Count the points of a run with these faults.
fn points(name: &str, faults: &[&str]) -> Points {
    let operation = operation(name);
    let mut arguments = vec!["run", operation.as_str()];
    for fault in faults {
        arguments.extend(["--inject", fault]);
    }
    // Commits are packed as they come, so a run may take some more or fewer: go on until one more
    // changes nothing.
    let commits = (1..).find(|nth| {
        let place = Place::new();
        let fault = format!("commit#{nth}=crash-before");
        let mut arguments = arguments.clone();
        arguments.extend(["--inject", &fault]);
        place.run(&arguments).code.is_some()
    });
    let effects = points_of_effects(name, faults);
    Points { commits: commits.expect("a run ends") - 1, effects }
}

/// Kill the run with this fault, resume it to its end, and check what must hold.
fn kill(name: &str, faults: &[&str], fault: &str, ends: i32) -> u32 {
    let place = Place::new();
    let before = place.untouched();
    let operation = operation(name);
    let mut arguments = vec!["run", operation.as_str(), "--inject", fault];
    for fault in faults {
        arguments.extend(["--inject", fault]);
    }
    let ran = place.run(&arguments);
    if ran.code.is_some() {
        // The point was packed away this time; then the run has to have ended as it should.
        ran.exits(ends);
        return 0;
    }
    let all = ["list", "--json"];
    let listed = place.run(&all);
    if listed.code == Some(2) || listed.json().as_array().is_some_and(Vec::is_empty) {
        assert_eq!(place.facts(), before, "{fault}: something was done before it was on record");
        return 1;
    }
    let mut resume = vec!["resume", "1"];
    for fault in faults {
        resume.extend(["--inject", fault]);
    }
    let resumed = place.run(&resume);
    // Killed after its last event, there is nothing left to do.
    if resumed.code != Some(2) {
        resumed.exits(ends);
    }
    let shown = place.show(1);
    let status = if ends == 0 { "succeeded" } else { "rolled-back" };
    assert_eq!(shown["status"], status, "{name} with {fault}");
    if ends != 0 {
        assert_eq!(shown["verdict"], "restored", "{name} with {fault}");
        assert_eq!(place.facts(), before, "{name} with {fault}");
    }
    let twice = place.world().effects.values().filter(|made| made.times != 1).count();
    assert_eq!(twice, 0, "{name} with {fault}: an effect took place twice");
    assert_eq!(shown["locks"], serde_json::json!([]), "{name} with {fault}");
    1
}

fn sweep(name: &str, faults: &[&str], ends: i32) -> u32 {
    let points = points(name, faults);
    let mut covered = 0;
    for nth in 1..=points.commits {
        for side in SIDES {
            covered += kill(name, faults, &format!("commit#{nth}={side}"), ends);
        }
    }
    for ((function, undo), uses) in &points.effects {
        let undo = if *undo { "undo:" } else { "" };
        for nth in 1..=*uses {
            for side in SIDES {
                covered += kill(name, faults, &format!("{undo}{function}#{nth}={side}"), ends);
            }
        }
    }
    let effects: u32 = points.effects.values().sum();
    println!("{name}: {covered} kills ({} commits, {effects} effects)", points.commits);
    // Each effect has two sides; a commit's two may be packed away by chance.
    assert!(covered >= 2 * effects, "{name}: only {covered} points were covered");
    covered
}

#[test]
fn an_operation_killed_anywhere_is_carried_to_its_end() {
    for name in ["redeploy-database", "resize-database-volume", "provision-database"] {
        sweep(name, &[], 0);
    }
}

#[test]
fn a_rollback_killed_anywhere_is_carried_to_its_end() {
    for name in ["redeploy-database", "resize-database-volume", "provision-database"] {
        // The last thing before the commit point fails, in the run and in the resume.
        sweep(name, &["docker.wait-healthy=refuse"], 3);
    }
}

/// Kill the run beside an effect and its resume beside a commit, then let it end.
fn kill_twice(name: &str, faults: &[&str], first: &str, second: &str, ends: i32) -> bool {
    let place = Place::new();
    let before = place.untouched();
    let operation = operation(name);
    let with = |verb: &[&str], fault: Option<&str>| {
        let mut arguments: Vec<String> = verb.iter().map(|&word| word.to_owned()).collect();
        for fault in fault.iter().chain(faults) {
            arguments.extend(["--inject".to_owned(), (*fault).to_owned()]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        place.run(&arguments)
    };
    let ran = with(&["run", &operation], Some(first));
    assert_eq!(ran.code, None, "{name}: {first} did not kill it");
    let resumed = with(&["resume", "1"], Some(second));
    let killed = resumed.code.is_none();
    let last = if killed { with(&["resume", "1"], None) } else { resumed };
    // Killed after its last event, there is nothing left to do.
    if last.code != Some(2) {
        last.exits(ends);
    }
    let shown = place.show(1);
    let status = if ends == 0 { "succeeded" } else { "rolled-back" };
    assert_eq!(shown["status"], status, "{name} with {first}, then {second}");
    if ends != 0 {
        assert_eq!(place.facts(), before, "{name} with {first}, then {second}");
    }
    let twice = place.world().effects.values().filter(|made| made.times != 1).count();
    assert_eq!(twice, 0, "{name} with {first}, then {second}: an effect took place twice");
    assert_eq!(shown["locks"], serde_json::json!([]), "{name} with {first}, then {second}");
    killed
}

/// The second pass: beside each effect, and then the resume beside one of its commits, another one
/// for each first kill. The sweep in memory (`tests/rules`) meets the rest.
#[test]
fn a_resume_that_is_killed_too_is_carried_to_its_end() {
    let ways: [(&[&str], i32); 2] = [(&[], 0), (&["docker.wait-healthy=refuse"], 3)];
    for name in ["redeploy-database", "resize-database-volume", "provision-database"] {
        for (faults, ends) in ways {
            let (mut tried, mut covered) = (0, 0);
            for ((function, undo), uses) in points_of_effects(name, faults) {
                let undo = if undo { "undo:" } else { "" };
                for (nth, side) in (1..=uses).flat_map(|nth| SIDES.map(|side| (nth, side))) {
                    let first = format!("{undo}{function}#{nth}={side}");
                    let second = format!("commit#{}={}", tried % 7 + 1, SIDES[tried / 7 % 2]);
                    tried += 1;
                    covered += usize::from(kill_twice(name, faults, &first, &second, ends));
                }
            }
            println!("{name} {faults:?}: {covered} killed twice of {tried}");
            // A resume near the end has fewer commits than the one that was to be its last.
            assert!(covered * 2 > tried, "{name}: only {covered} of {tried} were killed twice");
        }
    }
}
