//! Deciding: an input and the time go in, records and commands come out.
//!
//! A [`Machine`] is one operation's plan and state. It never waits and never asks; what must be
//! asked of the world is a [`Command`], and what the world said comes back as an [`Input`]. The
//! records of a decision are applied here at once, but a command may only be carried out when
//! they are durable: whoever drives the machine must append first (R1). What is kept beside the
//! state (which attempts were told to stop, whether the gate was asked) is only about this
//! runner's own tasks and is rebuilt by asking again.

mod forward;
mod hint;
mod rollback;
mod verdict;

pub use verdict::Observation;

use crate::call::Call;
use crate::event::{AttemptResult, Cause, Event, Record};
use crate::expr::Scope;
use crate::failure::{Failure, FailureClass};
use crate::ids::*;
use crate::inputs;
use crate::plan::Plan;
use crate::state::{IllegalEvent, OpenAttempt, State, Status, StepStatus};
use crate::step::{Change, EffectOutcome, Past};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What can come to the machine.
#[derive(Clone, Debug)]
pub enum Input {
    /// Preflight's answer; no reasons means it passed.
    Preflighted {
        reasons: Vec<String>,
    },
    Cancel {
        actor: String,
        reason: Option<String>,
    },
    /// An incomplete rollback is to be taken up again (R7).
    ResumeRollback {
        actor: String,
    },
    /// A read or a wait was answered.
    Answered {
        id: CallId,
        call: Call,
        result: Result<Value, Failure>,
    },
    /// A wait lasts since then.
    WaitBegun {
        id: CallId,
        call: Call,
        since: UnixMs,
    },
    /// An effect is asked for, and what it touches was read just now.
    EffectAsked {
        id: CallId,
        call: Call,
        token: Token,
        changes: Vec<Change>,
    },
    EffectFinished {
        id: CallId,
        outcome: EffectOutcome,
        changes: Vec<Change>,
    },
    AttemptEnded {
        of: AttemptId,
        result: AttemptResult,
    },
    /// The gate's answer; no reasons means it passed (R10).
    Gated {
        reasons: Vec<String>,
    },
    /// What verification saw (R8).
    Observed {
        observations: Vec<Observation>,
    },
    /// Time has passed.
    Tick,
}

/// What the driver is to do, once the records that came with it are durable.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Check every one of these steps now.
    Gate {
        steps: Vec<(StepKey, Value)>,
    },
    StartAttempt(Box<AttemptOrder>),
    /// Make the effect that was journaled under this id.
    Perform {
        id: CallId,
    },
    /// End the attempt's waits, answer its further calls `cancelled`, stop it after a grace time.
    Interrupt {
        of: AttemptId,
    },
    /// Read every resource with a baseline again, and search for stamps.
    Verify,
}

/// An attempt to start, or to take up again.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptOrder {
    pub of: AttemptId,
    pub input: Value,
    pub past: Option<Past>,
    /// A failed undo is tried again only after this long.
    pub delay_ms: u64,
}

/// Who takes up a cut-off operation, and what happened meanwhile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    pub actor: String,
    /// How long no runner lived.
    pub dead_ms: u64,
    /// Who asked for the end meanwhile, and why.
    pub cancel: Option<(String, Option<String>)>,
}

/// The records of one decision, already applied to the state, and what to do when they are durable.
#[derive(Debug, Default)]
pub struct Decision {
    pub records: Vec<Record>,
    pub commands: Vec<Command>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    NotAsked,
    Asked,
    Passed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interrupt {
    Stopping,
    Deadline,
}

/// One operation, being decided.
pub struct Machine {
    plan: Arc<Plan>,
    state: State,
    operation: OperationId,
    epoch: Epoch,
    gate: Gate,
    verify_asked: bool,
    stopping: Option<(Cause, String)>,
    interrupted: BTreeMap<AttemptId, Interrupt>,
    /// Worked out when the first rollback needs it.
    downstream: Option<BTreeMap<StepId, BTreeSet<StepId>>>,
    /// By place in the plan, taken from the state: whether the step has begun, is complete.
    begun: Vec<bool>,
    complete: Vec<bool>,
    decision: Decision,
    now: UnixMs,
}

impl Machine {
    /// A machine that goes on from `state`.
    pub fn new(plan: Arc<Plan>, state: State, operation: OperationId, epoch: Epoch) -> Self {
        let (begun, complete) = (vec![false; plan.count()], vec![false; plan.count()]);
        let mut machine = Self {
            plan,
            state,
            operation,
            epoch,
            gate: Gate::NotAsked,
            verify_asked: false,
            stopping: None,
            interrupted: BTreeMap::new(),
            downstream: None,
            begun,
            complete,
            decision: Decision::default(),
            now: UnixMs(0),
        };
        for place in 0..machine.plan.count() {
            machine.refresh(place);
        }
        machine
    }

