//! One case: the operation in a world of its own, from its beginning to its end, whoever runs it.

use crate::NotRehearsed;
use crate::assumed;
use crate::digest::Digest;
use crate::invariants::Watched;
use crate::kills::{Kill, Kills, Quiet, Watching, Witness, renumbered};
use crate::place::{CaseId, Fault, Place};
use crate::provider;
use crate::script::{Asked, Broken, OPERATION, Passed, Script, Told};
use crate::secrets::MadeUp;
use crate::service::{Services, idle, is_an_instance_down, missing, stopped};
use crate::store;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;
use stepback_clock::{Clock, Virtual};
use stepback_core::event::Record;
use stepback_core::expr::{Scope, WorldFacts};
use stepback_core::manifest::Invariant;
use stepback_core::state::{State, Status};
use stepback_core::{OperationId, Resource, StepKey, StoreId, UnixMs};
use stepback_engine::{
    Control, Deps, Job, Limits, Plans, PluginSource, Refusal, Reporter, Request, RunError,
    SecretSource, Still,
};
use stepback_files::key::Key;
use stepback_journal::{LogLine, Memory, RunnerId, Store};
use stepback_provider::Provider;
use stepback_simulated::Simulated;
use stepback_simulated::world::World;
use stepback_wasm::Runtime;

/// When every case begins, in Unix time: the same, so that the same comes out.
pub(crate) const BEGINS: UnixMs = UnixMs(1_790_000_000_000);
/// So much later begins what is to tell what depends on the time: at another month, day, hour,
/// minute and second, so that no way of writing a time is the same.
const LATER: Duration = Duration::from_millis(((37 * 24 + 5) * 3600 + 17 * 60 + 23) * 1000 + 456);
/// After so long, by the virtual clock, somebody hangs who has not ended.
const HANGS_AFTER: Duration = Duration::from_secs(40 * 24 * 3600);
const TOO_LONG: &str = "it takes longer than 40 days";
/// More often nobody is killed in one case.
const LIVES_MAX: u32 = 8;
/// Who runs every case: a store in memory can't see that a runner is dead.
const RUNNER: &str = "rehearsal";

/// What a provider is put in front of the simulated one, to see whether what it does wrong is
/// found.
pub type Behind = Arc<dyn Fn(Arc<Simulated>) -> Arc<dyn Provider> + Send + Sync>;

/// What a store is put in front of the one in memory, to see the same.
pub type BehindStore = Arc<dyn Fn(Arc<Memory>) -> Arc<dyn Store> + Send + Sync>;

/// What every case is run with.
#[derive(Clone)]
pub(crate) struct Stage {
    pub request: Request,
    pub world: World,
    pub plugins: Arc<dyn PluginSource>,
    pub runtime: Arc<Runtime>,
    /// The manifest is read once for all cases.
    pub plans: Arc<Plans>,
    pub secrets: Arc<dyn SecretSource>,
    pub key: Key,
    pub limits: Limits,
    pub behind: Option<Behind>,
    pub behind_store: Option<BehindStore>,
    /// How long what is slow takes.
    pub slow_ms: u64,
    /// When a case begins.
    pub begins: UnixMs,
    pub invariants: Arc<[Invariant]>,
    /// What invariants see beside the world.
    pub scope: Arc<Scope>,
    /// The pools before the operation, for invariants.
    pub began: Arc<WorldFacts>,
    /// What becomes of containers where nothing goes wrong.
    pub quiet: Services,
    /// The invariant that took too long, in whichever case.
    pub too_long: Arc<OnceLock<usize>>,
}

/// How a case went.
#[derive(Clone, Debug)]
pub(crate) struct Played {
    /// Why it did not come to an end, or never began, if so.
    pub failed: Option<String>,
    pub records: Vec<Record>,
    /// How many of them are those of the case that it went on from.
    pub shared: usize,
    pub state: State,
    /// The world in the end.
    pub world: World,
    pub passed: Vec<Passed>,
    /// Of each fault, whether it came about.
    pub fired: Vec<bool>,
    /// What was as it must never be.
    pub broken: Vec<Broken>,
    /// The invariants that held once at least, by their places in the manifest.
    pub held: BTreeSet<usize>,
    /// What the invariants asked of the world.
    pub asked: Asked,
    /// The containers that ran before, and run no more in the end.
    pub stopped: Vec<Resource>,
    /// Whether an instance that ran before runs no more.
    pub is_an_instance_down: bool,
    /// The locks that are held in the end.
    pub locks: Vec<String>,
    /// Whether its lease is held, though whoever ran it to its end was not killed.
    pub is_run: bool,
    /// How long it took, by the virtual clock.
    pub took_ms: u64,
}

