//! Ctrl-C and SIGTERM: cancel and roll back, or leave for `resume`.

use crate::harness::{Place, operation};

#[test]
fn ctrl_c_cancels_and_rolls_back() {
    let place = Place::new();
    let before = place.untouched();
    let flagship = operation("redeploy-database");
    let mut running = place.start(&["run", &flagship, "--inject", "ebs.attach=hang"]);
    running.wait_for("ebs.attach");
    running.signal("INT");
    let ran = running.ends().exits(3).says("verdict: restored");
    ran.says("rolling back (cancelled)");
    assert_eq!(place.show(1)["cause"], "cancelled");
    assert_eq!(place.facts(), before);
}

#[test]
fn ctrl_c_ends_a_sleep_at_once() {
    let place = Place::new();
    let manifest = place.write(
        "sleep.toml",
        "schema = 1\n[operation]\nname = \"s\"\n[[steps]]\nid = \"sleep\"\nuses = \"core/sleep\"\n\
         with = { duration = \"20h\" }\n",
    );
    let mut running = place.start(&["run", &manifest]);
    running.wait_for("started");
    running.signal("INT");
    running.ends().exits(3);
    let shown = place.show(1);
    assert_eq!(shown["steps"][0]["error"]["class"], "cancelled");
}

#[test]
fn what_is_left_is_resumed_to_its_end() {
    let place = Place::new();
    let flagship = operation("redeploy-database");
    let mut running = place.start(&["run", &flagship, "--inject", "ebs.attach=hang"]);
    running.wait_for("ebs.attach");
    running.signal("TERM");
    running.ends().exits(6).says("stepback resume 1");
    let shown = place.show(1);
    assert_eq!(shown["status"], "running");
    assert_eq!(shown["current"][0]["call"], "ebs.attach");

    place.run(&["resume", "1"]).exits(0);
    let world = place.world();
    assert_eq!(world.volumes["vol-db-main"].attachments[0].instance, "i-db-2");
    assert!(world.effects.values().all(|made| made.times == 1));
    place.run(&["resume", "1"]).exits(2).says("has ended already: succeeded");
}

#[test]
fn a_resume_may_roll_back_too() {
    let place = Place::new();
    let before = place.untouched();
    let flagship = operation("redeploy-database");
    let mut running = place.start(&["run", &flagship, "--inject", "ebs.attach=hang"]);
    running.wait_for("ebs.attach");
    running.signal("TERM");
    running.ends().exits(6);
    place.run(&["resume", "--all", "--inject", "docker.start-container=refuse"]).exits(3);
    assert_eq!(place.facts(), before);
    place.run(&["resume", "--all"]).exits(0);
}

#[test]
fn a_cancel_from_another_terminal_rolls_back_and_says_who_and_why() {
    let place = Place::new();
    let before = place.untouched();
    let flagship = operation("redeploy-database");
    let mut running = place.start(&["run", &flagship, "--inject", "ebs.attach=hang"]);
    running.wait_for("ebs.attach");
    let locks = place.run(&["locks"]).exits(0);
    locks.says("database/main");
    place.run(&["cancel", "1", "--reason", "wrong night"]).exits(0).says("asked operation 1");
    running.ends().exits(3).says("wrong night");
    assert!(place.show(1)["why"].as_str().is_some_and(|why| why.contains("wrong night")));
    assert_eq!(place.facts(), before);
    assert_eq!(place.run(&["locks", "--json"]).exits(0).json(), serde_json::json!([]));
    place.run(&["cancel", "1"]).exits(2).says("has ended already: rolled-back");
}

#[test]
fn a_cancel_without_a_runner_waits_for_resume() {
    let place = Place::new();
    let before = place.untouched();
    let flagship = operation("redeploy-database");
    let killed = place.run(&["run", &flagship, "--inject", "ebs.attach=crash-after"]);
    assert_eq!(killed.code, None, "it was killed");
    place.run(&["cancel", "1"]).exits(0).says("stepback resume 1");
    place.run(&["resume", "1"]).exits(3).says("verdict: restored");
    assert_eq!(place.show(1)["cause"], "cancelled");
    assert_eq!(place.facts(), before);
}
