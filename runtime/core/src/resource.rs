//! What an effect changes, and the facts about it that count.
//!
//! A resource is named the same everywhere: in the journal, in `show`, in what was not restored.
//! [`ResourceKind::counted`] is the one table of which facts a rollback must bring back (R8);
//! providers observe exactly those, so that two observations can be compared as they are.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The name of a resource: `ebs:volume/vol-1`, `docker:i-1/container/db`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "resource", rename_all = "kebab-case")]
pub enum Resource {
    Volume {
        id: String,
    },
    Snapshot {
        id: String,
    },
    Instance {
        id: String,
    },
    Container {
        host: String,
        name: String,
    },
    Image {
        host: String,
        image: String,
    },
    DockerVolume {
        host: String,
        name: String,
    },
    /// The file system on a volume, as its host sees it.
    FileSystem {
        host: String,
        volume: String,
    },
    /// What a call is about to create: it has no name until the result, or the stamp, tells one.
    Created {
        kind: ResourceKind,
        host: Option<String>,
        token: String,
    },
}

/// The kinds of resource, each with its own counted facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResourceKind {
    Volume,
    Snapshot,
    Instance,
    Container,
    Image,
    DockerVolume,
    FileSystem,
}

impl ResourceKind {
    /// The facts that count of this kind: a rollback is `restored` only when each is as it was.
    ///
    /// Left out on purpose: addresses, pids, times, and states that only pass through.
    pub fn counted(self) -> &'static [&'static str] {
        match self {
            ResourceKind::Volume => &[
                "size_gib",
                "type",
                "iops",
                "throughput_mibps",
                "encrypted",
                "zone",
                "attachments",
                "tags",
                "snapshot",
            ],
            ResourceKind::Snapshot => &["volume", "size_gib", "tags"],
            ResourceKind::Instance => &["state", "type", "zone", "tags"],
            ResourceKind::Container => &[
                "image", "digest", "env", "mounts", "ports", "command", "restart", "running",
                "networks", "config",
            ],
            ResourceKind::Image => &["digest"],
            ResourceKind::DockerVolume => &["driver", "options"],
            ResourceKind::FileSystem => &["type", "size_gib"],
        }
    }
}

impl Resource {
    /// The kind, which tells the facts that count.
    pub fn kind(&self) -> ResourceKind {
        match self {
            Resource::Volume { .. } => ResourceKind::Volume,
            Resource::Snapshot { .. } => ResourceKind::Snapshot,
            Resource::Instance { .. } => ResourceKind::Instance,
            Resource::Container { .. } => ResourceKind::Container,
            Resource::Image { .. } => ResourceKind::Image,
            Resource::DockerVolume { .. } => ResourceKind::DockerVolume,
            Resource::FileSystem { .. } => ResourceKind::FileSystem,
            Resource::Created { kind, .. } => *kind,
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resource::Volume { id } => write!(f, "ebs:volume/{id}"),
            Resource::Snapshot { id } => write!(f, "ebs:snapshot/{id}"),
            Resource::Instance { id } => write!(f, "ec2:instance/{id}"),
            Resource::Container { host, name } => write!(f, "docker:{host}/container/{name}"),
            Resource::Image { host, image } => write!(f, "docker:{host}/image/{image}"),
            Resource::DockerVolume { host, name } => write!(f, "docker:{host}/volume/{name}"),
            Resource::FileSystem { host, volume } => {
                write!(f, "docker:{host}/filesystem/{volume}")
            }
            Resource::Created { kind, token, .. } => {
                write!(f, "new:{kind:?}/{}", &token[..token.len().min(12)])
            }
        }
    }
}

/// The facts that count of one resource at one moment; one that is not there is absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Facts {
    Absent,
    Present(BTreeMap<String, Value>),
}

impl Facts {
    /// Present facts from a JSON object; any other value counts as absent.
    pub fn from_json(value: Value) -> Self {
        match value {
            Value::Object(map) => Facts::Present(map.into_iter().collect()),
            _ => Facts::Absent,
        }
    }

    /// One fact, if the resource is there and has it.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Facts::Absent => None,
            Facts::Present(map) => map.get(name),
        }
    }

    /// Whether the resource is not there.
    pub fn is_absent(&self) -> bool {
        matches!(self, Facts::Absent)
    }

    /// Whether nothing differs.
    pub fn is_as(&self, other: &Facts) -> bool {
        self.differing(other).is_empty()
    }

    /// The names of the facts in which the two differ; `["exists"]` if only one is absent.
    ///
    /// A fact that only one of them has is none of these: an older Stepback did not look at it.
    /// A fact that is a map is compared key by key, and named `tags.owner`: two tags of one
    /// resource are two facts.
    pub fn differing(&self, other: &Facts) -> Vec<String> {
        match (self, other) {
            (Facts::Absent, Facts::Absent) => vec![],
            (Facts::Present(own), Facts::Present(others)) => {
                let (a, b) = (self.flat(others), other.flat(own));
                let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
                let differs = |name: &&&String| a.get(**name) != b.get(**name);
                names.iter().filter(differs).map(|name| (*name).clone()).collect()
            }
            (Facts::Absent, Facts::Present(_)) | (Facts::Present(_), Facts::Absent) => {
                vec!["exists".to_owned()]
            }
        }
    }

    /// One fact by the name that [`Facts::differing`] gives it.
    pub fn flat_get(&self, name: &str) -> Option<&Value> {
        self.get(name).or_else(|| {
            let (fact, key) = name.split_once('.')?;
            self.get(fact)?.as_object()?.get(key)
        })
    }

    /// The facts that `among` has too, those that are maps key by key.
    fn flat(&self, among: &BTreeMap<String, Value>) -> BTreeMap<String, &Value> {
        let Facts::Present(map) = self else { return BTreeMap::new() };
        let mut flat = BTreeMap::new();
        for (name, value) in map.iter().filter(|(name, _)| among.contains_key(*name)) {
            match value {
                Value::Object(object) => {
                    flat.extend(object.iter().map(|(key, one)| (format!("{name}.{key}"), one)));
                }
                other => {
                    flat.insert(name.clone(), other);
                }
            }
        }
        flat
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Facts::Absent => f.write_str("absent"),
            Facts::Present(map) => {
                let facts: Vec<String> = map.iter().map(|(k, v)| format!("{k}={v}")).collect();
                f.write_str(&facts.join(" "))
            }
        }
    }
}
