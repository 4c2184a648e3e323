//! The steps against a scripted world, on the host.

use super::*;
use serde_json::{Value, json};
use stepback_sdk::testing::{World, input};
use stepback_sdk::{Check, FailureClass, Past, PastEffect, Step, Undo, failure};

fn volume(zone: &str, attachments: Value) -> Value {
    json!({
        "id": "vol-1", "state": "in-use", "size_gib": 20, "volume_type": "gp3", "zone": zone,
        "attachments": attachments, "snapshot": null, "tags": [],
    })
}

fn instance(zone: &str) -> Value {
    json!({
        "id": "i-2", "state": "running", "instance_type": "r6i.large", "zone": zone,
        "private_ip": null, "tags": [],
    })
}

fn check_attach(volume: Value, instance: Value) -> Check {
    World::reset();
    World::answer("ebs.describe", volume);
    World::answer("ec2.describe", instance);
    let with = json!({ "volume": "vol-1", "instance": "i-2" });
    AttachVolume::check(&input::<AttachVolume>(with)).expect("it answers")
}

#[test]
fn attaching_is_refused_across_zones_and_waits_while_the_volume_is_elsewhere() {
    let elsewhere = json!([{ "instance": "i-1", "device": "/dev/sdf" }]);
    assert_eq!(check_attach(volume("a", json!([])), instance("a")), Check::Ok);
    let waits = check_attach(volume("a", elsewhere.clone()), instance("a"));
    assert!(matches!(waits, Check::NotYet(_)), "{waits:?}");
    let refused = check_attach(volume("a", elsewhere), instance("b"));
    assert!(matches!(refused, Check::Refused(_)), "{refused:?}");
}

/// What its undo needs is asked for as well.
#[test]
fn a_check_says_what_is_not_permitted() {
    let with = json!({ "volume": "vol-1", "instance": "i-2" });
    assert_eq!(check_attach(volume("a", json!([])), instance("a")), Check::Ok);
    assert_eq!(World::asked(), ["ebs.attach", "ebs.detach"]);
    assert_eq!(World::functions(), ["ebs.describe", "ec2.describe"], "nothing is made");
    World::reset();
    World::answer("ebs.describe", volume("a", json!([])));
    World::answer("ec2.describe", instance("a"));
    World::fail("ebs.detach", failure(FailureClass::Denied, "ec2:DetachVolume"));
    let denied = AttachVolume::check(&input::<AttachVolume>(with)).expect_err("it is denied");
    assert_eq!(denied.message, "ec2:DetachVolume");
}

#[test]
fn detaching_waits_until_the_volume_is_available() {
    World::reset();
    World::answer("ebs.detach", volume("a", json!([])));
    World::answer("ebs.wait-volume", volume("a", json!([])));
    let with = json!({ "volume": "vol-1", "instance": "i-1" });
    DetachVolume::run(input::<DetachVolume>(with)).map(drop).expect("it detaches");
    assert_eq!(World::functions(), ["ebs.detach", "ebs.wait-volume"]);
    assert_eq!(World::calls()[1].arguments["state"], "available");
}

fn effect(id: &str) -> PastEffect {
    PastEffect {
        id: id.to_owned(),
        function: "ebs.detach".to_owned(),
        arguments: "{}".to_owned(),
        outcome: r#"{"outcome":"done","detail":null}"#.to_owned(),
        changes: vec![],
    }
}

#[test]
fn the_default_undo_reverses_newest_first_and_leaves_undos_alone() {
    World::reset();
    World::answer("effects.reverse", json!("Reversed"));
    World::answer("effects.reverse", json!({ "Cannot": "somebody changed it" }));
    let effects = vec![effect("s/do/1/1"), effect("s/do/1/2"), effect("s/undo/1/1")];
    let past = Past { finished: true, output: None, effects };
    let with = json!({ "volume": "vol-1", "instance": "i-1" });
    let answer = DetachVolume::undo(&input::<DetachVolume>(with), &past).expect("it answers");
    assert_eq!(answer, Undo::CannotUndo("somebody changed it".to_owned()));
    let ids: Vec<Value> = World::calls().iter().map(|made| made.arguments["id"].clone()).collect();
    assert_eq!(ids, ["s/do/1/2", "s/do/1/1"]);
}
