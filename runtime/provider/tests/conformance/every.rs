//! Cases that go through every call of a world.

use crate::bench::{Bench, Effect, World, context, facts_of, id_of, observed, seen_now};
use crate::{cloud, engine, pools, worlds};
use serde_json::Value;
use stepback_core::calls::SettleMode;
use stepback_core::resource::IDENTITY;
use stepback_core::reverse::{Reversal, reverse};
use stepback_core::step::{EffectOutcome, PastEffect};
use stepback_core::*;
use stepback_provider::{EffectContext, Settled, Stamped};

/// Every effect that the world serves, in an order in which each can be made.
async fn effects(bench: &Bench) -> Vec<Effect> {
    let mut all = cloud::effects(bench).await;
    all.extend(engine::effects(bench).await);
    all.extend(engine::effects_on_devices(bench).await);
    all.extend(pools::effects(bench).await);
    let made = |function: &&str| !all.iter().any(|effect| effect.call.function() == *function);
    let served = Call::functions().filter(|function| bench.serves(function));
    let forgotten: Vec<_> = served.filter(|function| is_effect(function)).filter(made).collect();
    assert!(forgotten.is_empty(), "{:?}: no effect for {forgotten:?}", bench.world);
    all
}

/// Whether a function of this name changes anything: reads and waits are named after what they do.
fn is_effect(function: &str) -> bool {
    const LOOKS: [&str; 9] = [
        "describe",
        "find",
        "wait",
        "inspect",
        "list",
        "logs",
        "check",
        "docker.filesystem",
        "ebs.find-snapshots",
    ];
    let name = function.split_once('.').map_or(function, |(_, name)| name);
    !LOOKS.iter().any(|look| name.starts_with(look) || *look == function)
}

/// Every call once, each with its answer.
async fn story(bench: &Bench) -> Vec<(&'static str, Value)> {
    let mut told = vec![];
    let pools = pools::story(bench).await;
    for mut calls in [cloud::story(bench).await, engine::story(bench).await, pools] {
        told.append(&mut calls);
    }
    told
}

/// What an answer is made of; what may be missing is null, and maps have the keys they are given.
fn shape(answer: &Value) -> Value {
    const MAPS: [&str; 2] = ["tags", "options"];
    let of = |(key, value): (&String, &Value)| match MAPS.contains(&key.as_str()) {
        true => (key.clone(), "map".into()),
        false => (key.clone(), shape(value)),
    };
    match answer {
        Value::Object(map) => map.iter().map(of).collect(),
        Value::Array(all) => all.iter().take(1).map(shape).collect(),
        Value::Null => Value::Null,
        Value::Bool(_) => "bool".into(),
        Value::Number(_) => "number".into(),
        Value::String(_) => "string".into(),
    }
}

/// Whether two shapes can be of one kind of answer.
fn are_alike(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Null, _) | (_, Value::Null) => true,
        (Value::Array(a), Value::Array(b)) => a.iter().zip(b).all(|(a, b)| are_alike(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.keys().eq(b.keys()) && a.iter().zip(b).all(|((_, a), (_, b))| are_alike(a, b))
        }
        (a, b) => a == b,
    }
}

pub async fn answers_have_the_simulators_shape(bench: &Bench) {
    let simulated = story(&worlds::simulated()).await;
    for (function, answer) in story(bench).await {
        let theirs = simulated.iter().find(|(name, _)| *name == function);
        let (_, theirs) = theirs.unwrap_or_else(|| panic!("{function} is not simulated"));
        let (ours, theirs) = (shape(&answer), shape(theirs));
        assert!(are_alike(&ours, &theirs), "{:?}: {function}: {ours} {theirs}", bench.world);
    }
}

/// Nothing may be told done that is not, or not done that is; and nothing happens twice.
pub async fn a_lost_request_or_answer_is_settled_by_looking(bench: &Bench) {
    for effect in effects(bench).await {
        let (call, context) = (&effect.call, context());
        let function = format!("{:?}: {}", bench.world, call.function());
        let sent = bench.sent(&effect);
        let outcome = bench.with_request_lost(&effect, &context).await;
        assert!(matches!(outcome, EffectOutcome::Unknown(_)), "{function}: {outcome:?}");
        let is_unknowable = call.settle_mode() == Some(SettleMode::Unknowable);
        match bench.provider.settle(call, &context).await {
            Settled::NotHappened if !is_unknowable => {}
            Settled::CantKnow(_) if is_unknowable => {}
            settled => panic!("{function}: its request was lost: {settled:?}"),
        }
        match bench.with_answer_lost(&effect, &context).await {
            // Whoever can look on by itself needs no settling; a runner that dies now does.
            EffectOutcome::Done(_) | EffectOutcome::Unknown(_) => {}
            EffectOutcome::Refused(failure) => panic!("{function}: {failure:?}"),
        }
        match bench.provider.settle(call, &context).await {
            Settled::Done(answer) => {
                is_there_once(bench, call, &context, &answer).await;
                shows_the_same(bench, call, &answer).await;
            }
            Settled::CantKnow(_) if is_unknowable => {}
            settled => panic!("{function}: its answer was lost: {settled:?}"),
        }
        assert_eq!(bench.sent(&effect), sent.map(|sent| sent + 2), "{function} was sent again");
        bench.provider.forget(call, &context).await;
    }
}

