//! Which cases there are, each of them run, and what they come to together.

use crate::judge;
use crate::learn::{self, Doing, Learned};
use crate::matrix::matrix;
use crate::outcome::{Outcome, ending};
use crate::place::{CaseId, Fault, Planned};
use crate::report::{Downtime, Ending, Report, WrongCase};
use crate::script::About;
use crate::stage::{Behind, BehindStore, Played, Stage};
use crate::{NotRehearsed, assumed, weak};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use stepback_core::diagnostic::{Diagnostic, Diagnostics};
use stepback_core::event::Record;
use stepback_core::expr::Scope;
use stepback_core::manifest::{Holds, duration_text};
use stepback_core::plan::Plan;
use stepback_core::state::{State, Status, StepStatus};
use stepback_core::{StepId, StepKey};
use stepback_engine::{Job, Limits, PluginSource, Refusal, Request, SecretSource};
use stepback_files::key::{KEY_BYTES, Key};
use stepback_simulated::world::World;
use stepback_wasm::Runtime;

/// What is slow takes so much longer than the downtime may last.
const SLOW_MARGIN_MS: u64 = 1_000;

/// How many faults befall one case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Faults {
    /// One in each.
    Single,
    /// A second one too, wherever the operation went after the first.
    Double,
}

/// What is to be rehearsed.
pub struct Rehearsal {
    /// The operation, as it would be run.
    pub request: Request,
    /// The world that every case begins with.
    pub world: World,
    /// Where its plugins come from.
    pub plugins: Arc<dyn PluginSource>,
    /// The sandbox that they run in.
    pub runtime: Arc<Runtime>,
    /// Where the values of its secrets come from.
    pub secrets: Arc<dyn SecretSource>,
    /// How many faults befall one case.
    pub faults: Faults,
    /// How many cases are run at once.
    pub jobs: NonZeroUsize,
    /// The engine's own bounds.
    pub limits: Limits,
    /// A provider in front of the simulated one, to see whether what it does wrong is found.
    pub behind: Option<Behind>,
    /// A store in front of the one in memory, for the same.
    pub behind_store: Option<BehindStore>,
}

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
    let singles = house.singles()?;
    let first = Round { known: singles.iter().cloned().collect(), faults: rehearsal.faults };
    let mut outcomes = house.run_all(singles, &first, progress)?;
    let more: usize = outcomes.iter().map(|one| one.next_count).sum();
    let possible = outcomes.len() + more;
    if rehearsal.faults == Faults::Double {
        let seconds: Vec<CaseId> =
            outcomes.iter_mut().flat_map(|one| std::mem::take(&mut one.next)).collect();
        let last = Round { known: BTreeSet::new(), faults: Faults::Single };
        outcomes.extend(house.run_all(seconds, &last, progress)?);
    }
    Ok(house.report(&outcomes, possible, rehearsal.faults))
}

