//! `kill -9` beside every commit and every effect, then `resume`: nothing is lost, nothing happens
//! twice, and the last word is true.
//!
//! The points are enumerated from a run that is left alone, not drawn by chance.

use crate::harness::{Place, operation};
use std::collections::BTreeMap;

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

/// Kill the run with this fault, resume it to its end, and check what must hold. Whether it was
/// killed: the point may be packed away, or there is none.
fn kill(name: &str, faults: &[&str], fault: &str, ends: i32, before: &str) -> bool {
    let place = Place::new();
    let operation = operation(name);
    let mut arguments = vec!["run", operation.as_str(), "--inject", fault];
    for fault in faults {
        arguments.extend(["--inject", fault]);
    }
    let ran = place.run(&arguments);
    if ran.code.is_some() {
        // Then the run has to have ended as it should.
        ran.exits(ends);
        return false;
    }
    let mut resume = vec!["resume", "1"];
    for fault in faults {
        resume.extend(["--inject", fault]);
    }
    let resumed = place.run(&resume);
    // Killed before its first event is on record or after its last, there is nothing left to do.
    if resumed.code != Some(2) {
        resumed.exits(ends);
    } else if place.has_no_operation() {
        let untouched = !place.path("state/worlds").exists() || place.facts() == before;
        assert!(untouched, "{fault}: something was done before it was on record");
        return true;
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
    true
}

impl Place {
    fn has_no_operation(&self) -> bool {
        let listed = self.run(&["list", "--json"]);
        listed.code == Some(2) || listed.json().as_array().is_some_and(Vec::is_empty)
    }
}

fn sweep(name: &str, faults: &[&str], ends: i32) {
    let before = Place::new().untouched();
    let kill = |fault: &str| kill(name, faults, fault, ends, &before);
    let (mut covered, mut commits) = (0, 0);
    // Commits are packed as they come, so a run may take some more or fewer: go on until one more
    // changes nothing.
    while kill(&format!("commit#{}=crash-before", commits + 1)) {
        commits += 1;
        covered += 1 + u32::from(kill(&format!("commit#{commits}=crash-after")));
    }
    let effects = points_of_effects(name, faults);
    for ((function, undo), uses) in &effects {
        let undo = if *undo { "undo:" } else { "" };
        for (nth, side) in (1..=*uses).flat_map(|nth| SIDES.map(|side| (nth, side))) {
            covered += u32::from(kill(&format!("{undo}{function}#{nth}={side}")));
        }
    }
    let effects: u32 = effects.values().sum();
    println!("{name}: {covered} kills ({commits} commits, {effects} effects)");
    // Each effect has two sides; a commit's two may be packed away by chance.
    assert!(covered >= 2 * effects, "{name}: only {covered} points were covered");
    assert!(commits > 0, "{name}: no commit was met");
}

/// A test for each operation, so that they are run side by side.
macro_rules! each_operation {
    ($($test:ident, $swept:ident;)*) => {$(
        mod $test {
            #[test]
            fn redeploy_database() {
                super::$swept("redeploy-database");
            }
            #[test]
            fn resize_database_volume() {
                super::$swept("resize-database-volume");
            }
            #[test]
            fn provision_database() {
                super::$swept("provision-database");
            }
        }
    )*};
}

each_operation! {
    an_operation_killed_anywhere_is_carried_to_its_end, sweep_forward;
    a_rollback_killed_anywhere_is_carried_to_its_end, sweep_back;
    a_resume_that_is_killed_too_is_carried_to_its_end, sweep_twice;
}

/// The last thing before the commit point fails, in the run and in the resume.
const FAILS: &[&str] = &["docker.wait-healthy=refuse"];

fn sweep_forward(name: &str) {
    sweep(name, &[], 0);
}

fn sweep_back(name: &str) {
    sweep(name, FAILS, 3);
}

/// What goes wrong besides, how it ends by that, and the world before.
struct Way<'a> {
    faults: &'a [&'a str],
    ends: i32,
    before: &'a str,
}

/// Kill the run beside an effect and its resume beside a commit, then let it end.
fn kill_twice(name: &str, way: &Way<'_>, first: &str, second: &str) -> bool {
    let Way { faults, ends, before } = *way;
    let place = Place::new();
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
fn sweep_twice(name: &str) {
    let before = Place::new().untouched();
    for (faults, ends) in [(&[][..], 0), (FAILS, 3)] {
        let way = Way { faults, ends, before: &before };
        let (mut tried, mut covered) = (0, 0);
        for ((function, undo), uses) in points_of_effects(name, faults) {
            let undo = if undo { "undo:" } else { "" };
            for (nth, side) in (1..=uses).flat_map(|nth| SIDES.map(|side| (nth, side))) {
                let first = format!("{undo}{function}#{nth}={side}");
                let second = format!("commit#{}={}", tried % 7 + 1, SIDES[tried / 7 % 2]);
                tried += 1;
                covered += usize::from(kill_twice(name, &way, &first, &second));
            }
        }
        println!("{name} {faults:?}: {covered} killed twice of {tried}");
        // A resume near the end has fewer commits than the one that was to be its last.
        assert!(covered * 2 > tried, "{name}: only {covered} of {tried} were killed twice");
    }
}
