//! What a store does, whichever it is.

use crate::StoreError;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use stepback_clock::Moment;
use stepback_core::event::{Event, FinalStatus, Pinned, Record};
use stepback_core::*;

/// Who runs operations: one process, by a random name of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunnerId(pub String);

/// The right to append to one operation, and to change the world for it (R13).
///
/// It lasts as long as its runner renews it, which the store does by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The one operation that it is for.
    pub operation: OperationId,
    /// 1 for whoever begins the operation, and one more with each takeover.
    pub epoch: Epoch,
    /// Who has it, until it is given back or taken over.
    pub runner: RunnerId,
}

impl Lease {
    /// Whether it is the lease of the operation that has this epoch and runner now.
    ///
    /// # Errors
    /// [`StoreError::StaleEpoch`] if somebody else has taken it over, or it was given back.
    pub(crate) fn must_be_of(&self, now: Epoch, runner: Option<&str>) -> Result<(), StoreError> {
        if now != self.epoch || runner != Some(self.runner.0.as_str()) {
            let (id, held, now) = (self.operation, self.epoch, Some(now));
            return Err(StoreError::StaleEpoch { id, held, now });
        }
        Ok(())
    }
}

/// A moment by a store's own clock, in milliseconds: what its leases run out by (R13).
///
/// It tells only how far it is from another one of the same store. It is no time of day, and no
/// moment of the clock that the asker's machine has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoreTime(pub u64);

impl StoreTime {
    /// The moment so many milliseconds later.
    pub fn after_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// The moment so many milliseconds before; the first there is, if that is later.
    pub fn before_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_sub(ms))
    }

    /// How many milliseconds ago `earlier` was; 0 if it is still to come.
    pub fn since_ms(self, earlier: StoreTime) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The one clock's moment, for a store that only programs of one machine share (R15).
impl From<Moment> for StoreTime {
    fn from(moment: Moment) -> Self {
        Self(moment.as_ms())
    }
}

/// A lease, and when the runner before was last known to live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Takeover {
    /// The new lease, of the next epoch.
    pub lease: Lease,
    /// When that was, as the runner told it, by a clock that may have been set since.
    pub last_alive: Option<UnixMs>,
    /// It was then, or before, by the store's clock, which nobody can set.
    pub silent_since: StoreTime,
}

/// How long leases last, and how often they are renewed.
#[derive(Clone, Copy, Debug)]
pub struct LeaseTerms {
    /// How long a lease lasts from when it was given or renewed.
    pub length_ms: u64,
    /// `None`: nobody renews them.
    pub renew_every_ms: Option<u64>,
}

/// One line of `list`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The number by which commands name it.
    pub id: OperationId,
    /// The path or name that it was started from.
    pub manifest: String,
    /// The environment that it changes, as `stepback.toml` names it.
    pub environment: EnvironmentName,
    /// When it was begun, by the clock of whoever began it.
    pub created_at: UnixMs,
    /// Its last event in the store.
    pub last_seq: Seq,
    /// How it ended; `None` if it has not, or if that can't be read.
    pub finished: Option<Ending>,
    /// Whether a runner that lives holds its lease.
    pub is_run: bool,
    /// When it was last known that somebody ran it, if it has not ended and nobody runs it.
    pub left_at: Option<UnixMs>,
    /// A cancel that was asked for and is no event yet.
    pub cancel: Option<Request>,
}

/// How an operation ended, as far as the store needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// It never began: a check said no, a lock was not to be had, or it was called off.
    Refused,
    /// It is past its commit point, and all is done but what is listed as left over (R12).
    Succeeded,
    /// Every fact that counts is as it was, but for what was declared irreversible (R8).
    RolledBack,
    /// Its rollback is incomplete: it waits for a person, and can be taken up again (R7).
    RollbackFailed,
    /// A rollback that failed, taken as it is by a person.
    Accepted,
    /// Given up by a person where it stood.
    Abandoned,
}

