//! States that only pass through, and waits. moto is never between two states, so the proxy
//! answers in AWS's place.

use crate::bench::*;
use crate::proxy::{Fault, ec2_error};
use stepback_aws::Pace;
use stepback_core::step::EffectOutcome;
use stepback_core::*;
use stepback_provider::{Provider, Settled};

fn volume_xml(volume: &VolumeId, size_gib: u32, state: &str, attachment: &str) -> Fault {
    let item = format!(
        "<item><volumeId>{volume}</volumeId><size>{size_gib}</size><snapshotId/>\
         <availabilityZone>{ZONE}</availabilityZone><status>{state}</status>\
         <volumeType>gp3</volumeType><attachmentSet>{attachment}</attachmentSet></item>"
    );
    let set = format!("<volumeSet>{item}</volumeSet>");
    Fault::Answer(200, format!("<DescribeVolumesResponse>{set}</DescribeVolumesResponse>"))
}

fn instance_xml(instance: &InstanceId, state: &str) -> Fault {
    let item = format!(
        "<item><instanceId>{instance}</instanceId><instanceState><code>0</code>\
         <name>{state}</name></instanceState><stateReason><code>Server</code>\
         <message>no capacity</message></stateReason></item>"
    );
    let set = format!("<item><instancesSet>{item}</instancesSet></item>");
    let all = format!("<reservationSet>{set}</reservationSet>");
    Fault::Answer(200, format!("<DescribeInstancesResponse>{all}</DescribeInstancesResponse>"))
}

fn attachment_xml(instance: &InstanceId, state: &str) -> String {
    format!(
        "<item><instanceId>{instance}</instanceId><device>/dev/sdf</device>\
         <status>{state}</status></item>"
    )
}

fn modification_xml(volume: &VolumeId, size_gib: u32, state: &str) -> Fault {
    let item = format!(
        "<item><volumeId>{volume}</volumeId><targetSize>{size_gib}</targetSize>\
         <modificationState>{state}</modificationState></item>"
    );
    let set = format!("<volumeModificationSet>{item}</volumeModificationSet>");
    let name = "DescribeVolumesModificationsResponse";
    Fault::Answer(200, format!("<{name}>{set}</{name}>"))
}

#[tokio::test]
async fn a_created_volume_is_answered_when_it_is_available() {
    let bench = Bench::new().await;
    let unnamed = VolumeId("vol-0".into());
    bench.proxy.on("DescribeVolumes", 2, volume_xml(&unnamed, 4, "creating", ""));
    let answer = bench.done(&create_volume()).await;
    assert_eq!(answer["state"], "available");
    assert_eq!(bench.proxy.seen("DescribeVolumes").len(), 3);
    bench.proxy.on("DescribeVolumes", 1, volume_xml(&unnamed, 4, "error", ""));
    let outcome = bench.aws.perform(&create_volume(), &context()).await;
    assert!(matches!(outcome, EffectOutcome::Unknown(_)), "{outcome:?}");
}

#[tokio::test]
async fn attaching_and_detaching_end_in_a_steady_state() {
    let bench = Bench::new().await;
    let (instance, volume) = (bench.instance().await, bench.volume().await);
    let at = |state: &str| volume_xml(&volume, 4, "in-use", &attachment_xml(&instance, state));
    bench.proxy.on("DescribeVolumes", 2, at("attaching"));
    let answer = bench.done(&attach(&volume, &instance)).await;
    assert_eq!(answer["attachments"][0]["device"], "/dev/sdf");
    bench.proxy.on("DescribeVolumes", 1, at("detaching"));
    bench.proxy.on("DescribeVolumes", 1, at("busy"));
    let looks = bench.proxy.seen("DescribeVolumes").len();
    let resource = Resource::Volume { id: volume.0.clone() };
    let facts = bench.aws.observe(&resource).await.unwrap();
    assert_eq!(bench.proxy.seen("DescribeVolumes").len(), looks + 3, "it is waited out");
    assert_eq!(facts.get("attachments").unwrap().as_array().unwrap().len(), 1);
    bench.proxy.on("DescribeVolumes", 1, at("detaching"));
    let answer = bench.done(&detach(&volume, &instance)).await;
    assert_eq!(answer["state"], "available");
}

