//! What became of an effect whose answer was lost, told from the world alone (R3).
//!
//! The simulator remembers every effect it made, but it does not look there: whoever asks a real
//! world has only the world to look at.

use super::docker::{command_answer, shown, volume_answer};
use super::read::{container, engine, instance_json, snapshot_json, volume_json};
use super::world::World;
use crate::Settled;
use serde_json::{Value, json};
use stepback_core::call::{SettleMode, run_once_name};
use stepback_core::{Call, InstanceId, Resource, Token, VolumeId};

/// Whether what the call created may take a while to be found.
pub(super) fn may_lag(call: &Call) -> bool {
    call.settle_mode() == Some(SettleMode::FindByStamp)
}

/// Tell what became of the call by its settle mode.
pub(crate) fn settle(world: &mut World, call: &Call, token: &Token) -> Settled {
    let answer = match call.settle_mode() {
        Some(SettleMode::ReissueSameToken | SettleMode::FindByStamp) => created(world, call, token),
        Some(SettleMode::DesiredState) => desired(world, call),
        Some(SettleMode::Unknowable) | None => {
            return Settled::CantKnow(format!("nothing tells whether {} ran", call.function()));
        }
    };
    answer.map_or(Settled::NotHappened, Settled::Done)
}

/// The answer of a call that creates something, if what it creates is there.
fn created(world: &mut World, call: &Call, token: &Token) -> Option<Value> {
    match call {
        Call::DockerCreateContainer { host, container: name, .. } => {
            let found = container(world, host.as_str(), name.as_str()).ok()?;
            let is_ours = found.stamp.as_ref() == Some(&token.0);
            is_ours.then(|| shown(world, host, name.as_str()).ok()).flatten()
        }
        Call::DockerCreateVolume { host, volume, options } => {
            let found = engine(world, host.as_str()).ok()?.volumes.get(volume.as_str())?;
            (found.options == *options).then(|| volume_answer(volume.as_str(), options))
        }
        Call::DockerRunOnce { host, spec, .. } => {
            let found = container(world, host.as_str(), &run_once_name(token)).ok()?;
            found.exit_code.map(|exit_code| command_answer(exit_code, &spec.command))
        }
        _ => {
            let found = world.by_stamp(&token.0).into_iter().next()?;
            match &found {
                Resource::Instance { id } => {
                    Some(instance_json(world, id, world.instances.get(id)?))
                }
                Resource::Volume { id } => Some(volume_json(id, world.volumes.get(id)?)),
                Resource::Snapshot { id } => {
                    let snapshot = world.snapshots.get_mut(id)?;
                    if snapshot.unseen_looks > 0 {
                        snapshot.unseen_looks -= 1;
                        return None;
                    }
                    Some(snapshot_json(id, snapshot))
                }
                _ => None,
            }
        }
    }
}

/// The answer of a call that brings about a state, if the world is in that state.
fn desired(world: &World, call: &Call) -> Option<Value> {
    use Call::*;
    let instance = |id: &InstanceId| world.instances.get(id.as_str());
    let volume = |id: &VolumeId| world.volumes.get(id.as_str());
    let done = |is_so: bool| is_so.then_some(Value::Null);
    match call {
        Ec2Start { instance: id } | Ec2Stop { instance: id } => {
            let wanted = if matches!(call, Ec2Start { .. }) { "running" } else { "stopped" };
            let found = instance(id).filter(|found| found.state == wanted)?;
            Some(instance_json(world, id.as_str(), found))
        }
        Ec2Terminate { instance: id } => {
            done(instance(id).is_none_or(|found| found.state == "terminated"))
        }
        Ec2SetInstanceType { instance: id, instance_type } => {
            done(instance(id)?.instance_type == *instance_type)
        }
        Ec2Tag { instance: id, key, value } => done(instance(id)?.tags.get(key) == Some(value)),
        Ec2Untag { instance: id, key } => done(!instance(id)?.tags.contains_key(key)),
        EbsTag { volume: id, key, value } => done(volume(id)?.tags.get(key) == Some(value)),
        EbsUntag { volume: id, key } => done(!volume(id)?.tags.contains_key(key)),
        EbsAttach { volume: id, instance, device } => {
            let found = volume(id)?;
            let here =
                |a: &super::world::Attachment| a.instance == instance.0 && a.device == *device;
            found.attachments.iter().any(here).then(|| volume_json(id.as_str(), found))
        }
        EbsDetach { volume: id, instance } => {
            let found = volume(id)?;
            let here = found.attachments.iter().any(|a| a.instance == instance.0);
            (!here).then(|| volume_json(id.as_str(), found))
        }
        EbsModifyVolume { volume: id, size_gib } => {
            let found = volume(id).filter(|found| found.size_gib == *size_gib)?;
            Some(volume_json(id.as_str(), found))
        }
        EbsDeleteVolume { volume: id } => done(volume(id).is_none()),
        EbsDeleteSnapshot { snapshot } => done(!world.snapshots.contains_key(snapshot.as_str())),
        DockerMakeFileSystem { volume: id, filesystem_type, .. } => {
            let found = volume(id)?.filesystem.as_ref()?;
            done(found.kind == *filesystem_type)
        }
        DockerGrowFileSystem { volume: id, .. } => {
            let found = volume(id)?;
            done(found.filesystem.as_ref()?.size_gib == found.size_gib)
        }
        on_engine => desired_on_engine(world, on_engine),
    }
}

fn desired_on_engine(world: &World, call: &Call) -> Option<Value> {
    use Call::*;
    let done = |is_so: bool| is_so.then_some(Value::Null);
    match call {
        DockerPullImage { host, image } => {
            let digest = engine(world, host.as_str()).ok()?.images.get(image.as_str())?;
            Some(json!({ "reference": image, "digest": digest }))
        }
        DockerTagImage { host, image, digest } => {
            let known = engine(world, host.as_str()).ok()?.images.get(image.as_str());
            done(known == Some(digest))
        }
        DockerRemoveImage { host, image } => {
            done(!engine(world, host.as_str()).ok()?.images.contains_key(image.as_str()))
        }
        DockerStartContainer { host, container: name }
        | DockerStopContainer { host, container: name, .. } => {
            let wanted = matches!(call, DockerStartContainer { .. });
            let found = container(world, host.as_str(), name.as_str()).ok()?;
            (found.running == wanted).then(|| shown(world, host, name.as_str()).ok()).flatten()
        }
        DockerRenameContainer { host, container: name, to } => {
            let all = &engine(world, host.as_str()).ok()?.containers;
            done(all.contains_key(to.as_str()) && !all.contains_key(name.as_str()))
        }
        DockerUpdateContainer { host, container: name, restart } => {
            let found = container(world, host.as_str(), name.as_str()).ok()?;
            done(found.spec.restart == *restart)
        }
        DockerRemoveContainer { host, container: name } => {
            done(!engine(world, host.as_str()).ok()?.containers.contains_key(name.as_str()))
        }
        DockerRemoveVolume { host, volume } => {
            done(!engine(world, host.as_str()).ok()?.volumes.contains_key(volume.as_str()))
        }
        _ => None,
    }
}
