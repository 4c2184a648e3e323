//! What a manifest can say, and that it means it: `for_each`, `when`, `retry`, `timeout`, the
//! downtime budget, `irreversible`, cleanup, branches side by side.

use crate::harness::{Place, Ran};
use crate::narrowed::{Granted, inline};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn run(place: &Place, body: &str, arguments: &[&str]) -> Ran {
    let text = format!("schema = 1\n[operation]\nname = \"feature\"\n{body}");
    let path = place.write("feature.toml", text);
    place.run(&[&["run", &path], arguments].concat())
}

fn tag(id: &str, key: &str, rest: &str) -> String {
    format!(
        "[[steps]]\nid = \"{id}\"\nuses = \"ebs/tag-volume\"\n\
         with = {{ volume = \"vol-db-main\", key = \"{key}\", value = \"1\" }}\n{rest}\n"
    )
}

/// Known to fail only when its turn comes, because its input comes from an effect.
const FAIL: &str = "[[steps]]\nid = \"fail\"\nuses = \"ebs/describe-volume\"\n\
                    with = { volume = \"vol-{{ steps.made.id }}\" }\n";
const MADE: &str = "[[steps]]\nid = \"made\"\nuses = \"ebs/create-volume\"\n\
                    with = { zone = \"us-east-1a\", size_gib = 1 }\n";

fn step<'a>(shown: &'a Value, id: &str) -> &'a Value {
    let steps = shown["steps"].as_array().expect("steps");
    steps.iter().find(|step| step["id"] == id).unwrap_or_else(|| panic!("no step {id}"))
}

#[test]
fn for_each_runs_an_instance_a_key_and_undoes_each() {
    let place = Place::new();
    let before = place.untouched();
    let each = "[[steps]]\nid = \"tags\"\nuses = \"ebs/tag-volume\"\n\
                for_each = \"['a', 'b', 'c']\"\n\
                with = { volume = \"vol-db-main\", key = \"{{ each.key }}\", value = \"1\" }\n";
    run(&place, each, &[]).exits(0);
    assert_eq!(place.world().volumes["vol-db-main"].tags.len(), 4);
    assert_eq!(step(&place.show(1), "tags[b]")["status"], "done");

    let place = Place::new();
    let body = format!("{each}{MADE}{FAIL}");
    run(&place, &body, &[]).exits(3).says("verdict: restored");
    assert_eq!(place.facts(), before);
    assert_eq!(step(&place.show(1), "tags[c]")["status"], "undone");
}

/// What began and ended, in its order: the instances of a step, by their keys.
fn attempts(lines: &[Value]) -> Vec<String> {
    let told = |line: &Value| {
        let record = &line["record"];
        let begins = match record["event"].as_str()? {
            "attempt-started" => "+",
            "attempt-finished" => "-",
            _ => return None,
        };
        let of = &record["of"];
        let (key, direction) = (of["step"]["key"].as_str()?, of["direction"].as_str()?);
        Some(format!("{begins}{key} {direction}"))
    };
    lines.iter().filter_map(told).collect()
}

