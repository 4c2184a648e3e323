//! Effects on volumes, snapshots, tags and types, with EC2's own error codes
//! (Amazon EC2 API Reference, *Error codes for the Amazon EC2 API*).

use super::limits;
use super::read::{instance, snapshot_json, volume, volume_json};
use super::refusals::{misplaced, missing, refused};
use super::world::{Attachment, FileSystem, Instance, Snapshot, Volume, World};
use serde_json::Value;
use stepback_core::calls::{EbsCall, Ec2Call, Tags};
use stepback_core::{Call, Failure, InstanceId, SnapshotId, Token, UnixMs, VolumeId};
use stepback_core::{ebs_reads, ebs_waits, ec2_reads, ec2_waits};
use stepback_provider::devices::letter_of;

type Answer = Result<Value, Failure>;

pub(super) fn instance_mut<'a>(
    world: &'a mut World,
    id: &InstanceId,
) -> Result<&'a mut Instance, Failure> {
    let found = world.instances.get_mut(id.as_str());
    found.ok_or_else(|| missing("InvalidInstanceID.NotFound", &format!("instance `{id}`")))
}

fn volume_mut<'a>(world: &'a mut World, id: &VolumeId) -> Result<&'a mut Volume, Failure> {
    let found = world.volumes.get_mut(id.as_str());
    found.ok_or_else(|| missing("InvalidVolume.NotFound", &format!("volume `{id}`")))
}

fn create_snapshot(
    world: &mut World,
    id: &VolumeId,
    tags: &Tags,
    token: &Token,
    now: UnixMs,
) -> Answer {
    let source = volume(world, id)?.clone();
    limits::must_be_tags(tags, true)?;
    must_have_a_usable_key(&format!("volume `{id}`"), source.key_state.as_deref())?;
    let made = Snapshot {
        volume: id.0.clone(),
        size_gib: source.size_gib,
        encrypted: source.encrypted,
        key_state: source.key_state,
        filesystem: source.filesystem,
        tags: tags.clone(),
        stamp: Some(token.0.clone()),
        listed_from_ms: world.listed_from_ms(now),
    };
    let id = world.new_id("snap");
    let answer = snapshot_json(&id, &made);
    world.snapshots.insert(id, made);
    Ok(answer)
}

pub fn apply(world: &mut World, call: &Call, token: &Token, now: UnixMs) -> Answer {
    match call {
        Call::Ec2(Ec2Call::SetInstanceType { instance, instance_type }) => {
            let found = instance_mut(world, instance)?;
            if found.state != "stopped" {
                let message = format!("instance `{instance}` is {}, not stopped", found.state);
                return Err(refused("IncorrectInstanceState", message));
            }
            found.instance_type = instance_type.clone();
            Ok(Value::Null)
        }
        Call::Ec2(Ec2Call::Tag { instance, key, value }) => {
            let found = instance_mut(world, instance)?;
            tag(&mut found.tags, found.stamp.is_some(), key, value)
        }
        Call::Ec2(Ec2Call::Untag { instance, key }) => {
            instance_mut(world, instance)?.tags.remove(key);
            Ok(Value::Null)
        }
        Call::Ebs(EbsCall::Tag { volume, key, value }) => {
            let found = volume_mut(world, volume)?;
            tag(&mut found.tags, found.stamp.is_some(), key, value)
        }
        Call::Ebs(EbsCall::Untag { volume, key }) => {
            volume_mut(world, volume)?.tags.remove(key);
            Ok(Value::Null)
        }
        Call::Ebs(EbsCall::Attach { volume, instance, device }) => {
            attach(world, volume, instance, device)
        }
        Call::Ebs(EbsCall::Detach { volume, instance }) => detach(world, volume, instance),
        Call::Ebs(EbsCall::CreateVolume { .. }) => create_volume(world, call, token, now),
        Call::Ebs(EbsCall::DeleteVolume { volume: id }) => {
            if let Some(at) = volume(world, id)?.attachments.first() {
                let message = format!("volume `{id}` is attached to {}", at.instance);
                return Err(refused("VolumeInUse", message));
            }
            world.volumes.remove(id.as_str());
            Ok(Value::Null)
        }
        Call::Ebs(EbsCall::ModifyVolume { volume, size_gib }) => {
            modify(world, volume, *size_gib, now)
        }
        Call::Ebs(EbsCall::CreateSnapshot { volume, tags, .. }) => {
            create_snapshot(world, volume, tags, token, now)
        }
        Call::Ebs(EbsCall::DeleteSnapshot { snapshot }) => delete_snapshot(world, snapshot),
        Call::Ec2(
            ec2_reads!()
            | ec2_waits!()
            | Ec2Call::RunInstance { .. }
            | Ec2Call::Start { .. }
            | Ec2Call::Stop { .. }
            | Ec2Call::Terminate { .. },
        )
        | Call::Ebs(ebs_reads!() | ebs_waits!())
        | Call::LoadBalancer(_)
        | Call::Docker(_)
        | Call::Effects(_)
        | Call::Clock(_) => Err(misplaced(call)),
    }
}

