//! What can go wrong with a store, by class.
//!
//! Whoever uses a store tells failures apart by these, whichever store it is; the text beside a
//! class is its cause, for people. What a database says is put into a class in that store's own
//! room, and no database's type is named here.

use std::path::PathBuf;
use stepback_core::{Epoch, OperationId, Seq};

/// A store's failure; nothing was written by the call that got it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    #[error("there is no operation {0}")]
    NotFound(OperationId),
    /// The lease is another runner's by now (R13).
    #[error("operation {id} was taken over by another program, which runs it or has ended it")]
    StaleEpoch { id: OperationId, held: Epoch, now: Epoch },
    /// The records do not follow the last one that the store has.
    #[error("operation {id} has event {last:?} already; another runner appended it")]
    WrongSequence { id: OperationId, last: Seq },
    #[error("operation {id} is being run by {runner}{}", left(.left_ms))]
    LeaseHeld {
        id: OperationId,
        runner: String,
        /// When its lease runs out, unless it is renewed.
        left_ms: Option<u64>,
    },
    /// A request waits that is to be honoured before the commit point (R2).
    #[error("operation {0} was asked to roll back")]
    Requested(OperationId),
    #[error("the store {path} was written by a newer Stepback (schema {found}, known {known})")]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("the store can't be opened or used ({path}): {why}")]
    Unusable { path: PathBuf, why: String },
    /// Somebody else uses it; the same may be done a little later.
    #[error("the store is busy: {0}")]
    Busy(String),
    #[error("no room is left for the store: {0}")]
    Full(String),
    #[error("the store can't be written: {0}")]
    ReadOnly(String),
    #[error("the store's file can't be read or written: {0}")]
    Io(String),
    /// One record of one operation; all others are what they were.
    #[error("event {} of operation {id} can't be read: {why}", .seq.0)]
    Unreadable { id: OperationId, seq: Seq, why: String },
    /// What is there is not what was written.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    #[error("the store's writer has ended")]
    Closed,
}

fn left(left_ms: &Option<u64>) -> String {
    match left_ms {
        Some(ms) => {
            format!("; if that process is stuck, its lease runs out in {} s", ms / 1000 + 1)
        }
        None => String::new(),
    }
}
