//! What an effect changes, and the facts about it that count.
//!
//! A resource is named the same everywhere: in the journal, in `show`, in what was not restored.
//! [`ResourceKind::counted`] is the one table of which facts a rollback must bring back (R8);
//! providers observe exactly those, so that two observations can be compared as they are.

use crate::shared::FactMap;
use crate::shown::MASK;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The name of a resource: `ebs:volume/vol-1`, `docker:i-1/container/db`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "resource", rename_all = "kebab-case")]
pub enum Resource {
    /// An EBS volume.
    Volume {
        /// `vol-…`, as EC2 gave it.
        id: String,
    },
    /// An EBS snapshot.
    Snapshot {
        /// `snap-…`, as EC2 gave it.
        id: String,
    },
    /// An EC2 instance; what is on its Docker Engine names it as the `host`.
    Instance {
        /// `i-…`, as EC2 gave it.
        id: String,
    },
    /// A container, whether it runs or not.
    Container {
        /// The instance whose Docker Engine has it.
        host: String,
        /// Its name there; another container may get it later.
        name: String,
    },
    /// What an image reference means on one host.
    Image {
        /// The instance whose Docker Engine has it.
        host: String,
        /// `repository[:tag][@sha256:…]`.
        image: String,
    },
    /// A Docker volume, which the containers of its host mount by its name.
    DockerVolume {
        /// The instance whose Docker Engine has it.
        host: String,
        /// Its name there; another volume may get it later.
        name: String,
    },
    /// The file system on a volume, as its host sees it.
    FileSystem {
        /// The instance that the volume is attached to.
        host: String,
        /// The EBS volume's id.
        volume: String,
    },
    /// All containers of a host, where its engine could not be asked which they are.
    Containers {
        /// The instance whose Docker Engine was asked.
        host: String,
    },
    /// A pool of a load balancer: what else it is to be undone before or after goes by it.
    Pool {
        /// As the environment names it.
        pool: String,
    },
    /// A place that a pool may send traffic to. It is never absent: whether the pool has it is
    /// one of its facts.
    PoolTarget {
        /// As the environment names it.
        pool: String,
        /// The instance that it is on.
        host: String,
        /// The port there.
        port: u16,
    },
    /// What a call is about to create: it has no name until the result, or the stamp, tells one.
    Created {
        /// Its kind, which is known before its name.
        kind: ResourceKind,
        /// The host, if a Docker Engine creates it; `None` for what EC2 creates.
        host: Option<String>,
        /// The token of the call, which is its stamp too.
        token: String,
    },
}

/// The kinds of resource, each with its own counted facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResourceKind {
    /// An EBS volume.
    Volume,
    /// An EBS snapshot.
    Snapshot,
    /// An EC2 instance.
    Instance,
    /// A container of a Docker Engine.
    Container,
    /// An image of a Docker Engine.
    Image,
    /// A volume of a Docker Engine.
    DockerVolume,
    /// The file system on an EBS volume.
    FileSystem,
    /// All containers of a host together; no fact of them counts.
    Containers,
    /// A pool of a load balancer; no fact of it counts.
    Pool,
    /// A target of a pool.
    PoolTarget,
}

/// The fact that tells one thing from another that has the same name since; it is not compared
/// with what was before, because what was made anew just as it was is restored.
pub const IDENTITY: &str = "id";

/// How a value begins that was sealed before it went into the journal: it tells whether it is
/// another one, and nothing else.
pub const SEALED: &str = "sealed:";
/// The same of one that was sealed by a key, whose id follows: seals of two keys can't be compared.
pub const SEALED_BY_KEY: &str = "sealed:2:";

/// The facts, or maps of them, that are sealed; anywhere else a text like a seal is a text.
const SEALED_FACTS: [&str; 3] = ["command", "config", "env"];

/// Whether this is a seal, of the fact that [`Facts::differing`] gives this name.
pub fn is_sealed(name: &str, value: Option<&Value>) -> bool {
    let fact = name.split_once('.').map_or(name, |(fact, _)| fact);
    let is_seal = || value.and_then(Value::as_str).is_some_and(|text| text.starts_with(SEALED));
    SEALED_FACTS.contains(&fact) && is_seal()
}

/// Whether two values of a fact are the same, or nobody can tell.
pub(crate) fn may_be_same(name: &str, one: Option<&Value>, other: Option<&Value>) -> bool {
    one == other || are_not_comparable(name, one, other)
}

