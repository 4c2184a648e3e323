//! `list`, `show`, `logs` and `activity` tell the same story afterwards.

use crate::harness::{Place, operation};
use serde_json::Value;

/// The keys that scripts rely on.
const OPERATION_KEYS: [&str; 13] = [
    "id",
    "manifest",
    "environment",
    "status",
    "cause",
    "verdict",
    "started_at",
    "finished_at",
    "downtime_ms",
    "steps",
    "not_restored",
    "kept",
    "leftovers",
];
const STEP_KEYS: [&str; 9] =
    ["id", "uses", "phase", "status", "attempts", "started_at", "finished_at", "error", "output"];

#[track_caller]
fn has_keys(value: &Value, keys: &[&str]) {
    for key in keys {
        assert!(value.get(key).is_some(), "`{key}` is missing in {value:#}");
    }
}

#[test]
fn the_past_is_told_the_same_everywhere() {
    let place = Place::new();
    let flagship = operation("redeploy-database");
    place.run(&["run", &flagship]).exits(0);
    let back = ["run", &flagship, "-i", "to_instance=i-db-1", "--inject", "ebs.attach=refuse"];
    place.run(&back).exits(3);

    let shown = place.show(2);
    has_keys(&shown, &OPERATION_KEYS);
    has_keys(&shown["steps"][0], &STEP_KEYS);
    assert_eq!(shown["status"], "rolled-back");
    assert_eq!(shown["cause"], "failed");
    assert_eq!(shown["verdict"], "restored");
    let steps = shown["steps"].as_array().expect("steps");
    let attach = steps.iter().find(|step| step["id"] == "attach").expect("attach");
    assert_eq!(attach["error"]["code"], "InjectedRefusal");
    assert_eq!(attach["phase"], "downtime");
    assert_eq!(
        steps.iter().find(|step| step["id"] == "remove-old").expect("it")["status"],
        "pending"
    );

    let listed = place.run(&["list", "--json"]).exits(0).json();
    assert_eq!(listed[0], shown, "list and show agree, and the newest comes first");
    assert_eq!(place.run(&["show", "latest", "--json"]).exits(0).json(), shown);
    let activity = place.run(&["activity", "--format", "json"]).exits(0).json();
    assert_eq!(activity, listed, "activity and list agree");

    let table = place.run(&["list"]).exits(0).stdout;
    assert!(table.lines().nth(1).is_some_and(|line| line.contains("restored")), "{table}");
    let text = place.run(&["show", "2"]).exits(0);
    text.says("verdict: restored").says("InjectedRefusal").says("database = \"main\"");
    let logs = place.run(&["logs", "2"]).exits(0);
    logs.says("pull-image").says("postgres:16 is sha256:");
}

#[test]
fn activity_is_filtered_and_has_csv() {
    let place = Place::new();
    place.run(&["run", &operation("backup-database")]).exits(0);
    let csv = place.run(&["activity", "--format", "csv", "--since", "1h"]).exits(0).stdout;
    assert_eq!(csv.lines().count(), 2, "{csv}");
    assert!(csv.starts_with("id,name,manifest,"), "{csv}");
    let none = ["activity", "--format", "csv", "--status", "rolled-back"];
    assert_eq!(place.run(&none).exits(0).stdout.lines().count(), 1);
    let wrong = place.run(&["activity", "--status", "succeded"]).exits(2);
    wrong.says("did you mean `succeeded`?");
    place.run(&["activity", "--since", "yesterday"]).exits(2).says("such as `90m`");
}

#[test]
fn what_is_not_there_is_told_so() {
    let place = Place::new();
    place.run(&["list"]).exits(2).says("there are no operations");
    place.run(&["run", &operation("backup-database")]).exits(0);
    for arguments in [["show", "9"], ["logs", "9"], ["resume", "9"]] {
        place.run(&arguments).exits(2).says("there is no operation 9");
    }
}

#[test]
fn schemas_and_completions_are_printed() {
    let place = Place::new();
    let manifest = place.run(&["schema", "manifest"]).exits(0).json();
    assert_eq!(manifest["properties"]["schema"]["const"], 1);
    let operation = place.run(&["schema", "operation"]).exits(0).json();
    assert!(operation["properties"]["not_restored"].is_object());
    place.run(&["completions", "bash"]).exits(0).says("stepback");
}

#[test]
fn plugins_are_listed_and_inspected() {
    let place = Place::new();
    place.run(&["plugin", "list"]).exits(0).says("ebs/attach-volume");
    let ebs = place.run(&["plugin", "inspect", "ebs#attach-volume", "--json"]).exits(0).json();
    assert_eq!(ebs["steps"][0]["name"], "attach-volume");
    assert!(ebs["imports"].as_array().is_some_and(|all| all.contains(&"ebs".into())));
    place.run(&["plugin", "inspect", "ebz"]).exits(2).says("did you mean `ebs`?");
}
