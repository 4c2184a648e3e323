//! `--inject`: whatever call fails, everything is put back, and the last word is true.

use crate::harness::{Place, component, operation};
use serde_json::Value;
use std::collections::BTreeMap;

#[test]
fn a_refused_attach_is_rolled_back_and_the_world_is_as_before() {
    let place = Place::new();
    let before = place.untouched();
    let flagship = operation("redeploy-database");
    let ran = place.run(&["run", &flagship, "--inject", "ebs.attach=refuse"]).exits(3);
    ran.says("verdict: restored");
    assert_eq!(place.facts(), before);
}

#[test]
fn a_lost_answer_is_settled_by_asking_the_world() {
    let place = Place::new();
    let flagship = operation("redeploy-database");
    place.run(&["run", &flagship, "--inject", "ebs.attach=lost"]).exits(0);
    let world = place.world();
    assert_eq!(world.volumes["vol-db-main"].attachments.len(), 1);
    let attached = world.effects.values().filter(|made| made.function == "ebs.attach");
    let times: Vec<u32> = attached.map(|made| made.times).collect();
    assert_eq!(times, [1], "the volume was attached exactly once");
}

#[test]
fn an_undo_that_fails_is_named_with_what_to_do_and_the_others_are_done() {
    let place = Place::new();
    let flagship = operation("redeploy-database");
    let ran = place.run(&[
        "run",
        &flagship,
        "--inject",
        "docker.start-container=refuse",
        "--inject",
        "undo:ebs.attach=refuse",
    ]);
    let ran = ran.exits(5).says("verdict: incomplete").says("ebs:volume/vol-db-main");
    // In a copy of production the ids are production's: nothing is to be pasted there.
    let ran = ran.says("in the simulation, run a manifest with steps = [{ id = \"mend-1\", ");
    let ran = ran.says("uses = \"ebs/attach-volume\"");
    let ran = ran.lacks("aws ec2").says("attachments: was [");
    ran.says("mend what is listed above, then `stepback rollback 1`");
    let shown = place.show(1);
    let status = |id: &str| {
        let steps = shown["steps"].as_array().expect("steps");
        steps.iter().find(|step| step["id"] == id).map(|step| step["status"].clone())
    };
    assert_eq!(status("detach"), Some("undo-failed".into()));
    for undone in ["attach", "create-new", "docker-volume"] {
        assert_eq!(status(undone), Some("undone".into()), "{undone}");
    }
    assert_eq!(shown["locks"], serde_json::json!(["database/main"]), "the locks are kept");
    let next = place.run(&["run", &flagship]).exits(2);
    next.says("held by operation 1 since").says("whose rollback is incomplete");
}

/// In a copy of production the names are production's: what is said there reaches the copy alone.
#[test]
fn what_a_copy_is_left_with_is_told_fact_by_fact_and_in_words_for_the_copy() {
    let place = Place::new();
    place.write(
        "stepback.toml",
        "default_environment = \"local\"\n[environments.local]\nprovider = \"simulated\"\n\
         [environments.copy]\nprovider = \"simulated\"\nworld = \"world.toml\"\n",
    );
    place.run(&["env", "snapshot", "-o", "world.toml"]).exits(0);
    let faults = ["docker.start-container=refuse", "undo:ebs.attach=refuse"];
    let [start, attach] = faults.map(|fault| ["--inject", fault]);
    let flagship = operation("redeploy-database");
    let ran = place.run(&[&["run", &flagship, "-e", "copy"][..], &start, &attach].concat());
    let shown = place.run(&["show", "1"]).exits(0);
    let given_up = place.run(&["unlock", "1", "--reason", "it is late"]).exits(0);
    let volume = "ebs:volume/vol-db-main\n  attachments: was \
                  [{\"device\":\"/dev/sdf\",\"instance\":\"i-db-1\"}], is []\n";
    let container = "docker:i-db-1/container/main\n  restart: was \"unless-stopped\", is \"no\"\n  \
                     running: was true, is false\n";
    for said in [ran.exits(5), shown, given_up] {
        for not_restored in [volume, container] {
            let why = format!("not restored: {not_restored}  why:  it is not as it was: ");
            said.clone().says(&why);
        }
        let do_this = "do:   in the simulation, ";
        said.says(do_this).lacks("aws ").lacks("  do:   docker").lacks("docker start").lacks("://");
    }
    let shown = place.show(1);
    for lost in shown["not_restored"].as_array().expect("what is left") {
        let [before, now] = ["before", "now"].map(|at| lost[at].as_object().expect("facts").len());
        assert!(before > 5 && before == now, "it is not whole: {lost:#}");
        let hint = lost["hint"].as_str().expect("a hint");
        assert!(hint.starts_with("in the simulation, "), "{hint}");
        assert!(["aws ", "docker "].iter().all(|real| !hint.contains(real)), "{hint}");
    }
}