impl Ending {
    /// How the event ends its operation, if it does.
    pub fn of(event: &Event) -> Option<Ending> {
        match event {
            Event::Accepted { .. } => Some(Ending::Accepted),
            Event::Abandoned { .. } => Some(Ending::Abandoned),
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
            Ending::Refused
            | Ending::Succeeded
            | Ending::RolledBack
            | Ending::Accepted
            | Ending::Abandoned => true,
            Ending::RollbackFailed => false,
        }
    }
}

/// The answer to asking for locks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockAnswer {
    /// The asker has all of them.
    Held,
    /// The asker got none; this one stands before it.
    Busy(Busy),
}

/// Who stands before the asker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Busy {
    /// One of the locks that were asked for, which is not to be had now.
    pub name: LockName,
    /// The operation that holds it, or stands in line for it.
    pub by: OperationId,
    /// Since when it does, by the clock of whoever ran it then.
    pub since: UnixMs,
    /// Whether it holds the lock, and whether it will let go by itself.
    pub how: BusyHow,
}

/// What the one before the asker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusyHow {
    /// It holds the lock, and gives it back when it ends.
    Holds,
    /// It holds the lock, and nobody runs it: it waits for `resume`.
    LeftUnfinished,
    /// It waits for the lock too, and came first.
    WaitsBefore,
    /// Its rollback is incomplete, so it keeps the lock until a person acts (R7).
    StandsStill,
}

impl BusyHow {
    /// What an operation does that holds a lock, by how it has ended and whether it is run.
    pub(crate) fn of_holder(ending: Option<Ending>, is_run: bool) -> Self {
        match ending {
            Some(Ending::RollbackFailed) => BusyHow::StandsStill,
            _ if is_run => BusyHow::Holds,
            _ => BusyHow::LeftUnfinished,
        }
    }

    /// Whether the lock may come free without a person, so that waiting in line is of use.
    pub(crate) fn is_worth_waiting(self) -> bool {
        match self {
            BusyHow::Holds | BusyHow::LeftUnfinished | BusyHow::WaitsBefore => true,
            BusyHow::StandsStill => false,
        }
    }
}

/// A lock that is held, and who waits for it, first come first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockRow {
    /// Where it is held; a lock of this name in another environment is another one.
    pub environment: EnvironmentName,
    /// As the manifest's `locks` came out, such as `database/main`.
    pub name: LockName,
    /// The operation that holds it, whether anybody runs that or not.
    pub owner: OperationId,
    /// When it was first taken, by the clock of whoever ran the owner then.
    pub since: UnixMs,
    /// In the order in which they came; one that nobody runs is skipped when its turn comes.
    pub waiting: Vec<OperationId>,
}

/// What somebody without the lease wants of an operation (R2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// Roll it back, or call it off if it has changed nothing yet (R9).
    Cancel {
        /// Who asked, for the journal.
        #[serde(flatten)]
        actor: Actor,
        /// Why, in that person's words, if they gave any.
        reason: Option<String>,
    },
}

/// What became of a request; final, because the commit point reads the requests (R2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requested {
    /// It is kept; whoever runs the operation, now or later, honours it.
    Kept {
        /// Whether somebody runs it now.
        is_run: bool,
    },
    /// The operation is rolling back already.
    RollingBack,
    /// The operation is past its commit point.
    PastCommit,
    /// The operation has ended this way, so the request is not kept.
    Ended(Ending),
}

/// One line of an operation's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was said, by the clock of whoever ran the operation then.
    pub at: UnixMs,
    /// Whose line it is; `None` for what is said of the whole operation.
    pub step: Option<StepKey>,
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// What was said; the engine takes values of secrets out of it first.
    pub text: String,
}

/// How long a request may go unnoticed by a runner that is not busy.
pub const NOTICED_MS_MAX: u64 = 200;

/// A store of journals, logs, locks, requests and plugins' bytes.
#[async_trait]
pub trait Store: Send + Sync {
    /// The store's own random identity.
    fn id(&self) -> StoreId;

    /// The directory that it is in, by its absolute path, if it is in one.
    fn place(&self) -> Option<PathBuf> {
        None
    }

