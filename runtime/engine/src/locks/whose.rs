//! Whose a lock in the world is: whether its holder lives, and what became of its operation.

use crate::error::{Refusal, RunError};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use stepback_clock::{Clock, Moment};
use stepback_core::event::Event;
use stepback_core::{Failure, OperationId, StoreId};
use stepback_journal::{Ending, Found, Store, StoreError, Summary, look_into};
use stepback_provider::locks::{Holder, WorldLock, WorldLocks, host, mounts};

/// One look into another state directory takes no longer, whatever is there.
const LOOK: Duration = Duration::from_secs(2);
/// A directory that took that long is not looked into again for so long.
const HUNG: Duration = Duration::from_secs(60);
/// All that one question takes together.
const LOOKS: Duration = Duration::from_secs(4);

/// Whose a lock in the world is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// An operation's of this state directory.
    Own,
    /// One's that a program of this machine runs for another state directory.
    Running,
    /// One's of another state directory of this machine, where it is unfinished.
    Others,
    /// The same, where its rollback is incomplete.
    StandsStill,
    /// One's of a state directory of another machine, or of one that can't be read.
    Unseen,
    /// One's of a state directory that there was no time to look into.
    Late,
    /// Nobody will ever let go of it: its state directory is gone, or is another one by now, or has
    /// no such operation that is unfinished.
    Nobodys,
}

/// Looks into other state directories for one question: each once, and all within a time.
pub(super) struct OwnerProbe {
    until: Moment,
    found: BTreeMap<(String, OperationId, StoreId), Result<Found, Unseen>>,
    /// Directories that took too long, and since when nobody looks again.
    hung: BTreeMap<String, Moment>,
}

/// Why a look told nothing.
#[derive(Clone, Copy)]
enum Unseen {
    /// It can't be told.
    Hidden,
    /// Others took the time.
    Late,
}

impl OwnerProbe {
    pub(super) fn new() -> Self {
        let until = Clock::real().now().after(LOOKS);
        Self { until, found: BTreeMap::new(), hung: BTreeMap::new() }
    }

    /// The same for the question asked once more: what hung a moment ago is left alone.
    pub(super) fn again(&mut self) -> &mut Self {
        self.until = Clock::real().now().after(LOOKS);
        self.found.clear();
        self
    }

    /// What the state directory that a lock is held from has of the operation; an error where it
    /// can't be told.
    async fn at(&mut self, holder: &Holder) -> Result<Found, Unseen> {
        let place = holder.place.as_ref().filter(|_| holder.host == host());
        let place = place.ok_or(Unseen::Hidden)?;
        let (id, pinned) = (holder.operation, holder.key.clone());
        let asked = (place.clone(), id, pinned.clone());
        if let Some(found) = self.found.get(&asked) {
            return *found;
        }
        let now = Clock::real().now();
        if self.hung.get(place).is_some_and(|since| now.since(*since) < HUNG) {
            return Err(Unseen::Hidden);
        }
        let left = self.until.since(now).min(LOOK);
        if left.is_zero() {
            return Err(Unseen::Late);
        }
        let dir = PathBuf::from(place);
        let look = tokio::task::spawn_blocking(move || look_into(&dir, id, &pinned));
        let found = match Clock::real().timeout(left, look).await {
            // Where others see other files, nothing is gone that is not seen here.
            Ok(Ok(Ok(Found::Nothing))) if sees_other_files(holder) => Err(Unseen::Hidden),
            Ok(Ok(found)) => found.map_err(|_| Unseen::Hidden),
            Ok(Err(_)) => Err(Unseen::Hidden),
            Err(_) => {
                self.hung.insert(place.clone(), now);
                Err(if left < LOOK { Unseen::Late } else { Unseen::Hidden })
            }
        };
        self.found.insert(asked, found);
        found
    }
}

fn sees_other_files(holder: &Holder) -> bool {
    holder.mounts.is_some() && holder.mounts != mounts()
}

/// Whether this very store let the holder's program in, and it lives.
fn is_ours(store: Option<&dyn Store>, holder: &Holder) -> bool {
    let named = store.zip(holder.runner.as_deref());
    named.is_some_and(|(store, runner)| store.shows_alive(runner))
}