#[test]
fn so_many_instances_go_at_a_time_and_are_undone_so_from_the_last() {
    let each = "[[steps]]\nid = \"tags\"\nuses = \"ebs/tag-volume\"\nat_most = 1\n\
                for_each = \"['c', 'a', 'b']\"\n\
                with = { volume = \"vol-db-main\", key = \"{{ each.value }}\", value = \"1\" }\n";
    let place = Place::new();
    let before = place.untouched();
    let body = format!("{each}{MADE}{FAIL}");
    let ran = run(&place, &body, &["--json"]).exits(3);
    let both = |of: &str| ["+", "-"].map(|mark| format!("{mark}{of}"));
    let forward = ["c do", "a do", "b do"];
    let back = ["b undo", "a undo", "c undo"];
    let wanted: Vec<String> = forward.into_iter().chain(back).flat_map(both).collect();
    assert_eq!(attempts(&ran.json_lines()), wanted);
    assert_eq!(place.facts(), before);

    // Where one fails, the next does not begin.
    let place = Place::new();
    let inject = ["--inject", "ebs.tag#2=refuse"];
    run(&place, each, &inject).exits(3).says("verdict: restored");
    let shown = place.show(1);
    let status = |id: &str| step(&shown, id)["status"].clone();
    let statuses = [status("tags[c]"), status("tags[a]"), status("tags[b]")];
    assert_eq!(statuses, ["undone", "failed", "pending"]);
    assert_eq!(step(&shown, "tags[b]")["started_at"], Value::Null);

    let place = Place::new();
    for (wrong, said) in [
        (each.replace("at_most = 1", "at_most = 0"), "a whole number, 1 or more"),
        (each.replace("for_each", "title"), "is for the instances of a `for_each`"),
    ] {
        run(&place, &wrong, &[]).exits(2).says(said);
    }
    let whole = format!("schema = 1\n[operation]\nname = \"feature\"\n{each}");
    let plan = place.run(&["plan", &place.write("feature.toml", whole)]).exits(0);
    plan.says("`tags` is run for each, one after another, and undone so from the last");
}

#[test]
fn a_step_whose_when_is_false_is_skipped_and_what_follows_still_runs() {
    let place = Place::new();
    let body = format!("{}{}", tag("a", "a", "when = \"1 > 2\""), tag("b", "b", ""));
    run(&place, &body, &[]).exits(0);
    let shown = place.show(1);
    assert_eq!(step(&shown, "a")["status"], "skipped");
    assert_eq!(step(&shown, "b")["status"], "done");
}

#[test]
fn a_retry_takes_the_failed_attempt_back_first() {
    let place = Place::new();
    let stop = "[[steps]]\nid = \"stop\"\nuses = \"docker/stop-container\"\n\
                with = { host = \"i-db-1\", container = \"main\" }\n\
                retry = { attempts = 3, backoff = \"1ms\" }\n";
    let inject = ["--inject", "docker.stop-container#1=transient", "--json"];
    let ran = run(&place, stop, &inject).exits(0);
    let lines = ran.json_lines();
    let names: Vec<&str> =
        lines.iter().filter_map(|line| line["record"]["event"].as_str()).collect();
    let at = |name| names.iter().position(|event| *event == name).expect(name);
    assert!(at("undo-started") < at("undo-ended") && at("undo-ended") < at("retry-scheduled"));
    assert_eq!(step(&place.show(1), "stop")["attempts"], 2);

    let place = Place::new();
    let before = place.untouched();
    let inject = ["--inject", "docker.stop-container=transient"];
    run(&place, stop, &inject).exits(3);
    assert_eq!(step(&place.show(1), "stop")["attempts"], 3);
    assert_eq!(place.facts(), before);

    // What is not transient is not tried again, unless the step says so.
    let place = Place::new();
    run(&place, stop, &["--inject", "docker.stop-container=refuse"]).exits(3);
    assert_eq!(step(&place.show(1), "stop")["attempts"], 1);
    let place = Place::new();
    let on = stop.replace("\"1ms\"", "\"1ms\", on = [\"refused\"]");
    run(&place, &on, &["--inject", "docker.stop-container#1=refuse"]).exits(0);
    assert_eq!(step(&place.show(1), "stop")["attempts"], 2);
    let place = Place::new();
    let other = stop.replace("\"1ms\"", "\"1ms\", on = [\"precondition\"]");
    run(&place, &other, &["--inject", "docker.stop-container#1=refuse"]).exits(3);
}

