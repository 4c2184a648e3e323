//! EC2 and EBS, or what stands in for them.

use crate::bench::*;
use serde_json::Value;
use std::sync::atomic::{AtomicU64, Ordering};
use stepback_core::calls::Performance;
use stepback_core::reverse::{Reversal, reverse};
use stepback_core::step::EffectOutcome;
use stepback_core::*;

fn run_instance(bench: &Bench) -> Call {
    Call::Ec2(Ec2Call::RunInstance {
        image: "ami-12345678".into(),
        instance_type: "t3.micro".into(),
        zone: bench.zone.clone(),
        tags: tags(&[("Name", "made")]),
    })
}

pub fn create_volume(bench: &Bench) -> Call {
    Call::Ebs(EbsCall::CreateVolume {
        zone: bench.zone.clone(),
        size_gib: 1,
        volume_type: "gp3".into(),
        snapshot: None,
        tags: tags(&[("database", "main")]),
        performance: Performance::default(),
        encrypted: false,
    })
}

pub fn snapshot_of(volume: &VolumeId, own: &str) -> Call {
    let tags = tags(&[("own", own)]);
    Call::Ebs(EbsCall::CreateSnapshot { volume: volume.clone(), description: "d".into(), tags })
}

pub fn attach(volume: &VolumeId, instance: &InstanceId, device: &str) -> Call {
    let (volume, instance) = (volume.clone(), instance.clone());
    Call::Ebs(EbsCall::Attach { volume, instance, device: device.into() })
}

pub fn detach(volume: &VolumeId, instance: &InstanceId) -> Call {
    Call::Ebs(EbsCall::Detach { volume: volume.clone(), instance: instance.clone() })
}

fn grow(volume: &VolumeId, size_gib: u32) -> Call {
    Call::Ebs(EbsCall::ModifyVolume { volume: volume.clone(), size_gib })
}

pub fn tag_of(_bench: &Bench, volume: &VolumeId) -> Call {
    let value = fresh().to_string();
    Call::Ebs(EbsCall::Tag { volume: volume.clone(), key: "k".into(), value })
}

/// The `n`-th instance of the world; one that makes instances has a new one.
pub async fn instance(bench: &Bench, n: usize) -> InstanceId {
    match bench.instances.get(n) {
        Some(instance) => instance.clone(),
        None => new_instance(bench).await,
    }
}

pub async fn new_instance(bench: &Bench) -> InstanceId {
    InstanceId(id_of(&bench.done(&run_instance(bench)).await))
}

/// A new volume.
pub async fn volume(bench: &Bench) -> VolumeId {
    VolumeId(id_of(&bench.done(&create_volume(bench)).await))
}

/// A device name that nothing is attached as.
pub fn device() -> String {
    // There are 576 of them, and far fewer cases that take one.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::SeqCst);
    let letter = |number| char::from(b'b' + (number % 24) as u8);
    format!("/dev/xvd{}{}", letter(number / 24), letter(number))
}

fn has_cloud(bench: &Bench) -> bool {
    bench.serves("ebs.create-volume")
}

/// Effects on instances, by those who make them.
async fn effects_on_instances(bench: &Bench) -> Vec<Effect> {
    let instance = InstanceId(id_of(&bench.done(&run_instance(bench)).await));
    let of = || instance.clone();
    let set =
        Call::Ec2(Ec2Call::SetInstanceType { instance: of(), instance_type: "t3.large".into() });
    vec![
        effect(run_instance(bench), "RunInstances"),
        effect(Call::Ec2(Ec2Call::Stop { instance: of() }), "StopInstances"),
        effect(set, "ModifyInstanceAttribute"),
        effect(Call::Ec2(Ec2Call::Start { instance: of() }), "StartInstances"),
        effect(Call::Ec2(Ec2Call::Terminate { instance: of() }), "TerminateInstances"),
    ]
}