/// What looks at the same thing as an effect's answer shows.
fn look_at(call: &Call, answer: &Value) -> Option<Call> {
    let id = || answer["id"].as_str().unwrap_or_default();
    Some(match call {
        Call::Ec2(Ec2Call::RunInstance { .. })
        | Call::Ec2(Ec2Call::Start { .. })
        | Call::Ec2(Ec2Call::Stop { .. }) => Call::Ec2(Ec2Call::Describe { instance: id().into() }),
        Call::Ebs(EbsCall::CreateVolume { .. })
        | Call::Ebs(EbsCall::Attach { .. })
        | Call::Ebs(EbsCall::Detach { .. })
        | Call::Ebs(EbsCall::ModifyVolume { .. }) => {
            Call::Ebs(EbsCall::Describe { volume: id().into() })
        }
        Call::Ebs(EbsCall::CreateSnapshot { .. }) => {
            Call::Ebs(EbsCall::DescribeSnapshot { snapshot: id().into() })
        }
        Call::Docker(DockerCall::CreateContainer { host, container, .. })
        | Call::Docker(DockerCall::StartContainer { host, container })
        | Call::Docker(DockerCall::PauseContainer { host, container })
        | Call::Docker(DockerCall::UnpauseContainer { host, container })
        | Call::Docker(DockerCall::StopContainer { host, container, .. }) => {
            Call::Docker(DockerCall::InspectContainer {
                host: host.clone(),
                container: container.clone(),
            })
        }
        Call::Docker(DockerCall::CreateVolume { host, volume, .. }) => {
            Call::Docker(DockerCall::InspectVolume { host: host.clone(), volume: volume.clone() })
        }
        Call::Docker(DockerCall::PullImage { host, image }) => {
            Call::Docker(DockerCall::InspectImage { host: host.clone(), image: image.clone() })
        }
        _ => return None,
    })
}

/// The settled answer is the one that was lost: it shows the world as it is.
async fn shows_the_same(bench: &Bench, call: &Call, answer: &Value) {
    // A container becomes healthy meanwhile.
    let steady = |answer: &Value| match answer {
        Value::Object(map) => map.clone().into_iter().filter(|(key, _)| key != "health").collect(),
        other => other.clone(),
    };
    let function = format!("{:?}: {}", bench.world, call.function());
    if let Call::LoadBalancer(_) = call {
        return pools::shows_the_same(bench, answer).await;
    }
    match look_at(call, answer) {
        Some(look) => {
            let shown = bench.answer(&look).await.expect("an answer");
            assert_eq!(steady(answer), steady(&shown), "{function}");
        }
        None if matches!(call, Call::Docker(DockerCall::RunOnce { .. })) => {
            assert_eq!(answer["exit_code"], 0, "{function}: {answer}");
        }
        None => assert!(answer.is_null(), "{function}: {answer}"),
    }
}

/// What a call created is there once, and the settled answer names it.
async fn is_there_once(bench: &Bench, call: &Call, context: &EffectContext, answer: &Value) {
    let found = bench.stamped(&context.token).await;
    match call.settle_mode() {
        Some(SettleMode::ReissueSameToken | SettleMode::FindByStamp) => {
            assert_eq!(found.len(), 1, "{:?}: {}: {found:?}", bench.world, call.function());
            if answer.get("id").is_some() {
                assert!(found[0].to_string().ends_with(&id_of(answer)), "{found:?}: {answer}");
            }
        }
        _ => assert_eq!(found, [], "{:?}: {}", bench.world, call.function()),
    }
}

fn before(effect: &PastEffect) -> Vec<(Resource, Facts)> {
    effect.changes.iter().map(|c| (c.resource.clone(), c.before.clone())).collect()
}

/// What can't be taken back is told so, and no call pretends to.
async fn has_no_inverse(bench: &Bench, effect: &PastEffect) {
    let now = seen_now(bench, effect).await;
    let reversal = reverse(effect, &now);
    let function = format!("{:?}: {}", bench.world, effect.call.function());
    match facts_of(&now) == before(effect) {
        // A command leaves no fact behind.
        true => assert_eq!(reversal, Reversal::NothingToDo, "{function}"),
        false => assert!(matches!(reversal, Reversal::Cannot(_)), "{function}: {reversal:?}"),
    }
}

