//! One step's instance: how far it is, what it asked for, what it changed.

use crate::calls::{Call, ClockCall};
use crate::failure::Failure;
use crate::ids::*;
use crate::resource::Resource;
use crate::step::{EffectOutcome, Past, PastEffect};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepStatus {
    /// It has not begun: its inputs are known, and its turn has not come. A step without an
    /// instance is shown so, too.
    Pending,
    /// Its `when` is false; its output is null.
    Skipped,
    /// Its run has begun, and is not over.
    Running,
    /// Its run failed, and is tried again when `not_before` has come.
    WaitingRetry,
    /// Its run gave an output.
    Done,
    /// Its run failed; what it did, if anything, is not taken back yet.
    Failed,
    /// Its undo has begun, and is not over.
    Undoing,
    /// Its undo ended well, and nothing is left.
    Undone,
    /// Its undo ended well, and something is left that is harmless.
    Kept,
    /// Its undo was given up; what the step did may be there still.
    UndoFailed,
    /// It failed past the commit point: nothing is taken back, and the rest goes on.
    Leftover,
}

/// One host call as the journal has it, for replay.
#[expect(clippy::large_enum_variant, reason = "most calls are answered ones, so boxing saves none")]
#[derive(Clone, Debug, PartialEq)]
pub enum RecordedCall {
    /// A call that sent no effect.
    Answered {
        /// As the guest made it; a replay that makes another one ends the attempt.
        call: Call,
        /// When it was answered: from then on the guest's own clock stands there.
        at: UnixMs,
        /// What the guest was given, and is given again.
        result: Result<Value, Failure>,
    },
    /// An index into [`StepState::effects`], and whether its outcome is journaled.
    Effect {
        /// Its place in [`StepState::effects`].
        index: usize,
        /// If `false`, a replay settles the effect before it goes on.
        finished: bool,
    },
}

/// The attempt that has started and not finished.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenAttempt {
    /// Which attempt it is.
    pub id: AttemptId,
    /// When it started first; a replay does not change that.
    pub started_at: UnixMs,
    /// How much of the time since then no runner lived; its timeout stood still (R15).
    pub paused_ms: u64,
    /// In the order of their numbers, from 1.
    pub calls: Vec<RecordedCall>,
    /// The wait that it is in, if that lasts.
    pub wait: Option<Box<BegunWait>>,
    /// The effect that waits for other steps, if one does.
    pub held: Option<Box<HeldEffect>>,
}

/// An effect that is not made before other steps are done, which changed the same facts (R6).
#[derive(Clone, Debug, PartialEq)]
pub struct HeldEffect {
    /// The number that the effect will have once it is made or denied.
    pub id: CallId,
    /// As the guest made it.
    pub call: Call,
    /// The steps that it waits for; there is at least one.
    pub behind: Vec<StepKey>,
    /// When it began to wait; the step's timeout stands still from then on.
    pub since: UnixMs,
}

/// A wait that lasts.
#[derive(Clone, Debug, PartialEq)]
pub struct BegunWait {
    /// As the guest made it, with the whole time that it may take.
    pub call: Call,
    /// When it began.
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
            Call::Clock(ClockCall::Sleep { .. }) => gone_ms,
            _ => gone_ms.saturating_sub(self.paused_ms),
        };
        self.call.clone().after_waiting(counted_ms)
    }
}

/// One step's instance.
#[derive(Clone, Debug, PartialEq)]
pub struct StepState {
    /// `Skipped` for good, or `Pending` at first.
    pub status: StepStatus,
    /// What it is run and undone with; null if it was skipped, or `with` could not be evaluated.
    pub with: Value,
    /// The number of the last attempt at its run; 0 before the first.
    pub attempts: Attempt,
    /// The number of the last attempt at its undo; 0 before the first.
    pub undo_attempts: Attempt,
    /// How many undo attempts there were before the current undo began.
    pub undo_attempts_before: Attempt,
    /// `None` while no attempt is under way.
    pub open: Option<OpenAttempt>,
    /// Those of all its attempts, undos included, oldest first.
    pub effects: Vec<PastEffect>,
    /// The event that each of them began with.
    pub effect_seqs: Vec<Seq>,
    /// How many of them an undo has taken back or kept, before the step was tried again: they are
    /// no longer this step's to undo.
    pub effects_dealt_with: usize,
    /// The effects that an attempt of its undo took back, or found as they were before.
    pub taken_back: BTreeSet<CallId>,
    /// `None` unless a run succeeded; it stays when the step is undone.
    pub output: Option<Value>,
    /// Why the last run failed; `None` once one succeeded.
    pub error: Option<Failure>,
    /// Why the last undo attempt did not work.
    pub undo_error: Option<String>,
    /// Why what its undo left is harmless.
    pub kept: Option<String>,
    /// What the current undo was told.
    pub past: Option<Past>,
    /// When it is tried again; `None` unless it waits for that.
    pub not_before: Option<UnixMs>,
    /// When its first attempt began, or it was skipped.
    pub started_at: Option<UnixMs>,
    /// When its last attempt or undo ended; `None` before the first did.
    pub finished_at: Option<UnixMs>,
    /// The place in the order in which steps were given their inputs, or skipped.
    pub order: usize,
}

impl StepState {
    pub(super) fn new(status: StepStatus, with: Value, order: usize, at: UnixMs) -> Self {
        Self {
            status,
            with,
            attempts: Attempt(0),
            undo_attempts: Attempt(0),
            undo_attempts_before: Attempt(0),
            open: None,
            effects: vec![],
            effect_seqs: vec![],
            effects_dealt_with: 0,
            taken_back: BTreeSet::new(),
            output: None,
            error: None,
            undo_error: None,
            kept: None,
            past: None,
            not_before: None,
            started_at: (status != StepStatus::Pending).then_some(at),
            finished_at: None,
            order,
        }
    }

    /// The effects that are still to be taken back if the step is, those of its undos included.
    pub fn not_dealt_with(&self) -> &[PastEffect] {
        &self.effects[self.effects_dealt_with..]
    }

    /// The effects of runs, not known to have been refused and not taken back (R6), each with the
    /// event that it began with.
    pub fn to_undo(&self) -> impl DoubleEndedIterator<Item = (Seq, &PastEffect)> {
        let seqs = self.effect_seqs.iter().copied();
        seqs.zip(&self.effects).skip(self.effects_dealt_with).filter(|(_, effect)| {
            effect.id.of.direction == Direction::Do
                && !matches!(effect.outcome, EffectOutcome::Refused(_))
        })
    }

    /// Whether there is anything to take back.
    pub fn needs_undo(&self) -> bool {
        self.to_undo().next().is_some()
    }

    /// What an undo is told.
    pub fn past(&self) -> Past {
        Past {
            finished: self.output.is_some(),
            output: self.output.clone(),
            effects: self.not_dealt_with().to_vec(),
        }
    }

    /// Every resource the step's effects touched.
    pub fn touched(&self) -> impl Iterator<Item = &Resource> {
        self.effects.iter().flat_map(|effect| effect.changes.iter().map(|c| &c.resource))
    }
}