/// Each line is a manifest's; they are followed in their order.
#[test]
fn what_is_to_be_done_in_a_simulated_world_is_done_by_the_steps_that_it_names() {
    let place = Place::new();
    let before = place.untouched();
    let faults = ["docker.start-container=refuse", "undo:ebs.attach=refuse"];
    let [start, attach] = faults.map(|fault| ["--inject", fault]);
    let flagship = operation("redeploy-database");
    place.run(&[&["run", &flagship][..], &start, &attach].concat()).exits(5);
    let shown = place.show(1);
    for lost in shown["not_restored"].as_array().expect("what is left") {
        let hint = lost["hint"].as_str().expect("a hint");
        let steps = hint.split_once("run a manifest with ").expect("steps").1;
        let manifest = format!("schema = 1\n{steps}\n[operation]\nname = \"mend\"\n");
        place.run(&["run", &place.write("mend.toml", &manifest)]).exits(0);
    }
    place.run(&["rollback", "1"]).exits(3).says("verdict: restored");
    assert_eq!(place.facts(), before);
}

#[test]
fn what_was_not_there_before_is_told_fact_by_fact() {
    let place = Place::new();
    let faults = ["docker.start-container=refuse", "undo:docker.remove-container=refuse"];
    let [start, remove] = faults.map(|fault| ["--inject", fault]);
    let provision = operation("provision-database");
    let ran = place.run(&[&["run", &provision][..], &start, &remove].concat()).exits(5);
    let made = "container/orders\n  it was not there, and is\n  digest: is \"sha256:";
    ran.says(made)
        .says("\n  restart: is \"unless-stopped\"\n  running: is false\n  why:  it was not");
}

#[test]
fn an_undo_that_lies_is_found_out() {
    let place = Place::new();
    std::fs::copy(component("testing"), place.path("t.wasm")).expect("the build made it");
    let manifest = place.write(
        "lie.toml",
        r#"
schema = 1
[operation]
name = "lie"
[[steps]]
id = "tag"
uses = "./t.wasm#lying-undo"
with = { volume = "vol-db-main", key = "owner", value = "nobody" }
[[steps]]
id = "fail"
uses = "./t.wasm#fail"
with = { message = "on purpose" }
"#,
    );
    let ran = place.run(&["run", &manifest, "--grant", "./t.wasm=ebs"]).exits(5);
    let ran = ran.says("verdict: incomplete").says("not restored: ebs:volume/vol-db-main");
    let lost = &place.show(1)["not_restored"][0];
    assert_eq!(lost["resource"], "ebs:volume/vol-db-main");
    assert_eq!(lost["before"]["tags"], serde_json::json!({ "database": "main" }));
    assert_eq!(lost["now"]["tags"]["owner"], "nobody");
    let hint = lost["hint"].as_str().expect("a hint");
    assert!(hint.contains("ebs/untag-volume") && !hint.contains("aws ec2"), "{hint}");
    ran.says("tags.owner: was nothing, is \"nobody\"");
}

/// The effects that a run to success makes before its commit point, each with how many times.
fn effects_of(operation_name: &str) -> BTreeMap<String, u32> {
    let place = Place::new();
    let ran = place.run_shipped(operation_name, &["--json"]).exits(0);
    let mut effects = BTreeMap::new();
    for line in ran.json_lines() {
        let record: &Value = &line["record"];
        match record["event"].as_str() {
            Some("committed") => break,
            Some("call-started") => {
                let function = record["call"]["function"].as_str().expect("a function");
                *effects.entry(function.to_owned()).or_default() += 1;
            }
            _ => {}
        }
    }
    effects
}

/// Every effect of the operation is refused once, and lost once.
fn sweep(operation_name: &str) -> usize {
    let mut cases = 0;
    for (function, uses) in effects_of(operation_name) {
        for nth in 1..=uses {
            let place = Place::new();
            let before = place.untouched();
            let fault = format!("{function}#{nth}=refuse");
            let ran = place.run_shipped(operation_name, &["--inject", &fault]);
            ran.exits(3).says("verdict: restored");
            assert_eq!(place.facts(), before, "{operation_name} with {fault}");

            let place = Place::new();
            let fault = format!("{function}#{nth}=lost");
            place.run_shipped(operation_name, &["--inject", &fault]).exits(0);
            let twice = place.world().effects.values().filter(|made| made.times != 1).count();
            assert_eq!(twice, 0, "{operation_name} with {fault}: an effect took place twice");
            cases += 2;
        }
    }
    cases
}

#[test]
fn every_effect_of_every_shipped_operation_may_be_refused_or_lost() {
    let shipped = [
        ("redeploy-database", 8),
        ("resize-database-volume", 13),
        ("restart-database", 4),
        ("backup-database", 1),
        ("provision-database", 6),
        ("deprovision-database", 4),
        ("deploy-app", 12),
        ("restart-app", 10),
    ];
    for (name, effects_min) in shipped {
        let cases = sweep(name);
        assert!(cases >= 2 * effects_min, "{name}: only {cases} cases");
    }
}

#[test]
fn faults_that_make_no_sense_are_told_so() {
    let place = Place::new();
    let backup = operation("backup-database");
    for (fault, hint) in [
        ("ebs.atach=refuse", "did you mean `ebs.attach`?"),
        ("ebs.attach=explode", "there is no fault `explode`"),
        ("ebs.attach", "is not CALL[#N]=FAULT"),
        ("ebs.attach#0=refuse", "must be a number from 1"),
    ] {
        place.run(&["run", &backup, "--inject", fault]).exits(2).says(hint);
    }
}