/// What an attempt did is taken back before the next, or there is no next.
#[test]
fn a_retry_repeats_nothing_that_stays() {
    let place = Place::new();
    let command = "[[steps]]\nid = \"run\"\nuses = \"docker/exec\"\nirreversible = \"why\"\n\
                   retry = { on = [\"refused\"] }\n\
                   with = { host = \"i-db-1\", container = \"main\", command = [\"x\"] }\n";
    run(&place, command, &[]).exits(2).says("a step that can't be undone is not tried again");
    let unknown = command.replace("\"refused\"", "\"internal\"");
    run(&place, &unknown, &[]).exits(2).says("`internal` is no failure that can be tried again");
}

#[test]
fn timeouts_end_a_step_and_an_operation() {
    let sleep = "[[steps]]\nid = \"sleep\"\nuses = \"core/sleep\"\n\
                 with = { duration = \"20h\" }\n";
    let place = Place::new();
    let before = place.untouched();
    let body = format!("{}{sleep}timeout = \"100ms\"\n", tag("a", "a", ""));
    run(&place, &body, &[]).exits(3).says("took longer than its timeout");
    let shown = place.show(1);
    assert_eq!(step(&shown, "sleep")["error"]["class"], "deadline");
    assert_eq!(shown["cause"], "failed");
    assert_eq!(place.facts(), before);

    let place = Place::new();
    let body = format!("timeout = \"300ms\"\n{}{sleep}", tag("a", "a", ""));
    run(&place, &body, &[]).exits(3);
    assert_eq!(place.show(1)["cause"], "timeout");
    assert_eq!(place.facts(), before);
}

#[test]
fn a_downtime_past_its_budget_is_rolled_back_or_only_told() {
    let window = |overrun: &str, duration: &str| {
        format!(
            "[downtime]\nbudget = \"100ms\"\non_overrun = \"{overrun}\"\n{}\
             [[steps]]\nid = \"sleep\"\nuses = \"core/sleep\"\nphase = \"downtime\"\n\
             with = {{ duration = \"{duration}\" }}\n",
            tag("a", "a", "phase = \"downtime\"")
        )
    };
    let place = Place::new();
    let before = place.untouched();
    run(&place, &window("rollback", "20h"), &[]).exits(3).says("rolling back (budget)");
    assert_eq!(place.show(1)["cause"], "budget");
    assert_eq!(place.facts(), before);

    let place = Place::new();
    let warned = run(&place, &window("warn", "300ms"), &[]).exits(0);
    warned.says("over its budget of 100 ms");
    assert!(place.show(1)["downtime_ms"].as_u64().is_some_and(|ms| ms >= 300));
}

#[test]
fn what_was_declared_irreversible_is_exit_4() {
    let place = Place::new();
    let body = format!(
        "{}[[steps]]\nid = \"grow\"\nuses = \"ebs/modify-volume\"\n\
         irreversible = \"a volume only grows\"\n\
         with = {{ volume = \"vol-db-main\", size_gib = 30 }}\n{MADE}{FAIL}",
        tag("a", "a", "")
    );
    let ran = run(&place, &body, &[]).exits(4).says("verdict: restored-except-declared");
    ran.says("(declared irreversible)");
    let lost = &place.show(1)["not_restored"][0];
    assert_eq!(lost["resource"], "ebs:volume/vol-db-main");
    assert_eq!(lost["declared"], true);
    let world = place.world();
    assert_eq!(world.volumes["vol-db-main"].size_gib, 30);
    assert_eq!(world.volumes["vol-db-main"].tags.len(), 1, "the rest is put back");
    assert_eq!(world.volumes.len(), 1, "what was made is gone");
}

#[test]
fn after_the_commit_point_nothing_rolls_back() {
    let place = Place::new();
    let body = format!(
        "{}[[steps]]\nid = \"tidy\"\nuses = \"ebs/delete-snapshot\"\nphase = \"cleanup\"\n\
         irreversible = \"it is old\"\nwith = {{ snapshot = \"snap-db-main-0\" }}\n",
        tag("a", "a", "")
    );
    let ran = run(&place, &body, &["--inject", "ebs.delete-snapshot=refuse"]).exits(0);
    ran.says("left over: tidy");
    let shown = place.show(1);
    assert_eq!(shown["leftovers"][0]["step"], "tidy");
    assert!(place.world().volumes["vol-db-main"].tags.contains_key("a"));
}

