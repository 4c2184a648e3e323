//! What was made past the commit point by attempts that failed.

use super::{State, StepState, StepStatus};
use crate::ids::{Direction, StepKey};
use crate::resource::{Facts, Resource};
use crate::step::{Change, EffectOutcome, PastEffect};

impl State {
    /// What attempts made after the commit point that failed: nothing takes that back, and no
    /// output tells of it.
    pub fn made_in_vain(&self) -> impl Iterator<Item = (&StepKey, &Resource)> {
        let of = |step: &'_ StepState, effect: &PastEffect| {
            self.committed
                && effect.id.of.direction == Direction::Do
                && (effect.id.of.attempt < step.attempts || step.status == StepStatus::Leftover)
                && !matches!(effect.outcome, EffectOutcome::Refused(_))
                // That is cleared away.
                && !effect.call.entry().leaves_behind
        };
        let all = self.steps.iter().flat_map(move |(key, step)| {
            let effects = step.not_dealt_with().iter().filter(move |effect| of(step, effect));
            effects.flat_map(|effect| &effect.changes).map(move |change| (key, change))
        });
        let is_made = |change: &Change| {
            change.before.is_absent() && matches!(change.after, Some(Facts::Present(_)))
        };
        let is_gone = |resource: &Resource| {
            let effects = self.steps.values().flat_map(|step| &step.effects);
            let mut changes = effects.flat_map(|effect| &effect.changes);
            changes.any(|one| one.resource == *resource && one.after == Some(Facts::Absent))
        };
        all.filter(move |(_, change)| is_made(change) && !is_gone(&change.resource))
            .map(|(key, change)| (key, &change.resource))
    }
}