    /// Take what is known of a step from the state anew.
    fn refresh(&mut self, place: usize) {
        let id = &self.plan.at(place).id;
        self.begun[place] = self.has_begun(id);
        self.complete[place] = self.is_step_complete(id);
    }

    fn refresh_after(&mut self, event: &Event) {
        let step = match event {
            Event::StepExpanded { step, .. } => step,
            other => match other.step() {
                Some(key) => &key.step,
                None => return,
            },
        };
        if let Some(place) = self.plan.place(step) {
            self.refresh(place);
        }
    }

    /// The fold of every record decided or taken so far.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The plan it follows.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Take up a cut-off operation: the open attempts to run again, and whatever is due (R4).
    ///
    /// What was asked for while nobody ran it counts before anything else goes on.
    ///
    /// # Errors
    /// [`IllegalEvent`] if a decision does not fit the state, which is a defect.
    pub fn recover(&mut self, recovery: Recovery, now: UnixMs) -> Result<Decision, IllegalEvent> {
        self.now = now;
        let Recovery { actor, dead_ms, cancel } = recovery;
        self.emit(Event::TakenUp { actor, dead_ms })?;
        if let Some((actor, reason)) = cancel {
            self.handle_cancel(actor, reason)?;
        }
        let orders: Vec<Command> = self
            .state
            .steps
            .values()
            .filter_map(|step| {
                let open = step.open.as_ref()?;
                let past = match open.id.direction {
                    Direction::Do => None,
                    Direction::Undo => step.past.clone(),
                };
                Some(Command::StartAttempt(Box::new(AttemptOrder {
                    of: open.id.clone(),
                    input: step.with.clone(),
                    past,
                    delay_ms: 0,
                })))
            })
            .collect();
        self.decision.commands.extend(orders);
        self.advance()?;
        Ok(std::mem::take(&mut self.decision))
    }

    /// Decide on one input.
    ///
    /// # Errors
    /// [`IllegalEvent`] if the input does not fit the state, which is a defect of the driver.
    pub fn handle(&mut self, input: Input, now: UnixMs) -> Result<Decision, IllegalEvent> {
        self.now = now;
        match input {
            Input::Preflighted { reasons } if reasons.is_empty() => self.emit(Event::Started)?,
            Input::Preflighted { reasons } => self.emit(Event::Refused { reasons })?,
            Input::Cancel { actor, reason } => self.handle_cancel(actor, reason)?,
            Input::ResumeRollback { actor } => self.emit(Event::RollbackResumed { actor })?,
            Input::Answered { id, call, result } => {
                self.emit(Event::CallAnswered { id, call, result })?;
            }
            Input::WaitBegun { id, call, since } => {
                self.emit(Event::WaitBegun { id, call, since })?;
            }
            Input::EffectAsked { id, call, token, changes } => {
                let perform = Command::Perform { id: id.clone() };
                self.emit(Event::CallStarted { id, call, token, changes })?;
                self.decision.commands.push(perform);
            }
            Input::EffectFinished { id, outcome, changes } => {
                self.emit(Event::CallFinished { id, outcome, changes })?;
            }
            Input::AttemptEnded { of, result } => self.handle_attempt_ended(of, result)?,
            Input::Gated { reasons } if reasons.is_empty() => self.gate = Gate::Passed,
            Input::Gated { reasons } => {
                let why = format!("a check said no before the downtime: {}", reasons.join("; "));
                self.stop(Cause::Failed, why);
            }
            Input::Observed { observations } => self.handle_observed(observations)?,
            Input::Tick => {}
        }
        self.advance()?;
        Ok(std::mem::take(&mut self.decision))
    }