#[test]
fn branches_run_side_by_side_and_one_failure_ends_them_all() {
    let place = Place::new();
    let before = place.untouched();
    let sleep = |id: &str, needs: &str, duration: &str| {
        format!(
            "[[steps]]\nid = \"{id}\"\nuses = \"core/sleep\"\nneeds = [{needs}]\n\
             with = {{ duration = \"{duration}\" }}\n"
        )
    };
    let body = format!(
        "{MADE}{}{}{}{FAIL}needs = [\"pause\", \"made\"]\n",
        tag("a", "a", "needs = []"),
        sleep("sleep", "", "20h"),
        sleep("pause", "\"a\"", "300ms"),
    );
    run(&place, &body, &[]).exits(3);
    let shown = place.show(1);
    assert_eq!(step(&shown, "sleep")["error"]["class"], "cancelled");
    assert_eq!(step(&shown, "a")["status"], "undone");
    assert_eq!(place.facts(), before);
}

#[test]
fn outputs_are_printed_and_kept() {
    let place = Place::new();
    let body = format!("[outputs]\nvolume = \"{{{{ steps.made.id }}}}\"\n{MADE}");
    let ran = run(&place, &body, &[]).exits(0);
    let shown = place.show(1);
    let volume = shown["outputs"]["volume"].as_str().expect("a volume");
    assert!(ran.stdout.contains(&format!("volume = \"{volume}\"")), "{}", ran.stdout);
}

/// Whoever reads the outputs is told why one is null.
#[test]
fn an_output_that_can_not_be_worked_out_says_why() {
    let place = Place::new();
    let body = format!(
        "[outputs]\nzone = \"{{{{ steps.made.zone | int }}}}\"\n\
         volume = \"{{{{ steps.made.id }}}}\"\n{MADE}"
    );
    let ran = run(&place, &body, &[]).exits(0);
    ran.says("zone is not known: the expression `steps.made.zone | int` fails");
    let shown = place.show(1);
    assert_eq!(shown["outputs"]["zone"], serde_json::Value::Null);
    assert!(shown["unknown_outputs"]["zone"].as_str().is_some_and(|why| why.contains("int")));
    assert_eq!(shown["unknown_outputs"].as_object().map(serde_json::Map::len), Some(1));
}

#[test]
fn a_lock_that_is_held_is_waited_for_or_not() {
    let place = Place::new();
    let held = "locks = [\"database/main\"]\n[[steps]]\nid = \"sleep\"\nuses = \"core/sleep\"\n\
                with = { duration = \"20h\" }\n";
    let path = place.write("held.toml", format!("schema = 1\n[operation]\nname = \"h\"\n{held}"));
    let mut running = place.start(&["run", &path]);
    running.wait_for("started");
    let refused = place.run(&["run", &path, "--no-wait"]).exits(2);
    refused.says("lock `database/main` is held by operation 1");
    let mut second = place.start_as("second", &["run", &path]);
    second.wait_for("waits in line: lock `database/main` is held by operation 1 since");
    second.signal("INT");
    second.ends().exits(2).says("while it waited for a lock");
    running.signal("INT");
    running.ends().exits(3);
    let free = "locks = [\"database/main\"]\n[[steps]]\nid = \"a\"\nuses = \"core/sleep\"\n\
                with = { duration = \"1ms\" }\n";
    run(&place, free, &["--no-wait"]).exits(0);
}

