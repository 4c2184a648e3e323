//! Verification: the world is read again, whatever the undos said (R8).

use crate::access::{Found, Listed, WorldAccess};
use stepback_core::calls::DockerCall;
use stepback_core::machine::{Observation, Reading, Renamed};
use stepback_core::shell::word;
use stepback_core::state::State;
use stepback_core::step::{EffectOutcome, PastEffect};
use stepback_core::{Call, Facts, Failure, FailureClass, Resource, Token};
use stepback_provider::advice::as_words;
use stepback_provider::engines::is_gone;

/// Read every resource with a baseline, and whatever carries one of the operation's stamps.
pub(crate) async fn observe(access: &WorldAccess, state: &State) -> Vec<Observation> {
    let mut observations = vec![];
    // What was touched last stands in the way of what was touched before, so it comes first.
    for (resource, baseline) in state.baselines.iter().rev() {
        let mut now = match (resource, baseline) {
            (_, Facts::Unknown(why)) => Err(why.clone()),
            (Resource::Containers { host }, _) => {
                engine_of(access, host).await.map(|facts| reading(access, state, resource, facts))
            }
            _ => read(access, state, resource).await,
        };
        let old = match &now {
            Ok(now) => moved_away(access, state, resource, baseline, &now.facts).await,
            Err(_) => None,
        };
        if let (Ok(now), Some(Observation { resource: old, now: Ok(_) })) = (&mut now, &old) {
            now.renamed = Some(Renamed { to: old.clone(), by_us: false });
        }
        observations.push(Observation { resource: resource.clone(), now });
        observations.extend(old);
    }
    for at in 0..observations.len() {
        let one = &observations[at];
        let Some(to) = one.now.as_ref().ok().and_then(|now| now.renamed.as_ref()) else { continue };
        let advice = renamed_back(state, &to.to, &one.resource, &observations);
        if let Ok(now) = &mut observations[at].now {
            now.advice = advice;
        }
    }
    tell_renamed(access, state, &mut observations);
    #[cfg(feature = "mutants")]
    if access.limits.mutant == Some(crate::mutants::Mutant::BelievesUndos) {
        let as_before = state.baselines.iter().map(|(resource, before)| Observation {
            resource: resource.clone(),
            now: Ok(reading(access, state, resource, before.clone())),
        });
        return as_before.collect();
    }
    match search(access, state).await {
        Ok(found) => {
            // What may exist under an unknown name, on a host that could not be asked.
            for resource in nameless(state) {
                if let Some(why) = found.not_asked(resource) {
                    let now = Err(why.to_owned());
                    observations.push(Observation { resource: resource.clone(), now });
                }
            }
            for resource in found.resources {
                if !observations.iter().any(|seen| seen.resource == resource) {
                    let now = read(access, state, &resource).await;
                    observations.push(Observation { resource, now });
                }
            }
        }
        // What may exist under an unknown name could not be looked for.
        Err(failure) => {
            for resource in nameless(state) {
                let now = Err(failure.message.clone());
                observations.push(Observation { resource: resource.clone(), now });
            }
        }
    }
    observations
}

/// The container that had this name when the operation came, where the name is another one's or
/// nobody's by now: it may be as the operation left it, and nothing that is seen by name tells. An
/// engine takes a container's id for its name (Docker docs, *Engine API*, *ContainerInspect*).
async fn moved_away(
    access: &WorldAccess,
    state: &State,
    resource: &Resource,
    before: &Facts,
    now: &Facts,
) -> Option<Observation> {
    let Resource::Container { host, .. } = resource else { return None };
    let id = before.identity().filter(|id| now.identity() != Some(id))?;
    let old = Resource::Container { host: host.clone(), name: id.to_owned() };
    match access.observe(&old).await {
        Ok(facts) if facts.is_absent() => None,
        Ok(facts) => {
            // Once it has its name back, that is what it is put back by.
            let advice = access.advice(resource, before, &facts);
            let advice = format!("once it is renamed back: {advice}");
            let now = Ok(Reading { facts, advice, renamed: None });
            Some(Observation { resource: old, now })
        }
        // Nobody renames anything on an instance that is down, as it was before.
        Err(_) if state.was_down(&old) && is_down(access, &old).await => None,
        Err(failure) => Some(Observation { resource: old, now: Err(failure.message) }),
    }
}

