//! The transition table: which event may follow which, and what it makes of the state (R2).
//!
//! Two looks at each event: first whether the operation's status allows it ([`legal`]), then what
//! it does to the step or operation it names. Neither has a catch-all.

use crate::call::Class;
use crate::event::{AttemptResult, Event, Record, UndoResult};
use crate::ids::*;
use crate::state::*;
use crate::step::{EffectOutcome, PastEffect};

impl State {
    /// Take one record into the state.
    ///
    /// # Errors
    /// [`IllegalEvent`] if the record is out of sequence or can't follow what came before; the
    /// state is then to be thrown away.
    pub fn apply(&mut self, record: &Record) -> Result<(), IllegalEvent> {
        let illegal =
            |why: String| IllegalEvent { seq: record.seq, event: record.event.name(), why };
        if record.seq.0 != self.last_seq.0 + 1 {
            return Err(illegal(format!("event {} came last", self.last_seq.0)));
        }
        legal(self, &record.event).map_err(illegal)?;
        self.last_seq = record.seq;
        self.last_at = self.last_at.max(record.at);
        self.take(record).map_err(illegal)?;
        if let Some(key) = record.event.step() {
            self.note_activity(key);
        }
        Ok(())
    }

    fn take(&mut self, record: &Record) -> Result<(), String> {
        match &record.event {
            Event::Created(_)
            | Event::Refused { .. }
            | Event::Started
            | Event::TakenUp { .. }
            | Event::CancelRequested { .. }
            | Event::DowntimeStarted
            | Event::DowntimeEnded { .. }
            | Event::Committed
            | Event::RollbackStarted { .. }
            | Event::Verified { .. }
            | Event::Finished { .. }
            | Event::RollbackResumed { .. }
            | Event::Accepted { .. } => {
                self.take_operation(record);
                Ok(())
            }
            Event::StepExpanded { step, instances } => {
                match self.expanded.insert(step.clone(), instances.clone()) {
                    None => Ok(()),
                    Some(_) => Err("the step was expanded before".into()),
                }
            }
            Event::StepSkipped { step } => {
                self.must_be_new(step)?;
                self.new_step(step, StepStatus::Skipped, serde_json::Value::Null, record.at);
                Ok(())
            }
            Event::StepStarted { step, with } => {
                self.must_be_new(step)?;
                self.new_step(step, StepStatus::Running, with.clone(), record.at);
                Ok(())
            }
            Event::AttemptStarted { .. }
            | Event::CallAnswered { .. }
            | Event::WaitBegun { .. }
            | Event::CallStarted { .. }
            | Event::CallFinished { .. }
            | Event::AttemptFinished { .. } => self.take_attempt(record),
            Event::RetryScheduled { .. } | Event::UndoStarted { .. } | Event::UndoEnded { .. } => {
                self.take_step(record)
            }
        }
    }

    fn must_be_new(&self, step: &StepKey) -> Result<(), String> {
        match self.steps.get(step) {
            None => Ok(()),
            Some(_) => Err(format!("step `{step}` was started or skipped before")),
        }
    }

    fn take_operation(&mut self, record: &Record) {
        match &record.event {
            Event::Created(pinned) => {
                self.pinned = Some((**pinned).clone());
                self.created_at = record.at;
            }
            Event::Refused { reasons } => {
                self.status = Status::Refused;
                self.refusals = reasons.clone();
                self.finished_at = Some(record.at);
            }
            Event::Started => {
                self.status = Status::Running;
                self.started_at = Some(record.at);
            }
            Event::TakenUp { actor: _, dead_ms } => {
                for step in self.steps.values_mut() {
                    if let Some(open) = &mut step.open {
                        open.paused_ms += dead_ms;
                        if let Some(wait) = &mut open.wait {
                            wait.paused_ms += dead_ms;
                        }
                    }
                }
            }
            Event::CancelRequested { actor, reason } => {
                self.cancel = Some((actor.clone(), reason.clone()));
            }
            Event::DowntimeStarted => self.downtime_started_at = Some(record.at),
            Event::DowntimeEnded { downtime_ms } => self.downtime_ms = Some(*downtime_ms),
            Event::Committed => self.committed = true,
            Event::RollbackStarted { cause, why } => {
                self.status = Status::RollingBack;
                self.cause = Some(*cause);
                self.why = Some(why.clone());
            }
            Event::Verified { verdict, not_restored, kept } => {
                self.verdict = Some(*verdict);
                self.not_restored = not_restored.clone();
                self.kept = kept.clone();
            }
            Event::Finished { status, outputs, unknown_outputs } => {
                self.status = final_status(*status);
                self.outputs = outputs.clone();
                self.unknown_outputs = unknown_outputs.clone();
                self.finished_at = Some(record.at);
            }
            Event::RollbackResumed { .. } => self.reopen_rollback(),
            Event::Accepted { actor, reason } => {
                self.accepted = Some((actor.clone(), reason.clone()));
            }
            other => unreachable!("`{}` is not about the operation", other.name()),
        }
    }

