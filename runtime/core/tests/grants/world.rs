//! The small world that grants are tried in.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use stepback_core::grants::{DockerVolume, Known};
use stepback_core::*;

pub type Tags = BTreeMap<String, String>;

pub const INSTANCES: [&str; 4] = ["i-db-1", "i-db-2", "i-web-1", "i-gone"];
pub const CLOUD: [&str; 3] = ["1", "2", "gone"];
pub const TEAMS: [&str; 3] = ["db", "web", "none"];
/// The last is the id of one that has another name.
pub const CONTAINERS: [&str; 6] = ["main", "replica", "plain", "root", "bound", ID];
pub const ID: &str = "d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0";
/// The last two are an image's id, and the beginning of one.
pub const IMAGES: [&str; 6] = [
    "postgres:16",
    "postgres:17",
    "evil/postgres:16",
    "postgres:5000/evil:1",
    "sha256:d0d0",
    "d0d0",
];
/// Docker volumes to mount; `unread` can't be read, and `new` is not there.
pub const VOLUMES: [&str; 6] = ["of-vol-1", "of-host", "two-devices", "plain", "unread", "new"];
/// A Docker volume that is called as the EBS volume that it is of.
pub const OWN_VOLUME: &str = "vol-1";
pub const HOST_PATH: &str = "/etc";

/// What the world is: each thing's team, and how far containers and Docker volumes reach.
#[derive(Clone, Debug)]
pub struct World {
    pub teams: BTreeMap<String, &'static str>,
}

/// What is known of a container there; nothing of `replica`, nor of what goes by its id.
pub struct Container {
    pub image: &'static str,
    pub command: &'static [&'static str],
    pub env: &'static [&'static str],
    pub is_privileged: bool,
    pub volume: Option<&'static str>,
}

pub fn container(name: &str) -> Option<Container> {
    let plain = Container {
        image: "postgres:17",
        command: &[],
        env: &[],
        is_privileged: false,
        volume: None,
    };
    match name {
        "main" => {
            Some(Container { volume: Some("of-vol-1"), command: &["true"], env: &["PW"], ..plain })
        }
        "plain" => Some(Container { image: "evil/postgres:16", ..plain }),
        "bound" => Some(Container { volume: Some("of-host"), ..plain }),
        "root" => Some(Container { image: "sha256:d0d0", is_privileged: true, ..plain }),
        _ => None,
    }
}

impl World {
    pub fn tags(&self, id: &str) -> Option<Tags> {
        let team = self.teams.get(id)?;
        let mut tags = BTreeMap::from([("Name".to_owned(), format!("name-of-{id}"))]);
        if *team != "none" {
            tags.insert("team".to_owned(), (*team).to_owned());
        }
        Some(tags)
    }

    pub fn known(&self) -> Known {
        let mut known = Known::default();
        for id in self.teams.keys() {
            let resource = match id.split('-').next() {
                Some("i") => Resource::Instance { id: id.clone() },
                Some("vol") => Resource::Volume { id: id.clone() },
                _ => Resource::Snapshot { id: id.clone() },
            };
            known.tags.insert(resource, self.tags(id).expect("it is there"));
        }
        for host in INSTANCES {
            let at = |name: &str| (host.to_owned(), name.to_owned());
            for name in CONTAINERS {
                let Some(one) = container(name) else { continue };
                let config =
                    if one.is_privileged { json!({ "Privileged": true }) } else { json!({}) };
                let mounts: Vec<Value> = one
                    .volume
                    .iter()
                    .map(|v| json!({ "volume": v, "target": "/d", "read_only": true }))
                    .collect();
                let env: Tags =
                    one.env.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect();
                let facts = json!({ "config": config, "mounts": mounts, "image": one.image,
                                    "command": one.command, "env": env });
                known.containers.insert(at(name), Facts::from_json(facts));
            }
            for name in VOLUMES.iter().filter(|name| **name != "unread").chain([&OWN_VOLUME]) {
                known.docker_volumes.insert(at(name), docker_volume(name));
            }
        }
        known
    }
}

fn docker_volume(name: &str) -> Option<DockerVolume> {
    let device = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol1";
    let options = match name {
        "of-vol-1" | OWN_VOLUME => json!({ "type": "ext4", "device": device, "o": "noatime" }),
        "two-devices" => json!({ "type": "xfs", "device": device, "o": "logdev=/dev/sda" }),
        "of-host" => json!({ "type": "none", "o": "bind", "device": HOST_PATH }),
        "plain" => json!({}),
        _ => return None,
    };
    let options = serde_json::from_value(options).expect("options");
    Some(DockerVolume { driver: "local".to_owned(), options })
}
