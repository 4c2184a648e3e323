//! The last word of an operation: on stdout, with everything that was not restored.

use crate::error::Exit;
use crate::facts::differences;
use crate::output::{Style, duration, foreign, in_row, print, set_in, timestamp};
use crate::words::verdict_word;
use std::fmt::Write;
use stepback_core::event::{Cause, Verdict};
use stepback_core::manifest;
use stepback_core::state::{Abandoned, State, Status, StepStatus};
use stepback_core::step::EffectOutcome;
use stepback_core::{Facts, OperationId, Resource};
use stepback_engine::Ended;

/// The exit code of an ended operation.
pub fn exit(state: &State) -> Exit {
    match (state.status, state.verdict) {
        (Status::Succeeded, _) => Exit::Succeeded,
        (Status::Refused, _) => Exit::Refused,
        (Status::RolledBack, Some(Verdict::RestoredExceptDeclared)) => Exit::RestoredExceptDeclared,
        (Status::RolledBack, _) => Exit::Restored,
        (Status::RollbackFailed | Status::Abandoned, _) => Exit::Incomplete,
        (Status::Queued | Status::Running | Status::RollingBack, _) => Exit::Unfinished,
    }
}

/// Print the last word; with `json` the last record was it.
pub fn print_ended(ended: &Ended, json: bool) -> Exit {
    if !json {
        print(&summary(ended.id, &ended.state, &Style::of_stdout()));
    }
    exit(&ended.state)
}

/// The last word as text.
pub fn summary(id: OperationId, state: &State, style: &Style) -> String {
    summary_beside(id, state, &[], style)
}

/// The same of one that is given up, beside the world as it was just read.
pub fn summary_beside(
    id: OperationId,
    state: &State,
    world: &[(Resource, Facts)],
    style: &Style,
) -> String {
    let mut text = String::new();
    // Writing to a string can't fail.
    let _ = write_summary(&mut text, id, state, world, style);
    text
}

fn write_summary(
    text: &mut String,
    id: OperationId,
    state: &State,
    world: &[(Resource, Facts)],
    style: &Style,
) -> std::fmt::Result {
    match (state.status, state.verdict) {
        (Status::Succeeded, _) => {
            writeln!(text, "operation {id} {}", style.green("succeeded"))?;
        }
        (Status::Abandoned, _) => {
            let word = style.red(verdict_word(Verdict::Incomplete));
            writeln!(text, "operation {id} is given up: nothing goes on; verdict: {word}")?;
        }
        (_, Some(verdict)) => {
            let word = verdict_word(verdict);
            let word = match verdict {
                Verdict::Restored | Verdict::RestoredExceptDeclared => style.yellow(word),
                Verdict::Incomplete => style.red(word),
            };
            let how = how_it_ended(state.cause, verdict);
            writeln!(text, "operation {id} {how}; verdict: {word}")?;
        }
        (_, None) => writeln!(text, "operation {id} is unfinished")?,
    }
    if let Some(why) = &state.why {
        writeln!(text, "cause: {}", set_in(&foreign(why)))?;
    }
    write_downtime(text, state)?;
    if let Some((actor, reason)) = &state.accepted {
        let (actor, reason) = (in_row(actor), in_row(reason));
        writeln!(text, "accepted as it is by {actor}: {reason}; its locks are released")?;
    }
    if let Some(abandoned) = &state.abandoned {
        write_abandoned(text, state, abandoned, world)?;
    }
    for (name, value) in &state.outputs {
        match state.unknown_outputs.get(name) {
            None => writeln!(text, "{name} = {value}")?,
            Some(why) => writeln!(text, "{name} is not known: {}", set_in(why))?,
        }
    }
    for lost in &state.not_restored {
        let declared = if lost.declared { " (declared irreversible)" } else { "" };
        writeln!(text, "not restored: {}{declared}", in_row(&lost.resource.to_string()))?;
        write_difference(text, &lost.before, lost.now.as_ref())?;
        writeln!(text, "  why:  {}", set_in(&lost.why))?;
        writeln!(text, "  do:   {}", set_in(&lost.hint))?;
    }
    for kept in &state.kept {
        writeln!(text, "kept: what step `{}` did ({})", kept.step, set_in(&kept.reason))?;
    }
    for (key, step) in &state.steps {
        if step.status == StepStatus::Leftover {
            let error = step.error.as_ref().map(|error| error.message.as_str());
            let error = error.unwrap_or("it was given up before its end");
            writeln!(text, "left over: {key}: {}", set_in(error))?;
        }
    }
    if state.status == Status::RollbackFailed && state.accepted.is_none() {
        writeln!(
            text,
            "next: mend what is listed above, then `stepback rollback {id}`; or take it as it is: \
             `stepback rollback {id} --accept 'why'`"
        )?;
    }
    Ok(())
}

