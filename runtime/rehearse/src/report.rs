//! What a rehearsal has to tell, for people and for programs.

use crate::learn::Doing;
use crate::place::CaseId;
use crate::timeline::Timeline;
use serde::Serialize;
use std::collections::BTreeMap;

/// What became of an operation that everything befell that can.
///
/// The same operation in the same world gives the same report, byte for byte.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The operation's name in its manifest.
    pub operation: String,
    /// How it ends when nothing goes wrong.
    pub quiet: Ending,
    /// How many cases were run, the one in which nothing goes wrong left out.
    pub cases: usize,
    /// How many of them differ in more than when.
    pub distinct: usize,
    /// How many there would be if all were run.
    pub possible: usize,
    /// How they were run.
    pub work: Work,
    /// How many faults at most befell one case.
    pub faults: usize,
    /// The cases of which the last word is not true, or the world not as it must be.
    pub wrong: Vec<WrongCase>,
    /// The cases whose fault never came about: they tell nothing.
    pub not_fired: Vec<CaseId>,
    /// How many cases ended each way.
    pub endings: BTreeMap<String, usize>,
    /// What is weak about it, worst first.
    pub weak: Vec<WeakPoint>,
    /// In how many cases the service is still down at the end.
    pub still_down: usize,
    /// The longest that the service was down, and in which case.
    pub worst_downtime: Option<Downtime>,
    /// The step from which on not everything can be taken back.
    pub point_of_no_return: Option<String>,
    /// The steps that can be undone, and whose undo never had anything to take back.
    pub undos_never_exercised: Vec<String>,
    /// Whether any case took anything back: in a world in which nothing is left to do, none does.
    pub is_any_undone: bool,
    /// The steps that have a `retry`, and were never tried again.
    pub retries_never_exercised: Vec<String>,
    /// The invariants that must hold sometimes, and never did: nothing was shown about them.
    pub never_held: Vec<String>,
    /// By step and fault, how it went.
    pub matrix: Vec<Row>,
    /// Every case whose fault came about.
    pub all: Vec<Ended>,
    /// How long calls were assumed to take, in milliseconds.
    pub assumed_ms: Vec<(&'static str, u64)>,
    /// The functions that were asked for, and whose behaviour no real part has confirmed.
    pub unconfirmed: Vec<&'static str>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_well(&self) -> bool {
        self.wrong.is_empty() && self.never_held.is_empty()
    }

    /// How much is wrong: cases, and invariants about which nothing was shown.
    pub fn wrong_count(&self) -> usize {
        self.wrong.len() + self.never_held.len()
    }

    /// The wrong cases by why they are, those first of which there are most.
    pub fn wrong_by_reason(&self) -> Vec<(&[String], Vec<&WrongCase>)> {
        let mut all: Vec<(&[String], Vec<&WrongCase>)> = vec![];
        for one in &self.wrong {
            match all.iter_mut().find(|(why, _)| *why == one.why) {
                Some((_, cases)) => cases.push(one),
                None => all.push((&one.why, vec![one])),
            }
        }
        // Where nothing goes wrong at all comes before everything else.
        all.sort_by_key(|(_, cases)| (!cases[0].case.0.is_empty(), usize::MAX - cases.len()));
        all
    }

    /// The first weak points of each kind, and how many there are besides.
    pub fn weak_told(&self, of_each: usize) -> (Vec<&WeakPoint>, usize) {
        let mut counts: BTreeMap<WeakKind, usize> = BTreeMap::new();
        let is_told = |point: &&WeakPoint| {
            let count = counts.entry(point.kind).or_default();
            *count += 1;
            *count <= of_each
        };
        let told: Vec<&WeakPoint> = self.weak.iter().filter(is_told).collect();
        let more = self.weak.len() - told.len();
        (told, more)
    }
}

/// How the cases of a rehearsal were run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Work {
    /// From the start.
    pub from_the_start: usize,
    /// From the instant of the kill that is their last fault.
    pub from_a_kill: usize,
    /// From the last instant before their last fault at which nothing was under way.
    pub from_quiet: usize,
    /// Not by themselves: everything was the same at another kill.
    pub merged: usize,
}

