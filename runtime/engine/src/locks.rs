//! Locks: all of an operation's at once, waiting in line or not (R13).
//!
//! A store arbitrates among its own operations; a world that can hold locks among those of every
//! store.

use crate::deps::{Deps, Wish};
use crate::error::{Refusal, RunError};
use std::time::Duration;
use stepback_core::event::{Event, Pinned};
use stepback_core::{Failure, OperationId, UnixMs};
use stepback_journal::{
    Busy, BusyHow, Lease, LockAnswer, LogLine, Request as Asked, Store, StoreError,
};
use stepback_provider::Provider;
use stepback_provider::locks::{Holder, WorldLock, WorldLocks};
use tokio::sync::watch;

/// How often a waiting operation asks again.
const RETRY_MS: u64 = 200;

/// Who has a lock, or comes first in line for it.
enum Behind {
    /// Another operation of this store.
    Own(Busy),
    /// An operation that holds it in the world: of another store, or in another environment.
    World(Box<WorldLock>, Whose),
}

/// Whose a lock in the world is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// An operation's of this state directory.
    Own,
    /// One's of another state directory of this machine.
    Others,
    /// One's of a state directory of another machine, or of another container.
    AnotherHosts,
    /// Its state directory is gone, so nobody will ever let go of it.
    Nobodys,
}

/// Take every lock of the operation: those of its store, and then those of the world.
///
/// Answers why not, when it is not to wait, when the owner will not let go by itself, or when
/// the wait is cancelled.
pub(crate) async fn acquire(
    deps: &Deps,
    lease: &Lease,
    pinned: &Pinned,
    no_wait: bool,
    wishes: &mut watch::Receiver<Wish>,
) -> Result<Option<String>, RunError> {
    let mut told: Option<String> = None;
    loop {
        let behind = match take(deps, lease, pinned, no_wait).await? {
            Ok(None) => return Ok(None),
            Ok(Some(behind)) => behind,
            Err(failure) => return Ok(Some(unkept(&failure))),
        };
        if no_wait || !behind.lets_go() {
            return Ok(Some(behind.said()));
        }
        let line = format!("waits in line: {}", behind.said());
        if told.as_ref() != Some(&line) {
            tell(deps, lease.operation, "info", line.clone()).await;
            told = Some(line);
        }
        tokio::select! {
            () = deps.clock.sleep(Duration::from_millis(RETRY_MS)) => {}
            _ = wishes.changed() => {
                let wish = wishes.borrow().clone();
                if wish.leave {
                    let why = format!("it waits in line: {}", behind.said());
                    return Err(RunError::Left { id: lease.operation, why });
                }
                if let Some((actor, reason)) = wish.cancel {
                    return Ok(Some(cancelled(&actor, reason)));
                }
            }
        }
        if let Some(Asked::Cancel { actor, reason }) =
            deps.store.requests(lease).await?.into_iter().next()
        {
            return Ok(Some(cancelled(&actor, reason)));
        }
    }
}

/// Take all of them now, or say who is before; the inner error is the world's.
async fn take(
    deps: &Deps,
    lease: &Lease,
    pinned: &Pinned,
    no_wait: bool,
) -> Result<Result<Option<Behind>, Failure>, RunError> {
    let (store, names) = (&*deps.store, &pinned.locks);
    let (now, environment) = (deps.clock.unix(), &pinned.environment);
    let answer = store.acquire_locks(lease, environment, names, now, !no_wait).await?;
    if let LockAnswer::Busy(busy) = answer {
        return Ok(Ok(Some(Behind::Own(busy))));
    }
    let Some(world) = deps.provider.locks().filter(|_| !names.is_empty()) else {
        return Ok(Ok(None));
    };
    let holder = Holder {
        key: pinned.store.clone(),
        store: store.id(),
        operation: lease.operation,
        environment: environment.clone(),
        place: store.place(),
        host: host(),
        actor: deps.actor.clone(),
        since: now,
    };
    loop {
        let held = match world.take(names, &holder).await {
            Ok(None) => return Ok(Ok(None)),
            Ok(Some(held)) => held,
            Err(failure) => return Ok(Err(failure)),
        };
        match whose(Some(store), world, &held).await? {
            Ok(Some(whose)) => return Ok(Ok(Some(Behind::World(Box::new(held), whose)))),
            Ok(None) => {}
            Err(failure) => return Ok(Err(failure)),
        }
    }
}

/// Whose a lock is; nobody's by now, where it was an operation's of this store that was killed when
/// it had ended, before it could let go.
async fn whose(
    store: Option<&dyn Store>,
    world: &dyn WorldLocks,
    lock: &WorldLock,
) -> Result<Result<Option<Whose>, Failure>, StoreError> {
    let holder = &lock.holder;
    if let Some(store) = store
        && is_of(store, holder).await
    {
        return Ok(match holds(store, holder.operation).await? {
            true => Ok(Some(Whose::Own)),
            false => world.let_go(&holder.key).await.map(|()| None),
        });
    }
    let place = holder.place.as_ref().filter(|_| holder.host == host());
    Ok(Ok(Some(match place.map(|place| place.try_exists()) {
        Some(Ok(false)) => Whose::Nobodys,
        Some(_) => Whose::Others,
        None => Whose::AnotherHosts,
    })))
}

