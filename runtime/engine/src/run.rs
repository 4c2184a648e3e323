//! Running an operation from its manifest, and looking at what would happen.

use crate::deps::{Control, Deps};
use crate::driver::Driver;
use crate::error::{Refusal, RunError};
use crate::job::{Job, Request};
use crate::locks::{self, InTheWay};
use crate::preflight::{self, StepCheck};
use crate::reaches::{self, Reaches};
use crate::still::Still;
use crate::tasks::Logs;
use crate::undeclared::{self, Undeclared};
use std::sync::Arc;
use stepback_core::event::{Event, Pinned, Record};
use stepback_core::grants::Policy;
use stepback_core::machine::Recovery;
use stepback_core::shown::in_sentence;
use stepback_core::state::{State, Status};
use stepback_core::*;
use stepback_journal::{self as journal, Lease};
use tracing::Instrument;

/// An operation that has come to its end.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its number in the store.
    pub id: OperationId,
    /// Its status, cause, verdict and what was not restored.
    pub state: State,
}

/// What would happen.
pub struct Preview {
    /// What would be run: the manifest with its plugins and inputs.
    pub job: Arc<Job>,
    /// What each step's check says now, in the plan's order.
    pub checks: Vec<StepCheck>,
    /// The locks that it would not get at once.
    pub in_the_way: Vec<InTheWay>,
    /// The plugins that can do what nobody declared.
    pub undeclared: Vec<Undeclared>,
    /// What binds everybody in the environment.
    pub policy: Policy,
    /// The steps whose new containers would reach their hosts.
    pub reaches: Vec<Reaches>,
}

/// Read the manifest and ask every check whose inputs are known; nothing is kept or changed.
///
/// # Errors
/// All mistakes of the manifest, its plugins and its inputs; locks whose names can't be evaluated,
/// or that can't be looked at.
pub async fn plan(deps: &Deps, request: &Request) -> Result<Preview, RunError> {
    let job = Arc::new(Job::prepare(deps, request).await?);
    let refuse = |reason: String| Refusal::Reasons { id: None, reasons: vec![reason] };
    let names = job.locks().await.map_err(refuse)?;
    let in_the_way = locks::in_the_way(deps, &request.environment, &names).await?;
    let checks = preflight::check_all(&job, &deps.clock).await;
    let undeclared = undeclared::undeclared(&job).await;
    let (policy, reaches) = (deps.plugins.policy(), reaches::reaches(&job.access, &checks).await);
    Ok(Preview { job, checks, in_the_way, undeclared, policy, reaches })
}

/// What is to be run, and what that is pinned to.
///
/// # Errors
/// [`RunError::Refused`]: nothing was changed.
pub(crate) async fn prepared(
    deps: &Deps,
    request: &Request,
    control: &Control,
) -> Result<(Arc<Job>, Shared<Pinned>), RunError> {
    // What is done once weighs nothing while the operation is driven.
    let prepared = Box::pin(async {
        let job = Arc::new(Job::prepare(deps, request).await?);
        let pinned = job.pin(deps, request).await?;
        Ok::<_, RunError>((job, pinned.into()))
    });
    tokio::select! {
        prepared = prepared => prepared,
        wish = control.wished() => {
            let why = match wish.cancel {
                Some((actor, reason)) => was_called_off(&actor, reason),
                None => "it was called off before it began".to_owned(),
            };
            Err(Refusal::Reasons { id: None, reasons: vec![why] }.into())
        }
    }
}

/// Run what was prepared as a new operation to its end.
///
/// # Errors
/// [`RunError::Refused`] if nothing was changed; [`RunError::Left`] if it is to be resumed.
pub(crate) async fn begin(
    deps: &Arc<Deps>,
    (job, pinned): (Arc<Job>, Shared<Pinned>),
    no_wait: bool,
    control: &Control,
) -> Result<Ended, RunError> {
    for loaded in job.plugins.values() {
        deps.store.put_blob(loaded.plugin.digest(), loaded.plugin.bytes()).await?;
    }
    let at = deps.clock.unix();
    let (id, lease) = deps.store.create(pinned.clone(), at, &deps.runner).await?;
    let epoch = lease.epoch;
    let created = Event::Created(pinned.clone());
    let record = Record { seq: Seq(1), at, epoch, event: created };
    let mut state = State::default();
    state.apply(&record)?;
    deps.reporter.on_record(id, &record);
    let start = Start { no_wait, dead_ms: 0 };
    let begin = Begin::OnRecord(Box::new(state), start);
    // In a place of its own: whatever has a future within it has room for that twice.
    let ended = Box::pin(carry_through(deps, job, begin, &lease, control)).await;
    release(deps, &lease, &pinned, ended).await
}