/// One of each effect, with what it needs made first.
pub async fn effects(bench: &Bench) -> Vec<Effect> {
    if !has_cloud(bench) {
        return vec![];
    }
    let mut all = vec![];
    if bench.serves("ec2.run-instance") {
        all = effects_on_instances(bench).await;
    }
    let (instance, made) = (instance(bench, 0).await, volume(bench).await);
    let snapshot = id_of(&bench.done(&snapshot_of(&volume(bench).await, "own")).await);
    let (key, value) = (format!("k{}", fresh()), "v".to_owned());
    let of_instance =
        Call::Ec2(Ec2Call::Tag { instance: instance.clone(), key: key.clone(), value });
    let of_volume =
        Call::Ebs(EbsCall::Tag { volume: made.clone(), key: key.clone(), value: "v".to_owned() });
    all.extend([
        effect(of_instance, "CreateTags"),
        effect(
            Call::Ec2(Ec2Call::Untag { instance: instance.clone(), key: key.clone() }),
            "DeleteTags",
        ),
        effect(create_volume(bench), "CreateVolume"),
        effect(snapshot_of(&made, "own"), "CreateSnapshot"),
        effect(attach(&made, &instance, &device()), "AttachVolume"),
        effect(detach(&made, &instance), "DetachVolume"),
        effect(grow(&made, 2), "ModifyVolume"),
        effect(of_volume, "CreateTags"),
        effect(Call::Ebs(EbsCall::Untag { volume: made.clone(), key }), "DeleteTags"),
        effect(
            Call::Ebs(EbsCall::DeleteSnapshot { snapshot: SnapshotId(snapshot) }),
            "DeleteSnapshot",
        ),
        effect(Call::Ebs(EbsCall::DeleteVolume { volume: made }), "DeleteVolume"),
    ]);
    all
}

/// Every look, each with its answer, and the effects they look at.
pub async fn story(bench: &Bench) -> Vec<(&'static str, Value)> {
    if !has_cloud(bench) {
        return vec![];
    }
    let mut told = vec![];
    for Effect { call, .. } in effects(bench).await {
        told.push((call.function(), bench.done(&call).await));
    }
    let (instance, volume) = (instance(bench, 0).await, volume(bench).await);
    let own = format!("own-{}", fresh());
    let snapshot = SnapshotId(id_of(&bench.done(&snapshot_of(&volume, &own)).await));
    let of = || volume.clone();
    let wait = |state: &str| {
        Call::Ebs(EbsCall::WaitVolume { volume: of(), state: state.into(), timeout_ms: 60_000 })
    };
    let tag =
        |key: &str| Call::Ebs(EbsCall::Tag { volume: of(), key: key.into(), value: own.clone() });
    let calls = [
        Call::Ec2(Ec2Call::Describe { instance: instance.clone() }),
        Call::Ec2(Ec2Call::Tag {
            instance: instance.clone(),
            key: "own".into(),
            value: own.clone(),
        }),
        Call::Ec2(Ec2Call::Find { tags: tags(&[("own", &own)]) }),
        Call::Ec2(Ec2Call::WaitState {
            instance: instance.clone(),
            state: "running".into(),
            timeout_ms: 60_000,
        }),
        tag("own"),
        Call::Ebs(EbsCall::Find { tags: tags(&[("own", &own)]) }),
        Call::Ebs(EbsCall::Find { tags: tags(&[("own", "nobody's")]) }),
        attach(&volume, &instance, &device()),
        wait("in-use"),
        Call::Ebs(EbsCall::Describe { volume: of() }),
        detach(&volume, &instance),
        wait("available"),
        Call::Ebs(EbsCall::WaitSnapshot { snapshot: snapshot.clone(), timeout_ms: 60_000 }),
        Call::Ebs(EbsCall::DescribeSnapshot { snapshot: snapshot.clone() }),
        Call::Ebs(EbsCall::FindSnapshots { tags: tags(&[("own", &own)]) }),
        Call::Ebs(EbsCall::DeleteSnapshot { snapshot }),
        Call::Ebs(EbsCall::DeleteVolume { volume: of() }),
    ];
    for call in calls {
        let answer = bench.answer(&call).await;
        let answer = answer.unwrap_or_else(|failure| panic!("{}: {failure:?}", call.function()));
        told.push((call.function(), answer));
    }
    told
}

