//! Reversing one effect: which calls put its resources back to that effect's `before`.
//!
//! Pure: the effect as the journal has it and the facts as they are now go in, calls come out.
//! Only the facts that the effect changed are compared, so that what others did to the same
//! resource meanwhile stays. Where such a fact is neither as the effect left it nor as it was
//! before, somebody else changed it, and it is not touched. Neither is what only has the name of
//! what the effect left: it must be the same thing.

pub use crate::calls::Reversal;

use crate::calls::{
    Area, Call, DockerCall, EbsCall, Inverse, LoadBalancerCall, Other, Touches, Undo,
};
use crate::ids::InstanceId;
use crate::resource::{Facts, Resource, may_be_same};
use crate::step::{Change, EffectOutcome, PastEffect};
use serde_json::Value;

/// One of an effect's resources as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// By the name that the effect's `changes` have it under.
    pub resource: Resource,
    /// As they were read for this reversal.
    pub facts: Facts,
    /// Whether it carries the effect's stamp, where that was asked for.
    pub is_stamped: Option<bool>,
}

/// Work out the reversal; `now` holds each of the effect's resources as it is.
pub fn reverse(effect: &PastEffect, now: &[Seen]) -> Reversal {
    if matches!(effect.outcome, EffectOutcome::Refused(_)) {
        return Reversal::NothingToDo;
    }
    // The first resource is what the call mainly changes; the inverse puts the others back too.
    let Some(main) = effect.changes.first() else {
        return Reversal::Cannot(format!("{} has no inverse", effect.call.function()));
    };
    let Some(seen) = seen_of(now, &main.resource) else {
        return Reversal::Cannot(format!("{} was not read", main.resource));
    };
    if let Facts::Unknown(why) = &seen.facts {
        return Reversal::Cannot(format!("{} could not be read: {why}", main.resource));
    }
    let standing = compare(effect, main, &seen.facts);
    let inverse = effect.call.entry().inverse;
    let undo = |is_done| Undo {
        resource: &main.resource,
        before: &main.before,
        now: &seen.facts,
        is_done,
        is_unknown: matches!(effect.outcome, EffectOutcome::Unknown(_)),
        others: others(effect, now),
    };
    match (standing, inverse) {
        (Standing::Foreign(why), _) => Reversal::Cannot(why),
        (Standing::AsBefore, Inverse::OfAny(work)) => work(&undo(false)),
        (Standing::AsBefore, Inverse::None | Inverse::OfDone(_)) => Reversal::NothingToDo,
        (Standing::AsAfter, Inverse::None) => {
            Reversal::Cannot(format!("{} has no inverse", effect.call.function()))
        }
        (Standing::AsAfter, Inverse::OfDone(work) | Inverse::OfAny(work)) => {
            match stranger(effect, now) {
                Some(why) => Reversal::Cannot(why),
                None => work(&undo(true)),
            }
        }
    }
}

/// The same of an effect that an earlier attempt of the undo took back.
///
/// Since then it was as before the effect. Where it is as the effect left it again, older effects
/// of the same were taken back, too (what was stopped and started runs again), or somebody else
/// came: that is not this one's. An effect whose outcome nobody knows may come late.
pub fn reverse_again(effect: &PastEffect, now: &[Seen]) -> Reversal {
    let is_known = matches!(effect.outcome, EffectOutcome::Done(_));
    let is_read = effect.changes.first().and_then(|main| seen_of(now, &main.resource));
    let is_read = is_read.is_some_and(|seen| !matches!(seen.facts, Facts::Unknown(_)));
    match reverse(effect, now) {
        Reversal::Cannot(_) | Reversal::Calls(_) if is_known && is_read => Reversal::NothingToDo,
        Reversal::Cannot(_) if is_read => Reversal::NothingToDo,
        reversal => reversal,
    }
}

/// Whether the look after a call that took an effect back saw it taken back.
pub(crate) fn was_seen_as_before(effect: &PastEffect, made: &PastEffect) -> bool {
    let Some(main) = effect.changes.first() else { return true };
    let there = made.changes.iter().find(|change| change.resource == main.resource);
    match there.map(|change| &change.after) {
        // What it is called by now is another name.
        None => true,
        Some(None | Some(Facts::Unknown(_))) => false,
        Some(Some(after)) => matches!(compare(effect, main, after), Standing::AsBefore),
    }
}

