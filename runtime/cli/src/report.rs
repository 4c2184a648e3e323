//! Tells an operation, from its records: on stderr as they become durable, and on stdout whenever
//! somebody wants to hear it again.
//!
//! The reporter folds the records itself and knows nothing else, so that a replay of a finished
//! operation tells the same story (nextest's habit).

use crate::output::{Style, duration, print, print_json_line, timestamp};
use crate::shown::{Said, Shown, row};
use crate::view::{is_simulated, under_way};
use crate::words::{cause_word, verdict_word};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::event::{AttemptResult, Event, FinalStatus, Record, UndoResult};
use stepback_core::state::{RecordedCall, State, Status, StepState, StepStatus};
use stepback_core::step::EffectOutcome;
use stepback_core::{AttemptId, Call, CallId, Direction, OperationId, StepKey, UnixMs};
use stepback_engine::Reporter;
use stepback_journal::LogLine;

/// How long nothing is said before somebody is told what is waited for: a log that stands still
/// looks like a program that hangs.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How often that is looked at.
const LOOKS_EVERY: Duration = Duration::from_secs(5);

/// Lines for people.
pub struct Human {
    style: Style,
    state: Mutex<State>,
    /// The effects whose answer a runner that died had not written down.
    lost: Mutex<BTreeSet<CallId>>,
    /// What each line begins with.
    prefix: Shown,
    /// On stdout, each line with its time.
    is_told_again: bool,
    /// When what is told happened, in milliseconds of Unix time.
    at_ms: AtomicU64,
    /// The one step that is told of.
    only: Option<String>,
    /// Whether something was said since this was looked at last.
    has_said: AtomicBool,
}

/// Say one line, after the reporter's prefix.
macro_rules! say {
    ($this:expr, $($said:tt)*) => { $this.say(&shown!($($said)*)) };
}

impl Human {
    pub fn new() -> Self {
        Self {
            style: Style::of_stderr(),
            state: Mutex::default(),
            lost: Mutex::default(),
            prefix: Shown::default(),
            is_told_again: false,
            at_ms: AtomicU64::new(0),
            only: None,
            has_said: AtomicBool::new(false),
        }
    }

    /// Tells of an operation while it runs, and what it waits for where nothing happens.
    pub fn live(self) -> Arc<Self> {
        let this = Arc::new(self);
        let (teller, clock) = (Arc::downgrade(&this), Clock::real());
        tokio::spawn(async move {
            let mut said_at = clock.now();
            loop {
                clock.sleep(LOOKS_EVERY).await;
                let Some(teller) = teller.upgrade() else { return };
                if teller.has_said.swap(false, Ordering::Relaxed) {
                    said_at = clock.now();
                } else if clock.now().since(said_at) >= SILENCE_MAX {
                    teller.tell_waits(clock.unix());
                }
            }
        });
        this
    }

    /// The story once more, on stdout, each line with its time; of one step if one is given.
    pub fn again(only: Option<String>) -> Self {
        Self { style: Style::of_stdout(), is_told_again: true, only, ..Self::new() }
    }

    /// Lines of one operation among others: each begins with its number.
    pub fn among_others(id: OperationId) -> Self {
        Self { prefix: shown!("[{}] ", id), ..Self::new() }
    }

    fn lost(&self) -> MutexGuard<'_, BTreeSet<CallId>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has been under way for so long that nobody heard of it for a while.
    fn tell_waits(&self, now: UnixMs) {
        let state = self.state();
        if state.status == Status::Queued && state.pinned.is_some() {
            let since = duration(now.since_ms(state.created_at));
            let help = "`stepback locks` tells who holds what it may wait for";
            say!(
                self,
                "  not begun yet, {} after it was asked for; {}",
                since,
                Shown::advice(help)
            );
        }
        for (key, step) in &state.steps {
            let text = match (&step.open, step.not_before) {
                (Some(open), _) => {
                    // What only looks is not on record before it is answered.
                    let call = under_way(step).map_or("it looks, or computes", Call::function);
                    let since = duration(now.since_ms(open.started_at));
                    shown!("{} … still, {} after its attempt began", call, since)
                }
                (None, Some(at)) if step.status == StepStatus::WaitingRetry => {
                    shown!("is tried again in {}", duration(at.since_ms(now)))
                }
                _ => continue,
            };
            self.step(" ", key, self.style.dim(&text));
        }
    }

    fn say(&self, text: &Shown) {
        self.has_said.store(true, Ordering::Relaxed);
        match self.is_told_again {
            false => tell!("{}{}", self.prefix, text),
            true => {
                let at = timestamp(UnixMs(self.at_ms.load(Ordering::Relaxed)));
                print(&shown!("{} {}\n", self.style.dim(&at), text));
            }
        }
    }

