//! What each effect changes, fact by fact, and what comes and goes beside its object.
//!
//! Steps that change the same fact take turns, and are undone in the reverse order of their
//! changes (R6); a reversal compares only the facts that its effect changed.

use super::Call;
use crate::ids::*;
use crate::resource::Resource;
use serde_json::Value;

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

impl Call {
    /// The areas that an effect changes; none for reads and waits.
    ///
    /// `token` names what is created until the result tells its own name.
    pub fn areas(&self, token: &Token) -> Vec<Area> {
        let facts = |names: &[&str]| -> Vec<Area> {
            let of = |resource: Resource| {
                names.iter().map(move |name| Area::Fact(resource.clone(), (*name).to_owned()))
            };
            self.resources(token).into_iter().take(1).flat_map(of).collect()
        };
        let whole = || self.resources(token).into_iter().map(Area::Resource).collect();
        use Call::*;
        match self {
            // The instance, and with it every container that runs on it.
            Ec2Start { instance } | Ec2Stop { instance } | Ec2Terminate { instance } => {
                vec![Area::Host(instance.clone())]
            }
            Ec2SetInstanceType { .. } => facts(&["type"]),
            Ec2Tag { key, .. }
            | Ec2Untag { key, .. }
            | EbsTag { key, .. }
            | EbsUntag { key, .. } => facts(&[&format!("tags.{key}")]),
            EbsAttach { .. } | EbsDetach { .. } => facts(&["attachments"]),
            // What gp2 gives follows from the size (Amazon EBS User Guide, *Volume types*).
            EbsModifyVolume { .. } => facts(&["size_gib", "iops", "throughput_mibps"]),
            DockerStartContainer { .. } | DockerStopContainer { .. } => facts(&["running"]),
            DockerUpdateContainer { .. } => facts(&["restart"]),
            DockerGrowFileSystem { .. } => facts(&["size_gib"]),
            Ec2RunInstance { .. }
            | EbsCreateVolume { .. }
            | EbsDeleteVolume { .. }
            | EbsCreateSnapshot { .. }
            | EbsDeleteSnapshot { .. }
            | DockerPullImage { .. }
            | DockerTagImage { .. }
            | DockerRemoveImage { .. }
            | DockerCreateContainer { .. }
            | DockerRenameContainer { .. }
            | DockerRemoveContainer { .. }
            | DockerRunOnce { .. }
            | DockerCreateVolume { .. }
            | DockerRemoveVolume { .. }
            | DockerMakeFileSystem { .. } => whole(),
            // What a command did inside a container is none of its facts.
            DockerExec { .. } => vec![],
            Ec2Describe { .. }
            | Ec2Find { .. }
            | Ec2WaitState { .. }
            | EbsDescribe { .. }
            | EbsFind { .. }
            | EbsDescribeSnapshot { .. }
            | EbsFindSnapshots { .. }
            | EbsWaitVolume { .. }
            | EbsWaitSnapshot { .. }
            | DockerInspectContainer { .. }
            | DockerListContainers { .. }
            | DockerInspectImage { .. }
            | DockerInspectVolume { .. }
            | DockerFileSystem { .. }
            | DockerCheckHelper { .. }
            | DockerWaitHealthy { .. }
            | DockerWaitEngine { .. }
            | DockerWaitDevice { .. }
            | DockerWaitUnmounted { .. }
            | DockerLogs { .. }
            | EffectsReverse { .. }
            | ClockNow {}
            | ClockSleep { .. } => vec![],
        }
    }

    /// The fact that an effect sets, and what it is afterwards, where the call alone tells.
    pub fn leaves(&self) -> Option<(String, Option<Value>)> {
        use Call::*;
        let set = |fact: &str, value: Value| Some((fact.to_owned(), Some(value)));
        match self {
            Ec2Tag { key, value, .. } | EbsTag { key, value, .. } => {
                set(&format!("tags.{key}"), value.as_str().into())
            }
            Ec2Untag { key, .. } | EbsUntag { key, .. } => Some((format!("tags.{key}"), None)),
            Ec2SetInstanceType { instance_type, .. } => set("type", instance_type.as_str().into()),
            EbsModifyVolume { size_gib, .. } => set("size_gib", (*size_gib).into()),
            DockerStartContainer { .. } => set("running", true.into()),
            DockerStopContainer { .. } => set("running", false.into()),
            DockerUpdateContainer { restart, .. } => set("restart", policy_shown(restart)?.into()),
            _ => None,
        }
    }

