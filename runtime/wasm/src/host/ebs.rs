//! `ebs`: volumes and snapshots.

use super::map_of;
use crate::bindings::stepback::ebs::volumes::{
    Failure, Host, Pair, Snapshot, Volume, VolumeSpec, VolumeState,
};
use crate::guest::Guest;
use stepback_core::Call;
use stepback_core::calls::{EbsCall, Performance};

impl Host for Guest {
    async fn describe(&mut self, volume: String) -> Result<Volume, Failure> {
        self.ask(Call::Ebs(EbsCall::Describe { volume: volume.into() })).await
    }

    async fn find(&mut self, tags: Vec<Pair>) -> Result<Vec<Volume>, Failure> {
        self.ask(Call::Ebs(EbsCall::Find { tags: map_of("tags", tags)? })).await
    }

    async fn create_volume(&mut self, spec: VolumeSpec) -> Result<Volume, Failure> {
        let VolumeSpec { zone, size_gib, volume_type, encrypted, snapshot, tags, .. } = spec;
        let VolumeSpec { iops, throughput_mibps, .. } = spec;
        self.ask(Call::Ebs(EbsCall::CreateVolume {
            zone,
            size_gib,
            volume_type,
            snapshot: snapshot.map(Into::into),
            tags: map_of("tags", tags)?,
            performance: Performance { iops, throughput_mibps },
            encrypted,
        }))
        .await
    }

    async fn delete_volume(&mut self, volume: String) -> Result<(), Failure> {
        self.tell(Call::Ebs(EbsCall::DeleteVolume { volume: volume.into() })).await
    }

    async fn attach(
        &mut self,
        volume: String,
        instance: String,
        device: String,
    ) -> Result<Volume, Failure> {
        self.ask(Call::Ebs(EbsCall::Attach {
            volume: volume.into(),
            instance: instance.into(),
            device,
        }))
        .await
    }

    async fn detach(&mut self, volume: String, instance: String) -> Result<Volume, Failure> {
        self.ask(Call::Ebs(EbsCall::Detach { volume: volume.into(), instance: instance.into() }))
            .await
    }

    async fn modify_volume(&mut self, volume: String, size_gib: u32) -> Result<Volume, Failure> {
        self.ask(Call::Ebs(EbsCall::ModifyVolume { volume: volume.into(), size_gib })).await
    }

    async fn create_snapshot(
        &mut self,
        volume: String,
        description: String,
        tags: Vec<Pair>,
    ) -> Result<Snapshot, Failure> {
        self.ask(Call::Ebs(EbsCall::CreateSnapshot {
            volume: volume.into(),
            description,
            tags: map_of("tags", tags)?,
        }))
        .await
    }

    async fn describe_snapshot(&mut self, snapshot: String) -> Result<Snapshot, Failure> {
        self.ask(Call::Ebs(EbsCall::DescribeSnapshot { snapshot: snapshot.into() })).await
    }

    async fn find_snapshots(&mut self, tags: Vec<Pair>) -> Result<Vec<Snapshot>, Failure> {
        self.ask(Call::Ebs(EbsCall::FindSnapshots { tags: map_of("tags", tags)? })).await
    }

    async fn delete_snapshot(&mut self, snapshot: String) -> Result<(), Failure> {
        self.tell(Call::Ebs(EbsCall::DeleteSnapshot { snapshot: snapshot.into() })).await
    }

    async fn wait_volume(
        &mut self,
        volume: String,
        state: VolumeState,
        timeout_ms: u64,
    ) -> Result<Volume, Failure> {
        let (volume, state) = (volume.into(), word(state).to_owned());
        self.ask(Call::Ebs(EbsCall::WaitVolume { volume, state, timeout_ms })).await
    }

    async fn wait_snapshot(
        &mut self,
        snapshot: String,
        timeout_ms: u64,
    ) -> Result<Snapshot, Failure> {
        self.ask(Call::Ebs(EbsCall::WaitSnapshot { snapshot: snapshot.into(), timeout_ms })).await
    }

    async fn tag(&mut self, volume: String, key: String, value: String) -> Result<(), Failure> {
        self.tell(Call::Ebs(EbsCall::Tag { volume: volume.into(), key, value })).await
    }

    async fn untag(&mut self, volume: String, key: String) -> Result<(), Failure> {
        self.tell(Call::Ebs(EbsCall::Untag { volume: volume.into(), key })).await
    }
}

fn word(state: VolumeState) -> &'static str {
    match state {
        VolumeState::Creating => "creating",
        VolumeState::Available => "available",
        VolumeState::InUse => "in-use",
        VolumeState::Deleting => "deleting",
        VolumeState::Deleted => "deleted",
        VolumeState::Error => "error",
    }
}
