//! What became of an effect whose answer was lost, told from the world alone (R3).
//!
//! The simulator remembers every effect it made, but it does not look there: whoever asks a real
//! world has only the world to look at. An engine that does not answer tells nothing.

use super::docker::{command_answer, shown};
use super::pools;
use super::read::{attached, engine, instance_json, snapshot_json, volume_answer, volume_json};
use super::refusals::misplaced;
use super::world::{Attachment, World};
use serde_json::{Value, json};
use stepback_core::calls::{DockerCall, EbsCall, Ec2Call, SettleMode, run_once_name};
use stepback_core::{Call, Failure, InstanceId, Resource, Token, UnixMs, VolumeId};
use stepback_core::{docker_reads, docker_waits, ebs_reads, ebs_waits, ec2_reads, ec2_waits};
use stepback_provider::Settled;
use stepback_provider::restart::Policy;

/// The call's answer, if the world is as the call wants it; an error where nobody can tell.
type Lookup = Result<Option<Value>, Failure>;

/// Whether what the call created may take a while to be found.
pub(super) fn may_lag(call: &Call) -> bool {
    let is_made = call.leaves_a_stamp();
    // An engine shows at once what it made.
    is_made && !call.function().starts_with("docker.")
}

/// What became of the call, told from the world, unless nothing can tell.
pub fn settle(world: &World, call: &Call, token: &Token, now: UnixMs) -> Settled {
    let told = match call.settle_mode() {
        Some(SettleMode::ReissueSameToken | SettleMode::FindByStamp | SettleMode::DesiredState) => {
            created(world, call, token, now)
        }
        Some(SettleMode::Unknowable) | None => {
            return Settled::CantKnow(format!("nothing tells whether {} ran", call.function()));
        }
    };
    match told {
        Ok(Some(answer)) => Settled::Done(answer),
        Ok(None) => Settled::NotHappened,
        Err(failure) => Settled::CantKnow(failure.message),
    }
}

/// The call's answer, if the world is as it wants: of a call that creates something, if that is
/// there.
fn created(world: &World, call: &Call, token: &Token, now: UnixMs) -> Lookup {
    match call {
        Call::Docker(DockerCall::CreateContainer { host, container: name, .. }) => {
            let found = engine(world, host.as_str())?.containers.get(name.as_str());
            let is_ours = found.is_some_and(|found| found.stamp.as_ref() == Some(&token.0));
            is_ours.then(|| shown(world, host, name.as_str())).transpose()
        }
        Call::Docker(DockerCall::CreateVolume { host, volume, options }) => {
            let found = engine(world, host.as_str())?.volumes.get(volume.as_str());
            let is_so = found.is_some_and(|found| found.options == *options);
            Ok(is_so.then(|| volume_answer(volume.as_str(), options)))
        }
        Call::Docker(DockerCall::RunOnce { host, spec, .. }) => {
            let found = engine(world, host.as_str())?.containers.get(&run_once_name(token));
            let ended = found.and_then(|found| found.exit_code);
            Ok(ended.map(|exit_code| command_answer(exit_code, &spec.command)))
        }
        Call::Ec2(Ec2Call::RunInstance { .. })
        | Call::Ebs(EbsCall::CreateVolume { .. })
        | Call::Ebs(EbsCall::CreateSnapshot { .. }) => {
            let found = world.carrying(std::slice::from_ref(token), None, now).found;
            Ok(found.into_iter().find_map(|(_, found)| of_cloud(world, &found)))
        }
        Call::LoadBalancer(of) => pools::settled(world, of, now),
        other => desired(world, other),
    }
}

/// What EC2 shows of something that it made.
fn of_cloud(world: &World, found: &Resource) -> Option<Value> {
    match found {
        Resource::Instance { id } => Some(instance_json(world, id, world.instances.get(id)?)),
        Resource::Volume { id } => Some(volume_json(id, world.volumes.get(id)?)),
        Resource::Snapshot { id } => Some(snapshot_json(id, world.snapshots.get(id)?)),
        _ => None,
    }
}

fn done(is_so: bool) -> Option<Value> {
    is_so.then_some(Value::Null)
}

/// The answer of a call that brings about a state, if the world is in that state.
fn desired(world: &World, call: &Call) -> Lookup {
    match call {
        Call::Docker(_) => desired_on_engine(world, call),
        _ => desired_of_cloud(world, call),
    }
}

