//! What a person closes: an incomplete rollback is accepted as it is, and what no command can end
//! any more is given up where it stands (R7). The store is enough for it; where the provider can be
//! had, it fences a runner that wakes and frees the locks that the world holds.

use crate::error::RunError;
use crate::locks;
use crate::take_up::{folded, grace_ms, must_be_incomplete, must_not_run_elsewhere, summary};
use stepback_clock::Clock;
use stepback_core::event::{Event, Pinned, Record};
use stepback_core::state::State;
use stepback_core::*;
use stepback_journal::{Lease, RunnerId, Store, StoreError, Takeover};
use stepback_provider::Provider;

/// How long a request can take where the provider can't be asked: what the slowest one says.
const REQUEST_MS_MAX: u64 = 120_000;

/// Take the world as an incomplete rollback left it, on the record, and release the locks (R7).
///
/// # Errors
/// [`RunError::Ended`] if it did not end with an incomplete rollback; [`RunError::Unfinished`] if
/// it has not ended.
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
    must_not_run_elsewhere(store, provider, id, state.pinned.as_ref()).await?;
    if let (Some(provider), Some(pinned)) = (provider, &state.pinned) {
        locks::must_have_it_all(store, provider, id, pinned).await?;
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
    let_go(store, provider, id, accepted.pinned.as_ref()).await;
    released?;
    Ok(accepted)
}

/// What giving an operation up came to.
#[derive(Debug)]
pub enum GivenUp {
    /// The operation as it is now.
    State(Box<State>),
    /// Its journal can't be read, so nobody can say what it did; its locks are released.
    Unreadable(String),
}

/// Give an operation up where it stands: nothing goes on, and its locks are released (R7).
///
/// The store is enough. Where the provider can be had, it refuses a runner that wakes.
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
    let pinned = folded(store, id).await.ok().and_then(|state| state.pinned);
    must_not_run_elsewhere(store, provider, id, pinned.as_ref()).await?;
    let grace_ms = grace_ms(provider.map_or(REQUEST_MS_MAX, Provider::request_ms_max));
    // Of an older copy nothing is told the world: whoever has the newest journal has its locks and
    // its epoch.
    let provider = match (provider, &pinned) {
        (Some(one), Some(pinned)) => {
            let has_all = locks::must_have_it_all(store, one, id, pinned).await;
            provider.filter(|_| !matches!(has_all, Err(RunError::WentOn { .. })))
        }
        (provider, _) => provider,
    };
    let Takeover { lease, .. } = store.take_lease(id, runner, grace_ms).await?;
    let given_up = async {
        if let Some(provider) = provider {
            // A world that can't be told is fenced by the lease alone, as docker and AWS are.
            let named = pinned.map_or_else(|| store.id(), |pinned| pinned.store);
            let _ = provider.take_over(&named, id, lease.epoch).await;
        }
        must_not_have_ended(store, id).await?;
        let unread = |id| RunError::Unreadable { id, why: "it has no first event".to_owned() };
        let state = folded(store, id).await;
        match state.and_then(|state| state.pinned.is_some().then_some(state).ok_or(unread(id))) {
            Ok(state) => {
                let unknown = state.unknown_effects();
                let event = Event::Abandoned { actor, reason, unknown };
                let state = append_last(store, &lease, state, clock, event).await?;
                Ok(GivenUp::State(Box::new(state)))
            }
            Err(error) if is_unreadable(&error) => {
                let why = error.to_string();
                let last = summary(store, id).await?.last_seq;
                let event = Event::Abandoned { actor, reason, unknown: vec![] };
                append(store, &lease, last, clock.unix(), event).await?;
                Ok(GivenUp::Unreadable(why))
            }
            // A disk that was busy or full may be read the next time, with all that it knows.
            Err(error) => Err(error),
        }
    };
    let given_up = given_up.await;
    let released = store.release(&lease, clock.unix()).await;
    let given_up = given_up?;
    match (&given_up, provider.and_then(Provider::locks)) {
        (GivenUp::State(state), _) => let_go(store, provider, id, state.pinned.as_ref()).await,
        (GivenUp::Unreadable(_), Some(world)) => {
            let _ = world.let_go_of(&store.id(), id).await;
        }
        (GivenUp::Unreadable(_), None) => {}
    }
    released?;
    Ok(given_up)
}

/// Let go of the locks in the world; where that can't be done, `unlock -e` frees them.
async fn let_go(
    store: &dyn Store,
    provider: Option<&dyn Provider>,
    id: OperationId,
    pinned: Option<&Pinned>,
) {
    if let (Some(provider), Some(pinned)) = (provider, pinned) {
        let _ = locks::let_go(store, provider, id, pinned).await;
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
