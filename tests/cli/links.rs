//! Links, and other things that are no file, where the program keeps files: who may write there
//! attacks who runs it.

use crate::files_owned::{ANN, BOB, command, give, is_root, manifest, place_of, set};
use crate::harness::{Place, Ran, operation, root};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

/// A directory of root's that everybody may look into, as `/etc/cron.d`.
fn victim(place: &Place) -> std::path::PathBuf {
    let victim = place.path("victim");
    fs::create_dir(&victim).expect("a directory");
    set(&victim, 0o755);
    victim
}

#[track_caller]
fn is_untouched(victim: &Path, what: &str) {
    let found = fs::metadata(victim).expect("it is there");
    let owned = (found.uid(), found.gid(), found.mode() & 0o7777);
    assert_eq!(owned, (0, 0, 0o755), "{what} gave root's directory away: {owned:?}");
    assert_eq!(fs::read_dir(victim).expect("a directory").count(), 0, "{what} wrote there");
}

/// The attack: root made what the link leads to the group's, and wrote into it.
#[test]
fn a_member_of_the_group_turns_no_directory_of_roots_into_theirs() {
    if !is_root() {
        return;
    }
    let place = place_of(0);
    let (manifest, victim) = (manifest(&place), victim(&place));
    place.write("in/stepback.toml", format!("state_group = \"{BOB}\"\n"));
    let state = place.path("in/.stepback");
    for (owner, inner) in [(ANN, "worlds"), (ANN, "worlds/local"), (0, "worlds/local")] {
        Ran::of(&mut command(&place, &["run", &manifest])).exits(0);
        let turned = state.join(inner);
        fs::rename(&turned, state.join("old")).expect("it can be moved");
        symlink(&victim, &turned).expect("a link");
        std::os::unix::fs::lchown(&turned, Some(owner), Some(BOB)).expect("a link of hers");
        for verb in ["plan", "run"] {
            let told = Ran::of(&mut command(&place, &[verb, &manifest])).exits(2);
            told.says("is a link of").says("rm '");
            is_untouched(&victim, inner);
        }
        fs::remove_dir_all(&state).expect("it can be removed");
    }
    for inner in ["runners", "worlds/local/journaled", "worlds/local/locks.alive"] {
        Ran::of(&mut command(&place, &["run", &manifest])).exits(0);
        let turned = state.join(inner);
        fs::rename(&turned, state.join("old")).expect("it can be moved");
        symlink(&victim, &turned).expect("a link");
        std::os::unix::fs::lchown(&turned, Some(ANN), Some(BOB)).expect("a link of hers");
        Ran::of(&mut command(&place, &["run", &manifest]));
        is_untouched(&victim, inner);
        fs::remove_dir_all(&state).expect("it can be removed");
    }
}

/// The same of who may call `sudo stepback`, and nothing else.
#[test]
fn sudo_gives_nothing_away_that_a_link_of_the_callers_leads_to() {
    if !is_root() {
        return;
    }
    let place = place_of(ANN);
    let (manifest, victim) = (manifest(&place), victim(&place));
    let worlds = place.path("in/.stepback/worlds");
    fs::create_dir_all(&worlds).expect("a directory");
    for dir in [&place.path("in/.stepback"), &worlds] {
        give(dir, ANN);
        set(dir, 0o700);
    }
    symlink(&victim, worlds.join("local")).expect("a link");
    give(&worlds.join("local"), ANN);
    let mut plan = command(&place, &["plan", &manifest]);
    Ran::of(plan.env("SUDO_UID", ANN.to_string())).exits(2).says("is a link of uid 54321");
    is_untouched(&victim, "plan");
    // One of her own to a directory of hers is hers to have.
    let own = place.path("in/own");
    fs::create_dir(&own).expect("a directory");
    fs::remove_file(worlds.join("local")).expect("a link");
    symlink(&own, worlds.join("local")).expect("a link");
    give(&worlds.join("local"), ANN);
    give(&own, ANN);
    let mut plan = command(&place, &["plan", &manifest]);
    Ran::of(plan.env("SUDO_UID", ANN.to_string())).exits(0);
    assert_eq!(fs::metadata(own.join("world.json")).expect("it is there").uid(), ANN);
}

/// It has no directory: the journal would be in `/dev`, which is in memory.
#[test]
fn a_configuration_that_is_no_file_has_its_state_in_the_working_directory() {
    let place = Place::new();
    let run = |config: &str, arguments: &[&str]| {
        let arguments = [&["--config", config], arguments].concat();
        Ran::of(place.command(&arguments).env_remove("STEPBACK_STATE"))
    };
    let told = run("/dev/null", &["run", &operation("backup-database")]).exits(0);
    told.says(&place.path(".stepback").display().to_string());
    assert!(place.path(".stepback/journal.db").exists());
    let world = root().join("operations/demo-world.toml");
    fs::copy(world, place.path("world.toml")).expect("a copy");
    let fifo = place.path("fifo").display().to_string();
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.expect("mkfifo(1)").success());
    let config = "[environments.piped]\nprovider = \"simulated\"\nworld = \"world.toml\"\n";
    std::thread::scope(|scope| {
        scope.spawn(|| fs::write(&fifo, config).expect("somebody reads"));
        run(&fifo, &["env", "check", "piped"]).exits(0);
    });
    assert!(place.path(".stepback/worlds/piped").exists());
}
