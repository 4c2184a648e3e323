//! Reversing one effect: which calls put its resources back to that effect's `before`.
//!
//! Pure: the effect as the journal has it and the facts as they are now go in, calls come out.
//! Only the facts that the effect changed are compared, so that what others did to the same
//! resource meanwhile stays. Where such a fact is neither as the effect left it nor as it was
//! before, somebody else changed it, and it is not touched.

use crate::call::{Call, Class};
use crate::ids::*;
use crate::resource::{Facts, Resource};
use crate::step::{Change, EffectOutcome, PastEffect};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How an effect is taken back; the journal holds it as the answer to `effects.reverse`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reversal", content = "detail", rename_all = "kebab-case")]
pub enum Reversal {
    /// The world is as it was before, or the effect never happened.
    NothingToDo,
    /// Make these calls, in this order.
    Calls(Vec<Call>),
    /// It stays, and why that is harmless.
    Kept(String),
    Cannot(String),
}

/// How long a container gets to stop by itself when an undo stops it.
const UNDO_GRACE_MS: u64 = 30_000;

/// Work out the reversal; `now` holds the facts of each of the effect's resources.
pub fn reverse(effect: &PastEffect, now: &[(Resource, Facts)]) -> Reversal {
    if matches!(effect.outcome, EffectOutcome::Refused(_)) {
        return Reversal::NothingToDo;
    }
    // The first resource is what the call mainly changes; the inverse puts the others back too.
    let Some(main) = effect.changes.first() else {
        return Reversal::Cannot(format!("{} has no inverse", effect.call.function()));
    };
    let found = now.iter().find(|(resource, _)| *resource == main.resource);
    let Some((_, now)) = found else {
        return Reversal::Cannot(format!("{} was not read", main.resource));
    };
    match compare(effect, main, now) {
        Standing::AsBefore => Reversal::NothingToDo,
        Standing::Foreign(why) => Reversal::Cannot(why),
        Standing::AsAfter => match effect.call.class() {
            Class::Irreversible => {
                Reversal::Cannot(format!("{} has no inverse", effect.call.function()))
            }
            Class::Effect | Class::Read | Class::Wait => inverse(&effect.call, main, now),
        },
    }
}

enum Standing {
    AsBefore,
    AsAfter,
    Foreign(String),
}

fn compare(effect: &PastEffect, change: &Change, now: &Facts) -> Standing {
    let Some(after) = &change.after else {
        // The outcome is unknown: what is not as before is taken for the effect's own doing.
        return if now.is_as(&change.before) { Standing::AsBefore } else { Standing::AsAfter };
    };
    let mut changed = change.before.differing(after);
    if changed == ["exists"] {
        return match (change.before.is_absent(), now.is_absent()) {
            (true, true) | (false, false) => Standing::AsBefore,
            (true, false) | (false, true) => Standing::AsAfter,
        };
    }
    if now.is_absent() {
        return Standing::Foreign(format!("{} is gone", change.resource));
    }
    // What steps beside this one did to other tags meanwhile is not this effect's.
    if let Some(own) = own_fact(&effect.call) {
        changed.retain(|name| *name == own);
    }
    let is = |facts: &Facts, name: &String| now.flat_get(name) == facts.flat_get(name);
    if changed.iter().all(|name| is(&change.before, name)) {
        return Standing::AsBefore;
    }
    let text = |facts: &Facts, name: &str| {
        facts.flat_get(name).map_or("nothing".to_owned(), ToString::to_string)
    };
    let odd: Vec<String> = changed
        .iter()
        .filter(|name| !is(after, name) && !is(&change.before, name))
        .map(|name| format!("{name} was left {} and is {}", text(after, name), text(now, name)))
        .collect();
    if odd.is_empty() {
        return Standing::AsAfter;
    }
    let resource = &change.resource;
    Standing::Foreign(format!("{resource} was changed by someone else: {}", odd.join(", ")))
}

/// The one fact that a call changes, where its arguments tell.
fn own_fact(call: &Call) -> Option<String> {
    match call {
        Call::Ec2Tag { key, .. }
        | Call::Ec2Untag { key, .. }
        | Call::EbsTag { key, .. }
        | Call::EbsUntag { key, .. } => Some(format!("tags.{key}")),
        _ => None,
    }
}

fn text<'a>(facts: &'a Facts, name: &str) -> Option<&'a str> {
    facts.get(name).and_then(Value::as_str)
}

