//! Docker volumes: whose data a call reaches by what it names, or by what it has a container be
//! made with.

use super::asked::{Asked, OnEngine};
use super::known::Reach;
use super::{DockerVolumes, Grant};
use crate::calls::{Class, Mount};
use crate::resource::Resource;

impl Grant {
    /// Whether the Docker volumes of a call are of those that the grant is for; else why not.
    pub(super) fn covers_docker_volumes(
        &self,
        asked: &Asked<'_>,
        reach: &Reach,
    ) -> Result<(), String> {
        let DockerVolumes::Named(globs) = &self.docker_volumes else { return Ok(()) };
        if globs.is_empty() {
            return if self.root { Ok(()) } else { self.covers_without_names(asked, reach) };
        }
        if has_unknown(asked, reach) {
            return Err("which ones the container has is not known".to_owned());
        }
        let is_one = |name: &&str| globs.iter().any(|glob| glob.matches(name));
        match named(asked).chain(mounted(reach)).find(|name| !is_one(name)) {
            Some(name) => Err(format!("`{name}` is none of them")),
            None => Ok(()),
        }
    }

    /// The same of a grant that names none.
    fn covers_without_names(&self, asked: &Asked<'_>, reach: &Reach) -> Result<(), String> {
        if let Some(new) = reach.mounts.iter().find(|mount| !is_of_model(mount, reach)) {
            return Err(format!("it names none, and a container is given `{}`", new.volume));
        }
        let is_look = matches!(asked.call.class(), Class::Read | Class::Wait);
        let for_some = !is_look && !self.containers.is_empty();
        match named(asked).next().filter(|_| for_some) {
            Some(name) => {
                Err(format!("it is for some containers and names none of their `{name}`"))
            }
            None if for_some && asked.names_some_volume => {
                Err("it is for some containers and names no Docker volume of theirs".to_owned())
            }
            None => Ok(()),
        }
    }

    /// What of a call, beside what it names itself, is denied.
    pub(super) fn hit_by(&self, asked: &Asked<'_>, reach: &Reach) -> Option<String> {
        if let Some(why) = reach.root.first().filter(|_| self.root) {
            return Some(why.clone());
        }
        let DockerVolumes::Named(globs) = &self.docker_volumes else { return None };
        let is_one = |name: &&str| globs.iter().any(|glob| glob.may_match(name));
        let volume = named(asked).chain(mounted(reach)).find(is_one)?;
        Some(format!("it reaches the Docker volume `{volume}`"))
    }

    /// Whether a call names one of them as something denied, or may have a container be made with
    /// one.
    pub(super) fn hits_docker_volume(&self, asked: &Asked<'_>, reach: &Reach) -> bool {
        let DockerVolumes::Named(globs) = &self.docker_volumes else { return true };
        let is_one = |name: &str| globs.iter().any(|glob| glob.may_match(name));
        globs.is_empty()
            || has_unknown(asked, reach)
            || named(asked).chain(mounted(reach)).any(is_one)
    }
}

/// Those that a call names itself.
fn named<'a>(asked: &'a Asked<'_>) -> impl Iterator<Item = &'a str> {
    asked.things.iter().filter_map(|thing| match thing {
        Resource::DockerVolume { name, .. } => Some(name.as_str()),
        _ => None,
    })
}

/// Those that a container is to have, or that a command reaches in one.
fn mounted(reach: &Reach) -> impl Iterator<Item = &str> {
    reach.mounts.iter().map(|mount| mount.volume.as_str())
}

/// Whether the container that one is to be as has this, on the same host, at the same place and no
/// less writable: that is all that is inherited.
fn is_of_model(mount: &Mount, reach: &Reach) -> bool {
    let place = |mount: &Mount| mount.target.trim_end_matches('/').to_owned();
    let is_it = |its: &Mount| {
        its.volume == mount.volume
            && place(its) == place(mount)
            && (mount.read_only || !its.read_only)
    };
    reach.is_model_here && reach.of_model.iter().flatten().any(is_it)
}

/// Whether a container is to have those of another one, or a command those of its container, of
/// which nobody knows which they are.
fn has_unknown(asked: &Asked<'_>, reach: &Reach) -> bool {
    let takes_them = match &asked.engine {
        OnEngine::Nothing | OnEngine::Volume(_) => false,
        OnEngine::Container(_, spec) => spec.like.is_some() && spec.mounts.is_empty(),
        OnEngine::Command(..) => true,
    };
    takes_them && reach.of_model.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::{ContainerSpec, DockerCall};
    use crate::interface::Interface;

    fn mount(volume: &str, target: &str, read_only: bool) -> Mount {
        Mount { volume: volume.into(), target: target.into(), read_only }
    }

    /// Which of these a container may have that is to be as one with `certs` at `/c`, to be read,
    /// and `data` at `/d`.
    #[test]
    fn what_a_model_has_is_had_on_its_host_at_its_place_and_no_more_writable() {
        let (host, container) = ("i-1".into(), "new".into());
        let spec = ContainerSpec::default();
        let call = DockerCall::CreateContainer { host, container, spec }.into();
        let grant = Grant::whole(Interface::Docker);
        for (is_model_here, wanted, is_covered) in [
            (true, mount("certs", "/c", true), true),
            (true, mount("certs", "/c/", true), true),
            (true, mount("certs", "/c", false), false),
            (true, mount("certs", "/d", true), false),
            (true, mount("data", "/d", false), true),
            (true, mount("data", "/d", true), true),
            (true, mount("other", "/d", true), false),
            (false, mount("data", "/d", true), false),
        ] {
            let reach = Reach {
                mounts: vec![wanted.clone()],
                of_model: Some(vec![mount("certs", "/c", true), mount("data", "/d", false)]),
                is_model_here,
                ..Reach::default()
            };
            let told = grant.covers_docker_volumes(&Asked::of(&call), &reach);
            assert_eq!(told.is_ok(), is_covered, "{is_model_here} {wanted:?}: {told:?}");
            let root = Grant { root: true, ..grant.clone() };
            assert_eq!(root.covers_docker_volumes(&Asked::of(&call), &reach), Ok(()));
        }
    }
}
