//! Simulated instances that go down, come up again and go for good, with what is on them.

use serde_json::Value;
use stepback_clock::Clock;
use stepback_core::reverse::{Reversal, Seen, reverse};
use stepback_core::step::EffectOutcome;
use stepback_core::*;
use stepback_provider::{EffectContext, Notes, Provider};
use stepback_simulated::Simulated;
use tokio_util::sync::CancellationToken;

const DEMO: &str = include_str!("../../../../operations/demo-world.toml");

fn world(seed: &str) -> Simulated {
    Simulated::in_memory(seed, Clock::real()).unwrap()
}

async fn done(world: &Simulated, call: &Call) -> Value {
    let context = EffectContext {
        store: StoreId("store".to_owned()),
        operation: OperationId(1),
        token: Token("token".to_owned()),
        epoch: Epoch(1),
        undo: false,
        cancel: CancellationToken::new(),
        looked: stepback_provider::looked::Looked::default(),
        notes: Notes::default(),
    };
    match world.perform(call, &context).await {
        EffectOutcome::Done(answer) => answer,
        other => panic!("{}: {other:?}", call.function()),
    }
}

fn main_container() -> Resource {
    Resource::Container { host: "i-db-1".into(), name: "main".into() }
}

async fn runs(world: &Simulated) -> bool {
    world.observe(&main_container()).await.unwrap().get("running") == Some(&true.into())
}

fn stop() -> Call {
    Call::Ec2(Ec2Call::Stop { instance: "i-db-1".into() })
}

fn start() -> Call {
    Call::Ec2(Ec2Call::Start { instance: "i-db-1".into() })
}

#[tokio::test]
async fn what_ran_on_an_instance_runs_again_with_it() {
    let world = world(DEMO);
    let before = world.load().unwrap().restorable();
    done(&world, &stop()).await;
    assert_ne!(world.load().unwrap().restorable(), before, "the database is down");
    done(&world, &start()).await;
    assert_eq!(world.load().unwrap().restorable(), before);
    // One that runs already is started, and nothing on it is touched.
    done(&world, &start()).await;
    assert_eq!(world.load().unwrap().restorable(), before);
}

/// Containers that went down with their instance come up again when the stop is taken back, also
/// those that nobody but the undo starts.
#[tokio::test]
async fn taking_a_stop_back_brings_up_what_ran() {
    for restart in ["unless-stopped", "no"] {
        let world = world(
            &DEMO.replace("restart = \"unless-stopped\"", &format!("restart = \"{restart}\"")),
        );
        let resources = [Resource::Instance { id: "i-db-1".into() }, main_container()];
        let mut changes = vec![];
        for resource in resources {
            let before = world.observe(&resource).await.unwrap();
            changes.push(step::Change { resource, before, after: None });
        }
        let before = world.load().unwrap().restorable();
        let answer = done(&world, &stop()).await;
        let of =
            AttemptId { step: StepKey::plain("s"), direction: Direction::Do, attempt: Attempt(1) };
        let effect = step::PastEffect {
            id: CallId { of, number: CallNumber(1) },
            call: stop(),
            token: Token("token".to_owned()),
            outcome: EffectOutcome::Done(answer),
            changes,
        };
        let mut now = vec![];
        for change in &effect.changes {
            let facts = world.observe(&change.resource).await;
            let facts = facts.unwrap_or_else(|failure| Facts::Unknown(failure.message));
            now.push(Seen { resource: change.resource.clone(), facts, is_stamped: None });
        }
        let Reversal::Calls(calls) = reverse(&effect, &now) else { panic!("it has no inverse") };
        for call in &calls {
            match call.class() {
                Class::Wait => drop(world.wait(call).await.unwrap()),
                _ => drop(done(&world, call).await),
            }
        }
        assert_eq!(world.load().unwrap().restorable(), before, "{restart}");
    }
}

#[tokio::test]
async fn what_misses_its_device_stays_down() {
    let world = world(DEMO);
    done(&world, &stop()).await;
    let (volume, instance) = (VolumeId::from("vol-db-main"), InstanceId::from("i-db-1"));
    let detach = Call::Ebs(EbsCall::Detach { volume: volume.clone(), instance: instance.clone() });
    done(&world, &detach).await;
    done(&world, &start()).await;
    assert!(!runs(&world).await, "its data is elsewhere");
    done(&world, &Call::Ebs(EbsCall::Attach { volume, instance, device: "/dev/sdf".into() })).await;
    let (host, container) = ("i-db-1".into(), "main".into());
    done(&world, &Call::Docker(DockerCall::StartContainer { host, container })).await;
    assert!(runs(&world).await);
}

/// Whoever writes a world down says `running` of what is to come up with a stopped instance.
#[tokio::test]
async fn nothing_runs_where_its_instance_does_not() {
    let stopped = DEMO.replacen("state = \"running\"", "state = \"stopped\"", 1);
    let world = world(&stopped);
    let failure = world.observe(&main_container()).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Transient, "{failure}");
    assert!(world.load().unwrap().mounted_by("i-db-1", "vol-db-main").is_empty());
    done(&world, &start()).await;
    assert!(runs(&world).await);
}

#[tokio::test]
async fn a_terminated_instance_lets_its_volumes_go_and_takes_its_containers_along() {
    let world = world(DEMO);
    done(&world, &Call::Ec2(Ec2Call::Terminate { instance: "i-db-1".into() })).await;
    assert_eq!(world.observe(&main_container()).await, Ok(Facts::Absent));
    let volume =
        world.read(&Call::Ebs(EbsCall::Describe { volume: "vol-db-main".into() })).await.unwrap();
    assert_eq!(volume["state"], "available", "attached later, it is kept: {volume}");
    let instance =
        world.read(&Call::Ec2(Ec2Call::Describe { instance: "i-db-1".into() })).await.unwrap();
    assert_eq!(instance["state"], "terminated", "EC2 shows it for a while");
    assert_eq!(world.observe(&Resource::Instance { id: "i-db-1".into() }).await, Ok(Facts::Absent));
}
