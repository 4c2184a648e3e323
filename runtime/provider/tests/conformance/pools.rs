//! Cases of a load balancer's pools: the pool `web` has one target, and another place answers too.

use crate::bench::{Bench, Effect, World, context, effect};
use serde_json::Value;
use stepback_core::calls::{LoadBalancerCall, OnTimeout};
use stepback_core::step::EffectOutcome;
use stepback_core::*;

/// A place in a pool.
#[derive(Clone, Copy)]
struct At {
    pool: &'static str,
    host: &'static str,
    port: u16,
}

/// The target that the pool has.
const FIRST: At = At { pool: "web", host: "i-b", port: 8081 };
/// The one that it may get.
const SECOND: At = At { port: 8082, ..FIRST };

/// The one that it may get, whatever the world is.
fn second(bench: &Bench) -> At {
    match bench.world {
        // moto knows a target by its address alone, and not by its port.
        World::Aws => At { host: "i-c", ..SECOND },
        World::Simulated | World::Docker | World::Onebox | World::HaProxy => SECOND,
    }
}

impl At {
    fn named(self) -> (PoolName, InstanceId, u16) {
        (self.pool.into(), self.host.into(), self.port)
    }
}

fn describe(pool: &str) -> Call {
    LoadBalancerCall::DescribePool { pool: pool.into() }.into()
}

fn add(at: At) -> Call {
    weighing(at, None)
}

fn weighing(at: At, weight: Option<u32>) -> Call {
    let ((pool, host, port), container) = (at.named(), None);
    LoadBalancerCall::Add { pool, host, port, container, weight, floor: 0 }.into()
}

fn enable(at: At) -> Call {
    let ((pool, host, port), container) = (at.named(), None);
    LoadBalancerCall::Enable { pool, host, port, container, floor: 0 }.into()
}

fn drain(at: At, floor: u32) -> Call {
    let ((pool, host, port), container) = (at.named(), None);
    LoadBalancerCall::Drain { pool, host, port, container, floor }.into()
}

fn remove(at: At) -> Call {
    let ((pool, host, port), container) = (at.named(), None);
    LoadBalancerCall::Remove { pool, host, port, container, floor: 0 }.into()
}

fn wait_healthy(at: At, timeout_ms: u64, on_timeout: OnTimeout) -> Call {
    let (pool, host, port) = at.named();
    LoadBalancerCall::WaitHealthy { pool, host, port, timeout_ms, on_timeout }.into()
}

fn wait_drained(at: At, timeout_ms: u64, on_timeout: OnTimeout) -> Call {
    let (pool, host, port) = at.named();
    LoadBalancerCall::WaitDrained { pool, host, port, timeout_ms, on_timeout }.into()
}

/// One of each effect, in an order in which each builds on those before it and changes something.
pub async fn effects(bench: &Bench) -> Vec<Effect> {
    let at = second(bench);
    let plain = |call| Effect { call, wire: None };
    match bench.world {
        World::Simulated | World::HaProxy => {
            [add(at), enable(at), drain(at, 1), remove(at)].map(plain).into()
        }
        // What is added there gets traffic, and what is drained is removed.
        World::Aws => vec![
            effect(add(at), "RegisterTargets"),
            effect(drain(at, 1), "DeregisterTargets"),
            effect(enable(at), "RegisterTargets"),
            effect(remove(at), "DeregisterTargets"),
        ],
        World::Docker | World::Onebox => vec![],
    }
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
            wait_drained(second(bench), 30_000, OnTimeout::Fail),
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

async fn target(bench: &Bench, at: At) -> Facts {
    let (PoolName(pool), InstanceId(host), port) = at.named();
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
    bench.done(&weighing(SECOND, Some(0))).await;
    bench.refused(&drain(FIRST, 1)).await;
    bench.done(&weighing(SECOND, Some(1))).await;
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
    let at = second(bench);
    let to = add(At { pool: "wbe", ..at });
    let may = bench.provider.may(&to).await.expect_err("there is none");
    assert_eq!(may.code.as_deref(), Some("no-pool"));
    bench.provider.may(&add(at)).await.expect("it may be added");
}

/// Its targets would never get healthy.
pub async fn a_pool_that_nothing_uses_is_told(bench: &Bench) {
    let to = add(At { pool: "unused", ..second(bench) });
    let may = bench.provider.may(&to).await.expect_err("nothing uses it");
    assert_eq!(may.code.as_deref(), Some("Target.NotInUse"));
}

/// Whichever of two effects comes first makes both facts so, and the other one finds its own so.
pub async fn one_state_is_two_facts(bench: &Bench) {
    let at = match bench.world {
        World::Simulated => At { pool: "one-state", ..SECOND },
        World::Aws | World::Docker | World::Onebox | World::HaProxy => second(bench),
    };
    let facts = |facts: &Facts| (is(facts, "present"), is(facts, "enabled"));
    let early = bench.answer(&wait_healthy(at, 5_000, OnTimeout::Fail)).await;
    let told = early.expect_err("the pool does not have it");
    assert_eq!(told.code.as_deref(), Some("not-registered"));
    for (on, off) in [
        ([add(at), enable(at)], [drain(at, 0), remove(at)]),
        ([enable(at), add(at)], [remove(at), drain(at, 0)]),
    ] {
        assert_eq!(facts(&target(bench, at).await), (false, false));
        for call in on {
            let answer = bench.done(&call).await;
            let told = (&answer["present"], &answer["enabled"]);
            assert_eq!(told, (&true.into(), &true.into()), "{}", call.function());
            assert_eq!(facts(&target(bench, at).await), (true, true), "{}", call.function());
        }
        let healthy = bench.answer(&wait_healthy(at, 30_000, OnTimeout::Fail)).await;
        assert_eq!(healthy.expect("it is up")["health"], "healthy");
        let in_vain = bench.answer(&wait_drained(at, 100, OnTimeout::Fail)).await;
        assert_eq!(in_vain.expect_err("it gets traffic").class, FailureClass::Deadline);
        let goes_on = bench.answer(&wait_drained(at, 100, OnTimeout::GoOn)).await;
        assert_eq!(goes_on.expect("it goes on")["enabled"], true);
        for call in off {
            bench.done(&call).await;
            assert_eq!(facts(&target(bench, at).await), (false, false), "{}", call.function());
        }
        let drained = bench.answer(&wait_drained(at, 30_000, OnTimeout::Fail)).await;
        assert_eq!(drained.expect("nobody is served")["sessions"], 0);
    }
}
