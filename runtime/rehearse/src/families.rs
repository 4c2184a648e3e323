//! Cases that have what goes on before their last fault in common, and how they are run.

use crate::NotRehearsed;
use crate::explore::{House, Round};
use crate::kills::{Kill, renumbered};
use crate::outcome::Outcome;
use crate::place::{CaseId, Fault, Place, Planned};
use crate::stage::{Based, Played};
use serde::Serialize;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// How the cases of a rehearsal were run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Work {
    /// From the start.
    pub from_the_start: usize,
    /// From the instant of the kill that is their last fault.
    pub from_a_kill: usize,
    /// Not by themselves: everything was the same at another kill.
    pub merged: usize,
}

impl Work {
    pub(crate) fn add(&mut self, more: Self) {
        self.from_the_start += more.from_the_start;
        self.from_a_kill += more.from_a_kill;
        self.merged += more.merged;
    }
}

/// What cases of a family go on from.
enum Base<'a> {
    /// It has been run.
    Known(&'a Based),
    /// It is run again for them.
    Again(&'a CaseId),
}

/// Cases that are run one after the other, each with its place among all.
pub(crate) struct Family<'a> {
    base: Base<'a>,
    cases: Vec<(usize, &'a CaseId)>,
}

impl<'a> Family<'a> {
    /// All that have one fault more than a case; the first of them stands at `first`.
    pub fn of(base: &'a CaseId, cases: &'a [CaseId], first: usize) -> Self {
        let cases = cases.iter().enumerate().map(|(nth, case)| (first + nth, case));
        Self { base: Base::Again(base), cases: cases.collect() }
    }

    /// The same, as far apart as they can be: those that are the same stay together.
    pub fn apart(base: &'a Based, cases: &'a [CaseId], first: usize) -> Vec<Self> {
        let mut together: BTreeMap<(Place, Fault), usize> = BTreeMap::new();
        let mut apart: BTreeMap<usize, Vec<(usize, &CaseId)>> = BTreeMap::new();
        for (nth, case) in cases.iter().enumerate() {
            let with = match base.same_as(case) {
                None => nth,
                Some(kill) => *together.entry(kill).or_insert(nth),
            };
            apart.entry(with).or_default().push((first + nth, case));
        }
        apart.into_values().map(|cases| Self { base: Base::Known(base), cases }).collect()
    }

    /// Run each of them.
    fn run(&self, house: &House, round: &Round, done: &dyn Fn()) -> Result<Ran, NotRehearsed> {
        let again = match self.base {
            Base::Again(case) if self.cases.iter().any(|(_, case)| ends_with_a_kill(case)) => {
                Some(house.based(case)?)
            }
            Base::Again(_) | Base::Known(_) => None,
        };
        let base = match self.base {
            Base::Known(base) => Some(base),
            Base::Again(_) => again.as_ref(),
        };
        let mut firsts: BTreeMap<(Place, Fault), Played> = BTreeMap::new();
        let mut ran = Ran::default();
        for (at, case) in &self.cases {
            let kill = base.and_then(|base| Some((base, base.kill_of(case)?, base.same_as(case)?)));
            let outcome = match kill {
                None => {
                    ran.work.from_the_start += 1;
                    house.outcome(case, &house.play(None, case)?, round)
                }
                Some((base, kill, same)) => {
                    let first = match firsts.entry(same) {
                        Entry::Occupied(first) => first.into_mut(),
                        Entry::Vacant(none) => {
                            none.insert(house.play(Some(base), &base.case.and(planned(same)))?)
                        }
                    };
                    if kill.same_as.is_none() {
                        ran.work.from_a_kill += 1;
                        house.outcome(case, first, round)
                    } else {
                        ran.work.merged += 1;
                        house.outcome(case, &base.after_another(first, same, kill), round)
                    }
                }
            };
            ran.outcomes.push((*at, outcome));
            done();
        }
        Ok(ran)
    }
}

fn planned((at, fault): (Place, Fault)) -> Planned {
    Planned { at, fault }
}

/// What became of a family.
#[derive(Default)]
struct Ran {
    outcomes: Vec<(usize, Outcome)>,
    work: Work,
}

/// Whether the last fault of a case is a kill.
pub(crate) fn ends_with_a_kill(case: &CaseId) -> bool {
    let last = case.0.last().map(|last| last.fault);
    matches!(last, Some(Fault::CrashBefore | Fault::CrashAfter))
}

impl Based {
    /// What a case goes on from that is this one with a kill at its end.
    pub fn kill_of(&self, case: &CaseId) -> Option<&Kill> {
        let (last, before) = case.0.split_last()?;
        let is_its = before == self.case.0;
        self.kills.get(last.at, last.fault).filter(|_| is_its)
    }

    /// The first kill at which everything is as at the one that ends a case.
    fn same_as(&self, case: &CaseId) -> Option<(Place, Fault)> {
        let (kill, last) = (self.kill_of(case)?, case.0.last()?);
        Some(kill.same_as.unwrap_or((last.at, last.fault)))
    }

    /// How it goes on after a kill at which everything is as at the first.
    fn after_another(&self, first: &Played, same: (Place, Fault), kill: &Kill) -> Played {
        let mut played = first.clone();
        if let Some(was) = self.kills.get(same.0, same.1) {
            let later = renumbered(&first.passed[was.script.passed..], &was.script, &kill.script);
            played.passed = self.played.passed[..kill.script.passed].to_vec();
            played.passed.extend(later);
        }
        played
    }
}

impl House {
    /// All of these, as many families at once as there are jobs; the outcomes in their order.
    pub(crate) fn run_all(
        &self,
        families: &[Family<'_>],
        round: &Round,
        progress: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<(Vec<Outcome>, Work), NotRehearsed> {
        let all = families.iter().map(|family| family.cases.len()).sum();
        let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let ran: Mutex<BTreeMap<usize, Result<Ran, NotRehearsed>>> = Mutex::default();
        let is_done = || progress(done.fetch_add(1, Ordering::SeqCst) + 1, all);
        let work = || {
            while let Some((at, family)) = {
                let at = next.fetch_add(1, Ordering::SeqCst);
                families.get(at).map(|family| (at, family))
            } {
                let one = family.run(self, round, &is_done);
                ran.lock().unwrap_or_else(PoisonError::into_inner).insert(at, one);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.min(families.len()) {
                scope.spawn(work);
            }
        });
        let (mut outcomes, mut work) = (BTreeMap::new(), Work::default());
        for one in ran.into_inner().unwrap_or_else(PoisonError::into_inner).into_values() {
            let one = one?;
            work.add(one.work);
            outcomes.extend(one.outcomes);
        }
        Ok((outcomes.into_values().collect(), work))
    }
}
