//! What is sealed tells whether it is another one, and nothing else: by a key in the state
//! directory, which may be lost.

use crate::files_owned;
use crate::harness::Place;
use std::collections::BTreeSet;
use std::fs;

const VALUE: &str = "hunter22-Zx81!";

/// Stops a container, and fails.
const STOPS: &str = "schema = 1\n[operation]\nname = \"stops\"\n\
     [[steps]]\nid = \"stop\"\nuses = \"docker/stop-container\"\n\
     with = { host = \"i-db-1\", container = \"main\" }\n\
     [[steps]]\nid = \"fail\"\nuses = \"ebs/create-snapshot\"\n\
     with = { volume = \"vol-db-main\" }\n";

/// A container in whose command and environment somebody else put a password.
fn place() -> (Place, String) {
    let place = Place::new();
    place.untouched();
    let path = place.path("state/worlds/local/world.json");
    let mut world = place.world();
    let containers = &mut world.engines.get_mut("i-db-1").expect("an engine").containers;
    let spec = &mut containers.get_mut("main").expect("the database").spec;
    spec.command = vec!["run".into(), format!("--password={VALUE}")];
    spec.env.insert("PW".into(), VALUE.into());
    fs::write(path, serde_json::to_string(&world).expect("JSON")).expect("a world");
    let manifest = place.write("stops.toml", STOPS);
    (place, manifest)
}

fn journal(place: &Place) -> String {
    let read = |name: &str| fs::read(place.path("state").join(name)).unwrap_or_default();
    let bytes = [read("journal.db"), read("journal.db-wal")].concat();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn a_command_is_sealed_like_an_environment_for_whoever_has_no_secret() {
    let (place, manifest) = place();
    let before = place.facts();
    let fails = ["run", &manifest, "--inject", "ebs.create-snapshot=refuse"];
    let ran = place.run(&fails).exits(3).says("verdict: restored");
    assert_eq!(place.facts(), before);
    let shown = place.run(&["show", "1", "--json"]).exits(0).stdout;
    for said in [ran.stdout, ran.stderr, shown, journal(&place)] {
        assert!(!said.contains(VALUE), "{said}");
    }
    assert!(journal(&place).contains("\"command\":\"sealed:2:"));
    let key = fs::metadata(place.path("state/secrets.key")).expect("the key");
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o777, 0o600);
}

#[test]
fn without_the_key_the_undo_goes_on_and_the_verdict_says_what_nobody_can_compare() {
    let (place, manifest) = place();
    let before = place.facts();
    let crash = ["run", &manifest, "--inject", "ebs.create-snapshot=crash-before"];
    assert_eq!(place.run(&crash).code, None);
    let key = place.path("state/secrets.key");
    let kept = fs::read(&key).expect("the key");
    fs::remove_file(&key).expect("it is lost");
    let ran = place.run(&["rollback", "1"]).exits(5);
    let ran = ran.says("it can't be compared in command, env.").says("env.PW: can't be compared");
    assert!(ran.stdout.contains("secrets.key"), "{}", ran.stdout);
    assert_eq!(place.facts(), before, "the undo was made");
    assert_eq!(place.show(1)["not_restored"][0]["resource"], "docker:i-db-1/container/main");
    // Found again, it tells that nothing differs.
    fs::write(&key, kept).expect("it is found");
    place.run(&["rollback", "1"]).exits(3).says("verdict: restored");
}

