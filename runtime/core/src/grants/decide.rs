//! Whether a call may be made: each grant is held against all that the call names.
//!
//! What is denied is held against a call elsewhere, with all that is not known counting the other
//! way.

use super::asked::{Asked, OnEngine};
use super::known::{Known, Reach};
use super::names::{is_name, may_be_id};
use super::runs::Runs;
use super::{CommandPattern, Glob, Grant, Grants, HostPattern, Policy};
use crate::calls::Tags;
use crate::resource::{Resource, ResourceKind};
use std::collections::BTreeMap;

/// Whether a call may be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permit {
    /// It may.
    Allowed,
    /// It may not; which part of which grant says so.
    Refused(String),
}

impl Permit {
    /// Whether the call may be made.
    pub fn is_allowed(&self) -> bool {
        *self == Self::Allowed
    }
}

/// What speaks against a call, and how far the grant had covered it by then: of several grants the
/// one that came furthest is told.
struct Against {
    part: &'static str,
    why: String,
    came: u8,
}

fn against(came: u8, part: &'static str, why: impl Into<String>) -> Result<(), Against> {
    Err(Against { part, why: why.into(), came })
}

impl Grants {
    /// Whether one of them covers a call.
    pub fn permit(&self, asked: &Asked<'_>, known: &Known) -> Permit {
        let interface = asked.call.interface();
        if !interface.needs_grant() {
            return Permit::Allowed;
        }
        let mut worst: Option<(&Grant, Against)> = None;
        for grant in self.iter().filter(|grant| grant.interface == interface) {
            match grant.covers(asked, known) {
                Ok(()) => return Permit::Allowed,
                Err(why) if worst.as_ref().is_none_or(|(_, other)| why.came > other.came) => {
                    worst = Some((grant, why));
                }
                Err(_) => {}
            }
        }
        Permit::Refused(match worst {
            None => format!("`{interface}` is not granted"),
            Some((grant, Against { part, why, .. })) => {
                format!("`{part}` of the grant [{grant}]: {why}")
            }
        })
    }
}

impl Policy {
    /// Whether it lets a call through.
    pub fn permit(&self, asked: &Asked<'_>, known: &Known) -> Permit {
        if let Some(grant) = self.deny.iter().find(|grant| grant.hits(asked, known)) {
            let why = grant.hit_by(asked, &Reach::of(asked, known));
            let why = why.map(|why| format!(", because {why}")).unwrap_or_default();
            return Permit::Refused(format!("it is denied there: [{grant}]{why}"));
        }
        let evaded = |grant: &Grant| Some(format!("{}: [{grant}]", grant.evaded_by(asked, known)?));
        if let Some(why) = self.deny.iter().find_map(evaded) {
            return Permit::Refused(why);
        }
        match self.allow.as_ref().map(|allow| allow.permit(asked, known)) {
            None | Some(Permit::Allowed) => Permit::Allowed,
            Some(Permit::Refused(why)) => {
                Permit::Refused(format!("it is not allowed there: {why}"))
            }
        }
    }
}

impl Grant {
    /// Whether it covers all that a call names.
    fn covers(&self, asked: &Asked<'_>, known: &Known) -> Result<(), Against> {
        let call = asked.call;
        if !self.functions.cover(call) {
            return against(0, "functions", format!("{} is none of them", call.function()));
        }
        let reach = Reach::of(asked, known);
        for thing in asked.things.iter().chain(&reach.volumes) {
            self.covers_thing(thing, known)?;
        }
        if let Some((kind, tags)) = &asked.made {
            self.covers_made(*kind, tags)?;
        }
        if let Some((thing, key, value)) = &asked.retags {
            let mut tags = known.tags.get(thing).cloned().unwrap_or_default();
            match value {
                Some(value) => tags.insert((*key).to_owned(), (*value).to_owned()),
                None => tags.remove(*key),
            };
            let mut after = known.clone();
            after.tags.insert(thing.clone(), tags);
            self.covers_thing(thing, &after).map_err(|one| Against {
                why: format!("{} without it: by its tag `{key}` {}", call.function(), one.why),
                ..one
            })?;
        }
        self.covers_engine(asked, &reach, known)?;
        // Without root it is refused by what it mounts, which tells more.
        if reach.may_be_any_volume && !self.tags.is_empty() {
            return against(9, "where", "nobody can tell of which EBS volume a mount is");
        }
        self.covers_docker_volumes(asked, &reach).or_else(|why| against(9, "docker_volumes", why))
    }

    fn covers_thing(&self, thing: &Resource, known: &Known) -> Result<(), Against> {
        let tags = known.tags.get(thing);
        if has_tags(thing) && !self.tags.is_empty() && !tags.is_some_and(|tags| self.carries(tags))
        {
            return against(1, "where", format!("{thing} {}", untagged(&self.tags, tags)));
        }
        let names_it = |globs: &[Glob], name: &str| {
            globs.is_empty() || globs.iter().any(|glob| is_name(glob, thing.kind(), name))
        };
        let none_of_them = |name: &str| match may_be_id(thing.kind(), name) {
            true => format!("`{name}` may be an id, and no pattern is one of ids"),
            false => format!("`{name}` is none of them"),
        };
        let is_host = |id| self.hosts.is_empty() || self.hosts.iter().any(|host| host.is(id, tags));
        match thing {
            Resource::Instance { id } if !is_host(id) => {
                against(2, "hosts", format!("{id} is none of them"))
            }
            Resource::Container { name, .. } if !names_it(&self.containers, name) => {
                against(3, "containers", none_of_them(name))
            }
            Resource::Image { image, .. } if !names_it(&self.images, image) => {
                against(4, "images", none_of_them(image))
            }
            Resource::Pool { pool } if !names_it(&self.pools, pool) => {
                against(3, "pools", none_of_them(pool))
            }
            _ => Ok(()),
        }
    }

