//! What a plugin may do where: each call of a guest is held against its grants here, and against
//! what binds everybody in the environment.
//!
//! What was granted when the operation began is pinned; what is granted by now is asked for once,
//! when the operation is taken up. A call that goes forward needs both. One that goes back needs
//! the pinned grants alone, and one that takes a journaled effect back needs none: the effect was
//! covered when it was made, and narrowing a grant must not keep a rollback from its end. Answers
//! of the journal never come here.
//!
//! A rule is about what the world has: secrets are in the names and tags that it is held against,
//! and in no word of a refusal. What a grant asks for is read of the world first, and nothing
//! where it asks for nothing. What
//! can't be read is not known, and then no grant covers it; what may be read by and by (a world
//! that does not answer) fails the call as it is.

mod listed;

use crate::access::WorldAccess;
use crate::deps::PluginSource;
use listed::{is_search, list_in, resource_of};
use serde_json::Value;
use std::collections::BTreeSet;
use stepback_core::calls::{DockerCall, EbsCall, Ec2Call, Tags};
use stepback_core::event::Pinned;
use stepback_core::grants::{
    Asked, DockerVolume, Grant, Grants, HostPattern, Known, OnEngine, OnHost, Permit, Policy,
    Reach, device_of, volumes_of,
};
use stepback_core::{Call, Facts, Failure, FailureClass, Resource, ResourceKind};
use stepback_provider::looked::Looked;

/// The code of what is not granted.
pub(crate) const NOT_GRANTED: &str = "not-granted";

/// What a call is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Going {
    /// The operation goes on.
    Forward,
    /// An undo looks and acts by itself.
    Back,
    /// A journaled effect is taken back.
    Reversing,
}

/// What one plugin may do where.
pub(crate) struct Guard {
    /// Its name, or its path in the manifest.
    plugin: String,
    pinned: Grants,
    policy: Policy,
    /// What is granted by now, and what binds everybody by now, where it is another.
    grants_now: Option<Grants>,
    policy_now: Option<Policy>,
}

/// One thing that lets a call through, or not.
enum Rule<'a> {
    Grants(&'a Grants),
    Policy(&'a Policy),
}

impl Rule<'_> {
    fn permit(&self, asked: &Asked<'_>, known: &Known) -> Permit {
        match self {
            Rule::Grants(grants) => grants.permit(asked, known),
            Rule::Policy(policy) => policy.permit(asked, known),
        }
    }

    /// Whether it lets every call of the interface through.
    fn is_open(&self, call: &Call) -> bool {
        let interface = call.interface();
        match self {
            Rule::Grants(grants) => grants.are_unlimited(interface),
            Rule::Policy(policy) => {
                let is_open = |allow: &Grants| allow.are_unlimited(interface);
                // A call of another interface may take from a thing what it is denied by.
                policy.allow.as_ref().is_none_or(is_open) && policy.deny.is_empty()
            }
        }
    }

    /// The grants for which it makes a difference what is known of what a call names.
    fn grants_about(&self, asked: &Asked<'_>) -> Vec<&Grant> {
        let call = asked.call;
        let are_of =
            |grant: &&Grant| grant.interface == call.interface() && grant.functions.cover(call);
        match self {
            Rule::Grants(grants) => grants.iter().filter(are_of).collect(),
            Rule::Policy(Policy { allow, deny }) => {
                let denied = deny.iter().filter(|one| asked.changes_a_name() || are_of(one));
                allow.iter().flat_map(Grants::iter).filter(are_of).chain(denied).collect()
            }
        }
    }
}

impl Guard {
    /// That of a new operation.
    pub(crate) fn new(plugin: &str, grants: Grants, policy: Policy) -> Self {
        let plugin = plugin.to_owned();
        Self { plugin, pinned: grants, policy, grants_now: None, policy_now: None }
    }

    /// That of an operation that is taken up: what it was pinned to, and what is granted by now.
    pub(crate) fn again(plugin: &str, pinned: &Pinned, source: &dyn PluginSource) -> Self {
        let grants = pinned.grants.get(plugin).cloned().unwrap_or_default();
        let file = pinned.bounds.files.get(plugin).map(String::as_str);
        let here = pinned.bounds.granted_here.get(plugin);
        let with_here = |now: Grants| -> Grants {
            now.iter().chain(here.into_iter().flat_map(Grants::iter)).cloned().collect()
        };
        let now = source.granted_now(plugin, file, pinned.plugins.get(plugin)).map(with_here);
        let grants_now = now.filter(|now| *now != grants);
        let policy_now = Some(source.policy()).filter(|now| *now != pinned.bounds.policy);
        let policy = pinned.bounds.policy.clone();
        Self { plugin: plugin.to_owned(), pinned: grants, policy, grants_now, policy_now }
    }

