//! The simulated world: what there is in it, and nothing about how it changes.
//!
//! The same shape is read from a world file (TOML, written by people) and kept on disk as JSON
//! between runs, as an outside world is. What the simulator adds for itself (stamps, counters)
//! has defaults, so that a world file need not have it.

mod engine;
mod pool;

pub use engine::{Container, DockerVolume, Engine, RegistryImage};
pub use pool::{Pool, PoolTarget};

use super::limits::{GP3_IOPS, GP3_MIBPS};
use engine::by_digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use stepback_core::calls::{Performance, Tags};
use stepback_core::{Epoch, Failure, FailureClass, OperationId, Shared, StoreId, Token, UnixMs};
use stepback_provider::devices::whole;
use stepback_provider::{EffectContext, STALE_EPOCH};

/// Everything there is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct World {
    /// Tells it from another one that began as it did; given to it when it is first kept on disk.
    #[serde(skip_serializing_if = "is_default")]
    pub id: String,
    /// By id.
    pub instances: Shared<BTreeMap<String, Instance>>,
    /// By id.
    pub volumes: Shared<BTreeMap<String, Volume>>,
    /// By id.
    pub snapshots: Shared<BTreeMap<String, Snapshot>>,
    /// One Docker Engine an instance, by the instance's id.
    pub engines: Shared<BTreeMap<String, Shared<Engine>>>,
    /// The pools of load balancers, by what environments call them.
    #[serde(skip_serializing_if = "is_default")]
    pub pools: Shared<BTreeMap<String, Pool>>,
    /// What registries serve: image reference to image.
    pub registry: Shared<BTreeMap<String, RegistryImage>>,
    /// How long a modified volume can't be modified again, in seconds.
    #[serde(skip_serializing_if = "is_default")]
    pub modification_cooldown_s: u64,
    /// How many looks, 2 ms apart, do not list what was just created, as a describe of EC2 may lag
    /// (Amazon EC2 API Reference, *Eventual consistency*). By its id it is found at once: whoever
    /// was told that has seen it.
    #[serde(skip_serializing_if = "is_default")]
    pub describe_lag_looks: u32,
    /// Each effect by its token: how often it took place, and its answer.
    #[serde(skip_serializing_if = "is_default")]
    pub effects: Shared<BTreeMap<String, Shared<Made>>>,
    /// The highest lease epoch seen, by the store and number of the operation: every store numbers
    /// its operations from 1.
    #[serde(skip_serializing_if = "is_default")]
    pub epochs: Shared<BTreeMap<String, u64>>,
    /// How many ids were given so far; the next one is made from it.
    #[serde(skip_serializing_if = "is_default")]
    pub created: u64,
}

/// How far apart looks are; a simulated second is much shorter than a real one.
pub(super) const LOOK_MS: u64 = 2;
/// Nothing is listed later than this, whatever a world file says.
const LAG_MS_MAX: u64 = 60_000;

/// What the numbers of ids begin above.
const FIRST_ID: u64 = 0x0a00_0000;

/// The least and the most that a `gp2` volume has.
const GP2_IOPS: (u32, u32) = (100, 16_000);

/// An effect that took place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Made {
    /// `interface.function`.
    pub function: String,
    /// How often it took place; more than once, a request was repeated.
    pub times: u32,
    /// The first answer, which the same token gets again where the API knows tokens.
    pub answer: Value,
}

/// An EC2 instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// `running`, `stopped`, or `terminated` for good; it is never between two of them.
    pub state: String,
    /// Such as `r6i.large`.
    #[serde(rename = "type")]
    pub instance_type: String,
    /// The availability zone; only volumes of the same one can be attached.
    pub zone: String,
    /// Its address in its network, which is only shown.
    #[serde(default)]
    pub private_ip: Option<String>,
    /// Without its stamp.
    #[serde(default)]
    pub tags: Tags,
    /// The token of the call that made it; `None` for what the world began with.
    #[serde(default)]
    pub stamp: Option<String>,
    /// So many volumes can be attached to it; by default as many as anybody likes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub max_attachments: Option<usize>,
    /// The device names of its own disks (instance store), which no volume can have.
    #[serde(default, skip_serializing_if = "is_default")]
    pub own_disks: Vec<String>,
    /// Unix time from which it is listed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub listed_from_ms: u64,
}

