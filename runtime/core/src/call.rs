//! The host functions: one typed call each, and the one table that tells what each means.
//!
//! [`Call`] is what a guest asks for, what the journal holds and what a provider is given. Every
//! question about a function (may it change anything, what does it touch, how is a lost answer
//! settled) is a match over it without a catch-all, so that a new function can't be half added.

use crate::ids::*;
use crate::resource::{Resource, ResourceKind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How long a last look at the world may take, in milliseconds.
const LAST_LOOK_MS: u64 = 5_000;

/// What a host function may do to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    Read,
    Wait,
    Effect,
    /// An effect with no inverse, but on what this operation itself created.
    Irreversible,
}

/// How an effect whose answer was lost is settled (R3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SettleMode {
    /// The API knows the token: search for the stamp, then the same request again is safe.
    ReissueSameToken,
    /// Look whether the world is as wanted, then act.
    DesiredState,
    /// What was created carries the token: find it, or after a delay be sure it is not there.
    FindByStamp,
    /// Nothing in the world tells.
    Unknowable,
}

macro_rules! calls {
    ($($variant:ident $name:literal {
        $($(#[$attr:meta])* $field:ident : $type:ty),* $(,)?
    }),+ $(,)?) => {
        /// One host call with its arguments.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "function", content = "arguments")]
        pub enum Call {
            $(#[serde(rename = $name)] $variant { $($(#[$attr])* $field: $type),* }),+
        }

        impl Call {
            /// Every function's name, in the contract's order.
            pub const FUNCTIONS: &'static [&'static str] = &[$($name),+];

            /// `interface.function`, as in the contract, in `--inject` and in the journal.
            pub fn function(&self) -> &'static str {
                match self { $(Call::$variant { .. } => $name),+ }
            }
        }
    };
}

/// Tags of EC2 resources.
pub type Tags = BTreeMap<String, String>;

/// What a volume was provisioned with, where its type takes that
/// (Amazon EC2 API Reference, *CreateVolume*).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Performance {
    /// I/O operations a second, of `gp3`, `io1` and `io2`.
    pub iops: Option<u32>,
    /// MiB a second, of `gp3`.
    pub throughput_mibps: Option<u32>,
}

impl Performance {
    /// What of it can be asked for with a type; of other types EC2 shows what follows from the
    /// size.
    pub fn provisioned(self, volume_type: &str) -> Self {
        let takes_iops = matches!(volume_type, "gp3" | "io1" | "io2");
        Self {
            iops: self.iops.filter(|_| takes_iops),
            throughput_mibps: self.throughput_mibps.filter(|_| volume_type == "gp3"),
        }
    }
}

/// What a container is made of; every field counts when it is compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContainerSpec {
    pub image: String,
    pub command: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub mounts: Vec<Mount>,
    /// `host-port:container-port[/protocol]`.
    pub ports: Vec<String>,
    /// `no`, `always`, `unless-stopped` or `on-failure`.
    pub restart: String,
    /// Take every option not given here from this container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub like: Option<Like>,
}

/// A container to copy options from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Like {
    pub host: String,
    pub container: String,
}

/// A Docker volume in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub volume: String,
    pub target: String,
    #[serde(default)]
    pub read_only: bool,
}

