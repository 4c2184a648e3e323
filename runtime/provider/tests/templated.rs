//! Engines on the instances of a cloud: what is told of one whose instance does not run is the
//! same whether the engine is simulated or a real one's place is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use stepback_clock::Clock;
use stepback_core::*;
use stepback_docker::{Docker, DockerSettings, TemplatedHosts};
use stepback_provider::router::Router;
use stepback_provider::{EffectContext, Notes, Provider};
use stepback_simulated::Simulated;
use stepback_simulated::import;
use tokio_util::sync::CancellationToken;

const WORLD: &str = r#"
[instances.i-stopped]
state = "stopped"
type = "t3.micro"
zone = "a"
[instances.i-terminated]
state = "terminated"
type = "t3.micro"
zone = "a"
[engines.i-stopped.volumes.data]
[engines.i-terminated.volumes.data]
"#;

fn worlds() -> [(&'static str, Arc<dyn Provider>); 2] {
    let simulated: Arc<dyn Provider> =
        Arc::new(Simulated::in_memory(WORLD, Clock::real()).unwrap());
    let template = Some("tcp://{{ instance.private_ip }}:2375".to_owned());
    let hosts = TemplatedHosts::new(Arc::clone(&simulated), BTreeMap::new(), template);
    let docker = Docker::new(Arc::new(hosts), DockerSettings::default(), Clock::real());
    let joined = Router::new(vec![Arc::clone(&simulated), Arc::new(docker)]);
    [("simulated", simulated), ("templated", Arc::new(joined))]
}

fn on(host: &str) -> Resource {
    Resource::DockerVolume { host: host.to_owned(), name: "data".to_owned() }
}

fn context() -> EffectContext {
    EffectContext {
        store: StoreId("store".to_owned()),
        operation: OperationId(1),
        token: Token("token".to_owned()),
        epoch: Epoch(1),
        undo: false,
        cancel: CancellationToken::new(),
        looked: stepback_provider::looked::Looked::default(),
        notes: Notes::default(),
    }
}

fn told(failure: &Failure) -> (FailureClass, Option<&str>) {
    (failure.class, failure.code.as_deref())
}

#[tokio::test]
async fn what_is_on_an_instance_that_is_not_there_is_not_known() {
    for (world, provider) in worlds() {
        for (host, wanted) in [
            ("i-stopped", (FailureClass::Transient, Some("ECONNREFUSED"))),
            ("i-none", (FailureClass::Precondition, Some("InvalidInstanceID.NotFound"))),
        ] {
            let failure = provider.observe(&on(host)).await.expect_err(world);
            assert_eq!(told(&failure), wanted, "{world}: {failure}");
            let remove =
                Call::Docker(DockerCall::RemoveVolume { host: host.into(), volume: "data".into() });
            match provider.perform(&remove, &context()).await {
                step::EffectOutcome::Refused(failure) => assert_eq!(told(&failure), wanted),
                other => panic!("{world}: {other:?}"),
            }
        }
    }
}

/// EC2 says that it was terminated, and with it everything that was on its engine.
#[tokio::test]
async fn what_was_on_a_terminated_instance_is_gone() {
    for (world, provider) in worlds() {
        assert_eq!(provider.observe(&on("i-terminated")).await, Ok(Facts::Absent), "{world}");
        // Whoever knows of it by now asks it for stamps as well.
        let _ = provider.observe(&on("i-stopped")).await;
        let told_of = provider.stamped(&[Token("token".to_owned())]).await.expect("an answer");
        let hosts: BTreeSet<&str> =
            told_of.not_asked.iter().map(|(host, _)| host.as_str()).collect();
        assert_eq!(hosts, BTreeSet::from(["i-stopped"]), "{world}");
        let inspect = Call::Docker(DockerCall::InspectVolume {
            host: "i-terminated".into(),
            volume: "data".into(),
        });
        let failure = provider.read(&inspect).await.expect_err(world);
        assert_eq!(failure.class, FailureClass::Precondition, "{world}: {failure}");
    }
}

/// What can't be looked at is left out of a copy, and named.
#[tokio::test]
async fn a_copy_has_no_engine_that_does_not_answer() {
    for (world, provider) in worlds() {
        let copy = import(&*provider).await.expect("it can be read");
        assert!(copy.world.engines.is_empty(), "{world}: {:?}", copy.world.engines);
        let named = copy.left_out.iter().any(|line| line.contains("of i-stopped does not answer"));
        assert!(named, "{world}: {:?}", copy.left_out);
        assert!(!copy.world.instances.contains_key("i-terminated"), "{world}");
    }
}

#[tokio::test]
async fn an_engine_is_waited_for_as_long_as_it_may_come_up() {
    for (world, provider) in worlds() {
        let wait = |host: &str| {
            Call::Docker(DockerCall::WaitEngine { host: host.into(), timeout_ms: 200 })
        };
        let failure = provider.wait(&wait("i-stopped")).await.expect_err(world);
        assert_eq!(failure.class, FailureClass::Deadline, "{world}: {failure}");
        assert!(failure.message.contains("i-stopped does not answer: it is stopped"), "{failure}");
        for host in ["i-terminated", "i-none"] {
            let failure = provider.wait(&wait(host)).await.expect_err(world);
            assert_eq!(failure.class, FailureClass::Precondition, "{world}: {host}: {failure}");
        }
    }
}
