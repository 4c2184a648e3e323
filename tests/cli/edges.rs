//! What comes from outside at its edges: numbers too large, keys that look like ids, expressions
//! that take too long, a state directory that was copied, output that nobody takes.

use crate::harness::{Place, Ran};
use serde_json::Value;

fn run(place: &Place, body: &str, arguments: &[&str]) -> Ran {
    let text = format!("schema = 1\n[operation]\nname = \"edge\"\n{body}");
    let path = place.write("edge.toml", text);
    place.run(&[&["run", &path, "--json"], arguments].concat())
}

/// The longest grace there is, where the container stops at once; the world is put back.
#[test]
fn the_longest_grace_is_only_a_long_one() {
    let place = Place::new();
    let before = place.untouched();
    let body = r#"
[[steps]]
id = "stop"
uses = "docker/stop-container"
phase = "downtime"
with = { host = "i-db-1", container = "main", grace = "18446744073709551615ms" }
[[steps]]
id = "fail"
uses = "core/assert"
phase = "downtime"
needs = ["stop"]
with = { condition = "{{ steps.stop.name == 'another' }}", message = "on purpose" }
"#;
    run(&place, body, &[]).exits(3).says("on purpose");
    assert_eq!(place.facts(), before);
}

/// Each of them, whatever it asks for, ends; the world says what it does not have.
#[test]
fn sizes_that_no_volume_has_are_refused() {
    for (size, rest) in [
        ("2000000000", "type = \"gp2\""),
        ("4294967295", "type = \"gp3\""),
        ("1", "type = \"io2\", iops = 4294967295"),
        ("1", "type = \"gp3\", throughput_mibps = 4294967295"),
    ] {
        let place = Place::new();
        let before = place.untouched();
        let body = format!(
            "[[steps]]\nid = \"create\"\nuses = \"ebs/create-volume\"\n\
             with = {{ zone = \"eu-central-1a\", size = {size}, {rest} }}\n"
        );
        let ran = run(&place, &body, &[]);
        assert!(matches!(ran.code, Some(2 | 3)), "{size} {rest}: {:?} {}", ran.code, ran.stderr);
        assert_eq!(place.facts(), before, "{size} {rest}");
    }
}

/// No meaning is read out of an id's text: each key's effect is undone, whatever the key is.
#[test]
fn keys_that_look_like_ids_are_keys() {
    let place = Place::new();
    let before = place.untouched();
    let body = r#"
[[steps]]
id = "tag"
uses = "ebs/tag-volume"
for_each = "['a/undo/b', '/undo/1', 'tag/do/1/1', 'a[b]', '{{ x }}', ' ']"
with = { volume = "vol-db-main", key = "k{{ each.value }}", value = "yes" }
[[steps]]
id = "fail"
uses = "ebs/create-snapshot"
needs = ["tag"]
with = { volume = "vol-db-main" }
"#;
    let ran = run(&place, body, &["--inject", "ebs.create-snapshot=refuse"]).exits(3);
    let is_undo = |line: &&Value| line["record"]["event"] == "undo-ended";
    assert_eq!(ran.json_lines().iter().filter(is_undo).count(), 6, "each key has its undo");
    assert_eq!(place.facts(), before);
}

/// Steps of which the last compares two lists of lists of lists, each written down once: few
/// instructions make them, and one looks at a thousand million of their elements.
fn long_expression(steps: &str, also: &str) -> String {
    let ten = |of: &str| [of; 10].join(",");
    let levels: String = ["a", "b"]
        .into_iter()
        .flat_map(|name| {
            let first = format!("{{% set {name}0 = [{}] %}}", ten("1"));
            let next = (1..9).map(move |level| {
                let below = format!("{name}{}", level - 1);
                format!("{{% set {name}{level} = [{}] %}}", ten(&below))
            });
            [first].into_iter().chain(next)
        })
        .collect();
    format!(
        "{steps}[[steps]]\nid = \"long\"\nuses = \"core/assert\"\n\
         with = {{ condition = true, message = \"{levels}{{{{ a8 == b8 }}}}{also}\" }}\n"
    )
}

