//! The state of an operation: the fold of its journal, and nothing else (R2).
//!
//! [`State::apply`] is the one transition table. An event that is not legal where it stands is an
//! [`IllegalEvent`]; it is never skipped. The fold does not know the plan, so that a journal can
//! be read long after its manifest's plugins are gone; what the plan means is `decide`'s.

use crate::call::{Call, Class};
use crate::event::{
    AttemptResult, Cause, Event, FinalStatus, Kept, NotRestored, Pinned, Record, UndoResult,
    Verdict,
};
use crate::failure::Failure;
use crate::ids::*;
use crate::resource::{Facts, Resource};
use crate::step::{Change, EffectOutcome, Past, PastEffect};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Where an operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    Queued,
    Refused,
    Running,
    RollingBack,
    Succeeded,
    RolledBack,
    RollbackFailed,
}

impl Status {
    /// Whether nothing more will happen by itself.
    pub fn is_final(self) -> bool {
        match self {
            Status::Queued | Status::Running | Status::RollingBack => false,
            Status::Refused | Status::Succeeded | Status::RolledBack | Status::RollbackFailed => {
                true
            }
        }
    }
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepStatus {
    Pending,
    Skipped,
    Running,
    WaitingRetry,
    Done,
    Failed,
    Undoing,
    Undone,
    Kept,
    UndoFailed,
    Leftover,
}

/// One host call as the journal has it, for replay.
#[expect(clippy::large_enum_variant, reason = "most calls are answered ones, so boxing saves none")]
#[derive(Clone, Debug, PartialEq)]
pub enum RecordedCall {
    Answered {
        call: Call,
        at: UnixMs,
        result: Result<Value, Failure>,
    },
    /// An index into [`StepState::effects`], and whether its outcome is journaled.
    Effect {
        index: usize,
        finished: bool,
    },
}

/// The attempt that has started and not finished.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenAttempt {
    pub id: AttemptId,
    pub started_at: UnixMs,
    /// How much of the time since then no runner lived; its timeout stood still (R15).
    pub paused_ms: u64,
    pub calls: Vec<RecordedCall>,
    /// The wait that it is in, if that lasts.
    pub wait: Option<Box<BegunWait>>,
}

/// A wait that lasts.
#[derive(Clone, Debug, PartialEq)]
pub struct BegunWait {
    pub call: Call,
    pub since: UnixMs,
    /// How much of the time since then no runner lived.
    pub paused_ms: u64,
}

impl BegunWait {
    /// The call that waits for the rest of it.
    ///
    /// A sleep is over when its time is. For what may come about the time counts in which somebody
    /// looked, as it does for the step's timeout.
    pub fn rest(&self, now: UnixMs) -> Call {
        let gone_ms = now.since_ms(self.since);
        let counted_ms = match self.call {
            Call::ClockSleep { .. } => gone_ms,
            _ => gone_ms.saturating_sub(self.paused_ms),
        };
        self.call.clone().after_waiting(counted_ms)
    }
}

/// One step's instance.
#[derive(Clone, Debug, PartialEq)]
pub struct StepState {
    pub status: StepStatus,
    pub with: Value,
    pub attempts: Attempt,
    pub undo_attempts: Attempt,
    /// How many undo attempts there were before the current undo began.
    pub undo_attempts_before: Attempt,
    pub open: Option<OpenAttempt>,
    pub effects: Vec<PastEffect>,
    pub output: Option<Value>,
    pub error: Option<Failure>,
    /// Why the last undo attempt did not work.
    pub undo_error: Option<String>,
    /// Why what its undo left is harmless.
    pub kept: Option<String>,
    /// What the current undo was told.
    pub past: Option<Past>,
    pub not_before: Option<UnixMs>,
    pub started_at: Option<UnixMs>,
    pub finished_at: Option<UnixMs>,
    /// The place in the order in which steps started.
    pub order: usize,
}

impl StepState {
    fn new(status: StepStatus, with: Value, order: usize, at: UnixMs) -> Self {
        Self {
            status,
            with,
            attempts: Attempt(0),
            undo_attempts: Attempt(0),
            undo_attempts_before: Attempt(0),
            open: None,
            effects: vec![],
            output: None,
            error: None,
            undo_error: None,
            kept: None,
            past: None,
            not_before: None,
            started_at: Some(at),
            finished_at: None,
            order,
        }
    }

    /// Whether the step has an effect that is not known to have been refused (R6).
    pub fn needs_undo(&self) -> bool {
        self.effects.iter().any(|effect| {
            effect.id.of.direction == Direction::Do
                && !matches!(effect.outcome, EffectOutcome::Refused(_))
        })
    }

