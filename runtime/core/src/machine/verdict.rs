//! The verdict: what was read of the world, compared with the baselines (R8).
//!
//! No undo's word counts here. Equal facts make `restored`; a difference is excused only by an
//! irreversible effect that was declared and may have run; what could not be read is a difference.

use super::*;
use crate::event::{FinalStatus, Kept, NotRestored, Verdict};
use crate::resource::{Facts, Resource, ResourceKind};

/// What verification read of one resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    pub resource: Resource,
    /// The error's text if it could not be read.
    pub now: Result<Facts, String>,
}

impl Machine {
    pub(super) fn handle_observed(
        &mut self,
        observations: Vec<Observation>,
    ) -> Result<(), IllegalEvent> {
        let not_restored: Vec<NotRestored> =
            observations.iter().filter_map(|observation| self.difference(observation)).collect();
        let irreversible_ran = self.irreversible_steps().next().is_some();
        let verdict = if not_restored.iter().any(|difference| !difference.declared) {
            Verdict::Incomplete
        } else if irreversible_ran || !not_restored.is_empty() {
            Verdict::RestoredExceptDeclared
        } else {
            Verdict::Restored
        };
        let kept = self.kept();
        self.emit(Event::Verified { verdict, not_restored, kept })?;
        let status = match verdict {
            Verdict::Restored | Verdict::RestoredExceptDeclared => FinalStatus::RolledBack,
            Verdict::Incomplete => FinalStatus::RollbackFailed,
        };
        self.emit(Event::Finished { status, outputs: BTreeMap::new() })
    }

    fn difference(&self, observation: &Observation) -> Option<NotRestored> {
        let resource = &observation.resource;
        let baseline = self.state.baselines.iter().find(|(known, _)| known == resource);
        let before = baseline.map_or(Facts::Absent, |(_, facts)| facts.clone());
        let (now, mut why) = match &observation.now {
            Ok(now) if *now == before || is_harmless(resource, &before) => return None,
            Ok(now) => (Some(now.clone()), describe_difference(&before, now)),
            Err(error) => (None, format!("it could not be read: {error}")),
        };
        if let Some(undo) = self.undo_error_of(resource) {
            why = format!("{why}; {undo}");
        }
        let declared = now.as_ref().is_some_and(|now| self.is_declared(resource, &before, now));
        let hint = match &now {
            Some(now) => hint(resource, &before, now),
            None => format!("make it reachable, then run `stepback rollback {}`", self.operation),
        };
        Some(NotRestored { resource: resource.clone(), before, now, why, hint, declared })
    }

    /// What the last step that touched the resource said when its undo failed.
    fn undo_error_of(&self, resource: &Resource) -> Option<String> {
        let touching = self.state.steps.iter().filter(|(_, step)| {
            step.undo_error.is_some() && step.touched().any(|touched| touched == resource)
        });
        let (key, step) = touching.max_by_key(|(_, step)| step.order)?;
        step.undo_error.as_ref().map(|error| format!("undoing `{key}`: {error}"))
    }

    fn irreversible_steps(&self) -> impl Iterator<Item = (&StepKey, &crate::step::PastEffect)> {
        self.state.steps.iter().flat_map(|(key, step)| {
            step.effects
                .iter()
                .filter(|effect| effect.id.of.direction == Direction::Do)
                .filter(|effect| !matches!(effect.outcome, EffectOutcome::Refused(_)))
                .filter(|effect| self.state.was_irreversible(effect))
                .map(move |effect| (key, effect))
        })
    }

    /// Whether declared irreversible effects explain every fact that differs.
    fn is_declared(&self, resource: &Resource, before: &Facts, now: &Facts) -> bool {
        let mut left = before.differing(now);
        for (key, effect) in self.irreversible_steps() {
            let declared =
                self.plan.step(&key.step).is_some_and(|step| step.irreversible.is_some());
            for change in effect.changes.iter().filter(|change| change.resource == *resource) {
                match &change.after {
                    _ if !declared => {}
                    Some(after) => {
                        let changed = change.before.differing(after);
                        left.retain(|name| !changed.contains(name));
                    }
                    // Nobody saw what it did, so it may have done all of it.
                    None => left.clear(),
                }
            }
        }
        left.is_empty()
    }

    fn kept(&self) -> Vec<Kept> {
        let kept = self.state.steps.iter().filter_map(|(key, step)| {
            let reason = step.kept.clone()?;
            Some(Kept { step: key.clone(), reason })
        });
        kept.collect()
    }
}

/// An image in a host's cache changes nothing (R8).
fn is_harmless(resource: &Resource, before: &Facts) -> bool {
    resource.kind() == ResourceKind::Image && before.is_absent()
}

