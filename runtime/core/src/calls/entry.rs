//! What the rest of the program must know of a host function.

use super::area::Beside;
use super::inverse::Inverse;
use super::shapes::{Tags, run_once_name};
use crate::ids::*;
use crate::resource::{Resource, ResourceKind};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a host function may do to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// It only asks.
    Read,
    /// It waits for something that others bring about.
    Wait,
    /// It changes the world, and can be taken back.
    Effect,
    /// An effect with no inverse, but on what this operation itself created.
    Irreversible,
}

/// How an effect whose answer was lost is settled (R3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SettleMode {
    /// The API knows the token: search for the stamp, then the same request again is safe.
    ReissueSameToken,
    /// Look whether the world is as the call wants it.
    DesiredState,
    /// What was created carries the token: find it, or after a delay be sure it is not there.
    FindByStamp,
    /// Nothing in the world tells.
    Unknowable,
}

/// One call's entry in the table of host functions: all that anybody must know of the function,
/// with the arguments of this call.
///
/// Every entry states each field, or takes it from a base that is named for what it means: a new
/// function can't be half added.
pub struct Entry<'a> {
    /// Whether it asks, waits or changes the world.
    pub class: Class,
    /// What it changes.
    pub touches: Touches<'a>,
    /// Which facts of the main resource it changes.
    pub changes: Changes<'a>,
    /// The fact that it sets, where the call alone tells what that is afterwards.
    pub sets: Sets<'a>,
    /// What comes and goes beside what it touches.
    pub beside: Option<Beside>,
    /// What it has in common with other effects, though it changes nothing of that: they are undone
    /// in turn, the newest first, and one that can't be keeps the older ones from being undone.
    pub shares: Option<Target<'a>>,
    /// What its undo must come before the undos of changes to, though it changes nothing of that: a
    /// target, and the container behind it. An undo that failed keeps these from being undone.
    pub before: Option<Target<'a>>,
    /// How a lost answer is settled; a read or a wait is asked again.
    pub settle: Option<SettleMode>,
    /// What takes the effect back; [`Inverse::None`] also for a read or a wait.
    pub inverse: Inverse<'a>,
    /// The host whose Docker Engine it is for.
    pub host: Option<&'a InstanceId>,
    /// Which of its arguments says how long it may take.
    pub takes: Takes,
    /// The tags that it writes or takes away; a provider refuses reserved keys among them.
    pub tags: WrittenTags<'a>,
    /// Whether it leaves something behind, by which its answer can be settled, and which goes when
    /// its outcome is durable.
    pub leaves_behind: bool,
    /// Which of its arguments a secret may be put into.
    pub sinks: Sinks,
}

impl<'a> Entry<'a> {
    /// A question, which changes nothing.
    pub(super) fn read(host: Option<&'a InstanceId>) -> Self {
        Self::look(Class::Read, host, Takes::Moments)
    }

    /// A wait for something that others bring about.
    pub(super) fn wait(host: Option<&'a InstanceId>, takes: Takes) -> Self {
        Self::look(Class::Wait, host, takes)
    }

    fn look(class: Class, host: Option<&'a InstanceId>, takes: Takes) -> Self {
        Self {
            class,
            touches: Touches::Nothing,
            changes: Changes::Nothing,
            sets: Sets::Nothing,
            beside: None,
            shares: None,
            before: None,
            settle: None,
            inverse: Inverse::None,
            host,
            takes,
            tags: WrittenTags::None,
            leaves_behind: false,
            // Whoever is asked a question is told it.
            sinks: Sinks::None,
        }
    }
}

/// The resources that a call changes.
pub enum Touches<'a> {
    /// It is a read or a wait.
    Nothing,
    /// Something new that has no name until the answer tells it.
    New(ResourceKind),
    /// One resource that has its name already.
    One(Target<'a>),
    /// The first is what it mainly changes; the other one shows it as well.
    Two(Target<'a>, Target<'a>),
    /// One thing, by the name that it had and by the one that it gets.
    Renamed(Target<'a>, Target<'a>),
}

