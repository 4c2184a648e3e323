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

/// Past the commit point nothing rolls back, and whoever asked for it is told.
#[test]
fn ctrl_c_past_the_commit_point_comes_too_late() {
    let place = Place::new();
    let manifest = place.write(
        "late.toml",
        "schema = 1\n[operation]\nname = \"s\"\n[[steps]]\nid = \"tag\"\n\
         uses = \"ebs/tag-volume\"\n\
         with = { volume = \"vol-db-main\", key = \"a\", value = \"b\" }\n\
         [[steps]]\nid = \"sleep\"\nuses = \"core/sleep\"\nphase = \"cleanup\"\n\
         with = { duration = \"2s\" }\n",
    );
    let mut running = place.start(&["run", &manifest]);
    running.wait_for("clock.sleep");
    running.signal("INT");
    running.ends().exits(0).says("the cancel came too late: past the commit point");
}

/// The step would be late if its sleep began anew: four seconds are over when the runner dies.
#[test]
fn a_wait_that_was_cut_off_goes_on_for_its_rest() {
    let place = Place::new();
    let manifest = place.write(
        "sleep.toml",
        "schema = 1\n[operation]\nname = \"s\"\n[[steps]]\nid = \"sleep\"\nuses = \"core/sleep\"\n\
         with = { duration = \"10s\" }\ntimeout = \"12s\"\n",
    );
    let mut running = place.start(&["run", &manifest]);
    running.wait_for("clock.sleep");
    std::thread::sleep(std::time::Duration::from_secs(3));
    running.signal("KILL");
    running.ends();
    place.run(&["resume", "1"]).exits(0);
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
    assert_eq!((&shown["status"], &shown["left_in"]), (&"unfinished".into(), &"running".into()));
    assert!(shown["left_at"].is_string(), "{shown}");
    for command in [&["show", "1"][..], &["list"], &["activity"]] {
        let told = place.run(command).exits(0);
        told.says("nobody runs it, seen last")
            .says("(it was running); `stepback resume 1` goes on");
    }
    let unfinished = place.run(&["list", "--status", "unfinished", "--json"]).exits(0).json();
    assert_eq!(unfinished[0]["id"], 1);
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
fn a_cancel_without_a_runner_rolls_back() {
    let place = Place::new();
    let before = place.untouched();
    let flagship = operation("redeploy-database");
    let killed = place.run(&["run", &flagship, "--inject", "ebs.attach=crash-after"]);
    assert_eq!(killed.code, None, "it was killed");
    place.run(&["cancel", "1"]).exits(3).says("verdict: restored");
    assert_eq!(place.show(1)["cause"], "cancelled");
    assert_eq!(place.facts(), before);
}

/// Fail the flagship's last step and refuse to undo the attach: the rollback is incomplete.
fn incomplete(place: &Place) {
    let flagship = operation("redeploy-database");
    let faults = ["--inject", "docker.wait-healthy=refuse", "--inject", "undo:ebs.attach=refuse"];
    let mut arguments = vec!["run", flagship.as_str()];
    arguments.extend(faults);
    place.run(&arguments).exits(5).says("verdict: incomplete");
}

#[test]
fn an_incomplete_rollback_is_taken_up_again_and_releases_the_locks() {
    let place = Place::new();
    let before = place.untouched();
    incomplete(&place);
    place.run(&["locks"]).exits(0).says("database/main");
    let flagship = operation("redeploy-database");
    place.run(&["run", &flagship]).exits(2).says("stepback rollback 1");

    // What stood in the way is still there: the same end again, and the locks are kept.
    let again = ["rollback", "1", "--inject", "undo:ebs.attach=refuse"];
    place.run(&again).exits(5).says("the rollback is taken up again");
    place.run(&["locks"]).exits(0).says("database/main");
    let undone_before = undone_count(&place.show(1));
    place.run(&["rollback", "1"]).exits(3).says("verdict: restored");
    assert_eq!(place.facts(), before);
    assert!(undone_count(&place.show(1)) > undone_before);
    assert_eq!(place.run(&["locks", "--json"]).exits(0).json(), serde_json::json!([]));
    assert!(place.world().effects.values().all(|made| made.times == 1));
    place.run(&["rollback", "1"]).exits(2).says("has ended already: rolled-back");
    place.run(&["run", &flagship]).exits(0);
    place.run(&["rollback", "3"]).exits(2).says("has ended already: succeeded");
}

fn undone_count(shown: &serde_json::Value) -> usize {
    let steps = shown["steps"].as_array().expect("steps");
    steps.iter().filter(|step| step["status"] == "undone").count()
}

#[test]
fn a_rollback_that_is_killed_again_goes_on() {
    let place = Place::new();
    let before = place.untouched();
    incomplete(&place);
    let killed = place.run(&["rollback", "1", "--inject", "undo:ebs.attach=crash-after"]);
    assert_eq!(killed.code, None, "it was killed");
    let accept = place.run(&["rollback", "1", "--accept", "it may stay"]).exits(2);
    accept.says("it is rolling back").says("stepback resume 1");
    place.run(&["rollback", "1"]).exits(3).says("verdict: restored");
    assert_eq!(place.facts(), before);
}

#[test]
fn an_incomplete_rollback_can_be_accepted_on_the_record() {
    let place = Place::new();
    place.untouched();
    place.run(&["rollback", "1"]).exits(2);
    incomplete(&place);
    place.run(&["rollback", "1", "--accept", " "]).exits(2).says("needs a reason");
    place.run(&["rollback", "1", "--accept", "the volume stays there"]).exits(0).says("accepted");
    let shown = place.show(1);
    assert_eq!(shown["status"], "accepted");
    assert_eq!(shown["verdict"], "incomplete");
    assert_eq!(shown["accepted"]["reason"], "the volume stays there");
    assert_eq!(place.run(&["locks", "--json"]).exits(0).json(), serde_json::json!([]));
    for arguments in [vec!["rollback", "1"], vec!["rollback", "1", "--accept", "again"]] {
        place.run(&arguments).exits(2).says("accepted by");
    }
}

#[test]
fn a_new_run_says_what_was_left_unfinished() {
    let place = Place::new();
    place.untouched();
    let flagship = operation("redeploy-database");
    let killed = place.run(&["run", &flagship, "--inject", "ebs.attach=crash-before"]);
    assert_eq!(killed.code, None, "it was killed");
    let backup = operation("backup-database");
    let refused = place.run(&["run", &backup, "--no-wait"]).exits(2);
    refused.says("is unfinished: `stepback resume 1`").says("run by nobody");
    place.run(&["resume", "--all"]).exits(0);
    place.run(&["run", &backup]).exits(0);
}

#[test]
fn a_cancel_after_the_commit_point_is_refused_and_one_during_the_rollback_changes_nothing() {
    let place = Place::new();
    let flagship = operation("redeploy-database");
    let cleanup = "docker.remove-container=hang";
    let mut running = place.start(&["run", &flagship, "--inject", cleanup]);
    running.wait_for("committed");
    place.run(&["cancel", "1"]).exits(2).says("past its commit point");
    running.signal("KILL");
    running.ends();
    place.run(&["resume", "1"]).exits(0);

    let place = Place::new();
    let before = place.untouched();
    let faults = ["--inject", "docker.wait-healthy=refuse", "--inject", "undo:ebs.attach=hang"];
    let mut arguments = vec!["run", flagship.as_str()];
    arguments.extend(faults);
    let mut running = place.start(&arguments);
    running.wait_for("undoing");
    place.run(&["cancel", "1"]).exits(0).says("rolling back already");
    running.signal("KILL");
    running.ends();
    place.run(&["resume", "1"]).exits(3);
    assert_eq!(place.facts(), before);
    assert_eq!(place.show(1)["cause"], "failed");
}

#[test]
fn an_operation_that_waits_in_line_can_be_cancelled_from_another_terminal() {
    let place = Place::new();
    let flagship = operation("redeploy-database");
    let mut first = place.start_as("first", &["run", &flagship, "--inject", "ebs.attach=hang"]);
    first.wait_for("ebs.attach");
    let mut second = place.start_as("second", &["run", &flagship]);
    second.wait_for("waits in line: lock `database/main` is held by operation 1 since");
    let locks = place.run(&["locks", "--json"]).exits(0).json();
    assert_eq!(locks[0]["waiting"], serde_json::json!([2]));
    place.run(&["cancel", "2", "--reason", "not tonight"]).exits(0);
    second.ends().exits(2).says("not tonight");
    first.signal("INT");
    first.ends().exits(3);
}

#[test]
fn of_two_runners_started_at_the_same_instant_one_works_and_the_other_says_so() {
    let place = Place::new();
    place.untouched();
    let flagship = operation("redeploy-database");
    let rounds = 100;
    let killed = place.run(&["run", &flagship, "--inject", "docker.pull-image=crash-before"]);
    assert_eq!(killed.code, None, "it was killed");
    for round in 0..rounds {
        // Each round leaves the operation where it was, for the next two.
        let resume = ["resume", "1", "--inject", "docker.pull-image=crash-before"];
        let (one, two) = (place.start_as("one", &resume), place.start_as("two", &resume));
        let (one, two) = (one.ends(), two.ends());
        let died = [&one, &two].iter().filter(|ran| ran.code.is_none()).count();
        // The second may come after the first has died already; then it works too.
        let told = [&one, &two].iter().filter(|ran| ran.code == Some(2)).count();
        assert_eq!(died + told, 2, "round {round}: {one:?} {two:?}");
        assert!(died >= 1, "round {round}: nobody worked");
        for ran in [one, two] {
            if ran.code.is_some() {
                ran.says("is being run by");
            }
        }
    }
    place.run(&["resume", "1"]).exits(0);
    assert!(place.world().effects.values().all(|made| made.times == 1));
}

#[test]
fn a_stopped_runner_that_wakes_after_a_takeover_changes_nothing() {
    let place = Place::new();
    let flagship = operation("redeploy-database");
    let mut stopped = place.start_as("stopped", &["run", &flagship, "--inject", "ebs.detach=hang"]);
    stopped.wait_for("ebs.detach");
    stopped.signal("STOP");
    place.run(&["resume", "1"]).exits(2).says("its lease runs out in");
    // Bounded by several times a lease's length; no assertion rests on the time.
    let resumed = (0..60).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(500));
        let resumed = place.run(&["resume", "1"]);
        (resumed.code != Some(2)).then_some(resumed)
    });
    resumed.expect("the lease runs out").exits(0);
    let (facts, events) = (place.facts(), place.run(&["show", "1", "--json"]).stdout);
    stopped.signal("CONT");
    // Its call hangs for good: it learns of the takeover by itself.
    stopped.ends().exits(6).says("another has taken it over");
    assert_eq!(place.facts(), facts);
    assert_eq!(place.run(&["show", "1", "--json"]).stdout, events);
    assert!(place.world().effects.values().all(|made| made.times == 1));
}

