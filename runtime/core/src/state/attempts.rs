//! What an event of an attempt makes of its step: calls are answered, effects are made.

use super::*;
use crate::calls::{Call, Class, EffectsCall, Reversal};
use crate::event::{AttemptResult, Event, Record};
use crate::reverse::was_seen_as_before;
use crate::state::step::*;

impl State {
    fn finish_effect(
        &mut self,
        id: &CallId,
        outcome: &EffectOutcome,
        changes: &[Change],
    ) -> Result<(), String> {
        let step = self.open_attempt(&id.of)?;
        finish_call(step, id)?;
        let effect = step.effects.iter_mut().find(|effect| effect.id == *id);
        let effect = effect.ok_or("the call was not started")?;
        effect.outcome = outcome.clone();
        effect.changes = changes.to_vec();
        let call = effect.call.clone();
        if !matches!(outcome, EffectOutcome::Refused(_)) {
            self.note_owner(&call, changes);
            self.note_unsaid(&id.of.step, &call, outcome, changes);
            for change in changes {
                self.note_baseline(&change.resource, &change.before, id.of.direction);
            }
        }
        Ok(())
    }

    pub(super) fn take_attempt(&mut self, record: &Record) -> Result<(), String> {
        match &record.event {
            Event::AttemptStarted { of } => self.start_attempt(of, record.at),
            Event::CallAnswered { id, call, result } => {
                let step = self.open_attempt(&id.of)?;
                let open = step.open.as_mut().ok_or("no attempt is open")?;
                next_call(open, id)?;
                end_hold(open, record.at);
                let (call, result) = (call.clone(), result.clone());
                open.calls.push(RecordedCall::Answered { call, at: record.at, result });
                open.wait = None;
                Ok(())
            }
            Event::WaitBegun { id, call, since } => {
                let open = self.open_attempt(&id.of)?.open.as_mut().ok_or("no attempt is open")?;
                next_call(open, id)?;
                if call.class() != Class::Wait || open.wait.is_some() {
                    return Err("no wait can begin here".into());
                }
                let wait = BegunWait { call: call.clone(), since: *since, paused_ms: 0 };
                open.wait = Some(Box::new(wait));
                Ok(())
            }
            Event::EffectWaits { id, call, behind } => {
                let open = self.open_attempt(&id.of)?.open.as_mut().ok_or("no attempt is open")?;
                next_call(open, id)?;
                if !call.is_effect() || open.wait.is_some() {
                    return Err("no effect can wait here".into());
                }
                if behind.is_empty() {
                    end_hold(open, record.at);
                    return Ok(());
                }
                let since = open.held.as_ref().map_or(record.at, |held| held.since);
                let (id, call, behind) = (id.clone(), call.clone(), behind.clone());
                open.held = Some(Box::new(HeldEffect { id, call, behind, since }));
                Ok(())
            }
            Event::CallStarted { id, call, token, changes } => {
                self.start_effect(record, id, call, token, changes)
            }
            Event::CallFinished { id, outcome, changes } => {
                self.finish_effect(id, outcome, changes)
            }
            Event::AttemptFinished { of, result } => self.finish_attempt(of, result, record.at),
            other => unreachable!("`{}` is not about an attempt", other.name()),
        }
    }

    fn start_effect(
        &mut self,
        record: &Record,
        id: &CallId,
        call: &Call,
        token: &Token,
        changes: &[Change],
    ) -> Result<(), String> {
        let harmless = !self.is_irreversible(call, changes);
        if call.class() == Class::Irreversible && harmless {
            self.own_effects.insert(id.clone());
        }
        // An undo, too, may start again what ran before.
        if self.starts_unsaid(call, changes) {
            self.unsaid_starts.insert(id.clone());
        }
        let step = self.open_attempt(&id.of)?;
        let index = step.effects.len();
        let open = step.open.as_mut().ok_or("no attempt is open")?;
        next_call(open, id)?;
        end_hold(open, record.at);
        open.calls.push(RecordedCall::Effect { index, finished: false });
        step.effect_seqs.push(record.seq);
        step.effects.push(PastEffect {
            id: id.clone(),
            call: call.clone(),
            token: token.clone(),
            outcome: EffectOutcome::Unknown("no answer yet".into()),
            changes: changes.to_vec(),
        });
        for change in changes {
            self.note_baseline(&change.resource, &change.before, id.of.direction);
        }
        Ok(())
    }

