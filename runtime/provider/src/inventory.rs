//! What there is in a living environment, as its providers see it: read, and nothing changed.
//!
//! It is no world of the simulator: what that makes of it is its own.

use serde_json::Value;
use std::collections::BTreeMap;
use stepback_core::calls::{ContainerSpec, Tags};

/// Everything that was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inventory {
    /// By id.
    pub instances: BTreeMap<String, FoundInstance>,
    /// By id.
    pub volumes: BTreeMap<String, FoundVolume>,
    /// The account's own, by id.
    pub snapshots: BTreeMap<String, FoundSnapshot>,
    /// The Docker Engine of each instance, by the instance's id.
    pub engines: BTreeMap<String, FoundEngine>,
    /// The pools of load balancers, by what the environment calls them.
    pub pools: BTreeMap<String, FoundPool>,
    /// What registries serve, as far as engines know: image reference to digest.
    pub registry: BTreeMap<String, String>,
    /// How long a modified volume can't be modified again, in seconds.
    pub modification_cooldown_s: u64,
    /// What could not be looked at, or is nothing that can be told here; one line each.
    pub left_out: Vec<String>,
}

/// An instance that runs or is stopped.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundInstance {
    /// `running` or `stopped`.
    pub state: String,
    /// Such as `r6i.large`.
    pub instance_type: String,
    /// The availability zone; only volumes of the same one can be attached.
    pub zone: String,
    /// Its address in its network, if it has one.
    pub private_ip: Option<String>,
    /// Without Stepback's stamps and AWS's own.
    pub tags: Tags,
}

/// A volume with what is on it.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundVolume {
    /// The device's size; its file system can be smaller.
    pub size_gib: u32,
    /// Such as `gp3`.
    pub volume_type: String,
    /// As it was provisioned; what was left out is the type's baseline.
    pub iops: Option<u32>,
    /// As it was provisioned, MiB a second of `gp3`; `None` is the baseline, or another type.
    pub throughput_mibps: Option<u32>,
    /// Whether its data is encrypted; with which key is not told.
    pub encrypted: bool,
    /// The availability zone; only instances of the same one can have it attached.
    pub zone: String,
    /// One for each instance that has it; none for a volume that is free.
    pub attachments: Vec<FoundAttachment>,
    /// The one that it was made of.
    pub snapshot: Option<String>,
    /// As an engine's helper saw it; `None` if there is none, or nobody could look.
    pub filesystem: Option<FoundFileSystem>,
    /// Without Stepback's stamps and AWS's own.
    pub tags: Tags,
}

/// Where a volume is attached.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundAttachment {
    /// The instance's id.
    pub instance: String,
    /// The name that it was attached by, such as `/dev/sdf`.
    pub device: String,
}

/// A file system.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundFileSystem {
    /// `ext4`, `xfs`.
    pub kind: String,
    /// Its own size, which can be less than its volume's.
    pub size_gib: u32,
}

/// A snapshot of the account's own.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundSnapshot {
    /// The id of the volume that it was made of, which may be gone.
    pub volume: String,
    /// The size of its volume when it was made.
    pub size_gib: u32,
    /// Whether its data is encrypted; with which key is not told.
    pub encrypted: bool,
    /// What it holds, where anybody knows.
    pub filesystem: Option<FoundFileSystem>,
    /// Without Stepback's stamps and AWS's own.
    pub tags: Tags,
}

/// A Docker Engine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FoundEngine {
    /// By name, whether they run or not; Stepback's own helpers are left out.
    pub containers: BTreeMap<String, FoundContainer>,
    /// Image reference to digest.
    pub images: BTreeMap<String, String>,
    /// Volumes of the `local` driver, with their options.
    pub volumes: BTreeMap<String, BTreeMap<String, String>>,
}

/// A container.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundContainer {
    /// What it is made of; the provider for Docker leaves out labels, which may hold secrets.
    pub spec: ContainerSpec,
    /// Its image's, `sha256:…`; the image's own id where no registry knows it.
    pub digest: String,
    /// Whether it was up when it was looked at.
    pub running: bool,
    /// Whether it runs and its processes are frozen.
    pub paused: bool,
    /// How it ended when it ran last.
    pub exit_code: Option<i32>,
    /// Whether it is gone when it stops.
    pub auto_remove: bool,
    /// The options by which it reaches its host, by the engine's own names; grants go by them.
    pub config: BTreeMap<String, Value>,
}

/// A pool of a load balancer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FoundPool {
    /// Those that it has, by `HOST:PORT`.
    pub targets: BTreeMap<String, FoundPoolTarget>,
    /// Whether a target gets traffic as soon as it is added.
    pub add_enables: bool,
    /// Whether a listener sends anything to it.
    pub is_used: bool,
}

/// A target of a pool.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundPoolTarget {
    /// Whether it gets traffic.
    pub enabled: bool,
    /// Its share of it.
    pub weight: u32,
}
