//! Tells a running operation on stderr, from the records as they become durable.
//!
//! The reporter folds the records itself and knows nothing else, so that a replay of a finished
//! operation, or a resume, tells the same story (nextest's habit).

use crate::output::{Style, duration, one_line, timestamp};
use serde_json::json;
use std::sync::{Mutex, MutexGuard, PoisonError};
use stepback_core::event::{AttemptResult, Cause, Event, FinalStatus, Record, UndoResult, Verdict};
use stepback_core::state::State;
use stepback_core::{AttemptId, Call, CallId, Direction, OperationId, StepKey};
use stepback_engine::Reporter;
use stepback_journal::LogLine;

/// Lines for people.
pub struct Human {
    style: Style,
    state: Mutex<State>,
    /// What each line begins with.
    prefix: String,
}

/// Write one line to stderr, after the reporter's prefix.
macro_rules! say {
    ($this:expr, $($said:tt)*) => {
        tell!("{}{}", $this.prefix, one_line(&format!($($said)*)))
    };
}

impl Human {
    pub fn new() -> Self {
        Self { style: Style::of_stderr(), state: Mutex::default(), prefix: String::new() }
    }

    /// Lines of one operation among others: each begins with its number.
    pub fn among_others(id: OperationId) -> Self {
        Self { prefix: format!("[{id}] "), ..Self::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, mark: &str, step: &str, text: &str) {
        say!(self, "{mark} {step:<24} {text}");
    }

    fn step(&self, mark: &str, step: &StepKey, text: &str) {
        self.line(mark, &step.to_string(), text);
    }

    fn effect_waits(&self, id: &CallId, call: &Call, behind: &[StepKey]) {
        if behind.is_empty() {
            return;
        }
        let behind: Vec<String> = behind.iter().map(|step| format!("`{step}`")).collect();
        let (function, behind) = (call.function(), behind.join(", "));
        let text = format!("{function} waits for {behind}, which changed the same");
        self.step(&self.style.yellow("~"), &id.of.step, &text);
    }

    fn tell(&self, id: OperationId, record: &Record, state: &State) {
        let style = &self.style;
        match &record.event {
            Event::Created(pinned) => {
                let title = style.bold(&format!("operation {id}"));
                say!(self, "{title}: {} in {}", pinned.manifest_name, pinned.environment);
            }
            // Told as the command's error, with its exit code; or of no interest to a person.
            Event::Refused { .. }
            | Event::StepStarted { .. }
            | Event::CallAnswered { .. }
            | Event::CallFinished { .. }
            | Event::UndoStarted { .. } => {}
            Event::Started => {
                let locks = state.pinned.as_ref().map_or(&[][..], |pinned| &pinned.locks);
                for lock in locks {
                    say!(self, "  {}", style.dim(&format!("holds lock {lock}")));
                }
            }
            Event::TakenUp { actor, dead_ms } => {
                let dead = duration(*dead_ms);
                say!(self, "{} taken up by {actor} after {dead}", style.yellow("!"));
            }
            Event::RollbackResumed { actor } => {
                let what = style.yellow("the rollback is taken up again");
                say!(self, "{what} by {actor}");
            }
            Event::Accepted { actor, reason } => say!(self, "accepted by {actor}: {reason}"),
            Event::Abandoned { actor, reason, .. } => {
                say!(self, "{} given up by {actor}: {reason}", style.red("!"));
            }
            Event::CancelRequested { actor, reason } => {
                let reason = reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                say!(self, "{} cancelled by {actor}{reason}; rolling back", style.yellow("!"));
            }
            Event::StepExpanded { step, instances } => {
                self.line(" ", step.as_str(), &format!("{} instances", instances.len()));
            }
            Event::StepSkipped { step } => self.step(&style.dim("-"), step, "skipped"),
            Event::AttemptStarted { of } => self.attempt_started(of),
            Event::CallStarted { id, call, .. } | Event::WaitBegun { id, call, .. } => {
                let text = style.dim(&format!("{} …", call.function()));
                self.step(" ", &id.of.step, &text);
            }
            Event::EffectWaits { id, call, behind } => self.effect_waits(id, call, behind),
            Event::AttemptFinished { of, result } => self.attempt_finished(of, result, state),
            Event::RetryScheduled { step, not_before } => {
                let wait = duration(not_before.since_ms(record.at));
                self.step(&style.yellow("~"), step, &format!("is tried again in {wait}"));
            }
            Event::DowntimeStarted => say!(self, "{} downtime begins", style.yellow("▼")),
            Event::DowntimeEnded { downtime_ms } => {
                let took = duration(*downtime_ms);
                say!(self, "{} downtime ends after {took}", style.yellow("▲"));
            }
            Event::Committed => {
                say!(self, "{} committed: nothing rolls back now", style.green("●"))
            }
            Event::RollbackStarted { cause, why } => {
                let what = style.red("rolling back");
                say!(self, "{what} ({}): {why}", cause_word(*cause));
            }
            Event::UndoEnded { step, result } => self.undo_ended(step, result),
            Event::Verified { verdict, .. } => {
                say!(self, "verified against the world: {}", verdict_word(*verdict));
            }
            Event::Finished { status, .. } => self.finished(*status, state),
        }
    }

    fn attempt_started(&self, of: &AttemptId) {
        let again =
            if of.attempt.0 > 1 { format!(" (attempt {})", of.attempt.0) } else { "".into() };
        match of.direction {
            Direction::Do => self.step(" ", &of.step, &format!("started{again}")),
            Direction::Undo => self.step(" ", &of.step, &format!("undoing{again}")),
        }
    }

    fn attempt_finished(&self, of: &AttemptId, result: &AttemptResult, state: &State) {
        let step = state.steps.get(&of.step);
        let took = step.and_then(|step| Some(step.finished_at?.since_ms(step.started_at?)));
        let took = took.map(duration).unwrap_or_default();
        match result {
            AttemptResult::Output(_) => {
                self.step(&self.style.green("✓"), &of.step, &format!("done in {took}"));
            }
            AttemptResult::Failed(failure) => {
                let verb = match of.direction {
                    Direction::Do => "failed",
                    Direction::Undo => "its undo failed",
                };
                let code = failure.code.as_ref().map(|code| format!(" [{code}]"));
                let code = code.unwrap_or_default();
                let text = format!("{verb} ({}){code}: {}", failure.class, failure.message);
                self.step(&self.style.red("✗"), &of.step, &text);
            }
            AttemptResult::Undo(_) => {}
        }
    }

    fn undo_ended(&self, step: &StepKey, result: &UndoResult) {
        match result {
            UndoResult::Undone => self.step(&self.style.green("↶"), step, "undone"),
            UndoResult::Kept(why) => {
                self.step(&self.style.green("↶"), step, &format!("kept: {why}"));
            }
            UndoResult::Failed(why) => {
                self.step(&self.style.red("✗"), step, &format!("NOT undone: {why}"));
            }
        }
    }

    fn finished(&self, status: FinalStatus, state: &State) {
        let style = &self.style;
        let took = state.finished_at.map(|at| duration(at.since_ms(state.created_at)));
        let took = took.unwrap_or_default();
        match status {
            FinalStatus::Succeeded => say!(self, "{} in {took}", style.green("succeeded")),
            FinalStatus::RolledBack => say!(self, "{} in {took}", style.yellow("rolled back")),
            FinalStatus::RollbackFailed => {
                say!(self, "{} after {took}", style.red("the rollback is incomplete"));
            }
        }
    }
}

impl Reporter for Human {
    fn on_record(&self, id: OperationId, record: &Record) {
        let mut state = self.state();
        // The engine has applied it already; a record that does not fit is told there.
        let _ = state.apply(record);
        self.tell(id, record, &state);
    }

