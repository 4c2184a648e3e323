//! Time, as the journal tells it.

use super::entry::{Entry, Takes};
use super::functions;
use crate::interface::Interface;

functions! {
    /// A call about time.
    ClockCall of Interface::Clock {
        Now "clock.now" {},
        Sleep "clock.sleep" { duration_ms: u64 },
    }
}

impl ClockCall {
    /// What is to be known of it.
    pub(super) fn entry(&self) -> Entry<'_> {
        match self {
            ClockCall::Now {} => Entry::read(None),
            ClockCall::Sleep { .. } => Entry::wait(None, Takes::Exactly("duration_ms")),
        }
    }
}
