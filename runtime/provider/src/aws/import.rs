//! What there is in the account and region, as a world of the simulator.

use super::Aws;
use super::errors::Trouble;
use super::shapes::{InstanceSeen, SnapshotSeen, VolumeSeen, shown};
use crate::simulated::world::{Attachment, Instance, Snapshot, Volume, World};
use stepback_core::Failure;

/// After a volume was modified, it can't be again for so long (Amazon EBS User Guide, *Limitations
/// for Elastic Volumes*).
const COOLDOWN_S: u64 = 6 * 3600;

impl Aws {
    /// Instances, volumes and the account's own snapshots. A world is never between two states:
    /// what passes through one is written as what it becomes.
    pub(super) async fn import_into(&self, world: &mut World) -> Result<Vec<String>, Failure> {
        let failed = |trouble: Trouble| trouble.failure("reading what there is");
        self.must_be_its_account().await?;
        let mut left_out = vec![];
        for found in self.instances(vec![]).await.map_err(failed)? {
            let id = found.id.clone();
            match instance_of(found) {
                Ok(instance) => drop(world.instances.insert(id, instance)),
                Err(state) => left_out.push(format!("instance {id} is {state}")),
            }
        }
        for found in self.volumes(vec![]).await.map_err(failed)? {
            let id = found.id.clone();
            match volume_of(found) {
                Ok(volume) => drop(world.volumes.insert(id, volume)),
                Err(state) => left_out.push(format!("volume {id} is {state}")),
            }
        }
        for found in self.snapshots(vec![]).await.map_err(failed)? {
            let id = found.id.clone();
            match snapshot_of(found) {
                Ok(snapshot) => drop(world.snapshots.insert(id, snapshot)),
                Err(state) => left_out.push(format!("snapshot {id} is {state}")),
            }
        }
        world.modification_cooldown_s = COOLDOWN_S;
        Ok(left_out)
    }
}

/// The instance, or the state that no world has (Amazon EC2 User Guide, *Amazon EC2 instance state
/// changes*).
fn instance_of(found: InstanceSeen) -> Result<Instance, String> {
    let state = match found.state.as_str() {
        "running" | "pending" => "running",
        "stopped" | "stopping" => "stopped",
        other => return Err(other.to_owned()),
    };
    Ok(Instance {
        state: state.to_owned(),
        instance_type: found.instance_type,
        zone: found.zone,
        private_ip: found.private_ip,
        tags: shown(&found.tags),
        stamp: None,
        max_attachments: None,
        own_disks: vec![],
        listed_from_ms: 0,
    })
}

/// The volume, or the state that no world has (Amazon EBS User Guide, *Amazon EBS volume
/// lifecycle*).
fn volume_of(found: VolumeSeen) -> Result<Volume, String> {
    if !matches!(found.state.as_str(), "available" | "in-use" | "creating") {
        return Err(found.state);
    }
    let attachments = found.attachments.into_iter().filter(|one| one.state != "detaching");
    let performance = found.performance.provisioned(&found.volume_type);
    Ok(Volume {
        size_gib: found.size_gib,
        iops: performance.iops,
        throughput_mibps: performance.throughput_mibps,
        encrypted: found.encrypted,
        key_state: None,
        volume_type: found.volume_type,
        zone: found.zone,
        attachments: attachments
            .map(|one| Attachment { instance: one.instance, device: one.device })
            .collect(),
        snapshot: found.snapshot,
        filesystem: None,
        tags: shown(&found.tags),
        modified_at_s: None,
        stamp: None,
        listed_from_ms: 0,
    })
}

/// The snapshot, or the state that no world has (Amazon EC2 API Reference, *Snapshot*).
fn snapshot_of(found: SnapshotSeen) -> Result<Snapshot, String> {
    if !matches!(found.state.as_str(), "completed" | "pending") {
        return Err(found.state);
    }
    Ok(Snapshot {
        volume: found.volume,
        size_gib: found.size_gib,
        encrypted: found.encrypted,
        key_state: None,
        filesystem: None,
        tags: shown(&found.tags),
        stamp: None,
        listed_from_ms: 0,
    })
}