/// One of each kind, with the token that made it.
pub async fn resources(bench: &Bench) -> Vec<(Resource, Option<Token>)> {
    if !has_cloud(bench) {
        return vec![];
    }
    let of = volume(bench).await;
    let mut made = vec![];
    let mut calls = vec![create_volume(bench), snapshot_of(&of, "own")];
    if bench.serves("ec2.run-instance") {
        calls.push(run_instance(bench));
    }
    for call in calls {
        let context = context();
        let EffectOutcome::Done(answer) = bench.perform(&call, &context).await else {
            panic!("{:?}: {}", bench.world, call.function())
        };
        let id = id_of(&answer);
        let resource = match call {
            Call::Ebs(EbsCall::CreateVolume { .. }) => Resource::Volume { id },
            Call::Ebs(EbsCall::CreateSnapshot { .. }) => Resource::Snapshot { id },
            _ => Resource::Instance { id },
        };
        made.push((resource, Some(context.token)));
    }
    if let Some(instance) = bench.instances.first() {
        made.push((Resource::Instance { id: instance.0.clone() }, None));
    }
    made
}

fn no_instance() -> InstanceId {
    "i-0123456789abcdef0".into()
}

fn no_volume() -> VolumeId {
    "vol-0123456789abcdef0".into()
}

pub fn of_nothing(bench: &Bench) -> Vec<Call> {
    if !has_cloud(bench) {
        return vec![];
    }
    let snapshot = || SnapshotId("snap-0123456789abcdef0".to_owned());
    let (key, value) = ("k".to_owned(), "v".to_owned());
    let mut tags = vec![
        Call::Ec2(Ec2Call::Tag { instance: no_instance(), key: key.clone(), value: value.clone() }),
        Call::Ebs(EbsCall::Tag { volume: no_volume(), key: key.clone(), value }),
        Call::Ebs(EbsCall::Untag { volume: no_volume(), key }),
    ];
    if bench.world == World::Aws {
        println!("Aws: tags of nothing are left out: moto takes them; EC2 says NotFound");
        tags.clear();
    }
    let mut all = vec![
        Call::Ec2(Ec2Call::Describe { instance: no_instance() }),
        Call::Ebs(EbsCall::Describe { volume: no_volume() }),
        Call::Ebs(EbsCall::DescribeSnapshot { snapshot: snapshot() }),
        snapshot_of(&no_volume(), "own"),
        attach(&no_volume(), &no_instance(), "/dev/sdf"),
        detach(&no_volume(), &no_instance()),
        grow(&no_volume(), 9),
        Call::Ebs(EbsCall::DeleteVolume { volume: no_volume() }),
        Call::Ebs(EbsCall::DeleteSnapshot { snapshot: snapshot() }),
    ];
    all.extend(tags);
    all
}

pub fn nothing(bench: &Bench) -> Vec<Resource> {
    if !has_cloud(bench) {
        return vec![];
    }
    vec![
        Resource::Instance { id: no_instance().0 },
        Resource::Volume { id: no_volume().0 },
        Resource::Snapshot { id: "snap-0123456789abcdef0".to_owned() },
    ]
}

pub async fn a_repeated_token_takes_effect_once(bench: &Bench) {
    let context = context();
    let first = bench.perform(&create_volume(bench), &context).await;
    let second = bench.perform(&create_volume(bench), &context).await;
    assert!(matches!(first, EffectOutcome::Done(_)), "{first:?}");
    assert_eq!(first, second);
    assert_eq!(bench.stamped(&context.token).await.len(), 1);
}

/// *CreateSnapshot* takes no client token (Amazon EC2 API Reference), so the same again is one
/// more: whoever lost an answer must look first.
pub async fn where_the_api_knows_no_token_the_same_again_is_another(bench: &Bench) {
    let (volume, context) = (volume(bench).await, context());
    for _ in 0..2 {
        let outcome = bench.perform(&snapshot_of(&volume, "own"), &context).await;
        assert!(matches!(outcome, EffectOutcome::Done(_)), "{outcome:?}");
    }
    assert_eq!(bench.stamped(&context.token).await.len(), 2, "{:?}", bench.world);
}

pub async fn an_attached_volume_is_not_attached_elsewhere(bench: &Bench) {
    let (one, other) = (instance(bench, 0).await, instance(bench, 1).await);
    let volume = volume(bench).await;
    bench.done(&attach(&volume, &one, &device())).await;
    let elsewhere = attach(&volume, &other, &device());
    bench.refuses(&elsewhere, FailureClass::Refused, "VolumeInUse").await;
    bench
        .refuses(
            &Call::Ebs(EbsCall::DeleteVolume { volume: volume.clone() }),
            FailureClass::Refused,
            "VolumeInUse",
        )
        .await;
    bench.done(&detach(&volume, &one)).await;
}

