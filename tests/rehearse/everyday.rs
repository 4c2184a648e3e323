//! Shapes that operations have every day, with which nothing is wrong, and what is told of them.

use crate::harness::{WORLD, case, manifest, of, report, world};
use stepback_core::event::Event;
use stepback_core::{Call, EbsCall};
use stepback_rehearse::{Report, WeakKind};

#[track_caller]
fn well(steps: &str) -> Report {
    let report = report(&of(&manifest(steps), &[]));
    assert!(report.is_well(), "{:#?}", report.wrong);
    report
}

fn weak(report: &Report, kind: WeakKind) -> Vec<&str> {
    let all = report.weak.iter().filter(|one| one.kind == kind);
    all.map(|one| one.told.as_str()).collect()
}

/// Whose question a fault befell is known, not guessed by equal questions of others.
#[test]
fn an_upgrade_of_an_instance_is_well_whoever_is_not_answered() {
    let report = well(
        r#"
[[steps]]
id = "down"
uses = "ec2/stop-instance"
with = { instance = "i-db-1" }
[[steps]]
id = "type"
uses = "ec2/set-instance-type"
with = { instance = "i-db-1", instance_type = "m5.large" }
[[steps]]
id = "up"
uses = "ec2/start-instance"
with = { instance = "i-db-1" }
[[steps]]
id = "ready"
uses = "docker/wait-engine"
with = { host = "i-db-1" }
"#,
    );
    let of_checks = weak(&report, WeakKind::Left);
    assert!(of_checks.iter().all(|told| !told.contains("of a check")), "{of_checks:#?}");
    // The engine's own question is no step's and no check's.
    let lists = report.matrix.iter().filter(|row| row.what == "docker.list-containers");
    let whose: Vec<_> = lists.map(|row| (row.doing.step.as_deref(), row.doing.check)).collect();
    assert!(whose.contains(&(None, false)), "{whose:?}");
    assert!(whose.contains(&(Some("ready"), false)), "{whose:?}");
}

#[test]
fn cleanups_side_by_side_leave_what_befell_themselves() {
    let steps = r#"
[[steps]]
id = "first"
uses = "core/assert"
with = { condition = true, message = "x" }
[[steps]]
id = "a"
needs = ["first"]
phase = "cleanup"
uses = "ebs/tag-volume"
with = { volume = "vol-db-main", key = "a", value = "x" }
[[steps]]
id = "b"
needs = ["first"]
phase = "cleanup"
uses = "ebs/tag-volume"
with = { volume = "vol-db-main", key = "b", value = "y" }
"#;
    well(steps);
}

/// What is made anew after a failure is the same thing, whatever is left of the first.
#[test]
fn what_was_made_again_is_as_what_was_made_at_once() {
    well(
        r#"
[[steps]]
id = "new"
uses = "ec2/run-instance"
with = { image = "ami-1", instance_type = "t3.small", zone = "us-east-1a" }
retry = { attempts = 2, backoff = "1s..3s" }
[outputs]
instance = "{{ steps.new.id }}"
"#,
    );
    well(
        r#"
[[steps]]
id = "s"
uses = "ebs/create-snapshot"
with = { volume = "vol-db-main" }
retry = { attempts = 2, backoff = "1s..2s" }
[[steps]]
id = "v"
uses = "ebs/create-volume"
with = { size_gib = 20, zone = "us-east-1a", snapshot = "{{ steps.s.id }}" }
[[steps]]
id = "gone"
uses = "ebs/delete-snapshot"
irreversible = "it was made here"
phase = "cleanup"
with = { snapshot = "{{ steps.s.id }}" }
"#,
    );
}

#[test]
fn a_cleanup_of_what_was_made_leaves_no_more_than_it_says() {
    let report = well(
        r#"
[[steps]]
id = "v"
uses = "ebs/create-volume"
with = { size_gib = 1, zone = "us-east-1a" }
[[steps]]
id = "label"
uses = "ebs/tag-volume"
phase = "cleanup"
with = { volume = "{{ steps.v.id }}", key = "k", value = "x" }
"#,
    );
    let told = weak(&report, WeakKind::Leftover);
    assert!(told.iter().any(|told| told.contains("`label` leaves")), "{told:#?}");
}

