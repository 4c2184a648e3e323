//! How effects left the facts that they set, as far as anybody can tell.

use super::*;
use crate::calls::{EbsCall, Ec2Call, Touches};
use crate::resource::{Facts, Resource};
use crate::reverse::{own_facts, set_by_someone_else};
use crate::step::{EffectOutcome, PastEffect};

/// What of the facts that differ is whose doing.
pub(super) struct Odd {
    /// Those that are neither as they were nor as the operation left them.
    pub(super) others: String,
    /// The rest.
    pub(super) ours: String,
}

/// Whether any fact is neither as it was nor as the operation left it.
pub(super) fn set_by_others(
    state: &State,
    resource: &Resource,
    before: &Facts,
    now: &Facts,
) -> Option<Odd> {
    if before.is_absent() || now.is_absent() {
        return None;
    }
    let is_it = |change: &&Change| change.resource == *resource || change.is_of(resource, before);
    // What was refused has left nothing.
    let is_made = |effect: &&PastEffect| !matches!(effect.outcome, EffectOutcome::Refused(_));
    let effects = state.effects_in_order().into_iter().filter(is_made);
    let effects: Vec<_> =
        effects.filter_map(|effect| Some((effect, effect.changes.iter().find(is_it)?))).collect();
    let (ours, others): (Vec<String>, Vec<String>) =
        before.differing(now).into_iter().partition(|name| {
            // The last that set it, or may have: what later ones saw of it was not their doing.
            let mut last = effects.iter().rev();
            let left = last.find_map(|(effect, change)| is_as_left(effect, change, name, now));
            left == Some(true)
        });
    (!others.is_empty()).then(|| Odd { others: others.join(", "), ours: ours.join(", ") })
}

/// Whether a fact of one of an effect's resources is as that very effect left it; none if it did
/// not set it. Where nobody saw how it was left, it may be as it is by that.
fn is_as_left(effect: &PastEffect, change: &Change, name: &str, now: &Facts) -> Option<bool> {
    // What is renamed is as it was.
    if matches!(effect.call.entry().touches, Touches::Renamed(..)) {
        return None;
    }
    // Nobody knows whether it was made, and nothing shows it.
    let is_unknown = matches!(effect.outcome, EffectOutcome::Unknown(_));
    if is_unknown && now.flat_get(name) == change.before.flat_get(name) {
        return None;
    }
    let is_main = effect.changes.first().is_some_and(|one| one.resource == change.resource);
    let is = now.flat_get(name);
    if let Some((_, left)) = effect.call.leaves().filter(|(fact, _)| is_main && fact == name) {
        return Some(left.as_ref() == is);
    }
    let own = own_facts(effect, &change.resource).filter(|_| is_main);
    if own.as_ref().is_some_and(|own| own.iter().all(|own| own != name)) {
        return None;
    }
    // What attaches a volume changes nothing of the instance.
    let is_instance = matches!(change.resource, Resource::Instance { .. });
    if is_instance && !is_main && matches!(effect.call, Call::Ebs(_)) {
        return None;
    }
    // A look that came late saw what others attached meanwhile.
    if name == "attachments"
        && let Some(instance) = attached(&effect.call)
        && elsewhere(&change.before, instance) != elsewhere(now, instance)
    {
        return Some(false);
    }
    // How it leaves them can be told without.
    if name == "attachments" && is_main && set_by_someone_else(&effect.call, change, now).is_some()
    {
        return Some(false);
    }
    let Some(after) = &change.after else { return Some(true) };
    let (was, left) = (change.before.flat_get(name), after.flat_get(name));
    // What comes, goes or may change as a whole has set what differs; the rest it only saw.
    (own.is_some() || change.before.is_absent() || was != left).then(|| left == is)
}

/// The instance that a call attaches volumes to, or takes them from.
fn attached(call: &Call) -> Option<&str> {
    match call {
        Call::Ebs(EbsCall::Attach { instance, .. } | EbsCall::Detach { instance, .. })
        | Call::Ec2(Ec2Call::Terminate { instance }) => Some(instance.as_str()),
        _ => None,
    }
}

/// What a volume is attached to beside this instance.
fn elsewhere<'a>(facts: &'a Facts, instance: &str) -> Vec<&'a Value> {
    let all = facts.get("attachments").and_then(Value::as_array).into_iter().flatten();
    all.filter(|one| one.get("instance").and_then(Value::as_str) != Some(instance)).collect()
}