/// The programs of this store that hold locks under the same key.
pub(super) async fn runners_here(
    store: &dyn Store,
    world: &dyn WorldLocks,
    holder: &Holder,
) -> Result<Vec<String>, Failure> {
    let alike = world.holders_of(&holder.key, holder.operation).await?.into_iter();
    let alike = alike.filter(|held| is_ours(Some(store), held));
    Ok(alike.filter_map(|held| held.runner).collect())
}

/// Whose a lock is; nobody's by now, where it was an operation's of this state directory that was
/// killed when it had ended, before it could let go.
pub(super) async fn whose(
    store: Option<&dyn Store>,
    world: &dyn WorldLocks,
    lock: &WorldLock,
    looks: &mut OwnerProbe,
) -> Result<Result<Option<Whose>, Failure>, StoreError> {
    let holder = &lock.holder;
    let lives = world.is_run(holder);
    if lives && !is_ours(store, holder) {
        return Ok(Ok(Some(Whose::Running)));
    }
    if let Some(store) = store
        && is_of(store, holder).await
    {
        if lives || !has_ended(store, holder.operation).await? {
            return Ok(Ok(Some(Whose::Own)));
        }
        // Held from elsewhere, this state directory was moved, or it is a copy: of a copy nothing
        // follows for the one that it is a copy of.
        if is_at(holder, store) {
            return Ok(world.let_go(&holder.key, holder.operation).await.map(|()| None));
        }
        return Ok(match looks.at(holder).await {
            Ok(found)
                if matches!(found, Found::Nothing | Found::Ended)
                    || is_copied_along(world, holder, store) =>
            {
                world.let_go(&holder.key, holder.operation).await.map(|()| None)
            }
            found => Ok(Some(from(found))),
        });
    }
    match lives {
        true => Ok(Ok(Some(Whose::Running))),
        false => Ok(Ok(Some(from(looks.at(holder).await)))),
    }
}

fn from(found: Result<Found, Unseen>) -> Whose {
    match found {
        Ok(Found::Unfinished) => Whose::Others,
        Ok(Found::StandsStill) => Whose::StandsStill,
        Ok(Found::Nothing | Found::Ended) => Whose::Nobodys,
        Err(Unseen::Hidden) => Whose::Unseen,
        Err(Unseen::Late) => Whose::Late,
    }
}

pub(crate) fn unkept(failure: &Failure) -> String {
    format!("the environment's locks can't be had: {}", failure.message)
}

/// What is held in the world, or of it one lock, without what operations of this store left there
/// when they were killed at their very end.
///
/// # Errors
/// A world whose locks can't be read or written, or a store that can't be read.
pub async fn held_in_world(
    store: Option<&dyn Store>,
    world: &dyn WorldLocks,
    only: Option<&str>,
) -> Result<Vec<(WorldLock, Whose)>, RunError> {
    let unreadable =
        |failure: Failure| Refusal::Reasons { id: None, reasons: vec![unkept(&failure)] };
    let (mut held, mut looks) = (vec![], OwnerProbe::new());
    let all = world.held().await.map_err(unreadable)?.into_iter();
    for lock in all.filter(|lock| only.is_none_or(|name| lock.name.as_str() == name)) {
        if let Some(whose) = whose(store, world, &lock, &mut looks).await?.map_err(unreadable)? {
            held.push((lock, whose));
        }
    }
    Ok(held)
}

/// Who runs the operation from another state directory now, of which this one is a copy: two
/// programs would go on with one operation.
///
/// # Errors
/// A world whose locks can't be read.
pub(crate) async fn runs_elsewhere(
    store: &dyn Store,
    world: &dyn WorldLocks,
    key: &StoreId,
    id: OperationId,
) -> Result<Option<Holder>, Failure> {
    let all = world.holders_of(key, id).await?.into_iter();
    let mut of_it = all.filter(|holder| !is_ours(Some(store), holder));
    Ok(of_it.find(|holder| world.is_run(holder)))
}

