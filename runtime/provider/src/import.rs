//! What there is in a living environment, as its providers see it: read, and nothing changed.
//!
//! It is no world of the simulator: what that makes of it is its own.

use std::collections::BTreeMap;
use stepback_core::calls::{ContainerSpec, Tags};

/// Everything that was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Landscape {
    /// By id.
    pub instances: BTreeMap<String, SeenInstance>,
    pub volumes: BTreeMap<String, SeenVolume>,
    pub snapshots: BTreeMap<String, SeenSnapshot>,
    /// The Docker Engine of each instance, by the instance's id.
    pub engines: BTreeMap<String, SeenEngine>,
    /// What registries serve, as far as engines know: image reference to digest.
    pub registry: BTreeMap<String, String>,
    /// How long a modified volume can't be modified again, in seconds.
    pub modification_cooldown_s: u64,
    /// What could not be looked at, or is nothing that can be told here; one line each.
    pub left_out: Vec<String>,
}

/// An instance that runs or is stopped.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenInstance {
    /// `running` or `stopped`.
    pub state: String,
    pub instance_type: String,
    pub zone: String,
    pub private_ip: Option<String>,
    pub tags: Tags,
}

/// A volume with what is on it.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenVolume {
    pub size_gib: u32,
    pub volume_type: String,
    /// As it was provisioned; what was left out is the type's baseline.
    pub iops: Option<u32>,
    pub throughput_mibps: Option<u32>,
    pub encrypted: bool,
    pub zone: String,
    pub attachments: Vec<SeenAttachment>,
    /// The one that it was made of.
    pub snapshot: Option<String>,
    pub filesystem: Option<SeenFileSystem>,
    pub tags: Tags,
}

/// Where a volume is attached.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenAttachment {
    pub instance: String,
    pub device: String,
}

/// A file system.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenFileSystem {
    /// `ext4`, `xfs`.
    pub kind: String,
    pub size_gib: u32,
}

/// A snapshot of the account's own.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenSnapshot {
    pub volume: String,
    pub size_gib: u32,
    pub encrypted: bool,
    /// What it holds, where anybody knows.
    pub filesystem: Option<SeenFileSystem>,
    pub tags: Tags,
}

/// A Docker Engine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeenEngine {
    pub containers: BTreeMap<String, SeenContainer>,
    /// Image reference to digest.
    pub images: BTreeMap<String, String>,
    /// Volumes of the `local` driver, with their options.
    pub volumes: BTreeMap<String, BTreeMap<String, String>>,
}

/// A container.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenContainer {
    pub spec: ContainerSpec,
    pub digest: String,
    pub running: bool,
    /// How it ended when it ran last.
    pub exit_code: Option<i32>,
    /// Whether it is gone when it stops.
    pub auto_remove: bool,
}
