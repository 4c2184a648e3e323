//! `stepback rehearse`: its report, one case, a page, and how it ends.

use crate::harness::{Place, operation};

const TAG: &str = "schema = 1\n[operation]\nname = \"tag\"\n[[steps]]\nid = \"one\"\n\
                   uses = \"ebs/tag-volume\"\n\
                   with = { volume = \"vol-db-main\", key = \"k\", value = \"1\" }\n";

#[test]
fn an_operation_is_rehearsed_and_nothing_is_changed() {
    let place = Place::new();
    place.write("tag.toml", TAG);
    let page = place.path("page.html");
    let html = ["--html", page.to_str().expect("a path")];
    let rehearsed = place.run(&[&["rehearse", "tag.toml"][..], &html].concat()).exits(0);
    rehearsed.says("0 wrong").says("step by step").says("ebs.tag").says("times are assumed");
    let page = std::fs::read_to_string(&page).expect("a page");
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("ebs.tag#1=lost"), "{page}");
    assert!(!page.contains("http"), "it needs nothing but itself");
    assert!(!place.path("state/worlds").exists(), "no world is made");
    place.run(&["list"]).exits(2).says("there are no operations");
    let report = place.run(&["rehearse", "tag.toml", "--json"]).exits(0).json();
    assert_eq!(report["wrong"], serde_json::json!([]));
    assert!(report["cases"].as_u64().expect("a number") > 20, "{report}");
}

#[test]
fn one_case_is_told_with_its_journal() {
    let place = Place::new();
    place.write("tag.toml", TAG);
    let case = ["rehearse", "tag.toml", "--case", "ebs.tag#1=refuse"];
    place.run(&case).exits(0).says("nothing is wrong").says("call-finished").says("refused");
    let told = |case: &str, said: &str| {
        place.run(&["rehearse", "tag.toml", "--case", case]).exits(2).says(said);
    };
    told("ebs.tag#9=refuse", "never comes about in this operation");
    told("ebs.tga#1=refuse", "did you mean `ebs.tag`?");
    told("ebs.tag=refuse", "does not say which time");
}

#[test]
fn what_is_wrong_ends_with_its_own_code() {
    let place = Place::new();
    let invariant = "[[invariants]]\nname = \"up\"\nalways = \"running('other')\"\n";
    place.write("wrong.toml", TAG.replace("[[steps]]", &format!("{invariant}[[steps]]")));
    let rehearsed = place.run(&["rehearse", "wrong.toml"]).exits(7);
    rehearsed.says("the invariant `up` does not hold before anything is done");
}

#[test]
fn an_operation_that_can_not_be_carried_out_is_not_rehearsed() {
    let place = Place::new();
    place.write("tag.toml", TAG.replace("vol-db-main", "vol-none"));
    let refused = place.run(&["rehearse", "tag.toml"]).exits(2);
    refused.says("there is nothing to rehearse: where nothing goes wrong, it is refused");
    let path = operation("deprovision-database");
    place.run(&["rehearse", &path]).exits(2).says("input `confirm` is missing");
    place.write("bad.toml", "volumes = 3");
    let world = ["rehearse", "tag.toml", "--world", "bad.toml"];
    place.run(&world).exits(2).says("the world file is not a world");
}

#[test]
fn a_mistake_in_an_invariant_is_told_at_its_place() {
    let place = Place::new();
    for (condition, said) in [
        ("always = \"runing('a')\"", "there is no function `runing`"),
        ("always = \"running()\"", "`running` takes 1 argument, not 0"),
        ("always = \"steps.one.id == 1\"", "an invariant must hold before any step has run, too"),
        ("allways = \"true\"", "an invariant has no key `allways`"),
        ("always = \"true\"\nsometimes = \"true\"", "either `always` or `sometimes`"),
    ] {
        let invariant = format!("[[invariants]]\nname = \"up\"\n{condition}\n[[steps]]");
        place.write("wrong.toml", TAG.replace("[[steps]]", &invariant));
        place.run(&["validate", "wrong.toml"]).exits(2).says(said);
    }
    place.write("when.toml", format!("{TAG}when = \"running('a')\"\n"));
    place.run(&["validate", "when.toml"]).exits(2).says("only `[[invariants]]` can");
}

/// A database that is replaced in its own downtime, and can't be brought back.
const REPLACED: &str = r#"
schema = 1
[operation]
name = "replace"
[inputs]
image = { type = "string" }
[[steps]]
id = "stop"
uses = "docker/stop-container"
phase = "downtime"
with = { host = "i-db-1", container = "main" }
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
with = { host = "i-db-1", container = "main", image = "{{ inputs.image }}" }
"#;

#[test]
fn a_service_that_is_left_down_is_told_and_may_be_a_failure() {
    let place = Place::new();
    place.write("replace.toml", REPLACED);
    let rehearse = ["rehearse", "replace.toml", "-i", "image=postgres:16"];
    let told = place.run(&rehearse).exits(0);
    told.says(" cases leave the service down")
        .says("the longest downtime: without end, in ")
        .says("nothing brings back what it did, and the service stays down")
        // What is to be pasted has what was given.
        .says(" rehearse replace.toml -i 'image=postgres:16' --case '");
    for (fail_on, code) in [("wrong", 0), ("down", 7), ("weak", 7)] {
        place.run(&[&rehearse[..], &["--fail-on", fail_on]].concat()).exits(code);
    }
    // Why it ends so is told, also to a program.
    let down = [&rehearse[..], &["--fail-on", "down", "--json"]].concat();
    let failed = place.run(&down).exits(7).says("it fails: ");
    let report = failed.json();
    assert_eq!((&report["failed_on"], &report["wrong_count"]), (&"down".into(), &0.into()));
    assert!(report["command"].as_str().is_some_and(|one| one.contains("replace.toml -i")));
    place.write("tag.toml", TAG);
    place.run(&["rehearse", "tag.toml", "--fail-on", "down"]).exits(0);
    place.run(&["rehearse", "tag.toml", "--fail-on", "weak"]).exits(7);
}

#[test]
fn a_case_tells_its_faults_and_what_is_left() {
    let place = Place::new();
    place.write("tag.toml", TAG);
    let report = place.run(&["rehearse", "tag.toml", "--json"]).exits(0).json();
    let weak = &report["weak"][0];
    assert_eq!((&weak["kind"], &weak["fault"]), (&"left".into(), &"refuse-always".into()));
    assert_eq!(weak["resources"], serde_json::json!(["ebs:volume/vol-db-main"]));
    let case = weak["case"].as_str().expect("a case");
    let told = place.run(&["rehearse", "tag.toml", "--case", case]).exits(0);
    told.says("what it says is true, and something is left")
        .says("not restored: ebs:volume/vol-db-main")
        .says("  do:   ")
        .says(">>> undo:ebs.untag#1=refuse-always");
}

#[test]
fn what_makes_no_sense_of_a_rehearsal_is_refused_before_it_begins() {
    let place = Place::new();
    place.write("tag.toml", TAG);
    let with = |more: &[&str], said: &str| {
        place.run(&[&["rehearse", "tag.toml"][..], more].concat()).exits(2).says(said);
    };
    with(&["--inject", "ebs.tag=refuse"], "a rehearsal makes every call fail by itself");
    with(&["--html", "nowhere/page.html"], "nowhere/page.html can't be written: No such file");
    with(&["--html", "."], "`--html FILE`");
    with(&["--case", "ebs.tag#1=refuse", "--fail-on", "weak"], "cannot be used with");
    assert!(!place.path("stepback.lock").exists());
}