fn describe_difference(before: &Facts, now: &Facts) -> String {
    match (before, now) {
        (Facts::Absent, Facts::Present(_)) => "it was not there before".into(),
        (Facts::Present(_), Facts::Absent) => "it is gone".into(),
        (Facts::Absent, Facts::Absent) => "nothing differs".into(),
        (Facts::Present(_), Facts::Present(_)) => {
            let names = before.differing(now);
            let facts: Vec<String> = names
                .iter()
                .map(|name| {
                    let text = |facts: &Facts| {
                        facts.flat_get(name).map_or("nothing".into(), ToString::to_string)
                    };
                    format!("{name} was {} and is {}", text(before), text(now))
                })
                .collect();
            facts.join(", ")
        }
    }
}

/// What a person can paste to put the resource back.
fn hint(resource: &Resource, before: &Facts, now: &Facts) -> String {
    match (resource, before.is_absent(), now.is_absent()) {
        (Resource::Volume { id }, true, false) => format!("aws ec2 delete-volume --volume-id {id}"),
        (Resource::Volume { id }, false, false) => attachment_hint(id, before, now),
        (Resource::Snapshot { id }, true, false) => {
            format!("aws ec2 delete-snapshot --snapshot-id {id}")
        }
        (Resource::Instance { id }, true, false) => {
            format!("aws ec2 terminate-instances --instance-ids {id}")
        }
        (Resource::Instance { id }, false, false) => match before.get("state") {
            Some(Value::String(state)) if state == "running" => {
                format!("aws ec2 start-instances --instance-ids {id}")
            }
            _ => format!("aws ec2 describe-instances --instance-ids {id}"),
        },
        (Resource::Container { host, name }, true, false) => {
            format!("on {host}: docker rm -f {name}")
        }
        (Resource::Container { host, name }, false, false) => {
            container_hint(host, name, before, now)
        }
        (Resource::DockerVolume { host, name }, true, false) => {
            format!("on {host}: docker volume rm {name}")
        }
        (_, false, true) => format!("{resource} is gone: make it anew as it was ({before})"),
        _ => format!("look at {resource}; it was: {before}"),
    }
}

fn container_hint(host: &str, name: &str, before: &Facts, now: &Facts) -> String {
    let differs = |fact: &str| before.get(fact) != now.get(fact);
    let mut commands = vec![];
    if let Some(Value::String(restart)) = before.get("restart")
        && differs("restart")
    {
        commands.push(format!("docker update --restart {restart} {name}"));
    }
    match before.get("running") {
        Some(Value::Bool(true)) if differs("running") => {
            commands.push(format!("docker start {name}"));
        }
        Some(Value::Bool(false)) if differs("running") => {
            commands.push(format!("docker stop {name}"));
        }
        _ => {}
    }
    let shape = ["image", "digest", "env", "mounts", "ports", "command", "networks", "config"];
    if commands.is_empty() || shape.into_iter().any(differs) {
        commands.insert(0, format!("docker inspect {name}"));
    }
    format!("on {host}: {}", commands.join(" && "))
}

fn tag_hints(id: &str, before: &Facts, now: &Facts) -> Vec<String> {
    let tags = |facts: &Facts| match facts.get("tags") {
        Some(Value::Object(tags)) => tags.clone(),
        _ => serde_json::Map::new(),
    };
    let (was, is) = (tags(before), tags(now));
    let surplus = is.keys().filter(|key| !was.contains_key(*key));
    let surplus =
        surplus.map(|key| format!("aws ec2 delete-tags --resources {id} --tags 'Key={key}'"));
    let lost = was.iter().filter(|(key, value)| is.get(*key) != Some(value));
    let lost = lost.map(|(key, value)| {
        let value = value.as_str().unwrap_or_default();
        format!("aws ec2 create-tags --resources {id} --tags 'Key={key},Value={value}'")
    });
    surplus.chain(lost).collect()
}

fn attachment_hint(volume: &str, before: &Facts, now: &Facts) -> String {
    let attachments = |facts: &Facts| match facts.get("attachments") {
        Some(Value::Array(list)) => list.clone(),
        _ => vec![],
    };
    let text = |attachment: &Value, name: &str| {
        attachment.get(name).and_then(Value::as_str).unwrap_or("?").to_owned()
    };
    let (was, is) = (attachments(before), attachments(now));
    let detach = is.iter().filter(|a| !was.contains(a)).map(|a| {
        let instance = text(a, "instance");
        format!("aws ec2 detach-volume --volume-id {volume} --instance-id {instance}")
    });
    let attach = was.iter().filter(|a| !is.contains(a)).map(|a| {
        let (instance, device) = (text(a, "instance"), text(a, "device"));
        format!(
            "aws ec2 attach-volume --volume-id {volume} --instance-id {instance} --device {device}"
        )
    });
    let commands: Vec<String> =
        detach.chain(attach).chain(tag_hints(volume, before, now)).collect();
    if commands.is_empty() {
        format!("aws ec2 describe-volumes --volume-ids {volume}")
    } else {
        commands.join(" && ")
    }
}
