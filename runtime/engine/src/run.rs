//! Running an operation from its manifest, taking one up again, and looking at what would happen.

use crate::deps::{Control, Deps};
use crate::driver::Driver;
use crate::error::{Refusal, RunError};
use crate::job::{Job, Request};
use crate::locks;
use crate::preflight::{self, StepCheck};
use crate::tasks::Logs;
use std::sync::Arc;
use stepback_clock::Clock;
use stepback_core::event::{Event, Record};
use stepback_core::machine::Recovery;
use stepback_core::state::{State, Status};
use stepback_core::*;
use stepback_journal::{Lease, Request as Asked, RunnerId, Store, Takeover};

/// A takeover waits this much longer than a request can take, because clocks are read at two ends.
const TAKEOVER_MARGIN_MS: u64 = 1_000;

/// An operation that has come to its end.
#[derive(Clone, Debug)]
pub struct Ended {
    pub id: OperationId,
    /// Its status, cause, verdict and what was not restored.
    pub state: State,
}

/// What would happen.
pub struct Preview {
    pub job: Arc<Job>,
    /// What each step's check says now, in the plan's order.
    pub checks: Vec<StepCheck>,
}

/// Read the manifest and ask every check whose inputs are known; nothing is kept or changed.
///
/// # Errors
/// All mistakes of the manifest, its plugins and its inputs.
pub async fn plan(deps: &Deps, request: &Request) -> Result<Preview, Refusal> {
    let job = Arc::new(Job::prepare(deps, request).await?);
    let checks = preflight::check_all(&job, &deps.clock).await;
    Ok(Preview { job, checks })
}

/// Run a manifest as a new operation to its end.
///
/// # Errors
/// [`RunError::Refused`] if nothing was changed; [`RunError::Left`] if it is to be resumed.
pub async fn run(
    deps: &Arc<Deps>,
    request: &Request,
    control: &Control,
) -> Result<Ended, RunError> {
    let job = Arc::new(Job::prepare(deps, request).await?);
    let pinned = job.pin(deps, request).await?;
    for loaded in job.plugins.values() {
        deps.store.put_blob(loaded.plugin.digest(), loaded.plugin.bytes()).await?;
    }
    let at = deps.clock.unix();
    let (id, lease) = deps.store.create(pinned.clone(), at, &deps.runner).await?;
    let epoch = lease.epoch;
    let record = Record { seq: Seq(1), at, epoch, event: Event::Created(Box::new(pinned)) };
    let mut state = State::default();
    state.apply(&record)?;
    deps.reporter.on_record(id, &record);
    let start = Start { no_wait: request.no_wait, dead_ms: 0 };
    let ended = carry_through(deps, job, state, &lease, start, control).await;
    release(deps, &lease, ended).await
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
    let state = folded(deps, id).await?;
    if state.status.is_final() {
        return Err(ended(id, &state));
    }
    take_up(deps, id, &state, control, Going::On).await
}

/// Take up a rollback that ended incomplete, after a person's fix: what is not undone is tried
/// anew, the world is verified again, and the locks are released when it is restored (R7).
///
/// # Errors
/// [`RunError::Ended`] if it did not end with an incomplete rollback; [`RunError::Unfinished`] if
/// it has not ended; [`RunError::Left`] if it can't go on now.
pub async fn resume_rollback(
    deps: &Arc<Deps>,
    id: OperationId,
    control: &Control,
) -> Result<Ended, RunError> {
    let state = folded(deps, id).await?;
    must_be_incomplete(id, &state)?;
    take_up(deps, id, &state, control, Going::Back).await
}

/// Take the world as an incomplete rollback left it, on the record, and release the locks (R7).
///
/// # Errors
/// Those of [`resume_rollback`].
pub async fn accept(
    store: &dyn Store,
    runner: &RunnerId,
    id: OperationId,
    clock: &Clock,
    actor: String,
    reason: String,
) -> Result<State, RunError> {
    must_be_incomplete(id, &State::fold(&store.load(id).await?)?)?;
    let Takeover { lease, .. } = store.take_lease(id, runner, 0).await?;
    let mut state = State::fold(&store.load(id).await?)?;
    let at = clock.never_before(state.last_at).unix();
    let accepted = async {
        must_be_incomplete(id, &state)?;
        let (seq, epoch) = (Seq(state.last_seq.0 + 1), lease.epoch);
        let record = Record { seq, at, epoch, event: Event::Accepted { actor, reason } };
        let last = state.last_seq;
        state.apply(&record)?;
        store.append(&lease, last, vec![record]).await?;
        Ok(state)
    };
    let accepted: Result<State, RunError> = accepted.await;
    store.release(&lease, at).await?;
    accepted
}

/// Which way an operation is taken up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Going {
    On,
    Back,
}

async fn folded(deps: &Deps, id: OperationId) -> Result<State, RunError> {
    Ok(State::fold(&deps.store.load(id).await?)?)
}

fn ended(id: OperationId, state: &State) -> RunError {
    let status = serde_json::to_value(state.status).unwrap_or_default();
    let status = status.as_str().unwrap_or("ended").to_owned();
    RunError::Ended { id, status }
}