calls! {
    Ec2Describe "ec2.describe" { instance: InstanceId },
    Ec2Find "ec2.find" { tags: Tags },
    Ec2RunInstance "ec2.run-instance" {
        image: String, instance_type: String, zone: String, tags: Tags,
    },
    Ec2Start "ec2.start" { instance: InstanceId },
    Ec2Stop "ec2.stop" { instance: InstanceId },
    Ec2Terminate "ec2.terminate" { instance: InstanceId },
    Ec2SetInstanceType "ec2.set-instance-type" { instance: InstanceId, instance_type: String },
    Ec2WaitState "ec2.wait-state" { instance: InstanceId, state: String, timeout_ms: u64 },
    Ec2Tag "ec2.tag" { instance: InstanceId, key: String, value: String },
    Ec2Untag "ec2.untag" { instance: InstanceId, key: String },
    EbsDescribe "ebs.describe" { volume: VolumeId },
    EbsFind "ebs.find" { tags: Tags },
    EbsCreateVolume "ebs.create-volume" {
        zone: String, size_gib: u32, volume_type: String, snapshot: Option<SnapshotId>, tags: Tags,
        #[serde(default)] performance: Performance,
        #[serde(default)] encrypted: bool,
    },
    EbsDeleteVolume "ebs.delete-volume" { volume: VolumeId },
    EbsAttach "ebs.attach" { volume: VolumeId, instance: InstanceId, device: String },
    EbsDetach "ebs.detach" { volume: VolumeId, instance: InstanceId },
    EbsModifyVolume "ebs.modify-volume" { volume: VolumeId, size_gib: u32 },
    EbsCreateSnapshot "ebs.create-snapshot" { volume: VolumeId, description: String, tags: Tags },
    EbsDescribeSnapshot "ebs.describe-snapshot" { snapshot: SnapshotId },
    EbsFindSnapshots "ebs.find-snapshots" { tags: Tags },
    EbsDeleteSnapshot "ebs.delete-snapshot" { snapshot: SnapshotId },
    EbsWaitVolume "ebs.wait-volume" { volume: VolumeId, state: String, timeout_ms: u64 },
    EbsWaitSnapshot "ebs.wait-snapshot" { snapshot: SnapshotId, timeout_ms: u64 },
    EbsTag "ebs.tag" { volume: VolumeId, key: String, value: String },
    EbsUntag "ebs.untag" { volume: VolumeId, key: String },
    DockerInspectContainer "docker.inspect-container" {
        host: InstanceId, container: ContainerName,
    },
    DockerListContainers "docker.list-containers" { host: InstanceId },
    DockerInspectImage "docker.inspect-image" { host: InstanceId, image: ImageRef },
    DockerInspectVolume "docker.inspect-volume" { host: InstanceId, volume: DockerVolumeName },
    DockerFileSystem "docker.filesystem" { host: InstanceId, volume: VolumeId },
    DockerCheckHelper "docker.check-helper" { host: InstanceId },
    DockerPullImage "docker.pull-image" { host: InstanceId, image: ImageRef },
    DockerCreateContainer "docker.create-container" {
        host: InstanceId, container: ContainerName, spec: ContainerSpec,
    },
    DockerStartContainer "docker.start-container" { host: InstanceId, container: ContainerName },
    DockerStopContainer "docker.stop-container" {
        host: InstanceId, container: ContainerName, grace_ms: u64,
    },
    DockerRenameContainer "docker.rename-container" {
        host: InstanceId, container: ContainerName, to: ContainerName,
    },
    DockerUpdateContainer "docker.update-container" {
        host: InstanceId, container: ContainerName, restart: String,
    },
    DockerRemoveContainer "docker.remove-container" { host: InstanceId, container: ContainerName },
    DockerTagImage "docker.tag-image" { host: InstanceId, image: ImageRef, digest: String },
    DockerRemoveImage "docker.remove-image" { host: InstanceId, image: ImageRef },
    DockerWaitHealthy "docker.wait-healthy" {
        host: InstanceId, container: ContainerName, timeout_ms: u64,
    },
    DockerWaitDevice "docker.wait-device" { host: InstanceId, volume: VolumeId, timeout_ms: u64 },
    DockerWaitUnmounted "docker.wait-unmounted" {
        host: InstanceId, volume: VolumeId, timeout_ms: u64,
    },
    DockerLogs "docker.logs" { host: InstanceId, container: ContainerName, tail_lines: u32 },
    DockerRunOnce "docker.run-once" { host: InstanceId, spec: ContainerSpec, timeout_ms: u64 },
    DockerExec "docker.exec" {
        host: InstanceId, container: ContainerName, command: Vec<String>, timeout_ms: u64,
    },
    DockerCreateVolume "docker.create-volume" {
        host: InstanceId, volume: DockerVolumeName, options: BTreeMap<String, String>,
    },
    DockerRemoveVolume "docker.remove-volume" { host: InstanceId, volume: DockerVolumeName },
    DockerMakeFileSystem "docker.make-filesystem" {
        host: InstanceId, volume: VolumeId, filesystem_type: String,
    },
    DockerGrowFileSystem "docker.grow-filesystem" { host: InstanceId, volume: VolumeId },
    EffectsReverse "effects.reverse" { effect: String },
    ClockNow "clock.now" {},
    ClockSleep "clock.sleep" { duration_ms: u64 },
}

