//! A plugin that is given no secret must not be told whether a text that it thought up is one, or
//! the beginning of one: it would read it letter by letter.

use crate::narrowed::{Granted, inline};
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

#[test]
fn whoever_guesses_a_secret_is_not_told_that_it_is_right() {
    let (begins, ends) = (&VALUE[..16], &VALUE[VALUE.len() - 12..]);
    let long = "x".repeat(1_100);
    let guesses = [
        (format!("{begins}…"), true),
        (format!("{begins}\u{fffd}"), true),
        (format!("…{ends}"), true),
        ("postgres://app:B…".to_owned(), true),
        // What is long may have been cut by whoever wrote it.
        (format!("{long}{begins}"), false),
        (format!("{ends}{long}"), false),
    ];
    for (guess, is_refused) in &guesses {
        for (place, verb) in [("run", "run"), ("check", "plan"), ("check", "run")] {
            let all = told(guess, place, verb);
            assert_eq!(all.contains("stand where a text was cut"), *is_refused, "{guess}: {all}");
            if !is_refused {
                assert!(all.contains(begins) || all.contains(ends), "as it was written: {all}");
            }
        }
    }
    // Without secrets all text is text.
    let granted = Granted::new("\"ebs\", \"ec2\", { docker = \"root\" }", "");
    let tag =
        json!([{ "call": "tag", "volume": "vol-db-main", "key": "k", "value": "and so on…" }]);
    let manifest = granted.manifest(&[tag as Value], false);
    granted.0.run(&["run", &manifest]).exits(0);
}