/// What did not happen before a crash is not done when it was cancelled meanwhile.
#[test]
fn a_cancel_while_nobody_runs_it_is_heard_before_anything_is_done() {
    for call in ["docker.stop-container", "ebs.create-snapshot"] {
        let (place, crash) = (Place::new(), format!("{call}=crash-before"));
        let before = place.untouched();
        let name = if call.starts_with("ebs") { "backup-database" } else { "redeploy-database" };
        let killed = place.run(&["run", &operation(name), "--inject", &crash]);
        assert_eq!(killed.code, None, "{}", killed.stderr);
        place.run(&["cancel", "1", "--reason", "not tonight"]).exits(3).says("not tonight");
        let made = place.world().effects;
        assert!(made.values().all(|made| made.function != call), "{call} was made: {made:?}");
        assert_eq!(place.facts(), before);
    }
}

/// But what only waited in line: that would wait for a lock of one that comes later, or come after
/// what has been run since.
#[test]
fn all_that_began_are_resumed() {
    let place = Place::new();
    let manifest = |pause: &str| {
        format!(
            "schema = 1\n[operation]\nname = \"slow\"\nlocks = [\"slow\"]\n[[steps]]\n\
             id = \"sleep\"\nuses = \"core/sleep\"\nwith = {{ duration = \"{pause}\" }}\n"
        )
    };
    let (short, long) = (place.write("a.toml", manifest("2s")), manifest("1h"));
    let long = place.write("b.toml", long);
    let mut first = place.start_as("first", &["run", &short]);
    first.wait_for("sleep");
    let mut second = place.start_as("second", &["run", &short]);
    second.wait_for("waits in line");
    let mut third = place.start_as("third", &["run", &long]);
    third.wait_for("waits in line");
    second.signal("KILL");
    second.ends();
    first.ends().exits(0);
    // The dead one is skipped, and the third holds the lock when it is killed.
    third.wait_for("sleep ");
    third.signal("KILL");
    third.ends();
    let mut resuming = place.start_as("resuming", &["resume", "--all"]);
    resuming.wait_for("[3] ");
    place.run(&["cancel", "3"]).exits(0);
    let ended = resuming.ends();
    assert!(ended.stderr.contains("operation 2 never began, and is left"), "{}", ended.stderr);
    assert_eq!(place.show(3)["status"], "rolled-back");
    place.run(&["resume", "2"]).exits(0);
    assert_eq!(place.show(2)["status"], "succeeded");
}

