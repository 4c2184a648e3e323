//! A grant is for one file, whatever a manifest calls another one.

use crate::harness::{Place, component};
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
