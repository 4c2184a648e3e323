//! Lives of an operation: each runner lives until it is killed, and another takes up what it left.

use crate::befall::{self, Befall, Story};
use crate::built::Built;
use crate::mortal::{Acks, Epochs, MortalProvider, MortalStore, Reaper};
use crate::truth;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};
use stepback_clock::Clock;
use stepback_core::event::Record;
use stepback_core::inputs::Given;
use stepback_core::state::{State, Status};
use stepback_core::*;
use stepback_engine::{Control, Deps, Limits, Plans, Reporter, Request, RunError, SecretSource};
use stepback_files::key::{KEY_BYTES, Key};
use stepback_journal::{LogLine, Memory, RunnerId, Store};
use stepback_provider::Provider;
use stepback_provider::faults::Faults;
use stepback_simulated::Simulated;
use stepback_simulated::world::World;
use stepback_wasm::{Runtime, RuntimeConfig};

/// The world that every case begins with.
pub const WORLD: &str = include_str!("../../operations/demo-world.toml");

/// When every case begins.
pub const BEGIN: UnixMs = UnixMs(1_790_000_000_000);

/// Every life of an operation has the same manifest.
static PLANS: LazyLock<Arc<Plans>> = LazyLock::new(Arc::default);

static RUNTIME: LazyLock<Arc<Runtime>> = LazyLock::new(|| {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rules-cache");
    let config = RuntimeConfig { cache_dir: Some(cache), ..RuntimeConfig::default() };
    let runtime = Arc::new(Runtime::new(config).expect("a sandbox"));
    // A plugin is asked for its steps once, and whoever else wants to know meanwhile waits for
    // another thread's life: a wait in which a clock that only knows its own would leap.
    std::thread::scope(|scope| scope.spawn(|| describe_all(&runtime)).join()).expect("plugins");
    runtime
});

fn describe_all(runtime: &Runtime) {
    let asking = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let asking = asking.expect("a runtime");
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/target");
    for file in std::fs::read_dir(built).expect("the build made them").flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        if let Some(name) = name.strip_suffix(".component.wasm") {
            let bytes = std::fs::read(file.path()).expect("a file");
            let plugin = runtime.load(name, &bytes).expect("a plugin");
            asking.block_on(plugin.describe()).expect("its steps");
        }
    }
}

/// What is to befall one life: each at the n-th instant at which something could.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fate {
    pub kill_at: Option<u32>,
    pub cancel_at: Option<u32>,
}

struct Quiet;

impl Reporter for Quiet {
    fn on_record(&self, _: OperationId, _: &Record) {}

    fn on_log(&self, _: OperationId, _: &LogLine) {}

    fn on_progress(&self, _: OperationId, _: &StepKey, _: &str, _: u64, _: Option<u64>) {}
}

/// `env:NAME` by name.
#[derive(Clone, Default)]
pub struct Told(pub BTreeMap<String, String>);

impl SecretSource for Told {
    fn resolve(&self, reference: &str) -> Result<String, String> {
        let value = self.0.get(reference).cloned();
        value.ok_or_else(|| format!("there is no {reference}"))
    }
}

/// What an operation runs on here.
pub fn deps(
    store: Arc<dyn Store>,
    provider: Arc<dyn Provider>,
    runtime: Arc<Runtime>,
    limits: Limits,
    clock: Clock,
) -> Arc<Deps> {
    Arc::new(with_secrets(store, provider, runtime, limits, clock, Told::default()))
}

fn with_secrets(
    store: Arc<dyn Store>,
    provider: Arc<dyn Provider>,
    runtime: Arc<Runtime>,
    limits: Limits,
    clock: Clock,
    secrets: Told,
) -> Deps {
    Deps {
        store,
        provider,
        plugins: Arc::new(Built),
        runtime,
        plans: Arc::clone(&PLANS),
        reporter: Arc::new(Quiet),
        secrets: Arc::new(secrets),
        key: Key::of_bytes(&[7; KEY_BYTES]).expect("a key"),
        given: BTreeMap::new(),
        // The same name for all: a store in memory can't see a runner die.
        runner: RunnerId("mortal".into()),
        actor: "test".into(),
        limits,
        clock,
    }
}

