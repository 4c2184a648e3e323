//! State directories that are copied or moved, and programs that sleep: one operation is run by one
//! program, and its locks are freed while nobody runs it.

use crate::harness::{Place, operation};
use crate::world_locks::{copy, kept, killed, locks_are, moving, two};
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::Duration;

const UNLOCK: [&str; 6] = ["unlock", "-e", "local", "database/main", "--reason", "it is late"];

fn copied(place: &Place) -> String {
    copy(&place.path("state"), &place.path("copy"));
    place.path("copy").display().to_string()
}

/// Both have the operation, each with a journal of its own.
#[test]
fn what_a_state_directory_runs_a_copy_of_it_does_not_touch() {
    for is_killed in [true, false] {
        let (place, _) = two();
        let (mut running, copy) = match is_killed {
            // Copied when nobody ran it.
            true => {
                killed(&place);
                let copy = copied(&place);
                let hang = ["resume", "1", "--inject", "docker.start-container=hang"];
                (place.start(&hang), copy)
            }
            false => (moving(&place), copied(&place)),
        };
        running.wait_for(if is_killed { "docker.start-container" } else { "ebs.attach" });
        let before = place.world();
        let reason = ["--reason", "it is late"];
        for command in [&["resume", "1"][..], &["rollback", "1"], &["cancel", "1"]] {
            let refused = place.run(&[&["--state", copy.as_str()][..], command].concat());
            let is_told = refused.stderr.contains("is run from another state directory")
                || refused.stderr.contains("is being run by");
            assert!(is_told || refused.code == Some(0), "{command:?}: {}", refused.stderr);
            assert_ne!(refused.code, Some(3), "{command:?}: {}", refused.stderr);
        }
        let unlock = [&["--state", &copy, "unlock", "1"][..], &reason].concat();
        place.run(&unlock).exits(2);
        locks_are(&place, &copy, &["another state directory, running"]);
        assert_eq!(place.world(), before, "it was changed by the copy");
        running.signal("INT");
        running.ends().exits(3);
        locks_are(&place, &copy, &[]);
    }
}

/// Killed between its end and letting go, and seen from where its lock was not taken.
#[test]
fn a_state_directory_that_was_moved_lets_go_of_what_it_left() {
    let (place, _) = two();
    let running = moving(&place);
    let held = fs::read_to_string(kept(&place)).expect("a file");
    running.signal("INT");
    running.ends().exits(3);
    let moved = place.path("moved");
    fs::rename(place.path("state"), &moved).expect("a directory");
    let moved = moved.display().to_string();
    fs::write(kept(&place), &held).expect("a file");
    let backup = ["--state", &moved, "run", &operation("backup-database"), "--no-wait"];
    place.run(&backup).exits(0);

    // On another machine, as far as can be told, it is freed by hand.
    let mut elsewhere: serde_json::Value = serde_json::from_str(&held).expect("JSON");
    elsewhere["locks"]["database/main"]["host"] = "another".into();
    fs::write(kept(&place), elsewhere.to_string()).expect("a file");
    place.run(&backup).exits(2).says("which can't be looked into from here");
    place.run(&[&["--state", moved.as_str()][..], &UNLOCK].concat()).exits(0).says("is free");
    place.run(&backup).exits(0);
}

/// The one that took over lives, whatever became of the one that slept.
#[test]
fn a_runner_that_took_over_shows_that_it_lives() {
    let (place, other) = two();
    let stopped = moving(&place);
    stopped.signal("STOP");
    let hang = ["resume", "1", "--inject", "docker.start-container=hang"];
    // Bounded by several times a lease's length; no assertion rests on the time.
    let mut resumed = (0..60).find_map(|_| {
        std::thread::sleep(Duration::from_millis(500));
        let refused = place.run(&["resume", "1", "--inject", "ebs.attach=crash-before"]);
        (refused.code != Some(2)).then(|| place.start_as("resumed", &hang))
    });
    let resumed = resumed.as_mut().expect("the lease runs out");
    resumed.wait_for("docker.start-container");
    stopped.signal("KILL");
    stopped.ends();
    locks_are(&place, &other, &["another state directory, running"]);
    place.run(&[&["--state", other.as_str()][..], &UNLOCK].concat()).exits(2).says("which runs");
}

