//! What is kept of a case that was run.

use crate::digest::Digest;
use crate::learn::{self, Doing};
use crate::place::{CaseId, Place};
use crate::report::{Ended, Ending};
use crate::script::{About, Asked, Passed};
use crate::stage::Played;
use crate::timeline::Timeline;
use serde_json::Value;
use std::collections::BTreeSet;
use stepback_core::event::{Event, Record, UndoResult};
use stepback_core::state::{State, StepStatus};
use stepback_core::step::EffectOutcome;

/// What is kept of a case that was run.
pub(crate) struct Outcome {
    pub case: CaseId,
    pub doing: Doing,
    /// What is asked where the last fault befalls it: the resource that is looked at, or the
    /// function whose outcome is asked for.
    pub of: Option<String>,
    pub ending: Ending,
    pub fired: bool,
    pub wrong: Vec<String>,
    /// Steps whose undo took something back, or left it on purpose.
    pub undone: BTreeSet<String>,
    /// Steps that were tried again.
    pub retried: BTreeSet<String>,
    /// Steps whose effects have no inverse, and were made.
    pub irreversible: BTreeSet<String>,
    /// What is not restored.
    pub lost: Vec<String>,
    /// What of it nobody could look at.
    pub unseen: BTreeSet<String>,
    /// Whether it came to no end.
    pub is_endless: bool,
    /// The steps past the commit point that failed, and left what they were to clear away.
    pub leftover: Vec<String>,
    /// The invariants that held once at least, by their places in the manifest.
    pub held: BTreeSet<usize>,
    /// What they asked of the world.
    pub asked: Asked,
    /// What happened when.
    pub timeline: Timeline,
    /// What tells it from cases that went on otherwise.
    pub digest: u64,
    /// How many cases there are with one fault more.
    pub next_count: usize,
    /// These cases, where they are to be run.
    pub next: Vec<CaseId>,
}

impl Outcome {
    /// What is kept of a case, beside what is wrong with it and what comes next.
    /// `told` tells the same of the beginning of its journal, if it is that of another one.
    pub fn of(case: &CaseId, played: &Played, told: Option<&Digest>) -> Self {
        let doing = case.0.last().and_then(|last| learn::doings(played).remove(&last.at));
        let passed = played.passed.iter().find(|one| Some(one.place) == last_place(case));
        let state = &played.state;
        let leftover = state.steps.iter().filter(|(_, step)| step.status == StepStatus::Leftover);
        let unseen = state.not_restored.iter().filter(|one| one.now.is_none());
        Self {
            case: case.clone(),
            doing: doing.unwrap_or_else(Doing::engine),
            of: passed.and_then(|passed| asked_of(passed, &played.records)),
            ending: ending(played),
            fired: played.fired.iter().all(|fired| *fired),
            wrong: vec![],
            undone: undone(&played.records),
            retried: retried(&played.records),
            irreversible: irreversible(state),
            lost: state.not_restored.iter().map(|one| one.resource.to_string()).collect(),
            unseen: unseen.map(|one| one.resource.to_string()).collect(),
            is_endless: !state.status.is_final(),
            leftover: leftover
                .map(|(key, _)| key)
                .chain(state.made_in_vain().map(|(key, _)| key))
                .map(ToString::to_string)
                .collect(),
            digest: Digest::of(told, &played.records).with_world(&played.world),
            held: played.held.clone(),
            asked: played.asked.clone(),
            timeline: Timeline::of(played, &case.0),
            next_count: 0,
            next: vec![],
        }
    }

    /// How long the service was down: whether it still is, and for how long until the end.
    pub fn downtime(&self) -> Option<(bool, u64)> {
        let is_down = self.ending.is_down;
        let stretches = self.timeline.down.iter().map(|(from, to)| to.saturating_sub(*from));
        match (is_down, self.ending.downtime_ms) {
            // What is down after its window is down for another reason, which is told by itself.
            (true, Some(ms)) if !self.ending.is_in_window => Some((false, ms)),
            (true, _) => Some((true, stretches.sum())),
            (false, Some(ms)) => Some((false, ms)),
            (false, None) => Some(stretches.sum()).filter(|ms| *ms > 0).map(|ms| (false, ms)),
        }
    }

    pub fn told(&self) -> Ended {
        Ended {
            case: self.case.clone(),
            doing: self.doing.clone(),
            ended: self.ending.clone(),
            is_wrong: !self.wrong.is_empty(),
            timeline: self.timeline.clone(),
        }
    }
}

fn last_place(case: &CaseId) -> Option<Place> {
    case.0.last().map(|last| last.at)
}

fn asked_of(passed: &Passed, records: &[Record]) -> Option<String> {
    match &passed.about {
        About::Looked(resource) => Some(resource.to_string()),
        About::Made(token) => records.iter().find_map(|record| match &record.event {
            Event::CallStarted { call, token: made, .. } if made == token => {
                Some(call.function().to_owned())
            }
            _ => None,
        }),
        About::Asked(_) | About::Wrote(_) | About::Nothing => None,
    }
}

fn word(value: impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}

/// How a case ended.
pub(crate) fn ending(played: &Played) -> Ending {
    let state = &played.state;
    Ending {
        status: word(state.status),
        verdict: state.verdict.map(word),
        why: state.why.clone().or_else(|| state.refusals.first().cloned()),
        downtime_ms: state.downtime.closed_ms,
        is_in_window: state.downtime.since.is_some(),
        // Where nobody could look at last, the journal can't say that the service is up.
        is_down: state.downtime.since.is_some() && played.is_an_instance_down
            || !played.stopped.is_empty(),
        took_ms: played.took_ms,
    }
}

fn undone(records: &[Record]) -> BTreeSet<String> {
    let of = |record: &Record| match &record.event {
        Event::UndoEnded { step, result: UndoResult::Undone | UndoResult::Kept(_) } => {
            Some(step.to_string())
        }
        _ => None,
    };
    records.iter().filter_map(of).collect()
}

fn retried(records: &[Record]) -> BTreeSet<String> {
    let of = |record: &Record| match &record.event {
        Event::RetryScheduled { step, .. } => Some(step.to_string()),
        _ => None,
    };
    records.iter().filter_map(of).collect()
}

fn irreversible(state: &State) -> BTreeSet<String> {
    let made = |step: &stepback_core::state::StepState| {
        step.effects.iter().any(|effect| {
            !matches!(effect.outcome, EffectOutcome::Refused(_)) && state.was_irreversible(effect)
        })
    };
    let steps = state.steps.iter().filter(|(_, step)| made(step));
    steps.map(|(key, _)| key.to_string()).collect()
}
