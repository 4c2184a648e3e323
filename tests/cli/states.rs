//! `docs/states.md`: what every command does in every state. Each cell of its table is tried.

use crate::harness::{Place, Running, root};
use std::collections::BTreeSet;
use stepback_core::state::Status;

/// A step to take back, a pause, one that can be made to fail; then the same after the commit.
const MANIFEST: &str = r#"
schema = 1
[operation]
name = "states"
locks = ["states"]
[inputs]
volume = { type = "string", default = "vol-db-main" }
pause = { type = "string", default = "1ms" }
pause_after = { type = "string", default = "1ms" }
password = { type = "secret" }
[[steps]]
id = "tag"
uses = "ebs/tag-volume"
with = { volume = "{{ inputs.volume }}", key = "state", value = "begun" }
[[steps]]
id = "pause"
uses = "core/sleep"
needs = ["tag"]
with = { duration = "{{ inputs.pause }}" }
[[steps]]
id = "snapshot"
uses = "ebs/create-snapshot"
needs = ["pause"]
with = { volume = "vol-db-main" }
[[steps]]
id = "after"
uses = "docker/create-container"
phase = "cleanup"
[steps.with]
host = "i-db-1"
container = "app"
image = "postgres:16"
env = { PASSWORD = "{{ inputs.password }}" }
[[steps]]
id = "rest"
uses = "core/sleep"
phase = "cleanup"
needs = ["after"]
with = { duration = "{{ inputs.pause_after }}" }
"#;

/// The operation in one state; who runs one is killed in the end.
struct Stand {
    place: Place,
    id: u64,
    runners: Vec<Running>,
}

impl Stand {
    fn new() -> Self {
        let place = Place::new();
        place.write("states.toml", MANIFEST);
        place.write("password", "correct horse");
        Self { place, id: 1, runners: vec![] }
    }

    fn arguments<'a>(rest: &[&'a str]) -> Vec<&'a str> {
        [&["run", "states.toml", "-i", "password=file:password"], rest].concat()
    }

    fn ran(self, rest: &[&str], code: Option<i32>) -> Self {
        let ran = self.place.run(&Self::arguments(rest));
        assert_eq!(ran.code, code, "{rest:?}: {}", ran.stderr);
        self
    }

    fn runs(mut self, rest: &[&str], says: &str) -> Self {
        let name = format!("runner-{}", self.runners.len());
        let mut runner = self.place.start_as(&name, &Self::arguments(rest));
        runner.wait_for(says);
        self.runners.push(runner);
        self
    }

    fn killed(mut self) -> Self {
        for runner in self.runners.drain(..) {
            runner.signal("KILL");
            runner.ends();
        }
        self
    }

    /// In line behind another operation.
    fn queued() -> Self {
        let first = Self::new().runs(&["-i", "pause=1h"], "pause  ");
        Self { id: 2, ..first.runs(&[], "waits in line") }
    }

    fn queued_and_left() -> Self {
        let stand = Self::queued().killed();
        stand.place.run(&["unlock", "1", "--reason", "it is in the way"]).exits(0);
        stand
    }

    fn without_secret(self) -> Self {
        std::fs::remove_file(self.place.path("password")).expect("it was there");
        self
    }

    fn unreadable(self) -> Self {
        let journal = rusqlite::Connection::open(self.place.path("state/journal.db"));
        let set = "UPDATE events SET record = replace(record, 'step-started', 'step-sterted')";
        let changed = journal.expect("the store").execute(set, []).expect("it can be written");
        assert!(changed > 0);
        self
    }

    fn status(&self) -> String {
        let all = self.place.run(&["list", "--json"]).exits(0).json();
        let all = all.as_array().expect("a list").clone();
        let one = all.iter().find(|one| one["id"] == self.id).expect("it is listed");
        one["status"].as_str().expect("a status").to_owned()
    }
}

