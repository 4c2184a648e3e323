//! The verdict: what was read of the world, compared with the baselines (R8).
//!
//! No undo's word counts here. Equal facts make `restored`; a difference is excused only by an
//! irreversible effect that was declared and may have run; what could not be read is a difference.

use super::hint;
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
        let (outputs, unknown_outputs) = (BTreeMap::new(), BTreeMap::new());
        self.emit(Event::Finished { status, outputs, unknown_outputs })
    }

    fn difference(&self, observation: &Observation) -> Option<NotRestored> {
        let resource = &observation.resource;
        let baseline = self.state.baselines.iter().find(|(known, _)| known == resource);
        let before = baseline.map_or(Facts::Absent, |(_, facts)| facts.clone());
        let (now, mut why) = match &observation.now {
            Ok(now) if now.is_as(&before) || is_harmless(resource, &before) => return None,
            Ok(now) => (Some(now.clone()), describe_difference(&before, now)),
            Err(error) => (None, format!("it could not be read: {error}")),
        };
        if let Some(undo) = self.undo_error_of(resource) {
            why = format!("{why}; {undo}");
        }
        let declared = now.as_ref().is_some_and(|now| self.is_declared(resource, &before, now));
        let hint = match &now {
            Some(now) => hint::hint(self.cloud(), resource, &before, now),
            None => format!("make it reachable, then run `stepback rollback {}`", self.operation),
        };
        Some(NotRestored { resource: resource.clone(), before, now, why, hint, declared })
    }

    fn cloud(&self) -> hint::Cloud {
        let world = self.state.pinned.as_ref().map(|pinned| &pinned.world);
        match world.and_then(|world| world.get("onebox")) {
            Some(_) => hint::Cloud::Onebox,
            None => hint::Cloud::Ec2,
        }
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