fn must_be_incomplete(id: OperationId, state: &State) -> Result<(), RunError> {
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

async fn take_up(
    deps: &Arc<Deps>,
    id: OperationId,
    state: &State,
    control: &Control,
    going: Going,
) -> Result<Ended, RunError> {
    let pinned = state.pinned.clone();
    let pinned = pinned.ok_or_else(|| RunError::Internal("it has no first event".into()))?;
    let job = Arc::new(Job::from_pinned(deps, id, &pinned).await?);
    let grace_ms = match deps.provider.request_ms_max() {
        0 => 0,
        request_ms => request_ms + TAKEOVER_MARGIN_MS,
    };
    let Takeover { lease, last_alive } = deps.store.take_lease(id, &deps.runner, grace_ms).await?;
    let going = async {
        let left = |why: String| RunError::Left { id, why };
        let fenced = deps.provider.take_over(id, lease.epoch).await;
        fenced.map_err(|failure| left(failure.message))?;
        // What the last runner appended between the look and the lease counts too.
        let records = deps.store.load(id).await?;
        let state = State::fold(&records)?;
        match going {
            Going::Back => must_be_incomplete(id, &state)?,
            Going::On if state.status.is_final() => return Err(ended(id, &state)),
            Going::On => {}
        }
        for record in &records {
            deps.reporter.on_record(id, record);
        }
        let last_at = records.last().map_or(UnixMs(0), |record| record.at);
        let alive_at = last_alive.map_or(last_at, |at| UnixMs(at.0.max(last_at.0)));
        let dead_ms = deps.clock.never_before(last_at).unix().since_ms(alive_at);
        carry_through(deps, job, state, &lease, Start { no_wait: false, dead_ms }, control).await
    };
    let ended = going.await;
    release(deps, &lease, ended).await
}

async fn release(
    deps: &Deps,
    lease: &Lease,
    ended: Result<Ended, RunError>,
) -> Result<Ended, RunError> {
    let released = deps.store.release(lease, deps.clock.unix()).await;
    // How the operation ended matters more than a lease nobody will renew.
    let ended = ended?;
    released?;
    Ok(ended)
}

/// How the driving of an operation begins.
#[derive(Clone, Copy)]
struct Start {
    no_wait: bool,
    /// How long nobody ran it.
    dead_ms: u64,
}

async fn carry_through(
    deps: &Arc<Deps>,
    job: Arc<Job>,
    state: State,
    lease: &Lease,
    start: Start,
    control: &Control,
) -> Result<Ended, RunError> {
    let id = lease.operation;
    let (logs, keeper) = Logs::start(id, Arc::clone(&deps.reporter), Arc::clone(&deps.store));
    let driven = async {
        let (mut state, mut start) = (state, start);
        loop {
            match drive(deps, &job, state, lease, &logs, start, control).await {
                // The journal stands before the commit point, and a cancel came: nothing that
                // was decided since was made durable or done, so go on from the journal.
                Err(RunError::Requested) => {
                    state = folded(deps, id).await?;
                    start.dead_ms = 0;
                }
                driven => return driven,
            }
        }
    };
    let driven = driven.await;
    drop(logs);
    keeper.finish().await;
    let state = driven?;
    if state.status == Status::Refused {
        return Err(Refusal::Reasons { id: Some(id), reasons: state.refusals }.into());
    }
    Ok(Ended { id, state })
}

/// Returns who called an operation off before it changed anything, or that it is to be left.
async fn called_off(deps: &Deps, lease: &Lease, control: &Control) -> Result<String, RunError> {
    let mut wishes = control.subscribe();
    loop {
        let asked = tokio::select! {
            asked = deps.store.until_requested(lease) => {
                asked?.into_iter().next().map(|Asked::Cancel { actor, reason }| (actor, reason))
            }
            // The other end lives as long as the program wants the operation to.
            _ = wishes.changed() => {
                let wish = wishes.borrow_and_update().clone();
                if wish.leave {
                    let why = "it was left on request, before anything was changed".to_owned();
                    return Err(RunError::Left { id: lease.operation, why });
                }
                wish.cancel
            }
        };
        if let Some((actor, reason)) = asked {
            let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            return Ok(format!("cancelled by {actor} before anything was changed{reason}"));
        }
    }
}

async fn drive(
    deps: &Arc<Deps>,
    job: &Arc<Job>,
    state: State,
    lease: &Lease,
    logs: &Logs,
    start: Start,
    control: &Control,
) -> Result<State, RunError> {
    let (status, pinned) = (state.status, state.pinned.clone());
    let (deps, job) = (Arc::clone(deps), Arc::clone(job));
    let mut driver =
        Driver::new(Arc::clone(&deps), job.clone(), state, lease.clone(), logs.clone(), control);
    match status {
        Status::Queued => {
            let mut reasons = vec![];
            if let Some(pinned) = &pinned {
                let mut wishes = control.subscribe();
                let (no_wait, deps) = (start.no_wait, &*deps);
                reasons.extend(locks::acquire(deps, lease, pinned, no_wait, &mut wishes).await?);
            }
            if reasons.is_empty() {
                reasons = tokio::select! {
                    checks = preflight::check_all(&job, &deps.clock) => {
                        checks.iter().filter_map(preflight::reason).collect()
                    }
                    cancelled = called_off(&deps, lease, control) => vec![cancelled?],
                };
            }
            driver.preflighted(reasons)?;
        }
        Status::RollbackFailed => driver.resume_rollback(deps.actor.clone())?,
        Status::Running
        | Status::RollingBack
        | Status::Refused
        | Status::Succeeded
        | Status::RolledBack => {
            let asked = deps.store.requests(lease).await?.into_iter().next();
            let cancel = asked.map(|Asked::Cancel { actor, reason }| (actor, reason));
            let (actor, dead_ms) = (deps.actor.clone(), start.dead_ms);
            driver.recover(Recovery { actor, dead_ms, cancel })?;
        }
    }
    driver.drive().await
}
