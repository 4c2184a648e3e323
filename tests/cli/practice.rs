//! What people who do this job ran into with other tools, and with this one: locks that are left,
//! commands pasted in the wrong directory, jobs that are killed, logs that say nothing.

use crate::harness::{Place, operation};
use std::fs;
use std::os::unix::fs::symlink;

/// A move, killed in its downtime.
fn killed(place: &Place) {
    let fault = ["--inject", "ebs.attach=crash-before"];
    let ran = place.run(&[&["run", &operation("redeploy-database")][..], &fault].concat());
    assert_eq!(ran.code, None, "{}", ran.stderr);
}

/// Pasted, it would act on another operation of the same number.
#[test]
fn a_command_that_is_told_looks_where_this_one_looked() {
    let place = Place::new();
    let other = place.path("other state").display().to_string();
    fs::create_dir(&other).expect("a directory");
    let fault = ["--inject", "ebs.attach=crash-before"];
    let flagship = operation("redeploy-database");
    let in_other = |arguments: &[&str]| place.run(&[&["--state", &other][..], arguments].concat());
    in_other(&[&["run", flagship.as_str()][..], &fault].concat());
    let resume = format!("`stepback --state '{other}' resume 1` goes on");
    for arguments in [&["list"][..], &["show", "1"], &["logs", "1"]] {
        in_other(arguments).exits(0).says(&resume);
    }
    in_other(&["run", &flagship, "--no-wait"]).exits(2).says(&resume);
    // What a script reads is as it is in the journal.
    in_other(&["list", "--json"]).exits(0).json();
    place.run(&["show", "1"]).exits(2).says("there are no operations in");
    killed(&place);
    place.run(&["list"]).exits(0).says("`stepback resume 1` goes on");
}

/// In the middle of somebody's move a plan finds things as nobody left them.
#[test]
fn a_plan_says_who_is_at_work() {
    let place = Place::new();
    let backup = operation("backup-database");
    let mut running =
        place.start(&["run", &operation("redeploy-database"), "--inject", "ebs.attach=hang"]);
    running.wait_for("ebs.attach");
    let plan = place.run(&["plan", &backup]).exits(0);
    plan.says("! lock `database/main` is held by operation 1").says("a run would wait for it");
    let plan = place.run(&["plan", &backup, "--json"]).exits(0).json();
    assert_eq!(plan["locks_held"][0]["name"], "database/main");
    assert_eq!(plan["locks_held"][0]["would_wait"], true);
    assert_eq!(plan["refused"], false);
    running.signal("KILL");
    running.ends();
    let plan = place.run(&["plan", &backup]).exits(0);
    plan.says("run by nobody: `stepback resume 1` goes on");
    let incomplete = ["cancel", "1", "--inject", "undo:ebs.attach=refuse"];
    place.run(&incomplete).exits(5);
    let plan = place.run(&["plan", &backup]).exits(2);
    plan.says("whose rollback is incomplete").says("a run would be refused");
    place.run(&["rollback", "1"]).exits(3);
    place.run(&["plan", &backup]).exits(0).lacks("is held by");
}

/// The same, where another state directory is at work in the same world.
#[test]
fn a_plan_says_who_is_at_work_from_another_state_directory() {
    let place = Place::new();
    killed(&place);
    let other = place.path("other");
    fs::create_dir(&other).expect("a directory");
    symlink(place.path("state/worlds"), other.join("worlds")).expect("a link");
    let other = other.display().to_string();
    let plan = place.run(&["--state", &other, "plan", &operation("backup-database")]).exits(0);
    plan.says("held by operation 1").says("of another state directory").says("would wait for it");
}

/// A cancel whose runner dies before it hears it is honoured by whoever takes the operation up.
#[test]
fn a_cancel_that_nobody_heard_is_told() {
    let place = Place::new();
    let mut running =
        place.start(&["run", &operation("redeploy-database"), "--inject", "ebs.attach=hang"]);
    running.wait_for("ebs.attach");
    running.signal("STOP");
    place.run(&["cancel", "1", "--reason", "not tonight"]).exits(0);
    running.signal("KILL");
    running.ends();
    let told = "cancelled it: not tonight; `stepback resume 1` rolls it back";
    for arguments in [&["list"][..], &["show", "1"], &["logs", "1"]] {
        place.run(arguments).exits(0).says(told).lacks("goes on");
    }
    assert_eq!(place.show(1)["cancel_kept"]["reason"], "not tonight");
    place.run(&["resume", "1"]).exits(3);
    assert!(place.show(1)["cancel_kept"].is_null());
}