#[test]
fn a_check_that_hangs_before_the_start_can_be_called_off() {
    let place = Place::new();
    let arguments =
        ["run", &operation("redeploy-database"), "--inject", "docker.inspect-container=hang"];
    let mut running = place.start(&arguments);
    running.wait_for("operation 1");
    place.run(&["cancel", "1", "--reason", "not tonight"]).exits(0);
    running.ends().exits(2).says("before anything was changed: not tonight");
    let mut running = place.start_as("left", &arguments);
    running.wait_for("operation 2");
    running.signal("TERM");
    running.ends().exits(6).says("stepback resume 2");
    place.run(&["resume", "2"]).exits(0);
}

#[test]
fn what_is_still_down_after_a_rollback_is_not_said_to_be_up() {
    let place = Place::new();
    let faults = ["undo:ebs.attach=refuse", "docker.start-container=refuse"];
    let flagship = operation("redeploy-database");
    let incomplete =
        place.run(&["run", &flagship, "--inject", faults[0], "--inject", faults[1]]).exits(5);
    let incomplete = incomplete.says("and not over");
    assert!(!incomplete.stderr.contains("downtime window closes"), "{}", incomplete.stderr);
    let restored = place.run(&["rollback", "1"]).exits(3).says("downtime window closes");
    assert!(!restored.stdout.contains("not over"), "{}", restored.stdout);
}