    fn covers_made(&self, kind: ResourceKind, tags: &Tags) -> Result<(), Against> {
        if !self.carries(tags) {
            return against(
                1,
                "where",
                format!("what is made {}", untagged(&self.tags, Some(tags))),
            );
        }
        let is_host = |host: &HostPattern| host.is("", Some(tags));
        if kind == ResourceKind::Instance
            && !self.hosts.is_empty()
            && !self.hosts.iter().any(is_host)
        {
            return against(2, "hosts", "what is made has neither such a name nor such tags");
        }
        Ok(())
    }

    /// What it would have an engine run, and how far that reaches.
    fn covers_engine(
        &self,
        asked: &Asked<'_>,
        reach: &Reach,
        known: &Known,
    ) -> Result<(), Against> {
        if let Some(why) = reach.root.first().filter(|_| !self.root) {
            return against(5, "docker", format!("{why}, which only `docker = \"root\"` covers"));
        }
        let Given { image, command, env } = given(asked);
        // One that is named is covered with the other things.
        if let Some(image) = image.filter(|_| self.images.is_empty() && !self.root) {
            return against(6, "images", format!("it names none, and `{image}` is given"));
        }
        let is_one = |name: &&String| self.env.iter().any(|glob| glob.matches(name));
        if let Some(name) = env.into_iter().flat_map(BTreeMap::keys).find(|name| !is_one(name)) {
            match self.env.is_empty() {
                true if self.root => {}
                true => return against(7, "env", format!("it names none, and `{name}` is given")),
                false => return against(7, "env", format!("`{name}` is none of them")),
            }
        }
        // What a shell is given is a script, and no word of it an argument.
        let scripted = script_of_model(asked, known).map(|shell| [&shell, command].concat());
        let fits = |pattern: &CommandPattern| {
            pattern.matches(command) && scripted.as_ref().is_none_or(|whole| pattern.matches(whole))
        };
        if command.is_empty() || self.commands.iter().any(fits) {
            return Ok(());
        }
        let shown = command.join(" ").escape_debug().take(60).collect::<String>();
        match self.commands.is_empty() {
            true if self.root => Ok(()),
            true => against(8, "commands", format!("it names none, and `{shown}` is given")),
            false => against(8, "commands", format!("`{shown}` is none of them")),
        }
    }

    pub(super) fn carries(&self, tags: &Tags) -> bool {
        self.tags.iter().all(|(key, value)| tags.get(key) == Some(value))
    }
}

impl HostPattern {
    /// Whether an instance is one of these; what is not known of it is not so.
    pub(super) fn is(&self, id: &str, tags: Option<&Tags>) -> bool {
        match self {
            HostPattern::Named(glob) => {
                let name = tags.and_then(|tags| tags.get("Name"));
                !id.is_empty() && glob.matches(id) || name.is_some_and(|name| glob.matches(name))
            }
            HostPattern::Tagged(wanted) => tags
                .is_some_and(|tags| wanted.iter().all(|(key, value)| tags.get(key) == Some(value))),
        }
    }

    /// The same, where what is not known of it may be so.
    pub(super) fn may_be(&self, id: &str, tags: Option<&Tags>) -> bool {
        tags.is_none() || self.is(id, tags)
    }
}

/// Whether things of this kind have tags.
pub(super) fn has_tags(thing: &Resource) -> bool {
    matches!(thing.kind(), ResourceKind::Instance | ResourceKind::Volume | ResourceKind::Snapshot)
}

fn untagged(wanted: &Tags, tags: Option<&Tags>) -> String {
    let Some(tags) = tags else { return "is not there, or its tags are not known".to_owned() };
    let missing = wanted.iter().find(|(key, value)| tags.get(*key) != Some(value));
    missing.map_or_else(String::new, |(key, value)| format!("has not the tag {key} = {value}"))
}

/// What a call would have an engine run, of its own.
#[derive(Default)]
pub(super) struct Given<'a> {
    pub(super) image: Option<&'a str>,
    pub(super) command: &'a [String],
    /// The variables of a container.
    pub(super) env: Option<&'a BTreeMap<String, String>>,
}

/// What a container that is made like another one runs before its command, where that takes the
/// command for a script.
fn script_of_model(asked: &Asked<'_>, known: &Known) -> Option<Vec<String>> {
    let OnEngine::Container(_, spec) = &asked.engine else { return None };
    let like = spec.like.as_ref()?;
    let model = known.containers.get(&(like.host.clone(), like.container.clone()))?;
    Runs::of(model).takes_a_script().cloned()
}

/// The image, the command and the variables that a call gives of its own.
pub(super) fn given<'a>(asked: &Asked<'a>) -> Given<'a> {
    match asked.engine {
        OnEngine::Container(_, spec) => Given {
            image: Some(spec.image.as_str()).filter(|image| !image.is_empty()),
            command: &spec.command,
            env: Some(&spec.env),
        },
        OnEngine::Command(_, _, command) => Given { command, ..Given::default() },
        OnEngine::Nothing | OnEngine::Volume(_) => Given::default(),
    }
}