/// It ran before, and nothing that the operation does brings it back.
#[test]
fn a_service_that_is_stopped_for_good_is_told() {
    let report = well(
        r#"
[[steps]]
id = "stop"
uses = "docker/stop-container"
phase = "downtime"
with = { host = "i-db-1", container = "main" }
"#,
    );
    assert_eq!(
        weak(&report, WeakKind::Stopped),
        ["where nothing goes wrong, docker:i-db-1/container/main ran and runs no more"]
    );
    let succeeded = report.endings["succeeded"];
    assert!(report.still_down >= succeeded, "{} of {succeeded}", report.still_down);
    let down: usize =
        report.matrix.iter().flat_map(|row| row.cells.values()).map(|cell| cell.down).sum();
    assert_eq!(down, report.still_down);
}

#[test]
fn an_invariant_about_what_is_not_there_is_told() {
    let report = well(
        r#"
[[steps]]
id = "tag"
uses = "ebs/tag-volume"
with = { volume = "vol-db-main", key = "a", value = "b" }
[[invariants]]
name = "attached once"
always = "attached('vol-db-mian') <= 1"
[[invariants]]
name = "it is there"
always = "attached('vol-db-main') <= 1"
"#,
    );
    let told = weak(&report, WeakKind::NeverThere);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(
        told[0].starts_with("the invariant `attached once` asks for `attached('vol-db-mian')`")
    );
}

#[test]
fn what_is_frozen_does_not_run() {
    let steps = r#"
[[steps]]
id = "freeze"
uses = "docker/pause-container"
with = { host = "i-db-1", container = "main" }
[[invariants]]
name = "served"
always = "running('main')"
"#;
    let report = report(&of(&manifest(steps), &[]));
    assert_eq!(report.wrong.len(), 1, "{:#?}", report.wrong);
    assert!(report.wrong[0].why[0].contains("the invariant `served` does not hold"));
}

/// Its manifest says how long it waits before it is tried again.
#[test]
fn a_retry_that_lasts_longer_than_the_budget_is_weak_and_not_wrong() {
    let report = well(
        r#"
[downtime]
budget = "60s"
[[steps]]
id = "stop"
uses = "docker/stop-container"
phase = "downtime"
with = { host = "i-db-1", container = "main" }
[[steps]]
id = "start"
uses = "docker/start-container"
phase = "downtime"
with = { host = "i-db-1", container = "main" }
retry = { attempts = 4, backoff = "120s..300s" }
"#,
    );
    assert_eq!(weak(&report, WeakKind::OverBudget).len(), 1);
}

/// What an engine told before the last effect is no word about what is after it.
#[test]
fn what_was_not_looked_at_again_is_not_told_as_it_was() {
    let stopped = WORLD.replacen("state = \"running\"", "state = \"stopped\"", 1).replacen(
        "running = true",
        "running = false",
        1,
    );
    let other = IDLE.replace("idle", "other").replace("always", "no");
    let mut rehearsal = of(
        &manifest(
            r#"
[[steps]]
id = "up"
uses = "ec2/start-instance"
with = { instance = "i-db-1" }
[[steps]]
id = "other"
uses = "docker/start-container"
with = { host = "{{ steps.up.id }}", container = "other" }
[[steps]]
id = "main"
uses = "docker/stop-container"
with = { host = "{{ steps.up.id }}", container = "main" }
"#,
        ),
        &[],
    );
    rehearsal.world = world(&format!("{stopped}{other}"));
    let told = report(&rehearsal);
    assert!(told.is_well(), "{:#?}", told.wrong);
    // Where neither the look after its last effect nor the one before it went down came about, an
    // older one is no word about it.
    let back = told.all.iter().rev().find_map(|one| one.case.0.split_first());
    let back = back.map(|(back, _)| back.to_string()).expect("all of it is taken back");
    let mut met = 0;
    for after in 12..24 {
        for before in after + 1..after + 6 {
            let name = format!("{back}+look#{after}=refuse+look#{before}=refuse");
            let shown = case(&rehearsal, &name);
            met += usize::from(shown.fired.iter().all(|fired| *fired));
            assert_eq!(shown.wrong, [""; 0], "{name}");
        }
    }
    assert!(met > 20, "{met} cases");
    // Each case is as the report tells it.
    let one = told.all.iter().find(|one| one.case.to_string().contains("look#")).expect("a look");
    assert_eq!(case(&rehearsal, &one.case.to_string()).ended, one.ended);
}

