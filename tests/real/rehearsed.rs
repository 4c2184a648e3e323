//! What a rehearsal tells in a copy of real parts is what happens to them: the journals are
//! compared, step by step.

use crate::parts::{TestCluster, are_possible, loops_below};
use crate::place::operation;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;

/// What a journal says that each step did, in its order: each question with its arguments and
/// whether it was answered, each effect with what became of it and which things it changed, and how
/// each attempt and each undo ended. Times and the facts of things are left out: how long a real
/// part takes is assumed in a rehearsal, and what it shows of itself is held against the simulator
/// by the conformance suite.
fn told(records: &[Value]) -> BTreeMap<String, Vec<String>> {
    let mut calls: BTreeMap<String, Value> = BTreeMap::new();
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for record in records {
        let event = &record["event"];
        let name = event["event"].as_str().expect("a name");
        let id = event["id"].to_string();
        // That a wait has begun is written of one that is not over at once.
        if name == "wait-begun" {
            continue;
        }
        if name == "call-started" {
            calls.insert(id.clone(), event["call"].clone());
        }
        let call = match &event["call"] {
            Value::Null => calls.get(&id).cloned().unwrap_or_default(),
            call => call.clone(),
        };
        let of = [&event["of"], &event["id"]["of"], event].map(|one| &one["step"]["step"]);
        let step = of.into_iter().find_map(Value::as_str).unwrap_or_default();
        let direction = [&event["of"], &event["id"]["of"]].map(|one| &one["direction"]);
        let direction = direction.into_iter().find_map(Value::as_str).unwrap_or_default();
        let what = match name {
            "call-answered" => json!([call, keys(&event["result"])]),
            "call-started" => json!([call]),
            "attempt-finished" | "undo-ended" => {
                json!([event["result"]["result"], event["result"]["detail"]["class"]])
            }
            _ if event.get("changes").is_some() => {
                let changes = event["changes"].as_array().into_iter().flatten();
                let things: Vec<_> = changes.map(|one| one["resource"].clone()).collect();
                json!([call["function"], event["outcome"]["outcome"], things])
            }
            "verified" => json!([event["verdict"], event["not_restored"]]),
            "finished" => json!(event["status"]),
            _ => Value::Null,
        };
        all.entry(format!("{step} {direction}")).or_default().push(format!("{name} {what}"));
    }
    all
}

/// Whether an answer is one or a failure, not which.
fn keys(result: &Value) -> Vec<&String> {
    result.as_object().into_iter().flat_map(|map| map.keys()).collect()
}

impl TestCluster {
    /// The journal of the case in which this goes wrong.
    fn rehearsed(&self, case: &str) -> BTreeMap<String, Vec<String>> {
        let (path, to) = (operation("redeploy-database"), "to_instance=i-b");
        let ran = self.run(&["rehearse", &path, "-i", to, "--case", case, "--json"]).exits(0);
        let (_, shown) = ran.said.split_once('{').expect("JSON");
        let shown: Value = serde_json::from_str(&format!("{{{shown}")).expect("JSON");
        told(shown["journal"].as_array().expect("a journal"))
    }

    /// The journal of an operation that ran.
    fn happened(&self, id: &str) -> BTreeMap<String, Vec<String>> {
        let path = self.path(".stepback/journal.db");
        let store = rusqlite::Connection::open(path).expect("a store");
        let mut asked = store
            .prepare("SELECT record FROM events WHERE operation = ?1 ORDER BY seq")
            .expect("a table of events");
        let rows = asked.query_map([id], |row| row.get::<_, String>(0)).expect("rows");
        let records: Vec<Value> =
            rows.map(|text| serde_json::from_str(&text.expect("a text")).expect("JSON")).collect();
        told(&records)
    }

    #[track_caller]
    fn is_as_rehearsed(&self, case: &str, rehearsed: &BTreeMap<String, Vec<String>>, id: &str) {
        let happened = self.happened(id);
        for (step, wanted) in rehearsed {
            assert_eq!(happened.get(step), Some(wanted), "{case}: `{step}`");
        }
        assert_eq!(happened.len(), rehearsed.len(), "{case}");
    }
}

#[test]
fn what_happens_is_what_was_rehearsed() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.provision();
    for case in [
        "docker.start-container#1=refuse",
        "docker.wait-healthy#1=refuse",
        "ebs.attach#1=lost",
        "docker.create-container#1=transient",
    ] {
        let rehearsed = parts.rehearsed(case);
        let ran = parts.redeploy("i-b", &["--inject", case]);
        parts.is_as_rehearsed(case, &rehearsed, ran.id());
        // Whatever became of it, the next one begins on i-a.
        if ran.code == Some(0) {
            parts.redeploy("i-a", &[]).exits(0);
        }
    }

    println!("nobody injects anything: somebody has the volume's device open");
    let rehearsed = parts.rehearsed("ebs.detach#1=refuse");
    let device = loops_below(&parts.path("")).remove(0);
    let open = File::open(&device).expect("it can be opened");
    let ran = parts.redeploy("i-b", &[]).exits(3).says("has it open");
    parts.is_as_rehearsed("a device that is open", &rehearsed, ran.id());
    drop(open);

    println!("nothing goes wrong");
    let rehearsed = parts.rehearsed("nothing");
    let ran = parts.redeploy("i-b", &[]).exits(0);
    parts.is_as_rehearsed("nothing", &rehearsed, ran.id());
}
