//! What a store does, whichever it is.

use crate::StoreError;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use stepback_core::event::{Event, FinalStatus, Pinned, Record};
use stepback_core::*;

/// Who runs operations: one process, by a random name of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunnerId(pub String);

/// The right to append to one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub operation: OperationId,
    pub epoch: Epoch,
}

/// One line of `list`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub id: OperationId,
    pub manifest: String,
    pub environment: EnvironmentName,
    pub created_at: UnixMs,
    pub last_seq: Seq,
    pub finished: Option<Ending>,
}

/// How an operation ended, as far as the store needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    Refused,
    Succeeded,
    RolledBack,
    RollbackFailed,
}

impl Ending {
    /// How the event ends its operation, if it does.
    pub fn of(event: &Event) -> Option<Ending> {
        match event {
            Event::Refused { .. } => Some(Ending::Refused),
            Event::Finished { status, .. } => Some(match status {
                FinalStatus::Succeeded => Ending::Succeeded,
                FinalStatus::RolledBack => Ending::RolledBack,
                FinalStatus::RollbackFailed => Ending::RollbackFailed,
            }),
            _ => None,
        }
    }

    /// A rollback that failed keeps its locks (R7).
    pub fn releases_locks(self) -> bool {
        match self {
            Ending::Refused | Ending::Succeeded | Ending::RolledBack => true,
            Ending::RollbackFailed => false,
        }
    }
}

/// The answer to asking for locks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockAnswer {
    Held,
    Busy { name: LockName, owner: OperationId, since: UnixMs },
}

/// A lock that is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockRow {
    pub environment: EnvironmentName,
    pub name: LockName,
    pub owner: OperationId,
    pub since: UnixMs,
}

/// What somebody without the lease wants of an operation (R2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    Cancel { actor: String, reason: Option<String> },
}

/// One line of an operation's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    pub at: UnixMs,
    pub step: Option<StepKey>,
    pub level: String,
    pub text: String,
}

/// A store of journals, logs, locks, requests and plugins' bytes.
#[async_trait]
pub trait Store: Send + Sync {
    /// The store's own random identity.
    fn id(&self) -> StoreId;

    /// Begin an operation with its `Created` event, under a lease of epoch 1.
    async fn create(
        &self,
        pinned: Pinned,
        at: UnixMs,
        runner: &RunnerId,
    ) -> Result<(OperationId, Lease), StoreError>;

    /// Append records after `last`; they are durable when it returns.
    ///
    /// A record that ends the operation releases its locks in the same transaction, but for a
    /// failed rollback's.
    async fn append(
        &self,
        lease: &Lease,
        last: Seq,
        records: Vec<Record>,
    ) -> Result<(), StoreError>;

    /// Every record of an operation, in order.
    async fn load(&self, id: OperationId) -> Result<Vec<Record>, StoreError>;

    /// Every operation, oldest first.
    async fn list(&self) -> Result<Vec<Summary>, StoreError>;

    /// All of the locks, or none.
    async fn acquire_locks(
        &self,
        lease: &Lease,
        environment: &EnvironmentName,
        names: &[LockName],
        at: UnixMs,
    ) -> Result<LockAnswer, StoreError>;

    /// Every lock that is held.
    async fn locks(&self) -> Result<Vec<LockRow>, StoreError>;

    /// Ask something of an operation that another process may be running.
    async fn request(&self, id: OperationId, request: Request) -> Result<(), StoreError>;

    /// Take what was asked; each request is handed out once.
    async fn take_requests(&self, lease: &Lease) -> Result<Vec<Request>, StoreError>;

    /// Keep a plugin's bytes under their digest (R14).
    async fn put_blob(&self, digest: &PluginDigest, bytes: &[u8]) -> Result<(), StoreError>;

    /// A plugin's bytes.
    async fn get_blob(&self, digest: &PluginDigest) -> Result<Option<Vec<u8>>, StoreError>;

    /// Keep log lines.
    async fn append_logs(&self, id: OperationId, lines: Vec<LogLine>) -> Result<(), StoreError>;

    /// The log lines after the first `after`.
    async fn logs(&self, id: OperationId, after: u64) -> Result<Vec<LogLine>, StoreError>;

    /// Take an operation over from a runner that is gone: the next epoch.
    ///
    /// # Errors
    /// [`StoreError::LeaseHeld`] while its runner has not released it and is not known dead.
    async fn take_lease(&self, id: OperationId, runner: &RunnerId) -> Result<Lease, StoreError>;

    /// Give the lease back; nothing more is appended under it.
    async fn release(&self, lease: &Lease) -> Result<(), StoreError>;
}