const ANEW: &str = r#"
[[steps]]
id = "rm"
uses = "docker/remove-container"
irreversible = "it is thrown away"
with = { host = "i-db-1", container = "idle" }
[[steps]]
id = "make"
uses = "docker/create-container"
with = { host = "i-db-1", container = "idle", image = "postgres:16", restart = "no" }
[[steps]]
id = "start"
uses = "docker/start-container"
with = { host = "i-db-1", container = "idle" }
[[steps]]
id = "note"
uses = "ebs/tag-volume"
with = { volume = "vol-db-main", key = "k", value = "x" }
"#;

/// A container beside the database, which does not run.
const IDLE: &str = "\n[engines.i-db-1.containers.idle]\nrunning = false\n\
    digest = \"sha256:1600000000000000000000000000000000000000000000000000000000000000\"\n\
    [engines.i-db-1.containers.idle.spec]\nimage = \"postgres:16\"\nrestart = \"always\"\n";

/// What was declared excuses what it did, and nothing that was done to the same afterwards.
#[test]
fn a_declared_removal_excuses_no_container_that_was_made_since() {
    let mut rehearsal = of(&manifest(ANEW), &[]);
    rehearsal.world = world(&format!("{WORLD}{IDLE}"));
    let mut met = 0;
    for look in 1..8 {
        let name = format!(
            "look#{look}=refuse+ebs.tag#1=refuse+undo:docker.stop-container#1=refuse-always"
        );
        let shown = case(&rehearsal, &name);
        if shown.fired.iter().all(|fired| *fired) {
            met += 1;
            assert_eq!(shown.ended.verdict.as_deref(), Some("incomplete"), "{name}");
        }
    }
    assert!(met > 1, "{met} cases");
    assert!(report(&rehearsal).is_well());
}

/// With a container that is thrown away goes what was done to it; what is beside it is undone.
#[test]
fn what_was_taken_away_keeps_no_undo_from_its_end() {
    let stopped = WORLD.replacen("state = \"running\"", "state = \"stopped\"", 1).replacen(
        "running = true",
        "running = false",
        1,
    );
    let steps = r#"
[[steps]]
id = "up"
uses = "ec2/start-instance"
with = { instance = "i-db-1" }
[[steps]]
id = "stop"
uses = "docker/stop-container"
with = { host = "{{ steps.up.id }}", container = "main" }
[[steps]]
id = "rm"
uses = "docker/remove-container"
irreversible = "it is thrown away"
with = { host = "{{ steps.up.id }}", container = "main" }
[[steps]]
id = "note"
uses = "ebs/tag-volume"
with = { volume = "vol-db-main", key = "k", value = "x" }
"#;
    let mut rehearsal = of(&manifest(steps), &[]);
    rehearsal.world = world(&stopped);
    let report = report(&rehearsal);
    assert!(report.is_well(), "{:#?}", report.wrong);
}

#[test]
fn an_instance_without_an_engine_that_is_terminated_is_no_riddle() {
    let steps = r#"
[[steps]]
id = "end"
uses = "ec2/terminate-instance"
irreversible = "it is thrown away"
with = { instance = "i-app" }
[[steps]]
id = "note"
uses = "ec2/stop-instance"
with = { instance = "i-other" }
"#;
    let instance = |id: &str| {
        format!(
            "[instances.{id}]\nstate = \"running\"\ntype = \"m5.large\"\nzone = \"us-east-1a\"\n"
        )
    };
    let mut rehearsal = of(&manifest(steps), &[]);
    rehearsal.world = world(&format!("{}{}", instance("i-app"), instance("i-other")));
    let report = report(&rehearsal);
    assert!(report.is_well(), "{:#?}", report.wrong);
    assert!(
        report.endings.contains_key("rolled-back: restored-except-declared"),
        "{:?}",
        report.endings
    );
}

/// No budget is spent on a look that nobody answers.
#[test]
fn a_look_that_hangs_in_a_downtime_ends_with_its_budget() {
    let steps = r#"
[downtime]
budget = "60s"
[[steps]]
id = "stop"
uses = "docker/stop-container"
phase = "downtime"
with = { host = "i-db-1", container = "main" }
[[steps]]
id = "start"
uses = "docker/start-container"
phase = "downtime"
with = { host = "i-db-1", container = "main" }
"#;
    let rehearsal = of(&manifest(steps), &[]);
    for look in 1..8 {
        let shown = case(&rehearsal, &format!("look#{look}=hang"));
        let down_ms = shown.ended.downtime_ms.unwrap_or_default();
        assert!(down_ms < 180_000, "look#{look}: {down_ms} ms");
    }
}

