//! What a person closes: an incomplete rollback is accepted as it is, and what no command can end
//! any more is given up where it stands (R7). The store is enough for it; where the provider can be
//! had, it fences a runner that wakes and frees the locks that the world holds.

use crate::error::{Refusal, RunError};
use crate::locks;
use crate::take_up::{folded, grace_ms, must_be_incomplete, must_not_run_elsewhere, summary};
use stepback_clock::Clock;
use stepback_core::event::{Event, Pinned, Record};
use stepback_core::state::State;
use stepback_core::*;
use stepback_journal::{Lease, RunnerId, Store, StoreError, Takeover};
use stepback_provider::Provider;
use stepback_provider::locks::{Holder, Place, WorldLock};

/// How long a request can take where the provider can't be asked: what the slowest one says.
const REQUEST_MS_MAX: u64 = 120_000;

/// Take the world as an incomplete rollback left it, on the record, and release the locks (R7).
///
/// # Errors
/// [`RunError::Ended`] if it did not end with an incomplete rollback; [`RunError::Unfinished`] if
/// it has not ended; [`RunError::HeldElsewhere`] if this is a copy, and it stands there.
pub async fn accept(
    store: &dyn Store,
    provider: Option<&dyn Provider>,
    runner: &RunnerId,
    id: OperationId,
    clock: &Clock,
    actor: Actor,
    reason: String,
) -> Result<State, RunError> {
    let state = folded(store, id).await?;
    must_be_incomplete(id, &state)?;
    must_not_run_elsewhere(store, provider, id, state.pinned.as_deref()).await?;
    if let (Some(provider), Some(pinned)) = (provider, &state.pinned) {
        locks::must_have_it_all(store, provider, id, pinned).await?;
        // Somebody else's word on what others may go on with is none.
        must_stand_here(store, provider, id, &pinned.store).await?;
    }
    let Takeover { lease, .. } = store.take_lease(id, runner, 0).await?;
    let accepted = async {
        let state = folded(store, id).await?;
        must_be_incomplete(id, &state)?;
        append_last(store, &lease, state, clock, Event::Accepted { actor, reason }).await
    };
    let accepted = accepted.await;
    let released = store.release(&lease, clock.unix()).await;
    // What is on record matters more than a lease nobody will renew.
    let accepted = accepted?;
    if let (Some(provider), Some(pinned)) = (provider, &accepted.pinned) {
        // Where that can't be done, `unlock -e` frees them.
        let _ = locks::let_go(store, provider, id, pinned).await;
    }
    released?;
    Ok(accepted)
}

/// That it is not unfinished in a state directory that this one is a copy of.
///
/// # Errors
/// [`RunError::HeldElsewhere`] if it is; [`RunError::Refused`] if the world's locks can't be read.
async fn must_stand_here(
    store: &dyn Store,
    provider: &dyn Provider,
    id: OperationId,
    key: &StoreId,
) -> Result<(), RunError> {
    let Some(world) = provider.locks() else { return Ok(()) };
    match locks::stands_elsewhere(store, world, key, id).await {
        Ok(None) => Ok(()),
        Ok(Some(holder)) => {
            let place = holder.place.unwrap_or_else(|| "(unknown)".to_owned());
            Err(RunError::HeldElsewhere { id, place })
        }
        Err(failure) => {
            let reasons = vec![locks::unkept(&failure)];
            Err(Refusal::Reasons { id: None, reasons }.into())
        }
    }
}

/// What giving an operation up came to.
#[derive(Debug)]
pub struct GivenUp {
    /// The operation as it is now, or why its journal can't be read: then nobody can say what it
    /// did.
    pub state: Result<Box<State>, String>,
    /// Why the environment's locks are kept, if they are; those of the store are released.
    pub kept: Option<String>,
}

/// Give an operation up where it stands: nothing goes on, and its locks are released (R7).
///
/// The store is enough. Where the provider can be had, it refuses a runner that wakes. In a copy,
/// where another journal has more of the operation or may go on with it, the world is told nothing,
/// and the event says so.
///
/// # Errors
/// [`RunError::Ended`] if there is nothing to give up; [`StoreError::LeaseHeld`] while a runner
/// lives, or what it asked of the world last may still be under way.
pub async fn abandon(
    store: &dyn Store,
    provider: Option<&dyn Provider>,
    runner: &RunnerId,
    id: OperationId,
    clock: &Clock,
    actor: Actor,
    reason: String,
) -> Result<GivenUp, RunError> {
    must_not_have_ended(store, id).await?;
    // It is known by its first event, where no other can be read.
    let pinned = store.began_with(id).await;
    must_not_run_elsewhere(store, provider, id, pinned.as_deref()).await?;
    let grace_ms = grace_ms(provider.map_or(REQUEST_MS_MAX, Provider::request_ms_max));
    let of_another = match (provider, &pinned) {
        (Some(provider), Some(pinned)) => why_not_last(store, provider, id, pinned).await,
        _ => None,
    };
    // Whoever has the newest journal has the locks of the world, and its epoch.
    let provider = provider.filter(|_| of_another.is_none());
    let Takeover { lease, .. } = store.take_lease(id, runner, grace_ms).await?;
    let given_up = async {
        if let Some(provider) = provider {
            // A world that can't be told is fenced by the lease alone, as docker and AWS are.
            let named = pinned.as_ref().map_or_else(|| store.id(), |one| one.store.clone());
            let _ = provider.take_over(&named, id, lease.epoch).await;
        }
        must_not_have_ended(store, id).await?;
        let unread = |id| RunError::Unreadable { id, why: "it has no first event".to_owned() };
        let state = folded(store, id).await;
        let elsewhere = of_another.clone();
        match state.and_then(|state| state.pinned.is_some().then_some(state).ok_or(unread(id))) {
            Ok(state) => {
                let unknown = state.unknown_effects();
                let event = Event::Abandoned { actor, reason, unknown, elsewhere };
                let state = append_last(store, &lease, state, clock, event).await?;
                Ok(Ok(Box::new(state)))
            }
            Err(error) if is_unreadable(&error) => {
                let why = error.to_string();
                let last = summary(store, id).await?.last_seq;
                let event = Event::Abandoned { actor, reason, unknown: vec![], elsewhere };
                append(store, &lease, last, clock.unix(), event).await?;
                Ok(Err(why))
            }
            // A disk that was busy or full may be read the next time, with all that it knows.
            Err(error) => Err(error),
        }
    };
    let given_up = given_up.await;
    let released = store.release(&lease, clock.unix()).await;
    let state = given_up?;
    let kept = match (of_another, provider) {
        (Some(why), _) => Some(why),
        (None, Some(provider)) => let_go(store, provider, id, pinned.as_deref()).await.err(),
        (None, None) => Some("the environment can't be had".to_owned()),
    };
    released?;
    Ok(GivenUp { state, kept })
}