/// Run one case.
///
/// # Errors
/// As [`rehearse`].
pub fn show(rehearsal: &Rehearsal, case: &CaseId) -> Result<Shown, NotRehearsed> {
    let house = House::open(rehearsal)?;
    let played = house.play(case)?;
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

/// What is run at one go.
struct Round {
    /// Cases that are run in any case, and are not counted again as those with one fault more.
    known: BTreeSet<CaseId>,
    /// Whether the cases with one fault more are to be run.
    faults: Faults,
}

/// All that cases have in common.
struct House {
    stage: Stage,
    plan: Arc<Plan>,
    jobs: usize,
    quiet: Played,
    learned: Learned,
}

impl House {
    fn open(rehearsal: &Rehearsal) -> Result<Self, NotRehearsed> {
        let key = Key::of_bytes(&[7; KEY_BYTES]);
        let mut stage = Stage {
            request: rehearsal.request.clone(),
            world: rehearsal.world.clone(),
            plugins: Arc::clone(&rehearsal.plugins),
            runtime: Arc::clone(&rehearsal.runtime),
            secrets: Arc::clone(&rehearsal.secrets),
            key: key.map_err(|error| NotRehearsed::Internal(error.to_string()))?,
            limits: rehearsal.limits.clone(),
            behind: rehearsal.behind.clone(),
            behind_store: rehearsal.behind_store.clone(),
            slow_ms: 0,
            invariants: Arc::new([]),
            scope: Arc::default(),
            too_long: Arc::default(),
        };
        // Whatever a report shows of containers, the values of their environments are not in it.
        stage.world.mask_environments();
        let job = stage.job()?;
        let plan = Arc::clone(job.plan());
        stage.invariants = plan.manifest().invariants.clone().into();
        stage.scope = Arc::new(scope(&stage.request, &job));
        let budget_ms = plan.manifest().downtime.budget_ms.unwrap_or_default();
        stage.slow_ms = budget_ms.saturating_add(SLOW_MARGIN_MS);
        let nothing = CaseId::default();
        let quiet = played(&stage, &nothing)?;
        must_end_well(&quiet)?;
        must_be_told(&stage, &quiet)?;
        let learned = Learned::of(&quiet);
        Ok(Self { stage, plan, jobs: rehearsal.jobs.get(), quiet, learned })
    }

    fn play(&self, case: &CaseId) -> Result<Played, NotRehearsed> {
        played(&self.stage, case)
    }

    fn wrong(&self, case: &CaseId, played: &Played) -> Vec<String> {
        let manifest = self.plan.manifest();
        judge::wrong(manifest, &self.stage.world, &self.learned, case, played)
    }

    fn has_budget(&self) -> bool {
        self.plan.manifest().downtime.budget_ms.is_some()
    }

    /// Every case with one fault, and those with one in an undo.
    fn singles(&self) -> Result<Vec<CaseId>, NotRehearsed> {
        let nothing = CaseId::default();
        let mut cases = learn::derived(&nothing, &self.quiet, 0, self.has_budget());
        let Some(back) = learn::all_the_way_back(&self.quiet) else { return Ok(cases) };
        let played = self.play(&back)?;
        let from = played.passed.iter().position(|passed| passed.is_back);
        if let Some(from) = from {
            cases.extend(learn::derived(&back, &played, from, self.has_budget()));
        }
        Ok(cases)
    }

    /// Each of these, as many at once as there are jobs; the outcomes in their order.
    fn run_all(
        &self,
        cases: Vec<CaseId>,
        round: &Round,
        progress: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Vec<Outcome>, NotRehearsed> {
        let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let outcomes: Mutex<BTreeMap<usize, Result<Outcome, NotRehearsed>>> = Mutex::default();
        let work = || {
            while let Some(case) = {
                let at = next.fetch_add(1, Ordering::SeqCst);
                cases.get(at).map(|case| (at, case))
            } {
                let outcome = self.outcome(case.1, round);
                let mut all = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
                all.insert(case.0, outcome);
                drop(all);
                progress(done.fetch_add(1, Ordering::SeqCst) + 1, cases.len());
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.min(cases.len()) {
                scope.spawn(work);
            }
        });
        let outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
        outcomes.into_values().collect()
    }

    fn outcome(&self, case: &CaseId, round: &Round) -> Result<Outcome, NotRehearsed> {
        let played = self.play(case)?;
        let mut outcome = Outcome::of(case, &played);
        // Where it did not come about, nothing befell it that it was to be tried with.
        if outcome.fired {
            outcome.wrong = self.wrong(case, &played);
            let from = learn::after_faults(case, &played);
            let mut next = learn::derived(case, &played, from, self.has_budget());
            next.retain(|case| !round.known.contains(case));
            outcome.next_count = next.len();
            if round.faults == Faults::Double {
                outcome.next = next;
            }
        }
        Ok(outcome)
    }

    fn report(&self, outcomes: &[Outcome], possible: usize, faults: Faults) -> Report {
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
            why: self.wrong(&nothing, &self.quiet),
            case: nothing,
            doing: Doing::engine(),
            ended: ending(&self.quiet),
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
            quiet: ending(&self.quiet),
            cases: outcomes.len(),
            distinct: distinct.len(),
            possible,
            faults: if faults == Faults::Single { 1 } else { 2 },
            wrong: wrong.collect(),
            not_fired: not_fired.collect(),
            endings,
            weak: weak::points(manifest, &self.quiet, &told),
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
        }
    }

    /// The steps that did something which can be taken back, and that no case took back.
    fn never_undone(&self, told: &[&Outcome]) -> Vec<String> {
        let needing = self.quiet.state.steps.iter().filter(|(key, step)| {
            !self.plan.is_cleanup(&key.step)
                && step.to_undo().any(|(_, effect)| !self.quiet.state.was_irreversible(effect))
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
            !self.quiet.held.contains(nth) && !told.iter().any(|one| one.held.contains(nth))
        };
        sometimes.filter(is_never).map(|(_, one)| one.name.clone()).collect()
    }

    fn never_retried(&self, told: &[&Outcome]) -> Vec<String> {
        // What its `when` leaves out is tried neither once nor again.
        let runs = |id: &StepId| {
            let of_it = self.quiet.state.steps.iter().filter(|(key, _)| key.step == *id);
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

/// What invariants see beside the world.
fn scope(request: &Request, job: &Job) -> Scope {
    let name = &job.plan().manifest().operation.name;
    Scope {
        inputs: job.inputs().clone(),
        operation: json!({ "name": name }),
        environment: json!({ "name": request.environment.as_str() }),
        ..Scope::default()
    }
}

/// Run a case, as long as its invariants can be told in good time.
fn played(stage: &Stage, case: &CaseId) -> Result<Played, NotRehearsed> {
    let played = stage.play(case).map_err(NotRehearsed::Internal)?;
    match stage.too_long.get() {
        None => Ok(played),
        Some(nth) => {
            let limit = duration_text(stage.limits.expression_ms_max);
            Err(mistaken(stage, *nth, format!("it takes longer than {limit} to be told")))
        }
    }
}

/// Where nothing goes wrong, each invariant can be told.
fn must_be_told(stage: &Stage, quiet: &Played) -> Result<(), NotRehearsed> {
    let mut unknown = quiet.broken.iter().filter(|one| one.is_unknown);
    match unknown.find_map(|one| Some((one.invariant?, one.told.clone()))) {
        None => Ok(()),
        Some((nth, told)) => Err(mistaken(stage, nth, told)),
    }
}

/// An invariant that is of no use, at its place.
fn mistaken(stage: &Stage, nth: usize, why: String) -> NotRehearsed {
    let Request { manifest_name, manifest, .. } = &stage.request;
    let span = stage.invariants[nth].span.clone();
    NotRehearsed::Refused(Refusal::Mistakes(Diagnostics {
        name: manifest_name.clone(),
        text: manifest.clone(),
        list: vec![Diagnostic::at(span, why)],
    }))
}

/// Where nothing goes wrong, it comes to its end.
fn must_end_well(quiet: &Played) -> Result<(), NotRehearsed> {
    let state = &quiet.state;
    let why = match (&quiet.failed, state.status) {
        (Some(why), _) => why.clone(),
        (None, Status::Succeeded) => return Ok(()),
        (None, Status::Refused) => format!("it is refused: {}", state.refusals.join("; ")),
        (None, _) => {
            format!("it is rolled back: {}", state.why.clone().unwrap_or_default())
        }
    };
    Err(NotRehearsed::NoQuietEnd(format!("where nothing goes wrong, {why}")))
}