/// What would overflow a stack is a mistake, with its place.
#[test]
fn expressions_that_are_nested_without_end_are_mistakes() {
    let signs = format!("{{{{ {}1 }}}}", "-".repeat(3_900));
    for (expression, says) in [
        ("{% set n = namespace() %}{% set n.a = n %}{{ n }}", "namespace"),
        (signs.as_str(), "minus signs"),
    ] {
        let place = Place::new();
        let body = format!(
            "[[steps]]\nid = \"a\"\nuses = \"core/assert\"\n\
             with = {{ condition = true, message = \"{expression}\" }}\n"
        );
        run(&place, &body, &[]).exits(2).says(says);
    }
}

#[test]
fn an_expression_that_takes_too_long_is_given_up() {
    let place = Place::new();
    run(&place, &long_expression("", ""), &[]).exits(2).says("takes longer than");
}

/// Nothing blocks the driver: who cancels while an expression is worked out is heard first.
#[test]
fn an_expression_makes_nobody_deaf() {
    let place = Place::new();
    let before = place.untouched();
    let snapshot = "[[steps]]\nid = \"snapshot\"\nuses = \"ebs/create-snapshot\"\n\
                    with = { volume = \"vol-db-main\" }\n";
    let body = long_expression(snapshot, "{{ steps.snapshot.id }}");
    let text = format!("schema = 1\n[operation]\nname = \"edge\"\n{body}");
    let path = place.write("edge.toml", text);
    let mut running = place.start(&["run", &path]);
    running.wait_for("snapshot");
    running.signal("INT");
    running.ends().exits(3);
    assert_eq!(place.show(1)["cause"], "cancelled");
    assert_eq!(place.facts(), before);
}

/// Past the commit point a failure stops nothing: every instance has its end, and so has the
/// operation.
#[test]
fn a_cleanup_of_which_one_key_fails_comes_to_its_end() {
    let place = Place::new();
    let body = r#"
[[steps]]
id = "side"
uses = "docker/create-container"
with = { host = "i-db-1", container = "side", like = { host = "i-db-1", container = "main" } }
[[steps]]
id = "tag"
uses = "ebs/tag-volume"
phase = "cleanup"
for_each = "[0, 5]"
[steps.with]
volume = "vol-db-main"
key = "k{{ each.value }}"
value = "{{ steps.side.mounts[each.value].volume }}"
"#;
    run(&place, body, &[]).exits(0);
    let tags = &place.world().volumes["vol-db-main"].tags;
    assert!(tags.contains_key("k0") && !tags.contains_key("k5"), "{tags:?}");
    assert_eq!(place.show(1)["leftovers"].as_array().map(Vec::len), Some(1));
}

/// A copied store has the same identity, and its next operation the same number.
#[test]
fn the_operations_of_a_copied_store_are_others() {
    let place = Place::new();
    let volume = |size: u32| {
        format!(
            "schema = 1\n[operation]\nname = \"make\"\n[[steps]]\nid = \"make\"\n\
             uses = \"ebs/create-volume\"\nwith = {{ zone = \"us-east-1a\", size_gib = {size} }}\n"
        )
    };
    let (first, second) =
        (place.write("first.toml", volume(5)), place.write("second.toml", volume(7)));
    place.untouched();
    let (state, copy) = (place.path("state"), place.path("copy"));
    let copied = std::process::Command::new("cp").arg("-r").args([&state, &copy]).status();
    assert!(copied.expect("cp can be run").success());
    std::fs::remove_dir_all(copy.join("worlds")).expect("a copy");
    std::os::unix::fs::symlink(state.join("worlds"), copy.join("worlds")).expect("one world");
    place.run(&["run", &first]).exits(0);
    let copy = copy.display().to_string();
    place.run(&["run", &second, "--state", &copy]).exits(0);
    let sizes: Vec<u32> = place.world().volumes.values().map(|one| one.size_gib).collect();
    assert!(sizes.contains(&5) && sizes.contains(&7), "one of them is lost: {sizes:?}");
}

/// Whoever closed the pipe, or filled the disk, does not want the operation to end in its middle.
#[test]
fn a_line_that_nobody_takes_ends_nothing() {
    let place = Place::new();
    let flagship = crate::harness::operation("redeploy-database");
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").expect("there is one");
    let mut command = place.command(&["run", &flagship]);
    let status = command.stdout(full()).stderr(full()).status().expect("it runs");
    assert_eq!(status.code(), Some(0));
    assert_eq!(place.show(1)["status"], "succeeded");
}