/// One resource, by the arguments that name it.
#[derive(Clone, Copy)]
pub enum Target<'a> {
    /// An EC2 instance.
    Instance(&'a InstanceId),
    /// An EBS volume.
    Volume(&'a VolumeId),
    /// An EBS snapshot.
    Snapshot(&'a SnapshotId),
    /// A container, by its host and its name there.
    Container(&'a InstanceId, &'a ContainerName),
    /// An ephemeral container: named by its token, gone when the call is settled.
    RunOnce(&'a InstanceId),
    /// An image, by its host and its reference.
    Image(&'a InstanceId, &'a ImageRef),
    /// A Docker volume, by its host and its name there.
    DockerVolume(&'a InstanceId, &'a DockerVolumeName),
    /// The file system on an EBS volume, by the host that has the volume and the volume.
    FileSystem(&'a InstanceId, &'a VolumeId),
    /// A pool of a load balancer.
    Pool(&'a PoolName),
    /// A target of a pool, by its host and its port there.
    PoolTarget(&'a PoolName, &'a InstanceId, u16),
}

impl Target<'_> {
    pub(super) fn resource(self, token: &Token) -> Resource {
        match self {
            Target::Instance(id) => Resource::Instance { id: id.0.clone() },
            Target::Volume(id) => Resource::Volume { id: id.0.clone() },
            Target::Snapshot(id) => Resource::Snapshot { id: id.0.clone() },
            Target::Container(host, name) => {
                Resource::Container { host: host.0.clone(), name: name.0.clone() }
            }
            Target::RunOnce(host) => {
                Resource::Container { host: host.0.clone(), name: run_once_name(token) }
            }
            Target::Image(host, image) => {
                Resource::Image { host: host.0.clone(), image: image.0.clone() }
            }
            Target::DockerVolume(host, name) => {
                Resource::DockerVolume { host: host.0.clone(), name: name.0.clone() }
            }
            Target::FileSystem(host, volume) => {
                Resource::FileSystem { host: host.0.clone(), volume: volume.0.clone() }
            }
            Target::Pool(pool) => Resource::Pool { pool: pool.0.clone() },
            Target::PoolTarget(pool, host, port) => {
                Resource::PoolTarget { pool: pool.0.clone(), host: host.0.clone(), port }
            }
        }
    }
}

impl Touches<'_> {
    /// Every resource, the main one first; `token` names what has no name yet.
    pub(super) fn resources(&self, token: &Token) -> Vec<Resource> {
        match self {
            Touches::Nothing => vec![],
            Touches::New(kind) => {
                vec![Resource::Created { kind: *kind, host: None, token: token.0.clone() }]
            }
            Touches::One(target) => vec![target.resource(token)],
            Touches::Two(one, other) | Touches::Renamed(one, other) => {
                vec![one.resource(token), other.resource(token)]
            }
        }
    }
}

/// The facts of its main resource that a call changes.
pub enum Changes<'a> {
    /// No fact: it is a read, a wait, or a command inside a container.
    Nothing,
    /// It comes, goes, or may change in every fact, and so does whatever else the call touches.
    Whole,
    /// These facts by name, and no other.
    Facts(&'static [&'static str]),
    /// The tag of this key, and no other.
    Tag(&'a str),
    /// The instance, and with it every container that runs on it.
    Host(&'a InstanceId),
}

/// A fact that a call sets, and to what.
pub enum Sets<'a> {
    /// No fact, or none that the call alone tells.
    Nothing,
    /// A fact, and whether it is true afterwards.
    Flag(&'static str, bool),
    /// A fact, and the number that it is afterwards.
    Number(&'static str, u32),
    /// A fact, and the text that it is afterwards.
    Text(&'static str, &'a str),
    /// A tag of this key, or none.
    Tag(&'a str, Option<&'a str>),
    /// A restart policy, which engines show in one way, whichever way it was written.
    RestartPolicy(&'a str),
}

impl Sets<'_> {
    pub(super) fn fact(&self) -> Option<(String, Option<Value>)> {
        let set = |fact: &str, value: Value| Some((fact.to_owned(), Some(value)));
        match self {
            Sets::Nothing => None,
            Sets::Flag(fact, value) => set(fact, (*value).into()),
            Sets::Number(fact, value) => set(fact, (*value).into()),
            Sets::Text(fact, value) => set(fact, (*value).into()),
            Sets::Tag(key, value) => Some((format!("tags.{key}"), value.map(Value::from))),
            Sets::RestartPolicy(policy) => set("restart", policy_shown(policy)?.into()),
        }
    }
}

/// A restart policy as an engine shows it, whichever way it was written.
fn policy_shown(restart: &str) -> Option<String> {
    match restart.split_once(':') {
        Some(("on-failure", count)) => match count.parse::<u32>().ok()? {
            0 => Some("on-failure".to_owned()),
            count => Some(format!("on-failure:{count}")),
        },
        Some(_) => None,
        None => matches!(restart, "no" | "always" | "unless-stopped" | "on-failure")
            .then(|| restart.to_owned()),
    }
}

/// How long a call may take by what it says itself: the name of the argument, in milliseconds.
#[derive(Clone, Copy)]
pub enum Takes {
    /// As long as an answer takes.
    Moments,
    /// At most so long; a wait has the time for one more look whenever it goes on.
    UpTo(&'static str),
    /// Exactly so long.
    Exactly(&'static str),
}

/// The arguments of a call that a secret may be put into; in any other one it would be shown to
/// whoever may look at the thing, or ask somebody about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sinks {
    /// None of them.
    None,
    /// Those of a container that is made: the values of its environment, and its command.
    Container,
    /// The command alone.
    Command,
}

/// What a secret may be put into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sink {
    /// The value of a variable of a container.
    Environment,
    /// A command line, which whoever may list processes or containers reads: only where the
    /// manifest's step says so.
    Command,
}

impl Sinks {
    /// What the argument's value at a path is, if a secret may be put there.
    pub(super) fn at(self, path: &[String]) -> Option<Sink> {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        match (self, &path[..]) {
            (Sinks::Container, ["spec", "env", _]) => Some(Sink::Environment),
            (Sinks::Container, ["spec", "command", _]) => Some(Sink::Command),
            (Sinks::Command, ["command", _]) => Some(Sink::Command),
            (Sinks::None | Sinks::Container | Sinks::Command, _) => None,
        }
    }
}

/// The tags that a call writes or takes away.
pub enum WrittenTags<'a> {
    /// It leaves tags alone.
    None,
    /// All of these, on something new.
    All(&'a Tags),
    /// The one of this key.
    One(&'a str),
}

impl<'a> WrittenTags<'a> {
    /// Their keys.
    pub fn keys(&self) -> Vec<&'a str> {
        match self {
            WrittenTags::None => vec![],
            WrittenTags::All(tags) => tags.keys().map(String::as_str).collect(),
            WrittenTags::One(key) => vec![key],
        }
    }
}
