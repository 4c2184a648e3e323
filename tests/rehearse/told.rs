//! What a report says of an operation with which nothing, or something, is wrong.

use crate::harness::{case, manifest, of, report, world};
use std::sync::Arc;
use stepback_engine::SecretSource;
use stepback_rehearse::{Report, WeakKind};

#[track_caller]
fn weak<'a>(report: &'a Report, said: &str) -> &'a stepback_rehearse::WeakPoint {
    let all: Vec<&str> = report.weak.iter().map(|one| one.told.as_str()).collect();
    let found = report.weak.iter().find(|one| one.told.contains(said));
    found.unwrap_or_else(|| panic!("{said:?} in {all:#?}"))
}

const TAG: &str = r#"
[[steps]]
id = "one"
uses = "ebs/tag-volume"
with = { volume = "vol-db-main", key = "k", value = "1" }
"#;

/// A database that was removed in its own downtime, and nothing brings it back.
#[test]
fn a_service_that_stays_down_is_told_first() {
    let replaced = r#"
[downtime]
budget = "1h"
[[steps]]
id = "stop"
uses = "docker/stop-container"
phase = "downtime"
with = { host = "i-db-1", container = "main", grace = "1s" }
[[steps]]
id = "remove"
uses = "docker/remove-container"
phase = "downtime"
irreversible = "a new one takes its place"
with = { host = "i-db-1", container = "main" }
[[steps]]
id = "create"
uses = "docker/create-container"
phase = "downtime"
with = { host = "i-db-1", container = "main", image = "postgres:16" }
[[steps]]
id = "start"
uses = "docker/start-container"
phase = "downtime"
with = { host = "i-db-1", container = "main" }
"#;
    let report = report(&of(&manifest(replaced), &[]));
    assert!(report.is_well(), "{:#?}", report.wrong);
    let point = weak(&report, "after `remove` nothing brings back what it did, and the service");
    assert!(point.is_down && point.kind == WeakKind::Irreversible, "{point:?}");
    assert!(report.weak[0].is_down, "{:?}", report.weak[0]);
    assert!(report.still_down >= point.cases && point.cases > 10, "{}", report.still_down);
    let longest = report.worst_downtime.as_ref().expect("a downtime");
    assert!(longest.goes_on, "{longest:?}");
    weak(&report, "the service is down for longer than its budget of 1 h 0 min, at worst without");
    // A look that fails is a way to an incomplete rollback, too.
    let looked = weak(&report, "if a look at docker:i-db-1/container/main is refused, ");
    assert_eq!((looked.kind, looked.fault), (WeakKind::Left, Some("refuse")));
    assert_eq!(looked.resources, ["docker:i-db-1/container/main"]);
}

/// What fails always is no weak point: it is a mistake of the operation.
#[test]
fn what_is_left_over_where_nothing_goes_wrong_is_wrong() {
    let in_use = r#"
[[steps]]
id = "keeps"
uses = "ebs/delete-volume"
phase = "cleanup"
with = { volume = "vol-db-main" }
irreversible = "it is in use"
"#;
    let rehearsal = of(&manifest(&format!("{TAG}{in_use}")), &[]);
    let told = stepback_rehearse::rehearse(&rehearsal, &|_, _| {});
    let said = match told {
        Ok(report) => format!("{:?}", report.wrong.first()),
        Err(why) => why.to_string(),
    };
    assert!(said.contains("keeps"), "{said}");
}

#[test]
fn what_does_not_hold_at_all_is_told_once_with_what_was_seen() {
    let always = "[[invariants]]\nname = \"up\"\n\
                  always = \"running('other') or attached('vol-db-main') > 1\"\n";
    let report = report(&of(&manifest(&format!("{always}{TAG}")), &[]));
    assert_eq!(report.wrong.len(), 1, "{:#?}", report.wrong);
    assert!(report.wrong[0].case.0.is_empty());
    let why = report.wrong[0].why.join("; ");
    assert!(why.contains("attached('vol-db-main') is 1, running('other') is false"), "{why}");
    assert_eq!(report.wrong_by_reason().len(), 1);
}

#[test]
fn an_invariant_that_can_not_be_told_is_a_mistake_at_its_place() {
    let never = "[[invariants]]\nname = \"up\"\nalways = \"attached('vol-db-main')\"\n";
    let rehearsal = of(&manifest(&format!("{never}{TAG}")), &[]);
    let why = stepback_rehearse::rehearse(&rehearsal, &|_, _| {}).expect_err("no bool");
    let why = why.to_string();
    assert!(why.contains("case.toml:8:11") && why.contains("can't be told"), "{why}");
}

struct Asked;

impl SecretSource for Asked {
    fn resolve(&self, reference: &str) -> Result<String, String> {
        panic!("somebody asks for {reference}");
    }
}

