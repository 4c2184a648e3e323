//! What a container runs that no step's `with` says: nobody starts it unseen, whenever and however.

use crate::harness::Ran;
use crate::narrowed::{Granted, inline};
use serde_json::{Value, json};

const ROOT: &str = "{ docker = \"root\" }, \"ebs\", \"ec2\"";
const UNSAID: &str = "starts what no step's `with` says";

fn of_new(call: &str) -> Value {
    json!({ "call": call, "host": "i-db-1", "container": "new" })
}

fn sneak() -> Value {
    json!({ "call": "sneak", "host": "i-db-1", "container": "new", "image": "postgres:16" })
}

/// Run steps of what they do and of what their undo does by itself.
fn runs(granted: &Granted, steps: &[(Value, Value)], declared: bool) -> Ran {
    let (step, word) = match declared {
        true => ("attack-for-good", "irreversible = \"a test\"\n"),
        false => ("attack", ""),
    };
    let mut text = "schema = 1\n[operation]\nname = \"unsaid\"\n".to_owned();
    for (number, (run, undo)) in steps.iter().enumerate() {
        let (run, undo) = (inline(run), inline(undo));
        text.push_str(&format!(
            "[[steps]]\nid = \"s{number}\"\nuses = \"a/{step}\"\n{word}\
             with = {{ run = {run}, undo = {undo} }}\n"
        ));
    }
    let manifest = granted.0.write("op.toml", text);
    granted.0.run(&["run", &manifest])
}

fn new_container(granted: &Granted) -> Value {
    granted.world()["engines"]["i-db-1"]["containers"]["new"].clone()
}

/// As it was found: the run makes it and fails, and the undo starts it.
#[test]
fn an_undo_starts_nothing_that_no_manifest_says() {
    let fail = json!({ "call": "fail" });
    // A step that did nothing has no undo.
    let tag = json!({ "call": "tag", "volume": "vol-db-main", "key": "a", "value": "b" });
    for declared in [false, true] {
        for steps in [
            vec![(json!([sneak(), fail]), json!([of_new("start")]))],
            vec![(json!([sneak()]), json!([])), (json!([tag, fail]), json!([of_new("start")]))],
            // What was never started did not run before, though it was stopped.
            vec![(json!([sneak(), of_new("stop-container"), fail]), json!([of_new("start")]))],
        ] {
            let granted = Granted::new(ROOT, "");
            runs(&granted, &steps, declared).exits(3).says("verdict: restored");
            granted.0.run(&["logs", "1"]).exits(0).says(UNSAID).lacks("in the undo: \"new\"");
            let shown = granted.0.run(&["show", "1", "--json"]).exits(0);
            shown.lacks("docker.start-container");
            assert_eq!(new_container(&granted), Value::Null, "it is gone again");
        }
    }
    // What the manifest says an undo may start.
    let open = json!({ "call": "container", "host": "i-db-1", "container": "new",
                       "image": "postgres:16" });
    let granted = Granted::new(ROOT, "");
    let steps = [(json!([open, fail]), json!([of_new("start"), of_new("stop-container")]))];
    runs(&granted, &steps, false).exits(3).says("verdict: restored");
    granted.0.run(&["logs", "1"]).exits(0).says("in the undo: \"new\"");
}

/// A name means what had it when the manifest was written: what a step gives it to is unsaid still.
#[test]
fn what_is_made_by_a_name_that_was_given_to_something_else_is_unsaid() {
    let sneaky = |name: &str| {
        let mut one = sneak();
        one["container"] = json!(name);
        one
    };
    let rename = |container: &str, to: &str| {
        let backwards = |text: &str| text.chars().rev().collect::<String>();
        json!({ "call": "rename", "host": "i-db-1", "container": backwards(container),
                "to": backwards(to), "hidden": true })
    };
    let like = json!({ "call": "container", "host": "i-db-1", "container": "new", "like": "main" });
    let mut like_sneaked = like.clone();
    like_sneaked["like"] = json!("zz");
    let pulled = json!({ "call": "container", "host": "i-db-1", "container": "new",
                         "image": "app:1" });
    let digest = "sha256:1600000000000000000000000000000000000000000000000000000000000000";
    let tag = |image: &str, hidden: bool| {
        let digest = if hidden { digest.chars().rev().collect() } else { digest.to_owned() };
        json!({ "call": "tag-image", "host": "i-db-1", "image": image, "digest": digest,
                "hidden": hidden })
    };
    let fail = json!({ "call": "fail" });
    for (make, is_unsaid) in [
        // Like what is like nothing that was said.
        (vec![sneaky("zz"), like_sneaked], true),
        // What was made is there under the name of the one that is said, and so is another's.
        (vec![rename("main", "old"), sneaky("main"), like.clone()], true),
        (vec![rename("main", "old"), rename("sees-etc", "main"), like.clone()], true),
        // As it was again.
        (vec![rename("main", "old"), rename("old", "main"), like.clone()], false),
        (vec![tag("app:1", true), pulled.clone()], true),
        // Its model's image is another one by its name since.
        (vec![tag("postgres:16", true), like.clone()], true),
        (vec![tag("app:1", false), pulled], false),
    ] {
        let granted = Granted::new(ROOT, "");
        let all = json!([make, [of_new("start"), fail]]);
        let all = all.as_array().expect("a list").iter().filter_map(Value::as_array).flatten();
        let ran = runs(&granted, &[(all.cloned().collect(), json!([]))], false).exits(3);
        match is_unsaid {
            true => ran.says(UNSAID),
            // It comes to the start, and to the port that `main` has.
            false => ran.lacks(UNSAID),
        };
        assert_eq!(new_container(&granted), Value::Null, "it is gone again");
    }
}