/// *CreateTags*: one of this key is replaced.
fn tag(tags: &mut Tags, is_stamped: bool, key: &str, value: &str) -> Answer {
    let mut tagged = tags.clone();
    tagged.insert(key.to_owned(), value.to_owned());
    limits::must_be_tags(&tagged, is_stamped)?;
    *tags = tagged;
    Ok(Value::Null)
}

/// *AttachVolume*: same zone, not attached elsewhere, the device name free. Where it is as it is
/// wanted already, that is done, as the provider for AWS tells it.
fn attach(world: &mut World, id: &VolumeId, to: &InstanceId, device: &str) -> Answer {
    limits::must_be_device_name(device)?;
    let target = instance(world, to.as_str())?.clone();
    let found = volume(world, id)?.clone();
    if found.attachments.iter().any(|at| at.instance == to.0 && at.device == device) {
        return Ok(volume_json(id.as_str(), &found));
    }
    if let Some(at) = found.attachments.first() {
        let message = format!("volume `{id}` is already attached to {}", at.instance);
        return Err(refused("VolumeInUse", message));
    }
    if found.zone != target.zone {
        let message =
            format!("volume `{id}` is in {} and instance `{to}` in {}", found.zone, target.zone);
        return Err(refused("InvalidVolume.ZoneMismatch", message));
    }
    if !matches!(target.state.as_str(), "running" | "stopped") {
        let message = format!("instance `{to}` is {}", target.state);
        return Err(refused("IncorrectState", message));
    }
    let taken = world.volumes.values().flat_map(|v| &v.attachments);
    let is_taken =
        |a: &&Attachment| a.instance == to.0 && letter_of(&a.device) == letter_of(device);
    if let Some(other) = taken.clone().find(is_taken) {
        let as_what = &other.device;
        let message = format!("`{device}` on {to} is in use by another volume (as {as_what})");
        return Err(refused("InvalidParameterValue", message));
    }
    must_be_free_for(world, to.as_str(), device)?;
    must_have_a_usable_key(&format!("volume `{id}`"), found.key_state.as_deref())?;
    let found = volume_mut(world, id)?;
    found.attachments.push(Attachment { instance: to.0.clone(), device: device.to_owned() });
    Ok(volume_json(id.as_str(), found))
}

