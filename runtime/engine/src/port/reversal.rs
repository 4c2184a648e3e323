//! Taking effects of the past back: worked out from the world as it is, call by call.

use super::{AttemptPort, cancelled};
use serde_json::Value;
use std::sync::PoisonError;
use stepback_core::reverse::{Reversal, Seen, reverse, reverse_again};
use stepback_core::step::{Change, EffectOutcome};
use stepback_core::*;
use stepback_wasm::Reversed;

impl AttemptPort {
    /// Take an effect back, or say why not.
    pub(super) async fn reversed(&self, effect_id: &str) -> Result<Reversed, Failure> {
        if let Some(failure) = self.divergence() {
            return Err(failure);
        }
        let id = self.next_id();
        let call = Call::Effects(EffectsCall::Reverse { effect: effect_id.to_owned() });
        let planned = match self.recorded(&id) {
            Some(recorded) => self.replayed(id, call, recorded).await?,
            None => {
                let planned = match self.stop.is_stopped() {
                    true => Err(cancelled("effects.reverse")),
                    false => self.plan_reversal(effect_id).await,
                };
                let planned = planned.and_then(|planned| to_json(&planned));
                self.answered(id, call, planned).await?
            }
        };
        match from_json(planned)? {
            Reversal::NothingToDo => Ok(Reversed::NothingToDo),
            Reversal::Kept(why) => Ok(Reversed::Kept(why)),
            Reversal::Cannot(why) => Ok(Reversed::Cannot(why)),
            Reversal::Calls(calls) => {
                let past = self.past.as_ref().map_or(&[][..], |past| &past.effects);
                let effect = past.iter().find(|effect| effect.id.to_string() == effect_id);
                self.now_reversing(effect.map(|effect| effect.id.clone()));
                let made = self.make_all(calls).await;
                self.now_reversing(None);
                made.map(|()| Reversed::Reversed)
            }
        }
    }

    async fn make_all(&self, calls: Vec<Call>) -> Result<(), Failure> {
        for call in calls {
            // What it puts back is from the journal, and no guest wrote it.
            self.made(call, None).await?;
        }
        Ok(())
    }

    fn now_reversing(&self, effect: Option<CallId>) {
        *self.reversing.lock().unwrap_or_else(PoisonError::into_inner) = effect;
    }

    /// Whether a call of now takes an effect of the journal back.
    pub(super) fn is_reversing(&self) -> bool {
        self.reversing.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Why an effect that takes another one back may not be made any more: since it was worked out,
    /// which may be a runner's death ago, somebody else changed the same.
    pub(super) fn came_between(&self, changes: &[Change]) -> Option<Failure> {
        #[cfg(feature = "mutants")]
        if self.access.limits.mutant == Some(crate::mutants::Mutant::TakesStrangers) {
            return None;
        }
        let reversing = self.reversing.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let effect = self.past.as_ref()?.effects.iter().find(|effect| effect.id == reversing)?;
        let seen = |change: &Change| Seen {
            resource: change.resource.clone(),
            facts: change.before.clone(),
            is_stamped: None,
        };
        let seen: Vec<Seen> = changes.iter().map(seen).collect();
        let main = &effect.changes.first()?.resource;
        if !seen.iter().any(|one| one.resource == *main) {
            return None;
        }
        match reverse(effect, &seen) {
            Reversal::Cannot(why) => Some(Failure::new(FailureClass::Precondition, why)),
            Reversal::NothingToDo | Reversal::Calls(_) | Reversal::Kept(_) => None,
        }
    }

    /// Work out how an effect of the past is taken back, from the world as it is now.
    async fn plan_reversal(&self, effect_id: &str) -> Result<Reversal, Failure> {
        let effects = self.past.as_ref().map_or(&[][..], |past| &past.effects);
        let effect = effects.iter().find(|effect| effect.id.to_string() == effect_id);
        let Some(effect) = effect else {
            let message = format!("this step has no effect `{effect_id}`");
            return Err(Failure::new(FailureClass::InvalidInput, message));
        };
        // What an undo did is not undone again: it only ever brings things back. What was done
        // to something the operation made, or took away, goes away with it.
        let undoing = effect.id.of.direction == Direction::Undo;
        if undoing || self.go_with_it.contains(&effect.id) {
            return Ok(Reversal::NothingToDo);
        }
        if let Some(why) = &self.declared
            && self.irreversible.contains(&effect.id)
            && !matches!(effect.outcome, EffectOutcome::Refused(_))
        {
            return Ok(Reversal::Kept(format!("declared irreversible: {why}")));
        }
        let now = self.unless_stopped("effects.reverse", self.access.see_again(effect)).await?;
        #[cfg(feature = "mutants")]
        let now = match self.access.limits.mutant {
            Some(crate::mutants::Mutant::TakesStrangers) => {
                now.into_iter().map(crate::mutants::unrecognized).collect()
            }
            _ => now,
        };
        let reversal = match self.taken_back.contains(&effect.id) {
            true => reverse_again(effect, &now),
            false => reverse(effect, &now),
        };
        // That nothing has its name does not say that it is gone.
        if reversal == Reversal::NothingToDo {
            let look = self.access.is_elsewhere(effect, &now);
            if let Some(there) = self.unless_stopped("effects.reverse", look).await? {
                return Ok(Reversal::Cannot(format!("somebody has renamed it: it is {there}")));
            }
        }
        Ok(reversal)
    }
}

fn to_json(planned: &Reversal) -> Result<Value, Failure> {
    serde_json::to_value(planned)
        .map_err(|error| Failure::new(FailureClass::Internal, error.to_string()))
}

fn from_json(planned: Value) -> Result<Reversal, Failure> {
    serde_json::from_value(planned)
        .map_err(|error| Failure::new(FailureClass::Internal, error.to_string()))
}