/// What to do with a container that has another name by now: first of all its own is to be free.
fn renamed_back(
    state: &State,
    called: &Resource,
    resource: &Resource,
    observations: &[Observation],
) -> String {
    let now_at = |resource: &Resource| {
        let seen = observations.iter().find(|one| one.resource == *resource)?;
        seen.now.as_ref().ok().map(|now| &now.facts)
    };
    let rename = format!("rename {} back to {}", as_words(called), name_of(resource));
    let Some(now) = now_at(resource).filter(|now| !now.is_absent()) else { return rename };
    let taken = as_words(resource);
    let belongs = state.baselines.iter().find_map(|(was, before)| {
        let is_container = matches!(was, Resource::Container { .. });
        let is_it = before.identity().is_some() && before.identity() == now.identity();
        (is_container && was.host() == resource.host() && is_it).then_some(was)
    });
    match belongs {
        Some(own) if now_at(own).is_none_or(Facts::is_absent) => {
            format!("rename {taken} back to {} first; then {rename}", name_of(own))
        }
        Some(own) => format!(
            "rename {taken} to a name that is free; then {rename}; then what has that other name \
             to {}",
            name_of(own)
        ),
        None if state.is_own(resource, now) => {
            format!("stop and remove {taken}, which this operation made; then {rename}")
        }
        None => format!("ask whoever made {taken} to free its name; then {rename}"),
    }
}

fn name_of(resource: &Resource) -> String {
    match resource {
        Resource::Container { name, .. } => word(name),
        other => as_words(other).to_string(),
    }
}

/// Whether the last name that this operation gave to, or took from, something there is this one.
fn is_named_by_us(state: &State, called: &Resource) -> bool {
    let Resource::Container { host, name } = called else { return false };
    let named = state.effects_in_order().into_iter().rev().find_map(|effect| match &effect.call {
        Call::Docker(DockerCall::RenameContainer { host: on, container, to })
            if !matches!(effect.outcome, EffectOutcome::Refused(_))
                && on.as_str() == host
                && (container.as_str() == name || to.as_str() == name) =>
        {
            Some(to.as_str() == name)
        }
        _ => None,
    });
    named == Some(true)
}

/// Of a container that has another name by now, under which the operation knows it too: how it is
/// put back is said once, whatever it is seen by.
fn tell_renamed(access: &WorldAccess, state: &State, observations: &mut Vec<Observation>) {
    let mut renamed = vec![];
    for (resource, before) in state.baselines.iter() {
        let (Resource::Container { host, .. }, Some(id)) = (resource, before.identity()) else {
            continue;
        };
        let is_called = |one: &Observation| match &one.resource {
            Resource::Container { host: there, name } => there == host && name != id,
            _ => false,
        };
        let is_it = |one: &Observation| {
            let identity = one.now.as_ref().ok().and_then(|now| now.facts.identity());
            is_called(one) && one.resource != *resource && identity == Some(id)
        };
        let Some(there) = observations.iter().find(|one| is_it(one)) else { continue };
        renamed.push((resource, before, there.resource.clone()));
    }
    let mut told = vec![];
    for (resource, before, called) in &renamed {
        let at =
            |resource: &Resource| observations.iter().position(|one| one.resource == *resource);
        let (Some(there), Some(here)) = (at(called), at(resource)) else { continue };
        let Ok(now) = &observations[there].now else { continue };
        let rest = match now.facts.is_as(before) {
            true => String::new(),
            false => format!("; then {}", access.advice(resource, before, &now.facts)),
        };
        let is_free = observations[here].now.as_ref().is_ok_and(|now| now.facts.is_absent());
        let is_told_there = is_free && renamed.iter().any(|(other, ..)| *other == called);
        // What stands in the place of another one is told with that.
        let advice = match is_told_there && rest.is_empty() {
            true => format!("it is {}: see there", as_words(called)),
            false => format!("{}{rest}", renamed_back(state, called, resource, observations)),
        };
        told.push((
            here,
            advice,
            Renamed { to: called.clone(), by_us: is_named_by_us(state, called) },
        ));
        // A name that was another one's has its own way back.
        if state.baselines.of(called).is_none_or(Facts::is_absent) {
            let seen = format!("it is {}, renamed: see there", as_words(resource));
            if let Ok(now) = &mut observations[there].now {
                now.advice = seen;
            }
        }
    }
    for (here, advice, renamed) in told {
        if let Ok(now) = &mut observations[here].now {
            (now.advice, now.renamed) = (advice, Some(renamed));
        }
    }
    for (resource, before, _) in renamed {
        let (Some(host), Some(id)) = (resource.host(), before.identity()) else { continue };
        let by_id = Resource::Container { host: host.to_owned(), name: id.to_owned() };
        observations.retain(|one| one.resource != by_id);
    }
}

