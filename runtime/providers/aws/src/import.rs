//! What there is in the account and region, as its provider sees it.

use super::Aws;
use super::errors::RequestError;
use super::shapes::{InstanceSeen, SnapshotSeen, VolumeSeen, shown};
use stepback_core::Failure;
use stepback_provider::inventory::{
    FoundAttachment, FoundInstance, FoundSnapshot, FoundVolume, Inventory,
};

/// After a volume was modified, it can't be again for so long (Amazon EBS User Guide, *Limitations
/// for Elastic Volumes*).
const COOLDOWN_S: u64 = 6 * 3600;

impl Aws {
    /// Instances, volumes and the account's own snapshots. Nothing is told between two states:
    /// what passes through one is written as what it becomes.
    pub(super) async fn import_into(&self, all: &mut Inventory) -> Result<(), Failure> {
        let failed = |trouble: RequestError| trouble.failure("reading what there is");
        self.must_be_its_account().await?;
        for found in self.instances(vec![]).await.map_err(failed)? {
            let id = found.id.clone();
            match instance_of(found) {
                Ok(instance) => drop(all.instances.insert(id, instance)),
                Err(state) => all.left_out.push(format!("instance {id} is {state}")),
            }
        }
        for found in self.volumes(vec![]).await.map_err(failed)? {
            let id = found.id.clone();
            match volume_of(found) {
                Ok(volume) => drop(all.volumes.insert(id, volume)),
                Err(state) => all.left_out.push(format!("volume {id} is {state}")),
            }
        }
        for found in self.snapshots(vec![]).await.map_err(failed)? {
            let id = found.id.clone();
            match snapshot_of(found) {
                Ok(snapshot) => drop(all.snapshots.insert(id, snapshot)),
                Err(state) => all.left_out.push(format!("snapshot {id} is {state}")),
            }
        }
        all.modification_cooldown_s = COOLDOWN_S;
        Ok(())
    }
}

/// The instance, or the state that is not told (Amazon EC2 User Guide, *Amazon EC2 instance state
/// changes*).
fn instance_of(found: InstanceSeen) -> Result<FoundInstance, String> {
    let state = match found.state.as_str() {
        "running" | "pending" => "running",
        "stopped" | "stopping" => "stopped",
        other => return Err(other.to_owned()),
    };
    Ok(FoundInstance {
        state: state.to_owned(),
        instance_type: found.instance_type,
        zone: found.zone,
        private_ip: found.private_ip,
        tags: shown(&found.tags),
    })
}

/// The volume, or the state that is not told (Amazon EBS User Guide, *Amazon EBS volume
/// lifecycle*).
fn volume_of(found: VolumeSeen) -> Result<FoundVolume, String> {
    if !matches!(found.state.as_str(), "available" | "in-use" | "creating") {
        return Err(found.state);
    }
    let attachments = found.attachments.into_iter().filter(|one| one.state != "detaching");
    let performance = found.performance.provisioned(&found.volume_type);
    Ok(FoundVolume {
        size_gib: found.size_gib,
        iops: performance.iops,
        throughput_mibps: performance.throughput_mibps,
        encrypted: found.encrypted,
        volume_type: found.volume_type,
        zone: found.zone,
        attachments: attachments
            .map(|one| FoundAttachment { instance: one.instance, device: one.device })
            .collect(),
        snapshot: found.snapshot,
        filesystem: None,
        tags: shown(&found.tags),
    })
}

/// The snapshot, or the state that is not told (Amazon EC2 API Reference, *Snapshot*).
fn snapshot_of(found: SnapshotSeen) -> Result<FoundSnapshot, String> {
    if !matches!(found.state.as_str(), "completed" | "pending") {
        return Err(found.state);
    }
    Ok(FoundSnapshot {
        volume: found.volume,
        size_gib: found.size_gib,
        encrypted: found.encrypted,
        filesystem: None,
        tags: shown(&found.tags),
    })
}
