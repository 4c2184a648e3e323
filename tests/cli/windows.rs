//! The downtime window: it is open from the first effect that may stop the service until all that
//! was stopped is back, whichever way the operation goes; and the gate before it asks all it can.

use crate::harness::{Place, Ran};
use serde_json::Value;

fn run(place: &Place, body: &str, arguments: &[&str]) -> Ran {
    let text = format!("schema = 1\n[operation]\nname = \"window\"\n{body}");
    let path = place.write("window.toml", text);
    place.run(&[&["run", &path, "--json"], arguments].concat())
}

fn of_container(id: &str, uses: &str, rest: &str) -> String {
    format!(
        "[[steps]]\nid = \"{id}\"\nuses = \"docker/{uses}-container\"\nphase = \"downtime\"\n\
         with = {{ host = \"i-db-1\", container = \"main\" }}\n{rest}\n"
    )
}

fn sleep(id: &str, phase: &str, rest: &str) -> String {
    format!(
        "[[steps]]\nid = \"{id}\"\nuses = \"core/sleep\"\nphase = \"{phase}\"\n\
         with = {{ duration = \"20ms\" }}\n{rest}\n"
    )
}

/// Known to fail only when its turn comes: the volume is there, and its tag is not.
fn fails(id: &str, phase: &str) -> String {
    format!(
        "[[steps]]\nid = \"{id}\"\nuses = \"ebs/create-snapshot\"\nphase = \"{phase}\"\n\
         with = {{ volume = \"vol-db-main\" }}\n"
    )
}

const FAILS: [&str; 2] = ["--inject", "ebs.create-snapshot=refuse"];

/// What the window is about, in order: that it opens or closes, and each stop and start.
fn story(ran: &Ran) -> Vec<String> {
    let told = |line: &Value| {
        let event = &line["record"];
        let name = event["event"].as_str()?;
        match name {
            "downtime-started" => Some("opens".to_owned()),
            "downtime-ended" => Some("closes".to_owned()),
            "call-started" => {
                let function = event["call"]["function"].as_str().unwrap_or_default();
                let of = ["docker.stop-container", "docker.start-container"];
                of.contains(&function).then(|| function.replace("docker.", ""))
            }
            _ => None,
        }
    };
    ran.json_lines().iter().filter_map(told).collect()
}

#[test]
fn it_does_not_close_at_a_window_step_that_needs_no_undo() {
    let place = Place::new();
    let before = place.untouched();
    let body = [
        sleep("first", "downtime", ""),
        of_container("stop", "stop", ""),
        fails("fail", "downtime"),
    ]
    .concat();
    let ran = run(&place, &body, &FAILS).exits(3);
    let wanted = ["opens", "stop-container", "start-container", "closes"];
    assert_eq!(story(&ran), wanted);
    assert_eq!(place.facts(), before);
}

#[test]
fn what_is_not_back_keeps_it_open() {
    let place = Place::new();
    let body = [
        sleep("first", "downtime", ""),
        of_container("stop", "stop", ""),
        fails("fail", "downtime"),
    ]
    .concat();
    let faults = [&FAILS[..], &["--inject", "undo:docker.start-container=refuse"]].concat();
    let ran = run(&place, &body, &faults).exits(5);
    assert!(!story(&ran).contains(&"closes".to_owned()), "{:?}", story(&ran));
    let shown = place.show(1);
    assert_eq!(shown["downtime_ms"], Value::Null, "it is not over");
    place.run(&["show", "1"]).exits(0).says("and not over");
    // Taken up again, it is over when the service is back.
    place.run(&["rollback", "1"]).exits(3);
    assert!(place.show(1)["downtime_ms"].is_u64());
}

#[test]
fn it_opens_again_when_its_undo_stops_the_service() {
    let place = Place::new();
    let before = place.untouched();
    let body = [
        of_container("stop", "stop", ""),
        of_container("start", "start", ""),
        sleep("look", "live", ""),
        fails("fail", "live"),
    ]
    .concat();
    let ran = run(&place, &body, &FAILS).exits(3);
    let story = story(&ran);
    assert_eq!(&story[..4], ["opens", "stop-container", "start-container", "closes"]);
    assert_eq!(&story[4..], ["opens", "stop-container", "start-container", "closes"]);
    assert_eq!(place.facts(), before);
    let windows =
        ran.json_lines().into_iter().filter_map(|line| line["record"]["downtime_ms"].as_u64());
    assert_eq!(place.show(1)["downtime_ms"].as_u64(), Some(windows.sum::<u64>()));
}