/// A manifest to run, with nothing given.
pub fn request(manifest: &str) -> Request {
    Request {
        manifest_name: "case.toml".into(),
        manifest: manifest.to_owned(),
        base_dir: ".".into(),
        inputs: BTreeMap::new(),
        secrets: BTreeMap::new(),
        environment: "local".into(),
        actor: "test".into(),
        no_wait: false,
    }
}

/// An operation of another store, on the same world, that numbers its operations from 1 too.
struct Neighbour {
    manifest: String,
    store: Arc<Memory>,
    /// The life in which it begins.
    from_life: u32,
}

/// An operation with all that outlives its runners.
pub struct Lives {
    manifest: String,
    pub story: Arc<Story>,
    faults: Vec<String>,
    pub before: World,
    secrets: Told,
    neighbour: Option<Neighbour>,
    lived: u32,
    /// Whether nothing stands in the way of a rollback.
    pub expects_restored: bool,
    pub acks: Acks,
    /// How long the disk takes to append.
    pub append_ms: u64,
    pub epochs: Epochs,
    /// The mutant: the runner's clock stands still while the machine sleeps.
    pub sleeps_are_lost: bool,
    pub limits: Limits,
    /// Inputs, by their names.
    pub given: &'static [(&'static str, &'static str)],
}

/// How a life ended.
#[derive(Debug)]
pub struct Lived {
    /// `None`: it was killed.
    pub ended: Option<Result<Status, String>>,
    /// The instants it had.
    pub instants: u32,
}

impl Lives {
    pub fn new(manifest: &str, faults: &[String]) -> Self {
        Self::with(manifest, faults, vec![], 0)
    }

    /// With all that befalls it, in a world in which what is created is listed so many looks late.
    pub fn with(
        manifest: &str,
        faults: &[String],
        befalls: Vec<(u32, Befall)>,
        lag_looks: u32,
    ) -> Self {
        let time = befall::begin();
        let world = format!("describe_lag_looks = {lag_looks}\n{WORLD}");
        let world = Simulated::in_memory(&world, time.clock());
        let world = Arc::new(world.expect("a world"));
        let before = world.load().expect("a world");
        let store = Arc::new(Memory::open(time.clock()).expect("a store"));
        Self {
            manifest: manifest.to_owned(),
            story: Story::new(world, store, time, befalls),
            faults: faults.to_vec(),
            before,
            secrets: Told::default(),
            neighbour: None,
            lived: 0,
            expects_restored: false,
            acks: Acks::default(),
            append_ms: 0,
            epochs: Epochs::default(),
            sleeps_are_lost: false,
            limits: Limits::default(),
            given: &[],
        }
    }

    /// With a secret input.
    pub fn knowing(mut self, name: &str, value: &str) -> Self {
        self.secrets.0.insert(format!("env:{name}"), value.to_owned());
        self
    }

    /// With an operation of another store beside it, from this life on.
    pub fn beside(mut self, manifest: &str, from_life: u32) -> Self {
        let store = Arc::new(Memory::open(self.story.time.clock()).expect("a store"));
        self.neighbour = Some(Neighbour { manifest: manifest.to_owned(), store, from_life });
        self
    }

    /// The secrets by their inputs' names.
    pub fn secrets(&self) -> impl Iterator<Item = (&str, &str)> {
        self.secrets.0.iter().map(|(name, value)| (name.trim_start_matches("env:"), value.as_str()))
    }

    /// One life: run the operation if there is none yet, or else go on with it.
    pub fn live(&mut self, fate: Fate) -> Lived {
        self.lived += 1;
        self.story.begins_again();
        // A time that stands still but for waits: nothing rests on how fast the machine is.
        let runtime = self.story.time.runtime().expect("a runtime");
        let reaper = Reaper::new(fate, Arc::clone(&self.story));
        self.story.faulty.set_faults(Faults::parse(&self.faults).expect("faults"));
        let clock = self.story.time.clock();
        let (goes, neighbour_goes) =
            (runtime.spawn(self.goes(&reaper)), runtime.spawn(self.neighbour_goes()));
        let both = async { tokio::join!(goes, neighbour_goes) };
        let ended = runtime.block_on(async {
            tokio::select! {
                biased;
                () = reaper.died.notified() => None,
                (ended, _) = both => Some(ended.expect("no panic")),
                // Time passes only when everybody waits, so this is when nobody can go on.
                () = clock.sleep(befall::too_long()) => Some(Err("it hangs".to_owned())),
            }
        });
        // Whatever was under way ends here, without a word.
        drop(runtime);
        Lived { ended, instants: reaper.passed.load(Ordering::SeqCst) }
    }

