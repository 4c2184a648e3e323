//! Grants: what a plugin, or anybody in an environment, may do where.
//!
//! A grant is of one interface: its functions, and the things that it is for. A call is let through
//! if one grant covers all that the call names, and reaches no further on a host than the grant
//! says. Everything here is a function of the call and of what is known of what it names: who asks
//! the world for that, and when, is the engine's business.

mod asked;
mod decide;
mod deny;
mod docker_volumes;
mod glob;
mod images;
mod known;
mod mounted;
mod names;
mod runs;
mod words;
mod written;

pub use asked::{Asked, OnEngine};
pub use decide::Permit;
pub use glob::{CommandPattern, Glob};
pub use known::{
    DockerVolume, Known, OnHost, Reach, is_every_engines, options_with_powers, powers, volumes_of,
};
pub use mounted::{device_of, is_ordinary_option, whole};
pub use written::{Mistake, read};

use crate::calls::{Call, Class, Tags};
use crate::interface::Interface;
use crate::shared::Shared;
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

/// What may be done with one interface, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// The interface.
    pub interface: Interface,
    /// Those of its functions that may be called.
    pub functions: Functions,
    /// Whether containers and Docker volumes may reach all of their host.
    pub root: bool,
    /// Every instance, volume and snapshot that a call names, and whatever it makes of these, must
    /// carry all of these tags.
    pub tags: Tags,
    /// Every instance that a call names must be one of these; any, where there are none.
    pub hosts: Vec<HostPattern>,
    /// Every container that a call names must be one of these; any, where there are none.
    pub containers: Vec<Glob>,
    /// The Docker volumes that it is for.
    pub docker_volumes: DockerVolumes,
    /// Every image that a call names must be one of these. Where there are none a container may
    /// only be made like another one, unless `root` says otherwise.
    pub images: Vec<Glob>,
    /// Every command must be one of these. Where there are none no command may be given, unless
    /// `root` says otherwise.
    pub commands: Vec<CommandPattern>,
    /// Every variable that a container is given must have one of these names. Where there are none
    /// no variable may be given, unless `root` says otherwise.
    pub env: Vec<Glob>,
    /// Every pool of a load balancer that a call names must be one of these; any, where there are
    /// none.
    pub pools: Vec<Glob>,
}

/// Docker volumes of a grant: those that a call names, and those that a container is made with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DockerVolumes {
    /// Any: what a journal means that is older than this part of a grant.
    Any,
    /// One of these. Where there are none a container may only be made with those of the one that
    /// it is to be like, and a grant for some containers lets none be made or removed, unless
    /// `root` says otherwise.
    Named(Vec<Glob>),
}

/// Functions of an interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Functions {
    /// Each of them.
    All,
    /// Some of them.
    Some {
        /// Whether those that only read or wait are among them.
        reads: bool,
        /// Those whose names, without the interface, are like one of these.
        named: Vec<Glob>,
    },
}

/// Instances by what they are called, or by their tags.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostPattern {
    /// By id, or by the tag `Name`.
    Named(Glob),
    /// By tags, all of which it must carry.
    Tagged(Tags),
}

impl Functions {
    /// Whether a call is of one of them.
    pub fn cover(&self, call: &Call) -> bool {
        self.have(call.function())
    }

    /// Whether a function is one of them, by its whole name.
    pub(crate) fn have(&self, function: &str) -> bool {
        match self {
            Functions::All => true,
            Functions::Some { reads, named } => {
                let is_look = matches!(Call::class_of(function), Some(Class::Read | Class::Wait));
                let name = short_name(function);
                *reads && is_look || named.iter().any(|glob| glob.matches(name))
            }
        }
    }
}

/// A function's name without its interface.
fn short_name(function: &str) -> &str {
    function.split_once('.').map_or(function, |(_, name)| name)
}

impl Grant {
    /// The whole interface, everywhere; but not what reaches all of a host.
    pub fn whole(interface: Interface) -> Self {
        Self {
            interface,
            functions: Functions::All,
            root: false,
            tags: Tags::new(),
            hosts: vec![],
            containers: vec![],
            docker_volumes: DockerVolumes::Named(vec![]),
            images: vec![],
            commands: vec![],
            env: vec![],
            pools: vec![],
        }
    }

    /// The whole interface, everywhere and without any limit.
    pub fn unlimited(interface: Interface) -> Self {
        Self { root: interface == Interface::Docker, ..Self::whole(interface) }
    }

    /// Whether it lets each call of its interface through, whatever that names.
    fn is_unlimited(&self) -> bool {
        *self == Self::unlimited(self.interface)
    }
}

/// The grants of one plugin; copies have the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Grants(Shared<Vec<Grant>>);

impl Grants {
    /// Nothing at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// Everything, without any limit: what the program's own plugins get.
    pub fn all() -> Self {
        static ALL: LazyLock<Grants> =
            LazyLock::new(|| Interface::ALL.into_iter().map(Grant::unlimited).collect());
        ALL.clone()
    }

    /// Whether any function of the interface may be called.
    pub fn allow(&self, interface: Interface) -> bool {
        !interface.needs_grant() || self.0.iter().any(|grant| grant.interface == interface)
    }

    /// Whether every call of the interface is let through, so that nothing need be looked at.
    pub fn are_unlimited(&self, interface: Interface) -> bool {
        let is_it = |grant: &Grant| grant.interface == interface && grant.is_unlimited();
        !interface.needs_grant() || self.0.iter().any(is_it)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.0.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Grant> for Grants {
    fn from_iter<I: IntoIterator<Item = Grant>>(grants: I) -> Self {
        Self(grants.into_iter().collect())
    }
}

/// What binds everybody in an environment, the program's own steps too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Only what these cover may be done; anything, where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Grants>,
    /// Nothing that touches any of these may be done.
    #[serde(default, skip_serializing_if = "Grants::is_empty")]
    pub deny: Grants,
}

impl Policy {
    /// Whether it binds nobody.
    pub fn is_empty(&self) -> bool {
        self.allow.is_none() && self.deny.is_empty()
    }
}
