//! Whose files are obeyed, and for whom files are made: other users of the machine attack.

use crate::harness::{Place, Ran, operation};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Nobody has these numbers.
pub const ANN: u32 = 54_321;
pub const BOB: u32 = 54_322;

/// Only root can be somebody else.
pub fn is_root() -> bool {
    let is_root = fs::metadata("/proc/self").expect("proc(5)").uid() == 0;
    if !is_root {
        println!("SKIPPED: only root can be another user");
    }
    is_root
}

pub fn set(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("its mode can be set");
}

pub fn give(path: &Path, to: u32) {
    std::os::unix::fs::lchown(path, Some(to), Some(to)).expect("it can be given away");
}

/// With a directory that is somebody's, `ann` or another.
pub fn place_of(user: u32) -> Place {
    let place = Place::new();
    set(&place.path("."), 0o755);
    fs::create_dir(place.path("in")).expect("a directory");
    give(&place.path("in"), user);
    place
}

/// What runs in the directory, with a home and nothing named.
pub fn command(place: &Place, arguments: &[&str]) -> Command {
    let mut command = place.command(arguments);
    command.current_dir(place.path("in")).env_remove("STEPBACK_STATE").env_remove("SUDO_UID");
    command
}

/// Whether other users can reach the program: in a home of mode 0700 they can't.
pub fn others_reach_it() -> bool {
    let program = Path::new(env!("CARGO_BIN_EXE_stepback"));
    let is_open = |path: &Path| fs::metadata(path).is_ok_and(|found| found.mode() & 0o001 != 0);
    let is_reached = program.ancestors().all(is_open);
    if !is_reached {
        println!("SKIPPED: other users can't reach {}", program.display());
    }
    is_reached
}

/// The same as another user; `None` where that one can't reach the program.
pub fn run_as(user: u32, place: &Place, umask: &str, arguments: &[&str]) -> Option<Ran> {
    run_as_with(user, place, umask, arguments, &[])
}

