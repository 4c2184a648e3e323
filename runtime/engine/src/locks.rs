//! Locks: all of an operation's at once, waiting in line or not (R13).

use crate::deps::{Deps, Wish};
use crate::error::RunError;
use std::time::Duration;
use stepback_core::OperationId;
use stepback_core::event::Pinned;
use stepback_journal::{Busy, BusyHow, Lease, LockAnswer, LogLine, Request as Asked};
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
    wishes: &mut watch::Receiver<Wish>,
) -> Result<Option<String>, RunError> {
    let mut told: Option<(OperationId, BusyHow)> = None;
    loop {
        let (environment, names) = (&pinned.environment, &pinned.locks);
        let (now, wait) = (deps.clock.unix(), !no_wait);
        let answer = deps.store.acquire_locks(lease, environment, names, now, wait).await?;
        let LockAnswer::Busy(busy) = answer else { return Ok(None) };
        if busy.how == BusyHow::StandsStill {
            return Ok(Some(held_for_good(&busy)));
        }
        if no_wait {
            return Ok(Some(said(&busy)));
        }
        if told != Some((busy.by, busy.how)) {
            told = Some((busy.by, busy.how));
            tell(deps, lease, format!("waits in line: {}", said(&busy))).await;
        }
        tokio::select! {
            () = deps.clock.sleep(Duration::from_millis(RETRY_MS)) => {}
            _ = wishes.changed() => {
                let wish = wishes.borrow().clone();
                if wish.leave {
                    let why = format!("it waits in line: {}", said(&busy));
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

fn cancelled(actor: &str, reason: Option<String>) -> String {
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("cancelled by {actor} while it waited for a lock{reason}")
}

fn said(busy: &Busy) -> String {
    let Busy { name, by, since, how } = busy;
    let since = jiff::Timestamp::from_millisecond(since.0 as i64);
    let since = since.map(|at| format!(" since {at:.0}")).unwrap_or_default();
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

/// A line for whoever watches, and for the operation's log.
async fn tell(deps: &Deps, lease: &Lease, text: String) {
    let line = LogLine { at: deps.clock.unix(), step: None, level: "info".to_owned(), text };
    deps.reporter.on_log(lease.operation, &line);
    // A store that can't take a line will say so at the next event.
    let _ = deps.store.append_logs(lease.operation, vec![line]).await;
}

fn held_for_good(busy: &Busy) -> String {
    let by = busy.by;
    format!(
        "{}, whose rollback is incomplete; `stepback show {by}` tells what is left to do, then \
         `stepback rollback {by}` takes it up again",
        said(busy)
    )
}