    /// Every resource the step's effects touched.
    pub fn touched(&self) -> impl Iterator<Item = &Resource> {
        self.effects.iter().flat_map(|effect| effect.changes.iter().map(|c| &c.resource))
    }
}

/// The fold of an operation's journal.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    pub status: Status,
    pub pinned: Option<Pinned>,
    pub created_at: UnixMs,
    pub started_at: Option<UnixMs>,
    pub finished_at: Option<UnixMs>,
    pub last_seq: Seq,
    /// When the last event was; the operation's time goes on from there.
    pub last_at: UnixMs,
    pub refusals: Vec<String>,
    pub cancel: Option<(String, Option<String>)>,
    pub cause: Option<Cause>,
    pub why: Option<String>,
    pub verdict: Option<Verdict>,
    pub steps: BTreeMap<StepKey, StepState>,
    /// The steps that something may still have to be done about: neither pending nor settled.
    pub active: BTreeSet<StepKey>,
    pub expanded: BTreeMap<StepId, Vec<(EachKey, Value)>>,
    pub committed: bool,
    pub downtime_started_at: Option<UnixMs>,
    pub downtime_ms: Option<u64>,
    /// What this operation made and nobody has taken away since; a name may be used twice.
    pub own: BTreeSet<Resource>,
    /// The † effects that were made on nothing but what the operation owned at that moment.
    pub own_effects: BTreeSet<CallId>,
    /// The first `before` of each resource, in the order in which they were first touched.
    pub baselines: Vec<(Resource, Facts)>,
    pub not_restored: Vec<NotRestored>,
    pub kept: Vec<Kept>,
    pub outputs: BTreeMap<String, Value>,
    /// Those of them that could not be worked out, and why.
    pub unknown_outputs: BTreeMap<String, String>,
    /// Who took the world as an incomplete rollback left it, and why.
    pub accepted: Option<(String, String)>,
}

/// An event that can't follow what came before it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("event {seq} ({event}) is not legal here: {why}", seq = .seq.0)]
pub struct IllegalEvent {
    pub seq: Seq,
    pub event: &'static str,
    pub why: String,
}

impl Default for State {
    fn default() -> Self {
        Self {
            status: Status::Queued,
            pinned: None,
            created_at: UnixMs(0),
            started_at: None,
            finished_at: None,
            last_seq: Seq(0),
            last_at: UnixMs(0),
            refusals: vec![],
            cancel: None,
            cause: None,
            why: None,
            verdict: None,
            steps: BTreeMap::new(),
            active: BTreeSet::new(),
            expanded: BTreeMap::new(),
            committed: false,
            downtime_started_at: None,
            downtime_ms: None,
            own: BTreeSet::new(),
            own_effects: BTreeSet::new(),
            baselines: vec![],
            not_restored: vec![],
            kept: vec![],
            outputs: BTreeMap::new(),
            unknown_outputs: BTreeMap::new(),
            accepted: None,
        }
    }
}

impl State {
    /// The state after these records.
    pub fn fold(records: &[Record]) -> Result<State, IllegalEvent> {
        let mut state = State::default();
        for record in records {
            state.apply(record)?;
        }
        Ok(state)
    }

    /// Whether the resource, as it is there now, was made by this operation.
    pub fn is_own(&self, resource: &Resource) -> bool {
        match resource {
            Resource::FileSystem { volume, .. } => {
                self.own.contains(&Resource::Volume { id: volume.clone() })
            }
            named => self.own.contains(named),
        }
    }

    /// Whether a call made now would have no inverse: † on something that is not the operation's.
    pub fn is_irreversible(&self, call: &Call, changes: &[Change]) -> bool {
        // What a command did is unknown, whoever made the container it ran in.
        matches!(call, Call::DockerRunOnce { .. } | Call::DockerExec { .. })
            || call.class() == Class::Irreversible
                && !changes.iter().all(|change| self.is_own(&change.resource))
    }

    /// Whether an effect of the past has no inverse.
    pub fn was_irreversible(&self, effect: &PastEffect) -> bool {
        effect.call.class() == Class::Irreversible && !self.own_effects.contains(&effect.id)
    }

    pub(crate) fn note_owner(&mut self, call: &Call, changes: &[Change]) {
        if let (Call::DockerRenameContainer { .. }, [from, to]) = (call, changes) {
            if self.own.remove(&from.resource) {
                self.own.insert(to.resource.clone());
            }
            return;
        }
        for change in changes {
            match (&change.before, &change.after) {
                (Facts::Absent, None | Some(Facts::Present(_))) => {
                    self.own.insert(change.resource.clone());
                }
                (Facts::Present(_), Some(Facts::Absent)) => {
                    self.own.remove(&change.resource);
                }
                (Facts::Absent, Some(Facts::Absent))
                | (Facts::Present(_), None | Some(Facts::Present(_))) => {}
            }
        }
    }

