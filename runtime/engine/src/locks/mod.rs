//! Locks: all of an operation's at once, waiting in line or not (R13).
//!
//! A store arbitrates among its own operations; a world that can hold locks among those of every
//! store. Whose a lock is tells [`whose`]; in which words, [`said`].

mod said;
mod whose;

pub use whose::{Whose, held_in_world};
pub(crate) use whose::{is_here, runs_elsewhere, stands_elsewhere, unkept};

use crate::deps::{Deps, Wish};
use crate::error::RunError;
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::event::Pinned;
use stepback_core::shown::in_sentence;
use stepback_core::{
    Actor, EnvironmentName, Failure, FailureClass, LockName, OperationId, Seq, StoreId, UnixMs,
};
use stepback_journal::{
    Busy, BusyHow, Ending, Lease, LockAnswer, LogLine, Request, Store, StoreError,
};
use stepback_provider::Provider;
use stepback_provider::locks::{Holder, Journaled, WorldLock, WorldLocks, host, mounts, of_one};
use tokio::sync::watch;
use whose::{OwnerProbe, needs_no_locks, place, runners_here, whose};

/// The world may be on a disk that hangs; what is decided by then is not to hang with it.
const NOTE_MAX: Duration = Duration::from_secs(2);
/// How often a waiting operation asks again.
const RETRY_MS: u64 = 200;

