//! A plugin that misbehaves: in its check the operation is refused; in its run it is rolled
//! back; in its undo the rollback goes on and the rest is told truly.

use crate::harness::{Place, Ran, component};

const WAYS: [(&str, &str); 7] = [
    ("loop", "without coming to an end"),
    ("allocate", "more memory than it may use"),
    ("recurse", "the plugin crashed"),
    ("output", "handed over more than"),
    ("huge-output", "more memory than it may use"),
    ("flood", "the flood is over"),
    ("panic", "the plugin crashed"),
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
