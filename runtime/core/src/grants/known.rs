//! What is known of what a call names, and how far a container or a Docker volume reaches on its
//! host by it.

use super::asked::{Asked, OnEngine};
use super::mounted::{id_of, is_by_id, is_of_no_device, mounted_by, whole};
use crate::calls::{ContainerSpec, Mount, Tags};
use crate::resource::{Facts, Resource};
use crate::texts::MapTexts;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A Docker volume or a container, by its host and its name there.
pub type OnHost = (String, String);

/// What was read of the world for one call. What is not here is not known, and no grant that asks
/// for it covers the call.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The tags of instances, volumes and snapshots.
    pub tags: BTreeMap<Resource, Tags>,
    /// The Docker volumes that were asked for; none of one that is not there.
    pub docker_volumes: BTreeMap<OnHost, Option<DockerVolume>>,
    /// The containers that there are.
    pub containers: BTreeMap<OnHost, Facts>,
    /// The EBS volumes that were looked for by their devices' names.
    pub devices: BTreeMap<String, String>,
}

impl MapTexts for Known {
    fn map_texts(&self, change: &dyn Fn(&str) -> String) -> Self {
        let map = |map: &BTreeMap<String, String>| -> BTreeMap<String, String> {
            map.iter().map(|(name, value)| (change(name), change(value))).collect()
        };
        let place = |(host, name): &OnHost| (change(host), change(name));
        let volume = |one: &DockerVolume| DockerVolume {
            driver: change(&one.driver),
            options: map(&one.options),
        };
        let tags = self.tags.iter().map(|(one, tags)| (one.map_texts(change), map(tags)));
        let volumes = self.docker_volumes.iter();
        let containers = self.containers.iter();
        Self {
            tags: tags.collect(),
            docker_volumes: volumes
                .map(|(at, one)| (place(at), one.as_ref().map(volume)))
                .collect(),
            containers: containers
                .map(|(at, facts)| (place(at), facts.map_texts(change)))
                .collect(),
            devices: map(&self.devices),
        }
    }
}

/// A Docker volume, as its engine shows it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct DockerVolume {
    /// Docker's own is `local`.
    pub driver: String,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
}

/// How far a call would reach on a host, beside what it names.
#[derive(Debug, Default, PartialEq)]
pub struct Reach {
    /// The EBS volumes whose devices it would mount.
    pub volumes: Vec<Resource>,
    /// Whether it would mount what may be any EBS volume: nobody can tell which.
    pub may_be_any_volume: bool,
    /// What only `docker = "root"` covers, a sentence each.
    pub root: Vec<String>,
    /// The Docker volumes that a container would be made with, or that the one has which a command
    /// is to be run in.
    pub mounts: Vec<Mount>,
    /// Those of the container that is to be as it, or that a command is to be run in; none where
    /// that one is not known.
    pub of_model: Option<Vec<Mount>>,
    /// Whether that container is on the same host: on another one a volume of the same name may be
    /// anybody's.
    pub is_model_here: bool,
}

impl Reach {
    /// How far a call would reach.
    pub fn of(asked: &Asked<'_>, known: &Known) -> Self {
        let mut reach = Self::default();
        asked.named_docker_volumes().for_each(|named| reach.add_named(&named, known));
        match &asked.engine {
            OnEngine::Nothing => {}
            OnEngine::Volume(options) => {
                reach.add_volume("the Docker volume", "local", options, known)
            }
            OnEngine::Container(host, spec) => reach.add_container(host.as_str(), spec, known),
            // A command reaches all that its container has.
            OnEngine::Command(host, container, _) => {
                reach.add_model(host.as_str(), container.as_str(), known);
                reach.is_model_here = true;
                reach.may_be_any_volume |= reach.of_model.is_none();
                let mounts = reach.of_model.clone().unwrap_or_default();
                reach.add_mounts(host.as_str(), mounts, known);
            }
        }
        reach
    }