/// Let go of an operation's locks in the world, where it has ended and its store let go of its own.
///
/// # Errors
/// A world whose locks can't be read or written.
pub(crate) async fn let_go(
    store: &dyn Store,
    provider: &dyn Provider,
    id: OperationId,
    pinned: &Pinned,
) -> Result<(), Failure> {
    let Some(world) = provider.locks().filter(|_| !pinned.locks.is_empty()) else {
        return Ok(());
    };
    match holds(store, id).await {
        Ok(false) => world.let_go(&pinned.store).await,
        // A store that can't be asked may hold them; whoever opens it next looks again.
        Ok(true) | Err(_) => Ok(()),
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
    let mut held = vec![];
    for lock in world.held().await.map_err(unreadable)? {
        if let Some(whose) = whose(store, world, &lock).await?.map_err(unreadable)? {
            held.push((lock, whose));
        }
    }
    Ok(held)
}

/// Whether the operation is one of this store's: a copy of a state directory has its identity and
/// its numbers.
async fn is_of(store: &dyn Store, holder: &Holder) -> bool {
    if store.id() != holder.store {
        return false;
    }
    let all = store.load(holder.operation).await.unwrap_or_default();
    let Some(Event::Created(pinned)) = all.first().map(|record| &record.event) else {
        return false;
    };
    pinned.store == holder.key
}

async fn holds(store: &dyn Store, id: OperationId) -> Result<bool, StoreError> {
    Ok(store.locks().await?.iter().any(|row| row.owner == id))
}

/// The machine's name, as people know it.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

fn unkept(failure: &Failure) -> String {
    format!("the environment's locks can't be had: {}", failure.message)
}

impl Behind {
    /// Whether it will let go by itself, as far as is known.
    fn lets_go(&self) -> bool {
        match self {
            Behind::Own(busy) => busy.how != BusyHow::StandsStill,
            Behind::World(_, whose) => *whose != Whose::Nobodys,
        }
    }

    fn said(&self) -> String {
        match self {
            Behind::Own(busy) if busy.how == BusyHow::StandsStill => held_for_good(busy),
            Behind::Own(busy) => said(busy),
            Behind::World(held, whose) => said_of(held, *whose),
        }
    }
}

fn said_of(held: &WorldLock, whose: Whose) -> String {
    let WorldLock { name, holder } = held;
    let Holder { operation, environment, since, host, .. } = holder;
    let since = at(*since);
    let place = holder.place.as_ref().map(|place| place.display().to_string()).unwrap_or_default();
    let unlock = format!("`stepback unlock -e ENV {name} --reason …` frees it");
    match whose {
        Whose::Own => format!(
            "lock `{name}` is held by operation {operation}{since}, of environment \
             `{environment}`, which is the same world"
        ),
        Whose::Nobodys => format!(
            "lock `{name}` is held by operation {operation}{since}, whose state directory {place} \
             is gone: {unlock}"
        ),
        Whose::Others | Whose::AnotherHosts => format!(
            "lock `{name}` is held by operation {operation}{since} of another state directory: \
             {place} on {host} (`stepback --state {place} show {operation}` there; if that is gone \
             for good, {unlock})"
        ),
    }
}

fn cancelled(actor: &str, reason: Option<String>) -> String {
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("cancelled by {actor} while it waited for a lock{reason}")
}

fn said(busy: &Busy) -> String {
    let Busy { name, by, since, how } = busy;
    let since = at(*since);
    match how {
        BusyHow::Holds | BusyHow::StandsStill => {
            format!("lock `{name}` is held by operation {by}{since}")
        }
        BusyHow::LeftUnfinished => format!(
            "lock `{name}` is held by operation {by}{since}, which is unfinished and run by \
             nobody: `stepback resume {by}` goes on, `stepback cancel {by}` rolls it back"
        ),
        BusyHow::WaitsBefore => {
            format!("operation {by} waits for lock `{name}`{since}, and came first")
        }
    }
}

fn at(since: UnixMs) -> String {
    let since = jiff::Timestamp::from_millisecond(since.0 as i64);
    since.map(|at| format!(" since {at:.0}")).unwrap_or_default()
}

/// A line for whoever watches, and for the operation's log.
async fn tell(deps: &Deps, id: OperationId, level: &str, text: String) {
    let line = LogLine { at: deps.clock.unix(), step: None, level: level.to_owned(), text };
    deps.reporter.on_log(id, &line);
    // A store that can't take a line will say so at the next event.
    let _ = deps.store.append_logs(id, vec![line]).await;
}

/// That locks are still held in the world, though the operation has ended.
pub(crate) async fn tell_kept(deps: &Deps, id: OperationId, failure: &Failure) {
    let text = format!(
        "its locks in the environment could not be let go: {}; `stepback locks -e ENV` does it",
        failure.message
    );
    tell(deps, id, "warn", text).await;
}

fn held_for_good(busy: &Busy) -> String {
    let by = busy.by;
    format!(
        "{}, whose rollback is incomplete; `stepback show {by}` tells what is left to do, then \
         `stepback rollback {by}` takes it up again",
        said(busy)
    )
}