/// What is in a call's way and stays there: a key that can't be used, an instance that takes no
/// more volumes, or none of that name.
pub(super) fn nothing_is_in_its_way(world: &World, call: &Call) -> Result<(), Failure> {
    let usable = |id: &VolumeId| {
        let state = world.volumes.get(id.as_str()).and_then(|found| found.key_state.as_deref());
        must_have_a_usable_key(&format!("volume `{id}`"), state)
    };
    match call {
        Call::Ebs(EbsCall::Attach { volume: id, instance, device }) => {
            usable(id)?;
            let is_there = |at: &Attachment| at.instance == instance.0;
            match world.volumes.get(id.as_str()) {
                Some(found) if found.attachments.iter().any(is_there) => Ok(()),
                _ => must_be_free_for(world, instance.as_str(), device),
            }
        }
        Call::Ebs(EbsCall::Detach { volume, .. })
        | Call::Ebs(EbsCall::CreateSnapshot { volume, .. }) => usable(volume),
        Call::Ebs(EbsCall::CreateVolume { snapshot: Some(id), .. }) => {
            let found = world.snapshots.get(id.as_str());
            let state = found.and_then(|found| found.key_state.as_deref());
            must_have_a_usable_key(&format!("snapshot `{id}`"), state)
        }
        Call::Ec2(Ec2Call::Stop { instance }) | Call::Ec2(Ec2Call::Start { instance }) => {
            // One that is so already is left alone.
            let is_so = if matches!(call, Call::Ec2(Ec2Call::Start { .. })) {
                "running"
            } else {
                "stopped"
            };
            if world.instances.get(instance.as_str()).is_some_and(|found| found.state == is_so) {
                return Ok(());
            }
            let is_there = |at: &Attachment| at.instance == instance.0;
            let its = world.volumes.iter().filter(|(_, v)| v.attachments.iter().any(is_there));
            its.into_iter().try_for_each(|(id, _)| usable(&VolumeId(id.clone())))
        }
        _ => Ok(()),
    }
}

/// Amazon EC2 API Reference, *Error codes*, `CustomerKeyHasBeenRevoked`.
pub(super) fn must_have_a_usable_key(what: &str, state: Option<&str>) -> Result<(), Failure> {
    let Some(state) = state else { return Ok(()) };
    let message = format!(
        "{what} is encrypted with a KMS key that is {state}: it could not be attached, nor \
         attached back; make the key usable first"
    );
    Err(refused("CustomerKeyHasBeenRevoked", message))
}

/// Amazon EC2 User Guide, *Amazon EBS volume limits for Amazon EC2 instances* and *Device names
/// for volumes on Amazon EC2 instances*.
fn must_be_free_for(world: &World, instance: &str, device: &str) -> Result<(), Failure> {
    let found = world.instances.get(instance);
    let is_own = |own: &String| letter_of(own) == letter_of(device);
    if found.is_some_and(|found| found.own_disks.iter().any(is_own)) {
        let message = format!(
            "{device} of `{instance}` is the name of a disk of its own (instance store): give \
             another one, such as /dev/sdf"
        );
        return Err(refused("InvalidParameterValue", message));
    }
    let most = found.and_then(|found| found.max_attachments);
    let all = world.volumes.values().flat_map(|volume| &volume.attachments);
    let count = all.filter(|at| at.instance == instance).count();
    match most {
        Some(most) if count >= most => {
            let message = format!("instance `{instance}` takes no more than {most} volumes");
            Err(refused("AttachmentLimitExceeded", message))
        }
        _ => Ok(()),
    }
}

/// *DetachVolume*: a mounted volume would stay `busy`, so that is refused.
fn detach(world: &mut World, id: &VolumeId, from: &InstanceId) -> Answer {
    let found = volume(world, id)?;
    if !found.attachments.iter().any(|attachment| attachment.instance == from.0) {
        let message = format!("volume `{id}` is not attached to {from}");
        return Err(refused("IncorrectState", message));
    }
    let mounted = world.mounted_by(from.as_str(), id.as_str());
    if let Some(container) = mounted.first() {
        let message = format!("volume `{id}` is mounted by container `{container}` on {from}");
        return Err(refused("IncorrectState", message));
    }
    let found = volume_mut(world, id)?;
    found.attachments.retain(|attachment| attachment.instance != from.0);
    Ok(volume_json(id.as_str(), found))
}

