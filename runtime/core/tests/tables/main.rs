//! Tables of the core's small functions: expressions, inputs, durations, reversal.

mod reversals;

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use stepback_core::diagnostic::nearest;
use stepback_core::expr::{self, Scope};
use stepback_core::inputs::{self, Given};
use stepback_core::manifest::{self, duration_ms};
use stepback_core::state::BegunWait;
use stepback_core::*;

fn scope() -> Scope {
    Scope {
        inputs: BTreeMap::from([
            ("name".to_owned(), json!("main")),
            ("size".to_owned(), json!(20)),
            ("hosts".to_owned(), json!(["a", "b"])),
        ]),
        steps: BTreeMap::from([
            ("find-volume".into(), json!({ "id": "vol-1", "zone": "us-east-1a", "device": null })),
            ("skipped".into(), Value::Null),
        ]),
        each: Some(("k".into(), json!({ "port": 1 }))),
        operation: json!({ "id": 7 }),
        environment: json!({ "name": "local" }),
    }
}

#[test]
fn expressions_keep_their_types_and_nothing_undefined_passes() {
    let table = [
        (json!("plain"), json!("plain")),
        (json!("{{ inputs.size }}"), json!(20)),
        (json!("{{ inputs.size }} GiB"), json!("20 GiB")),
        (json!("{{ inputs.size * 2 > 30 }}"), json!(true)),
        (json!("{{ inputs.hosts }}"), json!(["a", "b"])),
        (json!("{{ steps.find-volume.id }}"), json!("vol-1")),
        (json!("{{ steps.find-volume.device }}"), Value::Null),
        (json!("{{ steps.find-volume.id | replace('-', '') }}"), json!("vol1")),
        (json!("{{ steps['find-volume'].id }}"), json!("vol-1")),
        (json!("it's steps.find-volume: {{ steps.find-volume.id }}"), {
            json!("it's steps.find-volume: vol-1")
        }),
        (json!("{{ inputs.size - 5 }}"), json!(15)),
        (json!({ "a": ["{{ each.key }}", "{{ each.value.port }}"] }), json!({ "a": ["k", 1] })),
        (json!("{{ operation.id }}/{{ environment.name }}"), json!("7/local")),
    ];
    for (template, expected) in table {
        assert_eq!(expr::evaluate_value(&template, &scope()), Ok(expected), "{template}");
    }
    let endless = "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
    for template in
        [endless, "{{ inputs.nope }}", "{{ steps.find-volume.nope }}", "{{ 1 / 0 }}", "{{ x }}"]
    {
        let answer = expr::evaluate_value(&json!(template), &scope());
        assert!(answer.is_err(), "{template} gave {answer:?}");
    }
}

#[test]
fn a_template_is_bounded_before_it_is_read() {
    let long = format!("{{{{ {}1 }}}}", "not ".repeat(100_000));
    let error = expr::references(&json!(long)).expect_err("it is too long").to_string();
    assert!(error.contains("longer than 4096 bytes"), "{error}");
    // What is no template may be as long as it likes.
    let script = json!("echo; ".repeat(10_000));
    assert_eq!(expr::references(&script), Ok(BTreeSet::new()));
    assert!(expr::is_simple(&script));
}

#[test]
fn conditions_and_lists_are_what_they_say() {
    assert_eq!(expr::evaluate_bool("inputs.size > 10", &scope()), Ok(true));
    assert_eq!(expr::evaluate_bool("{{ inputs.size > 100 }}", &scope()), Ok(false));
    assert!(expr::evaluate_bool("inputs.name", &scope()).is_err(), "a string is no condition");

    let each = |text: &str| expr::evaluate_each(text, &scope());
    let keys = |text: &str| -> Vec<String> {
        each(text).expect("a list").into_iter().map(|(key, _)| key.0).collect()
    };
    assert_eq!(keys("inputs.hosts"), ["a", "b"]);
    assert_eq!(keys("range(3)"), ["0", "1", "2"]);
    assert_eq!(keys("{'x': 1, 'y': 2}"), ["x", "y"]);
    assert_eq!(keys("product(inputs.hosts, [1, 2])").len(), 4);
    assert!(each("['a', 'a']").is_err(), "two items of one key");
    assert!(each("range(2000)").is_err(), "too many");
    assert!(each("inputs.name").is_err(), "neither a list nor a map");
}

