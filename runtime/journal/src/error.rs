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
    /// The store has no operation of this number.
    #[error("there is no operation {0}")]
    NotFound(OperationId),
    /// The lease is another runner's by now, or was given back (R13).
    #[error("operation {id} is no longer this program's: another has taken it over or ended it")]
    StaleEpoch {
        /// The operation that the lease is for.
        id: OperationId,
        /// The epoch of the lease that was used.
        held: Epoch,
        /// The operation's epoch by now; the same as `held` if the lease was given back, and `None`
        /// where only the world told that there is a later one.
        now: Option<Epoch>,
    },
    /// The records do not follow the last one that the store has.
    #[error("operation {id} has event {last:?} already; another runner appended it")]
    WrongSequence {
        /// The operation that was to be appended to.
        id: OperationId,
        /// The last event that the store has of it.
        last: Seq,
    },
    /// Another runner has the lease, and is not known to be gone.
    #[error("operation {id} is being run by {runner}{}", left(.left_ms))]
    LeaseHeld {
        /// The operation whose lease was asked for.
        id: OperationId,
        /// The name of the runner that has it.
        runner: String,
        /// In how many milliseconds its operation may be taken up, unless it shows that it lives;
        /// `None` where that is not known.
        left_ms: Option<u64>,
    },
    /// A request waits that is to be honoured before the commit point (R2).
    #[error("operation {0} was asked to roll back")]
    Requested(OperationId),
    /// The store has tables of a later version, and is left alone.
    #[error("the store {path} was written by a newer Stepback (schema {found}, known {known})")]
    Newer {
        /// The store's file.
        path: PathBuf,
        /// The version of its tables.
        found: i64,
        /// The latest version that this program knows.
        known: i64,
    },
    /// There is no store to work with: it could not be opened or made.
    #[error("the store can't be opened or used ({path}): {why}")]
    Unusable {
        /// The file or directory; `random` if the system gives no random numbers for a name.
        path: PathBuf,
        /// The cause, for people.
        why: String,
    },
    /// Somebody else uses it; the same may be done a little later.
    #[error("the store is busy: {0}")]
    Busy(String),
    /// The disk is full; the same may be done when there is room.
    #[error("no room is left for the store: {0}")]
    Full(String),
    /// This process can't write the store, or the file that shows that its runner lives.
    #[error("the store can't be written: {0}")]
    ReadOnly(String),
    /// The system failed to open, read or write the file.
    #[error("the store's file can't be read or written: {0}")]
    Io(String),
    /// One record of one operation; all others are what they were.
    #[error("event {} of operation {id} can't be read: {why}", .seq.0)]
    Unreadable {
        /// The operation that the record is of.
        id: OperationId,
        /// The first event that can't be read, or is gone.
        seq: Seq,
        /// What is wrong with it, for people.
        why: String,
    },
    /// What is there is not what was written.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    /// The thread that writes has ended, or this one change failed by a defect.
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