    /// The effects whose answer is still outstanding, or `None` for a finished one.
    pub fn effect(&self, id: &CallId) -> Option<&PastEffect> {
        self.steps.get(&id.of.step)?.effects.iter().find(|effect| effect.id == *id)
    }

    /// Attempts that have started and not finished.
    pub fn open_attempts(&self) -> impl Iterator<Item = &OpenAttempt> {
        self.active_steps().filter_map(|(_, step)| step.open.as_ref())
    }

    /// The steps that run, wait, have failed or are being undone.
    pub fn active_steps(&self) -> impl Iterator<Item = (&StepKey, &StepState)> {
        self.active.iter().filter_map(|key| self.steps.get_key_value(key))
    }

    pub(crate) fn note_activity(&mut self, key: &StepKey) {
        let Some(step) = self.steps.get(key) else { return };
        let settled = match step.status {
            StepStatus::Pending
            | StepStatus::Skipped
            | StepStatus::Done
            | StepStatus::Undone
            | StepStatus::Kept
            | StepStatus::Leftover => true,
            StepStatus::Running
            | StepStatus::WaitingRetry
            | StepStatus::Failed
            | StepStatus::Undoing
            | StepStatus::UndoFailed => false,
        };
        if settled && step.open.is_none() {
            self.active.remove(key);
        } else {
            self.active.insert(key.clone());
        }
    }

    pub(crate) fn open_attempt(&mut self, of: &AttemptId) -> Result<&mut StepState, String> {
        let step = self.steps.get_mut(&of.step).ok_or("the step has not started")?;
        match &step.open {
            Some(open) if open.id == *of => Ok(step),
            _ => Err("this attempt is not open".to_owned()),
        }
    }

    pub(crate) fn note_baseline(&mut self, resource: &Resource, before: &Facts) {
        let made_here = matches!(resource, Resource::FileSystem { .. }) && self.is_own(resource);
        let unnamed = matches!(resource, Resource::Created { .. });
        if unnamed || made_here || self.baselines.iter().any(|(known, _)| known == resource) {
            return;
        }
        self.baselines.push((resource.clone(), before.clone()));
    }

    pub(crate) fn new_step(&mut self, key: &StepKey, status: StepStatus, with: Value, at: UnixMs) {
        let order = self.steps.len();
        self.steps.insert(key.clone(), StepState::new(status, with, order, at));
    }
}

impl Event {
    /// The event's name, for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Event::Created(_) => "created",
            Event::Refused { .. } => "refused",
            Event::Started => "started",
            Event::TakenUp { .. } => "taken-up",
            Event::CancelRequested { .. } => "cancel-requested",
            Event::StepExpanded { .. } => "step-expanded",
            Event::StepSkipped { .. } => "step-skipped",
            Event::StepStarted { .. } => "step-started",
            Event::AttemptStarted { .. } => "attempt-started",
            Event::CallAnswered { .. } => "call-answered",
            Event::WaitBegun { .. } => "wait-begun",
            Event::CallStarted { .. } => "call-started",
            Event::CallFinished { .. } => "call-finished",
            Event::AttemptFinished { .. } => "attempt-finished",
            Event::RetryScheduled { .. } => "retry-scheduled",
            Event::DowntimeStarted => "downtime-started",
            Event::DowntimeEnded { .. } => "downtime-ended",
            Event::Committed => "committed",
            Event::RollbackStarted { .. } => "rollback-started",
            Event::UndoStarted { .. } => "undo-started",
            Event::UndoEnded { .. } => "undo-ended",
            Event::Verified { .. } => "verified",
            Event::Finished { .. } => "finished",
            Event::RollbackResumed { .. } => "rollback-resumed",
            Event::Accepted { .. } => "accepted",
        }
    }
}

pub(crate) fn final_status(status: FinalStatus) -> Status {
    match status {
        FinalStatus::Succeeded => Status::Succeeded,
        FinalStatus::RolledBack => Status::RolledBack,
        FinalStatus::RollbackFailed => Status::RollbackFailed,
    }
}

pub(crate) fn undo_status(result: &UndoResult) -> StepStatus {
    match result {
        UndoResult::Undone => StepStatus::Undone,
        UndoResult::Kept(_) => StepStatus::Kept,
        UndoResult::Failed(_) => StepStatus::UndoFailed,
    }
}

pub(crate) fn is_output(result: &AttemptResult) -> bool {
    matches!(result, AttemptResult::Output(_))
}
