//! What is to be rehearsed, and what all of its cases have in common.

use crate::NotRehearsed;
use crate::goal::reads_the_time;
use crate::judge;
use crate::learn::{self, Learned};
use crate::outcome::Outcome;
use crate::place::CaseId;
use crate::service::Services;
use crate::stage::{BEGINS, Based, Behind, BehindStore, Played, Stage};
use serde_json::json;
use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use stepback_core::diagnostic::{Diagnostic, Diagnostics};
use stepback_core::expr::Scope;
use stepback_core::manifest::duration_text;
use stepback_core::plan::Plan;
use stepback_core::state::Status;
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
    /// Whether cases that end with a kill go on from that instant, and those that are the same
    /// there are run once. It changes how long a rehearsal takes, and nothing else.
    pub shares: bool,
}

/// What is run at one go.
pub(crate) struct Round {
    /// Cases that are run in any case, and are not counted again as those with one fault more.
    pub known: BTreeSet<CaseId>,
    /// Whether the cases with one fault more are to be run.
    pub faults: Faults,
}

/// All that cases have in common.
pub(crate) struct House {
    pub stage: Stage,
    pub plan: Arc<Plan>,
    pub jobs: usize,
    /// Nothing goes wrong.
    pub nothing: Based,
    learned: Learned,
    pub shares: bool,
}

impl House {
    pub fn open(rehearsal: &Rehearsal) -> Result<Self, NotRehearsed> {
        let key = Key::of_bytes(&[7; KEY_BYTES]);
        let mut stage = Stage {
            request: rehearsal.request.clone(),
            world: rehearsal.world.clone(),
            plugins: Arc::clone(&rehearsal.plugins),
            runtime: Arc::clone(&rehearsal.runtime),
            plans: Arc::default(),
            secrets: Arc::clone(&rehearsal.secrets),
            key: key.map_err(|error| NotRehearsed::Internal(error.to_string()))?,
            limits: rehearsal.limits.clone(),
            behind: rehearsal.behind.clone(),
            behind_store: rehearsal.behind_store.clone(),
            slow_ms: 0,
            begins: BEGINS,
            invariants: Arc::new([]),
            scope: Arc::default(),
            began: Arc::default(),
            quiet: Services::default(),
            too_long: Arc::default(),
        };
        // Whatever a report shows of containers, the values of their environments are not in it.
        stage.world.mask_environments();
        let job = stage.job()?;
        let plan = Arc::clone(job.plan());
        stage.invariants = plan.manifest().invariants.clone().into();
        stage.scope = Arc::new(scope(&stage.request, &job));
        stage.began = Arc::new(stage.world.how_pools_serve(BEGINS));
        let budget_ms = plan.manifest().downtime.budget_ms.unwrap_or_default();
        stage.slow_ms = budget_ms.saturating_add(SLOW_MARGIN_MS);
        // What stands in front of the world or of the store may hold what nobody could copy.
        let is_plain = stage.behind.is_none() && stage.behind_store.is_none();
        let shares = rehearsal.shares && is_plain;
        let nothing = based(&stage, &CaseId::default(), shares)?;
        stage.quiet = Services::of(&stage.world, &nothing.played.world);
        must_end_well(&nothing.played)?;
        must_be_told(&stage, &nothing.played)?;
        let later = reads_the_time(&nothing.played).then(|| stage.later());
        let later = later.map(|stage| stage.play(&CaseId::default())).transpose();
        // What does not come to its end at another time tells nothing of what depends on it.
        let is_well = |played: &Played| played.state.status == Status::Succeeded;
        let later = later.map_err(NotRehearsed::Internal)?.filter(is_well);
        let learned = Learned::of(&nothing.played, later.as_ref());
        Ok(Self { stage, plan, jobs: rehearsal.jobs.get(), nothing, learned, shares })
    }

    /// The run in which nothing goes wrong.
    pub fn quiet(&self) -> &Played {
        &self.nothing.played
    }

    /// A case, and what each kill on its way would leave.
    pub fn based(&self, case: &CaseId) -> Result<Based, NotRehearsed> {
        based(&self.stage, case, self.shares)
    }

    /// A case that goes on from another one, or is run from its start.
    pub fn play(&self, base: Option<&Based>, case: &CaseId) -> Result<Played, NotRehearsed> {
        let kill = base.and_then(|base| Some((base, base.kill_of(case)?)));
        let quiet = base.and_then(|base| Some((base, base.quiet_before(case)?)));
        let played = match (kill, quiet) {
            (Some((base, kill)), _) => self.stage.after_kill(base, case, kill),
            (None, Some((base, quiet))) => self.stage.after_quiet(base, case, quiet),
            (None, None) => self.stage.play(case),
        };
        let played = played.map_err(NotRehearsed::Internal)?;
        must_be_in_time(&self.stage)?;
        Ok(played)
    }

    pub fn wrong(&self, case: &CaseId, played: &Played) -> Vec<String> {
        let manifest = self.plan.manifest();
        judge::wrong(manifest, &self.stage.world, &self.learned, case, played)
    }

    fn has_budget(&self) -> bool {
        self.plan.manifest().downtime.budget_ms.is_some()
    }

    /// Every case with one fault.
    pub fn forward(&self) -> Vec<CaseId> {
        learn::derived(&self.nothing.case, self.quiet(), 0, self.has_budget())
    }

    /// The case in which all is taken back that can be.
    pub fn all_the_way_back(&self) -> Result<Option<Based>, NotRehearsed> {
        learn::all_the_way_back(self.quiet()).map(|back| self.based(&back)).transpose()
    }

    /// Every case with one fault in an undo.
    pub fn backward(&self, back: Option<&Based>) -> Vec<CaseId> {
        let Some(Based { case, played, .. }) = back else { return vec![] };
        let from = played.passed.iter().position(|passed| passed.is_back);
        from.map_or_else(Vec::new, |from| learn::derived(case, played, from, self.has_budget()))
    }

    /// What is kept of a case that was run.
    pub fn outcome(
        &self,
        base: Option<&Based>,
        case: &CaseId,
        played: &Played,
        round: &Round,
    ) -> Outcome {
        let told = base.map(|base| base.told_until(played));
        let mut outcome = Outcome::of(case, played, told.as_ref());
        // Where it did not come about, nothing befell it that it was to be tried with.
        if outcome.fired {
            outcome.wrong = self.wrong(case, played);
            let from = learn::after_faults(case, played);
            let mut next = learn::derived(case, played, from, self.has_budget());
            next.retain(|case| !round.known.contains(case));
            outcome.next_count = next.len();
            if round.faults == Faults::Double {
                outcome.next = next;
            }
        }
        outcome
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

/// Run a case that others may go on from.
fn based(stage: &Stage, case: &CaseId, shares: bool) -> Result<Based, NotRehearsed> {
    let based = stage.based(case, shares).map_err(NotRehearsed::Internal)?;
    must_be_in_time(stage)?;
    Ok(based)
}

/// An invariant that takes too long is a mistake, in whichever case.
fn must_be_in_time(stage: &Stage) -> Result<(), NotRehearsed> {
    match stage.too_long.get() {
        None => Ok(()),
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
