//! Pools of load balancers: what is asked of them, and which requests an effect loses.
//!
//! A target is healthy when a container that runs publishes its port, and its checks have had the
//! time to pass. Requests come all the time: those that go to a target which can't serve them, or
//! find none, are lost, and that is written down.

use super::read::{image_of, instance, keeps_dying};
use super::refusals::{misplaced, refused};
use super::world::{Container, LOOK_MS, Pool, PoolTarget, World};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use stepback_core::calls::LoadBalancerCall;
use stepback_core::expr::{LOST, SERVING};
use stepback_core::{Call, Facts, Failure, FailureClass, InstanceId, Resource, UnixMs};
use stepback_core::{load_balancer_reads, load_balancer_waits};
use stepback_provider::pools::{self, Health, Target};
use stepback_provider::ports::Published;

/// So many losses of a pool are kept.
const LOST_MAX: usize = 100;

fn key(host: &InstanceId, port: u16) -> String {
    format!("{host}:{port}")
}

fn of_key(key: &str) -> Option<(InstanceId, u16)> {
    let (host, port) = key.rsplit_once(':')?;
    Some((host.into(), port.parse().ok()?))
}

/// A target by its name in its pool.
pub(super) fn resource(pool: &str, key: &str) -> Option<Resource> {
    let (host, port) = of_key(key)?;
    Some(Resource::PoolTarget { pool: pool.to_owned(), host: host.0, port })
}

/// Whether each target of a world file is called as one.
pub(super) fn names_must_be_places(world: &World) -> Result<(), Failure> {
    let is_odd = |name: &&String| {
        of_key(name).is_none_or(|(host, port)| key(&host, port) != **name || port == 0)
    };
    for (pool, found) in &world.pools {
        if let Some(odd) = found.targets.keys().find(is_odd) {
            let message = format!("the pool `{pool}` has a target `{odd}`: write HOST:PORT");
            return Err(Failure::new(FailureClass::InvalidInput, message));
        }
    }
    Ok(())
}

fn pool<'a>(world: &'a World, name: &str) -> Result<&'a Pool, Failure> {
    let known = world.pools.keys().map(String::as_str);
    world.pools.get(name).ok_or_else(|| pools::no_pool(name, known))
}

fn pool_mut<'a>(world: &'a mut World, name: &str) -> Result<&'a mut Pool, Failure> {
    pool(world, name)?;
    Ok(world.pools.entry(name.to_owned()).or_default())
}

/// The container that answers at a port of a host.
fn behind<'a>(world: &'a World, host: &str, port: u16) -> Option<&'a Container> {
    let runs = world.instances.get(host).is_some_and(|found| found.state == "running");
    let engine = world.engines.get(host).filter(|_| runs)?;
    let wanted = Published::new(None, port, "tcp");
    let publishes = |one: &&Container| {
        let mut ports = one.spec.ports.iter().filter_map(|port| Published::parse(port));
        one.running && !one.paused && ports.any(|port| port.clashes(&wanted))
    };
    let answers = |one: &&Container| {
        !keeps_dying(world, one) && image_of(world, one).is_none_or(|image| image.healthy)
    };
    engine.containers.values().find(|one| publishes(one) && answers(one))
}

fn looks_ms(looks: u32) -> u64 {
    u64::from(looks).saturating_mul(LOOK_MS)
}

impl Pool {
    fn health(&self, one: &PoolTarget, is_up: bool, now: UnixMs) -> (Health, Option<String>) {
        let since_ms = now.0.saturating_sub(one.checked_from_ms);
        let told = |health, reason: &str| (health, Some(reason.to_owned()));
        match is_up {
            _ if !self.is_used => told(Health::Unused, "Target.NotInUse"),
            false => told(Health::Unhealthy, "nothing answers there"),
            true if since_ms < looks_ms(self.checks_looks) => {
                told(Health::Checking, "its checks are under way")
            }
            true => (Health::Healthy, None),
        }
    }

    fn sessions(&self, one: &PoolTarget, is_up: bool, now: UnixMs) -> u32 {
        let lasts = |at_ms: u64| now.0 < at_ms.saturating_add(looks_ms(self.session_looks));
        match (one.enabled, one.drained_at_ms) {
            (true, _) => u32::from(is_up),
            (false, drained) => u32::from(is_up && drained.is_some_and(lasts)),
        }
    }
}

