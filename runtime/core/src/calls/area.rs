//! The parts of the world that calls change, and what comes and goes beside them.
//!
//! Steps that change the same part take turns, and are undone in the reverse order of their
//! changes (R6); a reversal compares only the facts that its effect changed.

use crate::ids::InstanceId;
use crate::resource::Resource;

/// A part of the world: two that overlap can't be changed independently of each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Area {
    /// A host, and everything on its Docker Engine.
    Host(InstanceId),
    /// A resource as a whole: it comes, goes, or may change in every fact.
    Resource(Resource),
    /// One fact of a resource, by the name that [`crate::Facts::differing`] gives it.
    Fact(Resource, String),
}

impl Area {
    /// The areas that this one is a part of, the next larger one first.
    pub fn around(&self) -> Vec<Area> {
        let host_of = |resource: &Resource| match resource {
            Resource::Instance { id } => Some(InstanceId(id.clone())),
            other => other.host().map(InstanceId::from),
        };
        match self {
            Area::Host(_) => vec![],
            Area::Resource(resource) => host_of(resource).map(Area::Host).into_iter().collect(),
            Area::Fact(resource, _) => {
                let whole = Area::Resource(resource.clone());
                let mut around = vec![whole.clone()];
                around.extend(whole.around());
                around
            }
        }
    }

    /// Whether what changes the one may change the other.
    pub fn overlaps(&self, other: &Area) -> bool {
        self == other || self.around().contains(other) || other.around().contains(self)
    }
}

impl std::fmt::Display for Area {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Area::Host(host) => write!(f, "{host} and what runs on it"),
            Area::Resource(resource) => write!(f, "{resource}"),
            Area::Fact(resource, fact) => write!(f, "`{fact}` of {resource}"),
        }
    }
}

/// What a call changes beside its object, which only the world can tell by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beside {
    /// The containers of a host: they go down with it, and not all come up again with it.
    Containers(InstanceId),
    /// The containers of a host, and the volumes attached to it, which are let go.
    ContainersAndVolumes(InstanceId),
}