/// An EBS volume with what is on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// The device's size; its file system can be smaller.
    pub size_gib: u32,
    /// Such as `gp3`.
    #[serde(rename = "type")]
    pub volume_type: String,
    /// As it was provisioned; what was left out is the type's baseline.
    #[serde(default, skip_serializing_if = "is_default")]
    pub iops: Option<u32>,
    /// As it was provisioned, MiB a second of `gp3`; `None` is the baseline, or another type.
    #[serde(default, skip_serializing_if = "is_default")]
    pub throughput_mibps: Option<u32>,
    /// Whether its data is encrypted; with which key is not told.
    #[serde(default, skip_serializing_if = "is_default")]
    pub encrypted: bool,
    /// Why its KMS key can't be used (`Disabled`, `PendingDeletion`), if it can't.
    #[serde(default, skip_serializing_if = "is_default")]
    pub key_state: Option<String>,
    /// The availability zone; only instances of the same one can have it attached.
    pub zone: String,
    /// Where it is attached; without any it is `available`.
    #[serde(default)]
    pub attachments: Vec<Attachment>,
    /// The id of the snapshot that it was made of, if any.
    #[serde(default)]
    pub snapshot: Option<String>,
    /// `None` if it is blank.
    #[serde(default)]
    pub filesystem: Option<FileSystem>,
    /// Without its stamp.
    #[serde(default)]
    pub tags: Tags,
    /// Unix time, in seconds, of its last change of size; the cool-down runs from then.
    #[serde(default)]
    pub modified_at_s: Option<u64>,
    /// As an instance's.
    #[serde(default)]
    pub stamp: Option<String>,
    /// As an instance's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub listed_from_ms: u64,
}

/// Where a volume is attached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// The instance's id.
    pub instance: String,
    /// The name that it was attached by, such as `/dev/sdf`.
    pub device: String,
}

/// A file system on a volume; it can be smaller than its volume until it is grown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSystem {
    /// `ext4`, `xfs`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Growing it makes it as large as its volume.
    pub size_gib: u32,
}

/// An EBS snapshot; it keeps the file system as it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// The id of the volume that it was made of, which may be gone.
    pub volume: String,
    /// The size of its volume when it was made; a volume made of it has no less.
    pub size_gib: u32,
    /// Whether it is encrypted; a volume made of it is so, too.
    #[serde(default, skip_serializing_if = "is_default")]
    pub encrypted: bool,
    /// As a volume's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub key_state: Option<String>,
    /// What was on its volume; `None` if that was blank.
    #[serde(default)]
    pub filesystem: Option<FileSystem>,
    /// Without its stamp.
    #[serde(default)]
    pub tags: Tags,
    /// As an instance's.
    #[serde(default)]
    pub stamp: Option<String>,
    /// As an instance's; older worlds have a count of looks here, which is a time long past.
    #[serde(default, skip_serializing_if = "is_default", alias = "unseen_looks")]
    pub listed_from_ms: u64,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The device path of an EBS volume on Nitro instances
/// (Amazon EBS User Guide, *Amazon EBS volumes and NVMe*).
pub fn device_path(volume: &str) -> String {
    format!("/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_{}", volume.replace('-', ""))
}

impl Volume {
    /// What EC2 shows of it: what was provisioned, else what the type begins with or what follows
    /// from the size (Amazon EBS User Guide, *Amazon EBS volume types*).
    pub fn performance(&self) -> Performance {
        let kind = self.volume_type.as_str();
        let baseline = match kind {
            "gp3" => Some(GP3_IOPS),
            "gp2" => Some(self.size_gib.saturating_mul(3).clamp(GP2_IOPS.0, GP2_IOPS.1)),
            _ => None,
        };
        let throughput_mibps = self.throughput_mibps.or((kind == "gp3").then_some(GP3_MIBPS));
        Performance { iops: self.iops.or(baseline), throughput_mibps }
    }
}

