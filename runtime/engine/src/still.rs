//! Where an operation stands with nothing under way: all that goes on from there is known.
//!
//! Whoever runs an operation as an experiment can go on from such an instant as often as they like,
//! with the store and the world as they were then, instead of from the beginning. That is no
//! recovery: nobody died, and nothing is written down about it.

use crate::deps::{Control, Deps};
use crate::error::RunError;
use crate::job::Job;
use crate::run::{Begin, Ended, carry_through, release};
use std::sync::Arc;
use stepback_core::event::Record;
use stepback_core::machine::{Command, Machine};
use stepback_core::state::Used;
use stepback_core::*;
use stepback_journal::Lease;

/// An instant at which nothing is under way: no guest runs, no call is out, nothing is being
/// written. What was decided last is neither written nor begun.
#[derive(Clone)]
pub struct Still {
    pub(crate) machine: Machine,
    pub(crate) lease: Lease,
    /// What is to be written next.
    pub(crate) pending: Vec<Record>,
    /// How far the journal goes by then.
    pub(crate) durable: Seq,
    /// What is to be begun next.
    pub(crate) commands: Vec<Command>,
    pub(crate) used: Used,
}

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