/// Who has a lock, or comes first in line for it.
enum Behind {
    /// Another operation of this store, in the environment with this name.
    Own(Busy, EnvironmentName),
    /// An operation of another store, which holds it in the world.
    World(Box<WorldLock>, Whose),
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
    let (mut told, mut looks) = (None, OwnerProbe::new());
    loop {
        let behind = match take(deps, lease, pinned, no_wait, &mut looks).await? {
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
        if let Some(Request::Cancel { actor, reason }) =
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
    looks: &mut OwnerProbe,
) -> Result<Result<Option<Behind>, Failure>, RunError> {
    let (store, names) = (&*deps.store, &pinned.locks);
    let (now, environment) = (deps.clock.unix(), &pinned.environment);
    // Who wants none stands in no line.
    if !names.is_empty()
        && let LockAnswer::Busy(busy) =
            store.acquire_locks(lease, environment, names, now, !no_wait).await?
    {
        return Ok(Ok(Some(Behind::Own(busy, environment.clone()))));
    }
    take_in_world(deps, lease, pinned, looks).await
}

/// Take those of the world alone, for an operation that has those of its store.
async fn take_in_world(
    deps: &Deps,
    lease: &Lease,
    pinned: &Pinned,
    looks: &mut OwnerProbe,
) -> Result<Result<Option<Behind>, Failure>, RunError> {
    let (store, names) = (&*deps.store, &pinned.locks);
    let Some(world) = deps.provider.locks() else { return Ok(Ok(None)) };
    let holder = Holder {
        key: pinned.store.clone(),
        store: store.id(),
        operation: lease.operation,
        environment: pinned.environment.clone(),
        place: place(store),
        host: host(),
        mounts: mounts(),
        actor: deps.actor.clone(),
        runner: Some(deps.runner.0.clone()),
        epoch: lease.epoch,
        since: deps.clock.unix(),
    };
    let mut nobodys: Option<WorldLock> = None;
    loop {
        let ours = match runners_here(store, world, &holder).await {
            Ok(ours) => ours,
            // As below: whether it is one's own is asked when it is taken.
            Err(_) if names.is_empty() => vec![],
            Err(failure) => return Ok(Err(failure)),
        };
        // A copy has the locks' own name: what it took, the one that went on would have lost.
        let lacks = must_lack_nothing(store, world, lease.operation, pinned).await?;
        if let Err(failure) = lacks {
            return Ok(Err(failure));
        }
        let held = match world.take(names, &holder, &ours).await {
            // Whoever had them until now may have gone on with this very operation. What it has
            // not ended they are kept for, whoever took them last.
            Ok(None) => {
                let lacks = must_lack_nothing(store, world, lease.operation, pinned).await?;
                return Ok(lacks.map(|()| None));
            }
            Ok(Some(held)) => held,
            // It needs none: that a copy of it would not be told is no reason to stop, such as on a
            // disk that is full.
            Err(failure) if names.is_empty() => {
                let text = format!(
                    "that this program runs the operation can't be kept: {}; a copy of the state \
                     directory would not be told",
                    in_sentence(&failure.message)
                );
                tell(deps, lease.operation, "warn", text).await;
                return Ok(Ok(None));
            }
            Err(failure) => return Ok(Err(failure)),
        };
        match whose(Some(store), world, &held, looks.again()).await? {
            // It may have ended, and let go, between the two looks.
            Ok(Some(Whose::Nobodys)) if nobodys.as_ref() != Some(&held) => nobodys = Some(held),
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
///
/// # Errors
/// [`RunError::WentOn`] if what the operation did last is not in this journal.
pub(crate) async fn retake(
    deps: &Deps,
    lease: &Lease,
    pinned: &Pinned,
) -> Result<Option<String>, RunError> {
    Ok(match take_in_world(deps, lease, pinned, &mut OwnerProbe::new()).await? {
        Ok(None) => None,
        Ok(Some(behind)) => {
            Some(format!("its locks were freed meanwhile: {}", behind.said(&pinned.environment)))
        }
        Err(failure) if is_of_a_copy(&failure) => {
            return Err(RunError::WentOn { id: lease.operation, why: failure.message });
        }
        Err(failure) => Some(unkept(&failure)),
    })
}

/// Let the world know how far the journal is: one that has less by and by is an older copy.
pub(crate) async fn tell_how_far(
    store: &dyn Store,
    provider: &dyn Provider,
    clock: &Clock,
    key: &StoreId,
    id: OperationId,
    last_seq: Seq,
) {
    let Some(world) = provider.locks() else { return };
    let journaled = Journaled { last_seq, place: place(store), has_ended: false };
    let key = of_one(key, id);
    // Without it only a copy is not known; a world that can't be written refuses the effect.
    match clock.timeout(NOTE_MAX, world.note(&key, &journaled)).await {
        Ok(Ok(())) => {}
        Ok(Err(failure)) => {
            tracing::warn!(why = ?failure.message, "how far the journal is can't be noted");
        }
        Err(_) => tracing::warn!("how far the journal is was not noted in {NOTE_MAX:?}"),
    }
}

/// The code of what a journal that lacks something is refused with.
const WENT_ON: &str = "went-on";

fn is_of_a_copy(failure: &Failure) -> bool {
    failure.code.as_deref() == Some(WENT_ON)
}

/// Whether the world knows of nothing that the operation did and this journal lacks: it would be
/// a copy, or from a backup. The inner error says that, or that the world can't be asked.
async fn must_lack_nothing(
    store: &dyn Store,
    world: &dyn WorldLocks,
    id: OperationId,
    pinned: &Pinned,
) -> Result<Result<(), Failure>, StoreError> {
    let noted = match world.noted(&of_one(&pinned.store, id)).await {
        Ok(Some(noted)) => noted,
        Ok(None) => return Ok(Ok(())),
        Err(failure) => return Ok(Err(failure)),
    };
    let last_seq = store.summary(id).await?.ok_or(StoreError::NotFound(id))?.last_seq;
    if noted.last_seq <= last_seq {
        return Ok(Ok(()));
    }
    let message = match noted.place {
        Some(there) if Some(&there) != place(store).as_ref() && noted.has_ended => format!(
            "operation {id} has ended in another state directory, {}, which this one is a copy of: \
             how is in no journal here",
            in_sentence(&there)
        ),
        Some(there) if Some(&there) != place(store).as_ref() => format!(
            "operation {id} went on from another state directory, {}, which this one is a \
             copy of: what it did there is in no journal here",
            in_sentence(&there)
        ),
        Some(_) | None => format!(
            "operation {id} went on after the journal here was written: this is an older copy, \
             and lacks what the operation did since"
        ),
    };
    Ok(Err(Failure::new(FailureClass::Precondition, message).with_code(WENT_ON)))
}

/// Whether this journal has all that the operation did, as far as the world knows.
///
/// # Errors
/// [`RunError::WentOn`] if it lacks something; [`RunError::Left`] if that can't be told.
pub(crate) async fn must_have_it_all(
    store: &dyn Store,
    provider: &dyn Provider,
    id: OperationId,
    pinned: &Pinned,
) -> Result<(), RunError> {
    let Some(world) = provider.locks() else { return Ok(()) };
    must_lack_nothing(store, world, id, pinned).await?.map_err(|failure| {
        match is_of_a_copy(&failure) {
            true => RunError::WentOn { id, why: failure.message },
            false => RunError::Left { id, why: failure.message },
        }
    })
}

/// A lock that a new operation would not get at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InTheWay {
    /// One that the manifest asks for, such as `database/main`.
    pub name: LockName,
    /// Who has it, and what to do.
    pub said: String,
    /// Whether it would wait for it; otherwise it would be refused.
    pub lets_go: bool,
    /// Whether it is of one that is unfinished, and that nobody runs.
    pub is_left: bool,
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
        for (held, whose) in held_in_world(Some(store), world, None).await? {
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
        is_left: behind.is_left(),
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
    let how = match store.summary(by).await? {
        Some(one) if one.finished == Some(Ending::RollbackFailed) => BusyHow::StandsStill,
        // It has ended, and is about to let go.
        Some(one) if one.is_run || one.finished.is_some() => BusyHow::Holds,
        Some(_) | None => BusyHow::LeftUnfinished,
    };
    Ok(Busy { name, by, since, how })
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
    let Some(world) = provider.locks() else { return Ok(()) };
    // One that has not ended keeps them; of a store that can't be asked whoever opens it next looks
    // again.
    let Ok(Some(found)) = store.summary(id).await else { return Ok(()) };
    if !needs_no_locks(&found) {
        return Ok(());
    }
    // Of an older copy it is not the end: whoever has the newest journal may need them still.
    let noted = world.noted(&of_one(&pinned.store, id)).await.ok().flatten();
    if noted.is_some_and(|noted| noted.last_seq > found.last_seq && !noted.has_ended) {
        return Ok(());
    }
    let journaled = Journaled { last_seq: found.last_seq, place: place(store), has_ended: true };
    // Whatever is kept of its end, nobody waits for it any more.
    if let Err(failure) = world.note(&of_one(&pinned.store, id), &journaled).await {
        tracing::warn!(why = ?failure.message, "how the operation ended can't be noted");
    }
    world.let_go(&pinned.store, id).await
}

fn cancelled(actor: &Actor, reason: Option<String>) -> String {
    let reason = reason.map(|reason| format!(": {}", in_sentence(&reason))).unwrap_or_default();
    format!("cancelled by {} while it waited for a lock{reason}", in_sentence(&actor.name))
}

/// A line for whoever watches, and for the operation's log.
/// Say something about an operation, in its log too.
pub(crate) async fn tell(deps: &Deps, id: OperationId, level: &str, text: String) {
    let line = LogLine { at: deps.clock.unix(), step: None, level: level.to_owned(), text };
    deps.reporter.on_log(id, &line);
    // A store that can't take a line will say so at the next event.
    let _ = deps.store.append_logs(id, vec![line]).await;
}

/// That locks are still held in the world, though the operation has ended.
pub(crate) async fn tell_kept(deps: &Deps, id: OperationId, pinned: &Pinned, failure: &Failure) {
    let text = format!(
        "its locks in the environment could not be let go: {}; `stepback locks -e {}` does it",
        in_sentence(&failure.message),
        in_sentence(pinned.environment.as_str())
    );
    tell(deps, id, "warn", text).await;
}