/// A secret's value is no other text for being a secret's: a user, a database and another secret
/// may be called the same.
#[test]
fn what_is_said_by_another_name_of_the_same_value_is_said() {
    let place = crate::harness::Place::new();
    place.write("pw", "orders");
    let manifest = place.write(
        "m.toml",
        "schema = 1\n[operation]\nname = \"same\"\n[inputs]\npw = { type = \"secret\" }\n\
         other = { type = \"secret\" }\n[[steps]]\nid = \"pull\"\nuses = \"docker/pull-image\"\n\
         with = { host = \"i-db-2\", image = \"postgres:16\" }\n[[steps]]\nid = \"make\"\n\
         needs = [\"pull\"]\nuses = \"docker/create-container\"\nwith = { host = \"i-db-2\", \
         container = \"new\", image = \"postgres:16\", env = { PW = \"{{ inputs.pw }}\", \
         REPL_PW = \"{{ inputs.other }}\", URL = \"postgres://orders:{{ inputs.pw }}@db/orders\", \
         DB = \"orders_prod\", has_orders = \"1\" } }\n\
         [[steps]]\nid = \"start\"\nneeds = [\"make\"]\n\
         uses = \"docker/start-container\"\nwith = { host = \"i-db-2\", container = \"new\" }\n",
    );
    let secrets = ["-i", "pw=file:pw", "-i", "other=file:pw"];
    place.run(&[&["run", &manifest][..], &secrets].concat()).exits(0);
    let made = &place.world().engines["i-db-2"].containers["new"];
    assert_eq!(made.spec.env["REPL_PW"], "orders");
    assert_eq!(made.spec.env["URL"], "postgres://orders:orders@db/orders");
    assert!(made.running);
}

/// What ran before a step stopped it runs again, and that is told of both.
#[test]
fn an_undo_that_takes_a_stop_back_goes_on() {
    let granted = Granted::new(ROOT, "");
    let steps = [
        (json!([sneak(), of_new("start")]), json!([])),
        (json!([of_new("stop-container")]), json!([])),
        (json!([{ "call": "fail" }]), json!([])),
    ];
    let ran = runs(&granted, &steps, true).exits(4).says("verdict: restored-except-declared");
    ran.says("commands ran: docker.start-container of `s0`")
        .says("commands ran: docker.start-container of `s1`");
    assert_eq!(new_container(&granted), Value::Null, "it is gone again");
}

/// A variable is a command where a shell reads it.
#[test]
fn a_start_with_variables_that_no_manifest_says_must_be_declared() {
    let with = |more: Value| {
        let mut one = of_new("container");
        one["image"] = json!("postgres:16");
        let more = more.as_object().expect("a table").clone();
        more.into_iter().for_each(|(key, value)| one[key] = value);
        one
    };
    let hidden = with(json!({ "hidden_env": [["BASH_ENV", "$(id)"]] }));
    let said = with(json!({ "env": { "TZ": "UTC" } }));
    for (make, declared, code) in
        [(&hidden, false, 3), (&hidden, true, 4), (&said, false, 3), (&said, true, 3)]
    {
        let granted = Granted::new(ROOT, "");
        let fail = json!({ "call": "fail" });
        let steps = [(json!([make, of_new("start"), fail]), json!([]))];
        let ran = runs(&granted, &steps, declared).exits(code);
        match (make == &hidden, declared) {
            (true, false) => drop(ran.says(UNSAID)),
            (true, true) => drop(ran.says("commands ran: docker.start-container of `s0`")),
            (false, _) => drop(ran.says("on purpose").lacks("commands ran")),
        }
        assert_eq!(new_container(&granted), Value::Null, "it is gone again");
    }
}

/// What a container ran that a plugin thought up by itself is not known.
#[test]
fn a_start_of_what_no_manifest_says_must_be_declared_and_is_told() {
    let start = json!({ "call": "start", "host": "i-db-1", "container": "new" });
    let fail = json!([{ "call": "fail" }]);
    let sneak =
        json!({ "call": "sneak", "host": "i-db-1", "container": "new", "image": "postgres:16" });
    let open = json!({ "call": "container", "host": "i-db-1", "container": "new",
                       "image": "postgres:16", "command": ["sh", "-c", "true"] });
    for (make, declared, code) in
        [(&sneak, false, 3), (&sneak, true, 4), (&open, false, 3), (&open, true, 3)]
    {
        for steps in [
            vec![json!([make, start]), fail.clone()],
            vec![json!([make]), json!([start]), fail.clone()],
        ] {
            let granted = Granted::new("{ docker = \"root\" }, \"ebs\", \"ec2\"", "");
            let manifest = granted.manifest(&steps, declared);
            let ran = granted.0.run(&["run", &manifest]).exits(code);
            let containers = granted.world()["engines"]["i-db-1"]["containers"].clone();
            assert_eq!(containers["new"], Value::Null, "it is gone again");
            match (make == &sneak, declared) {
                (true, false) => drop(ran.says("starts what no step's `with` says")),
                (true, true) => {
                    let ran = ran.says("verdict: restored-except-declared");
                    ran.says("commands ran: docker.start-container of `s");
                }
                (false, _) => drop(ran.says("on purpose").lacks("commands ran")),
            }
        }
    }
}
