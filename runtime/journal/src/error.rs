//! What a store can answer instead of what was asked.
//!
//! Each kind is a different thing to do for the caller: try again later, free some space, give up
//! the operation because another runner has it, or stop because the journal can't be trusted.
//! Cloneable, because one failed commit is the answer to everyone whose work was in it.

use crate::runner::RunnerId;
use stepback_core::{Epoch, OperationId, Seq, UnixMs};

/// Why a store didn't do what it was asked. Nothing of the request was kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another process holds the journal and did not let go in time.
    #[error("the journal is in use by another process: {0}")]
    Busy(String),
    /// No space left where the journal lives.
    #[error("there is no space left for the journal: {0}")]
    Full(String),
    /// The journal, or its directory, may not be written.
    #[error("the journal can't be written: {0}")]
    Readonly(String),
    /// What was read is not what a store writes.
    #[error("the journal is damaged: {0}")]
    Corrupt(String),
    /// The journal was written by a later version of the program.
    #[error("the journal has schema version {found}; this program knows up to {known}")]
    Newer { found: u32, known: u32 },
    /// Any other failure of the disk or the database under the store.
    #[error("the journal failed: {0}")]
    Io(String),
    /// The store was shut down, or its writer died.
    #[error("the journal is closed")]
    Closed,
    /// The lease has passed to another runner: this one must stop at once.
    #[error("operation {operation}: the lease of epoch {held} was taken over by epoch {current}",
        held = .held.0, current = .current.0)]
    StaleEpoch { operation: OperationId, held: Epoch, current: Epoch },
    /// The journal is not where the caller thought it was.
    #[error("operation {operation}: the last event is {actual}, not {expected}",
        expected = .expected.0, actual = .actual.0)]
    WrongSeq { operation: OperationId, expected: Seq, actual: Seq },
    /// No such operation.
    #[error("there is no operation {0}")]
    NotFound(OperationId),
    /// A runner that is alive holds the operation.
    #[error("the operation is held by runner {runner}")]
    LeaseHeld { runner: RunnerId, since: UnixMs },
    /// The request makes no sense: a defect of the caller.
    #[error("the journal refuses: {0}")]
    Invalid(String),
}

impl StoreError {
    /// Whether another runner has the operation now, so that this one has to leave it alone.
    pub fn is_fenced(&self) -> bool {
        matches!(self, StoreError::StaleEpoch { .. } | StoreError::WrongSeq { .. })
    }

    /// What a person can do about it, where anything helps.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            StoreError::Busy(_) => Some("wait for the other program, or find who keeps it open"),
            StoreError::Full(_) => Some("free some space, then resume the operation"),
            StoreError::Readonly(_) => Some("check the owner and the mode of the state directory"),
            StoreError::Corrupt(_) => Some("keep a copy of the state directory as it is"),
            StoreError::Newer { .. } => Some("use the newer program, or another state directory"),
            StoreError::NotFound(_) => Some("`stepback list` shows the operations there are"),
            StoreError::LeaseHeld { .. } => Some("its runner is alive: follow it, or cancel it"),
            StoreError::Io(_)
            | StoreError::Closed
            | StoreError::StaleEpoch { .. }
            | StoreError::WrongSeq { .. }
            | StoreError::Invalid(_) => None,
        }
    }
}
