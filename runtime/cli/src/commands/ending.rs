//! The last word of an operation: on stdout, with everything that was not restored.

use crate::error::{CliError, Exit};
use crate::facts::differences;
use crate::output::{Style, duration, print, timestamp};
use crate::shown::{Shown, row};
use crate::words::verdict_word;
use stepback_core::event::{Cause, NotRestored, Record, Verdict};
use stepback_core::manifest;
use stepback_core::state::{Abandoned, State, Status, StepStatus};
use stepback_core::step::EffectOutcome;
use stepback_core::{Facts, OperationId, Resource};
use stepback_engine::{Control, Ended, RunError};
use stepback_journal::{Store, StoreError};

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

/// Say that a cancel that was asked for here came to nothing.
pub fn tell_late_cancel(control: &Control, state: &State) {
    if control.is_cancelled() && state.committed {
        tell!("the cancel came too late: past the commit point nothing rolls back");
    }
}

/// Print the last word; with `json` the last record was it.
pub fn print_ended(ended: &Ended, json: bool) -> Exit {
    if !json {
        print(&summary(ended.id, &ended.state, &Style::of_stdout()));
    }
    exit(&ended.state)
}

/// The last word of what did not come to its end here, with how it stands: nobody goes to sleep
/// over a database that is down.
pub async fn left(store: &dyn Store, control: &Control, error: RunError) -> CliError {
    standing(store, control, error.into()).await
}

/// The same of what is told in other words.
pub async fn standing(store: &dyn Store, control: &Control, mut error: CliError) -> CliError {
    let (id, stands, tells_ways) = match &mut error {
        // Whoever took it over goes on with it, and knows how it stands.
        CliError::LeftByStore { error: StoreError::StaleEpoch { .. }, .. } => return error,
        CliError::Left { id, stands, .. } | CliError::LeftByStore { id, stands, .. } => {
            (*id, stands, true)
        }
        // These tell themselves what can be done.
        CliError::CancelKept { id, stands, .. } | CliError::NotForward { id, stands, .. } => {
            (*id, stands, false)
        }
        _ => return error,
    };
    let folded = |all: Vec<Record>| State::fold(&all).map_err(|error| error.to_string());
    let state = store.load(id).await.map_err(|error| error.to_string()).and_then(folded);
    let cancel = match (tells_ways, control.is_cancelled()) {
        (false, _) => None,
        (true, false) => Some(Cancel::NotAsked),
        (true, true) => Some(cancel_of(store, id).await),
    };
    *stands = how_it_stands(id, state, cancel);
    error
}

/// What became of a cancel that was asked for here.
enum Cancel {
    NotAsked,
    Kept,
    Lost,
    /// Why that can't be told.
    Unknown(String),
}

async fn cancel_of(store: &dyn Store, id: OperationId) -> Cancel {
    match store.list().await {
        Ok(all) if all.iter().any(|one| one.id == id && one.cancel.is_some()) => Cancel::Kept,
        Ok(_) => Cancel::Lost,
        Err(error) => Cancel::Unknown(error.to_string()),
    }
}

/// Whether anything is down, and, where `cancel` is told, how it is taken back.
fn how_it_stands(
    id: OperationId,
    state: Result<State, String>,
    cancel: Option<Cancel>,
) -> Vec<Shown> {
    let state = match state {
        Ok(state) => state,
        Err(why) => return vec![shown!("how it stands, and what is down, can't be told: {}", why)],
    };
    let mut lines = vec![];
    if let Some(since) = state.downtime.since {
        lines.push(shown!(
            "downtime: since {}, and not over: nothing serves until it goes on or is taken back",
            timestamp(since)
        ));
    }
    if state.status != Status::RollingBack && !state.committed {
        // Of one that is on record there is no request any more.
        let is_recorded = state.cancel.is_some();
        let cancel = cancel.map(|cancel| if is_recorded { Cancel::Kept } else { cancel });
        lines.extend(cancel.map(|cancel| way_back(id, cancel)));
    }
    lines
}