/// Kept elsewhere, and shared by whoever goes on with an operation; it is not made where it is
/// named.
#[test]
fn the_key_is_where_the_configuration_says() {
    let (place, manifest) = place();
    let key = place.path("keys/stepback");
    let config = format!("state = \"state\"\nsecrets_key = \"{}\"\n", key.display());
    place.write("stepback.toml", config);
    let fails = ["run", &manifest, "--inject", "ebs.create-snapshot=refuse"];
    place.run(&fails).exits(2).says("can't be had").says("head -c 32 /dev/urandom");
    fs::create_dir(place.path("keys")).expect("a directory");
    fs::write(&key, [3; 32]).expect("a key");
    let set = |mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(&key, mode).expect("its mode");
    };
    set(0o644);
    place.run(&fails).exits(2).says("everybody may read it").says("chmod o-r");
    set(0o400);
    // What somebody else owns, he knows and can change.
    if files_owned::is_root() {
        files_owned::give(&key, 65_534);
        place.run(&fails).exits(2).says("can't be had").says("chown root");
        files_owned::give(&key, 0);
    }
    place.run(&fails).exits(3).says("verdict: restored");
    assert!(journal(&place).contains("\"command\":\"sealed:2:"));
    let keys = || -> BTreeSet<String> {
        let journal = journal(&place);
        let seals = journal.split("sealed:2:").skip(1);
        let keys = seals.filter_map(|seal| Some(seal.split_once(':')?.0.to_owned()));
        // Where a page of the journal ends, a seal goes on elsewhere.
        keys.filter(|key| key.len() == 12 && key.chars().all(|c| c.is_ascii_hexdigit())).collect()
    };
    assert_eq!(keys().len(), 1);
    // That of the state directory is another.
    place.write("stepback.toml", "state = \"state\"\n");
    place.run(&fails).exits(3);
    assert_eq!(keys().len(), 2);
}

/// Another key can't be told from the right one by what it made; one that is none is told, and
/// going back goes on without it.
#[test]
fn a_broken_key_is_not_replaced_and_keeps_nobody_from_going_back() {
    let (place, manifest) = place();
    let before = place.facts();
    let crash = ["run", &manifest, "--inject", "ebs.create-snapshot=crash-before"];
    for command in ["rollback", "cancel"] {
        assert_eq!(place.run(&crash).code, None);
        let id = if command == "rollback" { "1" } else { "2" };
        let kept = fs::read(place.path("state/secrets.key")).expect("the key");
        place.write("state/secrets.key", "short");
        place.run(&["run", &manifest]).exits(2).says("secrets.key").says("it is no key");
        place
            .run(&["resume", id])
            .exits(2)
            .says("it is no key")
            .says("`stepback rollback` goes back");
        let ran = place.run(&[command, id]).exits(5).says("goes on without that key");
        ran.says("can't be compared");
        assert_eq!(place.facts(), before, "the undo was made");
        place.write("state/secrets.key", &kept);
        place.run(&["rollback", id]).exits(3).says("verdict: restored");
    }
    assert_eq!(place.run(&crash).code, None);
    place.write("state/secrets.key", "short");
    place.run(&["unlock", "3", "--reason", "it is late"]).exits(0);
}

#[test]
fn a_new_key_beside_operations_on_record_is_told() {
    let (place, manifest) = place();
    let fails = ["run", &manifest, "--inject", "ebs.create-snapshot=refuse"];
    place.run(&fails).exits(3).lacks("is a new one now");
    place.run(&fails).exits(3).lacks("is a new one now");
    fs::remove_file(place.path("state/secrets.key")).expect("it is lost");
    place.run(&fails).exits(3).says("warning: the key of secrets was not there");
}

/// Whatever somebody called so, it is no seal.
#[test]
fn a_tag_that_looks_like_a_seal_is_a_tag() {
    let place = Place::new();
    place.untouched();
    let path = place.path("state/worlds/local/world.json");
    let mut world = place.world();
    let volume = world.volumes.get_mut("vol-db-main").expect("the volume");
    volume.tags.insert("mark".into(), "sealed:2:0123456789ab:00".into());
    fs::write(path, serde_json::to_string(&world).expect("JSON")).expect("a world");
    let before = place.facts();
    let manifest = "schema = 1\n[operation]\nname = \"tags\"\n[[steps]]\nid = \"tag\"\n\
         uses = \"ebs/tag-volume\"\nwith = { volume = \"vol-db-main\", key = \"mark\", \
         value = \"sealed:2:fedcba987654:00\" }\n[[steps]]\nid = \"fail\"\n\
         uses = \"ebs/create-snapshot\"\nwith = { volume = \"vol-db-main\" }\n";
    let manifest = place.write("tags.toml", manifest);
    let fails = ["run", &manifest, "--inject", "ebs.create-snapshot=refuse"];
    place.run(&fails).exits(3).says("verdict: restored");
    assert_eq!(place.facts(), before);
}