#[test]
fn a_reference_that_is_taken_for_a_text_is_told() {
    let place = Place::new();
    let provision = operation("provision-database");
    let run = |environment: &str| {
        let environment = format!("environment={environment}");
        let given = ["-i", "database=orders", "-i", "instance=i-db-3", "-i", &environment];
        place.run(&[&["plan", &provision][..], &given].concat()).exits(0)
    };
    let told = "is the text `env:PW` itself";
    run(r#"{"POSTGRES_PASSWORD":"env:PW"}"#).says(told).says("`--secret NAME=env:PW`");
    let clear = run(r#"{"POSTGRES_PASSWORD":"hunter22"}"#);
    clear.says("warning: `POSTGRES_PASSWORD` of the input `environment` is kept in the journal");
    run(r#"{"POSTGRES_PASSWORD_FILE":"/run/pw","A":"b"}"#).lacks("is kept in the journal");
    for plain in ["env: PW", "environment:PW", "file:/no/such/file", "x"] {
        run(&format!(r#"{{"A":"{plain}"}}"#)).lacks("is the text");
    }
}

/// As it is after a move that was given up in its middle.
#[test]
fn a_volume_that_is_attached_nowhere_is_told_once() {
    let place = Place::new();
    killed(&place);
    place.run(&["unlock", "1", "--reason", "the runner is no more"]).exits(0);
    for (name, more) in [
        ("restart-database", &[][..]),
        ("redeploy-database", &[]),
        ("resize-database-volume", &["-i", "size_gib=40"]),
        ("deprovision-database", &[]),
    ] {
        let refused = place.run_shipped(name, more).exits(2);
        let refused = refused.says("is attached nowhere: attach it, and start the database, first");
        assert_eq!(refused.stderr.matches("\n  - ").count(), 1, "{name}: {}", refused.stderr);
    }
}

#[test]
fn who_follows_an_operation_that_nobody_runs_is_told() {
    let place = Place::new();
    killed(&place);
    let mut following = place.start(&["logs", "1", "-f"]);
    following.wait_for("operation 1 is unfinished: nobody runs it");
    place.run(&["resume", "1"]).exits(0);
    following.ends().exits(0).says("operation 1 succeeded");
}

#[test]
fn who_closed_an_operation_and_who_freed_a_lock_is_on_record() {
    let place = Place::new();
    killed(&place);
    place.run(&["unlock", "1", "--reason", "the runner is no more"]).exits(0);
    let activity = place.run(&["activity", "--format", "csv"]).exits(0);
    let header = activity.stdout.lines().next().expect("a header").to_owned();
    assert!(header.ends_with("closed_by,closed_because,actor_uid"), "{header}");
    activity.says(",the runner is no more,");

    let place = Place::new();
    killed(&place);
    fs::rename(place.path("state"), place.path("lost")).expect("a directory");
    fs::create_dir(place.path("state")).expect("a directory");
    symlink(place.path("lost/worlds"), place.path("state/worlds")).expect("a link");
    let unlock = ["unlock", "-e", "local", "database/main", "--reason", "it was lost"];
    place.run(&unlock).exits(0);
    let freed = "freed by hand: database/main, which operation 1 of ";
    place.run(&["locks", "-e", "local"]).exits(0).says(freed).says("it was lost");
}

#[test]
fn a_misspelt_operation_is_not_an_empty_list() {
    let place = Place::new();
    place.run(&["run", &operation("backup-database")]).exits(0);
    let refused = place.run(&["list", "--operation", "backup-databse"]).exits(2);
    refused.says("no operation of the name `backup-databse` has run").says("backup-database");
    place.run(&["list", "--operation", "backup-database", "--status", "abandoned"]).exits(0);
}

#[test]
fn an_operation_of_another_configuration_is_told() {
    let place = Place::new();
    place.write("stepback.toml", "[environments.prod]\nprovider = \"simulated\"\n");
    let flagship = operation("redeploy-database");
    let fault = ["--inject", "ebs.attach=crash-before"];
    place.run(&[&["run", flagship.as_str(), "-e", "prod"][..], &fault].concat());
    fs::remove_file(place.path("stepback.toml")).expect("it was there");
    for command in ["resume", "rollback", "cancel"] {
        let refused = place.run(&[command, "1"]).exits(2);
        refused.says("operation 1 began in the environment `prod`").says("`--config FILE`");
    }
}

/// Whoever tries a fault and hears that all went well has tried something else.
#[test]
fn a_fault_that_never_came_about_is_told() {
    let place = Place::new();
    let ran = place.run_shipped("restart-database", &["--inject", "ebs.attach=refuse"]).exits(0);
    ran.says("warning: `--inject ebs.attach=refuse` never came about");
    let more = ["--inject", "docker.stop-container#1=transient"];
    place.run_shipped("restart-database", &more).lacks("never came about");
}