fn way_back(id: OperationId, cancel: Cancel) -> Shown {
    match cancel {
        Cancel::NotAsked => shown!(
            "`stepback show {}` tells what is changed, `stepback cancel {}` takes it back",
            id,
            id
        ),
        Cancel::Kept => "the cancel is kept: whoever takes it up rolls it back".into(),
        Cancel::Lost => shown!(
            "the cancel could not be kept: `stepback cancel {}` takes it back, `stepback resume \
             {}` goes on as if nobody had asked",
            id,
            id
        ),
        Cancel::Unknown(why) => shown!(
            "whether the cancel is kept can't be told: {}; `stepback show {}` tells it once the \
             store can be read",
            why,
            id
        ),
    }
}

/// The last word as text.
pub fn summary(id: OperationId, state: &State, style: &Style) -> Shown {
    summary_beside(id, state, &[], style)
}

/// The same of one that is given up, beside the world as it was just read.
pub fn summary_beside(
    id: OperationId,
    state: &State,
    world: &[(Resource, Facts)],
    style: &Style,
) -> Shown {
    let mut text = Shown::default();
    write_summary(&mut text, id, state, world, style);
    text
}

fn write_summary(
    text: &mut Shown,
    id: OperationId,
    state: &State,
    world: &[(Resource, Facts)],
    style: &Style,
) {
    match (state.status, state.verdict) {
        (Status::Succeeded, _) => {
            text.push(&shown!("operation {} {}\n", id, style.green("succeeded")));
        }
        (Status::Abandoned, _) => {
            let word = style.red(verdict_word(Verdict::Incomplete));
            text.push(&shown!(
                "operation {} is given up: nothing goes on; verdict: {}\n",
                id,
                word
            ));
        }
        (_, Some(verdict)) => {
            let word = verdict_word(verdict);
            let word = match verdict {
                Verdict::Restored | Verdict::RestoredExceptDeclared => style.yellow(word),
                Verdict::Incomplete => style.red(word),
            };
            let how = how_it_ended(state.cause, verdict);
            text.push(&shown!("operation {} {}; verdict: {}\n", id, how, word));
        }
        (_, None) => text.push(&shown!("operation {} is unfinished\n", id)),
    }
    if let Some(why) = &state.why {
        text.push(&shown!("cause: {}\n", why));
    }
    write_downtime(text, state);
    if let Some((actor, reason)) = &state.accepted {
        let (actor, reason) = (row(actor), row(reason));
        text.push(&shown!("accepted as it is by {}: {}; its locks are released\n", actor, reason));
    }
    if let Some(abandoned) = &state.abandoned {
        write_abandoned(text, state, abandoned, world);
    }
    for (name, value) in &state.outputs {
        match state.unknown_outputs.get(name) {
            None => text.push(&shown!("{} = {}\n", name, value)),
            Some(why) => text.push(&shown!("{} is not known: {}\n", name, why)),
        }
    }
    write_not_restored(text, state, world);
    if matches!(state.verdict, Some(Verdict::RestoredExceptDeclared | Verdict::Incomplete)) {
        write_commands(text, state);
    }
    for resource in &state.not_compared {
        let why = "no Docker Engine was there before, nor is one now";
        text.push(&shown!("not compared: {}: {}\n", row(resource), why));
    }
    for kept in &state.kept {
        text.push(&shown!("kept: what step `{}` did ({})\n", kept.step, kept.reason));
    }
    write_left_over(text, state);
    if state.status == Status::RollbackFailed && state.accepted.is_none() {
        text.push(&shown!(
            "next: mend what is listed above, then `stepback rollback {}`; or take it as it is: \
             `stepback rollback {} --accept 'why'`\n",
            id,
            id
        ));
    }
}

/// What stays past the commit point, where nothing is taken back.
fn write_left_over(text: &mut Shown, state: &State) {
    for (key, step) in &state.steps {
        if step.status == StepStatus::Leftover {
            let error = step.error.as_ref().map(|error| error.message.as_str());
            let error = error.unwrap_or("it was given up before its end");
            text.push(&shown!("left over: {}: {}\n", key, error));
        }
    }
    for (key, resource) in state.made_in_vain() {
        let of = "made by an attempt that failed, before it was tried again";
        text.push(&shown!("left over: {}: {}, {}\n", key, row(resource), of));
    }
}