/// What is there in place of a journal holds up nobody who only wants to know.
#[test]
fn a_look_into_another_state_directory_ends() {
    for odd in ["pipe", "link"] {
        let (place, other) = two();
        killed(&place);
        let journal = place.path("state/journal.db");
        fs::rename(&journal, place.path("away.db")).expect("a file");
        match odd {
            "pipe" => {
                let made = Command::new("mkfifo").arg(&journal).status();
                assert!(made.expect("mkfifo can be run").success());
            }
            _ => symlink(place.path("away.db"), &journal).expect("a link"),
        }
        locks_are(&place, &other, &["not to be seen from here"]);
        assert!(!place.path("away.db-shm").exists(), "something was made beside what it leads to");
        let backup = ["--state", &other, "run", &operation("backup-database"), "--no-wait"];
        place.run(&backup).exits(2).says("which can't be looked into from here");
    }
}

/// An incomplete rollback whose lock was freed by hand, and which somebody else has by now.
#[test]
fn a_rollback_that_can_not_be_taken_up_again_now_says_how_to() {
    let (place, other) = two();
    let faults = ["--inject", "docker.wait-healthy=refuse", "--inject", "undo:ebs.attach=refuse"];
    let flagship = operation("redeploy-database");
    place.run(&[&["run", flagship.as_str()][..], &faults].concat()).exits(5);
    let away = place.path("away");
    fs::rename(place.path("state"), &away).expect("a directory");
    place.run(&[&["--state", other.as_str()][..], &UNLOCK].concat()).exits(0);
    let backup = operation("backup-database");
    let hang = ["--state", &other, "run", &backup, "--inject", "ebs.create-snapshot=hang"];
    let mut holder = place.start_as("holder", &hang);
    holder.wait_for("ebs.create-snapshot");
    let away = away.display().to_string();
    let refused = place.run(&["--state", &away, "rollback", "1"]).exits(2);
    let refused = refused.says("can't be taken up again: its locks were freed meanwhile");
    refused.says("rollback 1` again, once that is over").lacks("resume 1");
    holder.signal("INT");
    holder.ends().exits(3);
    place.run(&["--state", &away, "rollback", "1"]).exits(3);
}

/// Nothing is advised that is refused.
#[test]
fn past_its_commit_point_no_cancel_is_advised() {
    let place = Place::new();
    let fault = ["--inject", "docker.remove-container=crash-before"];
    let ran = place.run(&[&["run", &operation("redeploy-database")][..], &fault].concat());
    assert_eq!(ran.code, None, "{}", ran.stderr);
    for arguments in [&["list"][..], &["show", "1"]] {
        let told = place.run(arguments).exits(0).says("past its commit point nothing rolls back");
        told.lacks("cancel 1");
    }
    let waiting = ["run", &operation("backup-database"), "--no-wait"];
    place.run(&waiting).exits(2).says("`stepback resume 1` goes on").lacks("cancel 1");
    place.run(&["resume", "1"]).exits(0);
}

