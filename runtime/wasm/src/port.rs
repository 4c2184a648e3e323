//! The door of the sandbox: everything a guest asks of the world comes out here.
//!
//! During an attempt whoever implements [`HostPort`] journals; during a check nothing is journaled.
//! By the time a call arrives, its interface is granted and its class fits the mode the guest runs
//! in.

use serde_json::Value;
use stepback_core::{Call, Failure};

/// What a guest's calls are answered by, for one attempt.
#[async_trait::async_trait]
pub trait HostPort: Send + Sync {
    /// One host call. The answer is the WIT record as JSON with `snake_case` names, pairs as a
    /// map, `null` for none and for unit.
    ///
    /// The future is dropped when the guest is stopped, so an effect must not live in it (R9).
    async fn call(&self, call: Call) -> Result<Value, Failure>;

    /// Whether this call would be let be made; asked in a check of an effect, of a wait, and of
    /// whatever names what is not known yet ([`stepback_core::calls::NOT_KNOWN_YET`]). Nothing is
    /// made.
    ///
    /// # Errors
    /// What speaks against it.
    async fn may(&self, call: Call) -> Result<(), Failure>;

    /// Takes back the past effect of this id; asked for in an undo only.
    async fn reverse(&self, effect_id: &str) -> Result<Reversed, Failure>;

    /// One line of the guest's log, already bounded.
    fn log(&self, level: LogLevel, text: String);

    /// How far something long is: `done` of `total`, in the unit that `text` names.
    fn progress(&self, text: String, done: u64, total: Option<u64>);

    /// What WASI's clocks show, in milliseconds since the Unix epoch: the journaled time of the
    /// attempt's last read or wait, so that a replay sees the same (R4).
    fn journaled_ms(&self) -> u64 {
        0
    }
}

/// What became of reversing an effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reversed {
    /// The calls that take it back were made.
    Reversed,
    /// The world already is as it was before the effect, or the effect never happened.
    NothingToDo,
    /// Something stays, and why that is harmless.
    Kept(String),
    /// It has no inverse, or somebody else changed the resource since.
    Cannot(String),
}

/// How much a line of a guest's log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Detail; it is shown like every other line.
    Debug,
    /// What is worth knowing, and what a guest prints to standard output.
    Info,
    /// What is not as it should be, and what a guest prints to standard error.
    Warn,
    /// What ends the step, such as a panic.
    Error,
}