pub async fn a_detached_volume_is_not_detached(bench: &Bench) {
    let (instance, volume) = (instance(bench, 0).await, volume(bench).await);
    bench.done(&attach(&volume, &instance, &device())).await;
    bench.done(&detach(&volume, &instance)).await;
    let failure = bench.refused(&detach(&volume, &instance)).await;
    // EC2 says `IncorrectState`; moto has a code of its own.
    let code = match bench.world {
        World::Aws => "InvalidAttachment.NotFound",
        _ => "IncorrectState",
    };
    assert_eq!(failure.code.as_deref(), Some(code), "{:?}: {failure}", bench.world);
}

/// Its snapshots are encrypted as it is, and so is what is made from them
/// (Amazon EBS User Guide, *How Amazon EBS encryption works*).
pub async fn a_volume_is_provisioned_as_it_was_asked_for(bench: &Bench) {
    let mut call = create_volume(bench);
    if let Call::Ebs(EbsCall::CreateVolume { size_gib, performance, encrypted, .. }) = &mut call {
        *size_gib = 8;
        *performance = Performance { iops: Some(4_000), throughput_mibps: Some(250) };
        *encrypted = true;
    }
    let made = bench.done(&call).await;
    let volume = VolumeId(id_of(&made));
    let facts = bench.observe(&Resource::Volume { id: volume.0.clone() }).await;
    for (name, value) in [("iops", 4_000.into()), ("throughput_mibps", 250.into())] {
        assert_eq!((&made[name], facts.get(name)), (&value, Some(&value)), "{:?}", bench.world);
    }
    let of_it = bench.done(&snapshot_of(&volume, "own")).await;
    let mut again = create_volume(bench);
    if let Call::Ebs(EbsCall::CreateVolume { size_gib, snapshot, .. }) = &mut again {
        *size_gib = 8;
        *snapshot = Some(SnapshotId(id_of(&of_it)));
    }
    let copy = bench.done(&again).await;
    assert_eq!((&made["encrypted"], &copy["encrypted"]), (&true.into(), &true.into()));
    assert_eq!(facts.get("encrypted"), Some(&true.into()), "{:?}", bench.world);
}

pub async fn a_volume_only_grows(bench: &Bench) {
    let volume = volume(bench).await;
    bench.done(&grow(&volume, 3)).await;
    let (class, code) = (FailureClass::Refused, "InvalidParameterValue");
    bench.refuses(&grow(&volume, 2), class, code).await;
}

pub async fn a_volume_that_was_just_grown_is_not_grown_again(bench: &Bench) {
    let volume = volume(bench).await;
    bench.done(&grow(&volume, 2)).await;
    let (class, code) = (FailureClass::Refused, "VolumeModificationRateExceeded");
    bench.refuses(&grow(&volume, 3), class, code).await;
}

pub async fn a_volume_is_attached_by_a_name_that_ec2_has(bench: &Bench) {
    let (instance, volume) = (instance(bench, 0).await, volume(bench).await);
    for name in ["/dev/nvme1n1", "nvme1n1", "/dev/vdf", "/dev/sdf16", ""] {
        let attach = attach(&volume, &instance, name);
        bench.refuses(&attach, FailureClass::Refused, "InvalidParameterValue").await;
    }
    bench.done(&attach(&volume, &instance, "/dev/xvdbb")).await;
    bench.done(&detach(&volume, &instance)).await;
}

pub async fn zones_are_kept_apart(bench: &Bench) {
    let volume = volume(bench).await;
    let far = attach(&volume, &bench.instances[2], &device());
    bench.refuses(&far, FailureClass::Refused, "InvalidVolume.ZoneMismatch").await;
}

pub async fn what_someone_else_changed_is_not_touched(bench: &Bench) {
    let (one, other) = (instance(bench, 0).await, instance(bench, 1).await);
    let volume = volume(bench).await;
    bench.done(&attach(&volume, &one, &device())).await;
    let effect = observed(bench, &detach(&volume, &one)).await;
    bench.done(&attach(&volume, &other, &device())).await;
    let reversal = reverse(&effect, &seen_now(bench, &effect).await);
    let says = |why: &str| why.contains(other.as_str());
    assert!(matches!(&reversal, Reversal::Cannot(why) if says(why)), "{reversal:?}");
    bench.done(&detach(&volume, &other)).await;
}