    /// A Docker volume that a call names is the EBS volume that it mounts the device of; where none
    /// is mounted by the call, what else it reaches of its host makes no difference.
    fn add_named(&mut self, named: &OnHost, known: &Known) {
        match known.docker_volumes.get(named) {
            Some(Some(one)) => self.add_device(&one.driver, &one.options, known),
            Some(None) => {}
            None => self.may_be_any_volume = true,
        }
    }

    fn add_container(&mut self, host: &str, spec: &ContainerSpec, known: &Known) {
        let mut mounts = spec.mounts.clone();
        if let Some(like) = &spec.like {
            self.add_model(&like.host, &like.container, known);
            self.is_model_here = like.host == host;
            if mounts.is_empty() {
                self.may_be_any_volume |= self.of_model.is_none();
                mounts.extend(self.of_model.iter().flatten().cloned());
            }
        }
        self.add_mounts(host, mounts, known);
    }

    fn add_mounts(&mut self, host: &str, mounts: Vec<Mount>, known: &Known) {
        self.mounts.clone_from(&mounts);
        let names: BTreeSet<String> = mounts.into_iter().map(|mount| mount.volume).collect();
        for name in names {
            let what = format!("Docker volume `{name}`");
            match known.docker_volumes.get(&(host.to_owned(), name)) {
                Some(Some(one)) => self.add_volume(&what, &one.driver, &one.options, known),
                // One that is not there is refused by its engine's provider.
                Some(None) => {}
                None => {
                    self.may_be_any_volume = true;
                    self.root.push(format!("how far {what} reaches is not known"));
                }
            }
        }
    }

    /// What a container may do on its host is what one like it may, or a command in it.
    fn add_model(&mut self, host: &str, container: &str, known: &Known) {
        match known.containers.get(&(host.to_owned(), container.to_owned())) {
            Some(facts) => {
                let told = told_powers(facts);
                self.may_be_any_volume |= told.iter().any(|power| power.reaches_disks);
                let told = told.into_iter().map(|power| power.what);
                self.root.extend(told.map(|power| format!("container `{container}` {power}")));
                self.of_model = facts.get("mounts").map(|_| mounts_of(facts));
            }
            None => {
                self.may_be_any_volume = true;
                self.root.push(format!("how far container `{container}` reaches is not known"));
            }
        }
    }

    fn add_volume(
        &mut self,
        name: &str,
        driver: &str,
        options: &BTreeMap<String, String>,
        known: &Known,
    ) {
        self.add_device(driver, options, known);
        if let Err(why) = mounted_by(driver, options) {
            self.root.push(format!("{name} {why}"));
        }
    }

    /// Of which EBS volume a Docker volume is.
    fn add_device(&mut self, driver: &str, options: &BTreeMap<String, String>, known: &Known) {
        let id_of_device = |device: &str| {
            let id = known.devices.get(whole(device)).cloned();
            Resource::Volume { id: id.unwrap_or_else(|| id_of(device)) }
        };
        match mounted_by(driver, options) {
            Ok(None) => {}
            Ok(Some(device)) => self.volumes.push(id_of_device(device)),
            Err(_) => {
                // However it is mounted, a device is its volume's, and may bring others along.
                let device = options.get("device").filter(|device| is_by_id(device));
                self.volumes.extend(device.map(|device| id_of_device(device)));
                self.may_be_any_volume |= driver != "local" || !is_of_no_device(options);
            }
        }
    }
}

/// The Docker volumes that a container mounts.
pub fn volumes_of(facts: &Facts) -> Vec<String> {
    mounts_of(facts).into_iter().map(|mount| mount.volume).collect()
}

fn mounts_of(facts: &Facts) -> Vec<Mount> {
    let mounts = facts.get("mounts").and_then(Value::as_array).into_iter().flatten();
    let mount = |mount: &Value| {
        Some(Mount {
            volume: mount.get("volume")?.as_str()?.to_owned(),
            target: mount.get("target").and_then(Value::as_str).unwrap_or_default().to_owned(),
            read_only: mount.get("read_only").and_then(Value::as_bool).unwrap_or_default(),
        })
    };
    mounts.filter_map(mount).collect()
}