    /// The host whose Docker Engine the call is for.
    pub fn host(&self) -> Option<&InstanceId> {
        use Call::*;
        match self {
            DockerInspectContainer { host, .. }
            | DockerListContainers { host }
            | DockerInspectImage { host, .. }
            | DockerInspectVolume { host, .. }
            | DockerFileSystem { host, .. }
            | DockerCheckHelper { host }
            | DockerPullImage { host, .. }
            | DockerTagImage { host, .. }
            | DockerCreateContainer { host, .. }
            | DockerStartContainer { host, .. }
            | DockerStopContainer { host, .. }
            | DockerRenameContainer { host, .. }
            | DockerUpdateContainer { host, .. }
            | DockerRemoveContainer { host, .. }
            | DockerRemoveImage { host, .. }
            | DockerWaitHealthy { host, .. }
            | DockerWaitEngine { host, .. }
            | DockerWaitDevice { host, .. }
            | DockerWaitUnmounted { host, .. }
            | DockerLogs { host, .. }
            | DockerRunOnce { host, .. }
            | DockerExec { host, .. }
            | DockerCreateVolume { host, .. }
            | DockerRemoveVolume { host, .. }
            | DockerMakeFileSystem { host, .. }
            | DockerGrowFileSystem { host, .. } => Some(host),
            Ec2Describe { .. }
            | Ec2Find { .. }
            | Ec2RunInstance { .. }
            | Ec2Start { .. }
            | Ec2Stop { .. }
            | Ec2Terminate { .. }
            | Ec2SetInstanceType { .. }
            | Ec2WaitState { .. }
            | Ec2Tag { .. }
            | Ec2Untag { .. }
            | EbsDescribe { .. }
            | EbsFind { .. }
            | EbsCreateVolume { .. }
            | EbsDeleteVolume { .. }
            | EbsAttach { .. }
            | EbsDetach { .. }
            | EbsModifyVolume { .. }
            | EbsCreateSnapshot { .. }
            | EbsDescribeSnapshot { .. }
            | EbsFindSnapshots { .. }
            | EbsDeleteSnapshot { .. }
            | EbsWaitVolume { .. }
            | EbsWaitSnapshot { .. }
            | EbsTag { .. }
            | EbsUntag { .. }
            | EffectsReverse { .. }
            | ClockNow {}
            | ClockSleep { .. } => None,
        }
    }

    /// What an effect changes beside its object.
    ///
    /// A start brings containers up by their own restart policies, and taking it back takes them
    /// down with the instance, so nothing beside it needs to be looked at. A detach is never
    /// forced, a rename concerns two names and both are its objects, a restart policy holds its
    /// count, and a volume that is deleted is attached nowhere.
    pub fn beside(&self) -> Option<Beside> {
        use Call::*;
        match self {
            Ec2Stop { instance } => Some(Beside::Containers(instance.clone())),
            Ec2Terminate { instance } => Some(Beside::ContainersAndVolumes(instance.clone())),
            Ec2Describe { .. }
            | Ec2Find { .. }
            | Ec2RunInstance { .. }
            | Ec2Start { .. }
            | Ec2SetInstanceType { .. }
            | Ec2WaitState { .. }
            | Ec2Tag { .. }
            | Ec2Untag { .. }
            | EbsDescribe { .. }
            | EbsFind { .. }
            | EbsCreateVolume { .. }
            | EbsDeleteVolume { .. }
            | EbsAttach { .. }
            | EbsDetach { .. }
            | EbsModifyVolume { .. }
            | EbsCreateSnapshot { .. }
            | EbsDescribeSnapshot { .. }
            | EbsFindSnapshots { .. }
            | EbsDeleteSnapshot { .. }
            | EbsWaitVolume { .. }
            | EbsWaitSnapshot { .. }
            | EbsTag { .. }
            | EbsUntag { .. }
            | DockerInspectContainer { .. }
            | DockerListContainers { .. }
            | DockerInspectImage { .. }
            | DockerInspectVolume { .. }
            | DockerFileSystem { .. }
            | DockerCheckHelper { .. }
            | DockerPullImage { .. }
            | DockerTagImage { .. }
            | DockerCreateContainer { .. }
            | DockerStartContainer { .. }
            | DockerStopContainer { .. }
            | DockerRenameContainer { .. }
            | DockerUpdateContainer { .. }
            | DockerRemoveContainer { .. }
            | DockerRemoveImage { .. }
            | DockerWaitHealthy { .. }
            | DockerWaitEngine { .. }
            | DockerWaitDevice { .. }
            | DockerWaitUnmounted { .. }
            | DockerLogs { .. }
            | DockerRunOnce { .. }
            | DockerExec { .. }
            | DockerCreateVolume { .. }
            | DockerRemoveVolume { .. }
            | DockerMakeFileSystem { .. }
            | DockerGrowFileSystem { .. }
            | EffectsReverse { .. }
            | ClockNow {}
            | ClockSleep { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(host: &str, name: &str) -> Resource {
        Resource::Container { host: host.into(), name: name.into() }
    }

    #[test]
    fn areas_overlap_where_one_holds_the_other() {
        let whole = Area::Resource(container("i-1", "db"));
        let running = Area::Fact(container("i-1", "db"), "running".into());
        let restart = Area::Fact(container("i-1", "db"), "restart".into());
        let host = |id: &str| Area::Host(id.into());
        for (one, two, wanted) in [
            (&whole, &running, true),
            (&running, &running, true),
            (&running, &restart, false),
            (&host("i-1"), &restart, true),
            (&host("i-2"), &restart, false),
            (&Area::Resource(container("i-2", "db")), &whole, false),
            (&host("i-1"), &Area::Resource(Resource::Instance { id: "i-1".into() }), true),
        ] {
            assert_eq!(one.overlaps(two), wanted, "{one} and {two}");
            assert_eq!(two.overlaps(one), wanted, "{two} and {one}");
        }
    }

    #[test]
    fn every_effect_on_something_that_is_there_names_what_it_changes() {
        let rename = Call::DockerRenameContainer {
            host: "i-1".into(),
            container: "a".into(),
            to: "b".into(),
        };
        let both = ["a", "b"].map(|name| Area::Resource(container("i-1", name)));
        assert_eq!(rename.areas(&"t".into()), both);
        let stop = Call::Ec2Stop { instance: "i-1".into() };
        let on_it = Area::Fact(container("i-1", "a"), "running".into());
        assert!(stop.areas(&"t".into()).iter().any(|area| area.overlaps(&on_it)));
    }
}
