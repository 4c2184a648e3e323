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
    Reasons {
        /// `None` as long as it is not on record.
        id: Option<OperationId>,
        /// One sentence each, for people.
        reasons: Vec<String>,
    },
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
    /// Nothing was changed, and nothing is left to resume.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The operation is unfinished and can be resumed.
    #[error("operation {id} is left unfinished: {why}")]
    Left {
        /// What `resume` takes.
        id: OperationId,
        /// What keeps it from going on, for people.
        why: String,
    },
    /// The operation is unfinished because of its store, and can be resumed.
    #[error("operation {id} is left unfinished: {error}")]
    LeftByStore {
        /// What `resume` takes.
        id: OperationId,
        /// What went wrong with the store.
        error: StoreError,
    },
    /// A request came before the commit point; the driver goes on from the journal with it.
    #[error("a request is to be honoured first")]
    Requested,
    /// Nothing can be resumed: the operation has ended.
    #[error("operation {id} has ended already ({status})")]
    Ended {
        /// Its number in the store.
        id: OperationId,
        /// How it ended, such as `rolled-back`, and who accepted that, if anybody did.
        status: String,
    },
    /// It can't go forward any more, because something that it began with is not there.
    #[error("operation {id} is left unfinished: {}", .because.join("; "))]
    NotForward {
        /// Its number in the store.
        id: OperationId,
        /// Each thing that is missing, or is another one by now, for people.
        because: Vec<String>,
        /// How it can still end.
        way_out: WayOut,
    },
    /// Its journal can't be read.
    #[error("the journal of operation {id} can't be read: {why}")]
    Unreadable {
        /// Its number in the store.
        id: OperationId,
        /// What is wrong with it, for people.
        why: String,
    },
    /// Nothing rolls back after the commit point.
    #[error("operation {id} is past its commit point")]
    Committed {
        /// Its number in the store.
        id: OperationId,
    },
    /// Somebody runs it.
    #[error("operation {id} is being run")]
    BeingRun {
        /// Its number in the store.
        id: OperationId,
    },
    /// The operation has not ended yet, so there is no rollback to take up again.
    #[error("operation {id} has not ended")]
    Unfinished {
        /// Its number in the store.
        id: OperationId,
        /// Whether it is on its way back already.
        rolling_back: bool,
    },
    /// A program runs it from a state directory that this one is a copy of.
    #[error("operation {id} is run from another state directory, {place} on {host}")]
    RunsElsewhere {
        /// Its number, which is the same there.
        id: OperationId,
        /// The path of that state directory, or `(unknown)`.
        place: String,
        /// The machine that it is on.
        host: String,
    },
    /// It is unfinished in a state directory that this one is a copy of, which holds its locks.
    #[error(
        "operation {id} is unfinished in another state directory, {place}, and held from there"
    )]
    HeldElsewhere {
        /// Its number, which is the same there.
        id: OperationId,
        /// The path of that state directory, or `(unknown)`.
        place: String,
    },
    /// What it did last is not in this journal, which is a copy: going on from here would take back
    /// or do again what nobody here knows of.
    #[error("{why}")]
    WentOn {
        /// Its number in the store.
        id: OperationId,
        /// From where it went on, for people.
        why: String,
    },
    /// Its rollback is incomplete, and can't be taken up again now.
    #[error("the rollback of operation {id} can't be taken up again: {why}")]
    StandsStill {
        /// Its number in the store.
        id: OperationId,
        /// What is in its way, for people.
        why: String,
    },
    /// Whoever runs it was asked to roll it back.
    #[error("whoever runs operation {id} was asked to roll it back")]
    AskedFor {
        /// Its number in the store.
        id: OperationId,
    },
    /// The store failed, or the operation is not there, or is somebody else's.
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