impl Work {
    pub(crate) fn add(&mut self, more: Self) {
        self.from_the_start += more.from_the_start;
        self.from_a_kill += more.from_a_kill;
        self.from_quiet += more.from_quiet;
        self.merged += more.merged;
    }
}

/// How one case ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ending {
    /// As `show --json` has it: `succeeded`, `rolled-back`, `rollback-failed`, `refused`.
    pub status: String,
    /// `restored`, `restored-except-declared` or `incomplete`; of a rollback alone.
    pub verdict: Option<String>,
    /// Why it rolled back, in one line.
    pub why: Option<String>,
    /// How long the service was down in all, by the assumed times.
    pub downtime_ms: Option<u64>,
    /// Whether the downtime window was open at the end.
    #[serde(skip)]
    pub is_in_window: bool,
    /// Whether it still is.
    pub is_down: bool,
    /// How long it took, by the assumed times.
    pub took_ms: u64,
}

/// One case, by the clock.
#[derive(Clone, Debug, Serialize)]
pub struct Ended {
    /// The case.
    pub case: CaseId,
    /// Whose doing it is that goes wrong.
    pub doing: Doing,
    /// How it ended.
    pub ended: Ending,
    /// Whether something is wrong with it.
    pub is_wrong: bool,
    /// What happened when.
    pub timeline: Timeline,
}

/// A case that is wrong.
#[derive(Clone, Debug, Serialize)]
pub struct WrongCase {
    /// The case, by which it is run again.
    pub case: CaseId,
    /// Whose doing it is that goes wrong.
    pub doing: Doing,
    /// How it ended.
    pub ended: Ending,
    /// What is wrong, a sentence each.
    pub why: Vec<String>,
}

/// What is weak about an operation, though all that is said of it is true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WeakPoint {
    /// What it is about.
    pub kind: WeakKind,
    /// In a sentence.
    pub told: String,
    /// Whose doing it is that goes wrong there, if it is a step's.
    pub step: Option<String>,
    /// The fault that brings it about, if one does.
    pub fault: Option<&'static str>,
    /// What is left, or not as it was.
    pub resources: Vec<String>,
    /// Whether the service is still down at the end.
    pub is_down: bool,
    /// In how many cases it shows.
    pub cases: usize,
    /// The first of them.
    pub case: CaseId,
}

/// What a weak point is about, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeakKind {
    /// A rollback leaves something for a person.
    Left,
    /// What a step did is not brought back by anything.
    Irreversible,
    /// What was to be cleared away past the commit point is not.
    Leftover,
    /// What ran before runs no more, though nothing goes wrong.
    Stopped,
    /// An invariant asks about what is in no world of any case.
    NeverThere,
    /// What could be done before is waited for in the downtime.
    CouldBeBefore,
    /// The downtime is longer than its budget.
    OverBudget,
    /// How long the downtime is if something goes wrong in it.
    Downtime,
}

/// How long the service was down, and in which case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Downtime {
    /// By the assumed times, as long as the operation lasted.
    pub ms: u64,
    /// Whether it goes on at the end.
    pub goes_on: bool,
    /// The case.
    pub case: CaseId,
}

/// What became of one step's function, or of the engine's own, under each fault.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Whose doing it is.
    #[serde(flatten)]
    pub doing: Doing,
    /// What it does: a host function, `look`, `settle`, `search` or `commit`.
    pub what: String,
    /// By the fault's name.
    pub cells: BTreeMap<&'static str, Cell>,
}

/// The cases of one row and one fault.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// How many there were.
    pub cases: usize,
    /// Of how many the fault came about.
    pub fired: usize,
    /// How many are wrong.
    pub wrong: usize,
    /// How many went on to the end of the operation.
    pub succeeded: usize,
    /// How many were taken back, all but what was declared.
    pub rolled_back: usize,
    /// Of how many the rollback is incomplete.
    pub incomplete: usize,
    /// How many came to no end.
    pub endless: usize,
    /// In how many of all these the service is down in the end.
    pub down: usize,
}
