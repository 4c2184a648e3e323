//! What all cases come to together.

use crate::assumed;
use crate::confirmed::unconfirmed;
use crate::house::{Faults, House};
use crate::learn::Doing;
use crate::matrix::matrix;
use crate::outcome::{Outcome, ending};
use crate::place::CaseId;
use crate::report::{Downtime, Report, Work, WrongCase};
use crate::weak;
use std::collections::{BTreeMap, BTreeSet};
use stepback_core::manifest::Holds;
use stepback_core::state::StepStatus;
use stepback_core::{StepId, StepKey};

impl House {
    /// All that a rehearsal has to tell, of what became of its cases.
    pub(crate) fn report(
        &self,
        outcomes: &[Outcome],
        possible: usize,
        work: Work,
        faults: Faults,
    ) -> Report {
        let manifest = self.plan.manifest();
        let told: Vec<&Outcome> = outcomes.iter().filter(|one| one.fired).collect();
        let distinct: BTreeSet<u64> = told.iter().map(|one| one.digest).collect();
        let mut endings: BTreeMap<String, usize> = BTreeMap::new();
        for one in &told {
            let ending = &one.ending;
            let name = ending.verdict.as_ref().map_or_else(
                || ending.status.clone(),
                |verdict| format!("{}: {verdict}", ending.status),
            );
            *endings.entry(name).or_default() += 1;
        }
        let nothing = CaseId::default();
        let quiet = WrongCase {
            why: self.wrong(&nothing, self.quiet()),
            case: nothing,
            doing: Doing::engine(),
            ended: ending(self.quiet()),
        };
        let wrong = told.iter().map(|one| WrongCase {
            case: one.case.clone(),
            doing: one.doing.clone(),
            ended: one.ending.clone(),
            why: one.wrong.clone(),
        });
        let wrong = [quiet].into_iter().chain(wrong).filter(|one| !one.why.is_empty());
        let not_fired = outcomes.iter().filter(|one| !one.fired).map(|one| one.case.clone());
        let longest = told.iter().filter_map(|one| Some((one.downtime()?, one)));
        // Of those that are alike, the first.
        let longest = longest.fold(None, |best: Option<((bool, u64), _)>, one| match best {
            Some(best) if best.0 >= one.0 => Some(best),
            _ => Some(one),
        });
        Report {
            operation: manifest.operation.name.clone(),
            quiet: ending(self.quiet()),
            cases: outcomes.len(),
            distinct: distinct.len(),
            possible,
            work,
            faults: if faults == Faults::Single { 1 } else { 2 },
            wrong: wrong.collect(),
            not_fired: not_fired.collect(),
            endings,
            weak: weak::points(manifest, self.quiet(), &told),
            still_down: told.iter().filter(|one| one.ending.is_down).count(),
            worst_downtime: longest.map(|((goes_on, ms), one)| Downtime {
                ms,
                goes_on,
                case: one.case.clone(),
            }),
            point_of_no_return: self.plan.point_of_no_return().map(ToString::to_string),
            undos_never_exercised: self.never_undone(&told),
            is_any_undone: told.iter().any(|one| !one.undone.is_empty()),
            retries_never_exercised: self.never_retried(&told),
            never_held: self.never_held(&told),
            matrix: matrix(outcomes),
            all: told.iter().map(|one| one.told()).collect(),
            assumed_ms: assumed::all().collect(),
            unconfirmed: unconfirmed(outcomes),
        }
    }

    /// The steps that did something which can be taken back, and that no case took back.
    fn never_undone(&self, told: &[&Outcome]) -> Vec<String> {
        let needing = self.quiet().state.steps.iter().filter(|(key, step)| {
            !self.plan.is_cleanup(&key.step)
                && step.to_undo().any(|(_, effect)| !self.quiet().state.was_irreversible(effect))
        });
        let is_never =
            |key: &&StepKey| !told.iter().any(|one| one.undone.contains(&key.to_string()));
        needing.map(|(key, _)| key).filter(is_never).map(ToString::to_string).collect()
    }

    /// The invariants that must hold sometimes, and never did.
    fn never_held(&self, told: &[&Outcome]) -> Vec<String> {
        let invariants = self.stage.invariants.iter().enumerate();
        let sometimes = invariants.filter(|(_, one)| one.holds == Holds::Sometimes);
        let is_never = |(nth, _): &(usize, _)| {
            !self.quiet().held.contains(nth) && !told.iter().any(|one| one.held.contains(nth))
        };
        sometimes.filter(is_never).map(|(_, one)| one.name.clone()).collect()
    }

    fn never_retried(&self, told: &[&Outcome]) -> Vec<String> {
        // What its `when` leaves out is tried neither once nor again.
        let runs = |id: &StepId| {
            let of_it = self.quiet().state.steps.iter().filter(|(key, _)| key.step == *id);
            of_it.into_iter().any(|(_, step)| step.status != StepStatus::Skipped)
        };
        let steps = self.plan.steps().filter(|step| step.retry.is_some() && runs(&step.id));
        let is_never = |id: &&StepId| {
            let is_it = |key: &String| key == id.as_str() || key.starts_with(&format!("{id}["));
            !told.iter().any(|one| one.retried.iter().any(is_it))
        };
        steps.map(|step| &step.id).filter(is_never).map(ToString::to_string).collect()
    }
}