fn desired_of_cloud(world: &World, call: &Call) -> Lookup {
    let instance = |id: &InstanceId| world.instances.get(id.as_str());
    let volume = |id: &VolumeId| world.volumes.get(id.as_str());
    let tagged = |is_so: Option<bool>| Ok(done(is_so == Some(true)));
    match call {
        Call::Ec2(Ec2Call::Start { instance: id }) | Call::Ec2(Ec2Call::Stop { instance: id }) => {
            let wanted = if matches!(call, Call::Ec2(Ec2Call::Start { .. })) {
                "running"
            } else {
                "stopped"
            };
            let found = instance(id).filter(|found| found.state == wanted);
            Ok(found.map(|found| instance_json(world, id.as_str(), found)))
        }
        Call::Ec2(Ec2Call::Terminate { instance: id }) => {
            Ok(done(instance(id).is_none_or(|found| found.state == "terminated")))
        }
        Call::Ec2(Ec2Call::SetInstanceType { instance: id, instance_type }) => {
            Ok(done(instance(id).is_some_and(|found| found.instance_type == *instance_type)))
        }
        Call::Ec2(Ec2Call::Tag { instance: id, key, value }) => {
            tagged(instance(id).map(|found| found.tags.get(key) == Some(value)))
        }
        Call::Ec2(Ec2Call::Untag { instance: id, key }) => {
            tagged(instance(id).map(|found| !found.tags.contains_key(key)))
        }
        Call::Ebs(EbsCall::Tag { volume: id, key, value }) => {
            tagged(volume(id).map(|found| found.tags.get(key) == Some(value)))
        }
        Call::Ebs(EbsCall::Untag { volume: id, key }) => {
            tagged(volume(id).map(|found| !found.tags.contains_key(key)))
        }
        Call::Ebs(EbsCall::Attach { volume: id, instance, device }) => {
            let here = |at: &Attachment| at.instance == instance.0 && at.device == *device;
            let found = volume(id).filter(|found| found.attachments.iter().any(here));
            Ok(found.map(|found| volume_json(id.as_str(), found)))
        }
        Call::Ebs(EbsCall::Detach { volume: id, instance }) => {
            let here = |at: &Attachment| at.instance == instance.0;
            let found = volume(id).filter(|found| !found.attachments.iter().any(here));
            Ok(found.map(|found| volume_json(id.as_str(), found)))
        }
        Call::Ebs(EbsCall::ModifyVolume { volume: id, size_gib }) => {
            let found = volume(id).filter(|found| found.size_gib == *size_gib);
            Ok(found.map(|found| volume_json(id.as_str(), found)))
        }
        Call::Ebs(EbsCall::DeleteVolume { volume: id }) => Ok(done(volume(id).is_none())),
        Call::Ebs(EbsCall::DeleteSnapshot { snapshot }) => {
            Ok(done(!world.snapshots.contains_key(snapshot.as_str())))
        }
        Call::Ec2(ec2_reads!() | ec2_waits!() | Ec2Call::RunInstance { .. })
        | Call::Ebs(
            ebs_reads!()
            | ebs_waits!()
            | EbsCall::CreateVolume { .. }
            | EbsCall::CreateSnapshot { .. },
        )
        | Call::Docker(_)
        | Call::LoadBalancer(_)
        | Call::Effects(_)
        | Call::Clock(_) => Err(misplaced(call)),
    }
}

fn desired_on_engine(world: &World, call: &Call) -> Lookup {
    let host = call.host().ok_or_else(|| misplaced(call))?;
    let on = engine(world, host.as_str())?;
    match call {
        Call::Docker(DockerCall::PullImage { image, .. }) => {
            // An older one may be there by that name.
            let served = world.served(image.as_str()).map(|served| &served.digest);
            let digest = on.images.get(image.as_str()).filter(|found| Some(*found) == served);
            Ok(digest.map(|digest| json!({ "reference": image, "digest": digest })))
        }
        Call::Docker(DockerCall::TagImage { image, digest, .. }) => {
            Ok(done(on.images.get(image.as_str()) == Some(digest)))
        }
        Call::Docker(DockerCall::RemoveImage { image, .. }) => {
            Ok(done(!on.images.contains_key(image.as_str())))
        }
        Call::Docker(DockerCall::StartContainer { container: name, .. })
        | Call::Docker(DockerCall::StopContainer { container: name, .. }) => {
            let wanted = matches!(call, Call::Docker(DockerCall::StartContainer { .. }));
            let is_so = on.containers.get(name.as_str()).is_some_and(|one| one.running == wanted);
            is_so.then(|| shown(world, host, name.as_str())).transpose()
        }
        Call::Docker(DockerCall::PauseContainer { container: name, .. })
        | Call::Docker(DockerCall::UnpauseContainer { container: name, .. }) => {
            let wanted = matches!(call, Call::Docker(DockerCall::PauseContainer { .. }));
            let found = on.containers.get(name.as_str());
            let is_so = found.is_some_and(|found| found.running && found.paused == wanted);
            is_so.then(|| shown(world, host, name.as_str())).transpose()
        }
        Call::Docker(DockerCall::RenameContainer { container: name, to, .. }) => {
            let has = |name: &str| on.containers.contains_key(name);
            Ok(done(has(to.as_str()) && !has(name.as_str())))
        }
        Call::Docker(DockerCall::UpdateContainer { container: name, restart, .. }) => {
            let found = on.containers.get(name.as_str());
            Ok(done(found.is_some_and(|found| Policy::are_same(&found.spec.restart, restart))))
        }
        Call::Docker(DockerCall::RemoveContainer { container: name, .. }) => {
            Ok(done(!on.containers.contains_key(name.as_str())))
        }
        Call::Docker(DockerCall::RemoveVolume { volume, .. }) => {
            Ok(done(!on.volumes.contains_key(volume.as_str())))
        }
        Call::Docker(DockerCall::MakeFileSystem { volume, filesystem_type, .. }) => {
            attached(world, host, volume)?;
            let found = world.volumes.get(volume.as_str()).and_then(|v| v.filesystem.as_ref());
            Ok(done(found.is_some_and(|found| found.kind == *filesystem_type)))
        }
        Call::Docker(DockerCall::GrowFileSystem { volume, .. }) => {
            attached(world, host, volume)?;
            let found = world.volumes.get(volume.as_str());
            Ok(done(found.is_some_and(|found| {
                found.filesystem.as_ref().is_some_and(|fs| fs.size_gib == found.size_gib)
            })))
        }
        Call::Ec2(_)
        | Call::Ebs(_)
        | Call::Docker(
            docker_reads!()
            | docker_waits!()
            | DockerCall::CreateContainer { .. }
            | DockerCall::RunOnce { .. }
            | DockerCall::Exec { .. }
            | DockerCall::CreateVolume { .. },
        )
        | Call::LoadBalancer(_)
        | Call::Effects(_)
        | Call::Clock(_) => Err(misplaced(call)),
    }
}
