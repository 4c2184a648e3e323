//! Instances that come, go up and down, and go for good, with what is on their engines.

use super::docker;
use super::ec2::{instance_mut, nothing_is_in_its_way};
use super::read::{instance, instance_json};
use super::refusals::refused;
use super::world::{Container, Instance, World};
use serde_json::Value;
use stepback_core::calls::{Ec2Call, Tags};
use stepback_core::{Call, Failure, InstanceId, Token, UnixMs};

type Answer = Result<Value, Failure>;

/// *RunInstances*: a new one, with an engine on it.
pub(super) fn run(
    world: &mut World,
    instance_type: &str,
    zone: &str,
    tags: &Tags,
    token: &Token,
    now: UnixMs,
) -> Value {
    let id = world.new_id("i");
    let made = Instance {
        state: "running".into(),
        instance_type: instance_type.to_owned(),
        zone: zone.to_owned(),
        private_ip: None,
        tags: tags.clone(),
        stamp: Some(token.0.clone()),
        max_attachments: None,
        own_disks: vec![],
        listed_from_ms: world.listed_from_ms(now),
    };
    let answer = instance_json(world, &id, &made);
    world.engines.entry(id.clone()).or_default();
    world.instances.insert(id, made);
    answer
}

/// *StartInstances*: one that runs does so already, one that was terminated never will.
pub(super) fn start(world: &mut World, id: &InstanceId) -> Answer {
    nothing_is_in_its_way(world, &Call::Ec2(Ec2Call::Start { instance: id.clone() }))?;
    if set_state(world, id, "running")? {
        bring_up(world, id);
    }
    Ok(instance_json(world, id.as_str(), instance(world, id.as_str())?))
}

/// *StopInstances*: its volumes stay attached, its containers go down with it.
pub(super) fn stop(world: &mut World, id: &InstanceId) -> Answer {
    if set_state(world, id, "stopped")?
        && let Some(engine) = world.engines.get_mut(id.as_str())
    {
        engine.containers.values_mut().for_each(Container::go_down);
    }
    Ok(instance_json(world, id.as_str(), instance(world, id.as_str())?))
}

/// Whether the state is another one now.
fn set_state(world: &mut World, id: &InstanceId, state: &str) -> Result<bool, Failure> {
    let found = instance_mut(world, id)?;
    if found.state == "terminated" {
        let message = format!("instance `{id}` is terminated");
        return Err(refused("IncorrectInstanceState", message));
    }
    Ok(std::mem::replace(&mut found.state, state.to_owned()) != state)
}

/// What its restart policy says runs again: with `always` whatever ever ran, with
/// `unless-stopped` what was not stopped by hand; with `on-failure` and `no` nothing, whatever it
/// was that ended it (Docker docs, *Start containers automatically*). What can't be started, for
/// want of its device, stays down.
fn bring_up(world: &mut World, host: &InstanceId) {
    let Some(engine) = world.engines.get(host.as_str()) else { return };
    let comes_up = |container: &Container| match container.spec.restart.as_str() {
        "always" => container.exit_code.is_some(),
        "unless-stopped" => container.went_down,
        _ => false,
    };
    let all = engine.containers.iter().filter(|(_, container)| comes_up(container));
    let names: Vec<String> = all.map(|(name, _)| name.clone()).collect();
    for name in names {
        // The engine of a machine that boots has nobody to tell.
        let _ = docker::start(world, host, &name);
    }
}

/// *TerminateInstances*: for good. Its volumes are let go and kept: those that were attached to an
/// instance that was there have *DeleteOnTermination* unset, and there are no others here (Amazon
/// EC2 User Guide, *Preserve data when an instance is terminated*). What was on its engine is gone
/// with the disk that it began with.
pub(super) fn terminate(world: &mut World, id: &InstanceId) -> Answer {
    instance_mut(world, id)?.state = "terminated".into();
    for volume in world.volumes.values_mut() {
        volume.attachments.retain(|attachment| attachment.instance != id.0);
    }
    world.engines.remove(id.as_str());
    Ok(Value::Null)
}
