//! What is denied: whether a call touches it, or would take from it what it is known by.
//!
//! A call need only touch one thing of each kind that is named. What is not known may be what is
//! denied: nobody gets by because it could not be read.

use super::asked::{Asked, OnEngine};
use super::decide::{given, has_tags};
use super::images::may_be_image;
use super::known::{Known, Reach};
use super::names::{is_name, may_be_id};
use super::runs::Runs;
use super::{DockerVolumes, Functions, Glob, Grant, HostPattern, short_name};
use crate::calls::Tags;
use crate::interface::Interface;
use crate::resource::{Facts, Resource, ResourceKind};
use serde_json::Value;

/// The functions that name, make or list what a key of a grant is about.
const ABOUT: [(&str, &[&str]); 8] = [
    ("hosts", &["ebs.attach", "ebs.detach"]),
    (
        "hosts",
        &[
            "load-balancer.add",
            "load-balancer.describe-pool",
            "load-balancer.drain",
            "load-balancer.enable",
            "load-balancer.remove",
            "load-balancer.wait-drained",
            "load-balancer.wait-healthy",
        ],
    ),
    (
        "root",
        &["docker.create-container", "docker.create-volume", "docker.exec", "docker.run-once"],
    ),
    (
        "containers",
        &[
            "docker.create-container",
            "docker.exec",
            "docker.find-containers",
            "docker.inspect-container",
            "docker.list-containers",
            "docker.logs",
            "docker.pause-container",
            "docker.remove-container",
            "docker.rename-container",
            "docker.run-once",
            "docker.start-container",
            "docker.stop-container",
            "docker.unpause-container",
            "docker.update-container",
            "docker.wait-healthy",
        ],
    ),
    (
        "docker_volumes",
        &[
            "docker.create-container",
            "docker.create-volume",
            "docker.exec",
            "docker.inspect-volume",
            "docker.remove-volume",
            "docker.run-once",
        ],
    ),
    (
        "images",
        &[
            "docker.create-container",
            "docker.inspect-image",
            "docker.pull-image",
            "docker.remove-image",
            "docker.run-once",
            "docker.tag-image",
        ],
    ),
    ("commands", &["docker.create-container", "docker.exec", "docker.run-once"]),
    ("env", &["docker.create-container", "docker.run-once"]),
];

impl Grant {
    /// What it names that none of its functions has to do with, so that it hits no call at all, as
    /// something denied; with the functions that have to do with all of it.
    pub fn hits_nothing_by(&self) -> Option<(Vec<&'static str>, Vec<&'static str>)> {
        let named = |key: &str| match (self.interface, key) {
            (Interface::Docker, "root") => self.root && !matches!(self.functions, Functions::All),
            (Interface::Docker, "containers") => !self.containers.is_empty(),
            (Interface::Docker, "docker_volumes") => {
                matches!(&self.docker_volumes, DockerVolumes::Named(names) if !names.is_empty())
            }
            (Interface::Docker, "images") => !self.images.is_empty(),
            (Interface::Docker, "commands") => !self.commands.is_empty(),
            (Interface::Docker, "env") => !self.env.is_empty(),
            (Interface::Ebs | Interface::LoadBalancer, "hosts") => !self.hosts.is_empty(),
            _ => false,
        };
        let is_of = |function: &str| {
            function.split_once('.').is_some_and(|(of, _)| of == self.interface.name())
        };
        let is_used = |(key, functions): &(&str, &[&str])| named(key) && is_of(functions[0]);
        let used: Vec<_> = ABOUT.into_iter().filter(is_used).collect();
        let (_, first) = used.first()?;
        let is_of_all =
            |function: &&&str| used.iter().all(|(_, functions)| functions.contains(function));
        let able: Vec<&str> = first.iter().filter(is_of_all).copied().collect();
        let is_useless = !able.iter().any(|function| self.functions.have(function));
        let keys = used.iter().map(|(key, _)| *key).collect();
        is_useless.then(|| (keys, able.into_iter().map(short_name).collect()))
    }

