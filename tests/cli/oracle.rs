//! A plugin that is given no secret must not be told whether a text that it thought up is one, or
//! the beginning of one: it would read it letter by letter.

use crate::narrowed::{Granted, inline};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::{Value, json};

const VALUE: &str = "postgres://app:Zq9-secretVal@db/x";

/// What comes of a step that asks for this volume, beside another step that has the secret.
fn told(volume: &str, place: &str, verb: &str) -> String {
    let granted = Granted::new("\"ebs\", \"ec2\", { docker = \"root\" }", "");
    granted.0.write("pw", VALUE);
    let call = inline(&json!([{ "call": "describe", "volume": volume }]));
    let with = match place {
        "run" => format!("{{ run = {call} }}"),
        _ => format!("{{ run = [], check = {call} }}"),
    };
    let manifest = granted.0.write(
        "op.toml",
        format!(
            "schema = 1\n[operation]\nname = \"guess\"\n[inputs]\npw = {{ type = \"secret\" }}\n\
             [[steps]]\nid = \"guess\"\nuses = \"a/attack\"\nwith = {with}\n[[steps]]\n\
             id = \"has\"\nneeds = [\"guess\"]\nuses = \"docker/create-container\"\n\
             with = {{ host = \"i-db-1\", container = \"new\", image = \"postgres:16\", \
             env = {{ PW = \"{{{{ inputs.pw }}}}\" }} }}\n"
        ),
    );
    let ran = granted.0.run(&[verb, &manifest, "-i", "pw=file:pw"]);
    assert_ne!(ran.code, Some(0), "{}", ran.stderr);
    let shown = granted.0.run(&["show", "1", "--json"]);
    let logs = granted.0.run(&["logs", "1"]);
    let all = [ran.stdout, ran.stderr, shown.stdout, logs.stdout].concat();
    assert!(!all.contains("secret:pw<") && !all.contains("secret:pw>"), "{all}");
    all
}

/// No mark is in a text: neither that of a part nor that of a piece.
#[track_caller]
fn tells_nothing(all: &str) {
    for name in ["secret:pw", "secret pw"] {
        let is_mark = |rest: &str| rest.starts_with(['<', '#']) || rest.starts_with(">1");
        assert!(!all.split(name).skip(1).any(is_mark), "{all}");
    }
}

#[test]
fn whoever_guesses_a_secret_is_not_told_that_it_is_right() {
    let (begins, ends) = (&VALUE[..16], &VALUE[VALUE.len() - 12..]);
    let long = "x".repeat(1_100);
    let mut guesses = vec![
        format!("{begins}…"),
        format!("{begins}\u{fffd}"),
        format!("…{ends}"),
        "postgres://app:B…".to_owned(),
        // What is long may have been cut by whoever wrote it.
        format!("{long}{begins}"),
        format!("{ends}{long}"),
    ];
    // Its base64 is broken into lines anywhere, each of which begins or ends with some of it.
    guesses.extend((7..VALUE.len() - 1).step_by(5).flat_map(|end| {
        let beginning = STANDARD_NO_PAD.encode(&VALUE[..end]);
        let after = STANDARD_NO_PAD.encode(format!("x{}", &VALUE[..end]));
        [beginning, after, STANDARD_NO_PAD.encode(&VALUE[end - 6..])]
    }));
    for guess in &guesses {
        for (place, verb) in [("run", "run"), ("check", "plan")] {
            let all = told(guess, place, verb);
            tells_nothing(&all);
            let written = guess.trim_matches(['…', '\u{fffd}']);
            assert!(all.contains(&written[..8]), "as it was written: {all}");
        }
    }
}

