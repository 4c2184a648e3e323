//! The steps against a scripted world, on the host.

use super::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use stepback_sdk::testing::{World, input};
use stepback_sdk::{Check, FailureClass, Past, PastEffect, Undo, failure};

fn volume(zone: &str, attachments: Value) -> Value {
    json!({
        "id": "vol-1", "state": "in-use", "size_gib": 20, "volume_type": "gp3", "iops": 6000,
        "throughput_mibps": 250, "encrypted": true, "zone": zone,
        "attachments": attachments, "snapshot": null, "tags": [],
    })
}

fn instance(zone: &str) -> Value {
    json!({
        "id": "i-2", "state": "running", "instance_type": "r6i.large", "zone": zone,
        "private_ip": null, "tags": [],
        "devices": [{ "device": "/dev/sdg", "volume": "vol-9" }],
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

#[test]
fn a_device_is_named_as_ec2_names_it() {
    let instance = json!({ "id": "i-1", "zone": "a", "state": "running" });
    for (device, is_taken) in [
        ("/dev/sdf", true),
        ("/dev/sdf1", true),
        ("/dev/sdf15", true),
        ("/dev/sdf16", false),
        ("/dev/sdf01", false),
        ("/dev/hdb", true),
        ("/dev/xvdf", true),
        ("/dev/xvdba", true),
        ("/dev/xvdea", false),
        ("/dev/nvme1n1", false),
        ("/dev/vdf", false),
        ("sdf", true),
        ("xvdf", true),
        ("/dev/xvda", true),
        ("nvme1n1", false),
        ("", false),
    ] {
        World::reset();
        World::answer("ebs.describe", volume("a", json!([])));
        World::answer("ec2.describe", self::instance("a"));
        let with = json!({ "volume": "vol-1", "instance": "i-1", "device": device });
        let checked = AttachVolume::check(&input::<AttachVolume>(with)).expect("it answers");
        assert_eq!(checked == Check::Ok, is_taken, "{device}: {checked:?} on {instance}");
    }
}

#[test]
fn attaching_waits_while_another_volume_has_the_device_name() {
    World::reset();
    World::answer("ebs.describe", volume("a", json!([])));
    World::answer("ec2.describe", instance("a"));
    let with = json!({ "volume": "vol-1", "instance": "i-2", "device": "/dev/sdg" });
    World::answer(
        "ebs.describe",
        volume("a", json!([{ "instance": "i-2", "device": "/dev/sdg" }])),
    );
    let waits = AttachVolume::check(&input::<AttachVolume>(with.clone())).expect("it answers");
    let Check::NotYet(why) = waits else { panic!("{waits:?}") };
    assert_eq!(why, "/dev/sdg of i-2 is vol-9; give another `device`, or detach that one");
    // Just detached, and the instance still shows it.
    World::reset();
    World::answer("ebs.describe", volume("a", json!([])));
    World::answer("ec2.describe", instance("a"));
    World::answer("ebs.describe", volume("a", json!([])));
    let free = AttachVolume::check(&input::<AttachVolume>(with)).expect("it answers");
    assert_eq!(free, Check::Ok);
}

/// What its undo needs is asked for as well.
#[test]
fn a_check_says_what_is_not_permitted() {
    let with = json!({ "volume": "vol-1", "instance": "i-2" });
    assert_eq!(check_attach(volume("a", json!([])), instance("a")), Check::Ok);
    assert_eq!(World::asked(), ["ebs.attach", "ebs.wait-volume", "ebs.detach"]);
    assert_eq!(World::functions(), ["ec2.describe", "ebs.describe"], "nothing is made");
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

fn created(with: Value, model: Value) -> Value {
    World::reset();
    World::answer("ebs.describe", model);
    World::answer("ebs.create-volume", volume("a", json!([])));
    World::answer("ebs.wait-volume", volume("a", json!([])));
    CreateVolume::run(input::<CreateVolume>(with)).map(drop).expect("it is created");
    let mut calls = World::calls().into_iter();
    let made = calls.find(|made| made.function == "ebs.create-volume").expect("it is asked for");
    made.arguments["spec"].clone()
}

/// An account's default key is none of what is made from a snapshot.
#[test]
fn what_is_made_from_a_snapshot_does_not_ask_for_the_default_key() {
    let asked = |with: Value| {
        World::reset();
        World::answer("ebs.describe", volume("a", json!([])));
        let checked = CheckVolume::check(&input::<CheckVolume>(with)).expect("it answers");
        assert_eq!(checked, Check::Ok);
        World::questions()[0].arguments["spec"]["encrypted"].clone()
    };
    let like = json!({ "volume": "vol-1" });
    assert_eq!(asked(json!({ "size_gib": 40, "like": like })), false);
    assert_eq!(asked(json!({ "size_gib": 40, "like": like, "encrypted": true })), true);
}

/// Whoever grows a database's disk keeps the speed that was paid for, the encryption, and the tags
/// that backups go by.
#[test]
fn a_volume_like_another_has_its_options_and_what_is_given_goes_before() {
    let mut model = volume("a", json!([]));
    model["tags"] = json!([
        { "key": "backup", "value": "daily" }, { "key": "database", "value": "main" },
    ]);
    let like = json!({ "volume": "vol-1", "without_tags": ["database"] });
    let made = created(json!({ "size_gib": 40, "like": like }), model.clone());
    assert_eq!(made["zone"], "a");
    assert_eq!((&made["iops"], &made["throughput_mibps"]), (&json!(6000), &json!(250)));
    assert_eq!(made["encrypted"], true);
    assert_eq!(made["tags"], json!([{ "key": "backup", "value": "daily" }]));
    let with = json!({
        "size_gib": 40, "volume_type": "io2", "iops": 9000, "tags": { "backup": "no" },
        "like": { "volume": "vol-1" },
    });
    let made = created(with, model.clone());
    assert_eq!((&made["iops"], &made["throughput_mibps"]), (&json!(9000), &Value::Null));
    let tags = json!([
        { "key": "backup", "value": "no" }, { "key": "database", "value": "main" },
    ]);
    assert_eq!(made["tags"], tags);
    // What EC2 shows of a gp2 is no choice.
    model["volume_type"] = json!("gp2");
    let made = created(json!({ "size_gib": 40, "like": like }), model);
    assert_eq!((&made["iops"], &made["throughput_mibps"]), (&Value::Null, &Value::Null));
}

#[test]
fn what_ec2_has_no_volume_for_is_refused_before_anything_is_made() {
    let checked = |mut with: Value| {
        World::reset();
        with["zone"] = json!("a");
        with.as_object_mut().expect("a map").entry("size_gib").or_insert(json!(8));
        let checked = CreateVolume::check(&input::<CreateVolume>(with.clone()));
        assert_eq!(World::functions(), [""; 0], "{with}: nothing is looked at");
        checked.expect("it answers")
    };
    let many_tags: BTreeMap<_, _> = (0..49).map(|n| (format!("k{n}"), "v")).collect();
    let refused = [
        json!({ "volume_type": "io2" }),
        json!({ "volume_type": "gp2", "iops": 4000 }),
        json!({ "volume_type": "io1", "iops": 400, "throughput_mibps": 250 }),
        json!({ "volume_type": "gp4" }),
        json!({ "volume_type": "gp2", "size_gib": 2_000_000_000 }),
        json!({ "size_gib": 4_294_967_295_u32 }),
        json!({ "size_gib": 0 }),
        json!({ "iops": 4_001 }),
        json!({ "throughput_mibps": 751 }),
        json!({ "volume_type": "io1", "iops": 401 }),
        json!({ "tags": { "k": "v".repeat(257) } }),
        json!({ "tags": many_tags }),
    ];
    for with in refused {
        let checked = checked(with.clone());
        assert!(matches!(checked, Check::Refused(_)), "{with}: {checked:?}");
    }
    let taken = [
        json!({ "iops": 4_000, "throughput_mibps": 1_000 }),
        json!({ "size_gib": 1, "iops": 3_000 }),
        json!({ "volume_type": "io2", "iops": 8_000 }),
        json!({ "volume_type": "standard" }),
    ];
    for with in taken {
        assert_eq!(checked(with.clone()), Check::Ok, "{with}");
    }
}

#[test]
fn what_can_not_grow_or_be_tagged_so_is_refused() {
    let grown = |size_gib: u32| {
        World::reset();
        World::answer("ebs.describe", volume("a", json!([])));
        let with = json!({ "volume": "vol-1", "size_gib": size_gib });
        ModifyVolume::check(&input::<ModifyVolume>(with)).expect("it answers")
    };
    assert_eq!(grown(65_536), Check::Ok);
    for size_gib in [65_537, u32::MAX] {
        assert!(matches!(grown(size_gib), Check::Refused(_)), "{size_gib}");
    }
    let mut full = volume("a", json!([]));
    let tag = |n: usize| json!({ "key": format!("k{n}"), "value": "v" });
    full["tags"] = (0..50).map(tag).collect();
    let tagged = |key: &str, value: &str| {
        World::reset();
        World::answer("ebs.describe", full.clone());
        let with = json!({ "volume": "vol-1", "key": key, "value": value });
        TagVolume::check(&input::<TagVolume>(with)).expect("it answers")
    };
    assert_eq!(tagged("k0", "other"), Check::Ok);
    for (key, value) in [("one-more", "v"), ("", "v"), ("k0", &"v".repeat(257))] {
        assert!(matches!(tagged(key, value), Check::Refused(_)), "{key}");
    }
}

#[test]
fn a_new_volume_is_of_some_zone() {
    World::reset();
    let with = input::<CreateVolume>(json!({ "size_gib": 40 }));
    let failure = CreateVolume::check(&with).expect_err("it has no zone");
    assert_eq!(failure.class, FailureClass::InvalidInput);
    assert!(failure.message.contains("`zone`"), "{failure:?}");
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

/// An id is only to be handed back: this one is of a `for_each` step with the key `a/undo/b`.
#[test]
fn the_default_undo_reverses_everything_newest_first() {
    World::reset();
    World::answer("effects.reverse", json!("NothingToDo"));
    World::answer("effects.reverse", json!("Reversed"));
    World::answer("effects.reverse", json!({ "Cannot": "somebody changed it" }));
    let ids = ["s[a/undo/b]/do/1/1", "s[a/undo/b]/do/1/2", "s[a/undo/b]/undo/1/1"];
    let effects = ids.map(effect).to_vec();
    let past = Past { finished: true, output: None, effects };
    let with = json!({ "volume": "vol-1", "instance": "i-1" });
    let answer = DetachVolume::undo(&input::<DetachVolume>(with), &past).expect("it answers");
    assert_eq!(answer, Undo::CannotUndo("somebody changed it".to_owned()));
    let made: Vec<Value> = World::calls().iter().map(|made| made.arguments["id"].clone()).collect();
    assert_eq!(made, [ids[2], ids[1], ids[0]]);
}