    /// Whether, as something denied, it is touched by a call.
    pub(super) fn hits(&self, asked: &Asked<'_>, known: &Known) -> bool {
        if self.interface != asked.call.interface() || !self.functions.cover(asked.call) {
            return false;
        }
        let reach = Reach::of(asked, known);
        if self.root && reach.root.is_empty() {
            return false;
        }
        let is_container = |thing: &Resource| {
            let Resource::Container { name, .. } = thing else { return false };
            may_be_one_of(&self.containers, ResourceKind::Container, name)
        };
        let is_pool = |thing: &Resource| match thing {
            Resource::Pool { pool } => may_be_one_of(&self.pools, ResourceKind::Pool, pool),
            _ => false,
        };
        self.is_where(asked, &reach, known)
            && (self.pools.is_empty() || asked.things.iter().any(is_pool))
            && (self.containers.is_empty() || asked.things.iter().any(is_container))
            && self.hits_docker_volume(asked, &reach)
            && (self.images.is_empty() || self.is_image(asked, known))
            && (self.commands.is_empty() || self.is_command(asked, known))
            && (self.env.is_empty() || self.is_variable(asked, known))
    }

    /// Whether a call is about its hosts, and about what has its tags.
    fn is_where(&self, asked: &Asked<'_>, reach: &Reach, known: &Known) -> bool {
        let things = || asked.things.iter().chain(&reach.volumes);
        let made = asked.made.as_ref();
        let is_tagged = |thing: &Resource| {
            has_tags(thing) && known.tags.get(thing).is_none_or(|tags| self.carries(tags))
        };
        let is_host = |thing: &Resource| {
            let Resource::Instance { id } = thing else { return false };
            let tags = known.tags.get(thing);
            self.hosts.iter().any(|host| host.may_be(id, tags))
        };
        let is_made_host = |(kind, tags): &(ResourceKind, &Tags)| {
            *kind == ResourceKind::Instance && self.hosts.iter().any(|one| one.is("", Some(*tags)))
        };
        let by_tags = self.tags.is_empty()
            || reach.may_be_any_volume
            || things().any(is_tagged)
            || made.is_some_and(|(_, tags)| self.carries(tags));
        let by_hosts =
            self.hosts.is_empty() || things().any(is_host) || made.is_some_and(is_made_host);
        by_tags && by_hosts
    }

    /// Whether a call names one of its images, or makes a container of one.
    fn is_image(&self, asked: &Asked<'_>, known: &Known) -> bool {
        let is_it = |name: &str| may_be_one_of(&self.images, ResourceKind::Image, name);
        let named = asked.things.iter().any(|thing| match thing {
            Resource::Image { image, .. } => is_it(image),
            _ => false,
        });
        let own = given(asked).image;
        let of_model = |model: &Facts| model.get("image").and_then(Value::as_str).is_none_or(is_it);
        named || own.is_none() && is_like(asked, known, of_model)
    }

    /// Whether a call gives one of its commands, or makes a container with one.
    fn is_command(&self, asked: &Asked<'_>, known: &Known) -> bool {
        let is_it = |command: &[String]| self.commands.iter().any(|one| one.matches(command));
        let own = given(asked).command;
        let of_model = |model: &Facts| {
            let Runs { entrypoint, command, health_check } = Runs::of(model);
            let command = if own.is_empty() { command } else { Some(own.to_vec()) };
            // What is not known may be what is denied.
            let (Some(entrypoint), Some(command), Some(check)) =
                (entrypoint, command, health_check)
            else {
                return true;
            };
            is_it(&command) || is_it(&[entrypoint, command].concat()) || is_it(&check)
        };
        is_it(own) || is_like(asked, known, of_model)
    }

