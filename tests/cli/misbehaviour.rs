//! A plugin that misbehaves: in its check the operation is refused; in its run it is rolled
//! back; in its undo the rollback goes on and the rest is told truly.

use crate::harness::{Place, Ran, component};

const WAYS: [(&str, &str); 8] = [
    ("loop", "without coming to an end"),
    ("allocate", "more memory than it may use"),
    ("recurse", "the plugin crashed"),
    ("output", "handed over more than"),
    ("huge-output", "more memory than it may use"),
    ("flood", "the flood is over"),
    ("panic", "the plugin crashed"),
    ("shout", "ebs.describe: its arguments have 1048592 bytes, and 65536 are the most"),
];

fn misbehave(how: &str, at: &str) -> (Place, String, Ran) {
    let place = Place::new();
    let before = place.untouched();
    std::fs::copy(component("testing"), place.path("t.wasm")).expect("the build made it");
    let manifest = place.write(
        "misbehave.toml",
        format!(
            r#"
schema = 1
[operation]
name = "misbehave"
[[steps]]
id = "before"
uses = "ebs/tag-volume"
with = {{ volume = "vol-db-main", key = "seen", value = "yes" }}
[[steps]]
id = "bad"
uses = "./t.wasm#misbehave"
with = {{ how = "{how}", at = "{at}", volume = "vol-db-main" }}
[[steps]]
id = "fail"
uses = "./t.wasm#fail"
with = {{ message = "on purpose" }}
"#
        ),
    );
    let ran = place.run(&["run", &manifest, "--grant", "t.wasm=ebs"]);
    (place, before, ran)
}

#[test]
fn in_a_check_it_is_refused_and_nothing_is_touched() {
    for (how, reason) in WAYS {
        let (place, before, ran) = misbehave(how, "check");
        ran.exits(2).says(reason).says("step `bad`");
        assert_eq!(place.facts(), before, "{how}");
        assert!(place.world().effects.is_empty(), "{how}: an effect was made");
    }
    let (place, before, ran) = misbehave("effect", "check");
    ran.exits(2).says("a check may only look");
    assert_eq!(place.facts(), before);
}

#[test]
fn in_a_run_the_step_fails_and_everything_is_put_back() {
    for (how, reason) in WAYS {
        let (place, before, ran) = misbehave(how, "run");
        ran.exits(3).says(reason).says("verdict: restored");
        assert_eq!(place.facts(), before, "{how}");
    }
}

#[test]
fn in_an_undo_the_rest_is_put_back_and_the_verdict_is_true() {
    for (how, reason) in WAYS {
        let (place, _, ran) = misbehave(how, "undo");
        ran.exits(5).says(reason).says("verdict: incomplete");
        let shown = place.show(1);
        assert_eq!(shown["not_restored"][0]["resource"], "ebs:volume/vol-db-main", "{how}");
        assert_eq!(shown["not_restored"][0]["now"]["tags"]["misbehaved"], "yes", "{how}");
    }
}

/// A plan takes neither a step's name for what it does, nor a plugin's word that it can be undone
/// where the manifest says otherwise.
#[test]
fn a_plan_does_not_go_by_what_a_plugin_says_of_itself() {
    let place = Place::new();
    place.untouched();
    std::fs::copy(component("testing"), place.path("t.wasm")).expect("the build made it");
    let manifest = place.write(
        "forgetful.toml",
        r#"
schema = 1
[operation]
name = "forgetful"
[[steps]]
id = "look"
uses = "./t.wasm#check-forgetful"
with = { snapshot = "snap-db-main-0" }
irreversible = "it is old"
"#,
    );
    let planned = place.run(&["plan", &manifest, "--grant", "t.wasm=ebs"]).exits(0);
    let look = planned.stdout.lines().find(|line| line.contains("check-forgetful"));
    assert!(look.is_some_and(|line| line.contains(" NO ")), "{}", planned.stdout);
    assert!(planned.stdout.contains("other"), "{}", planned.stdout);
    place.run(&["run", &manifest, "--grant", "t.wasm=ebs"]).exits(0);
    assert!(!place.world().snapshots.contains_key("snap-db-main-0"));
}