/// The same by what the world says back: a guess is written there, and read.
#[test]
fn what_was_written_into_the_world_comes_back_as_it_was_written() {
    let (right, wrong) = (&VALUE[..20], "postgres://app:Zq9-t");
    let long = "x".repeat(1_100);
    for guess in [right, wrong] {
        let tag = format!("{guess}…");
        let option = format!("{long}{guess}");
        for calls in [
            json!([{ "call": "exec", "host": "i-db-1", "container": "main",
                     "command": ["echo", format!("{guess}…"), format!("{long}{guess}")] }]),
            json!([{ "call": "tag", "volume": "vol-db-main", "key": "k", "value": tag },
                   { "call": "find", "tags": { "k": tag } }]),
            json!([{ "call": "volume", "host": "i-db-1", "volume": "vv",
                     "options": { "o": option } },
                   { "call": "volume", "host": "i-db-1", "volume": "vv",
                     "options": { "o": option } }]),
        ] {
            let granted = Granted::new("\"ebs\", \"ec2\", { docker = \"root\" }", "");
            granted.0.write("pw", VALUE);
            let manifest = granted.0.write(
                "op.toml",
                format!(
                    "schema = 1\n[operation]\nname = \"guess\"\n[inputs]\n\
                     pw = {{ type = \"secret\" }}\n[[steps]]\nid = \"guess\"\n\
                     uses = \"a/attack-for-good\"\nirreversible = \"a test\"\n\
                     with = {{ run = {} }}\n[[steps]]\nid = \"has\"\n\
                     uses = \"docker/create-container\"\n\
                     with = {{ host = \"i-db-1\", container = \"new\", \
                     image = \"postgres:16\", env = {{ PW = \"{{{{ inputs.pw }}}}\" }} }}\n",
                    inline(&calls)
                ),
            );
            let ran = granted.0.run(&["run", &manifest, "-i", "pw=file:pw"]);
            let shown = granted.0.run(&["show", "1", "--json"]);
            let of_steps = shown.json()["steps"].to_string();
            tells_nothing(&of_steps);
            assert_eq!(ran.code, Some(0), "{} {}", ran.stderr, of_steps);
        }
    }
}

/// An operation without secrets writes the guess, and one that has them reads it.
#[test]
fn what_another_operation_wrote_is_no_piece_of_a_secret() {
    let granted = Granted::new("\"ebs\", \"ec2\", { docker = \"root\" }", "");
    granted.0.write("pw", VALUE);
    let tag = format!("{}…", &VALUE[..16]);
    let written = json!([{ "call": "tag", "volume": "vol-db-main", "key": "k", "value": tag }]);
    let manifest = granted.manifest(&[written], false);
    granted.0.run(&["run", &manifest]).exits(0);
    let manifest = granted.0.write(
        "reads.toml",
        "schema = 1\n[operation]\nname = \"reads\"\n[inputs]\npw = { type = \"secret\" }\n\
         [[steps]]\nid = \"look\"\nuses = \"ebs/describe-volume\"\n\
         with = { volume = \"vol-db-main\" }\n[[steps]]\nid = \"has\"\n\
         uses = \"docker/create-container\"\nwith = { host = \"i-db-1\", container = \"new\", \
         image = \"postgres:16\", env = { PW = \"{{ inputs.pw }}\" } }\n",
    );
    granted.0.run(&["run", &manifest, "-i", "pw=file:pw"]).exits(0);
    let found = granted.0.show(2)["steps"][0]["output"]["tags"]["k"].clone();
    assert_eq!(found, json!(tag));
}

/// Nor by the name of an image, which is never run.
#[test]
fn an_image_that_nobody_has_tells_nothing() {
    let granted = Granted::new("\"ebs\", \"ec2\", { docker = \"root\" }", "");
    granted.0.write("pw", VALUE);
    for guess in [STANDARD_NO_PAD.encode(&VALUE[..24]), format!("{}…", &VALUE[..20])] {
        let calls = json!([{ "call": "run-once", "host": "i-db-1", "image": guess,
                             "command": ["true"] }]);
        let manifest = granted.0.write(
            "op.toml",
            format!(
                "schema = 1\n[operation]\nname = \"guess\"\n[inputs]\n\
                 pw = {{ type = \"secret\" }}\n[[steps]]\nid = \"guess\"\n\
                 uses = \"a/attack-for-good\"\nirreversible = \"a test\"\n\
                 with = {{ run = {} }}\n[[steps]]\nid = \"has\"\n\
                 uses = \"docker/create-container\"\n\
                 with = {{ host = \"i-db-1\", container = \"new\", \
                 image = \"postgres:16\", env = {{ PW = \"{{{{ inputs.pw }}}}\" }} }}\n",
                inline(&calls)
            ),
        );
        let planned = granted.0.run(&["plan", &manifest, "-i", "pw=file:pw"]).exits(0);
        tells_nothing(&[planned.stdout, planned.stderr].concat());
    }
}