/// Usable at `optimizing`: nobody waits for `completed`, and the size is the proof.
#[tokio::test]
async fn a_modification_is_settled_by_its_target_size() {
    let bench = Bench::new().await;
    let volume = bench.volume().await;
    let grow = Call::Ebs(EbsCall::ModifyVolume { volume: volume.clone(), size_gib: 9 });
    bench.proxy.on("DescribeVolumes", 2, volume_xml(&volume, 4, "available", ""));
    let action = "DescribeVolumesModifications";
    bench.proxy.on(action, 2, modification_xml(&volume, 9, "modifying"));
    let answer = bench.done(&grow).await;
    assert_eq!(answer["size_gib"], 9);
    assert_eq!(bench.proxy.seen(action).len(), 2, "at the wanted size nothing is asked");
    // One that failed, and one to another size, are not this one: each look counts as absent.
    let other = Call::Ebs(EbsCall::ModifyVolume { volume: volume.clone(), size_gib: 20 });
    let (looks, before) = (PACE.absent_looks as usize, bench.proxy.seen(action).len());
    bench.proxy.on(action, looks / 2, modification_xml(&volume, 20, "failed"));
    bench.proxy.on(action, looks, modification_xml(&volume, 30, "optimizing"));
    assert_eq!(bench.aws.settle(&other, &context()).await, Settled::NotHappened);
    assert_eq!(bench.proxy.seen(action).len(), before + looks);
}

#[tokio::test]
async fn an_instance_is_observed_when_it_has_come_to_rest() {
    let bench = Bench::new().await;
    let instance = bench.instance().await;
    let passing = ["pending", "stopping", "shutting-down"];
    for state in passing {
        bench.proxy.on("DescribeInstances", 1, instance_xml(&instance, state));
    }
    let looks = bench.proxy.seen("DescribeInstances").len();
    let resource = Resource::Instance { id: instance.0.clone() };
    let facts = bench.aws.observe(&resource).await.unwrap();
    assert_eq!(facts.get("state").unwrap(), "running");
    assert_eq!(bench.proxy.seen("DescribeInstances").len(), looks + passing.len() + 1);
    bench.proxy.on("DescribeInstances", 1, instance_xml(&instance, "terminated"));
    assert!(bench.aws.observe(&resource).await.unwrap().is_absent());
}

/// A volume that is still mounted stays `busy`: that is neither done nor not happened.
#[tokio::test]
async fn what_never_comes_to_rest_is_not_known() {
    let bench = Bench::new().await;
    let (instance, volume) = (bench.instance().await, bench.volume().await);
    bench.done(&attach(&volume, &instance)).await;
    let at = |state: &str| volume_xml(&volume, 4, "in-use", &attachment_xml(&instance, state));
    bench.proxy.on("DescribeVolumes", 1, at("detaching"));
    bench.proxy.on("DescribeVolumes", usize::MAX, at("busy"));
    let pace = Pace { effect_ms_max: 60, steady_ms_max: 60, ..PACE };
    let aws = aws_at(&format!("http://{}", bench.proxy.address), None).await.with_pace(pace);
    let call = detach(&volume, &instance);
    let outcome = aws.perform(&call, &context()).await;
    assert!(matches!(outcome, EffectOutcome::Unknown(_)), "{outcome:?}");
    let settled = aws.settle(&call, &context()).await;
    assert!(matches!(&settled, Settled::CantKnow(why) if why.contains("mounted")), "{settled:?}");
    let failure = aws.observe(&Resource::Volume { id: volume.0.clone() }).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Deadline);
}

/// An instance that dies while it starts, for want of capacity say, never becomes *done*.
#[tokio::test]
async fn an_instance_that_dies_while_it_starts_is_unknown_and_then_not_there() {
    let bench = Bench::new().await;
    let dead = InstanceId("i-0".into());
    bench.proxy.on("DescribeInstances", 1, instance_xml(&dead, "pending"));
    bench.proxy.on("DescribeInstances", 1, instance_xml(&dead, "terminated"));
    let context = context();
    let outcome = bench.aws.perform(&run_instance(), &context).await;
    let EffectOutcome::Unknown(why) = &outcome else { panic!("{outcome:?}") };
    assert!(why.contains("no capacity"), "{why}");
    let looks = PACE.absent_looks as usize;
    bench.proxy.on("DescribeInstances", looks, instance_xml(&dead, "terminated"));
    let settled = bench.aws.settle(&run_instance(), &context).await;
    assert_eq!(settled, Settled::NotHappened);
}

#[tokio::test]
async fn waits_end_when_it_is_so_when_it_can_not_be_and_when_time_is_over() {
    let bench = Bench::new().await;
    let (instance, volume) = (bench.instance().await, bench.volume().await);
    let wait = |state: &str, timeout_ms| {
        let (volume, state) = (volume.clone(), state.to_owned());
        Call::Ebs(EbsCall::WaitVolume { volume, state, timeout_ms })
    };
    bench.proxy.on("DescribeVolumes", 1, volume_xml(&volume, 4, "creating", ""));
    // More often than the SDK tries again by itself.
    bench.proxy.on("DescribeVolumes", 4, ec2_error(503, "RequestLimitExceeded", "no"));
    let answer = bench.aws.wait(&wait("available", 60_000)).await.unwrap();
    assert_eq!(answer["state"], "available");
    let failure = bench.aws.wait(&wait("in-use", 50)).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Deadline);
    bench.proxy.on("DescribeVolumes", 1, volume_xml(&volume, 4, "error", ""));
    let failure = bench.aws.wait(&wait("available", 60_000)).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Precondition);
    bench.done(&Call::Ec2(Ec2Call::Terminate { instance: instance.clone() })).await;
    let state = "running".to_owned();
    let run = Call::Ec2(Ec2Call::WaitState { instance, state, timeout_ms: 60_000 });
    let failure = bench.aws.wait(&run).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Precondition, "{failure}");
}