/// A world keeps all locks in one file, which everybody reads.
#[test]
fn locks_that_nobody_could_keep_are_refused() {
    let place = Place::new();
    let text = "schema = 1\n[operation]\nname = \"x\"\nlocks = [\"{{ inputs.a }}\"]\n\
                [inputs]\na = { type = \"string\" }\n[[steps]]\nid = \"s\"\n\
                uses = \"core/sleep\"\nwith = { duration = \"1ms\" }\n";
    let manifest = place.write("locks.toml", text);
    let run = |name: &str| place.run(&["run", &manifest, "-i", &format!("a={name}")]);
    run(&"l".repeat(255)).exits(0);
    run(&"l".repeat(256)).exits(2).says("a lock's name at most 255");
    run("a\u{1b}[2J").exits(2).says("has a control character in it");
    let many: Vec<String> = (0..101).map(|n| format!("\"l{n}\"")).collect();
    let many = text.replace("\"{{ inputs.a }}\"", &many.join(", "));
    let many = place.write("many.toml", many);
    place.run(&["validate", &many]).exits(2).says("takes at most 100 locks");
    // What was freed by hand is remembered, and not at any length.
    let (place, other) = two();
    killed(&place);
    fs::remove_file(place.path("state/journal.db")).expect("a file");
    let reason = "w".repeat(5_000);
    let unlock = ["--state", &other, "unlock", "-e", "local", "database/main", "--reason", &reason];
    place.run(&unlock).exits(0);
    assert!(fs::metadata(kept(&place)).expect("a file").len() < 3_000);
}

