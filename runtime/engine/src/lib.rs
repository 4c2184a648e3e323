//! The driver: carries an operation out as the core decides it (decide, apply, append, perform).
//!
//! Everything that happens comes in as one [`Message`](message) in one queue; the core's machine
//! turns it into records and commands. Commands start at once; only what changes the world waits
//! until its own record is durable (R1).
//! Guests run in tasks of their own and may be dropped at any await; effects run in tasks that
//! belong to the driver and are never dropped by a guest's end (R9).
//!
//! Deliberately absent: the terminal, and any concrete store or provider. Those are picked by
//! `runtime/cli` and come in as [`Deps`].

mod access;
mod after_committed;
mod asker;
mod attempt;
mod check_port;
mod close;
mod deps;
mod driver;
mod error;
mod expressions;
mod go_on;
mod guard;
mod job;
mod locks;
mod look_at;
mod message;
#[cfg(feature = "mutants")]
mod mutant;
#[cfg(feature = "mutants")]
mod mutants;
mod plans;
mod port;
mod preflight;
mod quota;
mod reaches;
mod recorded;
mod replaced;
mod run;
mod secrets;
mod still;
mod take_up;
mod tasks;
mod undeclared;
mod verify;

pub use after_committed::run;
pub use asker::Asker;
pub use close::{GivenUp, abandon, accept};
pub use deps::{
    Control, Deps, Limits, PluginBytes, PluginSource, Reporter, SecretSource, Unaccepted,
};
pub use error::{Refusal, RunError, WayOut};
pub use go_on::go_on;
pub use job::{Job, Request, validate};
pub use locks::{InTheWay, Whose, held_in_world};
pub use look_at::look_at;
#[cfg(feature = "mutants")]
pub use mutants::Mutant;
pub use plans::Plans;
pub use preflight::{StepCheck, StepCheckAnswer};
pub use reaches::Reaches;
pub use run::{Ended, Preview, plan};
pub use secrets::without_secrets;
pub use still::Still;
pub use take_up::{resume, resume_asked, roll_back};
pub use undeclared::Undeclared;