#[tokio::test]
async fn a_dropped_wait_asks_no_more() {
    let bench = Bench::new().await;
    let volume = bench.volume().await;
    let wait =
        Call::Ebs(EbsCall::WaitVolume { volume, state: "in-use".into(), timeout_ms: 60_000 });
    let mut looking = bench.aws.wait(&wait);
    // Until it has looked a few times.
    while bench.proxy.seen("DescribeVolumes").len() < 4 {
        let pause = std::time::Duration::from_millis(5);
        assert!(tokio::time::timeout(pause, &mut looking).await.is_err());
    }
    drop(looking);
    let before = bench.proxy.count();
    bench.aws.identity().await.unwrap();
    assert!(bench.proxy.count() <= before + 2, "a look on its way and the one just asked for");
}

fn not_found(code: &str) -> Fault {
    ec2_error(400, code, "it does not exist")
}

/// What was made a moment ago, and even seen, may not be found by the next request.
#[tokio::test]
async fn what_was_just_made_is_asked_for_again() {
    let bench = Bench::new().await;
    let (instance, volume) = (bench.instance().await, bench.volume().await);
    bench.proxy.on("AttachVolume", 2, not_found("InvalidVolume.NotFound"));
    bench.done(&attach(&volume, &instance)).await;
    assert_eq!(bench.proxy.seen("AttachVolume").len(), 3);

    bench.proxy.on("DescribeVolumes", 2, not_found("InvalidVolume.NotFound"));
    let found = bench.aws.read(&Call::Ebs(EbsCall::Describe { volume: volume.clone() })).await;
    assert!(found.is_ok(), "{found:?}");

    bench.proxy.on("DescribeVolumes", 2, not_found("InvalidVolume.NotFound"));
    let waits = Call::Ebs(EbsCall::WaitVolume {
        volume: volume.clone(),
        state: "in-use".into(),
        timeout_ms: 30_000,
    });
    let waited = bench.aws.wait(&waits).await;
    assert!(waited.is_ok(), "{waited:?}");

    // Somebody else's is not there, or it is.
    let other = Call::Ebs(EbsCall::Describe { volume: "vol-0123456789abcdef0".into() });
    let failure = bench.aws.read(&other).await.expect_err("there is none");
    assert_eq!(failure.class, FailureClass::Precondition);
    bench.done(&detach(&volume, &instance)).await;
    bench.done(&Call::Ebs(EbsCall::DeleteVolume { volume: volume.clone() })).await;
    let failure =
        bench.aws.read(&Call::Ebs(EbsCall::Describe { volume })).await.expect_err("it is gone");
    assert_eq!(failure.class, FailureClass::Precondition);
}

/// Whoever ends its step, by a timeout, the budget or a cancel, does not wait for what is stuck.
#[tokio::test]
async fn an_attachment_that_is_stuck_is_not_waited_for_when_its_step_is_ended() {
    let bench = Bench::new().await;
    let (instance, volume) = (bench.instance().await, bench.volume().await);
    let at = |state: &str| volume_xml(&volume, 4, "in-use", &attachment_xml(&instance, state));
    bench.proxy.on("DescribeVolumes", 100_000, at("attaching"));
    let ended = context();
    let call = attach(&volume, &instance);
    let looked = async {
        while bench.proxy.seen("DescribeVolumes").len() < 3 {
            tokio::task::yield_now().await;
        }
        ended.cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(bench.aws.perform(&call, &ended), looked);
    // It is on its way, and is taken back from there.
    match outcome {
        EffectOutcome::Done(answer) => assert_eq!(answer["attachments"][0]["device"], "/dev/sdf"),
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.proxy.seen("AttachVolume").len(), 1);
    let pace = Pace { steady_ms_max: 60, ..PACE };
    let aws = aws_at(&format!("http://{}", bench.proxy.address), None).await.with_pace(pace);
    let facts = aws.observe(&Resource::Volume { id: volume.0.clone() }).await.expect("facts");
    assert_eq!(facts.get("attachments").expect("a fact")[0]["device"], "/dev/sdf");
    // Of what shows nothing, nobody knows.
    let (instance, volume) = (bench.instance().await, bench.volume().await);
    bench.proxy.on("DescribeVolumes", 100_000, volume_xml(&volume, 4, "available", ""));
    let outcome = bench.aws.perform(&attach(&volume, &instance), &ended).await;
    assert!(matches!(outcome, EffectOutcome::Unknown(_)), "{outcome:?}");
}
