//! Deciding: an input and the time go in, records and commands come out.
//!
//! A [`Machine`] is one operation's plan and state. It never waits and never asks; what must be
//! asked of the world is a [`Command`], and what the world said comes back as an [`Input`]. The
//! records of a decision are applied here at once. Whoever drives the machine appends them, and
//! sends an effect only after its `CallStarted` is durable (R1). What is kept beside the
//! state (which attempts were told to stop, whether the gate was asked) is only about this
//! runner's own tasks and is rebuilt by asking again.

mod claims;
mod forward;
mod holds;
mod index;
mod left;
mod messages;
mod rollback;
mod turns;
mod undo_order;
mod verdict;
mod window;

pub use messages::{AttemptOrder, Command, Decision, Input, Recovery};
pub use verdict::{Observation, Reading, Renamed};

use crate::actor::Actor;
use crate::calls::Call;
use crate::event::{AttemptResult, Cause, Event, Record, UndoResult};
use crate::expr::Scope;
use crate::failure::{Failure, FailureClass};
use crate::ids::*;
use crate::inputs;
use crate::manifest;
use crate::plan::Plan;
use crate::state::{IllegalEvent, State, Status, StepStatus};
use crate::step::{Change, EffectOutcome};
use claims::Claims;
use forward::Progress;
use holds::Wanted;
use index::Index;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use undo_order::UndoOrder;

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

/// A defect on purpose, to show that the tests find it.
#[cfg(feature = "mutants")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// The undos of steps that changed the same have no order but the graph's.
    UndoIgnoresFacts,
    /// The downtime is over as soon as the rollback begins.
    WindowClosesEarly,
    /// An undo that takes the service down again opens no window.
    WindowStaysShut,
}

/// One operation, being decided.
#[derive(Clone)]
pub struct Machine {
    plan: Arc<Plan>,
    state: State,
    operation: OperationId,
    epoch: Epoch,
    gate: Gate,
    verify_asked: bool,
    outputs_asked: bool,
    stopping: Option<(Cause, String)>,
    /// Whether every open attempt was told that the operation is being stopped.
    stopping_told: bool,
    interrupted: BTreeMap<AttemptId, Interrupt>,
    /// Worked out when the rollback needs it.
    undo_order: Option<UndoOrder>,
    /// How long undos are tried on while what they fail with may pass.
    patience_until: Option<UnixMs>,
    index: Index,
    claims: Claims,
    /// Effects that wait for other steps, first come first.
    wanted: Vec<Wanted>,
    /// Whether a claim was released since the waiting effects were looked at.
    regrant: bool,
    decision: Decision,
    now: UnixMs,
    #[cfg(feature = "mutants")]
    mutant: Option<Mutant>,
}

impl Machine {
    /// A machine that goes on from `state`.
    pub fn new(plan: Arc<Plan>, state: State, operation: OperationId, epoch: Epoch) -> Self {
        let (index, claims) = (Index::of(&plan, &state), holds::claims_of(&state));
        Self {
            plan,
            state,
            operation,
            epoch,
            gate: Gate::NotAsked,
            verify_asked: false,
            outputs_asked: false,
            stopping: None,
            stopping_told: false,
            interrupted: BTreeMap::new(),
            undo_order: None,
            patience_until: None,
            index,
            claims,
            wanted: vec![],
            regrant: false,
            decision: Decision::default(),
            now: UnixMs(0),
            #[cfg(feature = "mutants")]
            mutant: None,
        }
    }

    /// Do this wrong from here on.
    #[cfg(feature = "mutants")]
    pub fn misbehave(&mut self, mutant: Mutant) {
        self.mutant = Some(mutant);
    }

