//! A grant is for one file, whatever a manifest calls another one.

use crate::harness::{Place, Ran, component};
use sha2::{Digest, Sha256};
use std::fs;

const WITH: &str = "with = { message = \"it ran\" }";

/// A place with a plugin below `good/`, which the configuration grants `ebs`, and another file of
/// that name or a like one elsewhere.
fn place(table: &str, uses: &str, other: &str) -> (Place, String) {
    let place = Place::new();
    for dir in ["good", "foreign"] {
        fs::create_dir(place.path(dir)).expect("a directory");
    }
    fs::copy(component("testing"), place.path("good/t.wasm")).expect("the build made it");
    fs::copy(component("testing"), place.path(other)).expect("the build made it");
    place.write("stepback.toml", table);
    let (dir, _) = other.rsplit_once('/').unwrap_or(("", other));
    let text = format!(
        "schema = 1\n[operation]\nname = \"granted\"\n[[steps]]\nid = \"one\"\n\
         uses = \"{uses}#fail\"\n{WITH}\n"
    );
    let manifest = place.write(if dir.is_empty() { "op.toml" } else { "foreign/op.toml" }, text);
    (place, manifest)
}

#[test]
fn what_was_granted_to_one_file_is_not_granted_to_another() {
    let named = "[plugins.t]\npath = \"good/t.wasm\"\ngrants = [\"ebs\"]\n";
    let like_a_file = "[plugins.\"t.wasm\"]\npath = \"good/t.wasm\"\ngrants = [\"ebs\"]\n";
    let by_path = "[plugins.\"./t.wasm\"]\ngrants = [\"ebs\"]\n";
    for (table, uses, other) in [
        (named, "./t", "t"),
        (like_a_file, "./t.wasm", "t.wasm"),
        (by_path, "./t.wasm", "foreign/t.wasm"),
    ] {
        let (place, manifest) = place(table, uses, other);
        place.run(&["run", &manifest]).exits(2).says("not granted to it");
    }
}

#[test]
fn a_granted_file_is_that_file_however_its_path_is_written() {
    let named = "[plugins.t]\npath = \"good/t.wasm\"\ngrants = [\"ebs\"]\n";
    let by_path = "[plugins.\"./good/t.wasm\"]\ngrants = [\"ebs\"]\n";
    for (table, uses) in [
        (named, "./good/t.wasm"),
        (by_path, "./good/t.wasm"),
        (by_path, "./foreign/../good/./t.wasm"),
    ] {
        let (place, manifest) = place(table, uses, "t");
        place.run(&["run", &manifest]).exits(3).says("it ran");
    }
}

/// The command line names what the manifest beside it names, and nothing of the configuration's.
#[test]
fn a_grant_on_the_command_line_is_for_what_it_names() {
    let (place, manifest) = place("[plugins.t]\npath = \"good/t.wasm\"\n", "./t", "t");
    for (grant, code) in [("t=ebs", 2), ("./t=ebs", 3)] {
        place.run(&["run", &manifest, "--grant", grant]).exits(code);
    }
    let named = place.write(
        "named.toml",
        format!(
            "schema = 1\n[operation]\nname = \"granted\"\n[[steps]]\nid = \"one\"\n\
             uses = \"t/fail\"\n{WITH}\n"
        ),
    );
    for (grant, code) in [("./t=ebs", 2), ("t=ebs", 3)] {
        place.run(&["run", &named, "--grant", grant]).exits(code);
    }
}

/// The bytes that a table's grants are for are kept; others at the same path are not run.
#[test]
fn another_plugin_in_the_place_of_a_trusted_one_is_refused_until_it_is_trusted() {
    let table = "[plugins.t]\npath = \"good/t.wasm\"\ngrants = [\"ebs\", \"ec2\", \"docker\"]\n";
    let (place, manifest) = place(table, "./good/t.wasm", "t");
    place.run(&["plan", &manifest]).exits(0);
    assert!(!place.path("stepback.lock").exists(), "a look keeps nothing");
    place.run(&["run", &manifest]).exits(3).says("is trusted as sha256:");
    place.run(&["run", &manifest]).exits(3).lacks("is trusted as sha256:");
    let lock = fs::read_to_string(place.path("stepback.lock")).expect("it is kept");
    fs::copy(component("attack"), place.path("good/t.wasm")).expect("the build made it");
    let attack = fs::read_to_string(&manifest).expect("the manifest");
    let attack = attack.replace("#fail", "#attack").replace(WITH, "with = { run = [] }");
    let attack = place.write("attack.toml", attack);
    for verb in ["run", "plan", "validate"] {
        let ran = place.run(&[verb, &attack]).exits(2).says("another file than the one");
        ran.says("+ import docker").says("+ step attack").says("- step fail").says("plugin trust");
    }
    assert_eq!(fs::read_to_string(place.path("stepback.lock")).expect("it is kept"), lock);
    place.run(&["plugin", "trust", "t"]).exits(0).says("+ step attack").says("ebs: everything");
    place.run(&["run", &attack]).exits(0);
    // A digest that a person has written is trusted by that.
    fs::copy(component("testing"), place.path("good/t.wasm")).expect("the build made it");
    place.run(&["run", &manifest]).exits(2);
    place.run(&["plugin", "trust", "good/t.wasm"]).exits(0);
    place.run(&["run", &manifest]).exits(3);
    place.run(&["plugin", "trust", "other"]).exits(2).says("no plugin `other`");
}

