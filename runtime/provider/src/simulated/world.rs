//! The simulated world: what there is in it, and nothing about how it changes.
//!
//! The same shape is read from a world file (TOML, written by people) and kept on disk as JSON
//! between runs, as an outside world is. What the simulator adds for itself (stamps, counters)
//! has defaults, so that a world file need not have it.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use stepback_core::call::{ContainerSpec, Performance, Tags};
use stepback_core::{Facts, Resource, ResourceKind, Token};

/// Everything there is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct World {
    pub instances: BTreeMap<String, Instance>,
    pub volumes: BTreeMap<String, Volume>,
    pub snapshots: BTreeMap<String, Snapshot>,
    /// One Docker Engine an instance, by the instance's id.
    pub engines: BTreeMap<String, Engine>,
    /// What registries serve: image reference to image.
    pub registry: BTreeMap<String, RegistryImage>,
    /// How long a modified volume can't be modified again, in seconds.
    #[serde(skip_serializing_if = "is_default")]
    pub modification_cooldown_s: u64,
    /// How many looks do not find what was just created, as a describe of EC2 may lag
    /// (Amazon EC2 API Reference, *Eventual consistency*).
    #[serde(skip_serializing_if = "is_default")]
    pub describe_lag_looks: u32,
    /// Each effect by its token: how often it took place, and its answer.
    #[serde(skip_serializing_if = "is_default")]
    pub effects: BTreeMap<String, Made>,
    /// The highest lease epoch seen, by operation.
    #[serde(skip_serializing_if = "is_default")]
    pub epochs: BTreeMap<u64, u64>,
    #[serde(skip_serializing_if = "is_default")]
    pub created: u64,
}

/// A `gp3` volume's baseline; and the least and the most that a `gp2` volume has.
const GP3_IOPS: u32 = 3_000;
const GP3_MIBPS: u32 = 125;
const GP2_IOPS: (u32, u32) = (100, 16_000);

/// An effect that took place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Made {
    pub function: String,
    pub times: u32,
    pub answer: Value,
}

/// An EC2 instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    pub state: String,
    #[serde(rename = "type")]
    pub instance_type: String,
    pub zone: String,
    #[serde(default)]
    pub private_ip: Option<String>,
    #[serde(default)]
    pub tags: Tags,
    #[serde(default)]
    pub stamp: Option<String>,
}

/// An EBS volume with what is on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    pub size_gib: u32,
    #[serde(rename = "type")]
    pub volume_type: String,
    /// As it was provisioned; what was left out is the type's baseline.
    #[serde(default, skip_serializing_if = "is_default")]
    pub iops: Option<u32>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub throughput_mibps: Option<u32>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub encrypted: bool,
    pub zone: String,
    #[serde(default)]
    pub attachments: Vec<Attachment>,
    #[serde(default)]
    pub snapshot: Option<String>,
    #[serde(default)]
    pub filesystem: Option<FileSystem>,
    #[serde(default)]
    pub tags: Tags,
    #[serde(default)]
    pub modified_at_s: Option<u64>,
    #[serde(default)]
    pub stamp: Option<String>,
}

/// Where a volume is attached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    pub instance: String,
    pub device: String,
}

/// A file system on a volume; it can be smaller than its volume until it is grown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSystem {
    #[serde(rename = "type")]
    pub kind: String,
    pub size_gib: u32,
}

/// An EBS snapshot; it keeps the file system as it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    pub volume: String,
    pub size_gib: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    pub encrypted: bool,
    #[serde(default)]
    pub filesystem: Option<FileSystem>,
    #[serde(default)]
    pub tags: Tags,
    #[serde(default)]
    pub stamp: Option<String>,
    /// How many more looks do not find it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unseen_looks: u32,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A Docker Engine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Engine {
    pub containers: BTreeMap<String, Container>,
    /// Image reference to digest.
    pub images: BTreeMap<String, String>,
    pub volumes: BTreeMap<String, DockerVolume>,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    pub spec: ContainerSpec,
    pub digest: String,
    #[serde(default)]
    pub running: bool,
    #[serde(default)]
    pub exit_code: Option<i32>,
    #[serde(default)]
    pub stamp: Option<String>,
}

