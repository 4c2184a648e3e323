//! What every provider must do, held against the AWS provider on moto's server.

use crate::bench::*;
use crate::proxy::{Fault, ec2_error};
use serde_json::Value;
use stepback_clock::Clock;
use stepback_core::reverse::{Reversal, reverse};
use stepback_core::step::EffectOutcome;
use stepback_core::*;
use stepback_provider::{EffectContext, Provider, Settled};
use stepback_simulated::Simulated;

/// Every call once, in an order that makes sense; each with its answer.
async fn story(world: &dyn Provider, own: &str) -> Vec<(&'static str, Value)> {
    let mut told: Vec<(&'static str, Value)> = vec![];
    let tagged = tags(&[("own", own)]);
    let instance = effect(world, &mut told, run_instance()).await;
    let instance = InstanceId(id_of(&instance));
    let volume = effect(world, &mut told, create_volume()).await;
    let volume = VolumeId(id_of(&volume));
    let of_instance = story_of_instance(&instance, own);
    for call in of_instance {
        any(world, &mut told, call).await;
    }
    any(world, &mut told, attach(&volume, &instance)).await;
    any(world, &mut told, wait_volume(&volume, "in-use")).await;
    any(world, &mut told, Call::Ebs(EbsCall::Describe { volume: volume.clone() })).await;
    any(world, &mut told, detach(&volume, &instance)).await;
    let (key, value) = ("own".to_owned(), own.to_owned());
    any(world, &mut told, Call::Ebs(EbsCall::Tag { volume: volume.clone(), key, value })).await;
    any(world, &mut told, Call::Ebs(EbsCall::Find { tags: tagged.clone() })).await;
    any(world, &mut told, Call::Ebs(EbsCall::Untag { volume: volume.clone(), key: "own".into() }))
        .await;
    any(world, &mut told, Call::Ebs(EbsCall::ModifyVolume { volume: volume.clone(), size_gib: 8 }))
        .await;
    let (of, description) = (volume.clone(), "d".to_owned());
    let make = Call::Ebs(EbsCall::CreateSnapshot { volume: of, description, tags: tagged.clone() });
    let snapshot = SnapshotId(id_of(&effect(world, &mut told, make).await));
    let wait = Call::Ebs(EbsCall::WaitSnapshot { snapshot: snapshot.clone(), timeout_ms: 60_000 });
    any(world, &mut told, wait).await;
    any(world, &mut told, Call::Ebs(EbsCall::DescribeSnapshot { snapshot: snapshot.clone() }))
        .await;
    any(world, &mut told, Call::Ebs(EbsCall::FindSnapshots { tags: tagged })).await;
    any(world, &mut told, Call::Ebs(EbsCall::DeleteSnapshot { snapshot })).await;
    any(world, &mut told, Call::Ebs(EbsCall::DeleteVolume { volume })).await;
    any(world, &mut told, Call::Ec2(Ec2Call::Terminate { instance })).await;
    told
}

fn story_of_instance(instance: &InstanceId, own: &str) -> Vec<Call> {
    let (key, value) = ("own".to_owned(), own.to_owned());
    let instance_type = "t3.large".to_owned();
    vec![
        Call::Ec2(Ec2Call::Describe { instance: instance.clone() }),
        Call::Ec2(Ec2Call::Tag { instance: instance.clone(), key: key.clone(), value }),
        Call::Ec2(Ec2Call::Find { tags: tags(&[("own", own)]) }),
        Call::Ec2(Ec2Call::Untag { instance: instance.clone(), key }),
        Call::Ec2(Ec2Call::Stop { instance: instance.clone() }),
        Call::Ec2(Ec2Call::SetInstanceType { instance: instance.clone(), instance_type }),
        Call::Ec2(Ec2Call::Start { instance: instance.clone() }),
        Call::Ec2(Ec2Call::WaitState {
            instance: instance.clone(),
            state: "running".into(),
            timeout_ms: 60_000,
        }),
    ]
}

fn wait_volume(volume: &VolumeId, state: &str) -> Call {
    Call::Ebs(EbsCall::WaitVolume {
        volume: volume.clone(),
        state: state.into(),
        timeout_ms: 60_000,
    })
}

async fn effect(world: &dyn Provider, told: &mut Vec<(&str, Value)>, call: Call) -> Value {
    let answer = done(world, &call).await;
    told.push((call.function(), answer.clone()));
    answer
}

async fn any(world: &dyn Provider, told: &mut Vec<(&'static str, Value)>, call: Call) {
    let answer = match call.class() {
        Class::Read => world.read(&call).await,
        Class::Wait => world.wait(&call).await,
        Class::Effect | Class::Irreversible => Ok(done(world, &call).await),
    };
    let answer = answer.unwrap_or_else(|failure| panic!("{}: {failure:?}", call.function()));
    told.push((call.function(), answer));
}

/// An answer without what differs from world to world: ids, addresses, the disks that an instance
/// begins with, and a throughput that nobody asked for, which moto leaves out.
fn shape(answer: &Value) -> Value {
    const OWN: [&str; 7] =
        ["id", "private_ip", "instance", "volume", "snapshot", "devices", "throughput_mibps"];
    match answer {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| match OWN.contains(&key.as_str()) {
                true => (key.clone(), Value::Null),
                false => (key.clone(), shape(value)),
            })
            .collect(),
        Value::Array(all) => all.iter().map(shape).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => answer.clone(),
    }
}

#[tokio::test]
async fn every_call_answers_as_the_simulated_world_does() {
    let bench = Bench::new().await;
    let simulated = Simulated::in_memory("", Clock::real()).unwrap();
    let own = token().0;
    let (here, there) = (story(&bench.aws, &own).await, story(&simulated, &own).await);
    for ((function, answer), (_, simulated)) in here.iter().zip(&there) {
        assert_eq!(shape(answer), shape(simulated), "{function}");
    }
    let told: Vec<&str> = here.iter().map(|(function, _)| *function).collect();
    let ours = |f: &&str| f.starts_with("ec2.") || f.starts_with("ebs.");
    for function in Call::functions().filter(ours) {
        assert!(told.contains(&function), "{function} was never called");
    }
}

#[tokio::test]
async fn facts_are_those_that_count_and_stamps_are_none() {
    let bench = Bench::new().await;
    let context = context();
    bench.aws.perform(&run_instance(), &context).await;
    bench.aws.perform(&create_volume(), &context).await;
    let volume = bench.volume().await;
    bench.aws.perform(&snapshot_of(&volume), &context).await;
    let found = bench.aws.stamped(std::slice::from_ref(&context.token)).await.unwrap().found;
    assert_eq!(found.len(), 3, "{found:?}");
    for (token, resource) in found {
        assert_eq!(token, context.token);
        let Facts::Present(facts) = bench.aws.observe(&resource).await.unwrap() else {
            panic!("{resource} is absent")
        };
        let mut counted = resource.kind().counted().to_vec();
        counted.sort_unstable();
        assert_eq!(facts.keys().map(String::as_str).collect::<Vec<_>>(), counted);
        assert_eq!(facts["tags"].as_object().unwrap().len(), 1, "{:?}", facts["tags"]);
        let by_stamp =
            Resource::Created { kind: resource.kind(), host: None, token: context.token.0.clone() };
        assert_eq!(bench.aws.observe(&by_stamp).await.unwrap(), Facts::Present(facts));
    }
    let none = Resource::Volume { id: "vol-0123456789abcdef0".into() };
    assert!(bench.aws.observe(&none).await.unwrap().is_absent());
    assert_eq!(bench.aws.stamped(&[]).await.unwrap().found, []);
}

/// EC2 makes one thing of two requests with the same client token (Amazon EC2 API Reference,
/// *Ensuring idempotency in Amazon EC2 API requests*). moto ignores client tokens and makes two,
/// so what is checked here is that both requests carry it, in a length that EC2 takes.
#[tokio::test]
async fn a_repeated_token_is_told_to_aws() {
    let bench = Bench::new().await;
    for (call, action) in [(run_instance(), "RunInstances"), (create_volume(), "CreateVolume")] {
        let context = context();
        for _ in 0..2 {
            bench.aws.perform(&call, &context).await;
        }
        let wanted = format!("ClientToken={}", context.token);
        let seen = bench.proxy.seen(action);
        assert_eq!(seen.len(), 2);
        assert!(seen.iter().all(|body| body.split('&').any(|pair| pair == wanted)), "{seen:?}");
        assert!(context.token.as_str().len() <= 64);
    }
}

/// Left out, because moto allows it: attaching an attached volume (EC2: `VolumeInUse`) or one of
/// another zone (`InvalidVolume.ZoneMismatch`), changing the type of a running instance
/// (`IncorrectInstanceState`), growing again within six hours (`VolumeModificationRateExceeded`),
/// shrinking (`InvalidParameterValue`), a volume in no zone (`InvalidZone.NotFound`). The table of
/// codes is tested beside it.
#[tokio::test]
async fn wrong_states_are_refused_with_codes_and_classes() {
    let bench = Bench::new().await;
    let (instance, volume) = (bench.instance().await, bench.volume().await);
    let (no_instance, no_volume) = ("i-0123456789abcdef0".into(), "vol-0123456789abcdef0".into());
    bench.done(&attach(&volume, &instance)).await;
    let delete = |volume: &VolumeId| Call::Ebs(EbsCall::DeleteVolume { volume: volume.clone() });
    let unsnapshot =
        Call::Ebs(EbsCall::DeleteSnapshot { snapshot: "snap-0123456789abcdef0".into() });
    let (key, value) = ("stepback:token".to_owned(), "x".to_owned());
    let stamp = Call::Ebs(EbsCall::Tag { volume: volume.clone(), key, value });
    let docker =
        Call::Docker(DockerCall::StartContainer { host: "h".into(), container: "c".into() });
    let elsewhere = Call::Ec2(Ec2Call::RunInstance {
        image: "ami-12345678".into(),
        instance_type: "t3.micro".into(),
        zone: "eu-west-9z".into(),
        tags: tags(&[]),
    });
    let table = [
        (delete(&volume), Some("VolumeInUse"), FailureClass::Refused),
        (delete(&no_volume), Some("InvalidVolume.NotFound"), FailureClass::Precondition),
        (attach(&no_volume, &instance), Some("InvalidVolume.NotFound"), FailureClass::Precondition),
        (
            attach(&volume, &no_instance),
            Some("InvalidInstanceID.NotFound"),
            FailureClass::Precondition,
        ),
        (
            Call::Ec2(Ec2Call::Stop { instance: no_instance.clone() }),
            Some("InvalidInstanceID.NotFound"),
            FailureClass::Precondition,
        ),
        (unsnapshot, Some("InvalidSnapshot.NotFound"), FailureClass::Precondition),
        (elsewhere, Some("InvalidParameterValue"), FailureClass::Refused),
        (stamp, None, FailureClass::InvalidInput),
        (docker, None, FailureClass::Internal),
    ];
    for (call, code, class) in table {
        let failure = bench.refused(&call).await;
        assert_eq!((failure.code.as_deref(), failure.class), (code, class), "{failure}");
    }
    // EC2 says `IncorrectState`; moto has a code of its own.
    bench.done(&detach(&volume, &instance)).await;
    let failure = bench.refused(&detach(&volume, &instance)).await;
    assert_eq!(failure.code.as_deref(), Some("InvalidAttachment.NotFound"));
    let failure =
        bench.aws.read(&Call::Ec2(Ec2Call::Describe { instance: no_instance })).await.unwrap_err();
    assert_eq!(failure.code.as_deref(), Some("InvalidInstanceID.NotFound"));
    assert_eq!(failure.class, FailureClass::Precondition);
    let now = bench.aws.read(&Call::Clock(ClockCall::Now {})).await.unwrap_err();
    assert_eq!(now.class, FailureClass::Internal);
}

/// *VolumeInUse* by its target is done; by another instance it is refused.
#[tokio::test]
async fn a_volume_in_use_by_its_target_is_attached() {
    let bench = Bench::new().await;
    let (one, other, volume) =
        (bench.instance().await, bench.instance().await, bench.volume().await);
    bench.done(&attach(&volume, &one)).await;
    bench.proxy.on("AttachVolume", 2, ec2_error(400, "VolumeInUse", "it is attached"));
    let answer = bench.done(&attach(&volume, &one)).await;
    assert_eq!(answer["attachments"][0]["instance"], one.as_str());
    let failure = bench.refused(&attach(&volume, &other)).await;
    assert_eq!(failure.code.as_deref(), Some("VolumeInUse"));
}

#[tokio::test]
async fn tags_are_found_literally() {
    let bench = Bench::new().await;
    let own = token().0;
    let mut made = vec![];
    for value in ["a*", "ab", r"a\b"] {
        let mut call = create_volume();
        let Call::Ebs(EbsCall::CreateVolume { tags: own_tags, .. }) = &mut call else {
            unreachable!()
        };
        *own_tags = tags(&[("own", &own), ("x", value)]);
        made.push((value, id_of(&bench.done(&call).await)));
    }
    let all =
        bench.aws.read(&Call::Ebs(EbsCall::Find { tags: tags(&[("own", &own)]) })).await.unwrap();
    assert_eq!(all.as_array().unwrap().len(), 3);
    for (value, id) in &made {
        let find = Call::Ebs(EbsCall::Find { tags: tags(&[("own", &own), ("x", value)]) });
        let found = bench.aws.read(&find).await.unwrap();
        assert_eq!(found.as_array().unwrap().len(), 1, "{value}: {found}");
        assert_eq!(found[0]["id"], id.as_str());
    }
}

/// One of each effect, with what it needs made first.
pub async fn each_effect(bench: &Bench) -> Vec<(Call, &'static str)> {
    let mut calls = vec![
        (run_instance(), "RunInstances"),
        (create_volume(), "CreateVolume"),
        (snapshot_of(&bench.volume().await), "CreateSnapshot"),
    ];
    let (instance, volume) = (bench.instance().await, bench.volume().await);
    let (key, value) = ("k".to_owned(), "v".to_owned());
    let instance_type = "t3.large".to_owned();
    let snapshot = SnapshotId(id_of(&bench.done(&snapshot_of(&volume)).await));
    calls.extend([
        (Call::Ec2(Ec2Call::Stop { instance: instance.clone() }), "StopInstances"),
        (
            Call::Ec2(Ec2Call::SetInstanceType { instance: instance.clone(), instance_type }),
            "ModifyInstanceAttribute",
        ),
        (Call::Ec2(Ec2Call::Start { instance: instance.clone() }), "StartInstances"),
        (
            Call::Ec2(Ec2Call::Tag {
                instance: instance.clone(),
                key: key.clone(),
                value: value.clone(),
            }),
            "CreateTags",
        ),
        (Call::Ec2(Ec2Call::Untag { instance: instance.clone(), key: key.clone() }), "DeleteTags"),
        (attach(&volume, &instance), "AttachVolume"),
        (detach(&volume, &instance), "DetachVolume"),
        (Call::Ebs(EbsCall::ModifyVolume { volume: volume.clone(), size_gib: 9 }), "ModifyVolume"),
        (Call::Ebs(EbsCall::Tag { volume: volume.clone(), key: key.clone(), value }), "CreateTags"),
        (Call::Ebs(EbsCall::Untag { volume: volume.clone(), key }), "DeleteTags"),
        (Call::Ebs(EbsCall::DeleteSnapshot { snapshot }), "DeleteSnapshot"),
        (Call::Ebs(EbsCall::DeleteVolume { volume }), "DeleteVolume"),
        (Call::Ec2(Ec2Call::Terminate { instance }), "TerminateInstances"),
    ]);
    let ours = |f: &&str| f.starts_with("ec2.") || f.starts_with("ebs.");
    let told: Vec<&str> = calls.iter().map(|(call, _)| call.function()).collect();
    for (call, _) in &calls {
        assert!(call.is_effect());
    }
    let reads = ["describe", "find", "wait"];
    let is_effect = |f: &&str| !reads.iter().any(|word| f.contains(word));
    for function in Call::functions().filter(ours).filter(is_effect) {
        assert!(told.contains(&function), "{function} is left out");
    }
    calls
}

#[tokio::test]
async fn a_lost_request_is_unknown_then_not_happened_and_a_lost_answer_done() {
    let bench = Bench::new().await;
    for (call, action) in each_effect(&bench).await {
        let (context, before) = (context(), bench.proxy.seen(action).len());
        bench.proxy.on(action, 1, Fault::LoseRequest);
        bench.proxy.on(action, 1, Fault::LoseAnswer);
        let outcome = bench.aws.perform(&call, &context).await;
        assert!(matches!(outcome, EffectOutcome::Unknown(_)), "{}: {outcome:?}", call.function());
        let settled = bench.aws.settle(&call, &context).await;
        assert_eq!(settled, Settled::NotHappened, "{}", call.function());
        let outcome = bench.aws.perform(&call, &context).await;
        assert!(matches!(outcome, EffectOutcome::Unknown(_)), "{}: {outcome:?}", call.function());
        let Settled::Done(answer) = bench.aws.settle(&call, &context).await else {
            panic!("{} was not settled", call.function())
        };
        assert_eq!(bench.proxy.seen(action).len(), before + 2, "{} sent again", call.function());
        exactly_one(&bench, &call, &context, &answer).await;
    }
}

/// What a call created is there once, and the settled answer names it.
async fn exactly_one(bench: &Bench, call: &Call, context: &EffectContext, answer: &Value) {
    let found = bench.aws.stamped(std::slice::from_ref(&context.token)).await.unwrap().found;
    match call.settle_mode() {
        Some(calls::SettleMode::DesiredState) => assert_eq!(found, []),
        _ => {
            assert_eq!(found.len(), 1, "{}", call.function());
            assert!(found[0].1.to_string().ends_with(&id_of(answer)));
        }
    }
}

#[tokio::test]
async fn what_is_not_listed_yet_is_not_taken_for_absent() {
    let bench = Bench::new().await;
    let (call, context) = (snapshot_of(&bench.volume().await), context());
    bench.proxy.on("CreateSnapshot", 1, Fault::LoseAnswer);
    let empty = "<DescribeSnapshotsResponse><snapshotSet/></DescribeSnapshotsResponse>";
    let looks = PACE.absent_looks as usize - 1;
    bench.proxy.on("DescribeSnapshots", looks, Fault::Answer(200, empty.into()));
    assert!(matches!(bench.aws.perform(&call, &context).await, EffectOutcome::Unknown(_)));
    let settled = bench.aws.settle(&call, &context).await;
    assert!(matches!(settled, Settled::Done(_)), "{settled:?}");
}

/// A look that failed shows nothing: without an answer from the world there is no *absent*.
#[tokio::test]
async fn a_world_that_can_not_be_asked_settles_nothing() {
    let bench = Bench::new().await;
    let (call, context) = (snapshot_of(&bench.volume().await), context());
    bench.proxy.on("CreateSnapshot", 1, Fault::LoseAnswer);
    assert!(matches!(bench.aws.perform(&call, &context).await, EffectOutcome::Unknown(_)));
    bench.proxy.on("DescribeSnapshots", 1, ec2_error(403, "UnauthorizedOperation", "no"));
    let settled = bench.aws.settle(&call, &context).await;
    assert!(matches!(settled, Settled::CantKnow(_)), "{settled:?}");
    let settled = bench.aws.settle(&call, &context).await;
    assert!(matches!(settled, Settled::Done(_)), "{settled:?}");
}

#[tokio::test]
async fn every_reversible_effect_goes_back_to_what_it_was() {
    let bench = Bench::new().await;
    for (call, _) in each_effect(&bench).await {
        let effect = observed(&bench.aws, &call, &context()).await;
        if call.class() == Class::Irreversible {
            continue;
        }
        let before = |effect: &step::PastEffect| -> Vec<(Resource, Facts)> {
            effect.changes.iter().map(|c| (c.resource.clone(), c.before.clone())).collect()
        };
        let now = seen_now(&bench.aws, &effect).await;
        assert_ne!(facts_of(&now), before(&effect), "{} changed nothing", call.function());
        let Reversal::Calls(inverse) = reverse(&effect, &now) else {
            panic!("{} has no inverse", call.function())
        };
        for call in &inverse {
            bench.done(call).await;
        }
        let now = seen_now(&bench.aws, &effect).await;
        assert_eq!(facts_of(&now), before(&effect), "{} was not taken back", call.function());
        assert_eq!(reverse(&effect, &now), Reversal::NothingToDo, "safe to repeat");
        // The next one builds on this one's effect; what this one created is gone.
        if call.settle_mode() == Some(calls::SettleMode::DesiredState) {
            bench.done(&call).await;
        }
    }
}