impl World {
    /// A target, whether its pool has it or not.
    pub(super) fn target(
        &self,
        name: &str,
        host: &InstanceId,
        port: u16,
        now: UnixMs,
    ) -> Result<Target, Failure> {
        let pool = pool(self, name)?;
        let key = key(host, port);
        let Some(one) = pool.targets.get(&key) else {
            let leaves = pool.leaving.get(&key).filter(|until| now.0 < **until);
            let sessions = Some(u32::from(leaves.is_some()));
            return Ok(Target { sessions, ..Target::absent(host, port) });
        };
        let is_up = behind(self, host.as_str(), port).is_some();
        let (health, reason) = pool.health(one, is_up, now);
        Ok(Target {
            host: host.clone(),
            port,
            present: true,
            enabled: one.enabled,
            weight: Some(one.weight),
            health,
            reason,
            sessions: Some(pool.sessions(one, is_up, now)),
        })
    }

    /// A pool, as it is shown.
    pub(super) fn pool_shown(&self, name: &str, now: UnixMs) -> Result<pools::Pool, Failure> {
        let found = pool(self, name)?;
        let targets = found.targets.keys().filter_map(|key| of_key(key));
        let targets = targets.map(|(host, port)| self.target(name, &host, port, now));
        Ok(pools::Pool {
            name: name.to_owned(),
            targets: targets.collect::<Result<_, _>>()?,
            drain_delay_ms: found.add_enables.then(|| looks_ms(found.session_looks)),
            linger_ms: 0,
        })
    }
}

fn target_of(world: &World, call: &LoadBalancerCall, now: UnixMs) -> Result<Target, Failure> {
    let Some((host, port)) = pools::target_of(call) else {
        return Err(misplaced(&Call::LoadBalancer(call.clone())));
    };
    world.target(pools::pool_of(call), host, port, now)
}

/// Answer a question.
pub(super) fn read(world: &World, call: &LoadBalancerCall, now: UnixMs) -> Result<Value, Failure> {
    match call {
        LoadBalancerCall::DescribePool { pool } => Ok(json!(world.pool_shown(pool.as_str(), now)?)),
        other => Err(misplaced(&Call::LoadBalancer(other.clone()))),
    }
}

/// The answer of a wait, if what it waits for is so by now.
pub(super) fn wait_over(
    world: &World,
    call: &LoadBalancerCall,
    now: UnixMs,
) -> Result<Option<Value>, Failure> {
    let target = target_of(world, call, now)?;
    pools::wait_over(call, &target)
}

/// What a wait that is over by its time has to say: its answer, or what it waited for.
pub(super) fn in_the_end(
    world: &World,
    call: &LoadBalancerCall,
    now: UnixMs,
) -> Result<Value, String> {
    let target = target_of(world, call, now).map_err(|failure| failure.message)?;
    match pools::goes_on(call) {
        true => Ok(target.answer()),
        false => Err(pools::waits_for(call, &target)),
    }
}

/// What is in an effect's way and stays there: a pool that there is not, or that nothing uses.
pub(super) fn nothing_is_in_its_way(world: &World, call: &Call) -> Result<(), Failure> {
    let Call::LoadBalancer(call) = call else { return Ok(()) };
    let Some((host, _)) = pools::target_of(call) else { return Ok(()) };
    let name = pools::pool_of(call);
    let found = pool(world, name)?;
    // What is gone is taken out all the same.
    if matches!(
        call,
        LoadBalancerCall::Drain { .. }
            | LoadBalancerCall::WaitDrained { .. }
            | LoadBalancerCall::Remove { .. }
    ) {
        return Ok(());
    }
    must_be_a_host(world, host)?;
    let waits = matches!(call, LoadBalancerCall::Add { .. } | LoadBalancerCall::WaitHealthy { .. });
    if waits && !found.is_used {
        let message = format!("no listener uses pool `{name}`: its targets never get healthy");
        return Err(refused("Target.NotInUse", message));
    }
    Ok(())
}

fn must_be_a_host(world: &World, host: &InstanceId) -> Result<(), Failure> {
    let message = match instance(world, host.as_str()) {
        Ok(found) if found.state != "terminated" => return Ok(()),
        Ok(_) => format!("instance `{host}` is terminated"),
        Err(failure) => failure.message,
    };
    Err(Failure::new(FailureClass::Precondition, message).with_code("InvalidTarget"))
}

