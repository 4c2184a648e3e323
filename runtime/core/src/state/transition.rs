//! The transition table: which event may follow which, and what it makes of the state (R2).
//!
//! Two looks at each event: first whether the operation's status allows it ([`legal`]), then what
//! it does to the step or operation it names. Neither has a catch-all.

use super::*;
use crate::event::{Event, Record, UndoResult};
use crate::ids::*;
use crate::state::step::*;

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
        self.used.note(&record.event);
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
            | Event::Accepted { .. }
            | Event::Abandoned { .. } => {
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
                self.new_step(step, StepStatus::Pending, with.clone(), record.at);
                Ok(())
            }
            Event::AttemptStarted { .. }
            | Event::CallAnswered { .. }
            | Event::WaitBegun { .. }
            | Event::EffectWaits { .. }
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

    /// Nobody ran the operation for so long.
    fn stand_still(&mut self, dead_ms: u64) {
        // What is not changed stays the same that copies have.
        for step in self.steps.values_mut().filter(|step| step.open.is_some()) {
            // While an effect waits for other steps, its step's time stands still anyway.
            if let Some(open) = step.open.as_mut().filter(|open| open.held.is_none()) {
                open.paused_ms = open.paused_ms.saturating_add(dead_ms);
                if let Some(wait) = &mut open.wait {
                    wait.paused_ms = wait.paused_ms.saturating_add(dead_ms);
                }
            }
        }
    }

    fn take_operation(&mut self, record: &Record) {
        match &record.event {
            Event::Created(pinned) => {
                self.pinned = Some(pinned.clone());
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
            Event::TakenUp { actor: _, dead_ms, secrets } => {
                self.given.extend(secrets.clone());
                // Whoever verified it died before it ended: the world is read again.
                self.verdict = None;
                self.stand_still(*dead_ms);
            }
            Event::CancelRequested { actor, reason } => {
                self.cancel = Some((actor.clone(), reason.clone()));
            }
            Event::DowntimeStarted => self.downtime.since = Some(record.at),
            Event::DowntimeEnded { downtime_ms } => {
                let closed_ms = self.downtime.closed_ms.unwrap_or_default();
                self.downtime.closed_ms = Some(closed_ms.saturating_add(*downtime_ms));
                self.downtime.since = None;
            }
            Event::Committed => self.committed = true,
            Event::RollbackStarted { cause, why } => {
                self.status = Status::RollingBack;
                (self.cause, self.why) = (Some(*cause), Some(why.clone()));
                self.give_up_retries();
            }
            Event::Verified { verdict, not_restored, kept, not_compared } => {
                self.verdict = Some(*verdict);
                self.not_restored = not_restored.clone();
                self.not_compared = not_compared.clone();
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
            Event::Abandoned { actor, reason, unknown, elsewhere } => {
                self.abandoned = Some(Abandoned {
                    actor: actor.clone(),
                    reason: reason.clone(),
                    unknown: unknown.clone(),
                    elsewhere: elsewhere.clone(),
                });
                self.abandon(record.at);
            }
            other => unreachable!("`{}` is not about the operation", other.name()),
        }
    }

    /// What waits to be tried again, and has left nothing to take back, is not tried any more.
    fn give_up_retries(&mut self) {
        let waits = |step: &StepState| step.status == StepStatus::WaitingRetry;
        let idle = self.active_steps().filter(|(_, step)| waits(step) && !step.needs_undo());
        let idle: Vec<StepKey> = idle.map(|(key, _)| key.clone()).collect();
        for key in idle {
            if let Some(step) = self.steps.get_mut(&key) {
                (step.status, step.not_before) = (StepStatus::Failed, None);
            }
        }
    }

    /// Nothing goes on: what was under way is over, unfinished.
    fn abandon(&mut self, at: UnixMs) {
        let committed = self.committed;
        for step in self.steps.values_mut() {
            (step.open, step.not_before) = (None, None);
            step.status = match step.status {
                StepStatus::Running | StepStatus::WaitingRetry | StepStatus::Failed
                    if committed =>
                {
                    StepStatus::Leftover
                }
                StepStatus::Running | StepStatus::WaitingRetry => StepStatus::Failed,
                StepStatus::Undoing => StepStatus::UndoFailed,
                ended @ (StepStatus::Pending
                | StepStatus::Skipped
                | StepStatus::Done
                | StepStatus::Failed
                | StepStatus::Undone
                | StepStatus::Kept
                | StepStatus::UndoFailed
                | StepStatus::Leftover) => ended,
            };
        }
        self.active.clear();
        self.finished_at = Some(at);
        if committed {
            self.status = Status::Succeeded;
        } else {
            self.status = Status::Abandoned;
            self.verdict = Some(Verdict::Incomplete);
        }
    }

    /// Back to where the failed undos and the verification are still to come.
    fn reopen_rollback(&mut self) {
        self.status = Status::RollingBack;
        self.finished_at = None;
        self.verdict = None;
        self.not_restored = vec![];
        self.not_compared = vec![];
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
                if !matches!(result, UndoResult::Failed(_)) {
                    step.effects_dealt_with = step.effects.len();
                }
                match result {
                    UndoResult::Undone => step.undo_error = None,
                    // It may not have been tried before, because another one had failed.
                    UndoResult::Kept(why) => {
                        step.undo_error = None;
                        step.kept = Some(why.clone());
                    }
                    UndoResult::Failed(why) => step.undo_error = Some(why.clone()),
                }
                step.finished_at = Some(at);
                Ok(())
            }
            other => unreachable!("`{}` is not about a step", other.name()),
        }
    }
}

/// Whether the operation's status allows the event.
fn legal(state: &State, event: &Event) -> Result<(), String> {
    let status = state.status;
    let is_under_way = matches!(status, Status::Running | Status::RollingBack);
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
        | Event::EffectWaits { .. }
        | Event::CallStarted { .. }
        | Event::CallFinished { .. }
        | Event::AttemptFinished { .. } => is_under_way,
        Event::DowntimeStarted => match status {
            Status::Running => !state.downtime.has_begun(),
            // Undoing what a window did that is over takes the service down once more.
            Status::RollingBack => state.downtime.total_ms().is_some(),
            Status::Queued
            | Status::Refused
            | Status::Succeeded
            | Status::RolledBack
            | Status::RollbackFailed
            | Status::Abandoned => false,
        },
        Event::DowntimeEnded { .. } => is_under_way && state.downtime.since.is_some(),
        Event::Committed => status == Status::Running && !state.committed,
        Event::RollbackStarted { .. } => {
            status == Status::Running && !state.committed && state.open_attempts().next().is_none()
        }
        // While still running, an undo takes back one failed attempt before its retry (R5).
        Event::UndoStarted { .. } | Event::UndoEnded { .. } => is_under_way && !state.committed,
        Event::Verified { .. } => status == Status::RollingBack && state.verdict.is_none(),
        Event::Finished { .. } => match status {
            Status::Running => state.committed,
            Status::RollingBack => state.verdict.is_some(),
            Status::Queued
            | Status::Refused
            | Status::Succeeded
            | Status::RolledBack
            | Status::RollbackFailed
            | Status::Abandoned => false,
        },
        Event::Abandoned { .. } => {
            let stands_still = status == Status::RollbackFailed && state.accepted.is_none();
            state.pinned.is_some() && (!status.is_final() || stands_still)
        }
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
