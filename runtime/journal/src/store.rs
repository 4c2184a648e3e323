//! The one trait every store implements, and the words it is spoken to in.
//!
//! Writing needs a [`Lease`]: an append names the lease's epoch and the last event it knows, so
//! that of two runners only one can go on. Reading, requests, blobs and log lines need none.
//! Whatever a method returned `Ok` for is durable, but for log lines (see there).

use crate::error::StoreError;
use crate::runner::RunnerId;
use crate::summary::Summary;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use stepback_core::event::{Pinned, Record};
use stepback_core::{
    EnvironmentName, Epoch, LockName, OperationId, PluginDigest, Seq, StepKey, StoreId, UnixMs,
};

/// Where operations are kept.
#[async_trait]
pub trait Store: Send + Sync {
    /// The store's own random identity; tokens are derived from it.
    fn id(&self) -> StoreId;

    /// A new operation: its first event is `Created`, its lease (epoch 1) is the runner's.
    async fn create(
        &self,
        pinned: Pinned,
        at: UnixMs,
        runner: &RunnerId,
    ) -> Result<(OperationId, Lease), StoreError>;

    /// Adds records, all or none; durable when it returns.
    ///
    /// The records follow `expected`, the last event the caller knows, without a gap, and carry
    /// the lease's epoch. A record that ends the operation releases its locks in the same
    /// transaction, but for a failed rollback's.
    ///
    /// # Errors
    /// [`StoreError::StaleEpoch`], [`StoreError::WrongSeq`]: another runner has the operation.
    async fn append(
        &self,
        lease: &Lease,
        expected: Seq,
        records: Vec<Record>,
    ) -> Result<(), StoreError>;

    /// Every record of an operation, in order.
    async fn load(&self, id: OperationId) -> Result<Vec<Record>, StoreError>;

    /// Every operation, oldest first.
    async fn list(&self) -> Result<Vec<Summary>, StoreError>;

    /// Takes all the locks or none; those the operation already has are counted as taken.
    async fn acquire_locks(
        &self,
        lease: &Lease,
        environment: &EnvironmentName,
        names: &[LockName],
        at: UnixMs,
    ) -> Result<LockAnswer, StoreError>;

    /// Every lock that is held, by environment and name.
    async fn locks(&self) -> Result<Vec<LockRow>, StoreError>;

    /// Asks an operation's runner for something; kept until one takes it up.
    async fn request(&self, id: OperationId, request: Request) -> Result<(), StoreError>;

    /// The requests this lease has not yet been given, oldest first.
    ///
    /// A request is gone for good once a `CancelRequested` event answers it or the operation
    /// ends; until then the next lease is given it again, so that a crash loses none.
    async fn take_requests(&self, lease: &Lease) -> Result<Vec<Request>, StoreError>;

    /// Keeps a plugin's bytes under their sha-256; the same bytes twice are kept once.
    async fn put_blob(&self, digest: &PluginDigest, bytes: &[u8]) -> Result<(), StoreError>;

    /// The bytes kept under a digest.
    async fn get_blob(&self, digest: &PluginDigest) -> Result<Option<Vec<u8>>, StoreError>;

    /// Keeps log lines. They become durable with the next append, or soon after: a line is not
    /// worth a disk flush of its own.
    async fn append_logs(&self, id: OperationId, lines: Vec<LogLine>) -> Result<(), StoreError>;

    /// The log lines after number `after` (0: all), each with its number, from 1.
    async fn logs(&self, id: OperationId, after: u64) -> Result<Vec<(u64, LogLine)>, StoreError>;

    /// Takes an operation over: at once if its runner released it, is dead, or is this one.
    /// The epoch goes up, and what the older lease still appends is refused.
    ///
    /// # Errors
    /// [`StoreError::LeaseHeld`] while another runner lives.
    async fn take_lease(
        &self,
        id: OperationId,
        runner: &RunnerId,
        at: UnixMs,
    ) -> Result<Lease, StoreError>;

    /// Says the runner still has the operation.
    ///
    /// # Errors
    /// [`StoreError::StaleEpoch`] if it no longer has.
    async fn renew(&self, lease: &Lease, at: UnixMs) -> Result<(), StoreError>;

    /// Gives the operation up; its locks stay.
    async fn release(&self, lease: &Lease) -> Result<(), StoreError>;
}

/// The right to append to one operation, until a newer epoch exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub operation: OperationId,
    pub epoch: Epoch,
    pub runner: RunnerId,
}

/// The answer to a wish for locks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockAnswer {
    /// All of them are the operation's.
    Held,
    /// None was taken: this one is another operation's.
    Busy { name: LockName, owner: OperationId, since: UnixMs },
}

/// One held lock.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LockRow {
    pub environment: EnvironmentName,
    pub name: LockName,
    pub owner: OperationId,
    pub since: UnixMs,
}

/// What another process may ask of an operation's runner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// End the operation and roll it back.
    Cancel { actor: String, reason: Option<String> },
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

/// One line a step, or the runtime, said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    pub at: UnixMs,
    /// `None`: the runtime itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepKey>,
    pub level: LogLevel,
    pub text: String,
}