/// Make an effect, or refuse it.
pub(super) fn apply(
    world: &mut World,
    call: &LoadBalancerCall,
    now: UnixMs,
) -> Result<Value, Failure> {
    let before = target_of(world, call, now)?;
    let (host, port) = (before.host.clone(), before.port);
    let key = key(&host, port);
    match call {
        LoadBalancerCall::Add { pool: name, weight, floor, .. } => {
            must_be_a_host(world, &host)?;
            // Without a share it gets no more traffic.
            if *weight == Some(0) {
                world.pool_shown(name.as_str(), now)?.must_keep(&host, port, *floor)?;
            }
            add(pool_mut(world, name.as_str())?, &key, *weight, now)?;
        }
        LoadBalancerCall::Enable { pool: name, .. } => {
            let pool = pool_mut(world, name.as_str())?;
            if pool.add_enables {
                add(pool, &key, None, now)?;
            }
            let one = pool.targets.get_mut(&key);
            let one = one.ok_or_else(|| pools::not_registered(&before, name.as_str()))?;
            (one.enabled, one.drained_at_ms) = (true, None);
        }
        LoadBalancerCall::Drain { pool: name, floor, .. } => {
            if before.enabled {
                world.pool_shown(name.as_str(), now)?.must_keep(&host, port, *floor)?;
                drain(pool_mut(world, name.as_str())?, &key, now);
            }
        }
        LoadBalancerCall::Remove { pool: name, floor, .. } => {
            let pool = pool(world, name.as_str())?;
            if before.enabled && !pool.add_enables {
                return Err(pools::still_enabled(&before, name.as_str()));
            }
            if before.enabled {
                world.pool_shown(name.as_str(), now)?.must_keep(&host, port, *floor)?;
                drain(pool_mut(world, name.as_str())?, &key, now);
            }
            let pool = pool_mut(world, name.as_str())?;
            // Who is served by it is so still.
            let gone = pool.targets.remove(&key).and_then(|one| one.drained_at_ms);
            if let Some(drained_at_ms) = gone {
                let until = drained_at_ms.saturating_add(looks_ms(pool.session_looks));
                pool.leaving.insert(key, until);
            }
        }
        load_balancer_reads!() | load_balancer_waits!() => {
            return Err(misplaced(&Call::LoadBalancer(call.clone())));
        }
    }
    target_of(world, call, now).map(|target| target.answer())
}

fn add(pool: &mut Pool, key: &str, weight: Option<u32>, now: UnixMs) -> Result<(), Failure> {
    if let Some(one) = pool.targets.get_mut(key) {
        one.weight = weight.unwrap_or(one.weight);
        return Ok(());
    }
    // One that still drains can't be registered again (Elastic Load Balancing, *Deregistration
    // delay*).
    if pool.add_enables && pool.leaving.get(key).is_some_and(|until| now.0 < *until) {
        let message = format!("{key} still drains: it can be added again when that is over");
        return Err(Failure::new(FailureClass::Transient, message).with_code("draining"));
    }
    pool.leaving.remove(key);
    let (enabled, checked_from_ms) = (pool.add_enables, now.0);
    let weight = weight.unwrap_or(1);
    let one = PoolTarget { enabled, weight, checked_from_ms, drained_at_ms: None };
    pool.targets.insert(key.to_owned(), one);
    Ok(())
}

fn drain(pool: &mut Pool, key: &str, now: UnixMs) {
    if pool.add_enables {
        pool.targets.remove(key);
        let until = now.0.saturating_add(looks_ms(pool.session_looks));
        pool.leaving.insert(key.to_owned(), until);
    } else if let Some(one) = pool.targets.get_mut(key) {
        (one.enabled, one.drained_at_ms) = (false, Some(now.0));
    }
}

/// Whether the world is as an effect wants it.
pub(super) fn settled(
    world: &World,
    call: &LoadBalancerCall,
    now: UnixMs,
) -> Result<Option<Value>, Failure> {
    let target = target_of(world, call, now)?;
    let is_so = match call {
        LoadBalancerCall::Add { weight, .. } => {
            target.present && weight.is_none_or(|weight| target.weight == Some(weight))
        }
        LoadBalancerCall::Enable { .. } => target.enabled,
        LoadBalancerCall::Drain { .. } => !target.enabled,
        LoadBalancerCall::Remove { .. } => !target.present,
        load_balancer_reads!() | load_balancer_waits!() => {
            return Err(misplaced(&Call::LoadBalancer(call.clone())));
        }
    };
    Ok(is_so.then(|| target.answer()))
}

