//! What a guest asks for arrives as it was asked, and what is answered reaches it whole: one
//! function of each interface, with its records, lists and options both ways.

mod support;

use serde_json::{Value, json};
use std::sync::Arc;
use stepback_core::calls::{ContainerSpec, Like, Mount, Performance};
use stepback_core::step::{Change, EffectOutcome, Past, PastEffect, UndoAnswer};
use stepback_core::*;
use stepback_wasm::{GuestFault, Mode, Reversed};
use support::{Port, RUN, Text, invocation, runtime};

/// `"text"` at an address, and its address and length at another.
fn string(at: usize, text: &str, pair_at: usize) -> String {
    format!(
        r#"(data (i32.const {at}) "{text}")
           (data (i32.const {pair_at}) "{}{}")"#,
        bytes(at),
        bytes(text.len())
    )
}

/// A number as the four bytes of WAT's text.
fn bytes(number: usize) -> String {
    let number = u32::try_from(number).expect("a small number");
    number.to_le_bytes().iter().map(|byte| format!("\\{byte:02x}")).collect()
}

async fn run(fields: String, body: &str, port: &Arc<Port>) -> Result<Value, GuestFault> {
    let text = Text { fields, ..Text::run(body) };
    let plugin = runtime(None).load("p", &text.component()).expect("it loads");
    plugin.run(invocation(RUN), port.clone()).await
}

/// The text of each of these addresses, when the call has put its result at 800.
fn say(addresses: &[u32]) -> String {
    addresses.iter().map(|at| format!("(call $say (i32.const {at}))")).collect()
}

#[tokio::test]
async fn an_ebs_volume_with_every_option() {
    let mut fields = r#"(import "stepback:ebs/volumes@0.2.0" "create-volume"
        (func $create (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32
                             i32 i32 i32 i32 i32)))"#
        .to_owned();
    // One pair of strings at 2000: the tag.
    fields += &string(1100, "team", 2000);
    fields += &string(1110, "data", 2008);
    let body = format!(
        r#"(call $create
               (i32.const 264) (i32.const 5)     ;; zone: "vol-1"
               (i32.const 21)
               (i32.const 272) (i32.const 3)     ;; type: "key"
               (i32.const 1) (i32.const 4000)    ;; iops: some
               (i32.const 0) (i32.const 0)       ;; throughput: none
               (i32.const 1)                     ;; encrypted
               (i32.const 1) (i32.const 264) (i32.const 3)  ;; snapshot: some("vol")
               (i32.const 2000) (i32.const 1) (i32.const 800))
           {}
           ;; the first attachment's instance and device, the snapshot, the second tag
           (call $say (i32.load (i32.const 856)))
           (call $say (i32.add (i32.load (i32.const 856)) (i32.const 8)))
           (call $say (i32.const 868))
           (call $say (i32.add (i32.load (i32.const 876)) (i32.const 16)))
           (call $say (i32.add (i32.load (i32.const 876)) (i32.const 24)))
           ;; in-use, the third state
           (if (i32.ne (i32.load8_u (i32.const 812)) (i32.const 2)) (then unreachable))
           (if (i32.ne (i32.load (i32.const 816)) (i32.const 4000000000)) (then unreachable))
           ;; iops: none; throughput: some; encrypted
           (if (i32.load8_u (i32.const 828)) (then unreachable))
           (if (i32.ne (i32.load8_u (i32.const 836)) (i32.const 1)) (then unreachable))
           (if (i32.ne (i32.load (i32.const 840)) (i32.const 250)) (then unreachable))
           (if (i32.ne (i32.load8_u (i32.const 844)) (i32.const 1)) (then unreachable))
           (if (i32.ne (i32.load (i32.const 860)) (i32.const 1)) (then unreachable))
           (if (i32.ne (i32.load8_u (i32.const 864)) (i32.const 1)) (then unreachable))
           (i32.const 512)"#,
        say(&[804, 820, 848])
    );
    let port = Port::answering([Ok(json!({
        "id": "vol-9", "state": "in-use", "size_gib": 4_000_000_000_u32, "volume_type": "gp3",
        "iops": null, "throughput_mibps": 250, "encrypted": true,
        "zone": "us-east-1a", "attachments": [{ "instance": "i-1", "device": "/dev/sdf" }],
        "snapshot": "snap-1", "tags": { "a": "1", "b": "2" },
    }))]);
    assert_eq!(run(fields, &body, &port).await, Ok(Value::Null));
    let asked = Call::Ebs(EbsCall::CreateVolume {
        zone: "vol-1".to_owned(),
        size_gib: 21,
        volume_type: "key".to_owned(),
        snapshot: Some("vol".into()),
        tags: [("team".to_owned(), "data".to_owned())].into(),
        performance: Performance { iops: Some(4000), throughput_mibps: None },
        encrypted: true,
    });
    assert_eq!(port.calls(), [asked]);
    let told = ["vol-9", "gp3", "us-east-1a", "i-1", "/dev/sdf", "snap-1", "b", "2"];
    assert_eq!(port.lines(), told);
}