/// What was kept only to settle an effect by is cleared away before the last look at the world.
#[test]
fn a_command_that_failed_leaves_no_container_of_its_own() {
    let place = Place::new();
    let demo = std::fs::read_to_string(crate::harness::operation("demo-world")).expect("a world");
    let digest = format!("sha256:{}", "f1".repeat(32));
    let failing = format!("[registry.\"fails:1\"]\ndigest = \"{digest}\"\nexit_code = 3\n");
    let images = "[engines.i-db-1.images]\n";
    let demo = demo.replace(images, &format!("{images}\"fails:1\" = \"{digest}\"\n"));
    place.write("world.toml", format!("{demo}\n{failing}"));
    let text = "[environments.local]\nprovider = \"simulated\"\nworld = \"world.toml\"\n";
    place.write("stepback.toml", format!("state = \"state\"\n{text}"));
    let once = "[[steps]]\nid = \"once\"\nuses = \"docker/run-once\"\n\
                irreversible = \"a command\"\n\
                with = { host = \"i-db-1\", image = \"fails:1\", command = [\"true\"] }\n";
    let ran = run(&place, once, &[]).exits(4).says("the command exited with 3");
    ran.says("commands ran: docker.run-once of `once`").lacks("it was not there, and is");
    assert_eq!(place.show(1)["not_restored"].as_array().map(Vec::len), Some(0));
}

/// Past the commit point nothing is taken back: what an attempt made that failed is named.
#[test]
fn what_a_cleanup_step_made_in_vain_is_named() {
    let place = Place::new();
    let cleanup = "[[steps]]\nid = \"made\"\nuses = \"ebs/create-snapshot\"\nphase = \"cleanup\"\n\
                   with = { volume = \"vol-db-main\" }\n\
                   retry = { attempts = 2, backoff = \"1ms\" }\n\
                   [[steps]]\nid = \"gone\"\nuses = \"ebs/delete-snapshot\"\n\
                   phase = \"cleanup\"\nirreversible = \"a test\"\n\
                   with = { snapshot = \"{{ steps.made.id }}\" }\n";
    let ran = run(&place, cleanup, &["--inject", "ebs.wait-snapshot#1=transient"]).exits(0);
    ran.says("left over: made: ebs:snapshot/snap-").says("made by an attempt that failed");
    let left = place.show(1)["leftovers"].clone();
    let left = left.as_array().expect("a list");
    assert_eq!(left.len(), 1, "{left:?}");
    let id = left[0]["resource"].as_str().and_then(|one| one.strip_prefix("ebs:snapshot/"));
    assert!(place.world().snapshots.contains_key(id.expect("a snapshot")));

    // What the last attempt made, too.
    let place = Place::new();
    let all =
        ["--inject", "ebs.wait-snapshot#1=transient", "--inject", "ebs.wait-snapshot#2=refuse"];
    run(&place, cleanup, &all).exits(0).says("left over: made: ebs:snapshot/snap-");
    let shown = place.show(1);
    let left = shown["leftovers"].as_array().expect("a list").iter();
    let named = left.filter_map(|one| one["resource"].as_str()?.strip_prefix("ebs:snapshot/"));
    let named: BTreeSet<&str> = named.collect();
    let world = place.world();
    let made = world.snapshots.keys().filter(|id| *id != "snap-db-main-0").map(String::as_str);
    assert_eq!(named, made.collect());
}

