//! What EC2 shows, as plain values, and the two shapes that Stepback gives them: the answers of
//! calls and the facts that count.
//!
//! Both shapes are the simulator's, key for key. Stamps and tags of AWS's own are in neither.

use aws_sdk_ec2::types;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use stepback_core::Facts;
use stepback_core::calls::{Performance, Tags};
use stepback_provider::tags::is_reserved;

/// The tag that holds the token of the effect that created a resource.
pub(super) const STAMP_TOKEN: &str = "stepback:token";

/// The tag that holds the id of the operation that created a resource.
pub(super) const STAMP_OPERATION: &str = "stepback:operation";

/// An instance as *DescribeInstances* shows it.
#[derive(Clone, Debug)]
pub(super) struct InstanceSeen {
    pub(super) id: String,
    pub(super) state: String,
    pub(super) instance_type: String,
    pub(super) zone: String,
    pub(super) private_ip: Option<String>,
    /// Device names with the volumes attached as these.
    pub(super) devices: BTreeMap<String, String>,
    pub(super) tags: Tags,
    /// Why it came into this state, in EC2's words.
    pub(super) reason: Option<String>,
}

/// An attachment as *DescribeVolumes* shows it.
#[derive(Clone, Debug)]
pub(super) struct AttachmentSeen {
    pub(super) instance: String,
    pub(super) device: String,
    pub(super) state: String,
}

/// A volume as *DescribeVolumes* shows it; detached attachments are left out.
#[derive(Clone, Debug)]
pub(super) struct VolumeSeen {
    pub(super) id: String,
    pub(super) state: String,
    pub(super) size_gib: u32,
    pub(super) volume_type: String,
    pub(super) performance: Performance,
    pub(super) encrypted: bool,
    /// The KMS key that it is encrypted with.
    pub(super) key: Option<String>,
    pub(super) zone: String,
    pub(super) attachments: Vec<AttachmentSeen>,
    pub(super) snapshot: Option<String>,
    pub(super) tags: Tags,
}

/// A snapshot as *DescribeSnapshots* shows it.
#[derive(Clone, Debug)]
pub(super) struct SnapshotSeen {
    pub(super) id: String,
    pub(super) volume: String,
    pub(super) state: String,
    pub(super) size_gib: u32,
    pub(super) encrypted: bool,
    pub(super) key: Option<String>,
    pub(super) tags: Tags,
    /// What EC2 says of a snapshot that failed.
    pub(super) message: Option<String>,
}

fn tags_of(tags: Option<Vec<types::Tag>>) -> Tags {
    let pair = |tag: types::Tag| Some((tag.key?, tag.value.unwrap_or_default()));
    tags.unwrap_or_default().into_iter().filter_map(pair).collect()
}