/// The same with variables besides.
fn run_as_with(
    user: u32,
    place: &Place,
    umask: &str,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Option<Ran> {
    let program = Path::new(env!("CARGO_BIN_EXE_stepback"));
    if !others_reach_it() {
        return None;
    }
    let mut shell = Command::new("sh");
    let script = format!("umask {umask}; exec \"$0\" \"$@\"");
    shell.args(["-c", &script]).arg(program).args(arguments);
    shell.current_dir(place.path("in")).env_remove("STEPBACK_STATE").env_remove("SUDO_UID");
    shell.env("HOME", place.path("in")).env_remove("STEPBACK_CONFIG");
    shell.env_remove("STEPBACK_CACHE").env_remove("XDG_CACHE_HOME");
    Some(Ran::of(shell.envs(variables.iter().copied()).uid(user).gid(user)))
}

/// Each directory and file below: its path, and its mode.
fn modes(dir: &Path) -> Vec<(String, bool, u32, u32)> {
    let found = fs::symlink_metadata(dir).expect("it is there");
    let mut all =
        vec![(dir.display().to_string(), found.is_dir(), found.mode() & 0o777, found.gid())];
    if found.is_dir() {
        for entry in fs::read_dir(dir).expect("a directory") {
            all.extend(modes(&entry.expect("an entry").path()));
        }
    }
    all
}

#[track_caller]
fn all_are(dir: &Path, of_dirs: u32, of_files: u32) {
    let all = modes(dir);
    assert!(all.len() > 4, "{all:?}");
    for (path, is_dir, mode, _) in &all {
        let wanted = if *is_dir { of_dirs } else { of_files };
        assert_eq!(*mode, wanted, "{path} has mode {mode:o}, not {wanted:o}");
    }
}

const MANIFEST: &str = "schema = 1\n[operation]\nname = \"look\"\n[[steps]]\nid = \"tag\"\n\
                        uses = \"ebs/tag-volume\"\nwith = { volume = \"vol-db-main\", \
                        key = \"a\", value = \"b\" }\n";

/// A manifest that everybody may read.
pub fn manifest(place: &Place) -> String {
    let path = place.write("tag.toml", MANIFEST);
    set(Path::new(&path), 0o644);
    path
}

#[test]
fn what_is_kept_is_for_its_owner_alone_whatever_the_umask() {
    let place = Place::new();
    let manifest = manifest(&place);
    for umask in ["000", "002", "077"] {
        let mut shell = Command::new("sh");
        let program = env!("CARGO_BIN_EXE_stepback");
        shell.args(["-c", &format!("umask {umask}; exec {program} run {manifest}")]);
        shell.env("STEPBACK_STATE", place.path(umask));
        shell.env("STEPBACK_CACHE", place.path(umask).join("cache"));
        Ran::of(shell.current_dir(place.path("."))).exits(0);
        all_are(&place.path(umask), 0o700, 0o600);
    }
}

/// As older programs made them, and while another program has them open.
#[test]
fn what_others_may_read_or_write_is_tightened() {
    let place = Place::new();
    let manifest = manifest(&place);
    let mut running = place.start(&["run", &manifest, "--inject", "ebs.tag=hang"]);
    running.wait_for("ebs.tag");
    for (path, is_dir, ..) in modes(&place.path("state")) {
        set(Path::new(&path), if is_dir { 0o777 } else { 0o666 });
    }
    place.run(&["plan", &manifest]);
    place.run(&["list"]).exits(0);
    running.signal("INT");
    running.ends().exits(3);
    place.run(&["run", &manifest]).exits(0);
    all_are(&place.path("state"), 0o700, 0o600);
}

/// At three in the morning "there are none" would be taken for all is well.
#[test]
fn what_a_user_may_not_look_into_is_not_said_to_be_empty() {
    if !is_root() {
        return;
    }
    let place = place_of(0);
    let manifest = manifest(&place);
    let died =
        Ran::of(&mut command(&place, &["run", &manifest, "--inject", "ebs.tag=crash-before"]));
    assert_eq!(died.code, None, "{}", died.stderr);
    for arguments in [
        &["list"][..],
        &["show", "1"],
        &["logs", "1"],
        &["resume", "1"],
        &["cancel", "1"],
        &["locks", "-e", "local"],
        &["activity"],
    ] {
        let Some(told) = run_as(ANN, &place, "022", arguments) else { return };
        told.exits(2).says("can't be told: Permission denied").says("belongs to root").says("sudo");
    }
}

#[test]
fn a_directory_of_everybody_is_not_made_a_state_directory() {
    let place = Place::new();
    let manifest = manifest(&place);
    let shared = place.path("shared");
    fs::create_dir(&shared).expect("a directory");
    place.write("shared/theirs", "");
    for mode in [0o777, 0o1777] {
        set(&shared, mode);
        let state = shared.display().to_string();
        let told = place.run(&["--state", &state, "run", &manifest]).exits(2);
        told.says("others may write to").says(&format!("mode {mode:04o}")).says("`--state DIR`");
        assert_eq!(fs::metadata(&shared).expect("it is there").mode() & 0o7777, mode);
        assert_eq!(fs::read_dir(&shared).expect("a directory").count(), 1);
    }
}

#[test]
fn a_group_shares_the_state_and_nobody_else() {
    if !is_root() {
        return;
    }
    let place = place_of(0);
    let manifest = manifest(&place);
    place.write("in/stepback.toml", format!("state_group = \"{BOB}\"\n"));
    for umask in ["077", "000"] {
        let mut shell = Command::new("sh");
        let program = env!("CARGO_BIN_EXE_stepback");
        shell.args(["-c", &format!("umask {umask}; exec {program} run {manifest}")]);
        shell.env("STEPBACK_CACHE", place.path("cache"));
        Ran::of(shell.current_dir(place.path("in"))).exits(0);
        let state = place.path("in/.stepback");
        all_are(&state, 0o770, 0o660);
        let all = modes(&state);
        assert!(all.iter().all(|(.., group)| *group == BOB), "{all:?}");
    }
    place.write("in/stepback.toml", "state_group = \"no-such-group\"\n");
    let told = Ran::of(&mut command(&place, &["list"])).exits(2);
    told.says("there is no group `no-such-group`");
    // Where it is not said any more, the group is no longer trusted with what is there.
    place.write("in/stepback.toml", "");
    let refused = Ran::of(&mut command(&place, &["run", &manifest])).exits(2);
    refused.says("may be written by the group gid 54322").says("chmod g-w");
    set(&place.path("in/.stepback"), 0o750);
    Ran::of(&mut command(&place, &["run", &manifest])).exits(0);
    all_are(&place.path("in/.stepback"), 0o700, 0o600);
}

/// The attack: root obeyed it, and sent its own secret to the registry that the file names.
#[test]
fn a_configuration_of_another_user_is_not_obeyed_where_it_was_only_found() {
    if !is_root() {
        return;
    }
    let place = place_of(BOB);
    let evil = "[environments.prod]\nprovider = \"simulated\"\n";
    let file = place.write("in/stepback.toml", evil);
    give(Path::new(&file), BOB);
    set(Path::new(&file), 0o644);
    fs::create_dir(place.path("in/below")).expect("a directory");
    let below = |arguments: &[&str]| {
        Ran::of(command(&place, arguments).current_dir(place.path("in/below")))
    };
    let refused = below(&["env", "list"]).exits(2);
    refused.says("in belongs to uid 54322, mode 0755").says("--config").lacks("prod");
    for verb in [&["list"][..], &["resume", "1"], &["plan", "x.toml"], &["locks", "-e", "prod"]] {
        below(verb).exits(2).says("is not obeyed");
    }
    // Root's own file is theirs to replace, in a directory of theirs.
    give(Path::new(&file), 0);
    below(&["env", "list"]).exits(2).says("in belongs to uid 54322");
    // Named, it is whoever names it who decides; and who called `sudo` is not somebody else.
    give(Path::new(&file), BOB);
    below(&["--config", &file, "env", "list"]).exits(0).says("prod");
    let with = |name: &str, value: &str, exits: i32| {
        let mut command = command(&place, &["env", "list"]);
        Ran::of(command.env(name, value)).exits(exits)
    };
    with("STEPBACK_CONFIG", &file, 0).says("prod");
    with("SUDO_UID", &BOB.to_string(), 0).says("prod");
    with("SUDO_UID", &ANN.to_string(), 2);
    // The variable is `sudo`'s only where this is root.
    for sudo in [&[][..], &[("SUDO_UID", &*BOB.to_string())]] {
        let Some(ran) = run_as_with(ANN, &place, "022", &["env", "list"], sudo) else { return };
        ran.exits(2).says("belongs to uid 54322");
    }
}

#[test]
fn a_configuration_that_others_may_write_is_not_obeyed() {
    let place = Place::new();
    let file = place.write("stepback.toml", "[environments.prod]\nprovider = \"simulated\"\n");
    let list = || Ran::of(place.command(&["env", "list"]).env_remove("STEPBACK_STATE"));
    set(Path::new(&file), 0o644);
    list().exits(0).says("prod");
    set(Path::new(&file), 0o646);
    list().exits(2).says("may be written by everybody").says("mode 0646").says("chmod go-w");
    let named = place.run(&["--config", &file, "env", "list"]).exits(0);
    named.says("warning: everybody may write").says("prod");
    set(Path::new(&file), 0o644);
    set(&place.path("."), 0o777);
    list().exits(2).says("may be written by everybody").says("mode 0777");
    set(&place.path("."), 0o1777);
    list().exits(0);
    set(&place.path("."), 0o755);
    // A link that leads through a directory of everybody is theirs to turn.
    fs::create_dir(place.path("open")).expect("a directory");
    set(&place.path("open"), 0o777);
    fs::rename(&file, place.path("real.toml")).expect("it can be moved");
    symlink("open/../real.toml", &file).expect("a link");
    list().exits(2).says("may be written by everybody");
}

/// What it denies would be allowed.
#[test]
fn a_configuration_that_can_not_be_read_is_not_taken_for_none() {
    let place = Place::new();
    set(&place.path("."), 0o755);
    symlink("nowhere.toml", place.path("stepback.toml")).expect("a link");
    let list = || Ran::of(place.command(&["env", "list"]).env_remove("STEPBACK_STATE"));
    list().exits(2).says("stepback.toml can't be read");
    fs::remove_file(place.path("stepback.toml")).expect("it is there");
    place.write("stepback.toml", "[environments.prod]\nprovider = \"simulated\"\n");
    set(&place.path("stepback.toml"), 0o644);
    list().exits(0).says("prod");
}

/// As the shells of many distributions have it, and a checkout of a CI job in `/tmp`.
#[test]
fn a_users_own_checkout_works_with_any_usual_umask() {
    if !is_root() {
        return;
    }
    for umask in ["022", "002", "077"] {
        let place = place_of(ANN);
        let file = place.write("in/stepback.toml", "");
        give(Path::new(&file), ANN);
        set(Path::new(&file), 0o664);
        set(&place.path("in"), 0o775);
        let manifest = manifest(&place);
        let Some(ran) = run_as(ANN, &place, umask, &["run", &manifest]) else { return };
        ran.exits(0);
        all_are(&place.path("in/.stepback"), 0o700, 0o600);
        let Some(ran) = run_as(ANN, &place, umask, &["list"]) else { return };
        ran.exits(0).says("look");
        // A group with others in it is not the owner's own.
        chown(&file, None, Some(BOB)).expect("it can be given away");
        let Some(ran) = run_as(ANN, &place, umask, &["list"]) else { return };
        ran.exits(2).says("may be written by the group gid 54322");
    }
}

/// `sudo stepback` in a user's own checkout, before and after the user's own runs.
#[test]
fn what_sudo_runs_can_be_read_by_who_called_it() {
    if !is_root() {
        return;
    }
    let place = place_of(ANN);
    let file = place.write("in/stepback.toml", "");
    give(Path::new(&file), ANN);
    let manifest = manifest(&place);
    for _ in 0..2 {
        let mut command = command(&place, &["run", &manifest]);
        Ran::of(command.env("SUDO_UID", ANN.to_string())).exits(0);
        let Some(ran) = run_as(ANN, &place, "022", &["run", &manifest]) else { return };
        ran.exits(0);
    }
    all_are(&place.path("in/.stepback"), 0o700, 0o600);
    // One that is named by itself, and the one that is used where no file says otherwise.
    fs::remove_file(&file).expect("it is there");
    fs::remove_dir_all(place.path("in/.stepback")).expect("it is there");
    for arguments in [&["--state", "st", "run", &manifest][..], &["run", &manifest]] {
        let mut command = command(&place, arguments);
        Ran::of(command.env("SUDO_UID", ANN.to_string())).exits(0);
        let Some(ran) = run_as(ANN, &place, "022", arguments) else { return };
        ran.exits(0);
    }
}

#[test]
fn a_state_directory_of_another_user_is_used_only_where_it_was_named() {
    if !is_root() {
        return;
    }
    let place = place_of(0);
    let state = place.path("in/.stepback");
    fs::create_dir(&state).expect("a directory");
    give(&state, BOB);
    let manifest = manifest(&place);
    let refused = Ran::of(&mut command(&place, &["run", &manifest])).exits(2);
    refused.says(".stepback belongs to uid 54322").says("`--state DIR`");
    let named = state.display().to_string();
    Ran::of(&mut command(&place, &["--state", &named, "run", &manifest])).exits(0);
    let mut by_variable = command(&place, &["list"]);
    Ran::of(by_variable.env("STEPBACK_STATE", &state)).exits(0);
}

/// Another user's `flock` held an operation up past every time-out.
#[test]
fn a_lock_of_somebody_else_on_the_world_ends_the_wait_with_their_name() {
    let place = Place::new();
    place.untouched();
    let path = place.path("state/worlds/local/world.lock");
    let held = File::options().write(true).open(&path).expect("the lock's file");
    held.lock().expect("it is free");
    let told = place.run(&["run", &operation("backup-database")]).exits(2);
    told.says("world.lock has been locked by process").says("end that one");
    drop(held);
    place.run(&["run", &operation("backup-database")]).exits(0);
}

/// What runs `ssh` may have secrets of its own, which are nobody else's.
#[test]
fn a_child_gets_no_variable_that_it_does_not_need() {
    let place = Place::new();
    place.write(
        "stepback.toml",
        "[environments.box]\nprovider = \"onebox\"\nroot = \"box\"\n\
         [environments.box.instances.i-a]\ndocker = \"ssh://nowhere.invalid\"\n",
    );
    fs::create_dir(place.path("bin")).expect("a directory");
    let shim = format!("#!/bin/sh\nenv > {}\nexit 1\n", place.path("told").display());
    set(Path::new(&place.write("bin/ssh", shim)), 0o755);
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", place.path("bin").display());
    let mut command = place.command(&["env", "check", "box"]);
    command.env("PATH", path).env("DB_PASSWORD", "a secret").env("LD_DEBUG_OUTPUT", "x");
    let ran = Ran::of(&mut command);
    let Ok(told) = fs::read_to_string(place.path("told")) else {
        assert!(ran.stderr.contains("onebox"), "{}", ran.stderr);
        return println!("SKIPPED: no onebox here: {}", ran.stderr);
    };
    assert!(told.contains("PATH=") && !told.contains("a secret"), "{told}");
    assert!(!told.contains("LD_DEBUG") && !told.contains("STEPBACK_"), "{told}");
}

#[test]
fn a_plain_engine_of_another_machine_must_be_asked_for() {
    let place = Place::new();
    let configured = |endpoint: &str, more: &str| {
        place.write(
            "stepback.toml",
            format!(
                "[environments.box]\nprovider = \"aws\"\nregion = \"eu-west-1\"\n\
                 [environments.box.docker]\n{more}hosts.i-a = \"{endpoint}\"\n"
            ),
        );
        place.run(&["env", "list"])
    };
    for there in ["tcp://10.0.0.1:2375", "tcp://127.evil.example:2375", "tcp://localhost.a:2375"] {
        configured(there, "").exits(2).says("is another machine's, and plain").says("insecure");
        configured(there, "insecure = true\n").exits(0);
        configured(there, "insecure = false\n").exits(2);
        let tls = "tls = { ca = \"a\", cert = \"b\", key = \"c\" }\n";
        configured(there, tls).exits(0);
    }
    for here in ["tcp://127.0.0.1:2375", "tcp://localhost:2375", "tcp://[::1]:2375"] {
        configured(here, "").exits(0);
    }
}