    /// What the operation's runner does.
    fn goes(&self, reaper: &Arc<Reaper>) -> impl Future<Output = Result<Status, String>> + use<> {
        let inner = Arc::clone(&self.story.store);
        let store = MortalStore {
            inner: Arc::clone(&inner),
            reaper: Arc::clone(reaper),
            acks: self.acks,
            append_ms: self.append_ms,
            held_back: tokio::sync::Mutex::default(),
        };
        let provider = MortalProvider { reaper: Arc::clone(reaper), epochs: self.epochs };
        let clock = match self.sleeps_are_lost {
            true => self.story.time.clock_without_sleep(),
            false => self.story.time.clock(),
        };
        let (runtime, limits) = (Arc::clone(&RUNTIME), self.limits.clone());
        let (store, provider) = (Arc::new(store), Arc::new(provider));
        let deps = with_secrets(store, provider, runtime, limits, clock, self.secrets.clone());
        let deps = Arc::new(deps);
        let secret =
            |name: &String| (name.trim_start_matches("env:").to_owned(), Given::Text(name.clone()));
        let plain =
            |(name, value): &(&str, &str)| ((*name).to_owned(), Given::Text((*value).to_owned()));
        let inputs =
            self.secrets.0.keys().map(secret).chain(self.given.iter().map(plain)).collect();
        let request = Request { inputs, ..request(&self.manifest) };
        async move { carried(&deps, &inner, &request).await }
    }

    /// What the one of the operation beside it does.
    fn neighbour_goes(&self) -> impl Future<Output = ()> + use<> {
        let neighbour = self.neighbour.as_ref().filter(|one| self.lived >= one.from_life);
        let goes = neighbour.map(|neighbour| {
            let provider = self.epochs.over(Arc::clone(&self.story.faulty));
            let store = Arc::clone(&neighbour.store);
            let (runtime, limits) = (Arc::clone(&RUNTIME), Limits::default());
            let clock = self.story.time.clock();
            let deps = deps(Arc::clone(&store) as _, provider, runtime, limits, clock);
            (deps, store, request(&neighbour.manifest), Arc::clone(&self.story))
        });
        async move {
            let Some((deps, store, request, story)) = goes else { return };
            if let Err(why) = carried(&deps, &store, &request).await {
                story.says(format!("the neighbour does not end: {why}"));
            }
        }
    }

    /// The fold of the journal as it is.
    pub fn state(&self) -> State {
        befall::state_of(&self.story.store)
    }

    /// The journal as it is.
    pub fn records(&self) -> Vec<Record> {
        at_once(self.story.store.load(OperationId(1))).unwrap_or_default()
    }

    /// The fold of the neighbour's journal.
    pub fn neighbour(&self) -> Option<State> {
        let neighbour = self.neighbour.as_ref().filter(|one| self.lived >= one.from_life)?;
        Some(befall::state_of(&neighbour.store))
    }

    /// What must hold when the operation has ended, whatever befell it.
    pub fn check(&self, status: Status) -> Result<State, String> {
        truth::check(self, status)
    }
}

/// Run the operation, or go on with it, to its end.
async fn carried(
    deps: &Arc<Deps>,
    store: &Arc<Memory>,
    request: &Request,
) -> Result<Status, String> {
    let control = Control::new();
    let ended = match store.load(OperationId(1)).await {
        Err(_) => stepback_engine::run(deps, request, &control).await,
        Ok(_) => stepback_engine::resume(deps, OperationId(1), &control).await,
    };
    match ended {
        Ok(ended) => Ok(ended.state.status),
        Err(RunError::Refused(stepback_engine::Refusal::Mistakes(mistakes))) => {
            Err(format!("the case is none: {mistakes}"))
        }
        Err(RunError::Ended { .. } | RunError::Refused(_)) => Ok(befall::state_of(store).status),
        Err(error) => Err(error.to_string()),
    }
}

/// What a future gives that never has to wait, as those of a store in memory.
pub fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it has to wait"),
    }
}