/// The tags that are facts.
pub(super) fn shown(tags: &Tags) -> Tags {
    let kept = tags.iter().filter(|(key, _)| !is_reserved(key));
    kept.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn gib(size: Option<i32>) -> u32 {
    number(size).unwrap_or_default()
}

fn number(value: Option<i32>) -> Option<u32> {
    value.and_then(|value| u32::try_from(value).ok())
}

fn not_empty(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

impl From<types::Instance> for InstanceSeen {
    fn from(found: types::Instance) -> Self {
        let state = found.state.and_then(|state| state.name);
        let reason = found.state_reason.and_then(|reason| reason.message);
        let devices = found.block_device_mappings.unwrap_or_default();
        let device = |mapping: types::InstanceBlockDeviceMapping| {
            Some((mapping.device_name?, mapping.ebs?.volume_id?))
        };
        Self {
            id: found.instance_id.unwrap_or_default(),
            state: state.map(|name| name.as_str().to_owned()).unwrap_or_default(),
            instance_type: found.instance_type.map(|t| t.as_str().to_owned()).unwrap_or_default(),
            zone: found.placement.and_then(|p| p.availability_zone).unwrap_or_default(),
            private_ip: not_empty(found.private_ip_address),
            devices: devices.into_iter().filter_map(device).collect(),
            tags: tags_of(found.tags),
            reason: not_empty(reason),
        }
    }
}

impl From<types::VolumeAttachment> for AttachmentSeen {
    fn from(found: types::VolumeAttachment) -> Self {
        Self {
            instance: found.instance_id.unwrap_or_default(),
            device: found.device.unwrap_or_default(),
            state: found.state.map(|state| state.as_str().to_owned()).unwrap_or_default(),
        }
    }
}

impl From<types::Volume> for VolumeSeen {
    fn from(found: types::Volume) -> Self {
        let attachments = found.attachments.unwrap_or_default();
        let mut attachments: Vec<AttachmentSeen> =
            attachments.into_iter().map(AttachmentSeen::from).collect();
        attachments.retain(|attachment| attachment.state != "detached");
        // A volume of Multi-Attach lists them in no order; facts are compared as they are.
        attachments.sort_by(|a, b| (&a.instance, &a.device).cmp(&(&b.instance, &b.device)));
        Self {
            id: found.volume_id.unwrap_or_default(),
            state: found.state.map(|state| state.as_str().to_owned()).unwrap_or_default(),
            size_gib: gib(found.size),
            volume_type: found.volume_type.map(|t| t.as_str().to_owned()).unwrap_or_default(),
            performance: Performance {
                iops: number(found.iops),
                throughput_mibps: number(found.throughput),
            },
            encrypted: found.encrypted.unwrap_or_default(),
            key: not_empty(found.kms_key_id),
            zone: found.availability_zone.unwrap_or_default(),
            attachments,
            snapshot: not_empty(found.snapshot_id),
            tags: tags_of(found.tags),
        }
    }
}

impl From<types::Snapshot> for SnapshotSeen {
    fn from(found: types::Snapshot) -> Self {
        Self {
            id: found.snapshot_id.unwrap_or_default(),
            volume: found.volume_id.unwrap_or_default(),
            state: found.state.map(|state| state.as_str().to_owned()).unwrap_or_default(),
            size_gib: gib(found.volume_size),
            encrypted: found.encrypted.unwrap_or_default(),
            key: not_empty(found.kms_key_id),
            tags: tags_of(found.tags),
            message: not_empty(found.state_message),
        }
    }
}

impl InstanceSeen {
    /// Gone for good; EC2 shows it for about an hour more
    /// (Amazon EC2 User Guide, *Terminate Amazon EC2 instances*).
    pub(super) fn is_terminated(&self) -> bool {
        self.state == "terminated"
    }

    /// Whether the state only passes through
    /// (Amazon EC2 User Guide, *Amazon EC2 instance state changes*).
    pub(super) fn is_passing(&self) -> bool {
        matches!(self.state.as_str(), "pending" | "stopping" | "shutting-down")
    }

    pub(super) fn json(&self) -> Value {
        let device = |(device, volume)| json!({ "device": device, "volume": volume });
        json!({
            "id": self.id, "state": self.state, "instance_type": self.instance_type,
            "zone": self.zone, "private_ip": self.private_ip, "tags": shown(&self.tags),
            "devices": self.devices.iter().map(device).collect::<Vec<_>>(),
        })
    }

    pub(super) fn facts(&self) -> Facts {
        if self.is_terminated() {
            return Facts::Absent;
        }
        Facts::from_json(json!({
            "state": self.state, "type": self.instance_type, "zone": self.zone,
            "tags": shown(&self.tags),
        }))
    }
}

impl VolumeSeen {
    /// A volume that is being deleted never comes back, and can stay so for minutes
    /// (Amazon EC2 API Reference, *DeleteVolume*).
    pub(super) fn is_gone(&self) -> bool {
        matches!(self.state.as_str(), "deleting" | "deleted")
    }

    /// Whether it, or one of its attachments, is on its way to another state
    /// (Amazon EC2 API Reference, *Volume*, *VolumeAttachment*).
    pub(super) fn is_passing(&self) -> bool {
        self.state == "creating" || self.attachments.iter().any(AttachmentSeen::is_passing)
    }

    /// Whether all of its attachments are there, or on their way.
    pub(super) fn is_coming(&self) -> bool {
        let is_coming =
            |at: &AttachmentSeen| ["attaching", "attached"].contains(&at.state.as_str());
        self.state != "creating" && self.attachments.iter().all(is_coming)
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "id": self.id, "state": self.state, "size_gib": self.size_gib,
            "volume_type": self.volume_type, "iops": self.performance.iops,
            "throughput_mibps": self.performance.throughput_mibps, "encrypted": self.encrypted,
            "zone": self.zone,
            "attachments": self.attachments_json(), "snapshot": self.snapshot,
            "tags": shown(&self.tags),
        })
    }

    pub(super) fn facts(&self) -> Facts {
        if self.is_gone() {
            return Facts::Absent;
        }
        Facts::from_json(json!({
            "size_gib": self.size_gib, "type": self.volume_type,
            "iops": self.performance.iops, "throughput_mibps": self.performance.throughput_mibps,
            "encrypted": self.encrypted, "zone": self.zone,
            "attachments": self.attachments_json(), "tags": shown(&self.tags),
            "snapshot": self.snapshot,
        }))
    }

    fn attachments_json(&self) -> Vec<Value> {
        let one = |a: &AttachmentSeen| json!({ "instance": a.instance, "device": a.device });
        self.attachments.iter().map(one).collect()
    }
}

