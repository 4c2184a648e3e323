//! Which cases there are, each of them run, and what they come to together.

use crate::NotRehearsed;
use crate::families::Family;
use crate::house::{Faults, House, Rehearsal, Round};
use crate::outcome::{Outcome, ending};
use crate::place::{CaseId, Fault, Planned};
use crate::report::{Ending, Report};
use crate::script::About;
use crate::stage::Played;
use std::collections::BTreeSet;
use stepback_core::event::Record;
use stepback_core::state::State;

/// One case, with all that is to be shown of it.
pub struct Shown {
    /// The case.
    pub case: CaseId,
    /// How it ended.
    pub ended: Ending,
    /// Of each of its faults, whether it came about.
    pub fired: Vec<bool>,
    /// What is wrong with it; nothing, if all that it said is true.
    pub wrong: Vec<String>,
    /// Its journal.
    pub records: Vec<Record>,
    /// Its faults, each with how many of these records it came about after.
    pub faults: Vec<(usize, Planned)>,
    /// What the journal comes to.
    pub state: State,
}

/// Run the operation through every case there is.
///
/// `progress` is told how many are done, and how many there are.
///
/// # Errors
/// If the operation does not come to its end where nothing goes wrong.
pub fn rehearse(
    rehearsal: &Rehearsal,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Report, NotRehearsed> {
    let house = House::open(rehearsal)?;
    let back = house.all_the_way_back()?;
    let (forward, backward) = (house.forward(), house.backward(back.as_ref()));
    let known = forward.iter().chain(&backward).cloned().collect();
    let first = Round { known, faults: rehearsal.faults };
    let mut families = Family::apart(&house.nothing, &forward, 0);
    if let Some(back) = &back {
        families.extend(Family::apart(back, &backward, forward.len()));
    }
    let (mut outcomes, mut work) = house.run_all(&families, &first, progress)?;
    let more: usize = outcomes.iter().map(|one| one.next_count).sum();
    let possible = outcomes.len() + more;
    if rehearsal.faults == Faults::Double {
        let next = |one: &mut Outcome| (one.case.clone(), std::mem::take(&mut one.next));
        let seconds: Vec<(CaseId, Vec<CaseId>)> = outcomes.iter_mut().map(next).collect();
        let mut families = vec![];
        let mut first = 0;
        for (base, cases) in &seconds {
            families.push(Family::of(base, cases, first));
            first += cases.len();
        }
        let last = Round { known: BTreeSet::new(), faults: Faults::Single };
        let (more, theirs) = house.run_all(&families, &last, progress)?;
        outcomes.extend(more);
        work.add(theirs);
    }
    Ok(house.report(&outcomes, possible, work, rehearsal.faults))
}

/// Run one case.
///
/// # Errors
/// As [`rehearse`].
pub fn show(rehearsal: &Rehearsal, case: &CaseId) -> Result<Shown, NotRehearsed> {
    let house = House::open(rehearsal)?;
    // As in a report: what it goes on from is run before it, if a kill is its end.
    let before = case.0.split_last().filter(|_| case.ends_with_a_kill());
    let base = before.map(|(_, before)| house.based(&CaseId(before.to_vec()))).transpose()?;
    let played = house.play(base.as_ref(), case)?;
    let wrong = house.wrong(case, &played);
    let ended = ending(&played);
    let place = |planned: &Planned| {
        let passed = played.passed.iter().find(|passed| passed.place == planned.at)?;
        // What is written there is durable by then.
        let written = match (&passed.about, planned.fault) {
            (About::Wrote(records), Fault::CrashAfter) => records.len(),
            _ => 0,
        };
        Some((passed.after + written, *planned))
    };
    let faults = case.0.iter().filter_map(place).collect();
    let Played { fired, records, state, .. } = played;
    Ok(Shown { case: case.clone(), ended, fired, faults, wrong, records, state })
}