/// An undo that failed in its middle is tried again, and has taken back the newest of its effects
/// already, as older ones of the same fact.
#[test]
fn a_fact_that_one_step_sets_again_and_again_is_taken_back_whatever_fails() {
    let tag = |value: &str| {
        format!("{{ call = \"tag\", volume = \"vol-db-main\", key = \"k\", value = \"{value}\" }}")
    };
    let run: Vec<String> = ["1", "2", "3", "4"].map(tag).into();
    let steps = format!(
        "[[steps]]\nid = \"many\"\nuses = \"attack/attack\"\n[steps.with]\ncheck = []\n\
         run = [{}]\nundo = []\n[[steps]]\nid = \"then\"\nuses = \"ebs/tag-volume\"\n\
         with = {{ volume = \"vol-db-main\", key = \"l\", value = \"2\" }}\n",
        run.join(", ")
    );
    well(&steps);
}

/// What a step works out from the time is another thing whenever it is tried again.
#[test]
fn a_time_that_was_worked_out_is_no_difference() {
    let steps = "[[steps]]\nid = \"keep\"\nuses = \"testing/stamp\"\n\
                 with = { volume = \"vol-db-main\", keep_days = 7 }\n\
                 [[steps]]\nid = \"then\"\nuses = \"ebs/tag-volume\"\n\
                 with = { volume = \"vol-db-main\", key = \"l\", value = \"2\" }\n";
    well(steps);
}

/// What depends on the time excuses nothing else: not that it is missing or another thing, and not
/// what an operation does that comes to no end at another time.
#[test]
fn what_depends_on_the_time_hides_no_failure() {
    for (with, wrong) in [
        ("keep_days = 7", &["ebs.describe#1=refuse", "ebs.tag#3=refuse"][..]),
        ("until = 1791000000000", &["ebs.describe#1=refuse", "ebs.tag#1=refuse"]),
    ] {
        let steps = format!(
            "[[steps]]\nid = \"keep\"\nuses = \"testing/stamp\"\n\
             with = {{ volume = \"vol-db-main\", swallows = true, {with} }}\n"
        );
        let rehearsal = of(&manifest(&steps), &[]);
        for name in wrong {
            let shown = case(&rehearsal, name);
            assert_eq!(shown.fired, [true], "{name}");
            let why = shown.wrong.join("; ");
            assert!(why.contains("it succeeded, and ebs:volume/vol-db-main"), "{name}: {why}");
        }
    }
}

/// A time of an earlier run that is still there was not written by this one.
#[test]
fn what_an_earlier_run_wrote_is_no_time_of_this_one() {
    let steps = "[[steps]]\nid = \"keep\"\nuses = \"testing/stamp\"\n\
                 with = { volume = \"vol-db-main\", swallows = true, keep_days = 7 }\n";
    let mut rehearsal = of(&manifest(steps), &[]);
    let stamped = case(&rehearsal, "nothing");
    let tags = stamped.records.iter().filter_map(|record| match &record.event {
        Event::CallStarted { call: Call::Ebs(EbsCall::Tag { key, value, .. }), .. } => {
            Some((key.clone(), value.replace("179", "178")))
        }
        _ => None,
    });
    let tags: Vec<_> = tags.collect();
    assert!(tags.iter().any(|(key, _)| key == "keep-until"), "{tags:?}");
    let volume = rehearsal.world.volumes.get_mut("vol-db-main").expect("it is there");
    volume.tags.extend(tags);
    let shown = case(&rehearsal, "ebs.tag#3=refuse");
    assert_eq!(shown.fired, [true]);
    assert!(shown.wrong.join("; ").contains("it succeeded, and ebs:volume/vol-db-main"));
}

/// What is tried again is taken back before: an undo that is always refused there stands in the way
/// of the rollback, too.
#[test]
fn an_undo_before_a_retry_may_be_refused_for_good() {
    let backup = include_str!("../../operations/backup-database.toml");
    let name = "ebs.wait-snapshot#1=transient+undo:ebs.delete-snapshot#1=refuse-always";
    let shown = case(&of(backup, &[]), name);
    assert_eq!(shown.fired, [true, true]);
    assert_eq!(shown.wrong, [""; 0]);
}