/// Nor by a failure that names what somebody called so, nor by the advice of a rollback.
#[test]
fn what_is_called_like_a_guess_tells_nothing_where_it_is_named() {
    let guess = format!("x{}", STANDARD_NO_PAD.encode(&VALUE[..18]));
    let on = |call: &str, more: Value| {
        let mut all = json!({ "call": call, "host": "i-db-1" });
        let more = more.as_object().expect("an object").clone();
        all.as_object_mut().expect("an object").extend(more);
        all
    };
    let in_use = [
        on("volume", json!({ "volume": "dv", "options": {} })),
        on("container", json!({ "container": "c0", "image": "postgres:16", "volume": "dv" })),
        on("rename", json!({ "container": "c0", "to": guess })),
    ];
    let tag = |key: &str| {
        json!({ "call": "tag", "volume": "vol-db-main", "key": key,
                                  "value": "v" })
    };
    let steps = [
        format!(
            "uses = \"a/attack\"\nwith = {{ run = {} }}\n[[steps]]\nid = \"rm\"\n\
             uses = \"docker/remove-volume\"\nirreversible = \"a test\"\n\
             with = {{ host = \"i-db-1\", volume = \"dv\", plain = true }}",
            inline(&json!(in_use))
        ),
        format!(
            "uses = \"a/attack\"\nwith = {{ run = {}, undo = {} }}",
            inline(&json!([tag("k"), { "call": "fail" }])),
            inline(&json!([tag(&guess), tag(&format!("{}…", &VALUE[..20]))]))
        ),
    ];
    for step in steps {
        let granted = Granted::new("\"ebs\", \"ec2\", { docker = \"root\" }", "");
        granted.0.write("pw", VALUE);
        let manifest = granted.0.write(
            "op.toml",
            format!(
                "schema = 1\n[operation]\nname = \"guess\"\n[inputs]\n\
                 pw = {{ type = \"secret\" }}\n[[steps]]\nid = \"guess\"\n{step}\n\
                 [[steps]]\nid = \"has\"\nuses = \"docker/create-container\"\n\
                 with = {{ host = \"i-db-1\", container = \"new\", \
                 image = \"postgres:16\", env = {{ PW = \"{{{{ inputs.pw }}}}\" }} }}\n"
            ),
        );
        let ran = granted.0.run(&["run", &manifest, "-i", "pw=file:pw"]);
        let shown = granted.0.run(&["show", "1", "--json"]).exits(0);
        let all = [ran.stdout, ran.stderr, shown.stdout].concat();
        assert!(all.contains(&guess), "it is named: {all}");
        tells_nothing(&all);
    }
}

/// A command that never ran printed nothing: what keeps it from that names what others called so.
#[test]
fn a_command_that_can_not_start_tells_nothing() {
    let short_line = "PIN4";
    let value = format!("{VALUE}\n{short_line}\nmore of it");
    for guess in [format!("{}…", &VALUE[..17]), short_line.to_owned()] {
        let granted = Granted::new("\"ebs\", \"ec2\", { docker = \"root\" }", "");
        granted.0.write("pw", &value);
        let options = json!({ "type": "ext4", "device": format!("/dev/{guess}") });
        let volume =
            json!([{ "call": "volume", "host": "i-db-1", "volume": "vv", "options": options }]);
        let manifest = granted.0.write(
            "op.toml",
            format!(
                "schema = 1\n[operation]\nname = \"guess\"\n[inputs]\n\
                 pw = {{ type = \"secret\" }}\n[[steps]]\nid = \"guess\"\n\
                 uses = \"a/attack\"\nwith = {{ run = {} }}\n[[steps]]\nid = \"runs\"\n\
                 uses = \"docker/run-once\"\nirreversible = \"a test\"\n\
                 with = {{ host = \"i-db-1\", image = \"postgres:16\", command = [\"true\"], \
                 mounts = [{{ volume = \"vv\", target = \"/d\" }}] }}\n[[steps]]\n\
                 id = \"has\"\nuses = \"docker/create-container\"\n\
                 with = {{ host = \"i-db-1\", container = \"new\", image = \"postgres:16\", \
                 env = {{ PW = \"{{{{ inputs.pw }}}}\" }} }}\n",
                inline(&volume)
            ),
        );
        let ran = granted.0.run(&["run", &manifest, "-i", "pw=file:pw"]).exits(3);
        let shown = granted.0.run(&["show", "1", "--json"]).exits(0);
        let all = [ran.stdout, ran.stderr, shown.stdout].concat();
        assert!(all.contains(&format!("no such device /dev/{guess}")), "as it was written: {all}");
        tells_nothing(&all);
    }
}
