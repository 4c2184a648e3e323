//! EBS volumes and snapshots (Amazon EC2 API Reference).

use super::entry::*;
use super::functions;
use super::inverse::{Inverse, Reversal, nameless, tag};
use super::shapes::{Performance, Tags};
use crate::ids::*;
use crate::interface::Interface;
use crate::resource::{Facts, Resource, ResourceKind};
use serde_json::Value;

functions! {
    /// A call to EC2 about volumes and snapshots.
    EbsCall of Interface::Ebs {
        Describe "ebs.describe" { volume: VolumeId },
        Find "ebs.find" { tags: Tags },
        CreateVolume "ebs.create-volume" {
            zone: String, size_gib: u32, volume_type: String, snapshot: Option<SnapshotId>,
            tags: Tags,
            #[serde(default)] performance: Performance,
            #[serde(default)] encrypted: bool,
        },
        DeleteVolume "ebs.delete-volume" { volume: VolumeId },
        Attach "ebs.attach" { volume: VolumeId, instance: InstanceId, device: String },
        Detach "ebs.detach" { volume: VolumeId, instance: InstanceId },
        ModifyVolume "ebs.modify-volume" { volume: VolumeId, size_gib: u32 },
        CreateSnapshot "ebs.create-snapshot" { volume: VolumeId, description: String, tags: Tags },
        DescribeSnapshot "ebs.describe-snapshot" { snapshot: SnapshotId },
        FindSnapshots "ebs.find-snapshots" { tags: Tags },
        DeleteSnapshot "ebs.delete-snapshot" { snapshot: SnapshotId },
        WaitVolume "ebs.wait-volume" { volume: VolumeId, state: String, timeout_ms: u64 },
        WaitSnapshot "ebs.wait-snapshot" { snapshot: SnapshotId, timeout_ms: u64 },
        Tag "ebs.tag" { volume: VolumeId, key: String, value: String },
        Untag "ebs.untag" { volume: VolumeId, key: String },
    }
}

/// The questions of this interface, as a pattern.
#[macro_export]
macro_rules! ebs_reads {
    () => {
        $crate::EbsCall::Describe { .. }
            | $crate::EbsCall::Find { .. }
            | $crate::EbsCall::DescribeSnapshot { .. }
            | $crate::EbsCall::FindSnapshots { .. }
    };
}

/// Its waits, as a pattern.
#[macro_export]
macro_rules! ebs_waits {
    () => {
        $crate::EbsCall::WaitVolume { .. } | $crate::EbsCall::WaitSnapshot { .. }
    };
}

/// Its effects, as a pattern.
#[macro_export]
macro_rules! ebs_effects {
    () => {
        $crate::EbsCall::CreateVolume { .. }
            | $crate::EbsCall::DeleteVolume { .. }
            | $crate::EbsCall::Attach { .. }
            | $crate::EbsCall::Detach { .. }
            | $crate::EbsCall::ModifyVolume { .. }
            | $crate::EbsCall::CreateSnapshot { .. }
            | $crate::EbsCall::DeleteSnapshot { .. }
            | $crate::EbsCall::Tag { .. }
            | $crate::EbsCall::Untag { .. }
    };
}

impl EbsCall {
    /// What is to be known of it.
    pub(super) fn entry(&self) -> Entry<'_> {
        match self {
            EbsCall::Describe { .. }
            | EbsCall::Find { .. }
            | EbsCall::DescribeSnapshot { .. }
            | EbsCall::FindSnapshots { .. } => Entry::read(None),
            EbsCall::WaitVolume { .. } | EbsCall::WaitSnapshot { .. } => {
                Entry::wait(None, Takes::UpTo("timeout_ms"))
            }
            EbsCall::CreateVolume { tags, .. } => create_volume(tags),
            // It is attached nowhere.
            EbsCall::DeleteVolume { volume } => {
                irreversible(Target::Volume(volume), Changes::Whole, Sets::Nothing)
            }
            EbsCall::Attach { volume, instance, .. } => attachment(
                volume,
                instance,
                Inverse::call(|| EbsCall::Detach {
                    volume: volume.clone(),
                    instance: instance.clone(),
                }),
            ),
            // It is never forced.
            EbsCall::Detach { volume, instance } => attachment(
                volume,
                instance,
                Inverse::of_done(|undo| match device(undo.before, instance) {
                    Some(device) => Reversal::one(EbsCall::Attach {
                        volume: volume.clone(),
                        instance: instance.clone(),
                        device,
                    }),
                    None => Reversal::unread(undo, "attachments"),
                }),
            ),
            // What gp2 gives follows from the size (Amazon EBS User Guide, *Volume types*).
            EbsCall::ModifyVolume { volume, size_gib } => irreversible(
                Target::Volume(volume),
                Changes::Facts(&["size_gib", "iops", "throughput_mibps"]),
                Sets::Number("size_gib", *size_gib),
            ),
            EbsCall::CreateSnapshot { tags, .. } => create_snapshot(tags),
            EbsCall::DeleteSnapshot { snapshot } => {
                irreversible(Target::Snapshot(snapshot), Changes::Whole, Sets::Nothing)
            }
            EbsCall::Tag { volume, key, value } => tags(volume, key, Some(value)),
            EbsCall::Untag { volume, key } => tags(volume, key, None),
        }
    }
}