    fn line(&self, mark: impl Into<Shown>, step: &str, text: impl Into<Shown>) {
        say!(self, "{} {:<24} {}", mark.into(), row(step), text.into());
    }

    fn step(&self, mark: impl Into<Shown>, step: &StepKey, text: impl Into<Shown>) {
        self.line(mark, &step.to_string(), text);
    }

    fn effect_waits(&self, id: &CallId, call: &Call, behind: &[StepKey]) {
        if behind.is_empty() {
            return;
        }
        let behind = Shown::join(behind.iter().map(|step| shown!("`{}`", step)), ", ");
        let function = call.function();
        let text = shown!("{} waits for {}, which changed the same", function, behind);
        self.step(self.style.yellow("~"), &id.of.step, text);
    }

    fn tell(&self, id: OperationId, record: &Record, state: &State) {
        let style = &self.style;
        self.at_ms.store(record.at.0, Ordering::Relaxed);
        if !is_wanted(self.only.as_deref(), step_of(&record.event).as_ref()) {
            return;
        }
        match &record.event {
            Event::Created(pinned) => {
                let title = style.bold(&shown!("operation {}", id));
                say!(self, "{}: {} in {}", title, pinned.manifest_name, pinned.environment);
            }
            // While it runs that is the command's error, with its exit code.
            Event::Refused { reasons } if self.is_told_again => {
                for reason in reasons {
                    say!(self, "{}: {}", style.red("refused"), Shown::advice(reason));
                }
            }
            Event::Refused { .. }
            | Event::StepStarted { .. }
            | Event::CallAnswered { .. }
            | Event::UndoStarted { .. } => {}
            Event::CallFinished { id, outcome, .. } => self.lost_is_found(id, outcome, state),
            Event::Started => {
                let locks = state.pinned.as_ref().map_or(&[][..], |pinned| &pinned.locks);
                for lock in locks {
                    say!(self, "  {}", style.dim(&shown!("holds lock {}", lock)));
                }
            }
            Event::TakenUp { .. }
            | Event::RollbackResumed { .. }
            | Event::Accepted { .. }
            | Event::Abandoned { .. }
            | Event::CancelRequested { .. } => self.by_somebody(&record.event),
            Event::StepExpanded { step, instances } => {
                self.line(" ", step.as_str(), shown!("{} instances", instances.len()));
            }
            Event::StepSkipped { step } => self.step(style.dim("-"), step, "skipped"),
            Event::AttemptStarted { of } => self.attempt_started(of),
            Event::CallStarted { id, call, .. } | Event::WaitBegun { id, call, .. } => {
                let text = style.dim(&shown!("{} …", call.function()));
                self.step(" ", &id.of.step, text);
            }
            Event::EffectWaits { id, call, behind } => self.effect_waits(id, call, behind),
            Event::AttemptFinished { of, result } => self.attempt_finished(of, result, state),
            Event::RetryScheduled { step, not_before } => {
                let wait = duration(not_before.since_ms(record.at));
                self.step(style.yellow("~"), step, shown!("is tried again in {}", wait));
            }
            Event::DowntimeStarted => say!(self, "{} downtime window opens", style.yellow("▼")),
            Event::DowntimeEnded { downtime_ms } => {
                let took = duration(*downtime_ms);
                say!(self, "{} downtime window closes after {}", style.yellow("▲"), took);
            }
            Event::Committed => {
                say!(self, "{} committed: nothing rolls back now", style.green("●"))
            }
            Event::RollbackStarted { cause, why } => {
                let what = style.red("rolling back");
                say!(self, "{} ({}): {}", what, cause_word(*cause), why);
            }
            Event::UndoEnded { step, result } => self.undo_ended(step, result),
            Event::Verified { verdict, .. } => {
                say!(self, "verified against the world: {}", verdict_word(*verdict));
            }
            Event::Finished { status, .. } => self.finished(*status, state),
        }
    }

