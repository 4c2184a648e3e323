//! What others wrote is shown, and does nothing: to the terminal, to a CI job, to a reader.

use crate::harness::{Place, Ran, component, operation};
use rusqlite::Connection;
use serde_json::Value;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;

/// All that must not come out: controls, marks that turn text around, what can't be seen, lines
/// of the program's own, a CI's commands, and a command to paste.
const BAD: &str = "bad\u{1b}[2J\u{9b}1m\u{7f}\r \u{202e}\u{2066}\u{200f}\u{61c}\u{200b}\u{2060}\
                   \u{feff}\u{2028}\u{2029} `stepback cancel 1`\n::error::forged\n\
                   \u{3000}::add-mask::a\n##[error]forged ##vso[task.complete]x\n\
                   operation 1 succeeded\nerror: forged";
/// The same of a tag, which must be short.
const BAD_TAG: &str = "bad\u{1b}[2J\u{202e}\u{200b}\n::error::forged\noperation 1 succeeded";
/// What people write.
const GOOD: &str = "déjà vu, e\u{301}, 東京, Ελλάδα, שלום, 🦀";

const GRANT: [&str; 2] = ["--grant", "t.wasm=ebs"];

/// The text in a basic string of TOML, or of JSON.
fn quoted(text: &str) -> String {
    let escaped = |c: char| match (c as u32, c.is_ascii_control() || !c.is_ascii()) {
        (code @ ..0x1_0000, true) => format!("\\u{code:04x}"),
        _ => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escaped).collect::<String>())
}

fn is_odd(c: char) -> bool {
    let is_turning = matches!(c, '\u{61c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let is_unseen = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}');
    c != '\n' && (c.is_control() || is_turning || is_unseen || matches!(c, '\u{2028}'..='\u{2029}'))
}

#[track_caller]
fn is_harmless(text: &str) {
    assert!(!text.contains(is_odd), "{}", text.escape_debug());
    for line in text.split('\n') {
        let begins = |with: &str| line.starts_with(with);
        let is_ours = begins("operation 1 succeeded") || begins("error: forged");
        let is_command = line.trim_start().starts_with("::") || line.contains("##[");
        assert!(!is_ours && !is_command && !line.contains("##vso["), "{line:?} in\n{text}");
    }
}

impl Ran {
    /// Nothing of what others wrote does anything, on either stream.
    #[track_caller]
    fn does_nothing(self) -> Self {
        is_harmless(&self.stdout);
        is_harmless(&self.stderr);
        self.lacks("\\u0002")
    }
}

/// A place with the plugin of the tests, and an operation whose last step fails in these words.
fn failing(message: &str, steps: &str) -> (Place, String) {
    let place = Place::new();
    place.untouched();
    std::fs::copy(component("testing"), place.path("t.wasm")).expect("the build made it");
    let text = format!(
        "schema = 1\n[operation]\nname = \"fails\"\ntitle = {}\n{steps}\n[[steps]]\nid = \"fail\"\n\
         uses = \"./t.wasm#fail\"\nwith = {{ message = {} }}\n",
        quoted(message),
        quoted(message)
    );
    let path = place.write("fails.toml", text);
    (place, path)
}

fn store(place: &Place) -> Connection {
    Connection::open(place.path("state/journal.db")).expect("the store")
}

#[test]
fn a_failure_forges_nothing() {
    let (place, path) = failing(&format!("{BAD} {GOOD}"), "");
    place.run(&["plan", &path, GRANT[0], GRANT[1]]).exits(0).does_nothing();
    place.run(&["run", &path, GRANT[0], GRANT[1]]).exits(3).does_nothing().says(GOOD);
    for arguments in [&["show", "1"][..], &["logs", "1"], &["list"], &["activity"]] {
        place.run(arguments).exits(0).does_nothing();
    }
    let csv = place.run(&["activity", "--format", "csv"]).exits(0).does_nothing().stdout;
    assert_eq!(csv.lines().count(), 2, "{csv}");
}

/// A script has the very text, and whoever only looks at it is as safe.
#[test]
fn json_is_exact_and_does_nothing() {
    let (place, path) = failing(BAD, "");
    let text = place.run(&["plan", &path, "--json", GRANT[0], GRANT[1]]).exits(0).does_nothing();
    assert_eq!(text.json()["title"], BAD);
    let ran = place.run(&["run", &path, "--json", GRANT[0], GRANT[1]]).exits(3).does_nothing();
    let given = ran
        .json_lines()
        .into_iter()
        .find_map(|line| line["record"]["with"]["message"].as_str().map(str::to_owned));
    assert_eq!(given.as_deref(), Some(BAD));
    place.run(&["show", "1", "--json"]).exits(0).does_nothing();
}

