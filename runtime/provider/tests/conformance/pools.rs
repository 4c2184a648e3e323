//! Cases of a load balancer's pools: the pool `web` has one target, and another place answers too.

use crate::bench::{Bench, Effect, context};
use serde_json::Value;
use stepback_core::calls::{LoadBalancerCall, OnTimeout};
use stepback_core::step::EffectOutcome;
use stepback_core::*;

/// The port of the target that the pool has, and of the one that it may get.
const FIRST: u16 = 8081;
const SECOND: u16 = 8082;

fn host() -> InstanceId {
    "i-b".into()
}

fn web() -> PoolName {
    "web".into()
}

fn describe(pool: &str) -> Call {
    LoadBalancerCall::DescribePool { pool: pool.into() }.into()
}

fn add(port: u16) -> Call {
    weighing(port, 1)
}

fn weighing(port: u16, weight: u32) -> Call {
    let (pool, host, container) = (web(), host(), None);
    LoadBalancerCall::Add { pool, host, port, container, weight: Some(weight), floor: 0 }.into()
}

fn enable(port: u16) -> Call {
    let (pool, host, container) = (web(), host(), None);
    LoadBalancerCall::Enable { pool, host, port, container, floor: 0 }.into()
}

fn drain(port: u16, floor: u32) -> Call {
    let (pool, host, container) = (web(), host(), None);
    LoadBalancerCall::Drain { pool, host, port, container, floor }.into()
}

fn remove(port: u16) -> Call {
    let (pool, host, container) = (web(), host(), None);
    LoadBalancerCall::Remove { pool, host, port, container, floor: 0 }.into()
}

fn wait_healthy(port: u16, timeout_ms: u64, on_timeout: OnTimeout) -> Call {
    let (pool, host) = (web(), host());
    LoadBalancerCall::WaitHealthy { pool, host, port, timeout_ms, on_timeout }.into()
}

fn wait_drained(port: u16, timeout_ms: u64, on_timeout: OnTimeout) -> Call {
    let (pool, host) = (web(), host());
    LoadBalancerCall::WaitDrained { pool, host, port, timeout_ms, on_timeout }.into()
}

/// One of each effect, in an order in which each builds on those before it.
pub async fn effects(bench: &Bench) -> Vec<Effect> {
    if !bench.serves("load-balancer.add") {
        return vec![];
    }
    let all = [add(SECOND), enable(SECOND), drain(SECOND, 1), remove(SECOND)];
    all.into_iter().map(|call| Effect { call, wire: None }).collect()
}

/// Every call once, each with its answer.
pub async fn story(bench: &Bench) -> Vec<(&'static str, Value)> {
    let mut told = vec![];
    for Effect { call, .. } in effects(bench).await {
        let EffectOutcome::Done(answer) = bench.perform(&call, &context()).await else {
            panic!("{:?}: {}", bench.world, call.function())
        };
        told.push((call.function(), answer));
    }
    if bench.serves("load-balancer.add") {
        let waits = [
            wait_healthy(FIRST, 30_000, OnTimeout::Fail),
            wait_drained(SECOND, 30_000, OnTimeout::Fail),
        ];
        for call in waits.into_iter().chain([describe("web")]) {
            let answer = bench.answer(&call).await.expect("an answer");
            told.push((call.function(), answer));
        }
    }
    told
}

/// The settled answer is of the target as its pool shows it.
pub async fn shows_the_same(bench: &Bench, answer: &Value) {
    let shown = bench.answer(&describe("web")).await.expect("an answer");
    let mut targets = shown["targets"].as_array().expect("a list").iter();
    let is_it = |one: &&Value| one["host"] == answer["host"] && one["port"] == answer["port"];
    match targets.find(is_it) {
        Some(one) => assert_eq!(one["enabled"], answer["enabled"], "{answer}"),
        None => assert_eq!(answer["present"], false, "{answer}"),
    }
}

async fn target(bench: &Bench, port: u16) -> Facts {
    let (pool, host) = (web().0, host().0);
    bench.observe(&Resource::PoolTarget { pool, host, port }).await
}

fn is(facts: &Facts, fact: &str) -> bool {
    facts.get(fact) == Some(&Value::Bool(true))
}

