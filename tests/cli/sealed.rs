//! What is sealed tells whether it is another one, and nothing else: by a key in the state
//! directory, which may be lost.

use crate::harness::Place;
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

/// Another key can't be told from the right one by what it made; one that is none is told.
#[test]
fn a_broken_key_is_not_replaced() {
    let (place, manifest) = place();
    place.write("state/secrets.key", "short");
    place.run(&["run", &manifest]).exits(2).says("secrets.key").says("it is no key");
}