/// What a container printed, and whose doing it was, stand in the journal, which may be another's.
#[test]
fn a_journal_forges_nothing() {
    let (place, path) = failing("no", "");
    place.run(&["run", &path, GRANT[0], GRANT[1]]).exits(3);
    let line = format!("{{\"at\":1,\"step\":null,\"level\":{0},\"text\":{0}}}", quoted(BAD));
    let store = store(&place);
    let log = "INSERT INTO logs SELECT 1, coalesce(max(number), 0) + 1, ?1 FROM logs";
    store.execute(log, [line]).expect("a line");
    for path in ["$.event.actor", "$.event.manifest_name", "$.event.environment"] {
        let set = "UPDATE events SET record = json_set(record, ?1, ?2) WHERE seq = 1";
        store.execute(set, (path, BAD)).expect("it can be changed");
    }
    store.execute("UPDATE operations SET environment = ?1, manifest = ?1", [BAD]).expect("it");
    drop(store);
    for arguments in [&["logs", "1"][..], &["show", "1"], &["list"], &["activity"]] {
        place.run(arguments).exits(0).does_nothing();
    }
    let csv = place.run(&["activity", "--format", "csv"]).exits(0).does_nothing().stdout;
    assert_eq!(csv.lines().count(), 2, "{csv}");
    assert_eq!(place.show(1)["actor"], BAD);
}

/// A tag that an undo left, and a key of `for_each`, are names that somebody gave.
#[test]
fn names_of_things_forge_nothing() {
    let step = format!(
        "[[steps]]\nid = \"tag\"\nuses = \"./t.wasm#lying-undo\"\nfor_each = '[{0}]'\n\
         with = {{ volume = \"vol-db-main\", key = {0}, value = {0} }}\n",
        quoted(BAD_TAG)
    );
    let (place, path) = failing("no", &step);
    let ran = place.run(&["run", &path, GRANT[0], GRANT[1]]).exits(5).does_nothing();
    ran.says("not restored: ebs:volume/vol-db-main");
    for arguments in [&["show", "1"][..], &["logs", "1"]] {
        place.run(arguments).exits(0).does_nothing();
    }
    place.run(&["rollback", "1", "--accept", BAD]).exits(0).does_nothing();
    for arguments in [&["show", "1"][..], &["logs", "1"], &["list"]] {
        place.run(arguments).exits(0).does_nothing();
    }
}

/// What a person said of an operation that nobody runs is told in a list.
#[test]
fn a_reason_forges_nothing() {
    let tags = "[[steps]]\nid = \"tag\"\nuses = \"ebs/tag-volume\"\n\
                with = { volume = \"vol-db-main\", key = \"k\", value = \"v\" }\n";
    let (place, path) = failing("no", tags);
    let dies = ["run", &path, "--inject", "ebs.tag=crash-before", GRANT[0], GRANT[1]];
    assert_ne!(place.run(&dies).code, Some(3));
    store(&place)
        .execute(
            "INSERT INTO requests SELECT NULL, 1, ?1",
            [format!("{{\"request\":\"cancel\",\"actor\":\"ann\",\"reason\":{}}}", quoted(BAD))],
        )
        .expect("a request");
    let listed = place.run(&["list"]).exits(0).does_nothing();
    listed.says("unfinished").says("cancelled it");
}

/// Only what the program itself says to paste has the options that it needs.
#[test]
fn commands_of_others_are_theirs() {
    let (place, path) = failing("paste `stepback cancel 1` now", "");
    let state = place.path("state").display().to_string();
    let mut command = place.command(&["run", &path, "--state", &state, GRANT[0], GRANT[1]]);
    let ran = Ran::of(command.env_remove("STEPBACK_STATE")).exits(3);
    ran.says("paste `stepback cancel 1` now").lacks("`stepback --state");
    for verb in ["show", "logs"] {
        let mut command = place.command(&[verb, "1", "--state", &state]);
        Ran::of(command.env_remove("STEPBACK_STATE")).exits(0).lacks("`stepback --state");
    }
    let mut command = place.command(&["resume", "1", "--state", &state]);
    let ours = Ran::of(command.env_remove("STEPBACK_STATE")).exits(2);
    ours.says(&format!("`stepback --state {state} show 1`"));
}

