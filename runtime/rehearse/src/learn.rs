//! What the operation does when nothing goes wrong, and when all of it is taken back: where there
//! is a place at which something can.

use crate::goal::{ByTime, Goal, names_of_made, renamed};
use crate::place::{CaseId, Fault, Kind, Place, Planned};
use crate::script::{About, Passed};
use crate::stage::Played;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use stepback_core::event::{Event, Record};
use stepback_core::{CallId, Direction, Resource, Shared, StepKey};
use stepback_engine::Asker;

/// The operation as it goes when nothing goes wrong.
pub(crate) struct Learned {
    pub goal: Goal,
    pub by_time: ByTime,
    /// The invariants that do not hold even so, by their places in the manifest.
    pub broken: BTreeSet<usize>,
    touched: BTreeMap<StepKey, BTreeSet<Resource>>,
}

impl Learned {
    /// `later` is the same operation, begun at another time.
    pub fn of(played: &Played, later: Option<&Played>) -> Self {
        let names = names_of_made(played);
        let touched = |(key, step): (&StepKey, &Shared<stepback_core::state::StepState>)| {
            (key.clone(), step.touched().map(|resource| renamed(resource, &names)).collect())
        };
        let touched = played.state.steps.iter().map(touched).collect();
        let broken = played.broken.iter().filter_map(|one| one.invariant).collect();
        let goal = Goal::of(played);
        let by_time = later.map(|later| ByTime::between(&goal, &Goal::of(later)));
        Self { goal, by_time: by_time.unwrap_or_default(), broken, touched }
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
    // What is refused always is nothing else besides.
    let is_taken = |at: Place| {
        let covers = |one: &Planned| one.at.kind == at.kind && one.at.nth <= at.nth;
        case.0.iter().any(|one| one.fault == Fault::RefuseAlways && covers(one))
    };
    let places = played.passed.iter().skip(from).filter(|passed| !is_taken(passed.place));
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

impl Doing {
    /// Nobody's but the engine's own.
    pub(crate) fn engine() -> Self {
        Self { step: None, undo: false, check: false }
    }
}

/// Of every place that was passed, whose doing it was.
pub(crate) fn doings(played: &Played) -> BTreeMap<Place, Doing> {
    let made = tokens(&played.records);
    let of_call = |id: &CallId| Doing {
        step: Some(id.of.step.to_string()),
        undo: id.of.direction == Direction::Undo,
        check: false,
    };
    let of = |passed: &Passed| match &passed.about {
        About::Made(token) => made.get(token.as_str()).copied().map(of_call),
        About::Asked(Some(Asker::Attempt(id))) => Some(of_call(id)),
        About::Asked(Some(Asker::Check)) => Some(Doing { check: true, ..Doing::engine() }),
        About::Wrote(records) => Some(Doing { step: wrote_of(records), ..Doing::engine() }),
        About::Asked(None) | About::Looked(_) | About::Nothing => None,
    };
    let all = played.passed.iter();
    all.map(|passed| (passed.place, of(passed).unwrap_or_else(Doing::engine))).collect()
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
