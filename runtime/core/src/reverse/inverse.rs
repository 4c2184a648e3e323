//! The inverse of each effect, and how what a stopped instance took down comes back.

use super::{Reversal, Seen, seen_of};
use crate::calls::Call;
use crate::ids::*;
use crate::resource::{Facts, Resource};
use crate::step::{Change, PastEffect};
use serde_json::Value;

/// How long a container gets to stop by itself when an undo stops it.
const UNDO_GRACE_MS: u64 = 30_000;
/// How long an instance's engine may take to answer after the instance runs: a machine boots.
const ENGINE_MS_MAX: u64 = 300_000;

fn text<'a>(facts: &'a Facts, name: &str) -> Option<&'a str> {
    facts.get(name).and_then(Value::as_str)
}

pub(super) fn inverse(call: &Call, main: &Change, now: &Facts) -> Reversal {
    let one = |call| Reversal::Calls(vec![call]);
    match call {
        Call::Ec2RunInstance { .. }
        | Call::EbsCreateVolume { .. }
        | Call::EbsCreateSnapshot { .. }
        | Call::DockerCreateContainer { .. }
        | Call::DockerCreateVolume { .. } => remove(&main.resource, now),
        Call::Ec2Start { instance } => one(Call::Ec2Stop { instance: instance.clone() }),
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
        Call::DockerPullImage { host, image } => name_again(host, image, main),
        Call::DockerTagImage { host, image, .. } => untag(host, image, main),
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

/// Of a stop that may still be under way.
pub(super) fn stop_and_start(stop: &Call) -> Reversal {
    let Call::DockerStopContainer { host, container, .. } = stop else {
        return Reversal::NothingToDo;
    };
    let start = Call::DockerStartContainer { host: host.clone(), container: container.clone() };
    Reversal::Calls(vec![stop.clone(), start])
}

/// A name that meant nothing is taken away again.
fn untag(host: &InstanceId, image: &ImageRef, main: &Change) -> Reversal {
    match main.before.is_absent() {
        true => Reversal::Calls(vec![Call::DockerRemoveImage {
            host: host.clone(),
            image: image.clone(),
        }]),
        false => name_again(host, image, main),
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
        Resource::Created { .. }
        | Resource::Image { .. }
        | Resource::FileSystem { .. }
        | Resource::Containers { .. } => {
            return Reversal::Cannot(format!("what {resource} became is not known"));
        }
    };
    Reversal::Calls(calls)
}

/// Start an instance again, and with it what ran on it; what did not run there is stopped again,
/// should its restart policy bring it up (Docker docs, *Start containers automatically*).
///
/// An engine that can't be asked now, because its instance is down, is asked when it is up: a
/// container that runs already is not started twice.
pub(super) fn start_again(
    instance: &InstanceId,
    is_down: bool,
    effect: &PastEffect,
    now: &[Seen],
) -> Reversal {
    let on_it = effect.changes.iter().skip(1);
    // Undos of other steps may need the engine next, whatever this one has to do there.
    let has_engine = on_it.clone().any(|change| is_container(&change.resource));
    let on_engine: Vec<Call> = on_it.filter_map(|change| as_it_ran(change, now)).collect();
    let mut calls = vec![];
    if is_down {
        calls.push(Call::Ec2Start { instance: instance.clone() });
    }
    if !on_engine.is_empty() || is_down && has_engine {
        let (host, timeout_ms) = (instance.clone(), ENGINE_MS_MAX);
        calls.push(Call::DockerWaitEngine { host, timeout_ms });
        calls.extend(on_engine);
    }
    if calls.is_empty() { Reversal::NothingToDo } else { Reversal::Calls(calls) }
}

fn is_container(resource: &Resource) -> bool {
    matches!(resource, Resource::Container { .. })
}

/// The call that lets a container run, or not run, as it did.
fn as_it_ran(change: &Change, now: &[Seen]) -> Option<Call> {
    let Resource::Container { host, name } = &change.resource else { return None };
    let ran = change.before.get("running")?.as_bool()?;
    let found = seen_of(now, &change.resource).map(|seen| &seen.facts);
    if found.is_some_and(|found| found.is_absent() || found.is_another(&change.before)) {
        return None;
    }
    let runs = found.and_then(|found| found.get("running")).and_then(Value::as_bool);
    let comes_by_itself = !matches!(text(&change.before, "restart"), Some("no"));
    let (host, container) = (InstanceId::from(host.as_str()), ContainerName::from(name.as_str()));
    match (ran, runs) {
        (true, None | Some(false)) => Some(Call::DockerStartContainer { host, container }),
        (false, Some(true)) => {
            Some(Call::DockerStopContainer { host, container, grace_ms: UNDO_GRACE_MS })
        }
        (false, None) if comes_by_itself => {
            Some(Call::DockerStopContainer { host, container, grace_ms: UNDO_GRACE_MS })
        }
        (true, Some(true)) | (false, None | Some(false)) => None,
    }
}