    fn start_attempt(&mut self, of: &AttemptId, at: UnixMs) -> Result<(), String> {
        let step = &mut **self.steps.get_mut(&of.step).ok_or("the step has not started")?;
        if step.open.is_some() {
            return Err("another attempt is open".into());
        }
        let (last, allowed) = match of.direction {
            Direction::Do => (
                &mut step.attempts,
                matches!(step.status, StepStatus::Pending | StepStatus::WaitingRetry),
            ),
            Direction::Undo => (&mut step.undo_attempts, step.status == StepStatus::Undoing),
        };
        if !allowed || of.attempt.0 != last.0 + 1 {
            return Err(format!("step `{}` is {:?} at attempt {}", of.step, step.status, last.0));
        }
        *last = of.attempt;
        if of.direction == Direction::Do {
            step.status = StepStatus::Running;
            step.not_before = None;
            step.started_at.get_or_insert(at);
        }
        let id = of.clone();
        let (calls, wait, held) = (vec![], None, None);
        step.open = Some(OpenAttempt { id, started_at: at, paused_ms: 0, calls, wait, held });
        Ok(())
    }

    fn finish_attempt(
        &mut self,
        of: &AttemptId,
        result: &AttemptResult,
        at: UnixMs,
    ) -> Result<(), String> {
        let committed = self.committed;
        let step = self.open_attempt(of)?;
        if (of.direction == Direction::Do) != is_output(result)
            && !matches!(result, AttemptResult::Failed(_))
        {
            return Err("the result does not fit the attempt's direction".into());
        }
        if let Some(open) = step.open.take() {
            let taken_back = taken_back(&open, step);
            step.taken_back.extend(taken_back);
        }
        step.finished_at = Some(at);
        match (result, of.direction) {
            (AttemptResult::Output(output), _) => {
                step.status = StepStatus::Done;
                step.output = Some(output.clone());
                step.error = None;
            }
            (AttemptResult::Failed(failure), Direction::Do) => {
                let left = if committed { StepStatus::Leftover } else { StepStatus::Failed };
                step.status = left;
                step.error = Some(failure.clone());
            }
            (AttemptResult::Failed(failure), Direction::Undo) => {
                step.undo_error = Some(failure.message.clone());
            }
            (AttemptResult::Undo(_), _) => {}
        }
        Ok(())
    }
}

/// The effects that an attempt took back: those of which it was told that nothing was to be done,
/// or all of whose calls were made, the last of which was seen to.
fn taken_back(open: &OpenAttempt, step: &StepState) -> Vec<CallId> {
    let made = |call: &RecordedCall| match call {
        RecordedCall::Effect { index, .. } => {
            let made = step.effects.get(*index);
            made.filter(|made| matches!(made.outcome, EffectOutcome::Done(_)))
        }
        RecordedCall::Answered { .. } => None,
    };
    // A wait among them; one that failed ended the reversal.
    let is_over = |call: &RecordedCall| {
        matches!(call, RecordedCall::Answered { call, result: Ok(_), .. }
            if call.class() == Class::Wait)
    };
    let of = |(place, call): (usize, &RecordedCall)| {
        let RecordedCall::Answered { call, result: Ok(planned), .. } = call else { return None };
        let Call::Effects(EffectsCall::Reverse { effect }) = call else { return None };
        let effect = step.effects.iter().find(|one| one.id.to_string() == *effect)?;
        let is_taken_back = match serde_json::from_value(planned.clone()).ok()? {
            Reversal::NothingToDo => true,
            Reversal::Calls(calls) => {
                let calls = open.calls.get(place + 1..place + 1 + calls.len())?;
                let effects = calls.iter().filter(|call| !is_over(call));
                let last = effects.map(made).collect::<Option<Vec<_>>>()?.pop();
                last.is_none_or(|last| was_seen_as_before(effect, last))
            }
            Reversal::Kept(_) | Reversal::Cannot(_) => false,
        };
        is_taken_back.then(|| effect.id.clone())
    };
    open.calls.iter().enumerate().filter_map(of).collect()
}

/// The time that an effect waited for other steps does not count against its own step.
fn end_hold(open: &mut OpenAttempt, at: UnixMs) {
    if let Some(held) = open.held.take() {
        open.paused_ms = open.paused_ms.saturating_add(at.since_ms(held.since));
    }
}

/// Note that the effect's outcome is known; an effect has one outcome only.
fn finish_call(step: &mut StepState, id: &CallId) -> Result<(), String> {
    let open = step.open.as_mut().ok_or("no attempt is open")?;
    let index = (id.number.0 as usize).checked_sub(1).ok_or("calls count from 1")?;
    match open.calls.get_mut(index) {
        Some(RecordedCall::Effect { finished, .. }) if !*finished => {
            *finished = true;
            Ok(())
        }
        _ => Err(format!("call {} is not an effect in flight", id.number.0)),
    }
}

fn next_call(open: &OpenAttempt, id: &CallId) -> Result<(), String> {
    let expected = open.calls.len() as u32 + 1;
    if id.number.0 == expected {
        Ok(())
    } else {
        Err(format!("call {} came where {expected} was due", id.number.0))
    }
}