#[tokio::test]
async fn ec2_instances_with_and_without_an_address() {
    let mut fields =
        r#"(import "stepback:ec2/instances@0.2.0" "find" (func $find (param i32 i32 i32)))"#
            .to_owned();
    fields += &string(1100, "role", 2000);
    fields += &string(1110, "db", 2008);
    // Two instances of 56 bytes each; an option's mark lies at 28, its string at 32,
    // the list of devices at 48.
    let body = r#"
        (local $first i32)
        (call $find (i32.const 2000) (i32.const 1) (i32.const 800))
        (if (i32.ne (i32.load (i32.const 808)) (i32.const 2)) (then unreachable))
        (local.set $first (i32.load (i32.const 804)))
        (call $say (local.get $first))
        (call $say (i32.add (local.get $first) (i32.const 32)))
        (call $say (i32.load offset=48 (local.get $first)))
        (call $say (i32.add (i32.load offset=48 (local.get $first)) (i32.const 8)))
        (call $say (i32.add (local.get $first) (i32.const 56)))
        (if (i32.load8_u offset=84 (local.get $first)) (then unreachable))
        (if (i32.load offset=108 (local.get $first)) (then unreachable))
        (i32.const 512)"#;
    let instance = |id: &str, ip: Option<&str>, devices: Value| {
        json!({ "id": id, "state": "running", "instance_type": "t3.small", "zone": "z",
                "private_ip": ip, "tags": {}, "devices": devices })
    };
    let devices = json!([{ "device": "/dev/sdf", "volume": "vol-1" }]);
    let first = instance("i-1", Some("10.0.0.1"), devices);
    let port = Port::answering([Ok(json!([first, instance("i-2", None, json!([]))]))]);
    assert_eq!(run(fields, body, &port).await, Ok(Value::Null));
    let tags = [("role".to_owned(), "db".to_owned())].into();
    assert_eq!(port.calls(), [Call::Ec2(Ec2Call::Find { tags })]);
    assert_eq!(port.lines(), ["i-1", "10.0.0.1", "/dev/sdf", "vol-1", "i-2"]);
}

