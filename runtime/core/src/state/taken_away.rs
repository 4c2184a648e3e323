//! What an operation did to something, and then did to the same again: how it is by the last of it.

use super::State;
use crate::resource::{Facts, Resource};
use crate::step::{EffectOutcome, PastEffect};

impl State {
    /// The effects on a resource that came after this one; what was refused is none.
    pub fn effects_after<'a>(
        &'a self,
        effect: &PastEffect,
        resource: &'a Resource,
    ) -> impl Iterator<Item = &'a PastEffect> {
        let of_steps = self.steps.values();
        let all = of_steps.flat_map(|step| step.effect_seqs.iter().zip(&step.effects));
        let at = all.clone().find(|(_, one)| one.id == effect.id).map(|(seq, _)| *seq);
        let later = all.filter(move |(seq, _)| at.is_some_and(|at| **seq > at));
        later.map(|(_, one)| one).filter(move |one| {
            !matches!(one.outcome, EffectOutcome::Refused(_))
                && one.changes.iter().any(|change| change.resource == *resource)
        })
    }

    /// How the operation left a resource on an instance that did not run when it came: when that is
    /// stopped again, nobody can say any more.
    pub fn left_on_a_host_that_was_down(&self, resource: &Resource) -> Option<Facts> {
        let steps = self.steps.values().filter(|_| self.was_down(resource));
        let effects = steps.flat_map(|step| step.effect_seqs.iter().zip(&step.effects));
        let of = effects.filter_map(|(seq, effect)| {
            let at = effect.changes.iter().position(|change| change.resource == *resource)?;
            Some((*seq, effect, at))
        });
        let mut all: Vec<_> = of.collect();
        all.sort_by_key(|(seq, ..)| std::cmp::Reverse(*seq));
        for (_, effect, at) in all {
            let change = &effect.changes[at];
            let goes_down = at > 0 && effect.call.beside().is_some();
            match (&change.after, &change.before) {
                (Some(after), _) => return Some(after.clone()),
                // It went down with its instance just after it was looked at.
                (None, before @ Facts::Present(_)) if goes_down => {
                    return Some(before.without_power());
                }
                // Nobody saw it then, and nothing else was done to it.
                (None, Facts::Unknown(_)) if goes_down => {}
                // What was read before that tells nothing of it.
                (None, _) => return None,
            }
        }
        None
    }

    /// Whether an effect without an inverse took away what this one was about: what it did is gone
    /// with that, and there is nothing left to take back.
    pub fn is_taken_away(&self, effect: &PastEffect) -> bool {
        let Some(main) = effect.changes.first() else { return false };
        let takes_away = |later: &PastEffect| {
            let of = later.changes.iter().find(|change| change.resource == main.resource);
            of.is_some_and(|change| change.after == Some(Facts::Absent))
        };
        let mut later = self.effects_after(effect, &main.resource);
        later.any(|later| self.was_irreversible(later) && takes_away(later))
    }
}
