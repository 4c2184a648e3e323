//! Locks: all of an operation's at once, waiting in line or not (R13).
//!
//! A store arbitrates among its own operations; a world that can hold locks among those of every
//! store.

use crate::deps::{Deps, Wish};
use crate::error::{Refusal, RunError};
use std::path::PathBuf;
use std::time::Duration;
use stepback_core::event::{Event, Pinned};
use stepback_core::shell::word;
use stepback_core::{EnvironmentName, Failure, LockName, OperationId, UnixMs};
use stepback_journal::{
    Busy, BusyHow, Ending, Lease, LockAnswer, LogLine, Request as Asked, Store, StoreError,
    has_unfinished,
};
use stepback_provider::Provider;
use stepback_provider::locks::{Holder, WorldLock, WorldLocks, host};
use tokio::sync::watch;

/// How often a waiting operation asks again.
const RETRY_MS: u64 = 200;

/// Who has a lock, or comes first in line for it.
enum Behind {
    /// Another operation of this store, in the environment with this name.
    Own(Busy, EnvironmentName),
    /// An operation of another store, which holds it in the world.
    World(Box<WorldLock>, Whose),
}

/// Whose a lock in the world is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// An operation's of this state directory.
    Own,
    /// One's that a program of this machine runs.
    Running,
    /// One's of another state directory of this machine, where it is unfinished.
    Others,
    /// One's of a state directory of another machine, or of one that can't be read.
    Unseen,
    /// Nobody will ever let go of it: its state directory is gone, or is another one by now, or has
    /// no such operation that is unfinished.
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
            return Ok(Some(behind.said(&pinned.environment)));
        }
        let line = format!("waits in line: {}", behind.said(&pinned.environment));
        if told.as_ref() != Some(&line) {
            tell(deps, lease.operation, "info", line.clone()).await;
            told = Some(line);
        }
        tokio::select! {
            () = deps.clock.sleep(Duration::from_millis(RETRY_MS)) => {}
            _ = wishes.changed() => {
                let wish = wishes.borrow().clone();
                if wish.leave {
                    let why = format!("it waits in line: {}", behind.said(&pinned.environment));
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
        return Ok(Ok(Some(Behind::Own(busy, environment.clone()))));
    }
    take_in_world(deps, lease, pinned).await
}

/// Take those of the world alone, for an operation that has those of its store.
async fn take_in_world(
    deps: &Deps,
    lease: &Lease,
    pinned: &Pinned,
) -> Result<Result<Option<Behind>, Failure>, RunError> {
    let (store, names) = (&*deps.store, &pinned.locks);
    let Some(world) = deps.provider.locks().filter(|_| !names.is_empty()) else {
        return Ok(Ok(None));
    };
    let holder = Holder {
        key: pinned.store.clone(),
        store: store.id(),
        operation: lease.operation,
        environment: pinned.environment.clone(),
        place: place(store),
        host: host(),
        actor: deps.actor.clone(),
        since: deps.clock.unix(),
    };
    loop {
        let held = match world.take(names, &holder).await {
            Ok(None) => return Ok(Ok(None)),
            Ok(Some(held)) => held,
            Err(failure) => return Ok(Err(failure)),
        };
        match whose(Some(store), world, &held).await? {
            Ok(Some(Whose::Own)) => {
                let WorldLock { name, holder } = held;
                let busy = own_busy(store, name, holder.operation, holder.since).await?;
                return Ok(Ok(Some(Behind::Own(busy, holder.environment))));
            }
            Ok(Some(whose)) => return Ok(Ok(Some(Behind::World(Box::new(held), whose)))),
            Ok(None) => {}
            Err(failure) => return Ok(Err(failure)),
        }
    }
}

/// Take the world's locks again for an operation that is taken up: somebody may have freed them,
/// or its state directory is from a backup. Gives who has them now.
pub(crate) async fn retake(
    deps: &Deps,
    lease: &Lease,
    pinned: &Pinned,
) -> Result<Option<String>, RunError> {
    Ok(match take_in_world(deps, lease, pinned).await? {
        Ok(None) => None,
        Ok(Some(behind)) => Some(behind.said(&pinned.environment)),
        Err(failure) => Some(unkept(&failure)),
    })
}

/// A lock that a new operation would not get at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InTheWay {
    pub name: LockName,
    /// Who has it, and what to do.
    pub said: String,
    /// Whether it would wait for it; otherwise it would be refused.
    pub lets_go: bool,
}

/// Who holds these locks now; nothing is taken.
///
/// # Errors
/// A store that can't be read, or a world whose locks can't be.
pub(crate) async fn in_the_way(
    deps: &Deps,
    environment: &EnvironmentName,
    names: &[LockName],
) -> Result<Vec<InTheWay>, RunError> {
    let store = &*deps.store;
    let mut all: Vec<Behind> = vec![];
    let rows = store.locks().await?.into_iter();
    for row in rows.filter(|row| row.environment == *environment && names.contains(&row.name)) {
        let busy = own_busy(store, row.name, row.owner, row.since).await?;
        all.push(Behind::Own(busy, environment.clone()));
    }
    if let Some(world) = deps.provider.locks().filter(|_| !names.is_empty()) {
        for (held, whose) in held_in_world(Some(store), world).await? {
            let is_told = all.iter().any(|behind| *behind.name() == held.name);
            match whose {
                _ if is_told || !names.contains(&held.name) => {}
                Whose::Own => {
                    let WorldLock { name, holder } = held;
                    let busy = own_busy(store, name, holder.operation, holder.since).await?;
                    all.push(Behind::Own(busy, holder.environment));
                }
                whose => all.push(Behind::World(Box::new(held), whose)),
            }
        }
    }
    let told = |behind: Behind| InTheWay {
        name: behind.name().clone(),
        said: behind.said(environment),
        lets_go: behind.lets_go(),
    };
    Ok(all.into_iter().map(told).collect())
}