/// Bring an operation into the state of this name.
fn stand(state: &str) -> Stand {
    let incomplete =
        ["--inject", "ebs.create-snapshot=refuse", "--inject", "undo:ebs.untag=refuse"];
    let crash = |at: &'static str| ["--inject", at];
    let back =
        ["--inject", "ebs.create-snapshot=refuse", "--inject", "undo:ebs.untag=crash-before"];
    match state {
        "queued, run" => Stand::queued(),
        "queued, left" => Stand::queued_and_left(),
        "queued, left, and a secret is gone" => Stand::queued_and_left().without_secret(),
        "running, run" => Stand::new().runs(&["-i", "pause=1h"], "pause  "),
        "running, left" => Stand::new().ran(&crash("ebs.tag=crash-after"), None),
        "running, left, and a secret is gone" => stand("running, left").without_secret(),
        "running past the commit point, run" => {
            Stand::new().runs(&["-i", "pause_after=1h"], "rest  ")
        }
        "running past the commit point, left" => {
            Stand::new().ran(&crash("docker.create-container=crash-after"), None)
        }
        "running past the commit point, left, and a secret is gone" => {
            stand("running past the commit point, left").without_secret()
        }
        "rolling-back, run" => {
            let hangs =
                ["--inject", "ebs.create-snapshot=refuse", "--inject", "undo:ebs.untag=hang"];
            Stand::new().runs(&hangs, "undoing")
        }
        "rolling-back, left" => Stand::new().ran(&back, None),
        "rolling-back, left, and a secret is gone" => stand("rolling-back, left").without_secret(),
        "rollback-failed" => Stand::new().ran(&incomplete, Some(5)),
        "rollback-failed, and a secret is gone" => stand("rollback-failed").without_secret(),
        "rollback-failed, accepted" => {
            let stand = stand("rollback-failed");
            stand.place.run(&["rollback", "1", "--accept", "it may stay"]).exits(0);
            stand
        }
        "refused" => Stand::new().ran(&["-i", "volume=vol-none"], Some(2)),
        "succeeded" => Stand::new().ran(&[], Some(0)),
        "rolled-back" => Stand::new().ran(&crash("ebs.create-snapshot=refuse"), Some(3)),
        "abandoned" => {
            let stand = stand("running, left");
            stand.place.run(&["unlock", "1", "--reason", "it can't be helped"]).exits(0);
            stand
        }
        "unreadable" => stand("running, left").unreadable(),
        other => panic!("nobody knows how to come to the state `{other}`"),
    }
}

/// What the table says of one command in one state.
#[derive(Debug, PartialEq, Eq)]
struct Cell {
    exit: i32,
    becomes: Option<String>,
}

impl Cell {
    fn parse(text: &str) -> Self {
        let (exit, becomes) = match text.split_once('→') {
            Some((exit, becomes)) => (exit, Some(becomes.trim().to_owned())),
            None => (text, None),
        };
        Self { exit: exit.trim().parse().expect("an exit code"), becomes }
    }
}

struct Row {
    state: String,
    cells: Vec<Cell>,
}

fn commands(id: &str) -> [Vec<&str>; 5] {
    [
        vec!["resume", id],
        vec!["cancel", id],
        vec!["rollback", id],
        vec!["rollback", id, "--accept", "it may stay"],
        vec!["unlock", id, "--reason", "it can't be helped"],
    ]
}

fn table() -> Vec<Row> {
    let text = std::fs::read_to_string(root().join("docs/states.md")).expect("the table");
    let rows = text.lines().filter(|line| line.starts_with("| ")).skip(2);
    let row = |line: &str| {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let state = cells.next().expect("a state").to_owned();
        Row { state, cells: cells.map(Cell::parse).collect() }
    };
    rows.map(row).collect()
}