/// The instance that somebody else has attached a volume to which this operation made.
pub(super) fn attached_by_others<'a>(
    state: &'a State,
    resource: &Resource,
    before: &Facts,
    now: &'a Facts,
) -> Option<&'a str> {
    let Resource::Volume { id } = resource else { return None };
    let effects = state.effects_in_order();
    // What the last of this operation's, if any was made, left there.
    let left_by = |effect: &'a PastEffect, here: &str| match &effect.call {
        _ if matches!(effect.outcome, EffectOutcome::Refused(_)) => None,
        Call::Ebs(EbsCall::Attach { volume, instance, device }) => {
            (volume.as_str() == id && instance.as_str() == here).then_some(Some(device.as_str()))
        }
        Call::Ebs(EbsCall::Detach { volume, instance }) => {
            (volume.as_str() == id && instance.as_str() == here).then_some(None)
        }
        _ => None,
    };
    let is_ours = |here: &str, device: Option<&str>| {
        let instance = Resource::Instance { id: here.to_owned() };
        let left = effects.iter().rev().find_map(|effect| left_by(effect, here));
        state.is_own(&instance, &Facts::Absent) || (left.is_some() && left == Some(device))
    };
    let all = now.get("attachments").and_then(Value::as_array).into_iter().flatten();
    let text = |one: &'a Value, name: &str| one.get(name).and_then(Value::as_str);
    let mut all = all.filter_map(|one| Some((text(one, "instance")?, text(one, "device"))));
    let foreign = all.find(|(here, device)| before.is_absent() && !is_ours(here, *device));
    foreign.map(|(here, _)| here)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Attempt, AttemptId, CallId, CallNumber, Direction};
    use crate::{DockerCall, StepKey};
    use serde_json::json;

    fn effect(call: Call, resource: Resource, before: Facts, after: Option<Facts>) -> PastEffect {
        let step = StepKey::plain("s");
        let of = AttemptId { step, direction: Direction::Do, attempt: Attempt(1) };
        PastEffect {
            id: CallId { of, number: CallNumber(1) },
            call,
            token: "t".into(),
            outcome: EffectOutcome::Done(Value::Null),
            changes: vec![Change { resource, before, after }],
        }
    }

    #[test]
    fn a_fact_is_as_the_last_that_set_it_left_it() {
        let container = || Resource::Container { host: "i-1".into(), name: "main".into() };
        let volume = || Resource::Volume { id: "vol-1".into() };
        let runs = |running: bool, restart: &str| {
            Facts::from_json(json!({ "id": "a", "running": running, "restart": restart }))
        };
        let at = |all: &[&str]| {
            let all = all.iter().map(|on| json!({ "instance": on, "device": "/dev/sdf" }));
            Facts::from_json(json!({ "attachments": all.collect::<Vec<_>>() }))
        };
        let (host, name) = (|| "i-1".into(), || "main".into());
        let start = || DockerCall::StartContainer { host: host(), container: name() }.into();
        let rename =
            DockerCall::RenameContainer { host: host(), container: name(), to: "b".into() };
        let detach = || EbsCall::Detach { volume: "vol-1".into(), instance: "i-1".into() }.into();
        let (up, down) = (runs(true, "no"), runs(false, "no"));
        let table = [
            // What the call says that it sets, whatever was seen after it.
            ((start(), container(), &down, Some(&down)), "running", &up, Some(true)),
            ((start(), container(), &down, Some(&up)), "running", &down, Some(false)),
            // What it does not set is another's.
            ((start(), container(), &down, Some(&up)), "restart", &runs(true, "always"), None),
            ((rename.into(), container(), &up, Some(&Facts::Absent)), "running", &down, None),
            (
                (detach(), volume(), &at(&["i-1"]), Some(&at(&[]))),
                "attachments",
                &at(&[]),
                Some(true),
            ),
            (
                (detach(), volume(), &at(&["i-1"]), Some(&at(&[]))),
                "attachments",
                &at(&["i-1"]),
                Some(false),
            ),
            // Nobody saw how it was left.
            ((detach(), volume(), &at(&["i-1"]), None), "attachments", &at(&["i-1"]), Some(true)),
            // The look came late.
            (
                (detach(), volume(), &at(&["i-1"]), Some(&at(&["i-2"]))),
                "attachments",
                &at(&["i-2"]),
                Some(false),
            ),
        ];
        for ((call, resource, before, after), fact, now, wanted) in table {
            let effect = effect(call, resource, before.clone(), after.cloned());
            let is = is_as_left(&effect, &effect.changes[0], fact, now);
            assert_eq!(is, wanted, "{fact} of {effect:?}, now {now:?}");
        }
    }
}