    /// What a person did.
    fn by_somebody(&self, event: &Event) {
        let style = &self.style;
        match event {
            Event::TakenUp { actor, dead_ms, secrets } => {
                let dead = duration(*dead_ms);
                say!(self, "{} taken up by {} after {}", style.yellow("!"), actor, dead);
                for (name, given) in secrets {
                    let from = row(&given.reference);
                    say!(self, "  the secret `{}` is {} from here on", row(name), from);
                }
            }
            Event::RollbackResumed { actor } => {
                let what = style.yellow("the rollback is taken up again");
                say!(self, "{} by {}", what, actor);
            }
            Event::Accepted { actor, reason } => say!(self, "accepted by {}: {}", actor, reason),
            Event::Abandoned { actor, reason, .. } => {
                say!(self, "{} given up by {}: {}", style.red("!"), actor, reason);
            }
            Event::CancelRequested { actor, reason } => {
                let reason = reason.as_ref().map(|why| shown!(": {}", why)).unwrap_or_default();
                say!(self, "{} cancelled by {}{}; rolling back", style.yellow("!"), actor, reason);
            }
            _ => {}
        }
    }

    /// What became of an effect whose answer nobody had written down.
    fn lost_is_found(&self, id: &CallId, outcome: &EffectOutcome, state: &State) {
        if !self.lost().remove(id) {
            return;
        }
        let step = state.steps.get(&id.of.step);
        let effect = step.and_then(|step| step.effects.iter().find(|effect| effect.id == *id));
        let Some(effect) = effect else { return };
        let function = effect.call.function();
        let (mark, text) = match outcome {
            EffectOutcome::Done(_) => (self.style.green("="), Shown::from("it is done, once")),
            EffectOutcome::Refused(_) => (self.style.green("="), Shown::from("it did not happen")),
            EffectOutcome::Unknown(why) => {
                (self.style.yellow("!"), shown!("nobody can say whether it happened: {}", why))
            }
        };
        self.step(
            mark,
            &id.of.step,
            shown!("{} was under way when its runner ended: {}", function, text),
        );
    }

    fn attempt_started(&self, of: &AttemptId) {
        let again =
            if of.attempt.0 > 1 { shown!(" (attempt {})", of.attempt.0) } else { "".into() };
        match of.direction {
            Direction::Do => self.step(" ", &of.step, shown!("started{}", again)),
            Direction::Undo => self.step(" ", &of.step, shown!("undoing{}", again)),
        }
    }

    fn attempt_finished(&self, of: &AttemptId, result: &AttemptResult, state: &State) {
        let step = state.steps.get(&of.step);
        let took = step.and_then(|step| Some(step.finished_at?.since_ms(step.started_at?)));
        let took = took.map(duration).unwrap_or_default();
        match result {
            AttemptResult::Output(_) => {
                self.step(self.style.green("✓"), &of.step, shown!("done in {}", took));
            }
            AttemptResult::Failed(failure) => {
                let verb = match of.direction {
                    Direction::Do => "failed",
                    Direction::Undo => "its undo failed",
                };
                let code = failure.code.as_ref().map(|code| shown!(" [{}]", code));
                let code = code.unwrap_or_default();
                let text = shown!("{} ({}){}: {}", verb, failure.class, code, failure.message);
                self.step(self.style.red("✗"), &of.step, text);
            }
            AttemptResult::Undo(_) => {}
        }
    }

    fn undo_ended(&self, step: &StepKey, result: &UndoResult) {
        match result {
            UndoResult::Undone => self.step(self.style.green("↶"), step, "undone"),
            UndoResult::Kept(why) => {
                self.step(self.style.green("↶"), step, shown!("kept: {}", why));
            }
            UndoResult::Failed(why) => {
                self.step(self.style.red("✗"), step, shown!("NOT undone: {}", why));
            }
        }
    }

    fn finished(&self, status: FinalStatus, state: &State) {
        let style = &self.style;
        let began = state.started_at.unwrap_or(state.created_at);
        let took = state.finished_at.map(|at| duration(at.since_ms(began))).unwrap_or_default();
        // What it waited before is no time of its steps.
        let waited = match began.since_ms(state.created_at) {
            0..1_000 => Shown::default(),
            ms => shown!("; it began {} after it was asked for", duration(ms)),
        };
        match status {
            FinalStatus::Succeeded => {
                say!(self, "{} in {}{}", style.green("succeeded"), took, waited);
            }
            FinalStatus::RolledBack => {
                say!(self, "{}, {} after it began", style.yellow("rolled back"), took);
            }
            FinalStatus::RollbackFailed => {
                let what = style.red("the rollback is incomplete");
                say!(self, "{}, {} after it began", what, took);
            }
        }
    }
}

impl Reporter for Human {
    fn on_past(&self, id: OperationId, records: &[Record]) {
        let mut state = self.state();
        for record in records {
            // As below.
            let _ = state.apply(record);
        }
        let (Some(pinned), Some(last)) = (&state.pinned, records.last()) else { return };
        let title = self.style.bold(&shown!("operation {}", id));
        let (manifest, environment) = (&pinned.manifest_name, &pinned.environment);
        say!(
            self,
            "{}: {} in {}; {} events up to {} (`stepback logs {}`)",
            title,
            manifest,
            environment,
            records.len(),
            timestamp(last.at),
            id
        );
    }