/// Neither a secret of the operation nor one that a container of the world has is in a report.
#[test]
fn no_secret_is_asked_for_or_shown() {
    let with_secret = r#"
[inputs]
pw = { type = "secret" }
[[invariants]]
name = "no"
always = "container('i-db-1', 'main').env.PASSWORD is undefined"
[[steps]]
id = "new"
uses = "docker/create-container"
[steps.with]
host = "i-db-1"
container = "new"
image = "postgres:16"
env = { PW = "{{ inputs.pw }}" }
[[steps]]
id = "one"
uses = "ebs/tag-volume"
with = { volume = "vol-db-main", key = "k", value = "1" }
"#;
    let mut rehearsal = of(&manifest(with_secret), &[("pw", "env:PW")]);
    rehearsal.secrets = Arc::new(Asked);
    let engine = rehearsal.world.engines.get_mut("i-db-1").expect("an engine");
    let main = engine.containers.get_mut("main").expect("a container");
    main.spec.env.insert("PASSWORD".into(), "hunter2-of-somebody".into());
    main.spec.command = vec!["db".into(), "--password=hunter2-in-a-command".into()];
    let report = report(&rehearsal);
    let told = serde_json::to_string(&report).expect("JSON");
    assert!(!told.contains("hunter2"), "{told}");
    assert!(!report.wrong.is_empty(), "the invariant reads it");
}

/// A case's faults stand where they came about.
#[test]
fn a_case_has_its_faults_at_their_places() {
    let rehearsal = of(&manifest(TAG), &[]);
    for (name, before, after) in [
        ("ebs.tag#1=lost", "call-started", "call-finished"),
        ("commit#3=crash-before", "", "taken-up"),
    ] {
        let shown = case(&rehearsal, name);
        let (at, fault) = shown.faults[0];
        assert_eq!(fault.to_string(), name);
        if !before.is_empty() {
            assert_eq!(shown.records[at - 1].event.name(), before, "{name}");
        }
        assert_eq!(shown.records[at].event.name(), after, "{name}");
    }
}

/// Those that are tried at once by the first round are none that a second would add.
#[test]
fn as_many_cases_are_possible_as_are_run() {
    let mut rehearsal = of(&manifest(TAG), &[]);
    let single = report(&rehearsal);
    rehearsal.faults = stepback_rehearse::Faults::Double;
    let double = report(&rehearsal);
    assert!(double.is_well(), "{:#?}", double.wrong);
    assert_eq!(single.possible, double.cases);
    let mut names: Vec<String> = double.all.iter().map(|one| one.case.to_string()).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count, "no case is run twice");
    // A kill beside the undo that was refused is not what leaves anything.
    let left: Vec<&str> = double.weak.iter().map(|one| one.told.as_str()).collect();
    let is_by_kill = |told: &&&str| told.contains("killed") || told.contains("tried again, ");
    assert!(left.iter().any(|told| told.contains("is refused for good")), "{left:#?}");
    assert_eq!(left.iter().filter(is_by_kill).count(), 0, "{left:#?}");
}

/// What a condition leaves out did not fail to be tried again.
#[test]
fn a_step_that_never_runs_has_no_retry_that_was_missed() {
    let skipped = r#"
[[steps]]
id = "never"
uses = "ebs/tag-volume"
when = "false"
with = { volume = "vol-db-main", key = "l", value = "1" }
retry = { attempts = 3, backoff = "1s..1s" }
"#;
    let report = report(&of(&manifest(&format!("{TAG}{skipped}")), &[]));
    assert!(report.is_well(), "{:#?}", report.wrong);
    assert_eq!(report.retries_never_exercised, [""; 0]);
}

/// What passes is waited for, also where it is only looked at what is beside what is touched.
#[test]
fn an_instance_is_stopped_and_started_with_its_engine_or_without() {
    let stop = r#"
[[steps]]
id = "stop"
uses = "ec2/stop-instance"
phase = "downtime"
with = { instance = "i-app" }
[[steps]]
id = "start"
uses = "ec2/start-instance"
phase = "downtime"
with = { instance = "i-app" }
"#;
    let instance = "[instances.i-app]\nstate = \"running\"\ntype = \"m5.large\"\n\
                    zone = \"us-east-1a\"\nprivate_ip = \"10.0.1.11\"\n";
    for engine in ["", "[engines.i-app]\n"] {
        let mut rehearsal = of(&manifest(stop), &[]);
        rehearsal.world = world(&format!("{instance}{engine}"));
        let report = report(&rehearsal);
        assert!(report.is_well(), "{engine}: {:#?}", report.wrong);
        assert!(report.endings.contains_key("rolled-back: restored"), "{:?}", report.endings);
    }
}