/// What a person has written counts, so nothing else is kept.
#[test]
fn a_plugin_whose_table_has_its_digest_is_trusted_by_that_alone() {
    let digest = hex::encode(Sha256::digest(fs::read(component("testing")).expect("its bytes")));
    let table = |sha256: &str| format!("[plugins.t]\npath = \"good/t.wasm\"\n{sha256}");
    let other = format!("sha256 = \"{}\"\ngrants = [\"ebs\"]\n", "0".repeat(64));
    let (place, _) = place(&table(&other), "./good/t.wasm", "t");
    let told = place.run(&["plugin", "trust", "t"]).exits(2).says("`sha256` of [plugins.t]");
    told.says(&format!("`sha256 = \"{digest}\"`"));
    place.write("stepback.toml", table(&format!("sha256 = \"{digest}\"\n")));
    place.run(&["plugin", "trust", "t"]).exits(2).says("there is nothing to trust");
    assert!(!place.path("stepback.lock").exists());
}

/// As a CI job has it that keeps the state and checks the project out elsewhere.
#[test]
fn a_project_that_stands_elsewhere_has_the_grants_that_it_had() {
    let digest = hex::encode(Sha256::digest(fs::read(component("attack")).expect("its bytes")));
    let by_path = ("\"./a.wasm\"", "./a.wasm#attack", "");
    let named = ("a", "a/attack", "path = \"a.wasm\"\n");
    let gone = format!("path = \"a.wasm\"\nsha256 = \"{digest}\"\n");
    for (name, uses, more, other_bytes, code) in [
        (named.0, named.1, named.2, None, 0),
        (by_path.0, by_path.1, by_path.2, None, 0),
        (named.0, "./a.wasm#attack", named.2, None, 0),
        ("a", "a/attack", gone.as_str(), Some("none"), 0),
        (named.0, named.1, named.2, Some("testing"), 3),
        (named.0, named.1, named.2, Some("none"), 3),
    ] {
        let place = Place::new();
        fs::create_dir(place.path("one")).expect("a directory");
        fs::copy(component("attack"), place.path("one/a.wasm")).expect("the build made it");
        let config = |grants: &str| {
            format!("[plugins.{name}]\n{more}grants = [{grants}]\n# as it was, elsewhere\n")
        };
        place.write("one/stepback.toml", config("\"ebs\", \"docker\", \"ec2\""));
        let step = |key: &str| {
            format!(
                "[[steps]]\nid = \"{key}\"\nuses = \"{uses}\"\nwith = {{ run = [{{ call = \"tag\", \
                 volume = \"vol-db-main\", key = \"{key}\", value = \"v\" }}] }}\n"
            )
        };
        let steps = [step("one"), step("two")].concat();
        let text = format!("schema = 1\n[operation]\nname = \"tags\"\n{steps}");
        place.write("one/op.toml", text);
        let run = |dir: &str, arguments: &[&str]| {
            let mut command = place.command(arguments);
            Ran::of(command.current_dir(place.path(dir)))
        };
        let ran = run("one", &["run", "op.toml", "--inject", "ebs.tag#2=crash-before"]);
        assert_eq!(ran.code, None, "it was killed: {}", ran.stderr);
        fs::rename(place.path("one"), place.path("two")).expect("it is moved");
        match other_bytes {
            Some("none") => fs::remove_file(place.path("two/a.wasm")).expect("it was there"),
            Some(other) => {
                fs::copy(component(other), place.path("two/a.wasm")).expect("the build made it");
            }
            None => {}
        }
        let ran = run("two", &["resume", "1"]).exits(code);
        if code != 0 {
            ran.says("and is not any more");
        }
    }
}
