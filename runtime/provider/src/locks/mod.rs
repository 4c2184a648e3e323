//! Locks that a world holds itself, for operations of any state directory (R13).
//!
//! A store has locks for its own operations alone. Where the world has a directory, the locks of
//! all that change it are in one file there, `locks.json`, with who holds them ([`file`]), and who
//! may take which is told by them ([`table`]); who runs what has no locks is in `runs` beside it.
//! Whether a holder's program lives is proved by a file that it keeps locked until it ends
//! ([`alive`]). Beside them is how far the journal of each operation was ([`journaled`]).

mod alive;
mod file;
mod journaled;
mod open;
mod table;
mod turns;

pub use file::LockFile;
pub use journaled::Journaled;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::path::Path;
use stepback_core::{
    Actor, EnvironmentName, Epoch, Failure, LockName, OperationId, StoreId, UnixMs,
};

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The operation, told from every other that ever was: numbers repeat, and a state directory
    /// may be a copy.
    pub key: StoreId,
    /// The identity of its state directory's store; a copy of the directory has the same.
    pub store: StoreId,
    /// Its number in that store.
    pub operation: OperationId,
    /// What its own configuration calls this world.
    pub environment: EnvironmentName,
    /// The state directory, if it has one that can be written down.
    pub place: Option<String>,
    /// The machine that it is on.
    pub host: String,
    /// In whose view of the machine's files it is there (namespaces(7)).
    #[serde(default)]
    pub mounts: Option<String>,
    /// Who began it or took it up last, such as `ann@box (uid 1000)`.
    #[serde(flatten)]
    pub actor: Actor,
    /// The program that runs it, by a name that no other ever has.
    #[serde(default)]
    pub runner: Option<String>,
    /// Which lease it has; one that took over has a later one.
    #[serde(default)]
    pub epoch: Epoch,
    /// When it took the lock, or took it over, by its own machine's clock.
    pub since: UnixMs,
}

/// What a world knows one operation by: its key alone may be that of others, which the same
/// program began.
pub fn of_one(key: &StoreId, id: OperationId) -> StoreId {
    StoreId(format!("{key}/{id}"))
}

/// A lock that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorldLock {
    /// As the manifest's `locks` came out, such as `database/main`.
    pub name: LockName,
    /// Whoever took it last; that program may be gone.
    pub holder: Holder,
}

/// A lock that somebody freed by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freed {
    /// The lock's name, such as `database/main`.
    pub name: LockName,
    /// Who held it until then; it is freed only while it is still held so.
    pub holder: Holder,
    /// Who freed it, such as `ann@box (uid 1000)`.
    pub by: String,
    /// Whose account that was, as [`Actor`] has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_uid: Option<u32>,
    /// Why, in that person's words; cut after 1000 characters.
    pub reason: String,
    /// When, by the clock of that person's machine.
    pub at: UnixMs,
}

/// The locks of one world.
#[async_trait]
pub trait WorldLocks: Send + Sync {
    /// The directory that they are kept in, if they are in one: a copy of it is another world.
    fn dir(&self) -> Option<&Path> {
        None
    }

    /// Take all of them, or none; gives the first that somebody else holds. An operation that has
    /// none is kept as one that is run, until its program is gone: a copy does not run it too.
    ///
    /// What is held under the same key with no later lease is taken over from a program that is
    /// gone, and from `ours`: programs of the very store that gave the lease. Any other program
    /// that lives is somebody else: of a state directory and a copy of it both have the key.
    ///
    /// # Errors
    /// A file that can't be read or written.
    async fn take(
        &self,
        names: &[LockName],
        holder: &Holder,
        ours: &[String],
    ) -> Result<Option<WorldLock>, Failure>;

    /// Let go of all that an operation holds under this key.
    ///
    /// # Errors
    /// Those of [`WorldLocks::take`].
    async fn let_go(&self, key: &StoreId, operation: OperationId) -> Result<(), Failure>;

    /// Let go of all that an operation holds whose key can't be read any more, from this place: a
    /// copy of its store has the same identity, and a backup of it may have given its number to
    /// another operation. What a program holds that lives is kept.
    ///
    /// # Errors
    /// Those of [`WorldLocks::take`].
    async fn let_go_of(
        &self,
        store: &StoreId,
        operation: OperationId,
        place: &Place,
    ) -> Result<(), Failure>;

    /// Note how far the journal of the operation with this key is; never less than it was noted.
    ///
    /// # Errors
    /// A file that can't be read or written.
    async fn note(&self, key: &StoreId, journaled: &Journaled) -> Result<(), Failure>;

    /// How far its journal was noted to be.
    ///
    /// # Errors
    /// A file that can't be read.
    async fn noted(&self, key: &StoreId) -> Result<Option<Journaled>, Failure>;

    /// Whether the holder's program lives, wherever it is on this machine: in another container,
    /// or under another name of the host.
    fn is_run(&self, holder: &Holder) -> bool;

    /// Everybody who holds a lock for an operation under this key, or runs one that has none.
    ///
    /// # Errors
    /// Those of [`WorldLocks::take`].
    async fn holders_of(
        &self,
        key: &StoreId,
        operation: OperationId,
    ) -> Result<Vec<Holder>, Failure>;

    /// Every lock that is held.
    ///
    /// # Errors
    /// Those of [`WorldLocks::take`].
    async fn held(&self) -> Result<Vec<WorldLock>, Failure>;

    /// The last locks that were freed by hand, oldest first.
    ///
    /// # Errors
    /// Those of [`WorldLocks::take`].
    async fn freed(&self) -> Result<Vec<Freed>, Failure>;

    /// Free a lock whose holder is gone, on record; gives whether it was still held so.
    ///
    /// # Errors
    /// Those of [`WorldLocks::take`].
    async fn free(&self, freed: &Freed) -> Result<bool, Failure>;
}

/// Where a state directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its path, where that is text.
    pub path: Option<String>,
    /// The machine's name.
    pub host: String,
}

impl Place {
    /// Whether a lock is held from there, as far as the path tells.
    pub fn is_of(&self, holder: &Holder) -> bool {
        self.path == holder.place && self.host == holder.host
    }
}

/// The machine's name, as people know it.
pub fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// In which view of the machine's files this program is (namespaces(7)).
pub fn mounts() -> Option<String> {
    let name = std::fs::read_link("/proc/self/ns/mnt").ok()?;
    name.into_os_string().into_string().ok()
}