    /// What the operation began with.
    pub(crate) fn grants(&self) -> &Grants {
        &self.pinned
    }

    /// Whether a call goes by what a container is now that it names: one that is made like it, or
    /// a command in it. Another one may have the name when it is made.
    pub(crate) fn goes_by_a_container(call: &Call) -> bool {
        match Asked::of(call).engine {
            OnEngine::Nothing | OnEngine::Volume(_) => false,
            OnEngine::Container(_, spec) => spec.like.is_some(),
            OnEngine::Command(..) => true,
        }
    }

    /// Whether a call may be made; which containers that goes by.
    ///
    /// # Errors
    /// `denied`, with the part of the grant that says so; or why the world could not be asked what
    /// the call is about.
    pub(crate) async fn permit(
        &self,
        access: &WorldAccess,
        call: &Call,
        going: Going,
    ) -> Result<Looked, Failure> {
        let rules = self.rules(call, going);
        if rules.is_empty() {
            return Ok(Looked::default());
        }
        let revealed = access.secrets.reveal_known(call);
        let asked = Asked::of(&revealed);
        let known = look_up(access, &asked, &rules).await?;
        let Some(against) = against(&rules, &asked, &known) else {
            return Ok(Looked::at(&known.containers));
        };
        let told = access.secrets.in_words(call);
        Err(self.refusal(access, against, &Asked::of(&told), &known))
    }

    /// Why a rule does not let a call through, said with words for what is secret: a text that has
    /// a value in it may be cut where it is told, or be written otherwise, and nobody would know
    /// it.
    fn refusal(
        &self,
        access: &WorldAccess,
        (rule, is_now): &(Rule<'_>, bool),
        asked: &Asked<'_>,
        known: &Known,
    ) -> Failure {
        let why = match rule.permit(asked, &access.secrets.in_words(known)) {
            Permit::Refused(why) => why,
            Permit::Allowed => "a secret that it names makes it so".to_owned(),
        };
        let message = self.told(rule, asked.call.function(), *is_now, &why);
        let refusal = Failure::new(FailureClass::Denied, message).with_code(NOT_GRANTED);
        access.secrets.redact_failure(refusal)
    }

    /// Whether a call that is only asked about may be made, as far as what it names is known by
    /// now.
    ///
    /// # Errors
    /// As [`Guard::permit`] has them, where what is not known makes no difference.
    pub(crate) async fn permit_known(
        &self,
        access: &WorldAccess,
        call: &Call,
    ) -> Result<(), Failure> {
        let rules = self.rules(call, Going::Forward);
        if rules.is_empty() {
            return Ok(());
        }
        let part = call.known_part();
        let revealed = access.secrets.reveal_known(&part);
        let asked = Asked::of_known(&revealed);
        let known = look_up(access, &asked, &rules).await?;
        let Some(against) = against(&rules, &asked, &known) else { return Ok(()) };
        let told = access.secrets.in_words(&part);
        Err(self.refusal(access, against, &Asked::of_known(&told), &known))
    }

    /// Answer a guest's read with what it may have of what is there; nor is it told how much else
    /// there is.
    ///
    /// # Errors
    /// Why the world could not be asked; that there is too much of it.
    pub(crate) async fn read(
        &self,
        access: &WorldAccess,
        call: &Call,
        going: Going,
    ) -> Result<Value, Failure> {
        let answer = access.read_as_it_is(call).await?;
        access.given(call, self.covered(access, call, answer, going).await?)
    }

    /// An answer, as the world gave it, without those elements of a list that are not covered.
    async fn covered(
        &self,
        access: &WorldAccess,
        call: &Call,
        answer: Value,
        going: Going,
    ) -> Result<Value, Failure> {
        let rules = self.rules(call, going);
        let call = &access.secrets.reveal_known(call);
        let asked = Asked::of(call);
        let (Some(kind), false) = (asked.lists, rules.is_empty()) else { return Ok(answer) };
        let mut answer = answer;
        let Some(list) = list_in(&mut answer) else { return Ok(answer) };
        let mut known = look_up(access, &asked, &rules).await?;
        let mut kept = vec![];
        for item in std::mem::take(list) {
            let Some(resource) = resource_of(kind, call, &item) else { continue };
            let tags = tags_in(&item);
            let one = Asked::with_item(call, resource.clone());
            if let Some(tags) = tags {
                known.tags.insert(resource, tags);
            } else if kind == ResourceKind::Instance {
                // A pool tells of its instances no more than their ids.
                let its = look_up(access, &one, &rules).await?;
                known.tags.extend(its.tags);
            }
            match against(&rules, &one, &known) {
                None => kept.push(item),
                // Whoever may see all by its grants would take what is left for all there is.
                Some(against) if is_search(call) && self.is_open(call) => {
                    return Err(self.refusal(access, against, &one, &known));
                }
                Some(_) => {}
            }
        }
        *list = kept;
        Ok(answer)
    }

    /// Whether what is granted lets every call of the interface through.
    fn is_open(&self, call: &Call) -> bool {
        let granted = std::iter::once(&self.pinned).chain(&self.grants_now);
        granted.into_iter().all(|grants| grants.are_unlimited(call.interface()))
    }

    /// What a call has to pass, but for what lets all of its interface through.
    fn rules(&self, call: &Call, going: Going) -> Vec<(Rule<'_>, bool)> {
        if going == Going::Reversing || !call.interface().needs_grant() {
            return vec![];
        }
        let pinned = [Rule::Grants(&self.pinned), Rule::Policy(&self.policy)];
        let grants_now = self.grants_now.as_ref().map(Rule::Grants);
        let policy_now = self.policy_now.as_ref().map(Rule::Policy);
        let now = [grants_now, policy_now].into_iter().flatten();
        let now = now.filter(|_| going == Going::Forward).map(|rule| (rule, true));
        let all = pinned.into_iter().map(|rule| (rule, false)).chain(now);
        all.filter(|(rule, _)| !rule.is_open(call)).collect()
    }

    /// That a rule does not let a call through; by now, if those of the operation's beginning do.
    fn told(&self, rule: &Rule<'_>, function: &str, is_now: bool, why: &str) -> String {
        let plugin = &self.plugin;
        match (rule, is_now) {
            (Rule::Grants(_), false) => {
                format!("{function} is not granted to `{plugin}`: {why}")
            }
            (Rule::Grants(_), true) => format!(
                "{function} was granted to `{plugin}` when the operation began, and is not any \
                 more: {why}"
            ),
            (Rule::Policy(_), false) => {
                format!("the environment does not permit {function}: {why}")
            }
            (Rule::Policy(_), true) => format!(
                "the environment permitted {function} when the operation began, and does not any \
                 more: {why}"
            ),
        }
    }
}

/// The first rule that does not let a call through.
fn against<'a, 'b>(
    rules: &'a [(Rule<'b>, bool)],
    asked: &Asked<'_>,
    known: &Known,
) -> Option<&'a (Rule<'b>, bool)> {
    rules.iter().find(|(rule, _)| matches!(rule.permit(asked, known), Permit::Refused(_)))
}

