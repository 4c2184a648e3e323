//! What the table says of each host function, in a file that people read: a change of one is seen.
//!
//! `BLESS=1 cargo test -p stepback-core --test functions` writes it anew.

use serde_json::{Value, json};
use stepback_core::calls::{Inverse, Reversal, Sinks, Undo};
use stepback_core::*;

/// Every argument that any function has; each takes its own of them.
fn call(function: &str) -> Call {
    let arguments = json!({
        "instance": "i-1", "tags": { "team": "data" }, "labels": { "app": "shop" },
        "image": "db:1", "instance_type": "t3.small",
        "zone": "a", "state": "running", "timeout_ms": 60_000, "key": "owner", "value": "ann",
        "volume": "vol-1", "size_gib": 8, "volume_type": "gp3", "snapshot": "snap-1",
        "device": "/dev/sdf", "description": "d", "host": "i-1", "container": "main",
        "spec": { "image": "db:1" }, "grace_ms": 30_000, "to": "old", "restart": "on-failure:0",
        "digest": "sha256:1", "tail_lines": 9, "command": ["true"], "options": {},
        "filesystem_type": "ext4", "effect": "e", "duration_ms": 5_000, "pool": "web", "port": 8080,
        "weight": 1, "floor": 2, "on_timeout": "go-on",
    });
    let written = json!({ "function": function, "arguments": arguments });
    serde_json::from_value(written).unwrap_or_else(|error| panic!("{function}: {error}"))
}

/// What takes it back where all was seen: the resource was there, and is.
fn taken_back(call: &Call, resource: &Resource) -> Vec<String> {
    let before = Facts::from_json(json!({
        "type": "t3.large", "tags": { "owner": "bob" }, "restart": "always", "running": true,
        "attachments": [{ "instance": "i-1", "device": "/dev/sdg" }], "digest": "sha256:0",
        "present": true, "enabled": true,
    }));
    let mut now = before.clone();
    if let Facts::Present(facts) = &mut now {
        for fact in ["present", "enabled"] {
            facts.insert(fact.to_owned(), false.into());
        }
    }
    let work = match call.entry().inverse {
        Inverse::None => return vec!["nothing".to_owned()],
        Inverse::OfDone(work) => ("done", work),
        Inverse::OfAny(work) => ("any", work),
    };
    let (kind, work) = work;
    let of = |is_done, is_unknown| {
        let others = vec![];
        let now = &now;
        let undo = Undo { resource, before: &before, now, is_done, is_unknown, others };
        match work(&undo) {
            Reversal::Calls(calls) => {
                let calls = calls.iter().map(|call| serde_json::to_value(call).expect("JSON"));
                Value::from_iter(calls).to_string()
            }
            other => format!("{other:?}"),
        }
    };
    match kind {
        "any" => vec![
            format!("if done {}", of(true, false)),
            format!("if not {}", of(false, false)),
            format!("if unknown {}", of(false, true)),
        ],
        _ => vec![format!("if done {}", of(true, false))],
    }
}

/// What it made, by the name that it has by then.
fn named(resource: Resource) -> Resource {
    match resource {
        Resource::Created { kind: ResourceKind::Volume, .. } => {
            Resource::Volume { id: "vol-new".into() }
        }
        Resource::Created { kind: ResourceKind::Snapshot, .. } => {
            Resource::Snapshot { id: "snap-new".into() }
        }
        Resource::Created { kind: ResourceKind::Instance, .. } => {
            Resource::Instance { id: "i-new".into() }
        }
        other => other,
    }
}

fn told(function: &str) -> String {
    let (call, token) = (call(function), Token("abc".into()));
    let entry = call.entry();
    let list = |all: Vec<String>| all.join(", ");
    let mut lines = vec![format!("{function}: {:?} of {}", entry.class, call.interface())];
    let mut add = |name: &str, what: String| {
        if !what.is_empty() {
            lines.push(format!("  {name}: {what}"));
        }
    };
    let touched = call.resources(&token);
    add("settled by", entry.settle.map(|mode| format!("{mode:?}")).unwrap_or_default());
    add("touches", list(touched.iter().map(ToString::to_string).collect()));
    add("changes", list(call.areas(&token).iter().map(ToString::to_string).collect()));
    add("sets", call.leaves().map(|fact| format!("{fact:?}")).unwrap_or_default());
    add("shares", call.shares().map(|area| area.to_string()).unwrap_or_default());
    add("before", call.before().map(|area| area.to_string()).unwrap_or_default());
    add("beside", entry.beside.as_ref().map(|beside| format!("{beside:?}")).unwrap_or_default());
    add("engine of", entry.host.map(ToString::to_string).unwrap_or_default());
    add("writes tags", list(entry.tags.keys().into_iter().map(str::to_owned).collect()));
    if call.own_ms() > 0 {
        let rest = call.clone().after_waiting(58_000).own_ms();
        add("takes", format!("{} ms; after 58 s {rest} ms", call.own_ms()));
    }
    if entry.sinks != Sinks::None {
        add("takes secrets in", format!("{:?}", entry.sinks));
    }
    if entry.leaves_behind {
        add("leaves behind", "by which it is settled".to_owned());
    }
    if let Some(main) = touched.into_iter().next() {
        for line in taken_back(&call, &named(main)) {
            add("taken back", line);
        }
    }
    lines.join("\n")
}

/// What the SDK says of its functions, by which its scripted world is as strict as the host.
fn told_by_sdk() -> Vec<(String, String)> {
    let host = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/sdk/src/host.rs");
    let text = std::fs::read_to_string(host).expect("the SDK");
    let mut told = vec![];
    for block in text.split("    functions! {").skip(1) {
        let interface = block.split('"').nth(1).expect("its interface");
        for line in block.lines().map(str::trim) {
            let mut words = line.split_whitespace();
            if let (Some(does), Some(_), Some(name)) = (words.next(), words.next(), words.next())
                && ["Read", "Wait", "Effect", "Reverse"].contains(&does)
            {
                let name = name.split('"').nth(1).expect("its name");
                told.push((format!("{interface}.{name}"), does.to_owned()));
            }
        }
    }
    told
}

#[test]
fn the_sdk_says_what_the_table_says() {
    let mut sdk = told_by_sdk();
    let mut table: Vec<(String, String)> = Call::functions()
        .map(|function| {
            let does = match call(function).class() {
                // It changes nothing by itself, and is for undos only.
                _ if function == "effects.reverse" => "Reverse",
                Class::Read => "Read",
                Class::Wait => "Wait",
                Class::Effect | Class::Irreversible => "Effect",
            };
            (function.to_owned(), does.to_owned())
        })
        .collect();
    sdk.sort();
    table.sort();
    assert_eq!(sdk, table);
}

#[test]
fn the_table_says_what_people_have_read() {
    let now: Vec<String> = Call::functions().map(told).collect();
    let now = now.join("\n") + "\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/functions.txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &now).expect("it can be written");
    }
    let read = std::fs::read_to_string(path).expect("the table is kept");
    for (now, read) in now.lines().zip(read.lines()) {
        assert_eq!(now, read, "`BLESS=1` writes {path} anew");
    }
    assert_eq!(now.lines().count(), read.lines().count(), "`BLESS=1` writes {path} anew");
}