fn create_volume(world: &mut World, call: &Call, token: &Token, now: UnixMs) -> Answer {
    let Call::Ebs(EbsCall::CreateVolume {
        zone,
        size_gib,
        volume_type,
        snapshot,
        tags,
        performance,
        encrypted,
    }) = call
    else {
        return Err(misplaced(call));
    };
    limits::must_be_a_volume(volume_type, *size_gib, *performance)?;
    limits::must_be_tags(tags, true)?;
    let source =
        match snapshot {
            None => None,
            Some(id) => {
                Some(world.snapshots.get(id.as_str()).cloned().ok_or_else(|| {
                    missing("InvalidSnapshot.NotFound", &format!("snapshot `{id}`"))
                })?)
            }
        };
    if let Some(source) = &source {
        let what = format!("snapshot `{}`", snapshot.as_ref().map_or("", SnapshotId::as_str));
        must_have_a_usable_key(&what, source.key_state.as_deref())?;
    }
    if let Some(source) = &source
        && *size_gib < source.size_gib
    {
        let message = format!("{size_gib} GiB is less than the snapshot's {} GiB", source.size_gib);
        return Err(refused("InvalidParameterValue", message));
    }
    let made = Volume {
        size_gib: *size_gib,
        volume_type: volume_type.clone(),
        iops: performance.iops,
        throughput_mibps: performance.throughput_mibps,
        encrypted: *encrypted || source.as_ref().is_some_and(|source| source.encrypted),
        key_state: None,
        zone: zone.clone(),
        attachments: vec![],
        snapshot: snapshot.as_ref().map(|id| id.0.clone()),
        filesystem: source.and_then(|source| source.filesystem),
        tags: tags.clone(),
        modified_at_s: None,
        stamp: Some(token.0.clone()),
        listed_from_ms: world.listed_from_ms(now),
    };
    let id = world.new_id("vol");
    let answer = volume_json(&id, &made);
    world.volumes.insert(id, made);
    Ok(answer)
}

/// *ModifyVolume*: growth only, and not again before the cool-down is over.
fn modify(world: &mut World, id: &VolumeId, size_gib: u32, now: UnixMs) -> Answer {
    let now_s = now.0 / 1000;
    let cooldown_s = world.modification_cooldown_s;
    let found = volume_mut(world, id)?;
    if size_gib < found.size_gib {
        let message = format!("volume `{id}` has {} GiB and can't shrink", found.size_gib);
        return Err(refused("InvalidParameterValue", message));
    }
    limits::must_be_a_size(&found.volume_type, size_gib)?;
    if found.modified_at_s.is_some_and(|at| now_s < at.saturating_add(cooldown_s)) {
        let message = format!("volume `{id}` was modified less than {cooldown_s} s ago");
        return Err(refused("VolumeModificationRateExceeded", message));
    }
    found.size_gib = size_gib;
    found.modified_at_s = Some(now_s);
    Ok(volume_json(id.as_str(), found))
}

fn delete_snapshot(world: &mut World, id: &SnapshotId) -> Answer {
    match world.snapshots.remove(id.as_str()) {
        Some(_) => Ok(Value::Null),
        None => Err(missing("InvalidSnapshot.NotFound", &format!("snapshot `{id}`"))),
    }
}

/// Grow the file system to its volume, as resize2fs and xfs_growfs do.
pub(super) fn grow(world: &mut World, id: &VolumeId) -> Answer {
    let found = volume_mut(world, id)?;
    match &mut found.filesystem {
        Some(fs) => {
            fs.size_gib = found.size_gib;
            Ok(Value::Null)
        }
        None => Err(refused("500", format!("volume `{id}` has no file system"))),
    }
}

/// Make a file system of a kind that the helper can make; what is not blank is refused.
pub(super) fn make(world: &mut World, id: &VolumeId, kind: &str) -> Answer {
    let found = volume_mut(world, id)?;
    if let Some(fs) = &found.filesystem {
        return Err(refused("EEXIST", format!("volume `{id}` has a file system: {}", fs.kind)));
    }
    if !["ext4", "xfs"].contains(&kind) {
        return Err(refused("500", format!("there is no file system {kind}")));
    }
    found.filesystem = Some(FileSystem { kind: kind.to_owned(), size_gib: found.size_gib });
    Ok(Value::Null)
}
