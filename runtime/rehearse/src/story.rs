//! A journal as a story: one line an event.

use stepback_core::event::{AttemptResult, Event, Record, UndoResult};
use stepback_core::step::{EffectOutcome, UndoAnswer};
use stepback_core::{AttemptId, Direction};

/// The event in one line.
pub fn line(record: &Record) -> String {
    let told = match &record.event {
        Event::Refused { reasons } => reasons.join("; "),
        Event::CancelRequested { actor, .. } => format!("by {actor}"),
        Event::AttemptStarted { of } => attempt(of),
        Event::CallAnswered { id, call, result } => {
            let told = match result {
                Ok(_) => "answered".to_owned(),
                Err(failure) => failure.message.clone(),
            };
            format!("{} {}: {told}", attempt(&id.of), call.function())
        }
        Event::WaitBegun { id, call, .. } => format!("{} {}", attempt(&id.of), call.function()),
        Event::CallStarted { id, call, changes, .. } => {
            let on: Vec<String> =
                changes.iter().take(1).map(|change| change.resource.to_string()).collect();
            format!("{} {} {}", attempt(&id.of), call.function(), on.join(", "))
        }
        Event::CallFinished { id, outcome, .. } => {
            let told = match outcome {
                EffectOutcome::Done(_) => "done".to_owned(),
                EffectOutcome::Refused(failure) => format!("refused: {}", failure.message),
                EffectOutcome::Unknown(why) => format!("unknown: {why}"),
            };
            format!("{}: {told}", attempt(&id.of))
        }
        Event::AttemptFinished { of, result } => {
            let told = match result {
                AttemptResult::Output(_) => "done".to_owned(),
                AttemptResult::Undo(UndoAnswer::Undone) => "undone".to_owned(),
                AttemptResult::Undo(UndoAnswer::NothingToUndo) => "nothing to undo".to_owned(),
                AttemptResult::Undo(UndoAnswer::Kept(why)) => format!("kept: {why}"),
                AttemptResult::Undo(UndoAnswer::CannotUndo(why)) => format!("can't be: {why}"),
                AttemptResult::Failed(failure) => format!("failed: {}", failure.message),
            };
            format!("{}: {told}", attempt(of))
        }
        Event::UndoEnded { step, result } => {
            let told = match result {
                UndoResult::Undone => "undone".to_owned(),
                UndoResult::Kept(why) => format!("kept: {why}"),
                UndoResult::Failed(why) => format!("failed: {why}"),
            };
            format!("{step}: {told}")
        }
        Event::RollbackStarted { why, .. } => why.clone(),
        Event::Verified { not_restored, .. } => {
            let names = not_restored.iter().map(|one| one.resource.to_string());
            names.collect::<Vec<_>>().join(", ")
        }
        other => other.step().map(ToString::to_string).unwrap_or_default(),
    };
    format!("{:>4} {:<17} {told}", record.seq.0, record.event.name()).trim_end().to_owned()
}

fn attempt(of: &AttemptId) -> String {
    let direction = match of.direction {
        Direction::Do => "",
        Direction::Undo => "undo of ",
    };
    match of.attempt.0 {
        1 => format!("{direction}{}", of.step),
        n => format!("{direction}{} (attempt {n})", of.step),
    }
}