fn manifest_with_inputs() -> manifest::Manifest {
    let text = r#"
schema = 1
[operation]
name = "m"
[inputs]
name = { type = "string", pattern = "^[a-z]+$" }
size = { type = "integer", default = 10 }
flag = { type = "boolean", default = false }
tags = { type = "map", default = {} }
password = { type = "secret" }
[[steps]]
id = "a"
uses = "p/s"
"#;
    manifest::parse("m.toml", text).expect("it is right")
}

fn given(pairs: &[(&str, &str)]) -> BTreeMap<String, Given> {
    pairs.iter().map(|(name, text)| (name.to_string(), Given::Text(text.to_string()))).collect()
}

#[test]
fn inputs_are_read_by_their_types() {
    let manifest = manifest_with_inputs();
    let all = given(&[
        ("name", "main"),
        ("size", "30"),
        ("flag", "true"),
        ("tags", r#"{"a":"b"}"#),
        ("password", "env:PW"),
    ]);
    let resolved =
        inputs::resolve(&manifest, &all, &BTreeMap::new(), &|_| false).expect("they fit");
    assert_eq!(resolved["size"], 30);
    assert_eq!(resolved["flag"], true);
    assert_eq!(resolved["tags"], json!({ "a": "b" }));
    assert_eq!(resolved["password"], "env:PW");
    let seen = inputs::visible(&manifest, &resolved);
    assert_eq!(seen["password"], expr::secret_placeholder("password"));
}

#[test]
fn a_value_of_a_map_may_be_a_secret() {
    let manifest = manifest_with_inputs();
    let resolve = |tags: &str, secrets: &[(&str, &str)]| {
        let all = given(&[("name", "main"), ("password", "env:PW"), ("tags", tags)]);
        let secrets = secrets.iter().map(|(name, at)| (name.to_string(), at.to_string()));
        inputs::resolve(&manifest, &all, &secrets.collect(), &|_| false)
            .map_err(|error| error.to_string())
    };
    let asks = r#"{"a": "b", "PASSWORD": {"secret": "db"}, "AGAIN": {"secret": "db"}}"#;
    let resolved = resolve(asks, &[("db", "file:pw")]).expect("it fits");
    assert_eq!(resolved["tags"]["PASSWORD"], json!({ "secret": "db", "from": "file:pw" }));
    let secrets = inputs::secrets(&manifest, &resolved);
    let [db, password] = [("db", "file:pw"), ("password", "env:PW")];
    let wanted = [db, password].map(|(name, at)| (name.to_owned(), at.to_owned()));
    assert_eq!(secrets, BTreeMap::from(wanted));
    let seen = inputs::visible(&manifest, &resolved);
    let mark = expr::secret_placeholder("db");
    assert_eq!(seen["tags"], json!({ "a": "b", "PASSWORD": mark, "AGAIN": mark }));
    let mut there = resolved;
    inputs::change_references(&manifest, &mut there, |_, at| at.replace("pw", "/there/pw"));
    assert_eq!(there["tags"]["AGAIN"]["from"], "file:/there/pw");

    type Secrets = &'static [(&'static str, &'static str)];
    let table: [(&str, Secrets, &str); 8] = [
        (asks, &[], "asks for the secret `db`"),
        (asks, &[("db", "hunter2")], "`db` is a secret: give a reference"),
        (asks, &[("db", "env:A"), ("dc", "env:B")], "no input asks for the secret `dc`"),
        (r#"{"a": "b"}"#, &[("password", "env:A")], "it is an input: `-i password=…`"),
        (r#"{"a": {"secret": "password"}}"#, &[("password", "env:A")], "an input's name"),
        // A file of inputs can name neither a file nor a variable.
        (r#"{"a": {"secret": "x", "from": "file:/etc/shadow"}}"#, &[], "by more than its name"),
        (r#"{"a": {"secret": "\u0001"}}"#, &[], "U+0001"),
        // What stands for a secret can be given by nobody.
        (r#"{"a": ["\u0001secret:password\u0001"]}"#, &[], "U+0001"),
    ];
    for (tags, secrets, said) in table {
        let mistakes = resolve(tags, secrets).expect_err(said);
        assert!(mistakes.contains(said), "`{said}` is not in\n{mistakes}");
        assert!(!mistakes.contains("hunter2"), "{mistakes}");
    }
}

#[test]
fn every_wrong_input_is_told_at_once() {
    let manifest = manifest_with_inputs();
    let wrong = given(&[("name", "MAIN"), ("size", "big"), ("nmae", "x"), ("password", "hunter2")]);
    let mistakes = inputs::resolve(&manifest, &wrong, &BTreeMap::new(), &|_| false)
        .expect_err("they don't fit")
        .to_string();
    for said in ["`MAIN` does not match", "must be an integer", "did you mean `name`?", "reference"]
    {
        assert!(mistakes.contains(said), "`{said}` is not in\n{mistakes}");
    }
    assert!(!mistakes.contains("hunter2"), "{mistakes}");
    let missing = inputs::resolve(&manifest, &given(&[]), &BTreeMap::new(), &|_| false)
        .expect_err("two are missing")
        .to_string();
    assert!(missing.contains("`name` is missing") && missing.contains("`password` is missing"));
}

#[test]
fn durations_and_names_are_read_leniently_but_not_loosely() {
    let table = [
        ("500ms", Some(500)),
        ("30s", Some(30_000)),
        ("1h30m", Some(5_400_000)),
        ("2d", Some(172_800_000)),
        ("", None),
        ("30", None),
        ("s", None),
        ("-1s", None),
        ("1.5h", None),
        ("99999999999999999999s", None),
        ("400d", None),
    ];
    for (text, ms) in table {
        assert_eq!(duration_ms(text), ms, "{text}");
    }
    let known = ["integer", "list", "string"];
    assert_eq!(nearest("int", known), Some("integer"));
    assert_eq!(nearest("sting", known), Some("string"));
    assert_eq!(nearest("quaternion", known), None);
}

/// A sleep is over when its time is; for all other waits only the time counts in which somebody
/// looked, and there is time for one more look.
#[test]
fn a_wait_that_was_cut_off_has_its_rest_left() {
    let sleep = |duration_ms| Call::Clock(ClockCall::Sleep { duration_ms });
    let healthy = |timeout_ms| {
        let (host, container) = ("i-1".into(), "main".into());
        Call::Docker(DockerCall::WaitHealthy { host, container, timeout_ms })
    };
    let table = [
        (sleep(60_000), 0, 20_000, sleep(40_000)),
        (sleep(60_000), 15_000, 20_000, sleep(40_000)),
        (sleep(60_000), 0, 70_000, sleep(0)),
        (healthy(60_000), 0, 20_000, healthy(40_000)),
        (healthy(60_000), 15_000, 20_000, healthy(55_000)),
        (healthy(60_000), 0, 70_000, healthy(5_000)),
        (healthy(100), 0, 70_000, healthy(100)),
        (Call::Clock(ClockCall::Now {}), 0, 70_000, Call::Clock(ClockCall::Now {})),
    ];
    for (call, paused_ms, gone_ms, rest) in table {
        let wait = BegunWait { call, since: UnixMs(1_000), paused_ms };
        assert_eq!(wait.rest(UnixMs(1_000 + gone_ms)), rest);
    }
}