fn create_volume(tags: &Tags) -> Entry<'_> {
    Entry {
        class: Class::Effect,
        touches: Touches::New(ResourceKind::Volume),
        changes: Changes::Whole,
        sets: Sets::Nothing,
        beside: None,
        shares: None,
        before: None,
        settle: Some(SettleMode::ReissueSameToken),
        inverse: Inverse::of_done(|undo| match undo.resource {
            Resource::Volume { id } => {
                Reversal::one(EbsCall::DeleteVolume { volume: id.as_str().into() })
            }
            _ => nameless(undo),
        }),
        host: None,
        takes: Takes::Moments,
        tags: WrittenTags::All(tags),
        leaves_behind: false,
        sinks: Sinks::None,
    }
}

fn create_snapshot(tags: &Tags) -> Entry<'_> {
    Entry {
        class: Class::Effect,
        touches: Touches::New(ResourceKind::Snapshot),
        changes: Changes::Whole,
        sets: Sets::Nothing,
        beside: None,
        shares: None,
        before: None,
        settle: Some(SettleMode::FindByStamp),
        inverse: Inverse::of_done(|undo| match undo.resource {
            Resource::Snapshot { id } => {
                Reversal::one(EbsCall::DeleteSnapshot { snapshot: id.as_str().into() })
            }
            _ => nameless(undo),
        }),
        host: None,
        takes: Takes::Moments,
        tags: WrittenTags::All(tags),
        leaves_behind: false,
        sinks: Sinks::None,
    }
}

/// The entry of a call that nothing takes back.
fn irreversible<'a>(target: Target<'a>, changes: Changes<'a>, sets: Sets<'a>) -> Entry<'a> {
    Entry {
        class: Class::Irreversible,
        touches: Touches::One(target),
        changes,
        sets,
        beside: None,
        shares: None,
        before: None,
        settle: Some(SettleMode::DesiredState),
        inverse: Inverse::None,
        host: None,
        takes: Takes::Moments,
        tags: WrittenTags::None,
        leaves_behind: false,
        sinks: Sinks::None,
    }
}

/// The entry of a call that attaches a volume, or lets it go.
fn attachment<'a>(
    volume: &'a VolumeId,
    instance: &'a InstanceId,
    inverse: Inverse<'a>,
) -> Entry<'a> {
    Entry {
        class: Class::Effect,
        touches: Touches::Two(Target::Volume(volume), Target::Instance(instance)),
        changes: Changes::Facts(&["attachments"]),
        sets: Sets::Nothing,
        beside: None,
        shares: None,
        before: None,
        settle: Some(SettleMode::DesiredState),
        inverse,
        host: None,
        takes: Takes::Moments,
        tags: WrittenTags::None,
        leaves_behind: false,
        sinks: Sinks::None,
    }
}

/// The entry of a call that sets a tag, or takes it away.
fn tags<'a>(volume: &'a VolumeId, key: &'a str, value: Option<&'a str>) -> Entry<'a> {
    Entry {
        class: Class::Effect,
        touches: Touches::One(Target::Volume(volume)),
        changes: Changes::Tag(key),
        sets: Sets::Tag(key, value),
        beside: None,
        shares: None,
        before: None,
        settle: Some(SettleMode::DesiredState),
        inverse: Inverse::of_done(move |undo| {
            let (volume, key) = (volume.clone(), key.to_owned());
            Reversal::one(match tag(undo.before, &key) {
                Some(value) => EbsCall::Tag { volume, key, value },
                None => EbsCall::Untag { volume, key },
            })
        }),
        host: None,
        takes: Takes::Moments,
        tags: WrittenTags::One(key),
        leaves_behind: false,
        sinks: Sinks::None,
    }
}

/// The device that a volume was attached as.
fn device(before: &Facts, instance: &InstanceId) -> Option<String> {
    let attachments = before.get("attachments")?.as_array()?;
    let on = |a: &&Value| a.get("instance").and_then(Value::as_str) == Some(instance.as_str());
    attachments.iter().find(on)?.get("device")?.as_str().map(str::to_owned)
}