/// Of two that run side by side, the one that needs no undo ends last; of instances, any.
#[test]
fn it_is_open_until_all_that_run_side_by_side_are_back() {
    let container = |host: &str| {
        format!(
            "[[steps]]\nid = \"stop\"\nuses = \"docker/stop-container\"\nphase = \"downtime\"\n\
             for_each = \"['main']\"\nneeds = []\n\
             with = {{ host = \"{host}\", container = \"{{{{ each.key }}}}\" }}\n"
        )
    };
    let side = sleep("side", "downtime", "needs = []");
    let fail = fails("fail", "downtime").replace("with", "needs = [\"stop\", \"side\"]\nwith");
    for steps in [[container("i-db-1"), side.clone()], [side, container("i-db-1")]] {
        let place = Place::new();
        let before = place.untouched();
        let ran = run(&place, &format!("{}{fail}", steps.concat()), &FAILS).exits(3);
        let wanted = ["opens", "stop-container", "start-container", "closes"];
        assert_eq!(story(&ran), wanted);
        assert_eq!(place.facts(), before);
    }
}

fn was_stopped(place: &Place) -> bool {
    place.world().effects.values().any(|made| made.function == "docker.stop-container")
}

const MADE: &str = "[[steps]]\nid = \"made\"\nuses = \"ebs/create-volume\"\n\
                    with = { zone = \"us-east-1a\", size_gib = 1 }\n";

/// Everything that can be known before the service stops is asked before the service stops.
#[test]
fn the_gate_asks_what_comes_after_the_window() {
    let after = "[[steps]]\nid = \"late\"\nuses = \"ebs/attach-volume\"\n\
                 with = { volume = \"{{ steps.made.id }}\", instance = \"i-db-3\", \
                 device = \"/dev/sdg\" }\n";
    let place = Place::new();
    let before = place.untouched();
    let body =
        [MADE, &of_container("stop", "stop", ""), &of_container("start", "start", ""), after];
    run(&place, &body.concat(), &[]).exits(3).says("late");
    assert!(!was_stopped(&place), "it was stopped for nothing");
    assert_eq!(place.facts(), before);
}

#[test]
fn the_gate_asks_every_instance() {
    let each = "[[steps]]\nid = \"late\"\nuses = \"ebs/attach-volume\"\nphase = \"downtime\"\n\
                for_each = \"{{ { 'a': 'i-db-2', 'b': 'i-db-3' } }}\"\n\
                with = { volume = \"{{ steps.made.id }}\", instance = \"{{ each.value }}\", \
                device = \"/dev/sdg\" }\n";
    let place = Place::new();
    let before = place.untouched();
    let body = [MADE, &of_container("stop", "stop", ""), each];
    let ran = run(&place, &body.concat(), &[]).exits(3);
    ran.says("late[b]").says("us-east-1b");
    assert!(!was_stopped(&place), "it was stopped for nothing");
    assert_eq!(place.facts(), before);
}

/// Before anything starts where nothing else is needed; at the gate where a step must run first.
#[test]
fn what_can_never_be_worked_out_is_found_before_the_window() {
    let late = "[[steps]]\nid = \"late\"\nuses = \"ebs/describe-volume\"\nphase = \"downtime\"\n\
                with = { volume = \"{{ steps.look.tags.databse }}\" }\n";
    let look = |volume: &str| {
        format!(
            "[[steps]]\nid = \"look\"\nuses = \"ebs/describe-volume\"\n\
             with = {{ volume = \"{volume}\" }}\n"
        )
    };
    let place = Place::new();
    let before = place.untouched();
    let stop = of_container("stop", "stop", "");
    let body = [&look("vol-db-main"), MADE, &stop, late];
    run(&place, &body.concat(), &[]).exits(2).says("databse");
    let body = [MADE, &look("{{ steps.made.id }}"), &stop, late];
    run(&place, &body.concat(), &[]).exits(3).says("databse");
    assert!(!was_stopped(&place), "it was stopped for nothing");
    assert_eq!(place.facts(), before);
}

/// Declared or not: what the window stopped and removed is not back.
#[test]
fn what_is_gone_for_good_keeps_it_open() {
    let place = Place::new();
    let body = [
        of_container("stop", "stop", ""),
        of_container("remove", "remove", "irreversible = \"it is old\""),
        fails("fail", "downtime"),
    ]
    .concat();
    run(&place, &body, &FAILS);
    let shown = place.show(1);
    assert!(shown["downtime_ms"].is_null() && shown["downtime_since"].is_string(), "{shown}");
    place.run(&["list"]).exits(0).says("not over");
}

/// An undo that failed over something else does not keep down what runs.
#[test]
fn it_ends_when_the_service_runs_again() {
    let place = Place::new();
    let flagship = crate::harness::operation("restart-database");
    let died = place.run(&["run", &flagship, "--inject", "docker.start-container=crash-before"]);
    assert_eq!(died.code, None);
    let text = "schema = 1\n[operation]\nname = \"drift\"\n[[steps]]\nid = \"policy\"\n\
                uses = \"docker/set-restart-policy\"\n\
                with = { host = \"i-db-1\", container = \"main\", restart = \"always\" }\n";
    let drift = place.write("drift.toml", text);
    place.run(&["run", &drift]).exits(0);
    place.run(&["rollback", "1"]).exits(5).says("restart");
    assert!(place.world().engines["i-db-1"].containers["main"].running);
    assert!(place.show(1)["downtime_ms"].is_number(), "{}", place.show(1));
}
