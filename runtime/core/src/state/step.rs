//! One step's instance: how far it is, what it asked for, what it changed.

use crate::calls::{Call, ClockCall};
use crate::failure::Failure;
use crate::ids::*;
use crate::resource::Resource;
use crate::step::{EffectOutcome, Past, PastEffect};
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
    /// The effect that waits for other steps, if one does.
    pub held: Option<Box<HeldEffect>>,
}

/// An effect that is not made before other steps are done, which changed the same facts (R6).
#[derive(Clone, Debug, PartialEq)]
pub struct HeldEffect {
    pub id: CallId,
    pub call: Call,
    pub behind: Vec<StepKey>,
    pub since: UnixMs,
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
            Call::Clock(ClockCall::Sleep { .. }) => gone_ms,
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
    /// The event that each of them began with.
    pub effect_seqs: Vec<Seq>,
    /// How many of them an undo has taken back or kept, before the step was tried again: they are
    /// no longer this step's to undo.
    pub settled_effects: usize,
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
            settled_effects: 0,
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

    /// The effects that are still to be taken back if the step is, those of its undos included.
    pub fn unsettled(&self) -> &[PastEffect] {
        &self.effects[self.settled_effects..]
    }

    /// The effects of runs, not known to have been refused and not taken back (R6), each with the
    /// event that it began with.
    pub fn to_undo(&self) -> impl DoubleEndedIterator<Item = (Seq, &PastEffect)> {
        let seqs = self.effect_seqs.iter().copied();
        seqs.zip(&self.effects).skip(self.settled_effects).filter(|(_, effect)| {
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
            effects: self.unsettled().to_vec(),
        }
    }

    /// Every resource the step's effects touched.
    pub fn touched(&self) -> impl Iterator<Item = &Resource> {
        self.effects.iter().flat_map(|effect| effect.changes.iter().map(|c| &c.resource))
    }
}