pub fn write_not_restored(text: &mut Shown, state: &State, world: &[(Resource, Facts)]) {
    // Of one that is given up this is what was seen at its last comparison; the world may have been
    // read again since.
    let is_as_it_was = |lost: &&NotRestored| {
        world.iter().any(|(seen, now)| *seen == lost.resource && lost.before.is_as(now))
    };
    let is_seen = |lost: &NotRestored| world.iter().any(|(seen, _)| *seen == lost.resource);
    let lost_then = |lost: &NotRestored| match state.status {
        Status::Abandoned if !is_seen(lost) => "not restored, when it was last compared",
        _ => "not restored",
    };
    for lost in state.not_restored.iter().filter(|lost| !is_as_it_was(lost)) {
        let declared = if lost.declared { " (declared irreversible)" } else { "" };
        text.push(&shown!("{}: {}{}\n", lost_then(lost), row(&lost.resource), declared));
        write_difference(text, &lost.before, lost.now.as_ref());
        text.push(&shown!("  why:  {}\n", lost.why));
        text.push(&shown!("  do:   {}\n", Shown::advice(&lost.hint)));
    }
}

/// What ran, or may have run, and is not taken back by any stop.
fn write_commands(text: &mut Shown, state: &State) {
    for (key, effect) in state.commands_ran() {
        let ran = match &effect.outcome {
            EffectOutcome::Done(_) => "commands ran",
            EffectOutcome::Unknown(_) | EffectOutcome::Refused(_) => "commands may have run",
        };
        let function = effect.call.function();
        let on = effect.changes.first().map(|main| row(&main.resource)).unwrap_or_default();
        text.push(&shown!("{}: {} of `{}`, on {}\n", Shown::from(ran), function, key, on));
    }
}

fn write_downtime(text: &mut Shown, state: &State) {
    match (state.downtime.total_ms(), state.downtime.since) {
        (Some(downtime_ms), _) => {
            let took = duration(downtime_ms);
            match budget_ms(state).filter(|budget_ms| downtime_ms > *budget_ms) {
                Some(budget_ms) => {
                    text.push(&shown!(
                        "downtime: {}, over its budget of {}\n",
                        took,
                        duration(budget_ms)
                    ));
                }
                None => text.push(&shown!("downtime: {}\n", took)),
            }
        }
        (None, Some(at)) => {
            let is_left = state.accepted.is_some() || state.status == Status::Abandoned;
            let end = if is_left { "nobody has seen its end" } else { "and not over" };
            text.push(&shown!("downtime: since {}, {}\n", timestamp(at), end));
        }
        (None, None) => {}
    }
}

/// How long its downtime may be by its manifest.
fn budget_ms(state: &State) -> Option<u64> {
    let pinned = state.pinned.as_ref()?;
    let manifest = manifest::parse_pinned(&pinned.manifest_name, &pinned.manifest).ok()?;
    manifest.downtime.budget_ms
}

/// What happened to it, so that nobody takes a rollback for one that failed.
fn how_it_ended(cause: Option<Cause>, verdict: Verdict) -> Shown {
    let why = match cause {
        Some(Cause::Failed) | None => "failed",
        Some(Cause::Cancelled) => "was cancelled",
        Some(Cause::Timeout) => "took longer than it may",
        Some(Cause::Budget) => "was down for longer than it may",
    };
    match verdict {
        Verdict::Restored | Verdict::RestoredExceptDeclared => {
            shown!("{}, and was rolled back", why)
        }
        Verdict::Incomplete => shown!("{}, and not all of it could be rolled back", why),
    }
}

/// Fact by fact.
fn write_difference(text: &mut Shown, before: &Facts, now: Option<&Facts>) {
    for line in differences(before, now) {
        text.push(&shown!("  {}\n", line));
    }
}