pub(crate) async fn release(
    deps: &Deps,
    lease: &Lease,
    pinned: &Pinned,
    ended: Result<Ended, RunError>,
) -> Result<Ended, RunError> {
    let released = deps.store.release(lease, deps.clock.unix()).await;
    if let Err(failure) =
        locks::let_go(&*deps.store, &*deps.provider, lease.operation, pinned).await
    {
        locks::tell_kept(deps, lease.operation, pinned, &failure).await;
    }
    // How the operation ended matters more than a lease nobody will renew.
    let ended = ended?;
    released?;
    Ok(ended)
}

/// Where the driving of an operation begins.
pub(crate) enum Begin {
    /// At what is on record.
    OnRecord(Box<State>, Start),
    /// Where nothing was under way.
    Still(Box<Still>),
}

/// How the driving of an operation begins.
#[derive(Clone, Copy)]
pub(crate) struct Start {
    pub(crate) no_wait: bool,
    /// How long nobody ran it.
    pub(crate) dead_ms: u64,
}

pub(crate) async fn carry_through(
    deps: &Arc<Deps>,
    job: Arc<Job>,
    begin: Begin,
    lease: &Lease,
    control: &Control,
) -> Result<Ended, RunError> {
    let id = lease.operation;
    let (logs, keeper) = Logs::start(id, Arc::clone(&deps.reporter), Arc::clone(&deps.store));
    let driven = async {
        let mut begin = begin;
        let no_wait = matches!(&begin, Begin::OnRecord(_, start) if start.no_wait);
        loop {
            let driven = match begin {
                Begin::OnRecord(state, start) => {
                    Box::pin(drive(deps, &job, *state, lease, &logs, start, control)).await
                }
                Begin::Still(still) => {
                    let (deps, job) = (Arc::clone(deps), Arc::clone(&job));
                    Box::pin(Driver::still(deps, job, *still, logs.clone(), control).drive()).await
                }
            };
            match driven {
                // The journal stands before the commit point, and a cancel came: nothing that
                // was decided since was made durable or done, so go on from the journal.
                Err(RunError::Requested) => {
                    let state = State::fold(&deps.store.load(id).await?)?;
                    begin = Begin::OnRecord(Box::new(state), Start { no_wait, dead_ms: 0 });
                }
                driven => return driven,
            }
        }
    };
    let span = tracing::info_span!("operation", id = id.0, epoch = lease.epoch.0);
    let driven = driven.instrument(span).await;
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
                let first = asked?.into_iter().next();
                first.map(|journal::Request::Cancel { actor, reason }| (actor, reason))
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
            return Ok(was_called_off(&actor, reason));
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
            let reasons = why_not(&deps, &job, pinned.as_deref(), lease, start, control);
            let reasons = Box::pin(reasons).await?;
            driver.preflighted(reasons)?;
        }
        Status::RollbackFailed => driver.resume_rollback(deps.actor.clone())?,
        Status::Running
        | Status::RollingBack
        | Status::Refused
        | Status::Succeeded
        | Status::RolledBack
        | Status::Abandoned => {
            let asked = deps.store.requests(lease).await?.into_iter().next();
            let cancel = asked.map(|journal::Request::Cancel { actor, reason }| (actor, reason));
            let (actor, dead_ms) = (deps.actor.clone(), start.dead_ms);
            let secrets = job.given.clone();
            driver.recover(Recovery { actor, dead_ms, cancel, secrets })?;
        }
    }
    Box::pin(driver.drive()).await
}

/// Why a new operation must not start: somebody called it off, its locks can't be had, or a check
/// says no.
async fn why_not(
    deps: &Arc<Deps>,
    job: &Arc<Job>,
    pinned: Option<&Pinned>,
    lease: &Lease,
    start: Start,
    control: &Control,
) -> Result<Vec<String>, RunError> {
    // Called off while nobody ran it, it needs no lock and no look.
    if let Some(journal::Request::Cancel { actor, reason }) =
        deps.store.requests(lease).await?.into_iter().next()
    {
        return Ok(vec![was_called_off(&actor, reason)]);
    }
    if let Some(pinned) = pinned {
        let mut wishes = control.subscribe();
        let busy = locks::acquire(deps, lease, pinned, start.no_wait, &mut wishes).await?;
        if let Some(busy) = busy {
            return Ok(vec![busy]);
        }
    }
    Ok(tokio::select! {
        checks = preflight::check_all(job, &deps.clock) => {
            preflight::refusals(&checks)
        }
        cancelled = called_off(deps, lease, control) => vec![cancelled?],
    })
}

fn was_called_off(actor: &Actor, reason: Option<String>) -> String {
    let reason = reason.map(|reason| format!(": {}", in_sentence(&reason))).unwrap_or_default();
    format!("cancelled by {} before anything was changed{reason}", in_sentence(&actor.name))
}