/// A target is checked before it gets traffic, is there all the time, and goes the same way.
pub async fn a_target_gets_traffic_once_it_is_healthy(bench: &Bench) {
    let before = target(bench, SECOND).await;
    assert!(!is(&before, "present") && !is(&before, "enabled"), "{before}");
    let early = bench.answer(&wait_healthy(SECOND, 5_000, OnTimeout::Fail)).await;
    let told = early.expect_err("the pool does not have it");
    assert_eq!(told.code.as_deref(), Some("not-registered"));
    let refused = bench.refused(&enable(SECOND)).await;
    assert_eq!(refused.code.as_deref(), Some("not-registered"));

    let added = bench.done(&add(SECOND)).await;
    assert_eq!((&added["present"], &added["enabled"]), (&true.into(), &false.into()), "{added}");
    assert_ne!(added["health"], "healthy", "its checks take their time: {added}");
    let healthy = bench.answer(&wait_healthy(SECOND, 30_000, OnTimeout::Fail)).await;
    assert_eq!(healthy.expect("it is up")["health"], "healthy");
    let enabled = bench.done(&enable(SECOND)).await;
    assert_eq!(enabled["enabled"], true);
    let in_vain = bench.answer(&wait_drained(SECOND, 1_000, OnTimeout::Fail)).await;
    assert_eq!(in_vain.expect_err("it gets traffic").class, FailureClass::Deadline);
    let goes_on = bench.answer(&wait_drained(SECOND, 1_000, OnTimeout::GoOn)).await;
    assert_eq!(goes_on.expect("it goes on")["enabled"], true);

    bench.done(&drain(SECOND, 1)).await;
    let drained = bench.answer(&wait_drained(SECOND, 30_000, OnTimeout::Fail)).await;
    assert_eq!(drained.expect("nobody is served")["sessions"], 0);
    bench.done(&remove(SECOND)).await;
    assert!(target(bench, SECOND).await.is_as(&before));
    // What is so already is as it is wanted.
    for call in [drain(SECOND, 1), remove(SECOND)] {
        bench.done(&call).await;
    }
}

/// What is up stays up: so many others must get traffic and be healthy.
pub async fn the_floor_is_kept(bench: &Bench) {
    let refused = bench.refused(&drain(FIRST, 1)).await;
    let told = (refused.class, refused.code.as_deref());
    assert_eq!(told, (FailureClass::Transient, Some("below-floor")), "{refused}");
    assert!(is(&target(bench, FIRST).await, "enabled"), "nothing was changed");
    bench.done(&add(SECOND)).await;
    // One that gets no traffic, or is not healthy yet, is none of them.
    bench.refused(&drain(FIRST, 1)).await;
    bench.answer(&wait_healthy(SECOND, 30_000, OnTimeout::Fail)).await.expect("it is up");
    bench.done(&enable(SECOND)).await;
    // Nor is one without a share.
    bench.done(&weighing(SECOND, 0)).await;
    bench.refused(&drain(FIRST, 1)).await;
    bench.done(&weighing(SECOND, 1)).await;
    bench.refused(&drain(FIRST, 2)).await;
    bench.done(&drain(FIRST, 1)).await;
    bench.refused(&drain(SECOND, 1)).await;
    bench.done(&enable(FIRST)).await;
    bench.answer(&wait_healthy(FIRST, 30_000, OnTimeout::Fail)).await.expect("it is up");
    bench.done(&drain(SECOND, 1)).await;
    bench.done(&remove(SECOND)).await;
}

pub async fn what_gets_traffic_is_not_removed(bench: &Bench) {
    let refused = bench.refused(&remove(FIRST)).await;
    let told = (refused.class, refused.code.as_deref());
    assert_eq!(told, (FailureClass::Precondition, Some("still-enabled")), "{refused}");
    assert!(is(&target(bench, FIRST).await, "present"), "nothing was changed");
}

/// Told before anything is changed, with those that there are.
pub async fn a_pool_that_is_not_there_is_told(bench: &Bench) {
    let none = bench.answer(&describe("wbe")).await.expect_err("there is none");
    assert_eq!((none.class, none.code.as_deref()), (FailureClass::Precondition, Some("no-pool")));
    assert!(none.message.contains("web"), "{none}");
    let (host, container) = (host(), None);
    let to = |pool: &str| {
        let (pool, host, container) = (pool.into(), host.clone(), container.clone());
        LoadBalancerCall::Add { pool, host, port: SECOND, container, weight: None, floor: 0 }
    };
    let may = bench.provider.may(&to("wbe").into()).await.expect_err("there is none");
    assert_eq!(may.code.as_deref(), Some("no-pool"));
    bench.provider.may(&add(SECOND)).await.expect("it may be added");
}

/// Its targets would never get healthy.
pub async fn a_pool_that_nothing_uses_is_told(bench: &Bench) {
    let (pool, host, container) = ("unused".into(), host(), None);
    let to = LoadBalancerCall::Add { pool, host, port: SECOND, container, weight: None, floor: 0 };
    let may = bench.provider.may(&to.into()).await.expect_err("nothing uses it");
    assert_eq!(may.code.as_deref(), Some("Target.NotInUse"));
}