/// The resources that changed with the main one.
fn others<'a>(effect: &'a PastEffect, now: &'a [Seen]) -> Vec<Other<'a>> {
    let of = |change: &'a Change| Other {
        resource: &change.resource,
        before: &change.before,
        now: seen_of(now, &change.resource).map(|seen| &seen.facts),
    };
    effect.changes.iter().skip(1).map(of).collect()
}

fn seen_of<'a>(now: &'a [Seen], resource: &Resource) -> Option<&'a Seen> {
    now.iter().find(|seen| seen.resource == *resource)
}

enum Standing {
    AsBefore,
    AsAfter,
    Foreign(String),
}

/// Why the fact that a call sets is not what the call found or would leave: somebody else set it,
/// or has another thing by that name.
///
/// Whether the call was made can't be told then by looking.
pub fn set_by_someone_else(call: &Call, change: &Change, now: &Facts) -> Option<String> {
    if change.before.is_another(now) {
        return Some(format!("{} is another one by now: somebody else made it", change.resource));
    }
    if change.before.is_absent() || now.is_absent() {
        return None;
    }
    if let Call::Ebs(EbsCall::Attach { instance, .. } | EbsCall::Detach { instance, .. }) = call {
        let by = match call {
            Call::Ebs(EbsCall::Attach { device, .. }) => Some(device.as_str()),
            _ => None,
        };
        let (was, is) = (attached_to(&change.before, instance), attached_to(now, instance));
        let is_by = is.and_then(|is| is.get("device")?.as_str());
        return changed((is != was && is_by != by).then_some(("attachments", was, is)), change);
    }
    let (fact, left) = call.leaves()?;
    let (was, is) = (change.before.flat_get(&fact), now.flat_get(&fact));
    changed((is != left.as_ref() && is != was).then_some((&fact, was, is)), change)
}

/// What is said of a fact that was one thing and is another.
fn changed(odd: Option<(&str, Option<&Value>, Option<&Value>)>, change: &Change) -> Option<String> {
    let (fact, was, is) = odd?;
    Some(format!(
        "{} was changed by someone else: {fact} was {}, is {}",
        change.resource,
        text_of(was),
        text_of(is)
    ))
}

/// Why a call that did not happen is not to be made now: what it would change is not as it was
/// found, so that somebody else has been there since.
pub fn changed_since_found(call: &Call, change: &Change, now: &Facts) -> Option<String> {
    if let Some(why) = set_by_someone_else(call, change, now) {
        return Some(why);
    }
    match call {
        // A name that means nothing may be given a meaning, or be freed.
        Call::Docker(
            DockerCall::PullImage { .. }
            | DockerCall::TagImage { .. }
            | DockerCall::RemoveImage { .. },
        ) => {
            let (was, is) = (change.before.get("digest"), now.get("digest"));
            changed((was != is).then_some(("digest", was, is)), change)
        }
        Call::LoadBalancer(
            of @ (LoadBalancerCall::Add { .. } | LoadBalancerCall::Remove { .. }),
        ) => target_of_others(of, change, now),
        _ => None,
    }
}

/// What of a target is neither as it was found nor as the call may leave it: no call but one that
/// adds it gives it a weight, and what was seen in its pool after a drain is taken out by others.
fn target_of_others(call: &LoadBalancerCall, change: &Change, now: &Facts) -> Option<String> {
    let is_in = |facts: &Facts| facts.get("present") == Some(&Value::Bool(true));
    let (was, is) = (change.before.get("weight"), now.get("weight"));
    let given = match call {
        LoadBalancerCall::Add { weight: Some(weight), .. } => Some(Value::from(*weight)),
        // The balancer's own, which may be any.
        LoadBalancerCall::Add { weight: None, .. } => is.cloned(),
        _ => None,
    };
    let after_drain = change.after.as_ref().filter(|after| {
        matches!(call, LoadBalancerCall::Drain { .. }) && is_in(after) && !is_in(now)
    });
    let is_theirs = is_in(now) && is.is_some() && is != was && is != given.as_ref();
    let odd = match after_drain {
        Some(after) => Some(("present", after.get("present"), now.get("present"))),
        None => (is_theirs && (was.is_some() || given.is_some())).then_some(("weight", was, is)),
    };
    changed(odd, change)
}

/// The same of a call of which nobody knows whether it was made: by what else an image is known
/// than by the name's digest, only the call itself could tell.
fn set_over(effect: &PastEffect, change: &Change, now: &Facts) -> Option<String> {
    let is_unknown = matches!(effect.outcome, EffectOutcome::Unknown(_));
    match &effect.call {
        Call::Docker(DockerCall::TagImage { digest, .. }) if is_unknown => {
            let is = now.get("digest").and_then(Value::as_str);
            match is == Some(digest) {
                true => None,
                false => changed_since_found(&effect.call, change, now),
            }
        }
        // An image that came to where none was changes nothing.
        Call::Docker(DockerCall::PullImage { .. }) if is_unknown && !change.before.is_absent() => {
            changed_since_found(&effect.call, change, now)
        }
        _ => None,
    }
}

