//! Pools of load balancers, and the targets that they send traffic to.
//!
//! A target is a host and a port, and is never absent: `present` says whether the pool has it,
//! `enabled` whether it gets traffic. Where a balancer has no difference between the two (ELB),
//! each call finds its fact already so. Health is no fact, because it passes.

use super::Call;
use super::entry::*;
use super::functions;
use super::inverse::{Inverse, Reversal, Undo};
use crate::ids::*;
use crate::interface::Interface;
use crate::resource::Facts;
use crate::texts::{Change, MapTexts};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How long an undo waits for a target that gets traffic again to be healthy, in milliseconds.
const UNDO_HEALTHY_MS: u64 = 120_000;
/// How long an undo waits until nobody is served any more by a target that it takes traffic from.
const UNDO_DRAINED_MS: u64 = 300_000;
/// How long it waits until a target has left that is to be added again: as long as a balancer may
/// take (Elastic Load Balancing, *Deregistration delay*).
const UNDO_LEFT_MS: u64 = 3_600_000;

/// What a wait does when its time is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnTimeout {
    /// It fails.
    #[default]
    Fail,
    /// It answers how the target is by then.
    GoOn,
}

impl MapTexts for OnTimeout {
    fn map_texts(&self, _: Change<'_>) -> Self {
        *self
    }
}

functions! {
    /// A call to a load balancer.
    LoadBalancerCall of Interface::LoadBalancer {
        DescribePool "load-balancer.describe-pool" { pool: PoolName },
        Add "load-balancer.add" {
            pool: PoolName, host: InstanceId, port: u16, container: Option<ContainerName>,
            weight: Option<u32>, floor: u32,
        },
        WaitHealthy "load-balancer.wait-healthy" {
            pool: PoolName, host: InstanceId, port: u16, timeout_ms: u64, on_timeout: OnTimeout,
        },
        Enable "load-balancer.enable" {
            pool: PoolName, host: InstanceId, port: u16, container: Option<ContainerName>,
            floor: u32,
        },
        Drain "load-balancer.drain" {
            pool: PoolName, host: InstanceId, port: u16, container: Option<ContainerName>,
            floor: u32,
        },
        WaitDrained "load-balancer.wait-drained" {
            pool: PoolName, host: InstanceId, port: u16, timeout_ms: u64, on_timeout: OnTimeout,
        },
        Remove "load-balancer.remove" {
            pool: PoolName, host: InstanceId, port: u16, container: Option<ContainerName>,
            floor: u32,
        },
    }
}

/// The questions of this interface, as a pattern.
#[macro_export]
macro_rules! load_balancer_reads {
    () => {
        $crate::LoadBalancerCall::DescribePool { .. }
    };
}

/// Its waits, as a pattern.
#[macro_export]
macro_rules! load_balancer_waits {
    () => {
        $crate::LoadBalancerCall::WaitHealthy { .. } | $crate::LoadBalancerCall::WaitDrained { .. }
    };
}

impl LoadBalancerCall {
    /// What is to be known of it.
    pub(super) fn entry(&self) -> Entry<'_> {
        match self {
            Self::DescribePool { .. } => Entry::read(None),
            Self::WaitHealthy { .. } | Self::WaitDrained { .. } => {
                Entry::wait(None, Takes::UpTo("timeout_ms"))
            }
            Self::Add { pool, host, port, container, floor, .. } => {
                let place = Place { pool, host, port: *port, container, floor: *floor };
                place.entry(Sets::Flag("present", true))
            }
            Self::Enable { pool, host, port, container, floor } => {
                let place = Place { pool, host, port: *port, container, floor: *floor };
                place.entry(Sets::Flag("enabled", true))
            }
            Self::Drain { pool, host, port, container, floor } => {
                let place = Place { pool, host, port: *port, container, floor: *floor };
                place.entry(Sets::Flag("enabled", false))
            }
            Self::Remove { pool, host, port, container, floor } => {
                let place = Place { pool, host, port: *port, container, floor: *floor };
                place.entry(Sets::Flag("present", false))
            }
        }
    }
}

/// Where an effect is, and how much of its pool must stay.
#[derive(Clone, Copy)]
struct Place<'a> {
    pool: &'a PoolName,
    host: &'a InstanceId,
    port: u16,
    container: &'a Option<ContainerName>,
    floor: u32,
}

