//! What calls have in them.

use crate::ids::Token;
use crate::texts::{Change, MapTexts};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    /// An image reference; empty for that of `like`.
    pub image: String,
    /// The program and its arguments; empty for those of `like` or of the image.
    pub command: Vec<String>,
    /// Variables by name; they replace those of `like` and of the image.
    pub env: BTreeMap<String, String>,
    /// Docker volumes to mount; if there are any, none of those of `like` is mounted.
    pub mounts: Vec<Mount>,
    /// `[address:][host-port]:container-port[/protocol]`.
    pub ports: Vec<String>,
    /// `no`, `always`, `unless-stopped`, `on-failure` or `on-failure:N`; empty for that of `like`,
    /// or `no`.
    pub restart: String,
    /// Without those of the container it is like, which it has too.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Take every option not given here from this container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub like: Option<Like>,
}

/// A container to copy options from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Like {
    /// The instance whose Docker Engine has it.
    pub host: String,
    /// Its name there.
    pub container: String,
}

/// A Docker volume in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Its name on the container's host, which must have it.
    pub volume: String,
    /// The absolute path in the container; no two mounts have the same.
    pub target: String,
    /// Whether the container can't write to it; if left out, it can.
    #[serde(default)]
    pub read_only: bool,
}

/// The name of a run-once container: its stamp.
pub fn run_once_name(token: &Token) -> String {
    format!("stepback-{}", token.0.chars().take(20).collect::<String>())
}

impl MapTexts for Performance {
    fn map_texts(&self, _: Change<'_>) -> Self {
        *self
    }
}

impl MapTexts for Mount {
    fn map_texts(&self, change: Change<'_>) -> Self {
        let (volume, target) = (change(&self.volume), change(&self.target));
        Self { volume, target, read_only: self.read_only }
    }
}

impl MapTexts for Like {
    fn map_texts(&self, change: Change<'_>) -> Self {
        Self { host: change(&self.host), container: change(&self.container) }
    }
}

impl MapTexts for ContainerSpec {
    fn map_texts(&self, change: Change<'_>) -> Self {
        let Self { image, command, env, mounts, ports, restart, labels, like } = self;
        Self {
            image: change(image),
            command: command.map_texts(change),
            env: env.map_texts(change),
            mounts: mounts.map_texts(change),
            ports: ports.map_texts(change),
            restart: change(restart),
            labels: labels.map_texts(change),
            like: like.map_texts(change),
        }
    }
}