/// How an operation of this store holds a lock.
async fn own_busy(
    store: &dyn Store,
    name: LockName,
    by: OperationId,
    since: UnixMs,
) -> Result<Busy, StoreError> {
    let all = store.list().await?;
    let how = match all.iter().find(|one| one.id == by) {
        Some(one) if one.finished == Some(Ending::RollbackFailed) => BusyHow::StandsStill,
        Some(one) if one.is_run => BusyHow::Holds,
        Some(_) | None => BusyHow::LeftUnfinished,
    };
    Ok(Busy { name, by, since, how })
}

/// Whose a lock is; nobody's by now, where it was an operation's of this state directory that was
/// killed when it had ended, before it could let go.
async fn whose(
    store: Option<&dyn Store>,
    world: &dyn WorldLocks,
    lock: &WorldLock,
) -> Result<Result<Option<Whose>, Failure>, StoreError> {
    let holder = &lock.holder;
    if let Some(store) = store
        && is_of(store, holder).await
    {
        // Of a copy of a state directory nothing follows for the one that it is a copy of.
        let is_here = holder.place == place(store) && holder.host == host();
        let may_go = is_here && !world.is_run(&holder.key);
        return Ok(match may_go && has_ended(store, holder.operation).await? {
            true => world.let_go(&holder.key).await.map(|()| None),
            false => Ok(Some(Whose::Own)),
        });
    }
    if world.is_run(&holder.key) {
        return Ok(Ok(Some(Whose::Running)));
    }
    let place = holder.place.as_ref().filter(|_| holder.host == host());
    let Some(place) = place.map(PathBuf::from) else { return Ok(Ok(Some(Whose::Unseen))) };
    let (id, key) = (holder.operation, holder.key.clone());
    let looked = tokio::task::spawn_blocking(move || has_unfinished(&place, id, &key)).await;
    Ok(Ok(Some(match looked {
        Ok(Ok(true)) => Whose::Others,
        Ok(Ok(false)) => Whose::Nobodys,
        Ok(Err(_)) | Err(_) => Whose::Unseen,
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
    match has_ended(store, id).await {
        Ok(true) => world.let_go(&pinned.store).await,
        // One that has not ended keeps them; of a store that can't be asked whoever opens it next
        // looks again.
        Ok(false) | Err(_) => Ok(()),
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
/// its numbers. One whose records can't be read any more is told by these.
async fn is_of(store: &dyn Store, holder: &Holder) -> bool {
    if store.id() != holder.store {
        return false;
    }
    match store.load(holder.operation).await {
        Ok(all) => match all.first().map(|record| &record.event) {
            Some(Event::Created(pinned)) => pinned.store == holder.key,
            Some(_) | None => false,
        },
        Err(StoreError::NotFound(_)) => false,
        Err(_) => holder.place == place(store) && holder.host == host(),
    }
}

async fn has_ended(store: &dyn Store, id: OperationId) -> Result<bool, StoreError> {
    let all = store.list().await?;
    let found = all.iter().find(|one| one.id == id);
    Ok(found.is_some_and(|one| one.finished.is_some_and(Ending::releases_locks)))
}

/// The state directory, where its path is text.
fn place(store: &dyn Store) -> Option<String> {
    store.place().and_then(|place| place.to_str().map(str::to_owned))
}

fn unkept(failure: &Failure) -> String {
    format!("the environment's locks can't be had: {}", failure.message)
}

impl Behind {
    fn name(&self) -> &LockName {
        match self {
            Behind::Own(busy, _) => &busy.name,
            Behind::World(held, _) => &held.name,
        }
    }

    /// Whether it will let go by itself, as far as is known.
    fn lets_go(&self) -> bool {
        match self {
            Behind::Own(busy, _) => busy.how != BusyHow::StandsStill,
            Behind::World(_, whose) => *whose != Whose::Nobodys,
        }
    }

    /// Who is before, for one who is in this environment.
    fn said(&self, environment: &EnvironmentName) -> String {
        match self {
            Behind::Own(busy, theirs) => {
                let same = match theirs == environment {
                    true => String::new(),
                    false => format!(" (of the environment `{theirs}`, which is the same world)"),
                };
                match busy.how {
                    BusyHow::StandsStill => held_for_good(busy) + &same,
                    _ => said(busy) + &same,
                }
            }
            Behind::World(held, whose) => said_of(held, *whose, environment),
        }
    }
}

fn said_of(held: &WorldLock, whose: Whose, environment: &EnvironmentName) -> String {
    let WorldLock { name, holder } = held;
    let Holder { operation, since, host, .. } = holder;
    let place = holder.place.clone().unwrap_or_else(|| "(unknown)".to_owned());
    let held = format!("lock `{name}` is held by operation {operation}{}", at(*since));
    let unlock = format!(
        "`stepback unlock -e {} {} --reason …` frees it",
        word(environment.as_str()),
        word(name.as_str())
    );
    match whose {
        Whose::Nobodys => format!(
            "{held}, which nobody can resume: the state directory {place} is gone, or has it no \
             more. {unlock}"
        ),
        Whose::Own | Whose::Running => {
            format!("{held} of another state directory, {place} on {host}, where it runs")
        }
        Whose::Others => format!(
            "{held} of another state directory, {place}, where it is unfinished and run by nobody: \
             `stepback --state {} resume {operation}` goes on",
            word(&place)
        ),
        Whose::Unseen => format!(
            "{held} of another state directory, {place} on {host}, which can't be looked into from \
             here; if it is gone for good, {unlock}"
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