/// A manifest's own text is drawn where it has a mistake, and its command line is repeated.
#[test]
fn mistakes_are_shown_and_do_nothing() {
    let place = Place::new();
    let unseen = "\u{202e}\u{61c}\u{200b}\u{2060}\u{2028}::error::x ##[error]x";
    let sources = [
        format!("schema = 1 # {unseen}\n# ::error::forged\nnope = {}\n", quoted(BAD)),
        format!("schema = 1\n[operation]\nname = {} # {GOOD}\n", quoted(BAD)),
        format!("schema = 1\n[operation]\nname = \"x\"\n{} = 1\n", quoted(BAD)),
        "schema = 1\n::error::forged\n".to_owned(),
    ];
    for source in sources {
        let path = place.write("bad.toml", source);
        for verb in ["validate", "plan"] {
            place.run(&[verb, &path]).exits(2).does_nothing();
        }
    }
    let backup = operation("backup-database");
    let of =
        |more: &[&str]| place.run(&[&["plan", &backup], more].concat()).exits(2).does_nothing();
    of(&["-i", BAD]);
    of(&["-e", BAD]);
    of(&["--inject", BAD]);
    of(&[BAD]);
    place.run(&[BAD]).exits(2).does_nothing();
    place.run(&["show", BAD]).exits(2).does_nothing();
    place.run(&["validate", BAD]).exits(2).does_nothing();
    place.run(&["--log-file", BAD, "--log-format", BAD]).exits(2).does_nothing();
}

/// What is told from inside is told in lines, too.
#[test]
fn a_log_from_inside_forges_nothing() {
    let (place, path) = failing(BAD, "");
    let mut command = place.command(&["run", &path, GRANT[0], GRANT[1]]);
    Ran::of(command.env("STEPBACK_LOG", "trace")).exits(3).does_nothing();
    let mut command = place.command(&["run", &path, "--log-format", "json", GRANT[0], GRANT[1]]);
    Ran::of(command.env("STEPBACK_LOG", "trace")).exits(3).does_nothing();
}

/// A table that is opened in a spreadsheet computes nothing (OWASP, *CSV Injection*).
#[test]
fn a_cell_is_no_formula() {
    let place = Place::new();
    let sleep = "[[steps]]\nid = \"a\"\nuses = \"core/sleep\"\nwith = { duration = \"1ms\" }\n";
    let text = format!("schema = 1\n[operation]\nname = \"f\"\n{sleep}");
    for name in ["=x.toml", "+x.toml", "@x.toml", "\tx.toml", "\rx.toml", "x=.toml"] {
        place.write(name, &text);
        place.run(&["run", name]).exits(0);
    }
    let minus = Value::String("-x.toml".to_owned());
    let set = "UPDATE events SET record = json_set(record, '$.event.manifest_name', ?1) \
               WHERE seq = 1 AND operation = 6";
    let last = place.show(6);
    assert_eq!(last["manifest"], "x=.toml");
    let csv = place.run(&["activity", "--format", "csv"]).exits(0).stdout;
    assert!(csv.contains(",x=.toml,"), "{csv}");
    store(&place).execute(set, [minus.as_str()]).expect("it can be changed");
    let csv = place.run(&["activity", "--format", "csv"]).exits(0).does_nothing().stdout;
    for wanted in ["'=x.toml", "'+x.toml", "'@x.toml", "'-x.toml", "'\\u0009x.toml", "'\\u000dx"] {
        assert!(csv.contains(&format!(",{wanted}")), "{wanted} is not in\n{csv}");
    }
}

/// Whose account it was is the system's word, in whatever words the name is; `sudo`'s counts for
/// root alone, whose children anybody else's are not.
#[test]
fn who_it_was_is_the_account() {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if !is_root {
        println!("SKIPPED: it takes root to be somebody else");
        return;
    }
    let backup = operation("backup-database");
    for (uid, sudo, wanted) in [
        (0, None, 0),
        (0, Some("1234"), 1234),
        (0, Some("ann"), 0),
        (65534, Some("0"), 65534),
        (65534, None, 65534),
    ] {
        if uid != 0 && !crate::files_owned::others_reach_it() {
            continue;
        }
        let place = Place::new();
        std::os::unix::fs::chown(place.path(""), Some(uid), Some(uid)).expect("it is root's");
        let run = |arguments: &[&str]| {
            let mut command = place.command(arguments);
            command.env("USER", "mallory").env("SUDO_USER", "mallory").env_remove("SUDO_UID");
            command.env("STEPBACK_CACHE", place.path("cache")).uid(uid).gid(uid);
            command.envs(sudo.map(|sudo| ("SUDO_UID", sudo)));
            Ran::of(&mut command)
        };
        run(&["run", &backup]).exits(0);
        let shown = run(&["show", "1", "--json"]).exits(0).lacks("mallory").json();
        assert_eq!(shown["actor_uid"], wanted, "{uid}, {sudo:?}: {shown}");
        let csv = run(&["activity", "--format", "csv"]).exits(0).stdout;
        assert!(
            csv.lines().nth(1).is_some_and(|row| row.ends_with(&format!(",{wanted}"))),
            "{csv}"
        );
        // A journal of before has a name alone.
        let old = "UPDATE events SET record = json_remove(record, '$.event.actor_uid')";
        store(&place).execute(old, []).expect("it can be changed");
        assert!(run(&["show", "1", "--json"]).exits(0).json()["actor_uid"].is_null());
    }
}
