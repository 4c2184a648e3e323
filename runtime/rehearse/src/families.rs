//! Cases that have what goes on before their last fault in common, and how they are run.

use crate::NotRehearsed;
use crate::house::{House, Round};
use crate::outcome::Outcome;
use crate::place::{CaseId, Fault, Place, Planned};
use crate::report::Work;
use crate::stage::{Based, Played};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

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
            Base::Again(case) if house.shares && !self.cases.is_empty() => Some(house.based(case)?),
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
                    match base.and_then(|base| base.quiet_before(case)) {
                        Some(_) => ran.work.from_quiet += 1,
                        None => ran.work.from_the_start += 1,
                    }
                    house.outcome(base, case, &house.play(base, case)?, round)
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
                        house.outcome(Some(base), case, first, round)
                    } else {
                        ran.work.merged += 1;
                        let played = base.after_another(first, same, kill);
                        house.outcome(Some(base), case, &played, round)
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
