//! Taking up what is on record: going on, or taking it back (R4, R7).
//!
//! Going forward takes all that the operation was pinned to; going back only what the undo uses.

use crate::deps::{Control, Deps};
use crate::error::{RunError, WayOut};
use crate::job::Job;
use crate::locks;
use crate::run::{Begin, Ended, Start, carry_through, release};
use std::sync::Arc;
use stepback_core::event::Pinned;
use stepback_core::machine::{Machine, Recovery};
use stepback_core::state::{State, Status};
use stepback_core::*;
use stepback_journal::{Lease, Request, Requested, Store, StoreError, StoreTime, Takeover};
use stepback_provider::Provider;

/// A takeover waits this much longer than a request can take, because clocks are read at two ends.
const TAKEOVER_MARGIN_MS: u64 = 1_000;

/// No lease is renewed less often.
const LEASE_MS_MAX: u64 = 10_000;

/// Which way an operation is taken up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Going {
    On,
    /// An incomplete rollback is taken up again.
    BackAgain,
}

/// Take up an operation that was left unfinished, and run it to its end (R4).
///
/// # Errors
/// [`RunError::Ended`] if there is nothing to do; [`RunError::Left`] if it can't go on now.
pub async fn resume(
    deps: &Arc<Deps>,
    id: OperationId,
    control: &Control,
) -> Result<Ended, RunError> {
    let state = folded(&*deps.store, id).await?;
    if state.status.is_final() {
        return Err(ended(id, &state));
    }
    take_up(deps, id, &state, control, Going::On).await
}

/// Take an operation back that nobody runs: what is unfinished is cancelled and rolled back, and
/// an incomplete rollback is taken up again after a person's fix, what is not undone tried anew
/// (R7).
///
/// # Errors
/// [`RunError::Ended`] if there is nothing to take back; [`RunError::Committed`] past the commit
/// point; [`RunError::Left`] if it can't be done now.
pub async fn roll_back(
    deps: &Arc<Deps>,
    id: OperationId,
    actor: Actor,
    reason: Option<String>,
    control: &Control,
) -> Result<Ended, RunError> {
    let state = folded(&*deps.store, id).await?;
    must_not_run_elsewhere(&*deps.store, Some(&*deps.provider), id, state.pinned.as_deref())
        .await?;
    let is_asked = matches!(state.status, Status::Queued | Status::Running);
    match state.status {
        Status::RollbackFailed => {
            must_be_incomplete(id, &state)?;
            return take_up(deps, id, &state, control, Going::BackAgain).await;
        }
        Status::Queued | Status::Running if state.committed => {
            return Err(RunError::Committed { id });
        }
        Status::Queued | Status::Running => {
            must_be_nobodys(&*deps.store, id).await?;
            match deps.store.request(id, Request::Cancel { actor, reason }).await? {
                Requested::Kept { .. } | Requested::RollingBack => {}
                Requested::PastCommit => return Err(RunError::Committed { id }),
                Requested::Ended(_) => {
                    return Err(ended(id, &folded(&*deps.store, id).await?));
                }
            }
        }
        Status::RollingBack => {}
        Status::Refused | Status::Succeeded | Status::RolledBack | Status::Abandoned => {
            return Err(ended(id, &state));
        }
    }
    match is_asked {
        true => resume_asked(deps, id, control).await,
        false => resume(deps, id, control).await,
    }
}

/// Take an operation up whose cancel is kept already: whoever else takes it up honours that too.
///
/// # Errors
/// [`RunError::AskedFor`] if somebody runs it; otherwise those of [`resume`].
pub async fn resume_asked(
    deps: &Arc<Deps>,
    id: OperationId,
    control: &Control,
) -> Result<Ended, RunError> {
    match resume(deps, id, control).await {
        Err(RunError::Store(StoreError::LeaseHeld { .. })) => Err(RunError::AskedFor { id }),
        Err(RunError::Ended { .. }) => {
            let state = folded(&*deps.store, id).await?;
            Ok(Ended { id, state })
        }
        resumed => resumed,
    }
}

/// Two programs must not go on with one operation, each with a journal of its own.
pub(crate) async fn must_not_run_elsewhere(
    store: &dyn Store,
    provider: Option<&dyn Provider>,
    id: OperationId,
    pinned: Option<&Pinned>,
) -> Result<(), RunError> {
    let (Some(world), Some(pinned)) = (provider.and_then(Provider::locks), pinned) else {
        return Ok(());
    };
    // Locks that can't be read are told where they are taken.
    let Ok(Some(holder)) = locks::runs_elsewhere(store, world, &pinned.store, id).await else {
        return Ok(());
    };
    let place = holder.place.unwrap_or_else(|| "(unknown)".to_owned());
    Err(RunError::RunsElsewhere { id, place, host: holder.host })
}

