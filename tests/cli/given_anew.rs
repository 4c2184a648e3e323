//! `resume ID --secret NAME=…`: a secret that is found elsewhere by now, or is another one.

use crate::harness::{Place, Ran};

const MANIFEST: &str = r#"
schema = 1
[operation]
name = "anew"
[inputs]
pw = { type = "secret" }
[[steps]]
id = "tag"
uses = "ebs/tag-volume"
with = { volume = "vol-db-main", key = "seen", value = "yes" }
[[steps]]
id = "make"
uses = "docker/create-container"
[steps.with]
host = "i-db-1"
container = "app"
image = "postgres:16"
env = { PW = "{{ inputs.pw }}" }
"#;

const OLD: &str = "correct-horse-1";
const NEW: &str = "battery-staple-2";

/// Killed at this call; what it began with is gone by then.
fn killed(at: &str) -> Place {
    let place = Place::new();
    place.untouched();
    let manifest = place.write("anew.toml", MANIFEST);
    place.write("old", OLD);
    let crash = format!("{at}=crash-before");
    let run = ["run", &manifest, "-i", "pw=file:old", "--inject", &crash];
    assert_eq!(place.run(&run).code, None, "it was killed");
    std::fs::remove_file(place.path("old")).expect("it is gone");
    place.write("moved", OLD);
    place.write("new", NEW);
    place.run(&["resume", "1"]).exits(6).says("the secret `pw`");
    place
}

fn made(place: &Place) -> String {
    place.world().engines["i-db-1"].containers["app"].spec.env["PW"].clone()
}

fn resume(place: &Place, more: &[&str]) -> Ran {
    place.run(&[&["resume", "1"], more].concat())
}

#[test]
fn a_secret_that_no_call_had_may_be_another_one() {
    let place = killed("ebs.tag");
    resume(&place, &["--secret", "other=file:new"]).exits(6).says("has no secret `other`");
    resume(&place, &["--secret", &format!("pw={NEW}")]).exits(2).lacks(NEW);
    resume(&place, &["--secret", "pw=file:nowhere"]).exits(6).says("nowhere can't be read");
    let ran = resume(&place, &["--secret", "pw=file:new"]).exits(0);
    ran.says("the secret `pw` is file:").lacks(NEW);
    assert_eq!(made(&place), NEW);
}

#[test]
fn where_it_is_found_is_journaled_for_whoever_goes_on() {
    let place = killed("ebs.tag");
    let crash = ["--secret", "pw=file:new", "--inject", "docker.create-container=crash-before"];
    assert_eq!(resume(&place, &crash).code, None);
    // A call had it now.
    resume(&place, &["--secret", "pw=file:moved"]).exits(6).says("not the one");
    resume(&place, &[]).exits(0);
    assert_eq!(made(&place), NEW);
}

#[test]
fn going_forward_with_another_one_than_a_call_had_is_refused() {
    let place = killed("docker.create-container");
    let before = place.facts();
    let ran = resume(&place, &["--secret", "pw=file:new"]).exits(6);
    ran.says("not the one that the operation began with").lacks(NEW);
    assert_eq!(place.facts(), before);
    resume(&place, &["--secret", "pw=file:moved"]).exits(0);
    assert_eq!(made(&place), OLD);

    let place = killed("docker.create-container");
    place.run(&["rollback", "1"]).exits(3).says("verdict: restored");
}
