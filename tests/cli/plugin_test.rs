//! `stepback plugin test`: each step of a plugin alone, whatever befalls it.

use crate::harness::{Place, component};
use serde_json::Value;

fn test(place: &Place, plugin: &str, more: &[&str]) -> crate::harness::Ran {
    place.run(&[&["plugin", "test", plugin][..], more].concat())
}

/// Each shipped step is found something to do, by its schema and the world alone.
#[test]
fn the_shipped_plugins_pass() {
    let place = Place::new();
    for plugin in ["core", "ebs", "ec2", "docker"] {
        let told = test(&place, plugin, &["--json"]);
        let report = told.json();
        let steps = report["steps"].as_array().expect("steps");
        let not: Vec<&Value> = steps.iter().filter(|one| one["report"].is_null()).collect();
        assert!(not.is_empty(), "{plugin}: {not:#?}");
        for one in steps {
            assert_eq!(one["report"]["wrong"], Value::Array(vec![]), "{plugin}: {}", one["step"]);
        }
        told.exits(0);
    }
}

#[test]
fn a_lying_undo_is_found() {
    let place = Place::new();
    let plugin = component("testing");
    let plugin = plugin.to_str().expect("a path");
    let told = test(&place, plugin, &["--step", "lying-undo"]).exits(7);
    told.says("wrong")
        .says("its rollback is incomplete, and nothing stood in the way of it")
        .says(" --step lying-undo --case ");
    let report = test(&place, plugin, &["--step", "lying-undo", "--json"]).exits(7).json();
    let case = report["steps"][0]["report"]["wrong"][0]["case"].as_str().expect("a case");
    let again = ["--step", "lying-undo", "--case", case];
    test(&place, plugin, &again).exits(7).says("nothing stood in the way");
    // It is the undo of that very tag.
    let with = ["--with", "lying-undo={ volume = \"vol-free\", key = \"k\", value = \"v\" }"];
    let told = test(&place, plugin, &[&["--step", "lying-undo"][..], &with].concat()).exits(7);
    told.says("vol-free");
}

/// The time is another one whenever somebody waited, and nothing is wrong with that.
#[test]
fn a_step_that_writes_the_time_is_none_that_lies() {
    let place = Place::new();
    let plugin = component("testing");
    let plugin = plugin.to_str().expect("a path");
    test(&place, plugin, &["--step", "stamp"]).exits(0).says("0 wrong");
}

/// Text components, as any language makes them.
#[test]
fn what_can_not_be_tested_is_told_with_what_to_do() {
    let place = Place::new();
    test(&place, "ebs", &["--step", "tga-volume"]).exits(2).says("did you mean `tag-volume`?");
    let with = ["--step", "tag-volume", "--with", "tag-volume={ volume = \"vol-none\" }"];
    let told = test(&place, "ebs", &with).exits(2);
    told.says("not tested: of 1 inputs").says("--with 'tag-volume={");
    for (with, said) in [
        ("tag-volume", "it is not STEP={"),
        ("tag-volume={ volume = }", "`--with tag-volume={ volume = }`: "),
        ("tag-volume=3", "it is not STEP={"),
        ("tga=1", "there is no such step"),
    ] {
        test(&place, "ebs", &["--with", with]).exits(2).says(said);
    }
    test(&place, "ebs", &["--case", "ebs.tag#1=lost"]).exits(2).says("--step");
}
