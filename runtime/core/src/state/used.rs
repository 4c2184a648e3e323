//! How much of what has an end an operation has used up.

use crate::Direction;
use crate::calls::bounds::{answer_bytes, changes_bytes};
use crate::event::Event;
use crate::step::EffectOutcome;

/// What the calls of all steps come to, replays not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// The effects that steps made going forward, those included that were refused or failed.
    pub effects: u64,
    /// What all calls, their answers and the facts of what they touched take in the journal, about.
    pub bytes: u64,
}

impl Used {
    pub(super) fn note(&mut self, event: &Event) {
        let (effects, bytes) = match event {
            Event::CallAnswered { call, result, .. } => {
                (0, call.bytes() + result.as_ref().map_or(0, answer_bytes))
            }
            Event::CallStarted { id, call, changes, .. } => {
                let is_forward = id.of.direction == Direction::Do;
                (u64::from(is_forward), call.bytes() + changes_bytes(changes))
            }
            Event::CallFinished { outcome: EffectOutcome::Done(answer), changes, .. } => {
                (0, answer_bytes(answer) + changes_bytes(changes))
            }
            Event::CallFinished { changes, .. } => (0, changes_bytes(changes)),
            _ => return,
        };
        self.effects += effects;
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }
}
