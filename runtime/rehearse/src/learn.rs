//! What the operation does when nothing goes wrong, and when all of it is taken back: where there
//! is a place at which something can.

use crate::goal::Goal;
use crate::place::{CaseId, Fault, Kind, Place, Planned};
use crate::script::{About, Passed};
use crate::stage::Played;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use stepback_core::event::{Event, Record};
use stepback_core::{Call, CallId, Resource, StepKey};

/// The operation as it goes when nothing goes wrong.
pub(crate) struct Learned {
    pub goal: Goal,
    /// The invariants that do not hold even so, by their places in the manifest.
    pub broken: BTreeSet<usize>,
    touched: BTreeMap<StepKey, BTreeSet<Resource>>,
}

impl Learned {
    pub fn of(played: &Played) -> Self {
        let touched = |(key, step): (&StepKey, &stepback_core::state::StepState)| {
            (key.clone(), step.touched().cloned().collect())
        };
        let touched = played.state.steps.iter().map(touched).collect();
        let broken = played.broken.iter().filter_map(|one| one.invariant).collect();
        Self { goal: Goal::of(played), broken, touched }
    }

    /// What these steps touch.
    pub fn touched_by(&self, steps: &BTreeSet<StepKey>) -> BTreeSet<Resource> {
        let of = |step| self.touched.get(step).into_iter().flatten().cloned();
        steps.iter().flat_map(of).collect()
    }
}

/// The case in which all is taken back that can be: it is cancelled at the last moment.
pub(crate) fn all_the_way_back(learned: &Played) -> Option<CaseId> {
    let is_commit = |passed: &&Passed| passed.place.kind == Kind::Commit;
    let commits: Vec<&Passed> = learned.passed.iter().filter(is_commit).collect();
    let wrote = |passed: &Passed| match &passed.about {
        About::Wrote(records) => {
            records.iter().any(|record| matches!(record.event, Event::Committed))
        }
        _ => false,
    };
    let last = commits.iter().position(|passed| wrote(passed))?.checked_sub(1)?;
    Some(CaseId(vec![Planned { at: commits[last].place, fault: Fault::Cancel }]))
}

/// Every case with one fault more than `case`, at the places that it passed from there on.
pub(crate) fn derived(
    case: &CaseId,
    played: &Played,
    from: usize,
    has_budget: bool,
) -> Vec<CaseId> {
    let places = played.passed.iter().skip(from);
    let all = places.flat_map(|passed| {
        let is_bounded = has_budget && passed.is_down;
        let faults = Fault::fitting(passed.place.kind, passed.is_back, is_bounded);
        faults.into_iter().map(|fault| case.and(Planned { at: passed.place, fault }))
    });
    all.collect()
}

/// The place after the last one at which something went wrong.
pub(crate) fn after_faults(case: &CaseId, played: &Played) -> usize {
    let is_one = |passed: &Passed| case.0.iter().any(|planned| planned.at == passed.place);
    played.passed.iter().rposition(is_one).map_or(0, |at| at + 1)
}

/// Whose doing a place is, in the words of the manifest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Doing {
    /// The step, with its key if it has one; `None`: nobody's but the engine's own.
    pub step: Option<String>,
    /// Whether its undo does it.
    pub undo: bool,
    /// Whether a check does it, before the operation begins or before the downtime.
    pub check: bool,
}

/// Of every place that was passed, whose doing it was.
pub(crate) fn doings(played: &Played) -> BTreeMap<Place, Doing> {
    let made = tokens(&played.records);
    let mut answered = answers(&played.records);
    let mut all = BTreeMap::new();
    // What was asked last was answered last: a check before the downtime asks what a step asks
    // again afterwards.
    for passed in played.passed.iter().rev() {
        let id = match &passed.about {
            About::Made(token) => made.get(token.as_str()).copied().cloned(),
            About::Asked(call) => take(&mut answered, call),
            About::Looked(_) | About::Wrote(_) | About::Nothing => None,
        };
        let is_asked = matches!(passed.about, About::Asked(_));
        let step = match &passed.about {
            About::Wrote(records) => wrote_of(records),
            _ => id.as_ref().map(|id| id.of.step.to_string()),
        };
        let undo = id.as_ref().is_some_and(|id| id.of.direction == stepback_core::Direction::Undo);
        all.insert(passed.place, Doing { check: is_asked && step.is_none(), step, undo });
    }
    all
}

/// The step that written events are about, if they are about one.
fn wrote_of(records: &[Record]) -> Option<String> {
    let of = |record: &Record| match &record.event {
        Event::CallAnswered { id, .. }
        | Event::CallStarted { id, .. }
        | Event::CallFinished { id, .. } => Some(id.of.step.to_string()),
        other => other.step().map(ToString::to_string),
    };
    records.iter().find_map(of)
}

fn tokens(records: &[Record]) -> BTreeMap<&str, &CallId> {
    let mut all = BTreeMap::new();
    for record in records {
        if let Event::CallStarted { id, token, .. } = &record.event {
            all.insert(token.as_str(), id);
        }
    }
    all
}

fn answers(records: &[Record]) -> Vec<(Call, CallId)> {
    let of = |record: &Record| match &record.event {
        Event::CallAnswered { id, call, .. } => Some((call.clone(), id.clone())),
        _ => None,
    };
    records.iter().filter_map(of).collect()
}

/// The last answer that is to this call, or to one of the same function: a wait that is gone on
/// with asks for less time.
fn take(answered: &mut Vec<(Call, CallId)>, call: &Call) -> Option<CallId> {
    let same = answered.iter().rposition(|(one, _)| one == call);
    let alike = || answered.iter().rposition(|(one, _)| one.function() == call.function());
    let at = match call.class() {
        stepback_core::calls::Class::Wait => same.or_else(alike),
        _ => same,
    };
    at.map(|at| answered.remove(at).1)
}
