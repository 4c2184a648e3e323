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
