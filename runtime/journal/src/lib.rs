//! The store: everything that outlives a process.
//!
//! An operation is an append-only list of records; beside it are kept its lease, its locks, the
//! requests other processes make of its runner, its log lines and the plugins it is pinned to.
//! The store knows who may append and in which order. It never knows what a plan or an event
//! means, but for the few events that change an operation's [`Summary`] or end its locks.
//!
//! [`Memory`] and [`Sqlite`] answer alike: one conformance suite runs against both.

mod error;
mod runner;
mod store;
mod summary;

pub use error::StoreError;
pub use runner::RunnerId;
pub use store::{Lease, LockAnswer, LockRow, LogLevel, LogLine, Request, Store};
pub use summary::Summary;