pub async fn every_reversible_effect_goes_back_to_what_it_was(bench: &Bench) {
    for Effect { call, .. } in effects(bench).await {
        let function = format!("{:?}: {}", bench.world, call.function());
        let effect = observed(bench, &call).await;
        if call.class() == Class::Irreversible {
            has_no_inverse(bench, &effect).await;
            let context = EffectContext { token: effect.token.clone(), ..context() };
            bench.provider.forget(&call, &context).await;
            continue;
        }
        let now = seen_now(bench, &effect).await;
        assert_ne!(facts_of(&now), before(&effect), "{function} changed nothing");
        let inverse = match reverse(&effect, &now) {
            Reversal::Calls(inverse) => inverse,
            // An image in a cache.
            Reversal::Kept(_) => continue,
            other => panic!("{function} has no inverse: {other:?}"),
        };
        for call in &inverse {
            bench.answer(call).await.expect("it is taken back");
        }
        let now = seen_now(bench, &effect).await;
        assert_eq!(facts_of(&now), before(&effect), "{function} was not taken back");
        assert_eq!(reverse(&effect, &now), Reversal::NothingToDo, "{function}: safe to repeat");
        // The next one builds on this one's effect.
        bench.done(&call).await;
    }
}

pub async fn facts_are_those_that_count(bench: &Bench) {
    let mut made = cloud::resources(bench).await;
    made.extend(engine::resources(bench).await);
    for (resource, token) in made {
        let world = bench.world;
        let Facts::Present(facts) = bench.observe(&resource).await else {
            panic!("{world:?}: {resource} is absent")
        };
        let mut counted = resource.kind().counted().to_vec();
        counted.extend(resource.kind().has_identity().then_some(IDENTITY));
        counted.sort_unstable();
        let found: Vec<&str> = facts.keys().map(String::as_str).collect();
        assert_eq!(found, counted, "{world:?}: {resource}");
        let Some(token) = token else { continue };
        assert_eq!(bench.stamped(&token).await, std::slice::from_ref(&resource), "{world:?}");
        let (kind, token) = (resource.kind(), token.0);
        let by_stamp = Resource::Created { kind, host: None, token };
        assert_eq!(bench.observe(&by_stamp).await, Facts::Present(facts), "{world:?}");
    }
    assert_eq!(bench.provider.stamped(&[]).await, Ok(Stamped::default()));
    engine::clean(bench).await;
}

pub async fn what_is_not_there_is_a_precondition(bench: &Bench) {
    for call in cloud::of_nothing(bench).into_iter().chain(engine::of_nothing(bench)) {
        let failure = match call.class() {
            Class::Read => match bench.provider.read(&call).await {
                // Docker's things are looked for by name.
                Ok(Value::Null) if call.function().starts_with("docker.inspect") => continue,
                Ok(answer) => panic!("{:?}: {}: {answer}", bench.world, call.function()),
                Err(failure) => failure,
            },
            _ => bench.refused(&call).await,
        };
        let function = call.function();
        assert_eq!(failure.class, FailureClass::Precondition, "{:?}: {function}", bench.world);
        assert!(failure.code.is_some(), "{:?}: {function}: {failure}", bench.world);
    }
    for resource in cloud::nothing(bench).into_iter().chain(engine::nothing(bench)) {
        assert!(bench.observe(&resource).await.is_absent(), "{:?}: {resource}", bench.world);
    }
}

pub async fn the_world_is_the_same_when_it_is_opened_again(bench: &Bench) {
    let (one, other) = (bench.provider.identity().await, (bench.again)().identity().await);
    assert_eq!(one.expect("it tells"), other.expect("it tells"), "{:?}", bench.world);
}

/// Two stores number their operations from 1, and know nothing of each other.
pub async fn an_epoch_is_its_stores_own(bench: &Bench) {
    let call = match bench.world {
        World::Docker | World::HaProxy => return,
        _ => cloud::tag_of(bench, &cloud::volume(bench).await),
    };
    let operation = OperationId(crate::bench::fresh() + 1_000);
    let another = StoreId(format!("another-{}", context().store.0));
    bench.provider.take_over(&another, operation, Epoch(5)).await.expect("it can");
    let of = |store: &StoreId, epoch| EffectContext {
        store: store.clone(),
        operation,
        epoch: Epoch(epoch),
        ..context()
    };
    let ours = bench.perform(&call, &of(&context().store, 1)).await;
    assert!(matches!(ours, EffectOutcome::Done(_)), "{:?}: {ours:?}", bench.world);
    let theirs = bench.perform(&call, &of(&another, 4)).await;
    assert!(matches!(theirs, EffectOutcome::Refused(_)), "{:?}: {theirs:?}", bench.world);
}

pub async fn an_older_epoch_is_refused(bench: &Bench) {
    let call = match bench.world {
        World::Docker | World::HaProxy => return,
        _ => cloud::tag_of(bench, &cloud::volume(bench).await),
    };
    let operation = OperationId(crate::bench::fresh() + 1_000);
    let at = |epoch| EffectContext { operation, epoch: Epoch(epoch), ..context() };
    let outcome = bench.perform(&call, &at(2)).await;
    assert!(matches!(outcome, EffectOutcome::Done(_)), "{outcome:?}");
    let store = context().store;
    bench.provider.take_over(&store, operation, Epoch(3)).await.expect("it can");
    for epoch in [1, 2] {
        let EffectOutcome::Refused(failure) = bench.perform(&call, &at(epoch)).await else {
            panic!("{:?}: epoch {epoch} was let through", bench.world)
        };
        assert_eq!(failure.code.as_deref(), Some("StaleEpoch"));
        assert_eq!(failure.class, FailureClass::Denied);
    }
}