/// A named Docker volume of the `local` driver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DockerVolume {
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    #[serde(default)]
    pub stamp: Option<String>,
}

/// An image as a registry serves it, with how its containers behave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryImage {
    pub digest: String,
    /// Whether its containers ever become healthy.
    #[serde(default = "yes")]
    pub healthy: bool,
    /// How a command in its containers exits.
    #[serde(default)]
    pub exit_code: i32,
}

fn yes() -> bool {
    true
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
            "gp2" => Some((3 * self.size_gib).clamp(GP2_IOPS.0, GP2_IOPS.1)),
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
        let (id, found) = all.find(|(id, _)| device_path(id) == *device)?;
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

    /// The facts that count of a resource.
    pub fn facts(&self, resource: &Resource) -> Facts {
        let all = match resource {
            Resource::Volume { id } => self.volumes.get(id).map(volume_facts),
            Resource::Snapshot { id } => self.snapshots.get(id).map(snapshot_facts),
            Resource::Instance { id } => self
                .instances
                .get(id)
                .filter(|instance| instance.state != "terminated")
                .map(instance_facts),
            Resource::Container { host, name } => {
                self.engines.get(host).and_then(|e| e.containers.get(name)).map(container_facts)
            }
            Resource::Image { host, image } => {
                let engine = self.engines.get(host);
                engine.and_then(|e| e.images.get(image)).map(|digest| json!({ "digest": digest }))
            }
            Resource::DockerVolume { host, name } => {
                let volume = self.engines.get(host).and_then(|e| e.volumes.get(name));
                volume.map(|v| json!({ "driver": "local", "options": v.options }))
            }
            Resource::FileSystem { volume, .. } => {
                let on = self.volumes.get(volume).and_then(|v| v.filesystem.as_ref());
                on.map(|fs| json!({ "type": fs.kind, "size_gib": fs.size_gib }))
            }
            Resource::Created { kind, token, .. } => {
                let named = self.by_stamp(token).into_iter().find(|r| r.kind() == *kind);
                return named.map_or(Facts::Absent, |resource| self.facts(&resource));
            }
        };
        Facts::from_json(all.unwrap_or(Value::Null))
    }

    /// What carries this stamp.
    pub fn by_stamp(&self, token: &str) -> Vec<Resource> {
        let is = |stamp: &Option<String>| stamp.as_deref() == Some(token);
        let mut found: Vec<Resource> = vec![];
        for (id, _) in self.volumes.iter().filter(|(_, v)| is(&v.stamp)) {
            found.push(Resource::Volume { id: id.clone() });
        }
        for (id, _) in self.snapshots.iter().filter(|(_, s)| is(&s.stamp)) {
            found.push(Resource::Snapshot { id: id.clone() });
        }
        let alive = |i: &Instance| i.state != "terminated";
        for (id, _) in self.instances.iter().filter(|(_, i)| is(&i.stamp) && alive(i)) {
            found.push(Resource::Instance { id: id.clone() });
        }
        for (host, engine) in &self.engines {
            for (name, _) in engine.containers.iter().filter(|(_, c)| is(&c.stamp)) {
                found.push(Resource::Container { host: host.clone(), name: name.clone() });
            }
            for (name, _) in engine.volumes.iter().filter(|(_, v)| is(&v.stamp)) {
                found.push(Resource::DockerVolume { host: host.clone(), name: name.clone() });
            }
        }
        found
    }

    /// Every resource with the facts that count, images in caches left out: two worlds with the
    /// same text are the same to a rollback.
    pub fn restorable(&self) -> String {
        let mut all: Vec<Resource> = vec![];
        all.extend(self.volumes.keys().map(|id| Resource::Volume { id: id.clone() }));
        all.extend(self.snapshots.keys().map(|id| Resource::Snapshot { id: id.clone() }));
        all.extend(self.instances.keys().map(|id| Resource::Instance { id: id.clone() }));
        for (host, engine) in &self.engines {
            let (h, c) = (host.clone(), engine.containers.keys());
            all.extend(c.map(|name| Resource::Container { host: h.clone(), name: name.clone() }));
            let v = engine.volumes.keys();
            all.extend(v.map(|n| Resource::DockerVolume { host: h.clone(), name: n.clone() }));
        }
        for id in self.volumes.keys() {
            all.push(Resource::FileSystem { host: String::new(), volume: id.clone() });
        }
        let mut lines: Vec<String> = all
            .iter()
            .map(|resource| (resource, self.facts(resource)))
            .filter(|(_, facts)| !facts.is_absent())
            .map(|(resource, facts)| format!("{resource} {facts}"))
            .collect();
        lines.sort();
        lines.join("\n")
    }

    /// The world as somebody finds it who comes now: without what the simulator keeps for itself,
    /// and without instances that are gone.
    pub(crate) fn into_found(mut self) -> Self {
        self.instances.retain(|_, instance| instance.state != "terminated");
        self.instances.values_mut().for_each(|instance| instance.stamp = None);
        self.volumes.values_mut().for_each(|volume| volume.stamp = None);
        for snapshot in self.snapshots.values_mut() {
            (snapshot.stamp, snapshot.unseen_looks) = (None, 0);
        }
        for engine in self.engines.values_mut() {
            engine.containers.values_mut().for_each(|container| container.stamp = None);
            engine.volumes.values_mut().for_each(|volume| volume.stamp = None);
        }
        Self { effects: BTreeMap::new(), epochs: BTreeMap::new(), created: 0, ..self }
    }

    /// A new id that no world file would choose.
    pub fn new_id(&mut self, prefix: &str) -> String {
        self.created += 1;
        format!("{prefix}-{:017x}", 0x0a00_0000_u64 + self.created)
    }

    /// Note that an effect took place.
    pub fn made(&mut self, token: &Token, function: &str, answer: &Value) {
        let entry = self.effects.entry(token.0.clone()).or_insert_with(|| Made {
            function: function.to_owned(),
            times: 0,
            answer: answer.clone(),
        });
        entry.times += 1;
    }
}