    /// Whether a call gives a container one of its variables, or makes one like a container that
    /// has it.
    fn is_variable(&self, asked: &Asked<'_>, known: &Known) -> bool {
        let is_it = |name: &String| self.env.iter().any(|glob| glob.matches(name));
        let of_model = |model: &Facts| match model.get("env") {
            Some(Value::Object(env)) => env.keys().any(is_it),
            _ => true,
        };
        given(asked).env.is_some_and(|own| own.keys().any(is_it)) || is_like(asked, known, of_model)
    }

    /// What a call would take from a thing that is denied, if it would not be denied without: a tag
    /// that it is known by, or its name.
    ///
    /// Who is denied something could make that call first, and then be let through.
    pub(super) fn evaded_by(&self, asked: &Asked<'_>, known: &Known) -> Option<String> {
        if let Some((thing, key, value)) = &asked.retags {
            let tags = known.tags.get(thing);
            let is_known_by = self.is_tagged_by(thing, key, *value, tags)
                || self.is_host_by(thing, key, *value, tags);
            return is_known_by.then(|| {
                format!("it would change the tag `{key}` of {thing}, by which it is denied there")
            });
        }
        let (from, to) = asked.renames.filter(|_| self.interface == Interface::Docker)?;
        let is_evaded = may_be_one_of(&self.containers, ResourceKind::Container, from)
            && !self.containers.iter().any(|glob| glob.matches(to))
            && self.is_where(asked, &Reach::default(), known);
        is_evaded.then(|| {
            format!("it would change the name of container `{from}`, by which it is denied there")
        })
    }

    /// Whether a thing has its tags, and would not with another value of this one.
    fn is_tagged_by(
        &self,
        thing: &Resource,
        key: &str,
        value: Option<&str>,
        tags: Option<&Tags>,
    ) -> bool {
        // The other interfaces reach volumes, too.
        let is_reached = self.interface != Interface::Ec2 || thing.kind() == ResourceKind::Instance;
        let is_lost = self.tags.get(key).is_some_and(|wanted| value != Some(wanted));
        is_reached && is_lost && tags.is_none_or(|tags| self.carries(tags))
    }

    /// Whether an instance is one of its hosts, and would not be with another value of this tag.
    fn is_host_by(
        &self,
        thing: &Resource,
        key: &str,
        value: Option<&str>,
        tags: Option<&Tags>,
    ) -> bool {
        let Resource::Instance { id } = thing else { return false };
        let goes_by = |host: &HostPattern| match host {
            HostPattern::Named(_) => key == "Name",
            HostPattern::Tagged(wanted) => wanted.contains_key(key),
        };
        let mut after = tags.cloned().unwrap_or_default();
        match value {
            Some(value) => after.insert(key.to_owned(), value.to_owned()),
            None => after.remove(key),
        };
        let is_one = self.hosts.iter().any(|host| goes_by(host) && host.may_be(id, tags));
        is_one && !self.hosts.iter().any(|host| host.is(id, Some(&after)))
    }
}

/// Whether a name, or what has another name beside this id, may be one of these.
fn may_be_one_of(globs: &[Glob], kind: ResourceKind, name: &str) -> bool {
    // What is denied by a part of an image's name is denied wherever that stands.
    let may_be = |glob: &Glob| {
        glob.may_match(name)
            || is_name(glob, kind, name)
            || kind == ResourceKind::Image && may_be_image(glob, name)
    };
    !globs.is_empty() && (may_be_id(kind, name) || globs.iter().any(may_be))
}

/// Whether a call makes a container like one of which this is so.
fn is_like(asked: &Asked<'_>, known: &Known, is_so: impl Fn(&Facts) -> bool) -> bool {
    let OnEngine::Container(_, spec) = &asked.engine else { return false };
    let Some(like) = &spec.like else { return false };
    known.containers.get(&(like.host.clone(), like.container.clone())).is_none_or(is_so)
}