/// Why what is closed here is not the operation's end, if it is not. A world whose locks can't be
/// read keeps them by itself.
async fn why_not_last(
    store: &dyn Store,
    provider: &dyn Provider,
    id: OperationId,
    pinned: &Pinned,
) -> Option<String> {
    let lacks = locks::must_have_it_all(store, provider, id, pinned).await;
    if let Err(error @ RunError::WentOn { .. }) = lacks {
        return Some(error.to_string());
    }
    match must_stand_here(store, provider, id, &pinned.store).await {
        Err(error @ RunError::HeldElsewhere { .. }) => Some(error.to_string()),
        Ok(()) | Err(_) => None,
    }
}

/// Let go of the locks in the world.
///
/// # Errors
/// Why some are kept; `unlock -e` frees them.
async fn let_go(
    store: &dyn Store,
    provider: &dyn Provider,
    id: OperationId,
    pinned: Option<&Pinned>,
) -> Result<(), String> {
    let Some(world) = provider.locks() else { return Ok(()) };
    let told = |failure: Failure| failure.message;
    if let Some(pinned) = pinned {
        return locks::let_go(store, provider, id, pinned).await.map_err(told);
    }
    let may_be_its =
        |lock: &WorldLock| lock.holder.store == store.id() && lock.holder.operation == id;
    // A number is another operation's in a backup of this store; what it is held by tells.
    for lock in world.held().await.map_err(told)?.into_iter().filter(may_be_its) {
        if locks::is_here(&lock.holder, store).await {
            let Holder { place: path, host, .. } = lock.holder;
            let here = Place { path, host };
            world.let_go_of(&store.id(), id, &here).await.map_err(told)?;
        }
    }
    match world.held().await.map_err(told)?.into_iter().find(may_be_its) {
        None => Ok(()),
        Some(lock) => Err(format!(
            "nothing that can be read of its journal says whether the lock `{}` is its own",
            lock.name
        )),
    }
}

/// Whether an operation's records are there and can't be read, now or ever.
fn is_unreadable(error: &RunError) -> bool {
    use StoreError::{Corrupt, Unreadable};
    matches!(error, RunError::Unreadable { .. } | RunError::Store(Unreadable { .. } | Corrupt(_)))
}

async fn append_last(
    store: &dyn Store,
    lease: &Lease,
    mut state: State,
    clock: &Clock,
    event: Event,
) -> Result<State, RunError> {
    let (last, at) = (state.last_seq, clock.never_before(state.last_at).unix());
    let record = Record { seq: Seq(last.0 + 1), at, epoch: lease.epoch, event };
    state.apply(&record)?;
    store.append(lease, last, vec![record]).await?;
    Ok(state)
}

async fn append(
    store: &dyn Store,
    lease: &Lease,
    last: Seq,
    at: UnixMs,
    event: Event,
) -> Result<(), RunError> {
    let record = Record { seq: Seq(last.0 + 1), at, epoch: lease.epoch, event };
    Ok(store.append(lease, last, vec![record]).await?)
}

/// Whether an operation has ended is asked of the store, because its journal may be unreadable.
async fn must_not_have_ended(store: &dyn Store, id: OperationId) -> Result<(), RunError> {
    use stepback_journal::Ending;
    match summary(store, id).await?.finished {
        None | Some(Ending::RollbackFailed) => Ok(()),
        Some(ending) => {
            let status = serde_json::to_value(ending).unwrap_or_default();
            let status = status.as_str().unwrap_or("ended").to_owned();
            Err(RunError::Ended { id, status })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_busy_is_no_journal_that_can_not_be_read() {
        let id = OperationId(1);
        let busy = [
            StoreError::Busy("another program".into()),
            StoreError::Io("a cable".into()),
            StoreError::Full("no room".into()),
            StoreError::NotFound(id),
        ];
        assert!(busy.into_iter().all(|error| !is_unreadable(&RunError::Store(error))));
        let why = || "odd".to_owned();
        let unreadable = [
            RunError::Unreadable { id, why: why() },
            RunError::Store(StoreError::Unreadable { id, seq: Seq(2), why: why() }),
            RunError::Store(StoreError::Corrupt(why())),
        ];
        assert!(unreadable.iter().all(is_unreadable));
    }
}