    /// What time it is by the store's clock, by which its leases run out (R13).
    ///
    /// Whatever a lease's time is compared with comes from here, and not from the asker's machine:
    /// all programs that share a store share this clock, wherever they run. It goes on while a
    /// machine sleeps, and can't be set.
    async fn now(&self) -> Result<StoreTime, StoreError>;

    /// Begin an operation with its `Created` event, under a lease of epoch 1.
    async fn create(
        &self,
        pinned: Shared<Pinned>,
        at: UnixMs,
        runner: &RunnerId,
    ) -> Result<(OperationId, Lease), StoreError>;

    /// Append records after `last`; they are durable when it returns.
    ///
    /// A record that ends the operation releases its locks in the same transaction, but for a
    /// failed rollback's. A record that makes a cancel an event drops the requests for it.
    ///
    /// # Errors
    /// [`StoreError::Requested`] for a `Committed` while a request waits: it is to be honoured
    /// first, and nothing is written.
    async fn append(
        &self,
        lease: &Lease,
        last: Seq,
        records: Vec<Record>,
    ) -> Result<(), StoreError>;

    /// Every record of an operation, in order.
    async fn load(&self, id: OperationId) -> Result<Vec<Record>, StoreError>;

    /// What an operation was pinned to when it began: its first event, whether or not what comes
    /// after it can be read; nothing, where that one can't be.
    async fn began_with(&self, id: OperationId) -> Option<Shared<Pinned>> {
        let records = self.load(id).await.ok()?;
        pinned_by(records.into_iter().next()?)
    }

    /// Every operation, oldest first.
    async fn list(&self) -> Result<Vec<Summary>, StoreError>;

    /// One of these, if there is such an operation; it takes no longer where there are many.
    async fn summary(&self, id: OperationId) -> Result<Option<Summary>, StoreError>;

    /// All of the locks, or none.
    ///
    /// With `wait` the asker keeps its place in line; who is dead there is skipped.
    async fn acquire_locks(
        &self,
        lease: &Lease,
        environment: &EnvironmentName,
        names: &[LockName],
        at: UnixMs,
        wait: bool,
    ) -> Result<LockAnswer, StoreError>;

    /// Every lock that is held.
    async fn locks(&self) -> Result<Vec<LockRow>, StoreError>;

    /// Ask something of an operation that another process may be running.
    async fn request(&self, id: OperationId, request: Request) -> Result<Requested, StoreError>;

    /// What was asked for and is not an event yet, oldest first.
    async fn requests(&self, lease: &Lease) -> Result<Vec<Request>, StoreError>;

    /// Returns what was asked for as soon as something is: within [`NOTICED_MS_MAX`].
    ///
    /// # Errors
    /// [`StoreError::StaleEpoch`] if the lease ran out and somebody else has taken the operation
    /// over: a runner that was stopped hears of it when it wakes.
    async fn until_requested(&self, lease: &Lease) -> Result<Vec<Request>, StoreError>;

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
    /// A runner that is known dead is gone at once; one that has not renewed its leases is gone
    /// `grace_ms` after they ran out, when what it asked of the world last has come to an end.
    ///
    /// # Errors
    /// [`StoreError::LeaseHeld`] while its runner has not released it and is not known to be gone.
    async fn take_lease(
        &self,
        id: OperationId,
        runner: &RunnerId,
        grace_ms: u64,
    ) -> Result<Takeover, StoreError>;

    /// Whether the runner with this name shows that it lives to this very store: to a copy of it,
    /// or one that was put in its place, it does not.
    fn shows_alive(&self, runner: &str) -> bool;

    /// Whether the world may be changed under the lease now; costs nothing while it is fresh.
    ///
    /// # Errors
    /// [`StoreError::StaleEpoch`] if it ran out and somebody else has taken the operation over.
    async fn hold(&self, lease: &Lease) -> Result<(), StoreError>;

    /// Give the lease back; nothing more is appended under it.
    async fn release(&self, lease: &Lease, at: UnixMs) -> Result<(), StoreError>;
}

/// What a first event pins an operation to.
pub(crate) fn pinned_by(first: Record) -> Option<Shared<Pinned>> {
    match first.event {
        Event::Created(pinned) => Some(pinned),
        _ => None,
    }
}