impl Call {
    /// Whether the function reads, waits or changes the world.
    pub fn class(&self) -> Class {
        use Call::*;
        match self {
            Ec2Describe { .. }
            | Ec2Find { .. }
            | EbsDescribe { .. }
            | EbsFind { .. }
            | EbsDescribeSnapshot { .. }
            | EbsFindSnapshots { .. }
            | DockerInspectContainer { .. }
            | DockerListContainers { .. }
            | DockerInspectImage { .. }
            | DockerInspectVolume { .. }
            | DockerFileSystem { .. }
            | DockerCheckHelper { .. }
            | DockerLogs { .. }
            | EffectsReverse { .. }
            | ClockNow {} => Class::Read,
            Ec2WaitState { .. }
            | EbsWaitVolume { .. }
            | EbsWaitSnapshot { .. }
            | DockerWaitHealthy { .. }
            | DockerWaitDevice { .. }
            | DockerWaitUnmounted { .. }
            | ClockSleep { .. } => Class::Wait,
            Ec2RunInstance { .. }
            | Ec2Start { .. }
            | Ec2Stop { .. }
            | Ec2SetInstanceType { .. }
            | Ec2Tag { .. }
            | Ec2Untag { .. }
            | EbsCreateVolume { .. }
            | EbsAttach { .. }
            | EbsDetach { .. }
            | EbsCreateSnapshot { .. }
            | EbsTag { .. }
            | EbsUntag { .. }
            | DockerPullImage { .. }
            | DockerTagImage { .. }
            | DockerCreateContainer { .. }
            | DockerStartContainer { .. }
            | DockerStopContainer { .. }
            | DockerRenameContainer { .. }
            | DockerUpdateContainer { .. }
            | DockerCreateVolume { .. } => Class::Effect,
            Ec2Terminate { .. }
            | EbsDeleteVolume { .. }
            | EbsModifyVolume { .. }
            | EbsDeleteSnapshot { .. }
            | DockerRemoveContainer { .. }
            | DockerRemoveImage { .. }
            | DockerRunOnce { .. }
            | DockerExec { .. }
            | DockerRemoveVolume { .. }
            | DockerMakeFileSystem { .. }
            | DockerGrowFileSystem { .. } => Class::Irreversible,
        }
    }