/// What a container may do on its host beside running its own program.
struct Power {
    what: String,
    /// Whether it may reach its host's disks by it.
    reaches_disks: bool,
}

/// What a container may do on its host beside running its own program: by its options, which have
/// the engine's own names (Docker docs, *Docker Engine API*, *ContainerInspect*, *HostConfig*), but
/// for `UnmaskedPaths`: a provider tells by it that what an engine hides of its host is not hidden.
pub fn powers(facts: &Facts) -> Vec<String> {
    told_powers(facts).into_iter().map(|power| power.what).collect()
}

fn told_powers(facts: &Facts) -> Vec<Power> {
    let of_disks = |what: String| Power { what, reaches_disks: true };
    let Facts::Present(_) = facts else { return vec![of_disks("can't be looked at".to_owned())] };
    let empty = serde_json::Map::new();
    let Some(config) = facts.get("config").map(|config| config.as_object().unwrap_or(&empty))
    else {
        return vec![of_disks("has options that are not known".to_owned())];
    };
    let is_set = |name: &str| match config.get(name) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Array(list)) => !list.is_empty(),
        Some(Value::Object(map)) => !map.is_empty(),
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Bool(true) | Value::Number(_)) => true,
    };
    let set = POWERS.iter().filter(|(name, _)| is_set(name));
    let mut told: Vec<Power> = set
        .map(|(name, what)| Power {
            what: (*what).to_owned(),
            reaches_disks: !WITHOUT_DISKS.contains(name),
        })
        .collect();
    if let Some(Value::String(runtime)) = config.get(RUNTIME)
        && !is_every_engines(runtime)
    {
        told.push(of_disks(format!("is run by `{runtime}`, which may give it its host's devices")));
    }
    for (name, what) in NAMESPACES {
        if let Some(Value::String(mode)) = config.get(*name)
            && (mode == "host" || mode.starts_with("container:"))
        {
            let what = format!("has the {what} of `{mode}`");
            told.push(Power { what, reaches_disks: !WITHOUT_DISKS.contains(name) });
        }
    }
    let binds = config.get("Binds").and_then(Value::as_array).into_iter().flatten();
    let binds = binds.filter_map(Value::as_str).filter(|bind| bind.starts_with('/'));
    told.extend(binds.map(|bind| of_disks(format!("sees the host's `{}`", before_colon(bind)))));
    told.extend(mounts_of_the_host(config.get("Mounts")).into_iter().map(of_disks));
    told
}

/// The options that [`powers`] goes by: a provider that leaves one of them out of a container's
/// facts hides that the container reaches its host.
pub fn options_with_powers() -> impl Iterator<Item = &'static str> {
    let lists = POWERS.iter().chain(NAMESPACES).map(|(name, _)| *name);
    lists.chain([RUNTIME, "Binds", "Mounts"])
}

/// What makes a container of its options: another one than every engine's gives it what they do
/// not say (NVIDIA docs, *Container Toolkit*: every GPU that a variable of the container names).
const RUNTIME: &str = "Runtime";

/// Whether it is the runtime that every engine has, by its old name or its new one, or none was
/// asked for (Docker docs, *dockerd*, *Container runtimes*).
pub fn is_every_engines(runtime: &str) -> bool {
    ["", "runc", "io.containerd.runc.v2"].contains(&runtime)
}

/// Options that reach the host whenever they are there.
const POWERS: &[(&str, &str)] = &[
    ("Privileged", "is privileged"),
    ("CapAdd", "has added capabilities"),
    ("Devices", "has devices of its host"),
    ("DeviceRequests", "has devices of its host"),
    ("DeviceCgroupRules", "may use devices of its host"),
    ("VolumesFrom", "has the volumes of another container"),
    ("SecurityOpt", "has security options of its own"),
    ("UnmaskedPaths", "sees all of its host's kernel settings"),
    ("CgroupParent", "is in a control group of its own choice"),
    // A runtime does what some of them say (opencontainers/runc, *docs/systemd.md*).
    ("Annotations", "has annotations for its runtime"),
];