    fn on_log(&self, _id: OperationId, line: &LogLine) {
        let step = line.step.as_ref().map(ToString::to_string).unwrap_or_default();
        let text = format!("{}: {}", line.level, line.text);
        self.line(" ", &step, &self.style.dim(&text));
    }

    fn on_progress(
        &self,
        _id: OperationId,
        step: &StepKey,
        text: &str,
        done: u64,
        total: Option<u64>,
    ) {
        if self.style.is_terminal() {
            let of = total.map(|total| format!(" of {total}")).unwrap_or_default();
            self.step(" ", step, &self.style.dim(&format!("{text}: {done}{of}")));
        }
    }
}

/// One event a line on stdout, as the journal has it.
pub struct JsonLines;

impl Reporter for JsonLines {
    fn on_record(&self, id: OperationId, record: &Record) {
        let line = json!({
            "operation": id, "seq": record.seq, "at": timestamp(record.at), "record": record.event,
        });
        crate::output::print(&format!("{line}\n"));
    }

    fn on_log(&self, id: OperationId, line: &LogLine) {
        let step = line.step.as_ref().map(ToString::to_string);
        let line = json!({
            "operation": id, "at": timestamp(line.at),
            "log": { "step": step, "level": line.level, "text": line.text },
        });
        crate::output::print(&format!("{line}\n"));
    }

    fn on_progress(&self, _: OperationId, _: &StepKey, _: &str, _: u64, _: Option<u64>) {}
}

pub fn cause_word(cause: Cause) -> &'static str {
    match cause {
        Cause::Failed => "failed",
        Cause::Cancelled => "cancelled",
        Cause::Timeout => "timeout",
        Cause::Budget => "budget",
    }
}

pub fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Restored => "restored",
        Verdict::RestoredExceptDeclared => "restored-except-declared",
        Verdict::Incomplete => "incomplete",
    }
}