/// The arguments of `create-container` as they lie in memory, being too many to be passed.
fn container_arguments() -> String {
    let mut fields = r#"(import "stepback:docker/engine@0.2.0" "create-container"
        (func $create (param i32 i32)))"#
        .to_owned();
    let top = [("i-1", 2000), ("main", 2008), ("postgres:16", 2016)];
    // A list's elements are aligned to four bytes.
    let lists = [("-c", 2100), ("PGDATA", 2112), ("/data", 2120), ("vol-x", 2128)];
    let label = [("team", 2160), ("db", 2168)];
    let like = [("/mnt", 2136), ("80:80", 2152), ("i-2", 2084), ("old", 2092)];
    let all = top.into_iter().chain(lists).chain(label).chain(like);
    for (index, (text, at)) in all.enumerate() {
        fields += &string(1100 + index * 20, text, at);
    }
    // Read-only; lists of one: command, environment, mounts, ports, labels; the marks of a policy,
    // that it is the fourth, and of its number, 3; the mark of `like`.
    fields += r#"(data (i32.const 2144) "\01")"#;
    for at in [2056, 2064] {
        fields += &format!(r#"(data (i32.const {at}) "\01")"#);
    }
    for at in [2060, 2068] {
        fields += &format!(r#"(data (i32.const {at}) "\03")"#);
    }
    for (at, list) in [(2024, 2100), (2032, 2112), (2040, 2128), (2048, 2152), (2072, 2160)] {
        fields += &format!(r#"(data (i32.const {at}) "{}{}")"#, bytes(list), bytes(1));
    }
    fields + r#"(data (i32.const 2080) "\01")"#
}

#[tokio::test]
async fn a_docker_container_whose_arguments_lie_in_memory() {
    let body = format!(
        r#"(call $create (i32.const 2000) (i32.const 800))
           {}
           ;; exited, the sixth state; no health; how it ended; started again twice
           (if (i32.ne (i32.load8_u (i32.const 828)) (i32.const 5)) (then unreachable))
           (if (i32.load8_u (i32.const 829)) (then unreachable))
           (if (i32.ne (i32.load8_u (i32.const 832)) (i32.const 1)) (then unreachable))
           (if (i32.ne (i32.load (i32.const 836)) (i32.const -1)) (then unreachable))
           (if (i32.ne (i32.load8_u (i32.const 840)) (i32.const 1)) (then unreachable))
           (if (i32.ne (i32.load (i32.const 856)) (i32.const 2)) (then unreachable))
           ;; on-failure:3
           (if (i32.ne (i32.load8_u (i32.const 860)) (i32.const 3)) (then unreachable))
           (if (i32.ne (i32.load (i32.const 868)) (i32.const 3)) (then unreachable))
           ;; one port: any address, 5432 of the host, udp; one label
           (if (i32.ne (i32.load (i32.const 884)) (i32.const 1)) (then unreachable))
           (if (i32.load8_u (i32.load (i32.const 880))) (then unreachable))
           (if (i32.ne (i32.load16_u offset=14 (i32.load (i32.const 880))) (i32.const 5432))
               (then unreachable))
           (if (i32.ne (i32.load8_u offset=18 (i32.load (i32.const 880))) (i32.const 1))
               (then unreachable))
           (call $say (i32.load (i32.const 888)))
           (i32.const 512)"#,
        say(&[804, 812, 820, 848])
    );
    let port = Port::answering([Ok(json!({
        "name": "main", "image": "postgres:16", "digest": "sha256:1", "state": "exited",
        "health": "none", "restart": "on-failure:3", "restart_count": 2, "mounts": [],
        "ended": { "exit_code": -1, "out_of_memory": true, "error": "why" },
        "ports": [{ "host_ip": null, "host_port": 5432, "container_port": 53, "protocol": "udp" }],
        "labels": { "team": "db" },
    }))]);
    let fields = container_arguments();
    assert_eq!(run(fields, &body, &port).await, Ok(Value::Null));
    let spec = ContainerSpec {
        image: "postgres:16".to_owned(),
        command: vec!["-c".to_owned()],
        env: [("PGDATA".to_owned(), "/data".to_owned())].into(),
        mounts: vec![Mount {
            volume: "vol-x".to_owned(),
            target: "/mnt".to_owned(),
            read_only: true,
        }],
        ports: vec!["80:80".to_owned()],
        restart: "on-failure:3".to_owned(),
        labels: [("team".to_owned(), "db".to_owned())].into(),
        like: Some(Like { host: "i-2".to_owned(), container: "old".to_owned() }),
    };
    let asked = Call::Docker(DockerCall::CreateContainer {
        host: "i-1".into(),
        container: "main".into(),
        spec,
    });
    assert_eq!(port.calls(), [asked]);
    assert_eq!(port.lines(), ["main", "postgres:16", "sha256:1", "why", "team"]);
}

#[tokio::test]
async fn nothing_found_is_none() {
    let fields = r#"(import "stepback:docker/engine@0.2.0" "inspect-image"
        (func $inspect (param i32 i32 i32 i32 i32)))"#
        .to_owned();
    let body = r#"
        (i32.store (i32.const 804) (i32.const 1))
        (call $inspect (i32.const 272) (i32.const 3) (i32.const 272) (i32.const 3) (i32.const 800))
        (if (i32.load8_u (i32.const 804)) (then unreachable))
        (i32.const 512)"#;
    assert_eq!(run(fields, body, &Port::new()).await, Ok(Value::Null));
}

#[tokio::test]
async fn an_engine_that_is_waited_for() {
    let fields = r#"(import "stepback:docker/engine@0.2.0" "wait-engine"
        (func $wait (param i32 i32 i64 i32)))"#
        .to_owned();
    let body = r#"
        (call $wait (i32.const 272) (i32.const 3) (i64.const -1) (i32.const 800))
        (if (i32.load8_u (i32.const 800)) (then unreachable))
        (i32.const 512)"#;
    let port = Port::new();
    assert_eq!(run(fields, body, &port).await, Ok(Value::Null));
    let asked = Call::Docker(DockerCall::WaitEngine { host: "key".into(), timeout_ms: u64::MAX });
    assert_eq!(port.calls(), [asked]);
}

