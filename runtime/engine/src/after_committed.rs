//! Running a manifest as a new operation, after what is all but over.

use crate::deps::{Control, Deps};
use crate::error::{Refusal, RunError};
use crate::job::Request;
use crate::run::{Ended, begin, prepared};
use crate::{locks, take_up};
use std::sync::Arc;
use stepback_core::event::Pinned;
use stepback_core::state::State;

/// Run a manifest as a new operation to its end.
///
/// # Errors
/// [`RunError::Refused`] if nothing was changed; [`RunError::Left`] if it is to be resumed.
pub async fn run(
    deps: &Arc<Deps>,
    request: &Request,
    control: &Control,
) -> Result<Ended, RunError> {
    let prepared = prepared(deps, request, control).await?;
    if !request.no_wait {
        finish_committed(deps, &prepared.1, control).await?;
    }
    // Nobody waits for what may never come.
    let Pinned { environment, locks, .. } = &*prepared.1;
    let left = locks::in_the_way(deps, environment, locks).await?;
    if let Some(one) = left.into_iter().find(|one| one.is_left) {
        return Err(Refusal::Reasons { id: None, reasons: vec![one.said] }.into());
    }
    begin(deps, prepared, request.no_wait, control).await
}

/// Finish what is committed and has one of the locks, where nobody runs it: its cleanup is all that
/// is left, and what comes after it would wait for that. What is not committed is somebody's to
/// decide.
async fn finish_committed(
    deps: &Arc<Deps>,
    pinned: &Pinned,
    control: &Control,
) -> Result<(), RunError> {
    for one in deps.store.list().await? {
        if one.finished.is_some() || one.is_run || one.environment != pinned.environment {
            continue;
        }
        // What can't be read here, such as a newer version's, is told of where it has the lock.
        let Ok(records) = deps.store.load(one.id).await else { continue };
        let Ok(state) = State::fold(&records) else { continue };
        let is_in_the_way = state.pinned.as_ref().is_some_and(|theirs| {
            let shares = theirs.locks.iter().any(|lock| pinned.locks.contains(lock));
            shares && theirs.environment == pinned.environment
        });
        if state.committed && is_in_the_way {
            let line = "it is committed, and nobody runs it: it is finished before what comes next";
            locks::tell(deps, one.id, "info", line.to_owned()).await;
            // What keeps it from that keeps its locks, too, and is told where these are asked for.
            let _ = Box::pin(take_up::resume(deps, one.id, control)).await;
        }
    }
    Ok(())
}
