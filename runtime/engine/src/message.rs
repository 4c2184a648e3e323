//! What comes to the driver of an operation, from whoever works for it.

use crate::recorded::Recorded;
use serde_json::Value;
use stepback_core::evaluate::{Evaluated, Outputs};
use stepback_core::event::AttemptResult;
use stepback_core::machine::Observation;
use stepback_core::step::{Change, EffectOutcome};
use stepback_core::*;
use stepback_journal::{Request, StoreError};
use tokio::sync::oneshot;

/// What an effect's asker is told.
pub(crate) type Reply = Result<Value, Failure>;

/// Everything that can come to the driver, in one queue.
pub(crate) enum Message {
    /// A call ended at `at` without an effect being sent: a read, a wait, or a denied effect.
    Answered {
        id: CallId,
        call: Call,
        result: Result<Value, Failure>,
        at: UnixMs,
    },
    /// A wait lasts since then.
    WaitBegun {
        id: CallId,
        call: Call,
        since: UnixMs,
    },
    /// A guest wants an effect; other steps may have to be done first.
    EffectWanted {
        id: CallId,
        call: Call,
        token: Token,
        reply: oneshot::Sender<Result<(), Failure>>,
    },
    /// A guest asks for an effect, and what it touches was read just now.
    EffectAsked {
        id: CallId,
        call: Call,
        token: Token,
        changes: Vec<Change>,
        /// Whether it takes an effect of the journal back.
        reverses: bool,
        reply: oneshot::Sender<Reply>,
    },
    /// A replaying guest has come to the effect that was in flight.
    EffectTakenUp {
        id: CallId,
        reply: oneshot::Sender<Reply>,
    },
    /// A guest is about to run again from its attempt's beginning.
    ReplayAsked {
        of: AttemptId,
        reply: oneshot::Sender<Vec<Recorded>>,
    },
    EffectEnded {
        id: CallId,
        outcome: EffectOutcome,
        changes: Vec<Change>,
    },
    AttemptEnded {
        of: AttemptId,
        result: AttemptResult,
    },
    Evaluated {
        step: StepId,
        evaluated: Evaluated,
    },
    OutputsEvaluated(Outputs),
    Gated {
        reasons: Vec<String>,
    },
    Observed {
        observations: Vec<Observation>,
    },
    Requested(Vec<Request>),
    /// The operation is no longer this runner's.
    LeaseLost(StoreError),
    Tick,
    /// Reads and waits have been pending long enough.
    FlushDue,
    Flushed(Result<(), StoreError>),
    /// Stop here, for `resume`.
    Leave,
}

impl Message {
    /// Whether it is all that a task which carries out a command has to say.
    pub(crate) fn tells_all(&self) -> bool {
        match self {
            Self::AttemptEnded { .. }
            | Self::Evaluated { .. }
            | Self::OutputsEvaluated(_)
            | Self::Gated { .. }
            | Self::Observed { .. } => true,
            Self::Answered { .. }
            | Self::WaitBegun { .. }
            | Self::EffectWanted { .. }
            | Self::EffectAsked { .. }
            | Self::EffectTakenUp { .. }
            | Self::ReplayAsked { .. }
            | Self::EffectEnded { .. }
            | Self::Requested(_)
            | Self::LeaseLost(_)
            | Self::Tick
            | Self::FlushDue
            | Self::Flushed(_)
            | Self::Leave => false,
        }
    }
}