#[test]
fn mistakes_are_told_whatever_the_manifest_looks_like() {
    let place = Place::new();
    let head = "schema = 1\n[operation]\nname = \"x\"\n";
    let wide = format!(
        "{head}[inputs]\nm = {{ description = \"{}\", type = \"string\", foo = 1 }}\n",
        "a".repeat(66_000)
    );
    let wide = place.run(&["validate", &place.write("wide.toml", wide)]).exits(2);
    assert!(wide.stderr.len() < 2_000, "{}", wide.stderr.len());
    wide.says("wide.toml:5:").says("foo");
    let step = |n: u32| format!("[[steps]]\nid = \"s{n}\"\nuses = \"core/nothing\"\n");
    let many = head.to_owned() + &(0..80).map(step).collect::<String>();
    let many = place.run(&["validate", &place.write("many.toml", many)]).exits(2);
    many.says("… and 30 more").says("80 mistakes");
    let odd = format!("{head}title = \"\u{9b}31m\u{202e}\"\nodd\u{1b}[2J = 1\n");
    let odd = place.run(&["validate", &place.write("odd.toml", odd)]).exits(2);
    assert!(!odd.stderr.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{:?}", odd.stderr);
}

/// A backup that is put in place while the program still runs is a copy, at the same path.
#[test]
fn a_backup_put_in_place_is_not_the_one_that_runs() {
    let (place, _) = two();
    killed(&place);
    let bak = copied(&place);
    let mut running = place.start(&["resume", "1", "--inject", "docker.start-container=hang"]);
    running.wait_for("docker.start-container");
    fs::rename(place.path("state"), place.path("broken")).expect("a directory");
    fs::rename(bak, place.path("state")).expect("a directory");
    place.run(&["resume", "1"]).exits(2).says("is run from another state directory");
    locks_are(&place, "state", &["another state directory, running"]);
    running.signal("INT");
    running.ends().exits(3);
}

/// By whatever path it is reached, it is the state directory in which the program runs.
#[test]
fn a_state_directory_by_another_path_is_no_copy() {
    let (place, _) = two();
    let running = moving(&place);
    symlink(place.path("state"), place.path("link")).expect("a link");
    for path in ["link", "other/../state"] {
        let refused = place.run(&["--state", path, "resume", "1"]).exits(2);
        refused.says("is being run by").lacks("another state directory");
        locks_are(&place, path, &["this state directory"]);
    }
    running.signal("INT");
    running.ends().exits(3);
}

/// Whoever waits in line holds nothing that others could see, and is carried out once.
#[test]
fn what_waits_in_line_is_not_run_by_a_copy_too() {
    let (place, other) = two();
    let backup = operation("backup-database");
    let hang = ["--state", &other, "run", &backup, "--inject", "ebs.create-snapshot=hang"];
    let mut holder = place.start_as("holder", &hang);
    holder.wait_for("ebs.create-snapshot");
    let mut waiting = place.start_as("waiting", &["run", &backup]);
    waiting.wait_for("waits in line");
    let copy = copied(&place);
    let mut again = place.start_as("again", &["--state", &copy, "resume", "1"]);
    again.wait_for("waits in line");
    let before = place.world().snapshots.len();
    holder.signal("INT");
    holder.ends().exits(3);
    // The one that comes first is shut out by the other's lease, or the other finds it done.
    let ended = [waiting.ends(), again.ends()];
    let codes: Vec<Option<i32>> = ended.iter().map(|ran| ran.code).collect();
    let is_fine = |code: &Option<i32>| matches!(code, Some(0 | 2 | 3));
    assert!(codes.iter().all(is_fine) && codes.contains(&Some(0)), "{ended:?}");
    assert_ne!(codes, [Some(0), Some(0)]);
    assert_eq!(place.world().snapshots.len(), before + 1, "it was done twice");
}

/// The one that begins in its place has things of the same names, and nobody changed those.
#[test]
fn an_operation_is_not_carried_on_in_a_world_that_began_anew() {
    let place = Place::new();
    let fault = ["--inject", "docker.wait-healthy=crash-before"];
    let ran = place.run(&[&["run", &operation("redeploy-database")][..], &fault].concat());
    assert_eq!(ran.code, None, "{}", ran.stderr);
    let worlds = place.path("state/worlds/local");
    let lost = worlds.with_file_name("lost");
    fs::rename(&worlds, &lost).expect("it can be moved");
    let why = "it was lost or put in another's place, and begun anew";
    for command in ["resume", "rollback"] {
        let ran = place.run(&[command, "1"]);
        ran.says(why).lacks("verdict: restored").lacks("operation 1 succeeded");
    }
    let changed = place.world();
    fs::remove_dir_all(&worlds).expect("it can be removed");
    fs::rename(&lost, &worlds).expect("it can be moved");
    assert_ne!(changed.id, place.world().id);
    assert!(changed.effects.is_empty(), "nothing was done in it: {:?}", changed.effects);
    place.run(&["rollback", "1"]).exits(3).says("verdict: restored");
}

/// What was being made when the program died is in the world that is gone: nothing tells of it.
#[test]
fn what_was_made_in_a_world_that_is_gone_is_not_taken_for_undone() {
    for (name, fault, is_named) in [
        // It has no name but the mark that it carries: it is told, and left to a person.
        ("backup-database", "ebs.create-snapshot=crash-after", false),
        ("redeploy-database", "docker.create-volume=crash-after", true),
    ] {
        let place = Place::new();
        let before = place.untouched();
        let ran = place.run(&["run", &operation(name), "--inject", fault]);
        assert_eq!(ran.code, None, "{}", ran.stderr);
        let worlds = place.path("state/worlds/local");
        let lost = worlds.with_file_name("lost");
        fs::rename(&worlds, &lost).expect("it can be moved");
        place.run(&["rollback", "1"]).exits(5).says("verdict: incomplete");
        fs::remove_dir_all(&worlds).expect("it can be removed");
        fs::rename(&lost, &worlds).expect("it can be moved");
        let ran = place.run(&["rollback", "1"]).lacks("it is not this operation's");
        match is_named {
            true => drop(ran.exits(3).says("verdict: restored")),
            false => drop(ran.exits(5).says("not restored: ebs:snapshot/snap-")),
        }
        assert_eq!(place.facts() == before, is_named, "{name}");
    }
}

/// It is told of what is there, and nothing there is what it left.
#[test]
fn who_gives_an_operation_up_is_told_that_its_world_is_gone() {
    let place = Place::new();
    let fault = ["--inject", "docker.wait-healthy=crash-before"];
    let ran = place.run(&[&["run", &operation("redeploy-database")][..], &fault].concat());
    assert_eq!(ran.code, None, "{}", ran.stderr);
    fs::remove_dir_all(place.path("state/worlds/local")).expect("it can be removed");
    let told = place.run(&["unlock", "1", "--reason", "the world is gone"]);
    told.says("begun anew").lacks("it is as it was");
}

/// A running operation sees the exchange as well.
#[test]
fn a_running_operation_is_not_carried_on_in_another_world() {
    let place = Place::new();
    let fault = ["--inject", "docker.wait-healthy=hang"];
    let mut running =
        place.start(&[&["run", &operation("redeploy-database")][..], &fault].concat());
    running.wait_for("docker.wait-healthy");
    let worlds = place.path("state/worlds/local");
    let lost = worlds.with_file_name("lost");
    fs::rename(&worlds, &lost).expect("it can be moved");
    place.run(&["env", "check", "local"]).exits(0);
    running.signal("INT");
    running.ends().exits(5).lacks("verdict: restored");
    fs::remove_dir_all(&worlds).expect("it can be removed");
    fs::rename(&lost, &worlds).expect("it can be moved");
    place.run(&["rollback", "1"]).exits(3).says("verdict: restored");
}

/// A journal from a backup lacks what was done since: nothing is taken back by it, however often
/// somebody tries, and whichever way.
#[test]
fn an_older_journal_put_back_takes_nothing_back() {
    for was_killed in [true, false] {
        let (place, _) = two();
        let running = moving(&place);
        match was_killed {
            true => {
                running.signal("KILL");
                running.ends();
                copy(&place.path("state"), &place.path("backup"));
                place.run(&["resume", "1"]).exits(0);
            }
            // Copied while it ran, as a backup of a busy disk is.
            false => {
                copy(&place.path("state"), &place.path("backup"));
                running.signal("INT");
                running.ends().exits(3);
            }
        }
        let newest = place.path("newest");
        fs::rename(place.path("state"), &newest).expect("a directory");
        copy(&place.path("backup"), &place.path("state"));
        let before = place.world();
        for command in ["cancel", "resume", "resume", "rollback", "resume"] {
            let tried = place.run(&[command, "1"]);
            assert_ne!(tried.code, Some(0), "{command}, killed {was_killed}: {}", tried.stderr);
            tried.says("older copy").says("put the newest journal").says("unlock 1 --reason");
            assert_eq!(place.world(), before, "{command}, killed {was_killed}");
        }
        place.run(&["unlock", "1", "--reason", "it is a copy"]).exits(0);
        assert_eq!(place.facts(), before.restorable());
    }
}

/// A world that was put back from a backup gives the name of what was made since to something else:
/// that is not what the operation made, and is not taken away for it.
#[test]
fn what_another_made_under_the_same_name_is_not_taken_back() {
    let place = Place::new();
    let make = |tag: &str| {
        place.write(
            "make.toml",
            format!(
                "schema = 1\n[operation]\nname = \"make\"\n\
                 [[steps]]\nid = \"snap\"\nuses = \"ebs/create-snapshot\"\n\
                 with = {{ volume = \"vol-db-main\", tags = {{ by = \"{tag}\" }} }}\n\
                 [[steps]]\nid = \"vol\"\nuses = \"ebs/create-volume\"\nneeds = [\"snap\"]\n\
                 with = {{ size_gib = 5, zone = \"us-east-1a\", tags = {{ by = \"{tag}\" }} }}\n\
                 [[steps]]\nid = \"tag\"\nuses = \"ebs/tag-volume\"\nneeds = [\"vol\"]\n\
                 with = {{ volume = \"vol-db-main\", key = \"{tag}\", value = \"v\" }}\n"
            ),
        )
    };
    place.untouched();
    let world = place.path("state/worlds/local/world.json");
    let backup = fs::read(&world).expect("a world");
    let died = place.run(&["run", &make("first"), "--inject", "ebs.tag=crash-before"]);
    assert_eq!(died.code, None);
    fs::write(&world, backup).expect("a world");
    place.run(&["run", &make("second")]).exits(0);
    let before = place.facts();
    let ran = place.run(&["rollback", "1"]).exits(5).says("verdict: incomplete");
    ran.says("does not carry this operation's mark: somebody else made it");
    assert_eq!(place.facts(), before, "what the second one made was taken away");
}

/// An operation without locks is known to the world too, and one of which another journal was made
/// half way, whatever became of the operation since: it ended, or was killed again.
#[test]
fn a_journal_that_lacks_an_effect_goes_on_with_nothing() {
    let lockless = |place: &Place| {
        let text = fs::read_to_string(operation("redeploy-database")).expect("a manifest");
        let locks = text.lines().filter(|line| !line.starts_with("locks"));
        place.write("lockless.toml", locks.collect::<Vec<_>>().join("\n"))
    };
    for (without_locks, then) in [
        (true, &["resume", "1"][..]),
        (false, &["resume", "1", "--inject", "docker.start-container=crash-after"]),
        (true, &["resume", "1", "--inject", "docker.start-container=crash-after"]),
        (false, &["rollback", "1", "--inject", "undo:docker.start-container=crash-before"]),
    ] {
        let (place, _) = two();
        let manifest = match without_locks {
            true => lockless(&place),
            false => operation("redeploy-database"),
        };
        let died = place.run(&["run", &manifest, "--inject", "ebs.attach=crash-before"]);
        assert_eq!(died.code, None, "{}", died.stderr);
        copy(&place.path("state"), &place.path("backup"));
        place.run(then);
        fs::rename(place.path("state"), place.path("newest")).expect("a directory");
        copy(&place.path("backup"), &place.path("state"));
        let before = place.world();
        for command in ["resume", "rollback", "resume", "cancel"] {
            let tried = place.run(&[command, "1"]).exits(2);
            tried.says("older copy").says("put the newest journal");
            assert_eq!(place.world(), before, "{then:?}: {command}");
        }
        // Given up here, nothing of it is told the world: the newest journal goes on.
        let held = fs::read_to_string(kept(&place)).ok();
        place.run(&["unlock", "1", "--reason", "it is a copy"]).exits(0);
        assert_eq!(place.world(), before, "{then:?}");
        assert_eq!(fs::read_to_string(kept(&place)).ok(), held, "{then:?}: a lock was let go of");
        fs::remove_dir_all(place.path("state")).expect("a directory");
        fs::rename(place.path("newest"), place.path("state")).expect("a directory");
        let last = place.run(&["resume", "1"]);
        last.lacks("older copy");
        assert!(matches!(place.show(1)["status"].as_str(), Some("succeeded" | "rolled-back")));
    }
}

/// What a program wrote last may be in a part of the log that was cut off.
#[test]
fn a_journal_whose_log_was_cut_off_goes_on_with_nothing_that_it_lacks() {
    let (place, _) = two();
    killed(&place);
    let log = place.path("state/journal.db-wal");
    let bytes = fs::read(&log).expect("a log");
    let whole = place.show(1)["steps"].clone();
    let mut refused = 0;
    for part in 1..8 {
        copy(&place.path("state"), &place.path("cut"));
        fs::write(place.path("cut/journal.db-wal"), &bytes[..bytes.len() * part / 8])
            .expect("a log");
        let state = place.path("cut").display().to_string();
        let before = place.world();
        let tried = place.run(&["--state", &state, "rollback", "1"]);
        let shown = place.run(&["--state", &state, "show", "1", "--json"]);
        // Where the journal has no operation 1 any more, there is nothing to go on with; where it
        // has all of it, it goes on.
        if shown.code != Some(0) || shown.json()["steps"] != whole {
            assert_eq!(place.world(), before, "{part}");
        }
        if shown.code == Some(0) && shown.json()["steps"] != whole {
            tried.exits(2).says("a copy of").says("put the newest journal");
            refused += 1;
        }
        fs::remove_dir_all(place.path("cut")).expect("a directory");
    }
    assert!(refused > 0, "no cut left a journal that lacks something");
}