/// How a volume is attached to this instance.
fn attached_to<'a>(facts: &'a Facts, instance: &InstanceId) -> Option<&'a Value> {
    let mut all = facts.get("attachments").and_then(Value::as_array).into_iter().flatten();
    all.find(|one| one.get("instance").and_then(Value::as_str) == Some(instance.as_str()))
}

/// Whether the fact that a call sets is as it leaves it, though the look after it saw another one:
/// it came too early, or somebody else was there in between.
fn was_seen_wrongly(call: &Call, change: &Change, after: &Facts, now: &Facts) -> bool {
    let Some((fact, left)) = call.leaves() else { return false };
    let is_left = |facts: &Facts| facts.flat_get(&fact) == left.as_ref();
    is_left(now) && !is_left(after) && !is_left(&change.before)
}

fn text_of(value: Option<&Value>) -> String {
    value.map_or("nothing".to_owned(), ToString::to_string)
}

/// How what the effect mainly changes is now.
fn compare(effect: &PastEffect, change: &Change, now: &Facts) -> Standing {
    let resource = &change.resource;
    // Whatever was seen after it: somebody else may have come before that look.
    let others = set_by_someone_else(&effect.call, change, now).or_else(|| match &effect.call {
        Call::LoadBalancer(call) => target_of_others(call, change, now),
        _ => None,
    });
    if let Some(why) = others.or_else(|| set_over(effect, change, now)) {
        return Standing::Foreign(why);
    }
    let taken = || Standing::Foreign(format!("the name of {resource} is another one's by now"));
    let Some(after) = &change.after else {
        // The outcome is unknown: what is not as before is taken for the effect's own doing.
        return match now.is_as(&change.before) {
            true if now.is_another(&change.before) => taken(),
            true => Standing::AsBefore,
            false => Standing::AsAfter,
        };
    };
    let mut changed = change.before.differing(after);
    if changed == ["exists"] {
        return match (change.before.is_absent(), now.is_absent()) {
            (true, true) => Standing::AsBefore,
            (false, false) if now.is_another(&change.before) => taken(),
            (false, false) => Standing::AsBefore,
            (true, false) | (false, true) => Standing::AsAfter,
        };
    }
    if now.is_absent() {
        // Gone as soon as it was made: there is nothing to take back.
        return match change.before.is_absent() {
            true => Standing::AsBefore,
            false => Standing::Foreign(format!("{resource} is gone")),
        };
    }
    if was_seen_wrongly(&effect.call, change, after, now) {
        return Standing::AsAfter;
    }
    // What steps beside this one did to other facts meanwhile is not this effect's.
    if let Some(own) = own_facts(effect, resource) {
        changed.retain(|name| own.contains(name));
    }
    let is =
        |facts: &Facts, name: &String| may_be_same(name, now.flat_get(name), facts.flat_get(name));
    if changed.iter().all(|name| is(&change.before, name)) {
        return Standing::AsBefore;
    }
    let text = |facts: &Facts, name: &str| text_of(facts.flat_get(name));
    let odd: Vec<String> = changed
        .iter()
        .filter(|name| !is(after, name) && !is(&change.before, name))
        .map(|name| format!("{name} was left {} and is {}", text(after, name), text(now, name)))
        .collect();
    if odd.is_empty() {
        return Standing::AsAfter;
    }
    Standing::Foreign(format!("{resource} was changed by someone else: {}", odd.join(", ")))
}

/// The facts that a call changes of a resource, where it does not change the whole of it.
pub(crate) fn own_facts(effect: &PastEffect, resource: &Resource) -> Option<Vec<String>> {
    let of = |area: Area| match area {
        Area::Fact(on, fact) => (on == *resource).then_some(fact),
        Area::Host(_) => Some("state".to_owned()),
        Area::Resource(_) => None,
    };
    let facts: Vec<String> = effect.call.areas(&effect.token).into_iter().filter_map(of).collect();
    (!facts.is_empty()).then_some(facts)
}

fn without_mark(resource: &Resource) -> String {
    format!("{resource}: it does not carry this operation's mark: somebody else made it")
}