/// Reading a secret from a pipe that nobody writes to is bounded by nothing.
#[test]
fn what_can_not_be_left_ends_all_the_same() {
    let place = Place::new();
    let made = std::process::Command::new("mkfifo").arg(place.path("pipe.wasm")).status();
    assert!(made.expect("mkfifo can be run").success());
    let text = "schema = 1\n[operation]\nname = \"pipe\"\n\
                [[steps]]\nid = \"wait\"\nuses = \"./pipe.wasm#wait\"\n";
    let manifest = place.write("pipe.toml", text);
    let mut running = place.start(&["run", &manifest]);
    running.wait_for("new state directory");
    // It says nothing before it has read it.
    std::thread::sleep(std::time::Duration::from_secs(1));
    running.signal("TERM");
    running.wait_for("it could not be left in 10s");
    running.ends().exits(6);
}

/// Its environment is gone for now, and the wish is not.
#[test]
fn a_cancel_that_can_not_begin_is_kept_and_says_so() {
    let place = Place::new();
    let flagship = operation("redeploy-database");
    let world = operation("demo-world");
    let lab = format!("[environments.lab]\nprovider = \"simulated\"\nworld = {world:?}\n");
    let lab = place.write("lab.toml", &lab);
    let other = place.write("other.toml", "");
    let dies = ["--inject", "ebs.attach=crash-after", "--environment", "lab", "--config", &lab];
    let killed = place.run(&[&["run", &flagship][..], &dies].concat());
    assert_eq!(killed.code, None, "it was killed");
    place.run(&["cancel", "1", "--config", &other]).exits(2).says("the cancel is kept");
    place.run(&["resume", "1", "--config", &lab]).exits(3).says("restored");
}

/// Nobody goes to sleep over a database that is down, whichever command left it so.
#[test]
fn what_is_down_is_told_whoever_leaves_it() {
    for (command, fault, then) in [
        (["resume", "--all"], "ebs.attach=hang", "cancel"),
        (["cancel", "1"], "undo:ebs.attach=hang", "resume"),
    ] {
        let place = Place::new();
        let before = place.untouched();
        let flagship = operation("redeploy-database");
        let killed = place.run(&["run", &flagship, "--inject", "ebs.attach=crash-before"]);
        assert_eq!(killed.code, None, "it was killed");
        let mut running = place.start(&[&command[..], &["--inject", fault]].concat());
        running.wait_for("ebs.attach");
        running.signal("TERM");
        running.ends().exits(6).says("downtime: since").says("and not over");
        place.run(&[then, "1"]).exits(3).says("verdict: restored");
        assert_eq!(place.facts(), before);
    }
}