fn inverse(call: &Call, main: &Change, now: &Facts) -> Reversal {
    let one = |call| Reversal::Calls(vec![call]);
    match call {
        Call::Ec2RunInstance { .. }
        | Call::EbsCreateVolume { .. }
        | Call::EbsCreateSnapshot { .. }
        | Call::DockerCreateContainer { .. }
        | Call::DockerCreateVolume { .. } => remove(&main.resource, now),
        Call::Ec2Start { instance } => one(Call::Ec2Stop { instance: instance.clone() }),
        Call::Ec2Stop { instance } => one(Call::Ec2Start { instance: instance.clone() }),
        Call::Ec2SetInstanceType { instance, .. } => match text(&main.before, "type") {
            Some(before) => one(Call::Ec2SetInstanceType {
                instance: instance.clone(),
                instance_type: before.to_owned(),
            }),
            None => unread(main, "type"),
        },
        Call::Ec2Tag { instance: id, key, .. } | Call::Ec2Untag { instance: id, key } => {
            let (instance, key) = (id.clone(), key.clone());
            one(match tag(&main.before, &key) {
                Some(value) => Call::Ec2Tag { instance, key, value },
                None => Call::Ec2Untag { instance, key },
            })
        }
        Call::EbsTag { volume: id, key, .. } | Call::EbsUntag { volume: id, key } => {
            let (volume, key) = (id.clone(), key.clone());
            one(match tag(&main.before, &key) {
                Some(value) => Call::EbsTag { volume, key, value },
                None => Call::EbsUntag { volume, key },
            })
        }
        Call::EbsAttach { volume, instance, .. } => {
            one(Call::EbsDetach { volume: volume.clone(), instance: instance.clone() })
        }
        Call::EbsDetach { volume, instance } => match device(&main.before, instance) {
            Some(device) => {
                one(Call::EbsAttach { volume: volume.clone(), instance: instance.clone(), device })
            }
            None => unread(main, "attachments"),
        },
        Call::DockerPullImage { host, image } | Call::DockerTagImage { host, image, .. } => {
            name_again(host, image, main)
        }
        Call::DockerStartContainer { host, container } => one(Call::DockerStopContainer {
            host: host.clone(),
            container: container.clone(),
            grace_ms: UNDO_GRACE_MS,
        }),
        Call::DockerStopContainer { host, container, .. } => {
            one(Call::DockerStartContainer { host: host.clone(), container: container.clone() })
        }
        Call::DockerRenameContainer { host, container, to } => one(Call::DockerRenameContainer {
            host: host.clone(),
            container: to.clone(),
            to: container.clone(),
        }),
        Call::DockerUpdateContainer { host, container, .. } => {
            match text(&main.before, "restart") {
                Some(restart) => one(Call::DockerUpdateContainer {
                    host: host.clone(),
                    container: container.clone(),
                    restart: restart.to_owned(),
                }),
                None => unread(main, "restart"),
            }
        }
        other => Reversal::Cannot(format!("{} has no inverse", other.function())),
    }
}

/// What the name meant before: whoever starts a container by it would start another image.
fn name_again(host: &InstanceId, image: &ImageRef, main: &Change) -> Reversal {
    let Some(digest) = text(&main.before, "digest") else {
        return Reversal::Kept("an image in a host's cache changes nothing".into());
    };
    let (host, image, digest) = (host.clone(), image.clone(), digest.to_owned());
    Reversal::Calls(vec![Call::DockerTagImage { host, image, digest }])
}

fn unread(change: &Change, fact: &str) -> Reversal {
    Reversal::Cannot(format!("what `{fact}` of {} was before is not known", change.resource))
}

fn tag(before: &Facts, key: &str) -> Option<String> {
    before.get("tags")?.get(key)?.as_str().map(str::to_owned)
}

fn device(before: &Facts, instance: &InstanceId) -> Option<String> {
    let attachments = before.get("attachments")?.as_array()?;
    let on = |a: &&Value| a.get("instance").and_then(Value::as_str) == Some(instance.as_str());
    attachments.iter().find(on)?.get("device")?.as_str().map(str::to_owned)
}

/// Take away what the effect created.
fn remove(resource: &Resource, now: &Facts) -> Reversal {
    let calls = match resource {
        Resource::Instance { id } => vec![Call::Ec2Terminate { instance: id.as_str().into() }],
        Resource::Volume { id } => vec![Call::EbsDeleteVolume { volume: id.as_str().into() }],
        Resource::Snapshot { id } => {
            vec![Call::EbsDeleteSnapshot { snapshot: id.as_str().into() }]
        }
        Resource::Container { host, name } => {
            let (host, container) =
                (InstanceId::from(host.as_str()), ContainerName::from(name.as_str()));
            let stop = Call::DockerStopContainer {
                host: host.clone(),
                container: container.clone(),
                grace_ms: UNDO_GRACE_MS,
            };
            let running = now.get("running") == Some(&Value::Bool(true));
            let remove = Call::DockerRemoveContainer { host, container };
            if running { vec![stop, remove] } else { vec![remove] }
        }
        Resource::DockerVolume { host, name } => vec![Call::DockerRemoveVolume {
            host: host.as_str().into(),
            volume: name.as_str().into(),
        }],
        Resource::Created { .. } | Resource::Image { .. } | Resource::FileSystem { .. } => {
            return Reversal::Cannot(format!("what {resource} became is not known"));
        }
    };
    Reversal::Calls(calls)
}
