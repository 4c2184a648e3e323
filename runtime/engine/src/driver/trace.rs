//! What was decided, for whoever looks from inside (docs/runbook.md, *Look inside*).
//!
//! Everything told here is in the journal too, so no secret's value is in it.

use stepback_core::event::{AttemptResult, Event, Record};
use tracing::{debug, info};

/// Tell a decision: what a person would ask for as *info*, all else by its name.
pub(super) fn decided(record: &Record) {
    let seq = record.seq.0;
    match &record.event {
        Event::RollbackStarted { cause, why } => info!(seq, ?cause, ?why, "rolling back"),
        Event::CancelRequested { actor, reason } => info!(seq, ?actor, ?reason, "cancelled"),
        Event::TakenUp { actor, dead_ms, .. } => info!(seq, ?actor, dead_ms, "taken up"),
        Event::AttemptFinished { of, result: AttemptResult::Failed(failure) } => {
            let (step, class) = (&of.step, failure.class);
            info!(seq, %step, %class, why = ?failure.message, "an attempt failed");
        }
        Event::RetryScheduled { step, .. } => info!(seq, %step, "it is tried again"),
        Event::EffectWaits { id, behind, .. } => {
            let behind: Vec<String> = behind.iter().map(ToString::to_string).collect();
            info!(seq, step = %id.of.step, ?behind, "it waits for others that changed the same");
        }
        Event::UndoEnded { step, result } => info!(seq, %step, ?result, "an undo ended"),
        Event::Verified { verdict, not_restored, .. } => {
            info!(seq, ?verdict, not_restored = not_restored.len(), "the world was read again");
        }
        Event::Finished { status, .. } => info!(seq, ?status, "it ended"),
        Event::DowntimeStarted => info!(seq, "the downtime window opens"),
        Event::DowntimeEnded { downtime_ms } => info!(seq, downtime_ms, "it closes"),
        Event::Committed => info!(seq, "committed: nothing rolls back now"),
        Event::CallStarted { id, call, .. }
        | Event::CallAnswered { id, call, .. }
        | Event::WaitBegun { id, call, .. } => {
            let (event, step) = (record.event.name(), &id.of.step);
            debug!(seq, event, %step, call = call.function());
        }
        Event::CallFinished { id, .. } => {
            debug!(seq, event = record.event.name(), step = %id.of.step);
        }
        other => match other.step() {
            Some(step) => debug!(seq, event = other.name(), %step),
            None => debug!(seq, event = other.name()),
        },
    }
}
