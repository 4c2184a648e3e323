//! Where the state directory is made, whose it is, and what is told where it can't be used.

use crate::files_owned::{ANN, BOB, command, give, is_root, manifest, place_of, run_as, set};
use crate::harness::{Place, Ran, component};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Nobody means to commit a journal, a key, and a simulated world's passwords.
#[test]
fn a_new_state_directory_is_kept_out_of_git_and_an_old_one_is_left() {
    let place = Place::new();
    let manifest = manifest(&place);
    place.run(&["run", &manifest]).exits(0);
    let ignore = place.path("state/.gitignore");
    assert_eq!(fs::read_to_string(&ignore).expect("it is there"), "*\n");
    fs::remove_file(&ignore).expect("it was there");
    place.run(&["run", &manifest]).exits(0);
    assert!(!ignore.exists(), "whoever removed it meant it");
}

/// `chmod go-w /tmp`, which was told, is no help to anybody.
#[test]
fn in_a_directory_of_everybody_a_user_has_a_state_directory_of_their_own() {
    if !is_root() {
        return;
    }
    let place = place_of(0);
    let manifest = manifest(&place);
    set(&place.path("in"), 0o1777);
    let Some(ran) = run_as(ANN, &place, "022", &["run", &manifest]) else { return };
    ran.exits(0);
    let state = place.path("in/.stepback");
    let found = fs::metadata(&state).expect("it is there");
    assert_eq!((found.uid(), found.mode() & 0o7777), (ANN, 0o700));
    let Some(other) = run_as(BOB, &place, "022", &["run", &manifest]) else { return };
    other.exits(2).says("belongs to uid 54321, mode 0700").says("--state DIR").lacks("chmod");
    // What has been made before is whose it is, however open it is.
    fs::remove_dir_all(&state).expect("it was there");
    fs::create_dir(&state).expect("a directory");
    give(&state, BOB);
    let Some(ran) = run_as(ANN, &place, "022", &["run", &manifest]) else { return };
    ran.exits(2).says("belongs to uid 54322").lacks("chown");
}

/// "What `sudo stepback` makes in a directory of yours is yours."
#[test]
fn what_sudo_makes_is_of_the_caller_and_their_group() {
    if !is_root() {
        return;
    }
    let place = place_of(ANN);
    let plugin = place.path("in/label.wasm");
    fs::copy(component("volume-label"), &plugin).expect("the build made it");
    let file = place.write("in/stepback.toml", LABEL);
    place.write("in/m.toml", LABELS);
    for path in [&plugin, Path::new(&file), &place.path("in/m.toml")] {
        give(path, ANN);
        set(path, 0o644);
    }
    let mut run = command(&place, &["run", "m.toml"]);
    run.env("SUDO_UID", ANN.to_string()).env("SUDO_GID", BOB.to_string());
    Ran::of(&mut run).exits(0);
    for name in ["stepback.lock", ".stepback", ".stepback/journal.db", ".stepback/worlds/local"] {
        let found = fs::metadata(place.path("in").join(name)).expect("it is there");
        assert_eq!((found.uid(), found.gid()), (ANN, BOB), "{name}");
    }
}

#[test]
fn a_state_directory_that_can_not_be_used_is_told_with_its_owner_and_what_to_do() {
    if !is_root() {
        return;
    }
    let place = place_of(0);
    let manifest = manifest(&place);
    Ran::of(&mut command(&place, &["run", &manifest])).exits(0);
    let Some(told) = run_as(ANN, &place, "022", &["run", &manifest]) else { return };
    told.exits(2).says("belongs to root (uid 0), mode 0700").says("sudo").says("state_group");
    // One that can only be read can't be looked at (SQLite docs, *Read-Only WAL-mode Databases*).
    for entry in walk(&place.path("in/.stepback")) {
        if entry.extension().is_some_and(|end| end == "db-shm" || end == "db-wal") {
            fs::remove_file(&entry).expect("it is there");
            continue;
        }
        set(&entry, if entry.is_dir() { 0o755 } else { 0o644 });
    }
    let Some(told) = run_as(ANN, &place, "022", &["list"]) else { return };
    told.exits(1).says("cp -r").says("--state DIR");
}

fn walk(path: &Path) -> Vec<std::path::PathBuf> {
    let mut all = vec![path.to_owned()];
    if path.is_dir() {
        let inner = fs::read_dir(path).expect("a directory");
        all.extend(inner.flat_map(|entry| walk(&entry.expect("an entry").path())));
    }
    all
}

const LABEL: &str = "[plugins.label]\npath = \"label.wasm\"\ngrants = [\"ebs\"]\n";
const LABELS: &str = "schema = 1\n[operation]\nname = \"label\"\n[[steps]]\nid = \"first\"\n\
                      uses = \"label/label-volume\"\n\
                      with = { volume = \"vol-db-main\", label = \"first\" }\n";

/// The attack: where the lock can't be written, each file at the path of a plugin was a new one.
#[test]
fn what_can_not_be_kept_is_not_trusted() {
    if !is_root() {
        return;
    }
    let place = place_of(0);
    let plugin = place.path("in/label.wasm");
    fs::copy(component("volume-label"), &plugin).expect("the build made it");
    place.write("in/stepback.toml", LABEL);
    place.write("in/m.toml", LABELS);
    for path in walk(&place.path("in")) {
        set(&path, if path.is_dir() { 0o755 } else { 0o644 });
    }
    let state = place.path("ann");
    fs::create_dir(&state).expect("a directory");
    give(&state, ANN);
    let state = state.display().to_string();
    // Its home is where it may write, for the cache.
    let run = || run_as(ANN, &place, "022", &["--state", &state, "run", "m.toml"]);
    let Some(told) = run() else { return };
    told.exits(2).says("can't be trusted").says("stepback.lock can't be written").says("sha256 =");
    // As the job before it, which could write it, has left it.
    Ran::of(&mut command(&place, &["run", "m.toml"])).exits(0);
    set(&place.path("in/stepback.lock"), 0o644);
    let Some(ran) = run() else { return };
    ran.exits(0);
}

#[test]
fn a_lock_with_a_merge_in_it_is_told_with_its_line_and_what_to_do() {
    let place = Place::new();
    fs::copy(component("volume-label"), place.path("label.wasm")).expect("the build made it");
    place.write("stepback.toml", format!("state = \"state\"\n{LABEL}"));
    place.write("m.toml", LABELS);
    place.run(&["run", "m.toml"]).exits(0);
    let kept = fs::read_to_string(place.path("stepback.lock")).expect("it is kept");
    let merge = format!("{kept}<<<<<<< HEAD\n");
    place.write("stepback.lock", &merge);
    for arguments in [&["run", "m.toml"][..], &["plugin", "trust", "label"]] {
        let told = place.run(arguments).exits(2);
        let line = format!("stepback.lock:{}:", merge.lines().count());
        told.says(&line).says("take one side whole").says("stepback plugin trust NAME");
    }
}