impl World {
    /// The EBS volume that a Docker volume mounts, if its options name one.
    pub fn device_of<'a>(&'a self, volume: &DockerVolume) -> Option<(&'a str, &'a Volume)> {
        let device = volume.options.get("device")?;
        let mut all = self.volumes.iter();
        let (id, found) = all.find(|(id, _)| device_path(id) == whole(device))?;
        Some((id.as_str(), found))
    }

    /// Running containers on a host that have this EBS volume mounted.
    pub fn mounted_by(&self, host: &str, volume: &str) -> Vec<String> {
        let Some(engine) = self.engines.get(host) else { return vec![] };
        let mounts = |container: &Container| {
            container.spec.mounts.iter().any(|mount| {
                let named = engine.volumes.get(&mount.volume);
                named.and_then(|v| self.device_of(v)).is_some_and(|(id, _)| id == volume)
            })
        };
        let running = engine.containers.iter().filter(|(_, c)| c.running && mounts(c));
        running.map(|(name, _)| name.clone()).collect()
    }

    /// Refuse an effect of a runner whose operation another one has taken over.
    pub fn fence(&mut self, context: &EffectContext) -> Result<(), Failure> {
        let seen = self.epochs.entry(epoch_of(&context.store, context.operation)).or_default();
        if context.epoch.0 < *seen {
            let message = "another runner has taken this operation over";
            return Err(Failure::new(FailureClass::Denied, message).with_code(STALE_EPOCH));
        }
        *seen = context.epoch.0;
        Ok(())
    }

    /// From here on older epochs of a store's operation are refused.
    pub fn take_over(&mut self, store: &StoreId, operation: OperationId, epoch: Epoch) {
        let seen = self.epochs.entry(epoch_of(store, operation)).or_default();
        *seen = epoch.0.max(*seen);
    }

    /// How long what was just created is not listed.
    pub fn lag_ms(&self) -> u64 {
        u64::from(self.describe_lag_looks).saturating_mul(LOOK_MS).min(LAG_MS_MAX)
    }

    /// From when on something is listed that is created now.
    pub(super) fn listed_from_ms(&self, now: UnixMs) -> u64 {
        match self.lag_ms() {
            0 => 0,
            lag_ms => now.0.saturating_add(lag_ms),
        }
    }

    /// A new id that nothing has.
    pub fn new_id(&mut self, prefix: &str) -> String {
        loop {
            self.created = self.created.wrapping_add(1);
            let id = format!("{prefix}-{:017x}", FIRST_ID.wrapping_add(self.created));
            // A world that was found elsewhere begins to count anew.
            if !self.knows(&id) {
                return id;
            }
        }
    }

    /// Never give an id to anything new that something has which the world does not know.
    pub fn never_give(&mut self, id: &str) {
        let number = id.rsplit_once('-').and_then(|(_, hex)| u64::from_str_radix(hex, 16).ok());
        let created = number.and_then(|number| number.checked_sub(FIRST_ID));
        self.created = self.created.max(created.unwrap_or_default());
    }

    fn knows(&self, id: &str) -> bool {
        let on = |engine: &Shared<Engine>| {
            engine.containers.values().any(|container| container.id == id)
                || engine.volumes.values().any(|volume| volume.id == id)
        };
        self.volumes.contains_key(id)
            || self.snapshots.contains_key(id)
            || self.instances.contains_key(id)
            || self.engines.values().any(on)
    }

    /// The world as it was written, and as it can be: with an id for everything that an engine has
    /// one for, and with nothing that runs where its instance does not.
    ///
    /// What was written without an id, by people or by an older Stepback, has the same one
    /// whenever it is read, until it is written down with it.
    pub fn put_right(mut self) -> Self {
        let given = |id: &mut String, what: &str, host: &str, name: &str| {
            if id.is_empty() {
                // Which a name may be, too: an engine takes one for the other.
                *id = format!("{what}-{host}.{name}");
            }
        };
        for (host, engine) in &mut self.engines {
            let is_down = self.instances.get(host).is_some_and(|found| found.state != "running");
            for (name, container) in &mut engine.containers {
                given(&mut container.id, "container", host, name);
                if is_down {
                    container.go_down();
                }
                // What does not run is not frozen, whatever somebody wrote.
                container.paused &= container.running;
            }
            for (name, volume) in &mut engine.volumes {
                given(&mut volume.id, "volume", host, name);
            }
        }
        self
    }

    /// What the registry serves by a name: one with a digest is served by it, whatever tag it had
    /// (Distribution documentation, *HTTP API V2*, *Pulling an Image Manifest*).
    pub(super) fn served(&self, image: &str) -> Option<&RegistryImage> {
        let (repository, digest) = by_digest(image);
        let is_it = |name: &String, served: &RegistryImage| {
            by_digest(name).0 == repository && Some(served.digest.as_str()) == digest
        };
        let mut all = self.registry.iter();
        let by_digest = || all.find(|(name, one)| is_it(name, one)).map(|(_, one)| one);
        self.registry.get(image).or_else(by_digest)
    }

    /// Note that an effect took place.
    pub fn made(&mut self, token: &Token, function: &str, answer: &Value) {
        let entry = self.effects.entry(token.0.clone()).or_insert_with(|| {
            Made { function: function.to_owned(), times: 0, answer: answer.clone() }.into()
        });
        entry.times = entry.times.saturating_add(1);
    }
}

fn epoch_of(store: &StoreId, operation: OperationId) -> String {
    format!("{store}/{operation}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_hidden_for_ever_whatever_a_world_file_says() {
        for (describe_lag_looks, lag_ms) in [(0, 0), (50, 100), (u32::MAX, LAG_MS_MAX)] {
            let world = World { describe_lag_looks, ..World::default() };
            assert_eq!(world.lag_ms(), lag_ms);
            assert_eq!(world.listed_from_ms(UnixMs(u64::MAX)) == 0, lag_ms == 0);
        }
    }
}