/// Whether two values of a fact were sealed by different keys.
fn are_not_comparable(name: &str, one: Option<&Value>, other: Option<&Value>) -> bool {
    if !is_sealed(name, one) || !is_sealed(name, other) {
        return false;
    }
    let sealed_by = |value: Option<&Value>| {
        let sealed = value?.as_str()?.strip_prefix(SEALED)?;
        // One of before there was a key is by none.
        Some(sealed.strip_prefix("2:").and_then(|rest| rest.split(':').next()).map(str::to_owned))
    };
    matches!((sealed_by(one), sealed_by(other)), (Some(one), Some(other)) if one != other)
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
                "paused", "networks", "config",
            ],
            ResourceKind::Image => &["digest"],
            ResourceKind::DockerVolume => &["driver", "options"],
            ResourceKind::FileSystem => &["type", "size_gib"],
            ResourceKind::Containers | ResourceKind::Pool => &[],
            ResourceKind::PoolTarget => &["present", "enabled", "weight"],
        }
    }

    /// Whether a name of this kind can come to mean another thing; [`IDENTITY`] then tells them
    /// apart. What EC2 makes has a name of its own for ever, and an image is what it holds.
    pub fn has_identity(self) -> bool {
        match self {
            ResourceKind::Container | ResourceKind::DockerVolume => true,
            ResourceKind::Volume
            | ResourceKind::Snapshot
            | ResourceKind::Instance
            | ResourceKind::Image
            | ResourceKind::FileSystem
            | ResourceKind::Containers
            | ResourceKind::Pool
            | ResourceKind::PoolTarget => false,
        }
    }
}

impl Resource {
    /// The host it is on, if it is a Docker Engine's.
    pub fn host(&self) -> Option<&str> {
        match self {
            Resource::Container { host, .. }
            | Resource::Image { host, .. }
            | Resource::DockerVolume { host, .. }
            | Resource::FileSystem { host, .. }
            | Resource::Containers { host } => Some(host),
            Resource::Created { host, .. } => host.as_deref(),
            Resource::Volume { .. }
            | Resource::Snapshot { .. }
            | Resource::Instance { .. }
            | Resource::Pool { .. }
            | Resource::PoolTarget { .. } => None,
        }
    }

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
            Resource::Containers { .. } => ResourceKind::Containers,
            Resource::Pool { .. } => ResourceKind::Pool,
            Resource::PoolTarget { .. } => ResourceKind::PoolTarget,
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
            Resource::Containers { host } => write!(f, "docker:{host}/containers"),
            Resource::Pool { pool } => write!(f, "lb:{pool}"),
            Resource::PoolTarget { pool, host, port } => {
                write!(f, "lb:{pool}/target/{host}:{port}")
            }
            Resource::Created { kind, token, .. } => {
                write!(f, "new:{kind:?}/{}", token.chars().take(12).collect::<String>())
            }
        }
    }
}

/// The facts that count of one resource at one moment; one that is not there is absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Facts {
    /// There is no such resource.
    Absent,
    /// Each fact by name; besides those that count, [`IDENTITY`] where the kind has one.
    Present(FactMap),
    /// They could not be read, and why, so that nothing can be compared with them.
    Unknown(String),
}

/// The facts that hold what others wrote, passwords perhaps: what is told of them is that they are
/// there.
const PRIVATE: [&str; 5] = ["command", "config", "env", "labels", "options"];

impl Facts {
    /// The same container or instance, as it is without power.
    pub(crate) fn without_power(&self) -> Self {
        let mut facts = self.clone();
        if let Self::Present(facts) = &mut facts {
            for (name, value) in facts.iter_mut() {
                if matches!(name.as_str(), "running" | "paused") {
                    *value = false.into();
                }
            }
        }
        facts
    }