/// A target, by its pool and its name there.
type Place = (String, String);

impl World {
    /// Of each pool how many of its targets serve, and what requests failed by: for invariants, as
    /// no rollback brings that back.
    pub fn how_pools_serve(&self, now: UnixMs) -> BTreeMap<Resource, Facts> {
        let of = |(name, found): (&String, &Pool)| {
            let targets = self.pool_shown(name, now).map(|pool| pool.targets).unwrap_or_default();
            let serving = targets.iter().filter(|target| target.serves()).count();
            let facts = json!({ SERVING: serving, LOST: found.lost });
            (Resource::Pool { pool: name.clone() }, Facts::from_json(facts))
        };
        self.pools.iter().map(of).collect()
    }
}

/// How traffic goes at a moment, for whoever compares it with another.
pub(super) struct Traffic(BTreeMap<Place, Goes>);

struct Goes {
    target: Target,
    is_up: bool,
}

impl World {
    /// How the traffic of all pools goes now.
    pub(super) fn traffic(&self, now: UnixMs) -> Traffic {
        let mut all = BTreeMap::new();
        for (name, pool) in &self.pools {
            for key in pool.targets.keys().chain(pool.leaving.keys()) {
                let Some((host, port)) = of_key(key) else { continue };
                let Ok(target) = self.target(name, &host, port, now) else { continue };
                let is_up = behind(self, host.as_str(), port).is_some();
                all.insert((name.clone(), key.clone()), Goes { target, is_up });
            }
        }
        Traffic(all)
    }

    /// Write down what requests were lost since then, and check anew what came up.
    pub(super) fn note_traffic(&mut self, before: &Traffic, now: UnixMs) {
        if self.pools.is_empty() {
            return;
        }
        let after = self.traffic(now);
        for (place, goes) in &after.0 {
            let was_up = before.0.get(place).is_some_and(|goes| goes.is_up);
            let one = self.pools.get_mut(&place.0).and_then(|pool| pool.targets.get_mut(&place.1));
            if let (true, false, Some(one)) = (goes.is_up, was_up, one) {
                one.checked_from_ms = now.0;
            }
        }
        for (pool, lost) in lost(before, &self.traffic(now)) {
            if let Some(pool) = self.pools.get_mut(&pool)
                && pool.lost.len() < LOST_MAX
            {
                pool.lost.push(lost);
            }
        }
    }
}

/// By pool, what requests fail by from one moment to the next.
fn lost(before: &Traffic, after: &Traffic) -> Vec<(String, String)> {
    let mut lost = vec![];
    for ((pool, key), was) in &before.0 {
        let Some(is) = after.0.get(&(pool.clone(), key.clone())) else { continue };
        let why = match (was.is_up, is.is_up) {
            (true, false) if was.target.enabled => "stopped answering while it got traffic",
            (true, false) if was.target.sessions > Some(0) => "stopped answering while it served",
            _ => continue,
        };
        lost.push((pool.clone(), format!("{key} {why}")));
    }
    for ((pool, key), is) in &after.0 {
        let was = before.0.get(&(pool.clone(), key.clone()));
        let got_traffic = was.is_some_and(|was| was.target.enabled);
        // A balancer that adds and enables in one sends nothing before the checks have passed.
        let was_there = was.is_some_and(|was| was.target.present);
        let gets_traffic = is.target.enabled && !got_traffic && was_there;
        if gets_traffic && is.target.health == Health::Checking {
            lost.push((pool.clone(), format!("{key} got traffic before it was healthy")));
        }
    }
    let serving = |traffic: &Traffic, pool: &str| {
        let mut of_pool = traffic.0.iter().filter(|((name, _), _)| name == pool);
        of_pool.any(|(_, goes)| goes.target.serves())
    };
    let mut names: Vec<&String> = before.0.keys().map(|(pool, _)| pool).collect();
    names.dedup();
    for pool in names {
        if serving(before, pool) && !serving(after, pool) {
            lost.push((pool.clone(), "no target was left".to_owned()));
        }
    }
    lost
}