fn try_cell(row: &Row, nth: usize) {
    let (stand, cell) = (stand(&row.state), &row.cells[nth]);
    let before = stand.status();
    let id = stand.id.to_string();
    let command = &commands(&id)[nth];
    let ran = stand.place.run(command);
    let what = format!("{command:?} of what is {}: {}\n{}", row.state, ran.stdout, ran.stderr);
    assert_eq!(ran.code, Some(cell.exit), "{what}");
    if ran.code != Some(0) {
        let told = ran.stderr.contains("error") || ran.stdout.contains("verdict");
        assert!(told, "it says why: {what}");
    }
    let wanted = cell.becomes.as_ref().unwrap_or(&before);
    // What was asked of a runner takes it a moment; no assertion rests on how long.
    for _ in 0..600 {
        if stand.status() == *wanted {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(stand.status(), *wanted, "{what}");
    let is_over =
        |status: &str| !["queued", "running", "rolling-back", "unfinished"].contains(&status);
    if cell.becomes.as_deref().is_some_and(is_over) {
        let locks = stand.place.run(&["locks", "--json"]).exits(0).json();
        let held =
            locks.as_array().expect("a list").iter().any(|lock| lock["operation"] == stand.id);
        assert!(!held, "its locks are released: {what}");
    }
    stand.killed();
}

/// What comes of every command in these states.
fn try_rows(nth_of: usize, of: usize) {
    for (nth, row) in table().iter().enumerate() {
        assert_eq!(row.cells.len(), 5, "{}: a cell a command", row.state);
        for command in 0..row.cells.len() {
            if (nth * row.cells.len() + command) % of == nth_of {
                try_cell(row, command);
            }
        }
    }
}

#[test]
fn each_command_does_in_each_state_what_the_table_says_1() {
    try_rows(0, 2);
}

#[test]
fn each_command_does_in_each_state_what_the_table_says_2() {
    try_rows(1, 2);
}

#[test]
fn no_state_is_left_out_and_none_is_without_a_way_out() {
    let rows = table();
    let states: BTreeSet<&str> =
        rows.iter().map(|row| row.state.split([',', ' ']).next().expect("a word")).collect();
    for status in Status::ALL {
        let word = serde_json::to_value(status).expect("a word");
        assert!(states.contains(word.as_str().expect("a word")), "{word} has no row");
    }
    for row in &rows {
        let is_over = ["refused", "succeeded", "rolled-back", "abandoned"]
            .contains(&row.state.as_str())
            || row.state == "rollback-failed, accepted";
        // Whoever runs it ends it, or is asked to.
        let is_run = row.state.ends_with("run");
        let ends = row.cells.iter().any(|cell| cell.becomes.is_some());
        assert!(is_over || is_run || ends, "`{}` has no way out", row.state);
    }
}

/// What can't be read is named with the locks that it holds, until it is given up.
#[test]
fn an_unreadable_operation_is_told_as_it_is() {
    let stand = stand("unreadable");
    let place = &stand.place;
    let listed = || place.run(&["list", "--json"]).exits(0).json()[0].clone();
    assert_eq!(
        (&listed()["status"], &listed()["locks"][0]),
        (&"unreadable".into(), &"states".into())
    );
    // Its first event can be read.
    assert_eq!((&listed()["name"], &listed()["simulated"]), (&"states".into(), &true.into()));
    place.run(&["list", "--operation", "states"]).exits(0).says("unreadable");
    place.run(&["list", "--operation", "stats"]).exits(2).says("did you mean `states`?");
    place.run(&["show", "1"]).exits(2).says("stepback unlock 1");
    // It keeps nobody from beginning who has other locks.
    place.run_shipped("restart-app", &[]).exits(0);
    let listed = || place.run(&["list", "--json"]).exits(0).json()[1].clone();
    let told = place.run(&["unlock", "1", "--reason", "lost", "--json"]).exits(0).json();
    assert_eq!(told["status"], "abandoned");
    assert_eq!(
        (&listed()["status"], &listed()["locks"]),
        (&told["status"], &serde_json::json!([]))
    );
    place.run(&["show", "1"]).exits(2).says("it was given up").lacks("stepback unlock 1");
}
