//! Hosts whose engines are down for a while, and what comes up with them.

use crate::bench::*;
use crate::engine::host;
use crate::{cloud, engine};
use serde_json::Value;
use stepback_core::calls::ContainerSpec;
use stepback_core::step::EffectOutcome;
use stepback_core::*;
use stepback_provider::{EffectContext, Settled};

fn wait_engine(timeout_ms: u64) -> Call {
    Call::Docker(DockerCall::WaitEngine { host: host(), timeout_ms })
}

pub async fn waiting_for_an_engine_ends_when_it_answers(bench: &Bench) {
    assert_eq!(bench.answer(&wait_engine(20_000)).await, Ok(Value::Null));
    bench.set_engine_up(false).await;
    let failure = bench.answer(&wait_engine(300)).await.expect_err("nobody answers");
    assert_eq!(failure.class, FailureClass::Deadline, "{:?}: {failure}", bench.world);
    let why = ["it is stopped", "Connection refused"];
    let says_why = why.iter().any(|why| failure.message.contains(why));
    assert!(says_why && failure.message.contains("Docker Engine of i-a"), "{failure}");
    // One that comes up while somebody waits ends the wait.
    let (waiting, call) = (bench.provider.clone(), wait_engine(60_000));
    let mut waiting = waiting.wait(&call);
    let pause = std::time::Duration::from_millis(20);
    assert!(tokio::time::timeout(pause, &mut waiting).await.is_err(), "it is not up yet");
    bench.set_engine_up(true).await;
    assert_eq!(waiting.await, Ok(Value::Null), "{:?}", bench.world);
}

/// Whoever can't be asked has neither what is looked for nor not: nothing counts as absent there,
/// nothing as done, and nothing is changed.
pub async fn an_engine_that_is_down_tells_nothing(bench: &Bench) {
    engine::clean(bench).await;
    let (name, volume) = (format!("c{}", fresh()), format!("v{}", fresh()));
    bench.done(&engine::pull(bench)).await;
    let mut made = vec![];
    for call in [engine::create_volume(&volume, &[]), engine::create(bench, &name, &volume)] {
        let context = context();
        let outcome = bench.perform(&call, &context).await;
        assert!(matches!(outcome, EffectOutcome::Done(_)), "{outcome:?}");
        made.push((call, context));
    }
    let on_host = |name: &str| (host().0, name.to_owned());
    let ((of, container), (_, image)) = (on_host(&name), on_host(&bench.image));
    let mut resources = vec![
        Resource::Container { host: of.clone(), name: container },
        Resource::Container { host: of.clone(), name: "none".to_owned() },
        Resource::DockerVolume { host: of.clone(), name: volume.clone() },
        Resource::Image { host: of.clone(), image },
    ];
    if bench.serves("docker.wait-device") {
        let volume = cloud::volume(bench).await.0;
        resources.push(Resource::FileSystem { host: of.clone(), volume });
    }
    bench.set_engine_up(false).await;
    nothing_is_seen(bench, &resources).await;
    nothing_is_told_by_stamps(bench, &made).await;
    nothing_is_settled_or_made(bench, &made, &name, &volume).await;
    bench.set_engine_up(true).await;
    assert_eq!(bench.answer(&wait_engine(60_000)).await, Ok(Value::Null));
    for resource in &resources[2..4] {
        assert!(!bench.observe(resource).await.is_absent(), "{:?}: {resource}", bench.world);
    }
    engine::clean(bench).await;
    bench.done(&engine::remove_volume(&volume)).await;
}

fn is_down(bench: &Bench, failure: &Failure, what: &str) {
    let found = (failure.class, failure.code.as_deref());
    let wanted = (FailureClass::Transient, Some("ECONNREFUSED"));
    assert_eq!(found, wanted, "{:?}: {what}: {failure}", bench.world);
}

async fn nothing_is_seen(bench: &Bench, resources: &[Resource]) {
    for resource in resources {
        let failure = bench.provider.observe(resource).await.expect_err("it can't be seen");
        is_down(bench, &failure, &resource.to_string());
    }
    let list = Call::Docker(DockerCall::ListContainers { host: host() });
    let failure = bench.answer(&list).await.expect_err("it can't be asked");
    is_down(bench, &failure, "the list");
    let one_by_one = bench.observe(&Resource::Containers { host: host().0 }).await;
    assert!(matches!(one_by_one, Facts::Unknown(_)), "{:?}: {one_by_one:?}", bench.world);
}