/// Where an operation stands as well, if it was seen that it has not ended there: whoever closes it
/// here closes a copy, and that one needs its locks.
///
/// # Errors
/// A world whose locks can't be read.
pub(crate) async fn stands_elsewhere(
    store: &dyn Store,
    world: &dyn WorldLocks,
    key: &StoreId,
    id: OperationId,
) -> Result<Option<Holder>, Failure> {
    let mut looks = OwnerProbe::new();
    for holder in world.holders_of(key, id).await? {
        if is_at(&holder, store) {
            continue;
        }
        // What can't be seen may be this very directory, from within another container.
        if let Ok(Found::Unfinished | Found::StandsStill) = looks.at(&holder).await
            && !is_same_dir(&holder, store)
            && !is_copied_along(world, &holder, store)
        {
            return Ok(Some(holder));
        }
    }
    Ok(None)
}

/// What tells a directory from every other of its machine.
fn identity(dir: &Path) -> Option<(u64, u64)> {
    fs::metadata(dir).ok().map(|found| (found.dev(), found.ino()))
}

/// Whether a lock is held from this very directory by another path. It is looked at there: ask only
/// of one that has answered.
fn is_same_dir(holder: &Holder, store: &dyn Store) -> bool {
    let there = holder.place.as_ref().and_then(|place| identity(Path::new(place)));
    there.is_some() && there == store.place().and_then(|here| identity(&here))
}

/// Whether the world is in the state directory and was copied with it: what is held from where that
/// is a copy of holds nothing here. As [`is_same_dir`], it is looked at there.
fn is_copied_along(world: &dyn WorldLocks, holder: &Holder, store: &dyn Store) -> bool {
    let (Some(dir), Some(here), Some(there)) = (world.dir(), store.place(), &holder.place) else {
        return false;
    };
    let absolute = std::path::absolute(dir).ok();
    let below = absolute.as_ref().and_then(|dir| dir.strip_prefix(here).ok());
    let theirs = below.and_then(|below| identity(&Path::new(there).join(below)));
    theirs.is_some() && identity(dir).is_some_and(|ours| theirs != Some(ours))
}

/// Whether a lock is held from this very directory, by whichever path; in time.
pub(crate) async fn is_here(holder: &Holder, store: &dyn Store) -> bool {
    if is_at(holder, store) {
        return true;
    }
    let (there, here) = (holder.place.clone(), store.place());
    let look = tokio::task::spawn_blocking(move || {
        let there = there.and_then(|place| identity(Path::new(&place)));
        there.is_some() && there == here.and_then(|here| identity(&here))
    });
    holder.host == host() && matches!(Clock::real().timeout(LOOK, look).await, Ok(Ok(true)))
}

/// Whether a lock is held from this very state directory, as far as its path tells.
fn is_at(holder: &Holder, store: &dyn Store) -> bool {
    holder.place == place(store) && holder.host == host()
}

/// Whether the operation is one of this store's: a copy of a state directory has its identity and
/// its numbers. One whose records can't be read any more is told by these.
pub(super) async fn is_of(store: &dyn Store, holder: &Holder) -> bool {
    if store.id() != holder.store {
        return false;
    }
    match store.load(holder.operation).await {
        Ok(all) => match all.first().map(|record| &record.event) {
            Some(Event::Created(pinned)) => pinned.store == holder.key,
            Some(_) | None => false,
        },
        Err(StoreError::NotFound(_)) => false,
        Err(_) => is_at(holder, store),
    }
}

async fn has_ended(store: &dyn Store, id: OperationId) -> Result<bool, StoreError> {
    Ok(store.summary(id).await?.is_some_and(|found| needs_no_locks(&found)))
}

/// Whether an operation has ended, and needs its locks no more.
pub(super) fn needs_no_locks(found: &Summary) -> bool {
    found.finished.is_some_and(Ending::releases_locks)
}

/// The state directory, where its path is text.
pub(super) fn place(store: &dyn Store) -> Option<String> {
    store.place().and_then(|place| place.to_str().map(str::to_owned))
}