/// An earlier operation once more, with what it told as an output where an input says so.
#[test]
fn an_operation_is_run_like_an_earlier_one() {
    const TEXT: &str = "schema = 1\n[operation]\nname = \"release\"\n\
        [inputs]\nkey = { type = \"string\" }\n\
        value = { type = \"string\", like = \"seen\" }\n\
        [[steps]]\nid = \"tag\"\nuses = \"ebs/tag-volume\"\n\
        with = { volume = \"vol-db-main\", key = \"{{ inputs.key }}\", \
        value = \"{{ inputs.value }}\" }\n\
        [outputs]\nseen = \"{{ inputs.value }}-pinned\"\n";
    let place = Place::new();
    let path = place.write("release.toml", TEXT);
    let tag = |key: &str| place.world().volumes["vol-db-main"].tags.get(key).cloned();
    place.run(&["run", &path, "-i", "key=a", "-i", "value=x"]).exits(0);
    assert_eq!(tag("a").as_deref(), Some("x"));
    // The file is another one by now, or gone.
    std::fs::remove_file(place.path("release.toml")).expect("it was there");
    let told = "value = \"x-pinned\", the output `seen` of operation 1";
    place.run(&["plan", "--like", "1"]).exits(0).says(told).says("like operation 1: ");
    place.run(&["run", "--like", "1"]).exits(0).says(told);
    assert_eq!(tag("a").as_deref(), Some("x-pinned"));
    place.run(&["run", "--like", "2", "-i", "value=y", "-i", "key=b"]).exits(0).lacks("the output");
    assert_eq!((tag("a").as_deref(), tag("b").as_deref()), (Some("x-pinned"), Some("y")));

    let failing = ["run", "--like", "1", "-i", "value=z", "--inject", "ebs.tag=refuse"];
    place.run(&failing).exits(3);
    let none = place.run(&["run", "--like", "4"]).exits(2);
    none.says("operation 4 has no output `seen`").says("give it: `-i value=…`");
    place.run(&["run", "--like", "4", "-i", "value=z"]).exits(0);
    place.run(&["run", "--like", "9", "-i", "value=z"]).exits(2).says("9");
    place.run(&["run", "release.toml", "--like", "1"]).exits(2).says("--like");
    place.run(&["run"]).exits(2);
    // What is set for a whole shell is not said of it.
    place.write(
        "stepback.toml",
        "[environments.local]\nprovider = \"simulated\"\n\
        [environments.other]\nprovider = \"simulated\"\n",
    );
    let mut command = place.command(&["run", "--like", "1", "-i", "value=w"]);
    let ran = Ran::of(command.env("STEPBACK_ENVIRONMENT", "other")).exits(0);
    ran.says("like operation 1: ").lacks("in other");
    assert_eq!(tag("a").as_deref(), Some("w"));
    let mut command = place.command(&["run", "--like", "1", "-i", "value=v", "-e", "other"]);
    Ran::of(command.env("STEPBACK_ENVIRONMENT", "local")).exits(0).says("in other");
    assert_eq!(tag("a").as_deref(), Some("w"));

    let path = place.write("odd.toml", TEXT.replace("like = \"seen\"", "like = \"sen\""));
    place.run(&["validate", &path]).exits(2).says("there is no output `sen`").says("seen");
    let path = place.write("odd.toml", TEXT.replace("\"string\", like", "\"secret\", like"));
    place.run(&["validate", &path]).exits(2).says("no output is a secret");
}

/// The container of a command goes whatever becomes of the attempt that ran it.
#[test]
fn what_a_command_of_a_failed_attempt_ran_in_is_not_left_over() {
    let granted = Granted::new("{ docker = \"root\" }, \"ebs\", \"ec2\"", "");
    let calls = json!([
        { "call": "run-once", "host": "i-db-1", "image": "postgres:16", "command": ["true"] },
        { "call": "describe", "volume": "vol-db-main" },
    ]);
    let text = format!(
        "schema = 1\n[operation]\nname = \"again\"\n[[steps]]\nid = \"again\"\n\
         uses = \"a/attack-for-good\"\nphase = \"cleanup\"\nirreversible = \"a test\"\n\
         retry = {{ attempts = 2, backoff = \"1ms\" }}\nwith = {{ run = {} }}\n",
        inline(&calls)
    );
    let path = granted.0.write("again.toml", text);
    let ran = granted.0.run(&["run", &path, "--inject", "ebs.describe#1=transient"]).exits(0);
    ran.says("is tried again in").lacks("left over");
    assert_eq!(granted.0.show(1)["leftovers"].as_array().map(Vec::len), Some(0));
}
