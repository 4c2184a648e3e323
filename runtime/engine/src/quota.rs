//! What all steps of one operation together may ask for: so many effects, so much in its journal.
//!
//! Whoever writes a plugin could fill the disk of all operations by it. Only what goes forward is
//! held to it, and only what is new: a replay is answered as it was, and an undo is never kept from
//! taking back what is there.

use std::sync::atomic::{AtomicU64, Ordering};
use stepback_core::calls::bounds::{TOO_LARGE, TOO_MANY};
use stepback_core::state::Used;
use stepback_core::{Call, Failure, FailureClass};

/// How much of it is left.
#[derive(Debug)]
pub(crate) struct Quota {
    effects: AtomicU64,
    effects_max: u64,
    bytes: AtomicU64,
    bytes_max: u64,
}

impl Quota {
    /// Of an operation that has used so much of it.
    pub(crate) fn new(used: Used, effects_max: u64, bytes_max: u64) -> Self {
        let Used { effects, bytes } = used;
        Self { effects: effects.into(), effects_max, bytes: bytes.into(), bytes_max }
    }

    /// Count a call of a step that goes forward.
    ///
    /// # Errors
    /// `invalid-input`, with the number that it would pass.
    pub(crate) fn take(&self, call: &Call) -> Result<(), Failure> {
        let refused = |why: String, code: &str| {
            let why = format!("{}: {why}; do it in several operations", call.function());
            Err(Failure::new(FailureClass::InvalidInput, why).with_code(code))
        };
        let bytes = self.count(call.bytes());
        if bytes > self.bytes_max {
            let most = self.bytes_max;
            return refused(
                format!(
                    "the calls and answers of the operation would take {bytes} bytes in its \
                     journal, and {most} are the most"
                ),
                TOO_LARGE,
            );
        }
        if call.is_effect() && self.effects.fetch_add(1, Ordering::Relaxed) >= self.effects_max {
            let most = self.effects_max;
            return refused(
                format!("the operation has asked for {most} effects, and those are the most"),
                TOO_MANY,
            );
        }
        Ok(())
    }

    /// Count what is written down in any case; tells what it comes to.
    pub(crate) fn count(&self, bytes: usize) -> u64 {
        let bytes = bytes as u64;
        self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes)
    }
}
