//! What all steps of one operation together may ask for: so many effects, so much in its journal.
//!
//! Whoever writes a plugin could fill the disk of all operations by it. Only what goes forward is
//! held to it, and only what is new: a replay is answered as it was, and an undo is never kept from
//! taking back what is there.

use serde_json::Value;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use stepback_core::calls::bounds::{TOO_LARGE, TOO_MANY, answer_bytes, changes_bytes};
use stepback_core::event::Event;
use stepback_core::state::Used;
use stepback_core::step::{Change, EffectOutcome, PastEffect};
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

    /// How much of it is used up.
    pub(crate) fn used(&self) -> Used {
        let (effects, bytes) = (&self.effects, &self.bytes);
        Used { effects: effects.load(Ordering::Relaxed), bytes: bytes.load(Ordering::Relaxed) }
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
                    "the calls of the operation, with their answers and what they touched, would \
                     take {bytes} bytes in its journal, and {most} are the most"
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

    /// Count the facts that an event keeps of what an effect touched; its call and its answer are
    /// counted where they are asked for.
    pub(crate) fn count_facts(&self, event: &Event) {
        if let Event::CallStarted { changes, .. } | Event::CallFinished { changes, .. } = event {
            self.count(changes_bytes(changes));
        }
    }
}

/// What the undo of one step will be told of its effects. All of it goes into one guest, and an
/// undo that no guest has room for is none: so a step may do no more than that going forward.
#[derive(Debug)]
pub(crate) struct ToBeTold {
    bytes: AtomicUsize,
    bytes_max: usize,
}

impl ToBeTold {
    /// Of a step that has had these effects.
    pub(crate) fn new(effects: &[PastEffect], bytes_max: usize) -> Self {
        let bytes = effects.iter().map(|effect| {
            let answer = match &effect.outcome {
                EffectOutcome::Done(answer) => answer_bytes(answer),
                EffectOutcome::Refused(_) | EffectOutcome::Unknown(_) => 0,
            };
            effect.call.bytes() + answer + changes_bytes(&effect.changes)
        });
        Self { bytes: bytes.sum::<usize>().into(), bytes_max }
    }

    /// Count an effect that is about to be made; what it touches is told as it was and as it is.
    ///
    /// # Errors
    /// `invalid-input`, with the number that it would pass.
    pub(crate) fn take(&self, call: &Call, changes: &[Change]) -> Result<(), Failure> {
        let bytes = call.bytes() + 2 * changes_bytes(changes);
        match self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) {
            all if all > self.bytes_max => {
                let (function, most) = (call.function(), self.bytes_max);
                let why = format!(
                    "{function}: an undo of the step would have to be told {all} bytes of what it \
                     did, and {most} are the most; do it in several steps"
                );
                Err(Failure::new(FailureClass::InvalidInput, why).with_code(TOO_LARGE))
            }
            _ => Ok(()),
        }
    }

    /// Count what it was answered.
    pub(crate) fn answered(&self, answer: &Value) {
        self.bytes.fetch_add(answer_bytes(answer), Ordering::Relaxed);
    }

    /// Count what it touched as it is now, where that is more than it was: what is made like
    /// something else has what neither the call nor its answer shows.
    pub(crate) fn finished(&self, before: &[Change], now: &[Change]) {
        let more = changes_bytes(now).saturating_sub(2 * changes_bytes(before));
        self.bytes.fetch_add(more, Ordering::Relaxed);
    }
}