/// Why what has the name of something that the effect left is not that thing.
///
/// What carries the effect's stamp was made by it. Anything else is known by its identity: the
/// one that it had after the effect or, if nobody saw that, before it.
fn stranger(effect: &PastEffect, now: &[Seen]) -> Option<String> {
    // What came and went beside what it touches has its own way back.
    let touched = effect.call.resources(&effect.token).len();
    effect.changes.iter().take(touched).find_map(|change| {
        let resource = &change.resource;
        let seen = seen_of(now, resource)?;
        if seen.is_stamped == Some(true) {
            return None;
        }
        if !resource.kind().has_identity() {
            // A world that was put back from a backup gives a name of EC2's to another thing.
            let is_anothers = effect.call.leaves_a_stamp()
                && seen.is_stamped == Some(false)
                && matches!(seen.facts, Facts::Present(_));
            return is_anothers.then(|| without_mark(resource));
        }
        let renamed = match effect.call.entry().touches {
            Touches::Renamed(..) => effect.changes.first(),
            Touches::Nothing | Touches::New(_) | Touches::One(_) | Touches::Two(..) => None,
        };
        let left = match (&change.after, renamed) {
            // Its old name is nobody's, whether or not anybody looked.
            (None, Some(from)) if from == change => &Facts::Absent,
            // What was renamed is what had the old name.
            (Some(Facts::Present(_)) | None, Some(from)) => &from.before,
            // No effect makes another thing of it: who came before that look took its name.
            (Some(after), _) if change.before.is_another(after) => &change.before,
            (Some(after), _) => after,
            (None, None) => &change.before,
        };
        match (left, &seen.facts) {
            // The name that a rename took away from it.
            (Facts::Absent, Facts::Absent) => None,
            (Facts::Present(_), Facts::Absent) => {
                let why = "nothing has that name any more: somebody else renamed or removed it";
                Some(format!("{resource}: {why}"))
            }
            // Whatever was seen after it: somebody else may have come before that look.
            (_, Facts::Present(_))
                if effect.call.leaves_a_stamp() && seen.is_stamped == Some(false) =>
            {
                Some(without_mark(resource))
            }
            (left, found) if left.identity().is_some() && found.identity().is_some() => {
                let why = "that is another one by now: somebody else made it";
                left.is_another(found).then(|| format!("{resource}: {why}"))
            }
            // Nobody looked at identities when this was written down.
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What a call would change is as it was found, or the call is not for it any more.
    #[test]
    fn what_somebody_changed_since_it_was_found_is_not_changed() {
        let volume = Resource::Volume { id: "vol-1".into() };
        let image = Resource::Image { host: "i-1".into(), image: "db:1".into() };
        let detach: Call =
            EbsCall::Detach { volume: "vol-1".into(), instance: "i-1".into() }.into();
        let tag: Call = DockerCall::TagImage {
            host: "i-1".into(),
            image: "db:1".into(),
            digest: "sha256:old".into(),
        }
        .into();
        let remove: Call =
            DockerCall::RemoveImage { host: "i-1".into(), image: "db:1".into() }.into();
        let at = |all: &[(&str, &str)]| {
            let all = all.iter();
            let all = all.map(|(on, by)| json!({ "instance": on, "device": by }));
            let all: Vec<Value> = all.collect();
            Facts::from_json(json!({ "attachments": all }))
        };
        let meaning = |digest: &str| Facts::from_json(json!({ "digest": digest }));
        let here = ("i-1", "/dev/sdf");
        let table = [
            (&detach, &volume, at(&[here]), at(&[here]), false),
            (&detach, &volume, at(&[here]), at(&[("i-1", "/dev/sdq")]), true),
            // What it is attached to beside is another's affair.
            (&detach, &volume, at(&[here]), at(&[("i-0", "/dev/sdq"), here]), false),
            (&tag, &image, meaning("sha256:new"), meaning("sha256:new"), false),
            (&tag, &image, meaning("sha256:new"), meaning("sha256:theirs"), true),
            (&tag, &image, Facts::Absent, meaning("sha256:theirs"), true),
            (&tag, &image, Facts::Absent, Facts::Absent, false),
            (&remove, &image, meaning("sha256:old"), meaning("sha256:old"), false),
            (&remove, &image, meaning("sha256:old"), meaning("sha256:theirs"), true),
        ];
        for (call, resource, before, now, is_changed) in table {
            let change = Change { resource: resource.clone(), before, after: None };
            let why = changed_since_found(call, &change, &now);
            assert_eq!(why.is_some(), is_changed, "{call:?} of {change:?}, now {now:?}: {why:?}");
        }
    }
}