#[tokio::test]
async fn the_time_and_progress() {
    let fields = r#"(import "stepback:log/log@0.2.0" "progress"
        (func $progress (param i32 i32 i64 i32 i64)))"#
        .to_owned();
    let body = r#"
        (call $now (i32.const 800))
        (call $progress (i32.const 272) (i32.const 3) (i64.load (i32.const 808))
            (i32.const 1) (i64.const -1))
        (call $progress (i32.const 272) (i32.const 3) (i64.const 0) (i32.const 0) (i64.const 5))
        (i32.const 512)"#;
    let port = Port::answering([Ok(json!(1_700_000_000_123_u64))]);
    assert_eq!(run(fields, body, &port).await, Ok(Value::Null));
    let told = port.progress.lock().expect("no panic").clone();
    let key = || "key".to_owned();
    assert_eq!(told, [(key(), 1_700_000_000_123, Some(u64::MAX)), (key(), 0, None)]);
}

const UNTAG: &str = "(call $untag (i32.const 264) (i32.const 5) (i32.const 272) (i32.const 3) \
                     (i32.const 800))";

#[tokio::test]
async fn a_failure_keeps_its_class_code_and_message_both_ways() {
    // What `untag` answers is laid out as what `run` answers.
    let body = format!("{UNTAG} (i32.const 800)");
    for class in [FailureClass::InvalidInput, FailureClass::Transient, FailureClass::Internal] {
        let failure = Failure::new(class, "it is so").with_code("VolumeInUse");
        let port = Port::answering([Err(failure.clone())]);
        let ran = run(String::new(), &body, &port).await;
        assert_eq!(ran, Err(GuestFault::Failed(failure)));
    }
    let bare = Failure::new(FailureClass::Denied, "no");
    let port = Port::answering([Err(bare.clone())]);
    assert_eq!(run(String::new(), &body, &port).await, Err(GuestFault::Failed(bare)));
}

#[tokio::test]
async fn an_answer_that_breaks_the_contract_is_an_internal_failure() {
    let fields = r#"(import "stepback:ebs/volumes@0.2.0" "describe"
        (func $describe (param i32 i32 i32)))"#
        .to_owned();
    let body = "(call $describe (i32.const 264) (i32.const 5) (i32.const 800)) (i32.const 800)";
    let port = Port::answering([Ok(json!({ "id": "vol-1" }))]);
    let failure = run(fields, body, &port).await.expect_err("half a volume").to_failure();
    assert_eq!(failure.class, FailureClass::Internal);
    assert!(failure.message.contains("ebs.describe"), "{}", failure.message);
}

#[tokio::test]
async fn a_tag_given_twice_is_the_guests_mistake() {
    let mut fields =
        r#"(import "stepback:ec2/instances@0.2.0" "find" (func $find (param i32 i32 i32)))"#
            .to_owned();
    for at in [2000, 2008, 2016, 2024] {
        fields += &string(1100, "same", at);
    }
    let body = "(call $find (i32.const 2000) (i32.const 2) (i32.const 800)) (i32.const 800)";
    let port = Port::new();
    let failure = run(fields, body, &port).await.expect_err("twice").to_failure();
    assert_eq!(failure.class, FailureClass::InvalidInput);
    assert!(port.calls().is_empty());
}

/// A name goes into the path of a request: such a one asks for something else.
#[tokio::test]
async fn what_is_no_name_of_a_container_does_not_reach_the_engine() {
    let mut fields = r#"(import "stepback:docker/engine@0.2.0" "rename-container"
        (func $rename (param i32 i32 i32 i32 i32 i32 i32)))"#
        .to_owned();
    let name = "../volumes/main";
    fields += &string(1100, name, 2000);
    let length = name.len();
    let body = format!(
        "(call $rename (i32.const 272) (i32.const 3) (i32.const 1100) (i32.const {length}) \
         (i32.const 272) (i32.const 3) (i32.const 800)) (i32.const 800)"
    );
    let port = Port::new();
    let failure = run(fields, &body, &port).await.expect_err("no name").to_failure();
    assert_eq!(failure.class, FailureClass::InvalidInput);
    assert!(failure.message.contains(name), "{}", failure.message);
    assert!(port.calls().is_empty());
}

fn effect() -> PastEffect {
    let of = AttemptId {
        step: StepKey { step: "s".into(), key: None },
        direction: Direction::Do,
        attempt: Attempt(1),
    };
    PastEffect {
        id: CallId { of, number: CallNumber(3) },
        call: Call::Ebs(EbsCall::Untag { volume: "vol-1".into(), key: "k".to_owned() }),
        token: Token("t".to_owned()),
        outcome: EffectOutcome::Unknown("lost".to_owned()),
        changes: vec![Change {
            resource: Resource::Volume { id: "vol-1".to_owned() },
            before: Facts::Absent,
            after: None,
        }],
    }
}