    /// When to send [`Input::Tick`] next, if something is due by time alone.
    pub fn next_wake(&self) -> Option<UnixMs> {
        if self.state.status != Status::Running {
            return None;
        }
        let retries = self.state.active_steps().filter_map(|(_, step)| step.not_before);
        let deadlines = self.state.open_attempts().filter_map(|open| {
            let deadline = self.attempt_deadline(open)?;
            (!self.interrupted.contains_key(&open.id)).then_some(deadline)
        });
        let whole = match self.stopping {
            None => [self.operation_deadline(), self.downtime_deadline()],
            Some(_) => [None, None],
        };
        retries.chain(deadlines).chain(whole.into_iter().flatten()).min()
    }

    fn emit(&mut self, event: Event) -> Result<(), IllegalEvent> {
        let seq = Seq(self.state.last_seq.0 + 1);
        let record = Record { seq, at: self.now, epoch: self.epoch, event };
        self.state.apply(&record)?;
        self.refresh_after(&record.event);
        self.decision.records.push(record);
        Ok(())
    }

    fn stop(&mut self, cause: Cause, why: String) {
        if self.stopping.is_none() && !self.state.committed {
            self.stopping = Some((cause, why));
        }
    }

    fn handle_cancel(&mut self, actor: String, reason: Option<String>) -> Result<(), IllegalEvent> {
        let open = matches!(self.state.status, Status::Queued | Status::Running);
        if !open || self.state.committed || self.state.cancel.is_some() {
            return Ok(());
        }
        self.emit(Event::CancelRequested { actor, reason })
    }

    fn handle_attempt_ended(
        &mut self,
        of: AttemptId,
        result: AttemptResult,
    ) -> Result<(), IllegalEvent> {
        let interrupted = self.interrupted.remove(&of);
        let result = match (result, interrupted) {
            (AttemptResult::Failed(failure), Some(Interrupt::Deadline))
                if failure.class == FailureClass::Cancelled =>
            {
                let message = format!("step `{}` took longer than its timeout", of.step);
                AttemptResult::Failed(Failure::new(FailureClass::Deadline, message))
            }
            (result, _) => result,
        };
        self.emit(Event::AttemptFinished { of: of.clone(), result: result.clone() })?;
        match of.direction {
            Direction::Do => self.after_run(&of, &result),
            Direction::Undo => self.after_undo(&of, &result),
        }
    }

    /// Do all that is due: one step after another until nothing more changes.
    fn advance(&mut self) -> Result<(), IllegalEvent> {
        self.notice_deadlines();
        match self.state.status {
            Status::Running => self.advance_running(),
            Status::RollingBack => self.advance_rollback(),
            Status::Queued
            | Status::Refused
            | Status::Succeeded
            | Status::RolledBack
            | Status::RollbackFailed => Ok(()),
        }
    }

    fn advance_running(&mut self) -> Result<(), IllegalEvent> {
        self.notice_reasons_to_stop();
        let Some((cause, why)) = self.stopping.clone() else {
            return self.advance_forward();
        };
        let open: Vec<AttemptId> = self.state.open_attempts().map(|open| open.id.clone()).collect();
        if open.is_empty() {
            self.emit(Event::RollbackStarted { cause, why })?;
            return self.advance_rollback();
        }
        for of in open {
            if of.direction == Direction::Do {
                self.interrupt(of, Interrupt::Stopping);
            }
        }
        Ok(())
    }

    fn interrupt(&mut self, of: AttemptId, why: Interrupt) {
        if !self.interrupted.contains_key(&of) {
            self.interrupted.insert(of.clone(), why);
            self.decision.commands.push(Command::Interrupt { of });
        }
    }

