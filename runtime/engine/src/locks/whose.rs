//! Whose a lock in the world is: whether its holder lives, and what became of its operation.

use super::said::unkept;
use crate::error::{Refusal, RunError};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use stepback_clock::{Clock, Moment};
use stepback_core::event::Event;
use stepback_core::{Failure, OperationId, StoreId};
use stepback_journal::{Ending, Found, Store, StoreError, look_into};
use stepback_provider::locks::{Holder, WorldLock, WorldLocks, host, mounts};

/// One look into another state directory takes no longer, whatever is there.
const LOOK: Duration = Duration::from_secs(2);
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
    /// Nobody will ever let go of it: its state directory is gone, or is another one by now, or has
    /// no such operation that is unfinished.
    Nobodys,
}

/// Looks into other state directories for one question: each once, and all within a time.
pub(super) struct Looks {
    until: Moment,
    found: BTreeMap<(String, OperationId, StoreId), Result<Found, ()>>,
}

impl Looks {
    pub(super) fn new() -> Self {
        Self { until: Clock::real().now().after(LOOKS), found: BTreeMap::new() }
    }

    /// What the state directory that a lock is held from has of the operation; an error where it
    /// can't be told.
    async fn at(&mut self, holder: &Holder) -> Result<Found, ()> {
        let place = holder.place.as_ref().filter(|_| holder.host == host()).ok_or(())?;
        let (id, pinned) = (holder.operation, holder.key.clone());
        let asked = (place.clone(), id, pinned.clone());
        if let Some(found) = self.found.get(&asked) {
            return *found;
        }
        let left = self.until.since(Clock::real().now()).min(LOOK);
        let dir = PathBuf::from(place);
        let look = tokio::task::spawn_blocking(move || look_into(&dir, id, &pinned));
        let found = match Clock::real().timeout(left, look).await {
            // Where others see other files, nothing is gone that is not seen here.
            Ok(Ok(Ok(Found::Nothing))) if sees_other_files(holder) => Err(()),
            Ok(Ok(found)) => found.map_err(drop),
            Ok(Err(_)) | Err(_) => Err(()),
        };
        self.found.insert(asked, found);
        found
    }
}

fn sees_other_files(holder: &Holder) -> bool {
    holder.mounts.is_some() && holder.mounts != mounts()
}

/// Whose a lock is; nobody's by now, where it was an operation's of this state directory that was
/// killed when it had ended, before it could let go.
pub(super) async fn whose(
    store: Option<&dyn Store>,
    world: &dyn WorldLocks,
    lock: &WorldLock,
    looks: &mut Looks,
) -> Result<Result<Option<Whose>, Failure>, StoreError> {
    let holder = &lock.holder;
    let is_here = store.is_some_and(|store| is_at(holder, store));
    let lives = world.is_run(holder);
    if lives && !is_here {
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
        return Ok(match (is_here, looks.at(holder).await) {
            (true, _) | (false, Ok(Found::Nothing | Found::Ended)) => {
                world.let_go(&holder.key).await.map(|()| None)
            }
            (false, found) => Ok(Some(from(found))),
        });
    }
    match lives {
        true => Ok(Ok(Some(Whose::Running))),
        false => Ok(Ok(Some(from(looks.at(holder).await)))),
    }
}

fn from(found: Result<Found, ()>) -> Whose {
    match found {
        Ok(Found::Unfinished) => Whose::Others,
        Ok(Found::StandsStill) => Whose::StandsStill,
        Ok(Found::Nothing | Found::Ended) => Whose::Nobodys,
        Err(()) => Whose::Unseen,
    }
}

/// What is held in the world, without what operations of this store left there when they were
/// killed at their very end.
///
/// # Errors
/// A world whose locks can't be read or written, or a store that can't be read.
pub async fn held_in_world(
    store: Option<&dyn Store>,
    world: &dyn WorldLocks,
) -> Result<Vec<(WorldLock, Whose)>, RunError> {
    let unreadable =
        |failure: Failure| Refusal::Reasons { id: None, reasons: vec![unkept(&failure)] };
    let (mut held, mut looks) = (vec![], Looks::new());
    for lock in world.held().await.map_err(unreadable)? {
        if let Some(whose) = whose(store, world, &lock, &mut looks).await?.map_err(unreadable)? {
            held.push((lock, whose));
        }
    }
    Ok(held)
}

/// Who runs the operation from another state directory now, of which this one is a copy, or from
/// which it was moved: two programs would go on with one operation.
///
/// # Errors
/// A world whose locks can't be read.
pub(crate) async fn runs_elsewhere(
    store: &dyn Store,
    world: &dyn WorldLocks,
    key: &StoreId,
) -> Result<Option<Holder>, Failure> {
    let held = world.held().await?.into_iter().map(|lock| lock.holder);
    let mut of_it = held.filter(|holder| holder.key == *key && !is_at(holder, store));
    Ok(of_it.find(|holder| world.is_run(holder)))
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

pub(super) async fn has_ended(store: &dyn Store, id: OperationId) -> Result<bool, StoreError> {
    let all = store.list().await?;
    let found = all.iter().find(|one| one.id == id);
    Ok(found.is_some_and(|one| one.finished.is_some_and(Ending::releases_locks)))
}

/// The state directory, where its path is text.
pub(super) fn place(store: &dyn Store) -> Option<String> {
    store.place().and_then(|place| place.to_str().map(str::to_owned))
}