/// What a runner finds when it begins, and whoever takes it up after it.
struct Set {
    world: Arc<Simulated>,
    store: Arc<Memory>,
    script: Arc<Script>,
    kills: Option<Watching>,
}

/// A case that was run, and what each kill on its way would have left.
pub(crate) struct Based {
    pub case: CaseId,
    pub played: Played,
    pub kills: Kills,
    store: Arc<Memory>,
    told: OnceLock<Digest>,
}

impl Based {
    /// What tells the beginning of a journal that goes on from this one.
    pub fn told_until(&self, played: &Played) -> Digest {
        let all = self.told.get_or_init(|| Digest::of(None, &self.played.records));
        all.of_first(played.shared)
    }

    /// What a case goes on from that is this one with a kill at its end.
    pub fn kill_of(&self, case: &CaseId) -> Option<&Kill> {
        let (last, before) = case.0.split_last()?;
        let is_its = before == self.case.0;
        self.kills.get(last.at, last.fault).filter(|_| is_its)
    }

    /// What a case goes on from that is this one with another fault at its end.
    pub fn quiet_before(&self, case: &CaseId) -> Option<&Quiet> {
        let (last, before) = case.0.split_last()?;
        let place = |passed: &Passed| passed.place == last.at;
        let at = self.played.passed.iter().position(place).filter(|_| before == self.case.0)?;
        self.kills.quiet_before(at)
    }

    /// The first kill at which everything is as at the one that ends a case.
    pub fn same_as(&self, case: &CaseId) -> Option<(Place, Fault)> {
        let (kill, last) = (self.kill_of(case)?, case.0.last()?);
        Some(kill.same_as.unwrap_or((last.at, last.fault)))
    }

    /// How it goes on after a kill at which everything is as at the first.
    pub fn after_another(&self, first: &Played, same: (Place, Fault), kill: &Kill) -> Played {
        let mut played = first.clone();
        if let Some(was) = self.kills.get(same.0, same.1) {
            let later = renumbered(&first.passed[was.script.passed..], &was.script, &kill.script);
            played.passed = self.played.passed[..kill.script.passed].to_vec();
            played.passed.extend(later);
        }
        played
    }
}

/// Who is told how it goes.
struct Listener {
    witness: Witness,
    script: Arc<Script>,
}

impl Reporter for Listener {
    fn on_still(&self, still: &dyn Fn() -> Still) {
        self.witness.rests(&self.script, still);
    }

    fn on_record(&self, _: OperationId, _: &Record) {}

    fn on_log(&self, _: OperationId, _: &LogLine) {}

    fn on_progress(&self, _: OperationId, _: &StepKey, _: &str, _: u64, _: Option<u64>) {}
}

impl Stage {
    /// The manifest, held against its plugins and its inputs.
    pub fn job(&self) -> Result<Job, NotRehearsed> {
        let time = Virtual::new(self.begins);
        let world = Arc::new(Simulated::of(self.world.clone(), time.clock()));
        let store = Arc::new(Memory::named(StoreId(RUNNER.into()), time.clock()));
        let set = Set { world, store, script: Script::new(&[]), kills: None };
        let deps = self.deps(&set, &time.clock());
        // Plugins that are new are compiled here, which takes real time, and asked for their steps.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| NotRehearsed::Internal(error.to_string()))?;
        let prepared = runtime.block_on(Job::prepare(&deps, &self.request));
        prepared.map_err(NotRehearsed::Refused)
    }

    /// The same, for cases that begin much later.
    pub fn later(&self) -> Self {
        let later = u64::try_from(LATER.as_millis()).unwrap_or(u64::MAX);
        Self { begins: UnixMs(self.begins.0.saturating_add(later)), ..self.clone() }
    }

    /// Run the operation in which this befalls it.
    pub fn play(&self, case: &CaseId) -> Result<Played, String> {
        self.begin(case, None).map(|(played, _)| played)
    }

    /// The same, and what each kill on its way would leave, if others are to go on from there.
    pub fn based(&self, case: &CaseId, shares: bool) -> Result<Based, String> {
        let kills: Watching = Arc::default();
        let watching = shares.then(|| Arc::clone(&kills));
        let (played, store) = self.begin(case, watching)?;
        let mut kills = kills.lock().unwrap_or_else(PoisonError::into_inner);
        let (kills, told) = (std::mem::take(&mut kills.0), OnceLock::new());
        Ok(Based { case: case.clone(), played, store, kills, told })
    }

