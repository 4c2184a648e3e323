//! Running an operation from its manifest, taking one up again, and looking at what would happen.

use crate::clock::Clock;
use crate::deps::{Control, Deps};
use crate::driver::Driver;
use crate::error::{Refusal, RunError};
use crate::job::{Job, Request};
use crate::locks;
use crate::preflight::{self, StepCheck};
use crate::tasks::Logs;
use std::sync::Arc;
use stepback_core::event::{Event, Record};
use stepback_core::state::{State, Status};
use stepback_core::*;
use stepback_journal::Lease;

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
    let checks = preflight::check_all(&job, Clock::start()).await;
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
    for (name, loaded) in &job.plugins {
        if let Some(digest) = pinned.plugins.get(name) {
            deps.store.put_blob(digest, &loaded.bytes).await?;
        }
    }
    let at = Clock::start().now();
    let (id, lease) = deps.store.create(pinned.clone(), at, &deps.runner).await?;
    let epoch = lease.epoch;
    let record = Record { seq: Seq(1), at, epoch, event: Event::Created(Box::new(pinned)) };
    let mut state = State::default();
    state.apply(&record)?;
    deps.reporter.on_record(id, &record);
    let ended = carry_through(deps, job, state, &lease, request.no_wait, control).await;
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
    let records = deps.store.load(id).await?;
    let state = State::fold(&records)?;
    if state.status.is_final() {
        let status = serde_json::to_value(state.status).unwrap_or_default();
        let status = status.as_str().unwrap_or("ended").to_owned();
        return Err(RunError::Ended { id, status });
    }
    let pinned = state.pinned.clone();
    let pinned = pinned.ok_or_else(|| RunError::Internal("it has no first event".into()))?;
    let job = Arc::new(Job::from_pinned(deps, id, &pinned).await?);
    let lease = deps.store.take_lease(id, &deps.runner).await?;
    // What the last runner appended between the look and the lease counts too.
    let records = deps.store.load(id).await?;
    for record in &records {
        deps.reporter.on_record(id, record);
    }
    let state = State::fold(&records)?;
    let ended = carry_through(deps, job, state, &lease, false, control).await;
    release(deps, &lease, ended).await
}

async fn release(
    deps: &Deps,
    lease: &Lease,
    ended: Result<Ended, RunError>,
) -> Result<Ended, RunError> {
    let released = deps.store.release(lease).await;
    // How the operation ended matters more than a lease nobody will renew.
    let ended = ended?;
    released?;
    Ok(ended)
}

async fn carry_through(
    deps: &Arc<Deps>,
    job: Arc<Job>,
    state: State,
    lease: &Lease,
    no_wait: bool,
    control: &Control,
) -> Result<Ended, RunError> {
    let id = lease.operation;
    let (logs, keeper) = Logs::start(id, Arc::clone(&deps.reporter), Arc::clone(&deps.store));
    let queued = state.status == Status::Queued;
    let pinned = state.pinned.clone();
    let mut driver =
        Driver::new(Arc::clone(deps), Arc::clone(&job), state, lease.clone(), logs, control);
    let driven = async {
        if queued {
            let mut reasons = vec![];
            if let Some(pinned) = &pinned {
                let mut wishes = control.subscribe();
                let clock = Clock::start();
                let busy = locks::acquire(deps, lease, pinned, no_wait, clock, &mut wishes).await?;
                reasons.extend(busy);
            }
            if reasons.is_empty() {
                let checks = preflight::check_all(&job, Clock::start()).await;
                reasons.extend(checks.iter().filter_map(preflight::reason));
            }
            driver.preflighted(reasons)?;
        } else {
            driver.recover()?;
        }
        driver.drive().await
    };
    let driven = driven.await;
    keeper.finish().await;
    let state = driven?;
    if state.status == Status::Refused {
        return Err(Refusal::Reasons { id: Some(id), reasons: state.refusals }.into());
    }
    Ok(Ended { id, state })
}