/// What a person is left with: nothing was put back, so all that was touched is to be looked at.
fn write_abandoned(
    text: &mut Shown,
    state: &State,
    abandoned: &Abandoned,
    world: &[(Resource, Facts)],
) {
    let (actor, reason) = (row(&abandoned.actor), row(&abandoned.reason));
    let locks = match &abandoned.elsewhere {
        None => "its locks are released",
        Some(_) => "its locks in the state directory are released",
    };
    text.push(&shown!("given up by {}: {}; {}\n", actor, reason, locks));
    if let Some(why) = &abandoned.elsewhere {
        text.push(&shown!("what is told here is not its last word: {}\n", why));
    }
    for (key, step) in &state.steps {
        let undone = matches!(step.status, StepStatus::Undone | StepStatus::Kept);
        for (_, effect) in step.to_undo().filter(|_| !undone) {
            if matches!(effect.outcome, EffectOutcome::Done(_)) {
                let on = effect.changes.iter().map(|change| &change.resource);
                let (function, on) = (effect.call.function(), joined(on));
                text.push(&shown!(
                    "happened, and was not taken back: {} of {}, on {}\n",
                    function,
                    key,
                    on
                ));
            }
        }
    }
    for effect in &abandoned.unknown {
        let (function, step) = (&effect.function, &effect.id.of.step);
        let on = joined(&effect.resources);
        text.push(&shown!("may have happened: {} of {}, on {}\n", function, step, on));
    }
    for (resource, before) in state.baselines.iter() {
        text.push(&shown!("look at: {}\n", resource));
        match world.iter().find(|(seen, _)| seen == resource) {
            None => write_difference(text, before, None),
            Some((_, now)) if before.is_as(now) && before.not_comparable(now).is_empty() => {
                text.push(&shown!("  it is as it was\n"));
            }
            Some((_, now)) => write_difference(text, before, Some(now)),
        }
    }
}

fn joined<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> Shown {
    Shown::join(resources.into_iter().map(row), ", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepback_clock::Clock;
    use stepback_core::Epoch;
    use stepback_journal::Memory;

    fn plain(lines: Vec<Shown>) -> Vec<String> {
        lines.iter().map(|line| line.finished("", false)).collect()
    }

    #[tokio::test]
    async fn how_it_stands_is_told_or_why_not_but_for_what_another_goes_on_with() {
        // It has no such operation.
        let (store, control) = (Memory::open(Clock::real()).unwrap(), Control::new());
        let id = OperationId(1);
        let stale = StoreError::StaleEpoch { id, held: Epoch(1), now: Some(Epoch(2)) };
        let of = |error: RunError| left(&store, &control, error);
        let CliError::LeftByStore { stands, .. } =
            of(RunError::LeftByStore { id, error: stale }).await
        else {
            panic!("it is another error")
        };
        assert_eq!(plain(stands), [""; 0]);
        let CliError::Left { stands, .. } = of(RunError::Left { id, why: String::new() }).await
        else {
            panic!("it is another error")
        };
        assert!(plain(stands)[0].starts_with("how it stands, and what is down, can't be told: "));
    }

    #[test]
    fn what_became_of_a_cancel_is_said_as_far_as_it_is_known() {
        let id = OperationId(1);
        for (cancel, wanted) in [
            (Cancel::NotAsked, "`stepback cancel 1` takes it back"),
            (Cancel::Kept, "the cancel is kept"),
            (Cancel::Lost, "the cancel could not be kept"),
            (Cancel::Unknown("it is gone".to_owned()), "is kept can't be told: it is gone"),
        ] {
            let lines = plain(how_it_stands(id, Ok(State::default()), Some(cancel)));
            assert!(lines.len() == 1 && lines[0].contains(wanted), "{lines:?}");
        }
        assert_eq!(plain(how_it_stands(id, Ok(State::default()), None)), [""; 0]);
        // One that is on record is no request any more, and is kept.
        let cancelled =
            State { cancel: Some((stepback_core::Actor::default(), None)), ..State::default() };
        for cancel in [Cancel::NotAsked, Cancel::Lost] {
            let lines = plain(how_it_stands(id, Ok(cancelled.clone()), Some(cancel)));
            assert_eq!(lines, ["the cancel is kept: whoever takes it up rolls it back"]);
        }
    }
}