    /// The same for whoever only reads them: what may hold a password is masked.
    pub fn for_readers(&self) -> Self {
        let Self::Present(facts) = self else { return self.clone() };
        let told = |(name, value): (&String, &Value)| {
            let is_told = !PRIVATE.contains(&name.as_str());
            (name.clone(), if is_told { value.clone() } else { MASK.into() })
        };
        Self::Present(facts.iter().map(told).collect())
    }

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
            Facts::Absent | Facts::Unknown(_) => None,
            Facts::Present(map) => map.get(name),
        }
    }

    /// Whose facts they are, where the name alone does not tell.
    pub fn identity(&self) -> Option<&str> {
        self.get(IDENTITY).and_then(Value::as_str)
    }

    /// Whether both are there and not one and the same, as far as is known.
    pub fn is_another(&self, other: &Facts) -> bool {
        matches!((self.identity(), other.identity()), (Some(one), Some(two)) if one != two)
    }

    /// Whether the resource is not there.
    pub fn is_absent(&self) -> bool {
        matches!(self, Facts::Absent)
    }

    /// Of an instance: whether nothing on it can be asked, because it does not run or is not there.
    pub fn is_down(&self) -> bool {
        match self {
            Facts::Absent => true,
            Facts::Present(map) => map.get("state").is_some_and(|state| state != "running"),
            Facts::Unknown(_) => false,
        }
    }

    /// Whether nothing differs.
    pub fn is_as(&self, other: &Facts) -> bool {
        self.differing(other).is_empty()
    }

    /// The names of the facts in which the two differ; `["exists"]` if only one is absent,
    /// `["known"]` if one could not be read.
    ///
    /// A fact that only one of them has is none of these: an older Stepback did not look at it. Nor
    /// is one that is [not comparable](Self::not_comparable).
    /// A fact that is a map is compared key by key, and named `tags.owner`: two tags of one
    /// resource are two facts.
    pub fn differing(&self, other: &Facts) -> Vec<String> {
        match (self, other) {
            (Facts::Absent, Facts::Absent) => vec![],
            (Facts::Unknown(_), _) | (_, Facts::Unknown(_)) => vec!["known".to_owned()],
            (Facts::Present(own), Facts::Present(others)) => {
                let (a, b) = (self.flat(others), other.flat(own));
                let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
                let differs = |name: &&&String| {
                    !may_be_same(name, a.get(**name).copied(), b.get(**name).copied())
                };
                names.iter().filter(differs).map(|name| (*name).clone()).collect()
            }
            (Facts::Absent, Facts::Present(_)) | (Facts::Present(_), Facts::Absent) => {
                vec!["exists".to_owned()]
            }
        }
    }

    /// The names of the facts of which nobody can say whether they differ: the key that one of
    /// them was sealed by is gone.
    pub fn not_comparable(&self, other: &Facts) -> Vec<String> {
        let (own, others) = (self.each(), other.each());
        let is_it = |name: &&String| {
            are_not_comparable(name, own.get(*name).copied(), others.get(*name).copied())
        };
        own.keys().filter(is_it).cloned().collect()
    }

    /// One fact by the name that [`Facts::differing`] gives it.
    pub fn flat_get(&self, name: &str) -> Option<&Value> {
        self.get(name).or_else(|| {
            let (fact, key) = name.split_once('.')?;
            self.get(fact)?.as_object()?.get(key)
        })
    }

    /// Every fact by the name that [`Facts::differing`] gives it.
    pub fn each(&self) -> BTreeMap<String, &Value> {
        match self {
            Facts::Absent | Facts::Unknown(_) => BTreeMap::new(),
            Facts::Present(map) => self.flat(map),
        }
    }

    /// The facts that `among` has too, those that are maps key by key.
    fn flat(&self, among: &BTreeMap<String, Value>) -> BTreeMap<String, &Value> {
        let Facts::Present(map) = self else { return BTreeMap::new() };
        let mut flat = BTreeMap::new();
        let counts = |name: &String| among.contains_key(name) && name != IDENTITY;
        for (name, value) in map.iter().filter(|(name, _)| counts(name)) {
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
            Facts::Unknown(why) => write!(f, "not known: {why}"),
            Facts::Present(map) => {
                let counts = map.iter().filter(|(name, _)| *name != IDENTITY);
                let facts: Vec<String> = counts.map(|(k, v)| format!("{k}={v}")).collect();
                f.write_str(&facts.join(" "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where nothing is sealed a text like a seal is a text, and never *not comparable*.
    #[test]
    fn only_what_is_sealed_is_taken_for_a_seal() {
        let [one, other] = ["sealed:2:a:0b", "sealed:2:c:0d"].map(Value::from);
        for (name, may) in [
            ("command", true),
            ("config", true),
            ("env.PW", true),
            ("options.o", false),
            ("tags.a", false),
        ] {
            assert_eq!(is_sealed(name, Some(&one)), may, "{name}");
            assert_eq!(may_be_same(name, Some(&one), Some(&other)), may, "{name}");
        }
    }
}