    /// Every resource the call touches, what it mainly changes first; none for reads and waits.
    ///
    /// `token` names what is created until the result tells its own name.
    pub fn resources(&self, token: &Token) -> Vec<Resource> {
        use Call::*;
        let created = |kind| vec![Resource::Created { kind, host: None, token: token.0.clone() }];
        match self {
            Ec2RunInstance { .. } => created(ResourceKind::Instance),
            EbsCreateVolume { .. } => created(ResourceKind::Volume),
            EbsCreateSnapshot { .. } => created(ResourceKind::Snapshot),
            Ec2Start { instance }
            | Ec2Stop { instance }
            | Ec2Terminate { instance }
            | Ec2SetInstanceType { instance, .. }
            | Ec2Tag { instance, .. }
            | Ec2Untag { instance, .. } => vec![Resource::Instance { id: instance.0.clone() }],
            EbsAttach { volume, instance, .. } | EbsDetach { volume, instance } => vec![
                Resource::Volume { id: volume.0.clone() },
                Resource::Instance { id: instance.0.clone() },
            ],
            EbsDeleteVolume { volume }
            | EbsModifyVolume { volume, .. }
            | EbsTag { volume, .. }
            | EbsUntag { volume, .. } => vec![Resource::Volume { id: volume.0.clone() }],
            EbsDeleteSnapshot { snapshot: id } => vec![Resource::Snapshot { id: id.0.clone() }],
            DockerPullImage { host, image }
            | DockerTagImage { host, image, .. }
            | DockerRemoveImage { host, image } => {
                vec![Resource::Image { host: host.0.clone(), image: image.0.clone() }]
            }
            DockerCreateContainer { host, container, .. }
            | DockerStartContainer { host, container }
            | DockerStopContainer { host, container, .. }
            | DockerUpdateContainer { host, container, .. }
            | DockerRemoveContainer { host, container }
            | DockerExec { host, container, .. } => vec![container_of(host, container)],
            DockerRenameContainer { host, container, to } => {
                vec![container_of(host, container), container_of(host, to)]
            }
            DockerCreateVolume { host, volume, .. } | DockerRemoveVolume { host, volume } => {
                vec![Resource::DockerVolume { host: host.0.clone(), name: volume.0.clone() }]
            }
            DockerMakeFileSystem { host, volume, .. } | DockerGrowFileSystem { host, volume } => {
                vec![Resource::FileSystem { host: host.0.clone(), volume: volume.0.clone() }]
            }
            // An ephemeral container: named by its token, gone when the call is settled.
            DockerRunOnce { host, .. } => {
                vec![container_of(host, &ContainerName(run_once_name(token)))]
            }
            Ec2Describe { .. }
            | Ec2Find { .. }
            | EbsDescribe { .. }
            | EbsFind { .. }
            | EbsDescribeSnapshot { .. }
            | EbsFindSnapshots { .. }
            | DockerInspectContainer { .. }
            | DockerListContainers { .. }
            | DockerInspectImage { .. }
            | DockerInspectVolume { .. }
            | DockerFileSystem { .. }
            | DockerCheckHelper { .. }
            | DockerLogs { .. }
            | EffectsReverse { .. }
            | ClockNow {}
            | Ec2WaitState { .. }
            | EbsWaitVolume { .. }
            | EbsWaitSnapshot { .. }
            | DockerWaitHealthy { .. }
            | DockerWaitDevice { .. }
            | DockerWaitUnmounted { .. }
            | ClockSleep { .. } => vec![],
        }
    }

    /// How a lost answer is settled (R3); `None` for reads and waits, which are just asked again.
    pub fn settle_mode(&self) -> Option<SettleMode> {
        use Call::*;
        match self {
            Ec2RunInstance { .. } | EbsCreateVolume { .. } => Some(SettleMode::ReissueSameToken),
            EbsCreateSnapshot { .. }
            | DockerCreateContainer { .. }
            | DockerCreateVolume { .. }
            | DockerRunOnce { .. } => Some(SettleMode::FindByStamp),
            DockerExec { .. } => Some(SettleMode::Unknowable),
            Ec2Start { .. }
            | Ec2Stop { .. }
            | Ec2Terminate { .. }
            | Ec2SetInstanceType { .. }
            | Ec2Tag { .. }
            | Ec2Untag { .. }
            | EbsDeleteVolume { .. }
            | EbsAttach { .. }
            | EbsDetach { .. }
            | EbsModifyVolume { .. }
            | EbsDeleteSnapshot { .. }
            | EbsTag { .. }
            | EbsUntag { .. }
            | DockerPullImage { .. }
            | DockerTagImage { .. }
            | DockerStartContainer { .. }
            | DockerStopContainer { .. }
            | DockerRenameContainer { .. }
            | DockerUpdateContainer { .. }
            | DockerRemoveContainer { .. }
            | DockerRemoveImage { .. }
            | DockerRemoveVolume { .. }
            | DockerMakeFileSystem { .. }
            | DockerGrowFileSystem { .. } => Some(SettleMode::DesiredState),
            Ec2Describe { .. }
            | Ec2Find { .. }
            | EbsDescribe { .. }
            | EbsFind { .. }
            | EbsDescribeSnapshot { .. }
            | EbsFindSnapshots { .. }
            | DockerInspectContainer { .. }
            | DockerListContainers { .. }
            | DockerInspectImage { .. }
            | DockerInspectVolume { .. }
            | DockerFileSystem { .. }
            | DockerCheckHelper { .. }
            | DockerLogs { .. }
            | EffectsReverse { .. }
            | ClockNow {}
            | Ec2WaitState { .. }
            | EbsWaitVolume { .. }
            | EbsWaitSnapshot { .. }
            | DockerWaitHealthy { .. }
            | DockerWaitDevice { .. }
            | DockerWaitUnmounted { .. }
            | ClockSleep { .. } => None,
        }
    }

