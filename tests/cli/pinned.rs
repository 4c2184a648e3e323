//! What an operation began with is what it goes on with, whatever becomes of the files (R14).

use crate::harness::{Place, component, operation};
use std::process::Command;

const MANIFEST: &str = r#"
schema = 1
[operation]
name = "label"
[[steps]]
id = "first"
uses = "./t.wasm#label-volume"
with = { volume = "vol-db-main", label = "first" }
[[steps]]
id = "then"
uses = "ebs/tag-volume"
with = { volume = "vol-db-main", key = "then", value = "two" }
"#;

/// An operation of a plugin of its own, killed beside its second effect.
fn killed(place: &Place) -> String {
    std::fs::copy(component("volume-label"), place.path("t.wasm")).expect("the build made it");
    let manifest = place.write("label.toml", MANIFEST);
    let arguments = ["run", &manifest, "--grant", "./t.wasm=ebs", "--inject"];
    let ran = place.run(&[&arguments[..], &["ebs.tag#2=crash-before"]].concat());
    assert_eq!(ran.code, None, "it was killed: {}", ran.stderr);
    manifest
}

#[test]
fn deleted_files_change_nothing_for_what_has_begun() {
    let place = Place::new();
    let before = place.untouched();
    let manifest = killed(&place);
    for gone in [manifest.as_str(), &place.path("t.wasm").display().to_string()] {
        std::fs::remove_file(gone).expect("it was there");
    }
    place.run(&["resume", "1", "--inject", "ebs.tag=refuse"]).exits(3);
    assert_eq!(place.facts(), before, "the plugin's own undo ran");
}

#[test]
fn other_files_of_the_same_name_change_nothing_for_what_has_begun() {
    let place = Place::new();
    place.untouched();
    let manifest = killed(&place);
    place.write("label.toml", MANIFEST.replace("\"two\"", "\"other\""));
    std::fs::copy(component("testing"), place.path("t.wasm")).expect("the build made it");
    place.run(&["resume", "1"]).exits(0);
    let world = place.world();
    assert_eq!(world.volumes["vol-db-main"].tags["then"], "two");
    // The next one is of the new files, where the plugin has no such step.
    place.run(&["run", &manifest, "--grant", "./t.wasm=ebs"]).exits(2).says("label-volume");
}

/// What goes on is what began, byte for byte, or nothing does.
#[test]
fn other_bytes_in_the_store_are_not_run() {
    let place = Place::new();
    place.untouched();
    killed(&place);
    let store = rusqlite::Connection::open(place.path("state/journal.db")).expect("the store");
    let other = std::fs::read(component("testing")).expect("the build made it");
    let whole = "CREATE TEMP TABLE whole AS SELECT digest, bytes FROM blobs";
    store.execute_batch(whole).expect("a copy");
    store.execute("UPDATE blobs SET bytes = ?1", [other]).expect("it is written");
    place.run(&["resume", "1"]).exits(6).says("is not the one in the store");
    let mended = "UPDATE blobs SET bytes = (SELECT bytes FROM whole WHERE digest = blobs.digest)";
    store.execute(mended, []).expect("it is written");
    place.run(&["resume", "1"]).exits(0);
}

const WITH_SECRET: &str = r#"
schema = 1
[operation]
name = "secret"
[inputs]
password = { type = "secret" }
[[steps]]
id = "make"
uses = "docker/create-container"
[steps.with]
host = "i-db-1"
container = "app"
image = "postgres:16"
env = { PASSWORD = "{{ inputs.password }}" }
"#;

#[test]
fn a_secret_must_be_the_one_it_began_with() {
    let place = Place::new();
    place.untouched();
    let manifest = place.write("secret.toml", WITH_SECRET);
    let with = |mut command: Command, value: Option<&str>| {
        match value {
            Some(value) => command.env("PASSWORD_OF_TEST", value),
            None => command.env_remove("PASSWORD_OF_TEST"),
        };
        command.output().expect("the program starts")
    };
    let run = ["run", &manifest, "-i", "password=env:PASSWORD_OF_TEST"];
    let run = [&run[..], &["--inject", "docker.create-container=crash-before"]].concat();
    let killed = with(place.command(&run), Some("correct horse"));
    assert_eq!(killed.status.code(), None, "it was killed");
    for (value, says) in [(None, "PASSWORD_OF_TEST"), (Some("battery staple"), "not the one")] {
        let left = with(place.command(&["resume", "1"]), value);
        let told = String::from_utf8_lossy(&left.stderr);
        assert_eq!(left.status.code(), Some(6), "{told}");
        assert!(told.contains(says), "{told}");
        assert_eq!(place.show(1)["status"], "unfinished", "it does not fail");
    }
    let resumed = with(place.command(&["resume", "1"]), Some("correct horse"));
    assert_eq!(resumed.status.code(), Some(0), "{}", String::from_utf8_lossy(&resumed.stderr));
}

#[test]
fn a_replay_that_asks_for_something_else_is_found_and_rolled_back() {
    let place = Place::new();
    let before = place.untouched();
    let flagship = operation("redeploy-database");
    let killed = place.run(&["run", &flagship, "--inject", "ebs.attach=crash-before"]);
    assert_eq!(killed.code, None, "it was killed");
    // Code never differs, it is pinned; so the journal is made to hold another call.
    let journal = rusqlite::Connection::open(place.path("state/journal.db")).expect("the store");
    let changed = journal.execute(
        "UPDATE events SET record = replace(record, 'vol-db-main', 'vol-other')
         WHERE json_extract(record, '$.event.event') = 'call-answered'
           AND record LIKE '%ebs.describe%'
           AND json_extract(record, '$.event.id.of.step.step') = 'attach'",
        [],
    );
    assert_ne!(changed.expect("it can be changed"), 0, "an answered call was changed");
    drop(journal);
    place.run(&["resume", "1"]).exits(3).says("does not run the same way twice");
    assert_eq!(place.facts(), before);
    let steps = place.show(1)["steps"].clone();
    let attach = steps.as_array().expect("steps").iter().find(|step| step["id"] == "attach");
    assert_eq!(attach.expect("the step")["error"]["class"], "internal");
}
