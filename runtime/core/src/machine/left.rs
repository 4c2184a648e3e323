//! How effects left the facts that they set, as far as anybody can tell.

use super::*;
use crate::calls::{EbsCall, Ec2Call, Touches};
use crate::resource::{Facts, Resource};
use crate::reverse::own_facts;
use crate::step::PastEffect;

/// Whether a fact of one of an effect's resources is as that very effect left it; none if it did
/// not set it. Where nobody saw how it was left, it may be as it is by that.
pub(super) fn is_as_left(
    effect: &PastEffect,
    change: &Change,
    name: &str,
    now: &Facts,
) -> Option<bool> {
    // What is renamed is as it was.
    if matches!(effect.call.entry().touches, Touches::Renamed(..)) {
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