    fn begin(
        &self,
        case: &CaseId,
        kills: Option<Watching>,
    ) -> Result<(Played, Arc<Memory>), String> {
        let time = Virtual::new(self.begins);
        let set = Set {
            world: Arc::new(Simulated::of(self.world.clone(), time.clock())),
            store: Arc::new(Memory::named(StoreId(RUNNER.into()), time.clock())),
            script: Script::new(&case.0),
            kills,
        };
        let watched = self.watched(&set, &time.clock());
        let begins = time.runtime().map_err(|error| error.to_string())?;
        begins.block_on(watched.look("before anything is done"));
        drop(begins);
        let played = self.lives(&time, &set, LIVES_MAX, None)?;
        Ok((played, set.store))
    }

    /// Run a case that is another one with a kill at its end, from that instant on.
    pub fn after_kill(&self, based: &Based, case: &CaseId, kill: &Kill) -> Result<Played, String> {
        let time = Virtual::new(self.begins);
        time.advance(Duration::from_millis(
            kill.at.since_ms(self.begins) + assumed::TAKEN_UP_AFTER_MS,
        ));
        let world = World::clone(&kill.world);
        let set = Set {
            world: Arc::new(Simulated::of(world, time.clock())),
            store: Arc::new(based.store.as_at(&kill.store, time.clock())),
            script: Script::going_on(&case.0, &kill.script, &based.played.passed, true),
            kills: None,
        };
        let played = self.lives(&time, &set, LIVES_MAX - 1, None)?;
        Ok(Played { shared: kill.script.records(), ..played })
    }

    /// Run a case that is another one with a fault at its end, from an instant before that on.
    pub fn after_quiet(
        &self,
        based: &Based,
        case: &CaseId,
        quiet: &Quiet,
    ) -> Result<Played, String> {
        let time = Virtual::new(self.begins);
        time.advance(Duration::from_millis(quiet.at.since_ms(self.begins)));
        let set = Set {
            world: Arc::new(Simulated::of(World::clone(&quiet.world), time.clock())),
            store: Arc::new(based.store.as_at(&quiet.store, time.clock())),
            script: Script::going_on(&case.0, &quiet.script, &based.played.passed, false),
            kills: None,
        };
        let played = self.lives(&time, &set, LIVES_MAX, Some(quiet.still.clone()))?;
        Ok(Played { shared: quiet.script.records(), ..played })
    }