impl AttachmentSeen {
    /// `busy` is a detachment that waits until the volume is unmounted
    /// (Amazon EBS User Guide, *Detach an Amazon EBS volume*).
    pub(super) fn is_passing(&self) -> bool {
        matches!(self.state.as_str(), "attaching" | "detaching" | "busy")
    }
}

impl SnapshotSeen {
    pub(super) fn json(&self) -> Value {
        json!({
            "id": self.id, "volume": self.volume, "state": self.state,
            "size_gib": self.size_gib, "tags": shown(&self.tags),
        })
    }

    pub(super) fn facts(&self) -> Facts {
        Facts::from_json(json!({
            "volume": self.volume, "size_gib": self.size_gib, "tags": shown(&self.tags),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepback_core::ResourceKind;

    fn keys(facts: &Facts) -> Vec<String> {
        let Facts::Present(map) = facts else { panic!("absent") };
        map.keys().cloned().collect()
    }

    fn counted(kind: ResourceKind) -> Vec<String> {
        let mut names: Vec<String> = kind.counted().iter().map(|n| (*n).to_owned()).collect();
        names.sort();
        names
    }

    fn attachment(state: types::VolumeAttachmentState) -> types::VolumeAttachment {
        let made = types::VolumeAttachment::builder().instance_id("i-1").device("/dev/sdf");
        made.state(state).build()
    }

    fn volume(state: types::VolumeState) -> VolumeSeen {
        let tag = |key: &str| types::Tag::builder().key(key).value("v").build();
        let made = types::Volume::builder().volume_id("vol-1").state(state).snapshot_id("");
        let made = made.attachments(attachment(types::VolumeAttachmentState::Detached));
        made.tags(tag("Name")).tags(tag(STAMP_TOKEN)).tags(tag("aws:x")).build().into()
    }

    #[test]
    fn facts_are_those_that_count() {
        let available = volume(types::VolumeState::Available);
        assert_eq!(keys(&available.facts()), counted(ResourceKind::Volume));
        let instance = InstanceSeen::from(types::Instance::builder().build());
        assert_eq!(keys(&instance.facts()), counted(ResourceKind::Instance));
        let snapshot = SnapshotSeen::from(types::Snapshot::builder().build());
        assert_eq!(keys(&snapshot.facts()), counted(ResourceKind::Snapshot));
    }

    #[test]
    fn stamps_detached_attachments_and_empty_ids_are_no_facts() {
        let json = volume(types::VolumeState::Available).json();
        assert_eq!(json["tags"], json!({ "Name": "v" }));
        assert_eq!(json["attachments"], json!([]));
        assert_eq!(json["snapshot"], Value::Null);
    }

    #[test]
    fn what_is_going_for_good_is_absent() {
        assert!(volume(types::VolumeState::Deleting).facts().is_absent());
        assert!(!volume(types::VolumeState::Error).facts().is_absent());
        let state = types::InstanceState::builder().name(types::InstanceStateName::Terminated);
        let terminated = types::Instance::builder().state(state.build()).build();
        assert!(InstanceSeen::from(terminated).facts().is_absent());
    }

    #[test]
    fn a_busy_detachment_is_passing() {
        let made = types::Volume::builder().state(types::VolumeState::InUse);
        let busy = made.clone().attachments(attachment(types::VolumeAttachmentState::Busy));
        assert!(VolumeSeen::from(busy.build()).is_passing());
        let attached = made.attachments(attachment(types::VolumeAttachmentState::Attached));
        assert!(!VolumeSeen::from(attached.build()).is_passing());
    }
}