pub(crate) async fn folded(store: &dyn Store, id: OperationId) -> Result<State, RunError> {
    let records = store.load(id).await?;
    State::fold(&records).map_err(|error| RunError::Unreadable { id, why: error.to_string() })
}

pub(crate) async fn summary(
    store: &dyn Store,
    id: OperationId,
) -> Result<stepback_journal::Summary, RunError> {
    store.summary(id).await?.ok_or(RunError::Store(StoreError::NotFound(id)))
}

async fn must_be_nobodys(store: &dyn Store, id: OperationId) -> Result<(), RunError> {
    match summary(store, id).await?.is_run {
        true => Err(RunError::BeingRun { id }),
        false => Ok(()),
    }
}

pub(crate) fn ended(id: OperationId, state: &State) -> RunError {
    let status = serde_json::to_value(state.status).unwrap_or_default();
    let status = status.as_str().unwrap_or("ended").to_owned();
    RunError::Ended { id, status }
}

pub(crate) fn must_be_incomplete(id: OperationId, state: &State) -> Result<(), RunError> {
    match (state.status, &state.accepted) {
        (Status::RollbackFailed, None) => Ok(()),
        (Status::RollbackFailed, Some((actor, reason))) => {
            let status = format!("rollback-failed, and accepted by {actor}: {reason}");
            Err(RunError::Ended { id, status })
        }
        (status, _) if status.is_final() => Err(ended(id, state)),
        (status, _) => {
            Err(RunError::Unfinished { id, rolling_back: status == Status::RollingBack })
        }
    }
}

pub(crate) fn grace_ms(request_ms_max: u64) -> u64 {
    match request_ms_max {
        0 => 0,
        request_ms => request_ms.saturating_add(TAKEOVER_MARGIN_MS),
    }
}

async fn take_up(
    deps: &Arc<Deps>,
    id: OperationId,
    state: &State,
    control: &Control,
    going: Going,
) -> Result<Ended, RunError> {
    let pinned = state.pinned.clone();
    let pinned = pinned.ok_or_else(|| RunError::Internal("it has no first event".into()))?;
    let job = Arc::new(Job::from_pinned(deps, id, state, &pinned).await?);
    must_not_run_elsewhere(&*deps.store, Some(&*deps.provider), id, Some(&pinned)).await?;
    locks::must_have_it_all(&*deps.store, &*deps.provider, id, &pinned).await?;
    let grace_ms = grace_ms(deps.provider.request_ms_max());
    let taken = deps.store.take_lease(id, &deps.runner, grace_ms).await?;
    let Takeover { lease, last_alive, silent_since } = taken;
    let going = async {
        // Whoever has the world's locks is the one that may, and shuts the others out. One that is
        // in line for them has changed nothing, and shuts nobody out until it has them.
        let was_queued = state.status == Status::Queued;
        if !was_queued {
            must_retake(deps, &lease, &pinned, going).await?;
            shut_others_out(deps, &lease, &pinned).await?;
        }
        // What the last runner appended between the look and the lease counts too.
        let records = deps.store.load(id).await?;
        let state = State::fold(&records)
            .map_err(|error| RunError::Unreadable { id, why: error.to_string() })?;
        match going {
            Going::BackAgain => must_be_incomplete(id, &state)?,
            Going::On if state.status.is_final() => return Err(ended(id, &state)),
            Going::On => {}
        }
        if was_queued && state.status != Status::Queued {
            must_retake(deps, &lease, &pinned, going).await?;
            shut_others_out(deps, &lease, &pinned).await?;
        }
        let alive_at = last_alive.map_or(state.last_at, |at| UnixMs(at.0.max(state.last_at.0)));
        // The system's clock may have been set back meanwhile.
        let gone_ms = gone_ms(&*deps.store, silent_since).await?;
        let clock = deps.clock.never_before(not_before(last_alive, state.last_at, gone_ms));
        let dead_ms = clock.unix().since_ms(alive_at);
        #[cfg(feature = "mutants")]
        let clock = crate::mutants::clock_at_take_up(deps, clock);
        let deps = &Arc::new(deps.by_clock(clock));
        if going == Going::On {
            must_be_able(deps, &job, &state, &lease, dead_ms).await?;
        }
        deps.reporter.on_past(id, &records);
        let begin = Begin::OnRecord(Box::new(state), Start { no_wait: false, dead_ms });
        carry_through(deps, job, begin, &lease, control).await
    };
    let ended = going.await;
    release(deps, &lease, &pinned, ended).await
}

/// Let the world refuse every runner of the operation with an earlier lease.
async fn shut_others_out(deps: &Deps, lease: &Lease, pinned: &Pinned) -> Result<(), RunError> {
    let id = lease.operation;
    let fenced = deps.provider.take_over(&pinned.store, id, lease.epoch).await;
    fenced.map_err(|failure| RunError::Left { id, why: failure.message })
}