    /// The same call after so much of its waiting; what is no wait is as it was.
    ///
    /// What waits for the world has the time left for one more look at least.
    pub fn after_waiting(mut self, waited_ms: u64) -> Call {
        use Call::*;
        match &mut self {
            Ec2WaitState { timeout_ms, .. }
            | EbsWaitVolume { timeout_ms, .. }
            | EbsWaitSnapshot { timeout_ms, .. }
            | DockerWaitHealthy { timeout_ms, .. }
            | DockerWaitDevice { timeout_ms, .. }
            | DockerWaitUnmounted { timeout_ms, .. } => {
                let left_ms = timeout_ms.saturating_sub(waited_ms);
                *timeout_ms = left_ms.max(LAST_LOOK_MS.min(*timeout_ms));
            }
            ClockSleep { duration_ms } => *duration_ms = duration_ms.saturating_sub(waited_ms),
            Ec2Describe { .. }
            | Ec2Find { .. }
            | Ec2RunInstance { .. }
            | Ec2Start { .. }
            | Ec2Stop { .. }
            | Ec2Terminate { .. }
            | Ec2SetInstanceType { .. }
            | Ec2Tag { .. }
            | Ec2Untag { .. }
            | EbsDescribe { .. }
            | EbsFind { .. }
            | EbsCreateVolume { .. }
            | EbsDeleteVolume { .. }
            | EbsAttach { .. }
            | EbsDetach { .. }
            | EbsModifyVolume { .. }
            | EbsCreateSnapshot { .. }
            | EbsDescribeSnapshot { .. }
            | EbsFindSnapshots { .. }
            | EbsDeleteSnapshot { .. }
            | EbsTag { .. }
            | EbsUntag { .. }
            | DockerInspectContainer { .. }
            | DockerListContainers { .. }
            | DockerInspectImage { .. }
            | DockerInspectVolume { .. }
            | DockerFileSystem { .. }
            | DockerCheckHelper { .. }
            | DockerPullImage { .. }
            | DockerTagImage { .. }
            | DockerCreateContainer { .. }
            | DockerStartContainer { .. }
            | DockerStopContainer { .. }
            | DockerRenameContainer { .. }
            | DockerUpdateContainer { .. }
            | DockerRemoveContainer { .. }
            | DockerRemoveImage { .. }
            | DockerLogs { .. }
            | DockerRunOnce { .. }
            | DockerExec { .. }
            | DockerCreateVolume { .. }
            | DockerRemoveVolume { .. }
            | DockerMakeFileSystem { .. }
            | DockerGrowFileSystem { .. }
            | EffectsReverse { .. }
            | ClockNow {} => {}
        }
        self
    }

    /// Whether the call changes the world at all.
    pub fn is_effect(&self) -> bool {
        matches!(self.class(), Class::Effect | Class::Irreversible)
    }
}

/// The name of a run-once container: its stamp.
pub fn run_once_name(token: &Token) -> String {
    format!("stepback-{}", &token.0[..token.0.len().min(20)])
}

fn container_of(host: &InstanceId, container: &ContainerName) -> Resource {
    Resource::Container { host: host.0.clone(), name: container.0.clone() }
}