/// What was read, with what its provider says to do where that is not as it was.
fn reading(access: &WorldAccess, state: &State, resource: &Resource, facts: Facts) -> Reading {
    let before = state.baselines.of_thing(resource).unwrap_or(&Facts::Absent);
    let advice = access.advice(resource, before, &facts);
    Reading { facts, advice, renamed: None }
}

/// The facts of a resource. What is on an instance that is down, as it was when the operation
/// came, can't be asked any more: it is as it was left when its engine answered last.
async fn read(access: &WorldAccess, state: &State, resource: &Resource) -> Result<Reading, String> {
    let failure = match access.observe(resource).await {
        Ok(facts) => return Ok(reading(access, state, resource, facts)),
        Err(failure) => failure,
    };
    match state.left_on_a_host_that_was_down(resource) {
        Some(left) if is_down(access, resource).await => Ok(reading(access, state, resource, left)),
        _ => Err(failure.message),
    }
}

/// The containers of a host that had no engine: none, as long as it has none.
async fn engine_of(access: &WorldAccess, host: &str) -> Result<Facts, String> {
    match access.listed(&host.into()).await {
        Ok(Listed::NoEngine) => Ok(Facts::Absent),
        Ok(Listed::All(_) | Listed::NoEndpoint) => {
            Ok(Facts::Unknown("it has an engine by now".to_owned()))
        }
        // Nothing is on an instance that was terminated.
        Err(failure) if is_gone(&failure) => Ok(Facts::Absent),
        Err(failure) => Err(failure.message),
    }
}

async fn is_down(access: &WorldAccess, resource: &Resource) -> bool {
    let Some(host) = resource.host() else { return false };
    let instance = Resource::Instance { id: host.to_owned() };
    access.observe(&instance).await.is_ok_and(|facts| facts.is_down())
}

fn effects(state: &State) -> impl Iterator<Item = &PastEffect> {
    state.steps.values().flat_map(|step| &step.effects)
}

/// What effects made, or may have made, whose name nobody knows.
fn nameless(state: &State) -> impl Iterator<Item = &Resource> {
    effects(state)
        .filter(|effect| !matches!(effect.outcome, EffectOutcome::Refused(_)))
        .flat_map(|effect| effect.changes.iter().map(|change| &change.resource))
        .filter(|resource| matches!(resource, Resource::Created { .. }))
}

/// Whatever carries a stamp; *nothing does* counts only when what was just made must show. What a
/// provider said it did not make is looked for as long: its word is not taken for the world.
async fn search(access: &WorldAccess, state: &State) -> Result<Found, Failure> {
    let tokens: Vec<Token> = effects(state).map(|effect| effect.token.clone()).collect();
    let is_nameless = |effect: &PastEffect| {
        effect.changes.iter().any(|c| matches!(c.resource, Resource::Created { .. }))
    };
    // Whether these happened was found out by looking as long already.
    let was_looked_for = |effect: &PastEffect| match &effect.outcome {
        EffectOutcome::Refused(failure) => failure.class == FailureClass::Cancelled,
        EffectOutcome::Done(_) | EffectOutcome::Unknown(_) => false,
    };
    match effects(state).any(|effect| is_nameless(effect) && !was_looked_for(effect)) {
        false => access.stamped(&tokens).await,
        true => access.stamped_in_time(&tokens, |_| false).await,
    }
}