fn counted(kind: ResourceKind, all: Value) -> Value {
    debug_assert!(
        all.as_object().is_some_and(|map| map.keys().all(|k| kind.counted().contains(&k.as_str())))
    );
    all
}

fn volume_facts(volume: &Volume) -> Value {
    let Performance { iops, throughput_mibps } = volume.performance();
    counted(
        ResourceKind::Volume,
        json!({
            "size_gib": volume.size_gib, "type": volume.volume_type, "iops": iops,
            "throughput_mibps": throughput_mibps, "encrypted": volume.encrypted,
            "zone": volume.zone,
            "attachments": volume.attachments, "tags": volume.tags, "snapshot": volume.snapshot,
        }),
    )
}

fn snapshot_facts(snapshot: &Snapshot) -> Value {
    counted(
        ResourceKind::Snapshot,
        json!({ "volume": snapshot.volume, "size_gib": snapshot.size_gib, "tags": snapshot.tags }),
    )
}

fn instance_facts(instance: &Instance) -> Value {
    counted(
        ResourceKind::Instance,
        json!({
            "state": instance.state, "type": instance.instance_type, "zone": instance.zone,
            "tags": instance.tags,
        }),
    )
}

fn container_facts(container: &Container) -> Value {
    let spec = &container.spec;
    counted(
        ResourceKind::Container,
        json!({
            "image": spec.image, "digest": container.digest, "env": spec.env,
            "mounts": spec.mounts, "ports": spec.ports, "command": spec.command,
            "restart": spec.restart, "running": container.running,
            "networks": {}, "config": {},
        }),
    )
}
