//! What can go wrong with a store, by kind.

use std::path::PathBuf;
use stepback_core::{Epoch, OperationId, Seq};

/// A store's failure; nothing was written by the call that got it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    #[error("there is no operation {0}")]
    NotFound(OperationId),
    #[error("operation {id} was taken over by another program, which runs it or has ended it")]
    StaleEpoch { id: OperationId, held: Epoch, now: Epoch },
    #[error("operation {id} has event {last:?} already; another runner appended it")]
    WrongSequence { id: OperationId, last: Seq },
    #[error("operation {id} is being run by {runner}{}", left(.left_ms))]
    LeaseHeld {
        id: OperationId,
        runner: String,
        /// When its lease runs out, unless it is renewed.
        left_ms: Option<u64>,
    },
    #[error("operation {0} was asked to roll back")]
    Requested(OperationId),
    #[error("the store {path} was written by a newer Stepback (schema {found}, known {known})")]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("the store can't be opened or used ({path}): {why}")]
    Unusable { path: PathBuf, why: String },
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

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let why = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy(why),
            Some(ErrorCode::DiskFull) => StoreError::Full(why),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => StoreError::ReadOnly(why),
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => StoreError::Io(why),
            _ => StoreError::Corrupt(why),
        }
    }
}

impl From<serde_json::Error> for StoreError {
    fn from(error: serde_json::Error) -> Self {
        StoreError::Corrupt(error.to_string())
    }
}
