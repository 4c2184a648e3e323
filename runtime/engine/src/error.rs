//! Why an operation did not run, or did not come to its end.

use stepback_core::OperationId;
use stepback_core::diagnostic::Diagnostics;
use stepback_core::state::IllegalEvent;
use stepback_journal::StoreError;

/// Said no before anything changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The manifest, its plugins or its inputs have mistakes.
    #[error("{0}")]
    Mistakes(Diagnostics),
    /// Locks, secrets or the world say no; `id` is set once the operation is on record.
    #[error("{}", .reasons.join("\n"))]
    Reasons { id: Option<OperationId>, reasons: Vec<String> },
}

/// How an operation ends that can't go forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WayOut {
    /// It has changed nothing: a cancel calls it off.
    CalledOff,
    /// A cancel rolls it back.
    Back,
    /// A cancel rolls back what is not in a part of the world that is another one by now.
    BackInPart,
    /// It is past its commit point: only giving it up is left.
    GivenUp,
}

/// Why [`crate::run`] or [`crate::resume`] has no ended operation to show.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The operation is unfinished and can be resumed.
    #[error("operation {id} is left unfinished: {why}")]
    Left { id: OperationId, why: String },
    /// The operation is unfinished because of its store, and can be resumed.
    #[error("operation {id} is left unfinished: {error}")]
    LeftByStore { id: OperationId, error: StoreError },
    /// A request came before the commit point; the driver goes on from the journal with it.
    #[error("a request is to be honoured first")]
    Requested,
    /// Nothing can be resumed: the operation has ended.
    #[error("operation {id} has ended already ({status})")]
    Ended { id: OperationId, status: String },
    /// It can't go forward any more, because something that it began with is not there.
    #[error("operation {id} is left unfinished: {}", .because.join("; "))]
    NotForward { id: OperationId, because: Vec<String>, way_out: WayOut },
    /// Its journal can't be read.
    #[error("the journal of operation {id} can't be read: {why}")]
    Unreadable { id: OperationId, why: String },
    /// Nothing rolls back after the commit point.
    #[error("operation {id} is past its commit point")]
    Committed { id: OperationId },
    /// Somebody runs it.
    #[error("operation {id} is being run")]
    BeingRun { id: OperationId },
    /// The operation has not ended yet, so there is no rollback to take up again.
    #[error("operation {id} has not ended")]
    Unfinished { id: OperationId, rolling_back: bool },
    /// A program runs it from a state directory that this one is a copy of.
    #[error("operation {id} is run from another state directory, {place} on {host}")]
    RunsElsewhere { id: OperationId, place: String, host: String },
    /// Its rollback is incomplete, and can't be taken up again now.
    #[error("the rollback of operation {id} can't be taken up again: {why}")]
    StandsStill { id: OperationId, why: String },
    /// Whoever runs it was asked to roll it back.
    #[error("whoever runs operation {id} was asked to roll it back")]
    AskedFor { id: OperationId },
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A defect of Stepback.
    #[error("{0}")]
    Internal(String),
}

impl From<IllegalEvent> for RunError {
    fn from(error: IllegalEvent) -> Self {
        RunError::Internal(error.to_string())
    }
}