    /// Run it until somebody comes to its end.
    fn lives(
        &self,
        time: &Virtual,
        set: &Set,
        lives: u32,
        mut still: Option<Still>,
    ) -> Result<Played, String> {
        let Set { world, store, script, .. } = set;
        let endless = format!("it was killed {LIVES_MAX} times, and never came to an end");
        let mut ended = Err(endless);
        for _ in 0..lives {
            script.is_taken_up();
            let runtime = time.runtime().map_err(|error| error.to_string())?;
            let deps = self.deps(set, &time.clock());
            let (request, kept) = (self.request.clone(), Arc::clone(store));
            let still = still.take();
            let goes = runtime.spawn(async move { carried(&deps, &kept, &request, still).await });
            let (clock, died) = (time.clock(), Arc::clone(script));
            let life = runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = died.died.notified() => None,
                    ended = goes => Some(ended.unwrap_or_else(|panic| Err(panic.to_string()))),
                    // Time passes only when everybody waits: nobody can go on.
                    () = clock.sleep(HANGS_AFTER) => Some(Err(TOO_LONG.to_owned())),
                }
            });
            // Whatever was under way ends here, without a word, as after `kill -9`.
            drop(runtime);
            if let Some(life) = life {
                ended = life;
                break;
            }
            time.advance(Duration::from_millis(assumed::TAKEN_UP_AFTER_MS));
        }
        let took_ms = time.clock().unix().since_ms(self.begins);
        self.told(ended, world, store, script, took_ms)
    }

    fn told(
        &self,
        ended: Result<Found, String>,
        world: &Simulated,
        store: &Memory,
        script: &Script,
        took_ms: u64,
    ) -> Result<Played, String> {
        let reading = tokio::runtime::Builder::new_current_thread().build();
        let reading = reading.map_err(|error| error.to_string())?;
        let (records, locks, summary) = reading.block_on(async {
            (store.load(OPERATION).await, store.locks().await, store.summary(OPERATION).await)
        });
        // There is none where it was refused before it was on record.
        let records = records.unwrap_or_default();
        let state = State::fold(&records).map_err(|error| error.to_string())?;
        let locks = locks.map_err(|error| error.to_string())?;
        let summary = summary.map_err(|error| error.to_string())?;
        let Told { passed, fired, broken, held, asked } = script.told();
        let world = world.load().map_err(|failure| failure.message)?;
        let is_back = matches!(state.status, Status::RolledBack | Status::RollbackFailed);
        let mut stopped = stopped(&self.world, &world, is_back);
        if state.committed {
            // A cleanup that failed leaves, stopped, what it was to remove; what serves in its
            // place must run.
            stopped.retain(|one| !self.quiet.removed.contains(one));
            stopped.extend(missing(&self.quiet.run, &world));
        }
        let now = UnixMs(self.begins.0.saturating_add(took_ms));
        stopped.extend(idle(&self.began, &world.how_pools_serve(now)));
        let is_an_instance_down = is_an_instance_down(&self.world, &world);
        Ok(Played {
            is_run: summary.is_some_and(|one| one.is_run) && ended == Ok(Found::Unfinished),
            failed: ended.err(),
            records,
            shared: 0,
            state,
            world,
            stopped,
            is_an_instance_down,
            asked,
            passed,
            fired,
            broken,
            held,
            locks: locks.into_iter().map(|lock| lock.name.0).collect(),
            took_ms,
        })
    }

    fn watched(&self, set: &Set, clock: &Clock) -> Watched {
        Watched {
            invariants: Arc::clone(&self.invariants),
            scope: Arc::clone(&self.scope),
            world: Arc::clone(&set.world),
            began: Arc::clone(&self.began),
            script: Arc::clone(&set.script),
            clock: clock.clone(),
            limit: Duration::from_millis(self.limits.expression_ms_max),
            too_long: Arc::clone(&self.too_long),
        }
    }

    /// What one runner runs it with.
    fn deps(&self, set: &Set, clock: &Clock) -> Arc<Deps> {
        let Set { world, store, script, kills } = set;
        let witness = || Witness {
            store: Arc::clone(store),
            world: Arc::clone(world),
            clock: clock.clone(),
            kills: kills.clone(),
        };
        let inner: Arc<dyn Provider> = match &self.behind {
            Some(behind) => behind(Arc::clone(world)),
            None => Arc::clone(world) as _,
        };
        let provider = provider::Scripted {
            inner,
            script: Arc::clone(script),
            store: Arc::clone(store),
            watched: Arc::new(self.watched(set, clock)),
            witness: witness(),
            clock: clock.clone(),
            slow_ms: self.slow_ms,
        };
        let behind: Arc<dyn Store> = match &self.behind_store {
            Some(behind) => behind(Arc::clone(store)),
            None => Arc::clone(store) as _,
        };
        let store = store::Scripted {
            inner: behind,
            memory: Arc::clone(store),
            script: Arc::clone(script),
            witness: witness(),
            clock: clock.clone(),
        };
        Arc::new(Deps {
            store: Arc::new(store),
            provider: Arc::new(provider),
            plugins: Arc::clone(&self.plugins),
            runtime: Arc::clone(&self.runtime),
            plans: Arc::clone(&self.plans),
            reporter: Arc::new(Listener { witness: witness(), script: Arc::clone(script) }),
            secrets: Arc::new(MadeUp(Arc::clone(&self.secrets))),
            key: self.key.clone(),
            given: BTreeMap::new(),
            runner: RunnerId(RUNNER.into()),
            actor: self.request.actor.clone(),
            limits: self.limits.clone(),
            clock: clock.clone(),
        })
    }
}

/// How a runner found the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// It ran it to its end.
    Unfinished,
    /// It had ended, and whoever ran it was killed at that moment.
    Ended,
}

/// Run the operation, or go on with it, to its end.
async fn carried(
    deps: &Arc<Deps>,
    store: &Memory,
    request: &Request,
    still: Option<Still>,
) -> Result<Found, String> {
    let control = Control::new();
    let ended = match (still, store.load(OPERATION).await) {
        (Some(still), _) => stepback_engine::go_on(deps, still, &control).await,
        (None, Err(_)) => stepback_engine::run(deps, request, &control).await,
        (None, Ok(_)) => stepback_engine::resume(deps, OPERATION, &control).await,
    };
    match ended {
        Ok(_) => Ok(Found::Unfinished),
        Err(RunError::Ended { .. }) => Ok(Found::Ended),
        // It is on record why.
        Err(RunError::Refused(Refusal::Reasons { id: Some(_), .. })) => Ok(Found::Unfinished),
        Err(error) => Err(error.to_string()),
    }
}