/// Half a list is not what was asked for, and a script that goes on with it must be able to tell.
#[test]
fn what_could_not_be_printed_is_told() {
    let place = Place::new();
    place.run(&["run", &crate::harness::operation("backup-database")]).exits(0);
    for arguments in [&["list"][..], &["show", "1", "--json"], &["schema", "manifest"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("there is one");
        let ran = place.command(arguments).stdout(full).output().expect("it runs");
        assert_eq!(ran.status.code(), Some(1), "{arguments:?}");
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(said.contains("could not be written"), "{said}");
    }
}

/// The terminal is gone, and nobody asked for anything.
#[test]
fn a_terminal_that_goes_away_ends_nothing() {
    let place = Place::new();
    let text = "schema = 1\n[operation]\nname = \"s\"\n[[steps]]\nid = \"sleep\"\n\
                uses = \"core/sleep\"\nwith = { duration = \"2s\" }\n";
    let manifest = place.write("sleep.toml", text);
    let mut running = place.start(&["run", &manifest]);
    running.wait_for("clock.sleep");
    running.signal("HUP");
    running.ends().exits(0);
}

/// Names are data: none of them does anything to the terminal, or looks like the program's words.
#[test]
fn names_do_nothing_to_the_terminal() {
    let place = Place::new();
    let body = r#"
[[steps]]
id = "tag"
uses = "ebs/tag-volume"
for_each = "['\u001b[31mred', 'a\nverified against the world: restored']"
with = { volume = "vol-db-main", key = "k", value = "yes" }
"#;
    let text = format!("schema = 1\n[operation]\nname = \"edge\"\n{body}");
    let path = place.write("edge.toml", text);
    let ran = place.run(&["run", &path]).exits(0);
    for said in [&ran.stderr, &ran.stdout, &place.run(&["show", "1"]).stdout] {
        assert!(!said.contains('\u{1b}'), "{said:?}");
        assert!(!said.lines().any(|line| line.starts_with("verified")), "{said}");
    }
}

/// What may have happened is not made to happen again.
#[test]
fn a_command_of_which_nobody_knows_is_not_run_again() {
    let place = Place::new();
    let body = r#"
[[steps]]
id = "exec"
uses = "docker/exec"
irreversible = "a command"
timeout = "2s"
retry = { attempts = 3, backoff = "100ms..200ms" }
with = { host = "i-db-1", container = "main", command = ["true"] }
"#;
    let ran = run(&place, body, &["--inject", "docker.exec=hang"]);
    let is_exec = |line: &&Value| line["record"]["event"] == "call-started";
    assert_eq!(ran.json_lines().iter().filter(is_exec).count(), 1, "{}", ran.stderr);
    ran.says("can't be known").says("took longer than its timeout");
}

/// What an undo that failed left is not excused by what was declared.
#[test]
fn what_was_declared_excuses_only_itself() {
    let place = Place::new();
    let body = r#"
[[steps]]
id = "term"
uses = "ec2/terminate-instance"
irreversible = "it is old"
with = { instance = "i-db-1" }
[[steps]]
id = "attach"
uses = "ebs/attach-volume"
with = { volume = "vol-db-main", instance = "i-db-2" }
[[steps]]
id = "tag"
uses = "ebs/tag-volume"
with = { volume = "vol-db-main", key = "a", value = "b" }
"#;
    let faults = ["--inject", "ebs.tag=refuse", "--inject", "undo:ebs.detach=refuse"];
    run(&place, body, &faults).exits(5).says("vol-db-main");
    place.run(&["rollback", "1"]).exits(4);
}

/// An environment's name is a directory's, too, and leads nowhere else.
#[test]
fn an_environments_name_leads_nowhere_else() {
    for name in ["../../elsewhere", "", "x/../a", ".hidden"] {
        let place = Place::new();
        let config = format!("[environments.\"{name}\"]\nprovider = \"simulated\"\n");
        let config = place.write("stepback.toml", config);
        place
            .run(&["env", "list", "--config", &config])
            .exits(2)
            .says("no name for an environment");
    }
}

#[test]
fn each_command_has_a_page_of_the_manual() {
    let place = Place::new();
    let dir = place.path("man");
    let into = dir.display().to_string();
    place.run(&["manual", &into]).exits(2).says("give a directory that is there");
    std::fs::create_dir(&dir).expect("a directory");
    place.run(&["manual", &into]).exits(0);
    for page in ["stepback.1", "stepback-run.1", "stepback-unlock.1"] {
        let text = std::fs::read_to_string(dir.join(page)).expect("a page");
        assert!(text.contains(".TH "), "{page}: {text}");
    }
}
