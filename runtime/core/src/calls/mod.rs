//! The host functions: one typed call each, and the one table that tells what each means.
//!
//! [`Call`] is what a guest asks for, what the journal holds and what a provider is given. Every
//! question about a function (may it change anything, what does it touch, which facts does it
//! change, how is a lost answer settled) is a match over it without a catch-all, so that a new
//! function can't be half added; only what [`Call::leaves`] tells is an extra that few have.

mod changes;
mod table;
mod texts;

pub use changes::{Area, Beside};

use crate::ids::*;
use crate::texts::{Change, MapTexts};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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

        impl MapTexts for Call {
            fn map_texts(&self, change: Change<'_>) -> Self {
                self.with_texts(change)
            }
        }

        impl Call {
            /// Every function's name, in the contract's order.
            pub const FUNCTIONS: &'static [&'static str] = &[$($name),+];

            /// The same call with each of its arguments' texts changed.
            fn with_texts(&self, change: Change<'_>) -> Self {
                match self {
                    $(Call::$variant { $($field),* } => {
                        Call::$variant { $($field: $field.map_texts(change)),* }
                    }),+
                }
            }

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
    DockerWaitEngine "docker.wait-engine" { host: InstanceId, timeout_ms: u64 },
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

/// The name of a run-once container: its stamp.
pub fn run_once_name(token: &Token) -> String {
    format!("stepback-{}", &token.0[..token.0.len().min(20)])
}