async fn nothing_is_told_by_stamps(bench: &Bench, made: &[(Call, EffectContext)]) {
    for (call, context) in made {
        let told = bench.provider.stamped(std::slice::from_ref(&context.token)).await;
        let told = told.expect("an answer");
        assert_eq!(told.found, [], "{:?}", bench.world);
        let not_asked = told.not_asked.iter().find(|(not_asked, _)| *not_asked == host().0);
        let (_, why) = not_asked.unwrap_or_else(|| panic!("{:?}: {told:?}", bench.world));
        assert!(why.contains("i-a"), "{:?}: {why}", bench.world);
        for of in [None, Some(host().0)] {
            let kind = call.resources(&context.token)[0].kind();
            let created = Resource::Created { kind, host: of, token: context.token.0.clone() };
            let failure = bench.provider.observe(&created).await.expect_err("not known");
            assert_eq!(failure.class, FailureClass::Transient, "{:?}: {failure}", bench.world);
        }
    }
}

async fn nothing_is_settled_or_made(
    bench: &Bench,
    made: &[(Call, EffectContext)],
    name: &str,
    volume: &str,
) {
    let others = [
        engine::pull(bench),
        engine::start(name),
        engine::stop(name),
        engine::rename(name, "other"),
        engine::remove(name),
        engine::run_once(bench),
        engine::remove_volume(volume),
        Call::Docker(DockerCall::RemoveImage { host: host(), image: engine::image(bench) }),
        Call::Docker(DockerCall::UpdateContainer {
            host: host(),
            container: name.into(),
            restart: "always".into(),
        }),
    ];
    for call in made.iter().map(|(call, _)| call).chain(&others) {
        let function = call.function();
        let context = made.iter().find(|(made, _)| made == call).map(|(_, context)| context);
        let context = context.cloned().unwrap_or_else(crate::bench::context);
        let settled = bench.provider.settle(call, &context).await;
        assert!(matches!(settled, Settled::CantKnow(_)), "{:?}: {function}", bench.world);
        is_down(bench, &bench.refused(call).await, function);
    }
}

/// What became of a container before its host went down.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Was {
    Running,
    Stopped,
    NeverStarted,
}

/// Each restart policy, and whether the container runs afterwards (Docker docs, *Start containers
/// automatically*).
const COMES_UP: [(&str, Was, bool); 8] = [
    ("no", Was::Running, false),
    ("on-failure", Was::Running, false),
    ("always", Was::Running, true),
    ("always", Was::Stopped, true),
    ("always", Was::NeverStarted, false),
    ("unless-stopped", Was::Running, true),
    ("unless-stopped", Was::Stopped, false),
    ("unless-stopped", Was::NeverStarted, false),
];

pub async fn what_comes_up_with_its_host_is_told_by_its_policy(bench: &Bench) {
    engine::clean(bench).await;
    bench.done(&engine::pull(bench)).await;
    let mut made = vec![];
    for (restart, was, comes_up) in COMES_UP {
        let name = format!("c{}", fresh());
        let spec = ContainerSpec {
            image: bench.image.clone(),
            restart: restart.to_owned(),
            ..ContainerSpec::default()
        };
        let container = name.as_str().into();
        bench
            .done(&Call::Docker(DockerCall::CreateContainer { host: host(), container, spec }))
            .await;
        if was != Was::NeverStarted {
            bench.done(&engine::start(&name)).await;
        }
        if was == Was::Stopped {
            bench.done(&engine::stop(&name)).await;
        }
        made.push((name, format!("{:?}: {restart}, {was:?}", bench.world), was, comes_up));
    }
    bench.reboot().await;
    assert_eq!(bench.answer(&wait_engine(60_000)).await, Ok(Value::Null));
    for (name, what, ..) in made.iter().filter(|(.., comes_up)| *comes_up) {
        let container = name.as_str().into();
        let healthy =
            Call::Docker(DockerCall::WaitHealthy { host: host(), container, timeout_ms: 60_000 });
        bench.answer(&healthy).await.unwrap_or_else(|failure| panic!("{what}: {failure}"));
    }
    for (name, what, was, comes_up) in &made {
        let container = name.as_str().into();
        let look = Call::Docker(DockerCall::InspectContainer { host: host(), container });
        let found = bench.answer(&look).await.expect("an answer");
        assert_eq!(found["state"] == "running", *comes_up, "{what}: {found}");
        // What went down with its host has ended.
        let has_ended = !comes_up && *was != Was::NeverStarted;
        assert_eq!(found["ended"]["exit_code"].is_i64(), has_ended, "{what}: {found}");
    }
    engine::clean(bench).await;
}