/// What a component can call is in its imports. It is no refusal: what the operation itself made
/// may be removed without a word.
#[test]
fn what_nobody_declared_is_told_before_it_is_refused_in_the_middle() {
    let place = Place::new();
    let before = place.untouched();
    std::fs::copy(component("testing"), place.path("t.wasm")).expect("the build made it");
    let warned = "`t.wasm` can call ebs.delete-snapshot, which nothing takes back";
    let inspected = place.run(&["plugin", "inspect", "t.wasm"]).exits(0);
    assert!(inspected.stderr.contains(warned), "{}", inspected.stderr);
    inspected.says("`const REVERSIBLE: bool = false;`");
    let told = place.run(&["plugin", "inspect", "t.wasm", "--json"]).exits(0).json();
    assert!(told["warnings"][0].as_str().is_some_and(|told| told.contains(warned)), "{told}");

    let step = "[[steps]]\nid = \"look\"\nuses = \"./t.wasm#check-forgetful\"\n\
                with = { snapshot = \"snap-db-main-0\" }\n";
    let manifest = |step: &str| format!("schema = 1\n[operation]\nname = \"m\"\n{step}");
    let forgets = place.write("forgets.toml", manifest(step));
    let says = place.write("says.toml", manifest(&format!("{step}irreversible = \"old\"\n")));
    let run = |verb: &[&str]| place.run(&[verb, &["--grant", "t.wasm=ebs"]].concat());
    run(&["plan", &forgets]).exits(0).says("`look`: plugin `./t.wasm` can call ebs.delete-snap");
    let json = run(&["plan", &forgets, "--json"]).exits(0).json();
    let wanted = serde_json::json!([
        { "plugin": "./t.wasm", "functions": ["ebs.delete-snapshot"], "steps": ["look"] }
    ]);
    assert_eq!(json["undeclared"], wanted);
    run(&["plan", &says]).exits(0).lacks("can call");
    run(&["run", &forgets]).exits(3).says("must declare `irreversible`");
    assert_eq!(place.facts(), before);
}

#[test]
fn no_plugin_of_the_program_is_warned_of() {
    let place = Place::new();
    for name in ["app", "core", "docker", "ebs", "ec2", "load-balancer"] {
        let told = place.run(&["plugin", "inspect", name, "--json"]).exits(0).json();
        assert_eq!(told["warnings"], serde_json::json!([]), "{name}");
        place.run(&["plugin", "inspect", name]).exits(0).lacks("can call");
    }
    for name in ["redeploy-database", "deprovision-database", "backup-database"] {
        let name = crate::harness::operation(name);
        let given = crate::harness::given("deprovision-database");
        let given = if name.contains("deprovision") { given } else { &[] };
        let told = place.run(&[&["plan", &name, "--json"], given].concat()).exits(0).json();
        assert_eq!(told["undeclared"], serde_json::json!([]), "{name}");
    }
}

/// Each call is one that may be made, and all of them are more than a journal is for.
#[test]
fn what_one_attempt_may_journal_is_bounded() {
    let (place, before, ran) = misbehave("chatter", "run");
    ran.exits(3).says("67108864 are the most of one attempt").says("verdict: restored");
    assert_eq!(place.facts(), before);
    let bytes = |name: &str| place.path("state").join(name).metadata().map_or(0, |file| file.len());
    let kept = bytes("journal.db") + bytes("journal.db-wal");
    assert!(kept < 200 << 20, "{kept} bytes");
}

/// No timeout of the manifest ends an undo, so what it waits for has an end of its own.
#[test]
fn an_undo_does_not_wait_for_ever() {
    let (_, _, ran) = misbehave("wait", "undo");
    ran.exits(5).says("an undo waits for 60 minutes at a time at most").says("NOT undone");
}

/// What was refused has left nothing, so nothing of it is kept.
#[test]
fn an_irreversible_call_that_was_refused_is_not_told_as_kept() {
    let place = Place::new();
    let before = place.untouched();
    let manifest = place.write(
        "exec.toml",
        "schema = 1\n[operation]\nname = \"exec\"\n[[steps]]\nid = \"run\"\n\
         uses = \"docker/exec\"\nirreversible = \"a command\"\n\
         with = { host = \"i-db-1\", container = \"main\", command = [\"true\"] }\n",
    );
    let ran = place.run(&["run", &manifest, "--inject", "docker.exec=refuse"]).exits(3);
    ran.says("verdict: restored").lacks("kept").lacks("declared");
    assert_eq!(place.facts(), before);
}
