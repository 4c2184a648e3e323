//! Where an operation stands with nothing under way: all that goes on from there is known.
//!
//! Whoever runs an operation as an experiment can go on from such an instant as often as they like,
//! with the store and the world as they were then, instead of from the beginning. That is no
//! recovery: nobody died, and nothing is written down about it.

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
