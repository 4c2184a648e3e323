//! Rehearsal: an operation run again and again in a copy of a world, each time with another fault.
//!
//! It is run once through to learn what it does: each question to the provider and each commit of
//! its journal is a place. At every place every fault is tried that can come about there, in a
//! world of its own and on a clock of its own, and what the operation said of itself in the end is
//! held against that world.
//!
//! The plugins, the sandbox, the engine and the journal are the real ones; the world is the
//! simulator's. What real providers do differently a rehearsal can't show.

mod assumed;
mod confirmed;
mod digest;
mod explore;
mod families;
mod goal;
mod house;
mod invariants;
mod judge;
mod kills;
mod learn;
mod matrix;
mod outcome;
mod place;
mod provider;
mod report;
mod script;
mod secrets;
mod service;
mod stage;
mod store;
mod story;
mod summary;
mod timeline;
mod weak;

pub use explore::{Shown, rehearse, show};
pub use house::{Faults, Rehearsal};
pub use learn::Doing;
pub use place::{CaseId, Fault, Kind, Place, Planned};
pub use report::{
    Cell, Downtime, Ended, Ending, Report, Row, WeakKind, WeakPoint, Work, WrongCase,
};
pub use stage::{Behind, BehindStore};
pub use story::line;
pub use timeline::{Stretch, Timeline};

/// Why an operation was not rehearsed.
#[derive(Debug, thiserror::Error)]
pub enum NotRehearsed {
    /// The manifest, its plugins or its inputs have mistakes.
    #[error("{0}")]
    Refused(stepback_engine::Refusal),
    /// It does not come to its end where nothing goes wrong.
    #[error("{0}")]
    NoQuietEnd(String),
    /// A defect of Stepback.
    #[error("{0}")]
    Internal(String),
}