    fn notice_reasons_to_stop(&mut self) {
        if self.state.committed || self.stopping.is_some() {
            return;
        }
        let failed = self.state.active_steps().find_map(|(key, step)| match step.status {
            StepStatus::Failed | StepStatus::UndoFailed => {
                let why = step.error.as_ref().map_or("", |error| error.message.as_str());
                Some(format!("step `{key}` failed: {why}"))
            }
            _ => None,
        });
        if let Some((actor, reason)) = self.state.cancel.clone() {
            let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            self.stop(Cause::Cancelled, format!("cancelled by {actor}{reason}"));
        } else if let Some(why) = failed {
            self.stop(Cause::Failed, why);
        }
    }

    fn notice_deadlines(&mut self) {
        if self.state.status != Status::Running {
            return;
        }
        let now = self.now;
        let late: Vec<AttemptId> = self
            .state
            .open_attempts()
            .filter(|open| self.attempt_deadline(open).is_some_and(|at| at <= now))
            .map(|open| open.id.clone())
            .collect();
        for of in late {
            self.interrupt(of, Interrupt::Deadline);
        }
        if self.operation_deadline().is_some_and(|at| at <= now) {
            self.stop(Cause::Timeout, "the operation took longer than its timeout".into());
        }
        if self.downtime_deadline().is_some_and(|at| at <= now) {
            self.stop(Cause::Budget, "the downtime grew past its budget".into());
        }
    }

    fn attempt_deadline(&self, open: &OpenAttempt) -> Option<UnixMs> {
        let timeout_ms = self.plan.step(&open.id.step.step)?.timeout_ms?;
        let at = open.started_at.0 + timeout_ms + open.paused_ms;
        (open.id.direction == Direction::Do).then_some(UnixMs(at))
    }

    /// Between half of a pause and all of it, so that what failed together is not tried together.
    ///
    /// Worked out from what is tried, not drawn: the core has no random source.
    fn with_jitter(&self, of: &AttemptId, pause_ms: u64) -> u64 {
        let mut hasher = Sha256::new();
        let store = self.state.pinned.as_ref().map_or("", |pinned| pinned.store.as_str());
        let first = CallId { of: of.clone(), number: CallNumber(0) };
        hasher.update(format!("{store} {} {first}", self.operation));
        let digest = hasher.finalize();
        let share = u64::from(digest[0]) + 1;
        pause_ms / 2 + (pause_ms - pause_ms / 2) * share / 256
    }

    fn operation_deadline(&self) -> Option<UnixMs> {
        let timeout_ms = self.plan.manifest().operation.timeout_ms?;
        let started_at = self.state.started_at?;
        (!self.state.committed).then_some(UnixMs(started_at.0 + timeout_ms))
    }

    fn downtime_deadline(&self) -> Option<UnixMs> {
        let budget_ms = self.plan.manifest().downtime.rollback_after_ms()?;
        let open = self.state.downtime_ms.is_none();
        let started_at = self.state.downtime_started_at.filter(|_| open)?;
        Some(UnixMs(started_at.0 + budget_ms))
    }

    /// What the expressions at a place can see now: the inputs, and the outputs they refer to.
    fn scope(&self, place: usize) -> Scope {
        let mut scope = self.bare_scope();
        for id in self.plan.references(place) {
            if let Some(output) = self.output_of(id) {
                scope.steps.insert(id.clone(), output);
            }
        }
        scope
    }

    /// What expressions can see when every step is complete.
    fn whole_scope(&self) -> Scope {
        let mut scope = self.bare_scope();
        for step in self.plan.steps() {
            if let Some(output) = self.output_of(&step.id) {
                scope.steps.insert(step.id.clone(), output);
            }
        }
        scope
    }

    fn bare_scope(&self) -> Scope {
        let mut scope = Scope::default();
        if let Some(pinned) = &self.state.pinned {
            scope.inputs = inputs::visible(self.plan.manifest(), &pinned.inputs);
            scope.environment = serde_json::json!({ "name": pinned.environment });
        }
        let name = &self.plan.manifest().operation.name;
        scope.operation = serde_json::json!({ "id": self.operation, "name": name });
        scope
    }
}