/// Take the world's locks again, which somebody may have freed and taken meanwhile.
async fn must_retake(
    deps: &Deps,
    lease: &Lease,
    pinned: &Pinned,
    going: Going,
) -> Result<(), RunError> {
    let Some(why) = locks::retake(deps, lease, pinned).await? else { return Ok(()) };
    let id = lease.operation;
    Err(match going {
        Going::On => RunError::Left { id, why },
        Going::BackAgain => RunError::StandsStill { id, why },
    })
}

/// How long ago the last runner wrote down that it lives: by the store's clock, which this machine
/// and that runner's share.
async fn gone_ms(store: &dyn Store, silent_since: StoreTime) -> Result<u64, RunError> {
    Ok(store.now().await?.since_ms(silent_since))
}

/// The earliest that it can be, where the last runner wrote down `gone_ms` ago that it lives.
///
/// It renews its lease by the system's clock, and its events are never before those of the runner
/// before it: they are far ahead of the lease where that clock was set back.
fn not_before(last_alive: Option<UnixMs>, last_event: UnixMs, gone_ms: u64) -> UnixMs {
    let is_close = |at: &UnixMs| last_event.since_ms(*at) <= LEASE_MS_MAX;
    let wrote_at = last_alive.filter(is_close).unwrap_or(last_event);
    UnixMs(wrote_at.0.saturating_add(gone_ms))
}

/// Whether the operation, as it will go on from here, has what it needs: all of it going forward,
/// and what the undo uses going back.
async fn must_be_able(
    deps: &Deps,
    job: &Job,
    state: &State,
    lease: &Lease,
    dead_ms: u64,
) -> Result<(), RunError> {
    let because = job.only_back_because(&deps.given);
    if because.is_empty() {
        return Ok(());
    }
    let id = lease.operation;
    let asked = deps.store.requests(lease).await?.into_iter().next();
    let cancel = asked.map(|Request::Cancel { actor, reason }| (actor, reason));
    // Called off before it began, it does nothing at all.
    if state.status == Status::Queued && cancel.is_some() {
        return Ok(());
    }
    if state.status != Status::Queued {
        let now = deps.clock.never_before(state.last_at).unix();
        let mut ahead = Machine::new(Arc::clone(&job.plan), state.clone(), id, lease.epoch);
        let (actor, secrets) = (deps.actor.clone(), job.given.clone());
        ahead.recover(Recovery { actor, dead_ms, cancel, secrets }, now)?;
        if ahead.goes_back() {
            return Ok(());
        }
    }
    let way_out = match state.status {
        Status::Queued => WayOut::CalledOff,
        _ if state.committed => WayOut::GivenUp,
        _ if touches_what_was_replaced(job, state) => WayOut::BackInPart,
        _ => WayOut::Back,
    };
    Err(RunError::NotForward { id, because, way_out })
}

/// Whether anything that is to be undone is in a part of the world that is another one by now.
fn touches_what_was_replaced(job: &Job, state: &State) -> bool {
    let to_undo = state.steps.values().flat_map(|step| step.to_undo());
    let changes = to_undo.flat_map(|(_, effect)| &effect.changes);
    let mut resources = changes.map(|change| &change.resource);
    resources.any(|resource| job.access.replaced.must_allow_look(resource).is_err())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use stepback_clock::Virtual;
    use stepback_journal::Memory;

    #[tokio::test]
    async fn the_time_without_a_runner_is_told_by_the_stores_clock() {
        // This machine's own goes on by itself, and this one does not.
        let time = Virtual::new(UnixMs(1));
        let store = Memory::open(time.clock()).expect("a store");
        time.advance(Duration::from_secs(60));
        let silent_since = store.now().await.expect("the time");
        assert_eq!(gone_ms(&store, silent_since).await.expect("the time"), 0);
        time.advance(Duration::from_millis(8_500));
        assert_eq!(gone_ms(&store, silent_since).await.expect("the time"), 8_500);
    }

    #[test]
    fn the_time_without_a_runner_counts_from_when_it_wrote_last() {
        let hour = 3_600_000;
        let table = [
            // An event after the last renewal, and the other way round.
            (Some(8_500), 10_000, 20_000, 28_500),
            (Some(10_500), 10_000, 20_000, 30_500),
            // Nobody renewed anything.
            (None, 10_000, 20_000, 30_000),
            // The events' clock is ahead of a system's clock that was set back.
            (Some(1_000), hour, 20_000, hour + 20_000),
            (Some(0), 0, u64::MAX, u64::MAX),
        ];
        for (last_alive, last_event, gone_ms, wanted) in table {
            let found = not_before(last_alive.map(UnixMs), UnixMs(last_event), gone_ms);
            assert_eq!(found, UnixMs(wanted), "{last_alive:?} {last_event} {gone_ms}");
        }
    }
}
