//! Locks: all of an operation's at once, waiting in line or not (R13).

use crate::clock::Clock;
use crate::deps::{Deps, Wish};
use crate::error::RunError;
use std::time::Duration;
use stepback_core::event::Pinned;
use stepback_core::{LockName, OperationId};
use stepback_journal::{Ending, Lease, LockAnswer, LogLine};
use tokio::sync::watch;

/// How often a waiting operation asks again.
const RETRY_MS: u64 = 200;

/// Take every lock of the operation.
///
/// Answers why not, when it is not to wait, when the owner will not let go by itself, or when
/// the wait is cancelled.
pub(crate) async fn acquire(
    deps: &Deps,
    lease: &Lease,
    pinned: &Pinned,
    no_wait: bool,
    clock: Clock,
    wishes: &mut watch::Receiver<Wish>,
) -> Result<Option<String>, RunError> {
    let mut told = None;
    loop {
        let (environment, names) = (&pinned.environment, &pinned.locks);
        let answer = deps.store.acquire_locks(lease, environment, names, clock.now()).await?;
        let LockAnswer::Busy { name, owner, since: _ } = answer else { return Ok(None) };
        if stands_still(deps, owner).await? {
            return Ok(Some(held_for_good(&name, owner)));
        }
        if no_wait {
            return Ok(Some(format!("lock `{name}` is held by operation {owner}")));
        }
        if told != Some(owner) {
            told = Some(owner);
            tell(deps, lease, clock, format!("waits for lock `{name}` of operation {owner}")).await;
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(RETRY_MS)) => {}
            _ = wishes.changed() => {
                let wish = wishes.borrow().clone();
                if wish.leave {
                    let why = format!("it waits for lock `{name}` of operation {owner}");
                    return Err(RunError::Left { id: lease.operation, why });
                }
                if let Some((actor, _)) = wish.cancel {
                    return Ok(Some(format!("cancelled by {actor} while it waited for a lock")));
                }
            }
        }
    }
}

/// A line for whoever watches, and for the operation's log.
async fn tell(deps: &Deps, lease: &Lease, clock: Clock, text: String) {
    let line = LogLine { at: clock.now(), step: None, level: "info".to_owned(), text };
    deps.reporter.on_log(lease.operation, &line);
    // A store that can't take a line will say so at the next event.
    let _ = deps.store.append_logs(lease.operation, vec![line]).await;
}

async fn stands_still(deps: &Deps, owner: OperationId) -> Result<bool, RunError> {
    let all = deps.store.list().await?;
    let owner = all.iter().find(|summary| summary.id == owner);
    Ok(owner.is_some_and(|summary| summary.finished == Some(Ending::RollbackFailed)))
}

fn held_for_good(name: &LockName, owner: OperationId) -> String {
    format!(
        "lock `{name}` is held by operation {owner}, whose rollback is incomplete; \
         see `stepback show {owner}` for what is left to do"
    )
}