/// Options that name a namespace.
const NAMESPACES: &[(&str, &str)] = &[
    ("NetworkMode", "network"),
    ("PidMode", "processes"),
    ("IpcMode", "shared memory"),
    ("UTSMode", "host name"),
    ("UsernsMode", "users"),
    ("CgroupnsMode", "control groups"),
];

/// Those by which a container reaches its host, and none of its disks: in its processes' file
/// systems, and as its users, it does.
const WITHOUT_DISKS: [&str; 5] =
    ["SecurityOpt", "NetworkMode", "IpcMode", "UTSMode", "CgroupnsMode"];

/// Whether an option is there and empty, as some clients write it.
fn says_nothing(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(|map| map.values().all(says_nothing))
}

fn before_colon(bind: &str) -> &str {
    bind.split(':').next().unwrap_or(bind)
}

/// Mounts that are neither a volume as its engine has it nor memory.
fn mounts_of_the_host(mounts: Option<&Value>) -> Vec<String> {
    let all = mounts.and_then(Value::as_array).into_iter().flatten();
    let told = all.filter_map(|mount| {
        let text = |name: &str| mount.get(name).and_then(Value::as_str).unwrap_or_default();
        let options = mount.get("VolumeOptions");
        let driver = options.and_then(|options| options.get("DriverConfig"));
        match text("Type") {
            "tmpfs" => None,
            "volume" if driver.is_none_or(says_nothing) => None,
            "volume" => Some(format!("has a volume with options of its own on {}", text("Target"))),
            _ => Some(format!("sees the host's `{}`", text("Source"))),
        }
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_way_to_the_host_is_seen() {
        let of = |config: Value| powers(&Facts::from_json(json!({ "config": config })));
        assert_eq!(of(json!({})), Vec::<String>::new());
        let plain = json!({
            "Privileged": false, "NetworkMode": "bridge", "IpcMode": "private", "Binds": [],
            "Mounts": [{ "Type": "volume", "Source": "data", "Target": "/data" },
                       { "Type": "volume", "Source": "data", "Target": "/e",
                         "VolumeOptions": { "NoCopy": true, "DriverConfig": {} } },
                       { "Type": "tmpfs", "Target": "/tmp" }], "Memory": 1024, "CapDrop": ["ALL"],
            "Runtime": "runc",
        });
        assert_eq!(of(plain), Vec::<String>::new());
        for config in [
            json!({ "Privileged": true }),
            json!({ "CapAdd": ["SYS_ADMIN"] }),
            json!({ "Devices": [{ "PathOnHost": "/dev/sda" }] }),
            json!({ "DeviceRequests": [{ "Count": -1 }] }),
            json!({ "DeviceCgroupRules": ["b 8:* rwm"] }),
            json!({ "VolumesFrom": ["other"] }),
            json!({ "SecurityOpt": ["seccomp=unconfined"] }),
            json!({ "UnmaskedPaths": true }),
            json!({ "NetworkMode": "host" }),
            json!({ "PidMode": "host" }),
            json!({ "PidMode": "container:abc" }),
            json!({ "IpcMode": "host" }),
            json!({ "UTSMode": "host" }),
            json!({ "UsernsMode": "host" }),
            json!({ "CgroupnsMode": "host" }),
            json!({ "CgroupParent": "/" }),
            json!({ "Runtime": "nvidia" }),
            json!({ "Annotations": { "org.systemd.property.DeviceAllow": "[]" } }),
            json!({ "Binds": ["/:/host"] }),
            json!({ "Mounts": [{ "Type": "bind", "Source": "/etc", "Target": "/e" }] }),
            json!({ "Mounts": [{ "Type": "volume", "Target": "/e", "VolumeOptions":
                { "DriverConfig": { "Options": { "device": "/", "o": "bind" } } } }] }),
        ] {
            assert_eq!(of(config.clone()).len(), 1, "{config}");
        }
        assert_eq!(powers(&Facts::from_json(json!({ "image": "x" }))).len(), 1);
        assert_eq!(powers(&Facts::Unknown("why".into())).len(), 1);
    }
}
