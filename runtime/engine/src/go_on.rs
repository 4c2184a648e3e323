//! Going on from an instant at which nothing was under way.

use crate::deps::{Control, Deps};
use crate::error::RunError;
use crate::job::Job;
use crate::run::{Begin, Ended, carry_through, release};
use crate::still::Still;
use std::sync::Arc;

/// Go on from there to the end.
///
/// The store holds what it held at that instant, this lease among it; the clock goes on from there.
///
/// # Errors
/// Those of [`crate::run()`], but for its refusals.
pub async fn go_on(deps: &Arc<Deps>, still: Still, control: &Control) -> Result<Ended, RunError> {
    let (id, state) = (still.lease.operation, still.machine.state());
    let pinned = state.pinned.clone();
    let pinned = pinned.ok_or_else(|| RunError::Internal("it has no first event".into()))?;
    let job = Arc::new(Job::from_pinned(deps, id, state, &pinned).await?);
    let lease = still.lease.clone();
    let begin = Begin::Still(Box::new(still));
    let ended = carry_through(deps, job, begin, &lease, control).await;
    release(deps, &lease, &pinned, ended).await
}