    /// The fold of every record decided or taken so far.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The same, when nothing more is to be decided.
    pub fn into_state(self) -> State {
        self.state
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
        let Recovery { actor, dead_ms, cancel, secrets } = recovery;
        self.emit(Event::TakenUp { actor, dead_ms, secrets })?;
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

    /// Whether the operation only goes back from here on.
    pub fn goes_back(&self) -> bool {
        self.state.status == Status::RollingBack || self.stopping.is_some()
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
            Input::Given { actor, secrets } => {
                self.emit(Event::TakenUp { actor, dead_ms: 0, secrets })?;
            }
            Input::ResumeRollback { actor } => {
                (self.undo_order, self.verify_asked) = (None, false);
                self.patience_until = None;
                self.emit(Event::RollbackResumed { actor })?;
            }
            Input::Evaluated { step, evaluated } => self.handle_evaluated(&step, evaluated)?,
            Input::OutputsEvaluated(outputs) => self.finish(outputs)?,
            Input::Answered { id, call, result } => {
                self.emit(Event::CallAnswered { id, call, result })?;
            }
            Input::WaitBegun { id, call, since } => {
                self.emit(Event::WaitBegun { id, call, since })?;
            }
            Input::EffectWanted { id, call, token } => self.handle_wanted(id, call, &token)?,
            Input::EffectAsked { id, call, token, changes } => {
                self.emit(Event::CallStarted { id, call, token, changes })?;
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
        let is_heard = |(_, of): &&(UnixMs, AttemptId)| !self.interrupted.contains_key(of);
        let deadline = self.index.deadlines().find(is_heard).map(|(at, _)| *at);
        // An operation that is being stopped starts no retry, and is late for nothing.
        let others = match self.stopping {
            Some(_) => [None, None, None],
            None => [
                self.index.next_retry().map(|(at, _)| *at),
                self.operation_deadline(),
                self.downtime_deadline(),
            ],
        };
        others.into_iter().flatten().chain(deadline).min()
    }

    fn emit(&mut self, event: Event) -> Result<(), IllegalEvent> {
        let seq = Seq(self.state.last_seq.0 + 1);
        let record = Record { seq, at: self.now, epoch: self.epoch, event };
        self.state.apply(&record)?;
        self.index.note(&self.plan, &self.state, &record.event);
        if self.state.status == Status::Running {
            self.release_claims(&record.event);
        }
        if let (Event::UndoEnded { step, result }, Some(order)) =
            (&record.event, &mut self.undo_order)
        {
            order.note_ended(&self.plan, step, !matches!(result, UndoResult::Failed(_)));
        }
        self.decision.records.push(record);
        Ok(())
    }

    fn stop(&mut self, cause: Cause, why: String) {
        if self.stopping.is_none() && !self.state.committed {
            self.stopping = Some((cause, why));
        }
    }

    fn handle_cancel(&mut self, actor: Actor, reason: Option<String>) -> Result<(), IllegalEvent> {
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
        let result = match (result, self.interrupted.remove(&of)) {
            // Whatever it said when it was cut off, it was late.
            (AttemptResult::Failed(failure), Some(Interrupt::Deadline)) => {
                AttemptResult::Failed(self.late(&of, &failure))
            }
            (result, _) => result,
        };
        self.emit(Event::AttemptFinished { of: of.clone(), result: result.clone() })?;
        match of.direction {
            Direction::Do => self.after_run(&of, &result),
            Direction::Undo => self.after_undo(&of, &result),
        }
    }

    fn late(&self, of: &AttemptId, failure: &Failure) -> Failure {
        let timeout_ms = self.plan.step(&of.step.step).and_then(|step| step.timeout_ms);
        let timeout = manifest::duration_text(timeout_ms.unwrap_or_default());
        let mut message = format!("step `{}` took longer than its timeout ({timeout})", of.step);
        // That it was cut off says nothing more; anything else may.
        if failure.class != FailureClass::Cancelled {
            message = format!("{message}: {}", failure.message);
        }
        // Tried again, what may have happened would happen twice.
        let class = match failure.class {
            FailureClass::UnknownOutcome => FailureClass::UnknownOutcome,
            _ => FailureClass::Deadline,
        };
        Failure::new(class, message)
    }

    /// Do all that is due: one step after another until nothing more changes.
    fn advance(&mut self) -> Result<(), IllegalEvent> {
        self.notice_deadlines();
        self.grant_wanted()?;
        match self.state.status {
            Status::Running => self.advance_running(),
            Status::RollingBack => self.advance_rollback(),
            Status::Queued
            | Status::Refused
            | Status::Succeeded
            | Status::RolledBack
            | Status::RollbackFailed
            | Status::Abandoned => Ok(()),
        }
    }

    fn advance_running(&mut self) -> Result<(), IllegalEvent> {
        self.notice_reasons_to_stop();
        let Some((cause, why)) = self.stopping.clone() else {
            return self.advance_forward();
        };
        if self.index.open().is_empty() {
            self.emit(Event::RollbackStarted { cause, why })?;
            return self.advance_rollback();
        }
        // What was open when the stopping began is told once; nothing opens after that.
        if !std::mem::replace(&mut self.stopping_told, true) {
            let runs = self.index.open().iter().filter(|of| of.direction == Direction::Do);
            let runs: Vec<AttemptId> = runs.cloned().collect();
            runs.into_iter().for_each(|of| self.interrupt(of, Interrupt::Stopping));
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
        if let Some((actor, reason)) = self.state.cancel.clone() {
            let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            self.stop(Cause::Cancelled, format!("cancelled by {actor}{reason}"));
        } else if let Some(key) = self.index.failed() {
            let error = self.state.steps.get(key).and_then(|step| step.error.as_ref());
            let why = error.map_or("", |error| error.message.as_str());
            let why = format!("step `{key}` failed: {why}");
            self.stop(Cause::Failed, why);
        }
    }

    fn notice_deadlines(&mut self) {
        if self.state.status != Status::Running {
            return;
        }
        let now = self.now;
        let due = self.index.deadlines().take_while(|(at, _)| *at <= now);
        let late: Vec<AttemptId> = due.map(|(_, of)| of.clone()).collect();
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
        let half_ms = pause_ms / 2;
        half_ms + ((u128::from(pause_ms - half_ms) * u128::from(share)) / 256) as u64
    }

    fn operation_deadline(&self) -> Option<UnixMs> {
        let timeout_ms = self.plan.manifest().operation.timeout_ms?;
        let started_at = self.state.started_at?;
        (!self.state.committed).then_some(UnixMs(started_at.0.saturating_add(timeout_ms)))
    }

    fn downtime_deadline(&self) -> Option<UnixMs> {
        let budget_ms = self.plan.manifest().downtime.rollback_after_ms()?;
        let since = self.state.downtime.since?;
        Some(UnixMs(since.0.saturating_add(budget_ms)))
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