    fn on_record(&self, id: OperationId, record: &Record) {
        let mut state = self.state();
        // The engine has applied it already; a record that does not fit is told there.
        let _ = state.apply(record);
        if matches!(record.event, Event::TakenUp { .. }) {
            *self.lost() = unanswered(&state);
        }
        self.tell(id, record, &state);
    }

    fn on_log(&self, _id: OperationId, line: &LogLine) {
        self.at_ms.store(line.at.0, Ordering::Relaxed);
        if !is_wanted(self.only.as_deref(), line.step.as_ref()) {
            return;
        }
        let step = line.step.as_ref().map(ToString::to_string).unwrap_or_default();
        // What has no step is told by the engine.
        let said = match line.step {
            Some(_) => line.text.said(),
            None => Shown::advice(&line.text),
        };
        let text = shown!("{}: {}", row(&line.level), said);
        self.line(" ", &step, self.style.dim(&text));
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
            let of = total.map(|total| shown!(" of {}", total)).unwrap_or_default();
            self.step(" ", step, self.style.dim(&shown!("{}: {}{}", text, done, of)));
        }
    }
}

/// The effects of open attempts that have no outcome on record.
fn unanswered(state: &State) -> BTreeSet<CallId> {
    let of = |step: &StepState| {
        let calls = step.open.iter().flat_map(|open| &open.calls);
        let open = calls.filter_map(|call| match call {
            RecordedCall::Effect { index, finished: false } => step.effects.get(*index),
            RecordedCall::Effect { finished: true, .. } | RecordedCall::Answered { .. } => None,
        });
        open.map(|effect| effect.id.clone()).collect::<Vec<_>>()
    };
    state.steps.values().flat_map(|step| of(step)).collect()
}

/// One event a line on stdout, as the journal has it.
#[derive(Default)]
pub struct JsonLines {
    /// The one step that is told of.
    only: Option<String>,
    is_simulated: AtomicBool,
}

impl JsonLines {
    pub fn of(only: Option<String>) -> Self {
        Self { only, ..Self::default() }
    }

    /// Whose world it is stands in the first event.
    fn note_world(&self, record: &Record) -> bool {
        if let Event::Created(pinned) = &record.event {
            self.is_simulated.store(is_simulated(&pinned.world), Ordering::Relaxed);
        }
        self.is_simulated.load(Ordering::Relaxed)
    }
}

/// The step that an event is about, if it is about one.
fn step_of(event: &Event) -> Option<StepKey> {
    match event {
        Event::StepExpanded { step, .. } => Some(StepKey { step: step.clone(), key: None }),
        Event::CallAnswered { id, .. }
        | Event::WaitBegun { id, .. }
        | Event::EffectWaits { id, .. }
        | Event::CallStarted { id, .. }
        | Event::CallFinished { id, .. } => Some(id.of.step.clone()),
        other => other.step().cloned(),
    }
}

/// Whether what concerns this step, or none, is told where one step alone is asked for.
fn is_wanted(only: Option<&str>, step: Option<&StepKey>) -> bool {
    only.is_none_or(|only| {
        step.is_some_and(|step| step.to_string() == only || step.step.as_str() == only)
    })
}

impl Reporter for JsonLines {
    /// Whoever follows the events has them already, or asks `stepback logs --json`.
    fn on_past(&self, _: OperationId, records: &[Record]) {
        records.iter().for_each(|record| {
            self.note_world(record);
        });
    }

    fn on_record(&self, id: OperationId, record: &Record) {
        let is_simulated = self.note_world(record);
        if !is_wanted(self.only.as_deref(), step_of(&record.event).as_ref()) {
            return;
        }
        let line = json!({
            "operation": id, "seq": record.seq, "at": timestamp(record.at),
            "simulated": is_simulated, "record": record.event,
        });
        print_json_line(&line);
    }

    fn on_log(&self, id: OperationId, line: &LogLine) {
        if !is_wanted(self.only.as_deref(), line.step.as_ref()) {
            return;
        }
        let step = line.step.as_ref().map(ToString::to_string);
        let line = json!({
            "operation": id, "at": timestamp(line.at),
            "simulated": self.is_simulated.load(Ordering::Relaxed),
            "log": { "step": step, "level": line.level, "text": line.text },
        });
        print_json_line(&line);
    }

    fn on_progress(&self, _: OperationId, _: &StepKey, _: &str, _: u64, _: Option<u64>) {}
}