impl<'a> Place<'a> {
    /// The entry of an effect on it: each may change all of its facts, by the balancer.
    fn entry(self, sets: Sets<'a>) -> Entry<'a> {
        let behind = match self.container {
            Some(name) => Target::Container(self.host, name),
            // Any of those that are on its host.
            None => Target::Instance(self.host),
        };
        Entry {
            class: Class::Effect,
            touches: Touches::One(Target::PoolTarget(self.pool, self.host, self.port)),
            changes: Changes::Facts(&["present", "enabled", "weight"]),
            sets,
            beside: None,
            // Who takes traffic from one target of a pool leaves it to the others.
            shares: Some(Target::Pool(self.pool)),
            before: Some(behind),
            settle: Some(SettleMode::DesiredState),
            inverse: Inverse::of_done(move |undo| self.as_before(undo)),
            host: None,
            takes: Takes::Moments,
            tags: WrittenTags::None,
            leaves_behind: false,
            sinks: Sinks::None,
        }
    }

    /// The calls that bring it back to what it was, whatever way that takes: by what it is now, so
    /// that one which is half back is brought back as well.
    fn as_before(self, undo: &Undo<'_>) -> Reversal {
        let is = |facts: &Facts, fact| facts.get(fact).and_then(Value::as_bool);
        let Some(was_present) = is(undo.before, "present") else {
            return Reversal::unread(undo, "present");
        };
        let Some(was_enabled) = is(undo.before, "enabled") else {
            return Reversal::unread(undo, "enabled");
        };
        // Where the processes of a balancer do not agree it is neither, and so not as it was.
        let is_present = is(undo.now, "present");
        let is_enabled = is(undo.now, "enabled");
        let mut calls: Vec<Call> = vec![];
        let weight = |facts: &Facts| facts.get("weight").and_then(Value::as_u64);
        let add = || {
            let weight = weight(undo.before).and_then(|weight| u32::try_from(weight).ok());
            self.add(weight).into()
        };
        match (was_present, is_present) {
            // One that is leaving can't be added before it has left.
            (true, Some(true)) if weight(undo.before) == weight(undo.now) => {}
            (true, Some(true)) => calls.push(add()),
            (true, Some(false)) => {
                calls.extend([self.wait_drained(UNDO_LEFT_MS).into(), add()]);
            }
            // Some of it is there, and may be served.
            (true, None) => calls.push(add()),
            (false, _) => {}
        }
        match (was_enabled, is_enabled) {
            // What is behind it may have been put back just now, by another step's undo.
            (true, Some(true)) | (false, Some(false)) => {}
            (true, Some(false) | None) => calls.extend([
                self.wait_healthy().into(),
                self.enable().into(),
                self.wait_healthy().into(),
            ]),
            (false, Some(true) | None) => {
                calls.extend([self.drain().into(), self.wait_drained(UNDO_DRAINED_MS).into()]);
            }
        }
        if !was_present && is_present != Some(false) {
            calls.push(self.remove().into());
        }
        match calls.is_empty() {
            true => Reversal::NothingToDo,
            false => Reversal::Calls(calls),
        }
    }

    fn named(self) -> (PoolName, InstanceId, u16, Option<ContainerName>, u32) {
        (self.pool.clone(), self.host.clone(), self.port, self.container.clone(), self.floor)
    }

    fn add(self, weight: Option<u32>) -> LoadBalancerCall {
        let (pool, host, port, container, floor) = self.named();
        LoadBalancerCall::Add { pool, host, port, container, weight, floor }
    }

    fn enable(self) -> LoadBalancerCall {
        let (pool, host, port, container, floor) = self.named();
        LoadBalancerCall::Enable { pool, host, port, container, floor }
    }

    fn drain(self) -> LoadBalancerCall {
        let (pool, host, port, container, floor) = self.named();
        LoadBalancerCall::Drain { pool, host, port, container, floor }
    }

    fn remove(self) -> LoadBalancerCall {
        let (pool, host, port, container, floor) = self.named();
        LoadBalancerCall::Remove { pool, host, port, container, floor }
    }

    /// One that was not healthy before need not be so now: the floor keeps the pool up.
    fn wait_healthy(self) -> LoadBalancerCall {
        let (pool, host, port, ..) = self.named();
        let (timeout_ms, on_timeout) = (UNDO_HEALTHY_MS, OnTimeout::GoOn);
        LoadBalancerCall::WaitHealthy { pool, host, port, timeout_ms, on_timeout }
    }

    /// Somebody's long session does not keep an operation from being undone.
    fn wait_drained(self, timeout_ms: u64) -> LoadBalancerCall {
        let (pool, host, port, ..) = self.named();
        let on_timeout = OnTimeout::GoOn;
        LoadBalancerCall::WaitDrained { pool, host, port, timeout_ms, on_timeout }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Resource;
    use serde_json::json;

    /// What takes a call back, by the names of the functions, where the target was so and is so.
    fn taken_back(call: &LoadBalancerCall, before: Value, now: Value) -> Vec<String> {
        let resource = Resource::PoolTarget { pool: "web".into(), host: "i-1".into(), port: 80 };
        let (before, now) = (Facts::from_json(before), Facts::from_json(now));
        let Inverse::OfDone(work) = call.entry().inverse else { panic!("it has an inverse") };
        let undo = Undo {
            resource: &resource,
            before: &before,
            now: &now,
            is_done: true,
            is_unknown: false,
            others: vec![],
        };
        match work(&undo) {
            Reversal::Calls(calls) => {
                let short = |call: &Call| call.function().replace("load-balancer.", "");
                calls.iter().map(short).collect()
            }
            Reversal::NothingToDo => vec![],
            other => vec![format!("{other:?}")],
        }
    }

    fn facts(present: bool, enabled: bool) -> Value {
        json!({ "present": present, "enabled": enabled })
    }

    /// By what it was and is, and not by which call it was: balancers that have one state for two
    /// facts are brought back, too.
    #[test]
    fn a_target_is_brought_back_whatever_way_that_takes() {
        let enable = LoadBalancerCall::Enable {
            pool: "web".into(),
            host: "i-1".into(),
            port: 80,
            container: None,
            floor: 1,
        };
        let (gone, added, on) = (facts(false, false), facts(true, false), facts(true, true));
        for (before, now, wanted) in [
            (&gone, &gone, vec![]),
            (&gone, &added, vec!["remove"]),
            (&gone, &on, vec!["drain", "wait-drained", "remove"]),
            (&added, &gone, vec!["wait-drained", "add"]),
            (&added, &added, vec![]),
            (&added, &on, vec!["drain", "wait-drained"]),
            (&on, &gone, vec!["wait-drained", "add", "wait-healthy", "enable", "wait-healthy"]),
            (&on, &added, vec!["wait-healthy", "enable", "wait-healthy"]),
            (&on, &on, vec![]),
        ] {
            let calls = taken_back(&enable, before.clone(), now.clone());
            assert_eq!(calls, wanted, "{before} and now {now}");
        }
        // What the processes of a balancer differ in is not as it was, whatever that is.
        let some = json!({ "present": "in 1 of 2 processes", "enabled": "in 1 of 2 processes" });
        for (before, wanted) in [
            (&gone, vec!["drain", "wait-drained", "remove"]),
            (&added, vec!["add", "drain", "wait-drained"]),
            (&on, vec!["add", "wait-healthy", "enable", "wait-healthy"]),
        ] {
            assert_eq!(taken_back(&enable, before.clone(), some.clone()), wanted, "{before}");
        }
        let unread = taken_back(&enable, json!({ "enabled": true }), on);
        assert!(unread[0].contains("`present`"), "{unread:?}");
    }

    #[test]
    fn what_is_added_again_has_the_weight_that_it_had() {
        let resource = Resource::PoolTarget { pool: "web".into(), host: "i-1".into(), port: 80 };
        let remove = LoadBalancerCall::Remove {
            pool: "web".into(),
            host: "i-1".into(),
            port: 80,
            container: Some("app".into()),
            floor: 2,
        };
        let before = json!({ "present": true, "enabled": false, "weight": 7 });
        let (before, now) = (Facts::from_json(before), Facts::from_json(facts(false, false)));
        let Inverse::OfDone(work) = remove.entry().inverse else { panic!("it has an inverse") };
        let others = vec![];
        let (is_done, is_unknown) = (true, false);
        let (before, now, resource) = (&before, &now, &resource);
        let undo = Undo { resource, before, now, is_done, is_unknown, others };
        let add = LoadBalancerCall::Add {
            pool: "web".into(),
            host: "i-1".into(),
            port: 80,
            container: Some("app".into()),
            weight: Some(7),
            floor: 2,
        };
        let Reversal::Calls(calls) = work(&undo) else { panic!("there is something to do") };
        assert_eq!(calls.last(), Some(&add.clone().into()));
        // Another weight alone is put back as well.
        let heavier = json!({ "present": true, "enabled": false, "weight": 9 });
        let undo = Undo { now: &Facts::from_json(heavier), ..undo };
        assert_eq!(work(&undo), Reversal::one(add));
    }
}