    /// Back to where the failed undos and the verification are still to come.
    fn reopen_rollback(&mut self) {
        self.status = Status::RollingBack;
        self.finished_at = None;
        self.verdict = None;
        self.not_restored = vec![];
        self.kept = vec![];
        for step in self.steps.values_mut() {
            if step.status == StepStatus::UndoFailed {
                step.status = match step.output {
                    Some(_) => StepStatus::Done,
                    None => StepStatus::Failed,
                };
            }
        }
        let keys: Vec<StepKey> = self.steps.keys().cloned().collect();
        keys.iter().for_each(|key| self.note_activity(key));
    }

    fn take_attempt(&mut self, record: &Record) -> Result<(), String> {
        match &record.event {
            Event::AttemptStarted { of } => self.start_attempt(of, record.at),
            Event::CallAnswered { id, call, result } => {
                let step = self.open_attempt(&id.of)?;
                let open = step.open.as_mut().ok_or("no attempt is open")?;
                next_call(open, id)?;
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
            Event::CallStarted { id, call, token, changes } => {
                let harmless = !self.is_irreversible(call, changes);
                if call.class() == Class::Irreversible && harmless {
                    self.own_effects.insert(id.clone());
                }
                let step = self.open_attempt(&id.of)?;
                let index = step.effects.len();
                let open = step.open.as_mut().ok_or("no attempt is open")?;
                next_call(open, id)?;
                open.calls.push(RecordedCall::Effect { index, finished: false });
                step.effects.push(PastEffect {
                    id: id.clone(),
                    call: call.clone(),
                    token: token.clone(),
                    outcome: EffectOutcome::Unknown("no answer yet".into()),
                    changes: changes.clone(),
                });
                for change in changes {
                    self.note_baseline(&change.resource, &change.before);
                }
                Ok(())
            }
            Event::CallFinished { id, outcome, changes } => {
                let step = self.open_attempt(&id.of)?;
                finish_call(step, id)?;
                let effect = step.effects.iter_mut().find(|effect| effect.id == *id);
                let effect = effect.ok_or("the call was not started")?;
                effect.outcome = outcome.clone();
                effect.changes = changes.clone();
                let call = effect.call.clone();
                if !matches!(outcome, EffectOutcome::Refused(_)) {
                    self.note_owner(&call, changes);
                    for change in changes {
                        self.note_baseline(&change.resource, &change.before);
                    }
                }
                Ok(())
            }
            Event::AttemptFinished { of, result } => self.finish_attempt(of, result, record.at),
            other => unreachable!("`{}` is not about an attempt", other.name()),
        }
    }

    fn start_attempt(&mut self, of: &AttemptId, at: UnixMs) -> Result<(), String> {
        let step = self.steps.get_mut(&of.step).ok_or("the step has not started")?;
        if step.open.is_some() {
            return Err("another attempt is open".into());
        }
        let (last, allowed) = match of.direction {
            Direction::Do => (
                &mut step.attempts,
                matches!(step.status, StepStatus::Running | StepStatus::WaitingRetry),
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
        }
        let id = of.clone();
        step.open =
            Some(OpenAttempt { id, started_at: at, paused_ms: 0, calls: vec![], wait: None });
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
        step.open = None;
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

    fn take_step(&mut self, record: &Record) -> Result<(), String> {
        match &record.event {
            Event::RetryScheduled { step, not_before } => {
                let step = self.steps.get_mut(step).ok_or("the step has not started")?;
                match step.status {
                    StepStatus::Failed
                    | StepStatus::Leftover
                    | StepStatus::Undone
                    | StepStatus::Kept => {
                        step.status = StepStatus::WaitingRetry;
                        step.not_before = Some(*not_before);
                        Ok(())
                    }
                    other => Err(format!("the step is {other:?}")),
                }
            }
            Event::UndoStarted { step, attempt: _, past } => {
                let step = self.steps.get_mut(step).ok_or("the step has not started")?;
                match step.status {
                    StepStatus::Failed
                    | StepStatus::Done
                    | StepStatus::Undoing
                    | StepStatus::WaitingRetry
                    | StepStatus::UndoFailed
                        if step.open.is_none() =>
                    {
                        if step.status != StepStatus::Undoing {
                            step.undo_attempts_before = step.undo_attempts;
                        }
                        step.status = StepStatus::Undoing;
                        step.past = Some(past.clone());
                        Ok(())
                    }
                    other => Err(format!("the step is {other:?}")),
                }
            }
            Event::UndoEnded { step, result } => {
                let at = record.at;
                let step = self.steps.get_mut(step).ok_or("the step has not started")?;
                if step.open.is_some() {
                    return Err("an attempt is open".into());
                }
                step.status = undo_status(result);
                match result {
                    UndoResult::Undone => step.undo_error = None,
                    UndoResult::Kept(why) => step.kept = Some(why.clone()),
                    UndoResult::Failed(why) => step.undo_error = Some(why.clone()),
                }
                step.finished_at = Some(at);
                Ok(())
            }
            other => unreachable!("`{}` is not about a step", other.name()),
        }
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

/// Whether the operation's status allows the event.
fn legal(state: &State, event: &Event) -> Result<(), String> {
    let status = state.status;
    let allowed = match event {
        Event::Created(_) => state.pinned.is_none(),
        Event::Refused { .. } | Event::Started => {
            state.pinned.is_some() && status == Status::Queued
        }
        Event::TakenUp { .. } => state.pinned.is_some() && !status.is_final(),
        Event::CancelRequested { .. } => {
            matches!(status, Status::Queued | Status::Running) && !state.committed
        }
        Event::StepExpanded { .. }
        | Event::StepSkipped { .. }
        | Event::StepStarted { .. }
        | Event::RetryScheduled { .. } => status == Status::Running,
        Event::AttemptStarted { .. }
        | Event::CallAnswered { .. }
        | Event::WaitBegun { .. }
        | Event::CallStarted { .. }
        | Event::CallFinished { .. }
        | Event::AttemptFinished { .. } => {
            matches!(status, Status::Running | Status::RollingBack)
        }
        Event::DowntimeStarted => status == Status::Running && state.downtime_started_at.is_none(),
        Event::DowntimeEnded { .. } => {
            matches!(status, Status::Running | Status::RollingBack)
                && state.downtime_started_at.is_some()
                && state.downtime_ms.is_none()
        }
        Event::Committed => status == Status::Running && !state.committed,
        Event::RollbackStarted { .. } => {
            status == Status::Running && !state.committed && state.open_attempts().next().is_none()
        }
        // While still running, an undo takes back one failed attempt before its retry (R5).
        Event::UndoStarted { .. } | Event::UndoEnded { .. } => {
            matches!(status, Status::Running | Status::RollingBack) && !state.committed
        }
        Event::Verified { .. } => status == Status::RollingBack && state.verdict.is_none(),
        Event::Finished { .. } => match status {
            Status::Running => state.committed,
            Status::RollingBack => state.verdict.is_some(),
            Status::Queued
            | Status::Refused
            | Status::Succeeded
            | Status::RolledBack
            | Status::RollbackFailed => false,
        },
        Event::RollbackResumed { .. } | Event::Accepted { .. } => {
            status == Status::RollbackFailed && state.accepted.is_none()
        }
    };
    if allowed {
        Ok(())
    } else {
        Err(format!("the operation is {status:?}, committed: {}", state.committed))
    }
}