/// What a call would have an engine run may do on its host, whoever makes it, a sentence each.
///
/// # Errors
/// Why the world could not be asked.
pub(crate) async fn reach_of(access: &WorldAccess, call: &Call) -> Result<Vec<String>, Failure> {
    let revealed = access.secrets.reveal_known(call);
    let (asked, mut known) = (Asked::of(&revealed), Known::default());
    look_up_engine(access, &asked, &mut known).await?;
    if Reach::of(&asked, &known).root.is_empty() {
        return Ok(vec![]);
    }
    // As a refusal is: with words for what is secret.
    let call = access.secrets.in_words(call);
    let mut told = Reach::of(&Asked::of(&call), &access.secrets.in_words(&known)).root;
    if told.is_empty() {
        told.push("it reaches the host by what a secret has in it".to_owned());
    }
    Ok(told.into_iter().map(|one| access.secrets.redact_written(one)).collect())
}

/// Read of the world what the grants ask for about a call.
async fn look_up(
    access: &WorldAccess,
    asked: &Asked<'_>,
    rules: &[(Rule<'_>, bool)],
) -> Result<Known, Failure> {
    let grants: Vec<&Grant> = rules.iter().flat_map(|(rule, _)| rule.grants_about(asked)).collect();
    let mut known = Known::default();
    if grants.is_empty() {
        return Ok(known);
    }
    look_up_tags(access, &asked.things, &grants, &mut known).await?;
    look_up_engine(access, asked, &mut known).await?;
    if grants.iter().any(|grant| !grant.tags.is_empty()) {
        let named = asked.named_docker_volumes().collect();
        look_up_docker_volumes(access, named, &mut known).await?;
    }
    let mounted = Reach::of(asked, &known).volumes;
    if !mounted.is_empty() {
        look_up_devices(access, &grants, &mut known).await?;
        let mounted = Reach::of(asked, &known).volumes;
        look_up_tags(access, &mounted, &grants, &mut known).await?;
    }
    Ok(known)
}

async fn look_up_tags(
    access: &WorldAccess,
    things: &[Resource],
    grants: &[&Grant],
    known: &mut Known,
) -> Result<(), Failure> {
    let all: BTreeSet<&Resource> = things.iter().collect();
    for thing in all {
        let is_asked = grants.iter().any(|grant| asks_for_tags(grant, thing));
        if !is_asked || known.tags.contains_key(thing) {
            continue;
        }
        let describe = match thing {
            Resource::Instance { id } => Ec2Call::Describe { instance: id.as_str().into() }.into(),
            Resource::Volume { id } => EbsCall::Describe { volume: id.as_str().into() }.into(),
            Resource::Snapshot { id } => {
                EbsCall::DescribeSnapshot { snapshot: id.as_str().into() }.into()
            }
            _ => continue,
        };
        if let Some(tags) = found(access, &describe).await?.as_ref().and_then(tags_in) {
            known.tags.insert(thing.clone(), tags);
        }
    }
    Ok(())
}

/// Whether it makes a difference which tags a thing has.
fn asks_for_tags(grant: &Grant, thing: &Resource) -> bool {
    let is_named = |id: &str| {
        let is_it =
            |host: &HostPattern| matches!(host, HostPattern::Named(glob) if glob.matches(id));
        grant.hosts.is_empty() || grant.hosts.iter().any(is_it)
    };
    match thing {
        Resource::Instance { id } => !grant.tags.is_empty() || !is_named(id),
        Resource::Volume { .. } | Resource::Snapshot { .. } => !grant.tags.is_empty(),
        _ => false,
    }
}

/// How far what an engine is to run reaches: the options of Docker volumes, and of containers.
async fn look_up_engine(
    access: &WorldAccess,
    asked: &Asked<'_>,
    known: &mut Known,
) -> Result<(), Failure> {
    let mut volumes: BTreeSet<OnHost> = BTreeSet::new();
    let (mounted_on, model) = match &asked.engine {
        OnEngine::Nothing | OnEngine::Volume(_) => (None, None),
        OnEngine::Command(host, container, _) => {
            (Some(*host), Some((host.0.clone(), container.0.clone())))
        }
        OnEngine::Container(host, spec) => {
            let mounts = spec.mounts.iter();
            volumes.extend(mounts.map(|mount| (host.0.clone(), mount.volume.clone())));
            let like = spec.like.as_ref().map(|like| (like.host.clone(), like.container.clone()));
            (Some(*host).filter(|_| spec.mounts.is_empty()), like)
        }
    };
    if let Some((on, name)) = model {
        let resource = Resource::Container { host: on.clone(), name: name.clone() };
        let facts = or_not_known(access.look_at(&resource).await)?;
        if let Some(facts @ Facts::Present(_)) = facts {
            let its = volumes_of(&facts).into_iter();
            let its = its.filter_map(|volume| Some((mounted_on?.0.clone(), volume)));
            volumes.extend(its);
            known.containers.insert((on, name), facts);
        }
    }
    look_up_docker_volumes(access, volumes, known).await
}

async fn look_up_docker_volumes(
    access: &WorldAccess,
    volumes: BTreeSet<OnHost>,
    known: &mut Known,
) -> Result<(), Failure> {
    for (host, volume) in volumes {
        let (on, name) = (host.as_str().into(), volume.as_str().into());
        let inspect = DockerCall::InspectVolume { host: on, volume: name }.into();
        let Some(shown) = found(access, &inspect).await? else { continue };
        // What is there in no shape that is known is not known either.
        if let Ok(one) = serde_json::from_value::<Option<DockerVolume>>(shown) {
            known.docker_volumes.insert((host, volume), one);
        }
    }
    Ok(())
}

/// The volumes that the grants are for, by their devices: a device's name does not tell an id.
async fn look_up_devices(
    access: &WorldAccess,
    grants: &[&Grant],
    known: &mut Known,
) -> Result<(), Failure> {
    for grant in grants.iter().filter(|grant| !grant.tags.is_empty()) {
        let find = EbsCall::Find { tags: grant.tags.clone() }.into();
        let list = found(access, &find).await?.unwrap_or_default();
        for volume in list.as_array().into_iter().flatten() {
            let (Some(id), Some(tags)) = (volume["id"].as_str(), tags_in(volume)) else { continue };
            known.devices.insert(device_of(id), id.to_owned());
            known.tags.insert(Resource::Volume { id: id.to_owned() }, tags);
        }
    }
    Ok(())
}

async fn found(access: &WorldAccess, call: &Call) -> Result<Option<Value>, Failure> {
    or_not_known(access.read_as_it_is(call).await)
}

/// What was read, or nothing where it can't be; a world that does not answer now may do so later.
fn or_not_known<T>(answer: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(failure) if failure.is_retryable() => Err(failure),
        Err(_) => Ok(None),
    }
}

fn tags_in(answer: &Value) -> Option<Tags> {
    serde_json::from_value(answer.get("tags")?.clone()).ok()
}