#[tokio::test]
async fn an_undo_is_told_its_past_and_reverses_it() {
    let fields = r#"(import "stepback:effects/effects@0.2.0" "reverse"
        (func $reverse (param i32 i32 i32)))"#
        .to_owned();
    // The past: finished at 4, the output at 5, the list of effects at 8; 40 bytes an effect.
    let undo = r#"
        (local $change i32)
        (if (i32.ne (local.get 4) (i32.const 1)) (then unreachable))
        (if (i32.ne (local.get 5) (i32.const 1)) (then unreachable))
        (call $line (i32.const 1) (local.get 6) (local.get 7))
        (if (i32.ne (local.get 9) (i32.const 1)) (then unreachable))
        (call $say (i32.add (local.get 8) (i32.const 8)))
        (call $say (i32.add (local.get 8) (i32.const 16)))
        (call $say (i32.add (local.get 8) (i32.const 24)))
        (local.set $change (i32.load offset=32 (local.get 8)))
        (call $say (local.get $change))
        (if (i32.load8_u offset=16 (local.get $change)) (then unreachable))
        (call $reverse (i32.load (local.get 8)) (i32.load offset=4 (local.get 8)) (i32.const 800))
        ;; kept(why) is the third of both variants
        (i32.const 800)"#;
    let text = Text { fields, undo: undo.to_owned(), ..Text::default() };
    let plugin = runtime(None).load("p", &text.component()).expect("it loads");
    let past = Past { finished: true, output: Some(json!({ "a": 1 })), effects: vec![effect()] };
    let port = Port::reversing([Reversed::Kept("it is harmless".to_owned())]);
    let undone = plugin.undo(invocation(Mode::Undo), &past, port.clone()).await;
    assert_eq!(undone, Ok(UndoAnswer::Kept("it is harmless".to_owned())));
    assert_eq!(
        port.calls(),
        [Call::Effects(EffectsCall::Reverse { effect: effect().id.to_string() })]
    );
    let told = [
        r#"{"a":1}"#,
        "ebs.untag",
        r#"{"key":"k","volume":"vol-1"}"#,
        r#"{"detail":"lost","outcome":"unknown"}"#,
        "ebs:volume/vol-1",
    ];
    assert_eq!(port.lines(), told);
}

#[tokio::test]
async fn reversing_is_for_undos_only() {
    let fields = r#"(import "stepback:effects/effects@0.2.0" "reverse"
        (func $reverse (param i32 i32 i32)))"#
        .to_owned();
    let body = "(call $reverse (i32.const 264) (i32.const 5) (i32.const 800)) (i32.const 800)";
    let port = Port::new();
    let failure = run(fields, body, &port).await.expect_err("a run").to_failure();
    assert_eq!(failure.class, FailureClass::Denied);
    assert!(port.calls().is_empty());
}

#[tokio::test]
async fn an_effect_without_an_inverse_needs_a_step_that_says_so() {
    let fields = r#"(import "stepback:ebs/volumes@0.2.0" "delete-volume"
        (func $delete (param i32 i32 i32)))"#
        .to_owned();
    let delete = "(call $delete (i32.const 264) (i32.const 5) (i32.const 800))";
    let text = Text {
        fields,
        undo: format!("{delete} (i32.const 640)"),
        ..Text::run(&format!("{delete} (i32.const 800)"))
    };
    let plugin = runtime(None).load("p", &text.component()).expect("it loads");
    let port = Port::new();
    let denied = plugin.run(invocation(RUN), port.clone()).await.expect_err("not declared");
    assert_eq!(denied.to_failure().class, FailureClass::Denied);
    assert!(port.calls().is_empty());

    // Its answer carries no string, so the guest's own output is empty: only the call counts.
    let declared = Mode::Run { irreversible_allowed: true };
    let _ = plugin.run(invocation(declared), port.clone()).await;
    assert_eq!(port.functions(), ["ebs.delete-volume"]);
    // Whether an undo may is the port's to decide.
    let past = Past { finished: true, output: None, effects: vec![] };
    let undone = plugin.undo(invocation(Mode::Undo), &past, port.clone()).await;
    assert_eq!(undone, Ok(UndoAnswer::Undone));
    assert_eq!(port.functions(), ["ebs.delete-volume"; 2]);
}