fn write_downtime(text: &mut String, state: &State) -> std::fmt::Result {
    match (state.downtime.total_ms(), state.downtime.since) {
        (Some(downtime_ms), _) => {
            let took = duration(downtime_ms);
            match budget_ms(state).filter(|budget_ms| downtime_ms > *budget_ms) {
                Some(budget_ms) => {
                    writeln!(text, "downtime: {took}, over its budget of {}", duration(budget_ms))?;
                }
                None => writeln!(text, "downtime: {took}")?,
            }
        }
        (None, Some(at)) => {
            let is_left = state.accepted.is_some() || state.status == Status::Abandoned;
            let end = if is_left { "nobody has seen its end" } else { "and not over" };
            writeln!(text, "downtime: since {}, {end}", timestamp(at))?;
        }
        (None, None) => {}
    }
    Ok(())
}

/// How long its downtime may be by its manifest.
fn budget_ms(state: &State) -> Option<u64> {
    let pinned = state.pinned.as_ref()?;
    let manifest = manifest::parse_pinned(&pinned.manifest_name, &pinned.manifest).ok()?;
    manifest.downtime.budget_ms
}

/// What happened to it, so that nobody takes a rollback for one that failed.
fn how_it_ended(cause: Option<Cause>, verdict: Verdict) -> String {
    let why = match cause {
        Some(Cause::Failed) | None => "failed",
        Some(Cause::Cancelled) => "was cancelled",
        Some(Cause::Timeout) => "took longer than it may",
        Some(Cause::Budget) => "was down for longer than it may",
    };
    match verdict {
        Verdict::Restored | Verdict::RestoredExceptDeclared => {
            format!("{why}, and was rolled back")
        }
        Verdict::Incomplete => format!("{why}, and not all of it could be rolled back"),
    }
}

/// Fact by fact.
fn write_difference(text: &mut String, before: &Facts, now: Option<&Facts>) -> std::fmt::Result {
    for line in differences(before, now) {
        writeln!(text, "  {}", set_in(&line))?;
    }
    Ok(())
}

/// What a person is left with: nothing was put back, so all that was touched is to be looked at.
fn write_abandoned(
    text: &mut String,
    state: &State,
    abandoned: &Abandoned,
    world: &[(Resource, Facts)],
) -> std::fmt::Result {
    let (actor, reason) = (in_row(&abandoned.actor), in_row(&abandoned.reason));
    writeln!(text, "given up by {actor}: {reason}; its locks are released")?;
    for (key, step) in &state.steps {
        let undone = matches!(step.status, StepStatus::Undone | StepStatus::Kept);
        for (_, effect) in step.to_undo().filter(|_| !undone) {
            if matches!(effect.outcome, EffectOutcome::Done(_)) {
                let on = effect.changes.iter().map(|change| &change.resource);
                let (function, on) = (effect.call.function(), joined(on));
                writeln!(text, "happened, and was not taken back: {function} of {key}, on {on}")?;
            }
        }
    }
    for effect in &abandoned.unknown {
        let (function, step) = (&effect.function, &effect.id.of.step);
        let on = joined(&effect.resources);
        writeln!(text, "may have happened: {function} of {step}, on {on}")?;
    }
    for (resource, before) in state.baselines.iter() {
        writeln!(text, "look at: {resource}")?;
        match world.iter().find(|(seen, _)| seen == resource) {
            None => write_difference(text, before, None)?,
            Some((_, now)) if before.differing(now).is_empty() => {
                writeln!(text, "  it is as it was")?;
            }
            Some((_, now)) => write_difference(text, before, Some(now))?,
        }
    }
    Ok(())
}

fn joined<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> String {
    let all: Vec<String> = resources.into_iter().map(ToString::to_string).collect();
    all.join(", ")
}
