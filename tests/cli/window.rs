//! What belongs in the downtime of a move, and in what order.

use crate::harness::Place;
use serde_json::Value;

/// Nothing is done in it that could be done before or after, and nothing is left out that the next
/// step must wait for: the file system unmounted, the device there, the database well.
#[test]
fn the_window_of_a_move_holds_what_must_be_waited_for_and_nothing_else() {
    let place = Place::new();
    place.run_shipped("redeploy-database", &[]).exits(0);
    let shown = place.run(&["show", "1", "--json"]).exits(0).stdout;
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    let all = shown["steps"].as_array().expect("steps");
    let down: Vec<&Value> = all.iter().filter(|step| step["phase"] == "downtime").collect();
    let uses: Vec<&str> = down.iter().filter_map(|step| step["uses"].as_str()).collect();
    let wanted = [
        "docker/stop-container",
        "docker/wait-unmounted",
        "ebs/detach-volume",
        "ebs/attach-volume",
        "docker/wait-device",
        "docker/start-container",
        "docker/wait-healthy",
    ];
    assert_eq!(uses, wanted);
    let at = |step: &Value, what: &str| step[what].as_str().expect("a time").to_owned();
    for two in down.windows(2) {
        let [one, next] = two else { continue };
        assert!(at(one, "finished_at") <= at(next, "started_at"), "{one}\n{next}");
    }
    // What was to be made ready was ready before, and what is cleaned up is so after.
    let (first, last) = (at(down[0], "started_at"), at(down[down.len() - 1], "finished_at"));
    for step in all.iter().filter(|step| step["phase"] != "downtime") {
        let before = at(step, "finished_at") <= first;
        assert!(before || at(step, "started_at") >= last, "{step}");
    }
}
