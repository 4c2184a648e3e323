//! What a Docker Engine of the simulated world has, and what registries serve to it.

use super::is_default;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use stepback_core::calls::ContainerSpec;

/// A Docker Engine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Engine {
    /// By name.
    pub containers: BTreeMap<String, Container>,
    /// Image reference to digest.
    pub images: BTreeMap<String, String>,
    /// By name.
    pub volumes: BTreeMap<String, DockerVolume>,
    /// What processes of its host listen on that are no container's, `[ADDRESS:]PORT/PROTOCOL`.
    #[serde(skip_serializing_if = "is_default")]
    pub listening: Vec<String>,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// Tells it from another of the same name; given to one of a world file when that is read.
    #[serde(default, skip_serializing_if = "is_default")]
    pub id: String,
    /// What it is made of, with all that it took from the one that it is like.
    pub spec: ContainerSpec,
    /// The digest of its image when it was made, `sha256:…`.
    pub digest: String,
    /// Whether it is up; what its policy starts again and again counts as up.
    #[serde(default)]
    pub running: bool,
    /// Whether it runs and its processes are frozen (Docker docs, *docker container pause*).
    #[serde(default, skip_serializing_if = "is_default")]
    pub paused: bool,
    /// How it ended when it ran last.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// Whether it ended with its host, or by itself, and was not stopped by hand.
    #[serde(default, skip_serializing_if = "is_default")]
    pub went_down: bool,
    /// Whether it is gone when it stops (Docker docs, *docker container run*, *--rm*).
    #[serde(default, skip_serializing_if = "is_default")]
    pub auto_remove: bool,
    /// Its further options by the engine's own names, such as `Privileged` (Docker docs, *Docker
    /// Engine API*, *ContainerInspect*, *HostConfig*); one like it has them too.
    #[serde(default, skip_serializing_if = "is_default")]
    pub config: BTreeMap<String, Value>,
    /// As an instance's.
    #[serde(default)]
    pub stamp: Option<String>,
}

/// A named Docker volume of the `local` driver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DockerVolume {
    /// As a container's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub id: String,
    /// The driver's: with `device` it mounts an EBS volume, which must be formatted as `type`.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// As an instance's.
    #[serde(default)]
    pub stamp: Option<String>,
}

/// An image as a registry serves it, with how its containers behave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryImage {
    /// `sha256:…`, which a pull of its name gives.
    pub digest: String,
    /// Whether its containers ever become healthy.
    #[serde(default = "yes")]
    pub healthy: bool,
    /// Whether its containers end as soon as they run.
    #[serde(default, skip_serializing_if = "is_default")]
    pub dies: bool,
    /// Whether its containers do not stop by themselves, and are killed after their grace.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_killed: bool,
    /// How a command in its containers exits.
    #[serde(default)]
    pub exit_code: i32,
}

fn yes() -> bool {
    true
}

impl Engine {
    /// A container by its name or, as an engine takes it for one (Docker docs, *Engine API*,
    /// *ContainerInspect*), by its id.
    pub fn container(&self, name: &str) -> Option<(&String, &Container)> {
        let by_id = || self.containers.iter().find(|(_, found)| found.id == name);
        self.containers.get_key_value(name).or_else(by_id)
    }

    /// The digest of an image that it has by this name; one that lost its tag to another is still
    /// had by its digest, as long as a container is of it.
    pub(crate) fn image(&self, name: &str) -> Option<&String> {
        let (repository, digest) = by_digest(name);
        let of = |name: &str, found: &String| {
            by_digest(name).0 == repository && Some(found.as_str()) == digest
        };
        let tagged = self.images.iter().filter(|(name, found)| of(name, found)).map(|(_, one)| one);
        let used = self.containers.values().map(|one| (&one.spec.image, &one.digest));
        let used = used.filter(|(name, found)| of(name, found)).map(|(_, one)| one);
        self.images.get(name).or_else(|| tagged.chain(used).next())
    }
}

impl Container {
    /// End it, if it runs, as its host does that goes down.
    pub(crate) fn go_down(&mut self) {
        if self.running {
            (self.running, self.went_down, self.exit_code) = (false, true, Some(0));
            self.paused = false;
        }
    }
}

/// An image's repository, and its digest if it is named by that: `postgres@sha256:…`.
pub(super) fn by_digest(image: &str) -> (&str, Option<&str>) {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    // What comes after the last colon may be a registry's port, and the path.
    let tagged = name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'));
    (tagged.map_or(name, |(name, _)| name), digest)
}
