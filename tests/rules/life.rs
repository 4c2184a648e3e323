//! Lives of an operation: each runner lives until it is killed, and another takes up what it left.

use crate::mortal::{Acks, MortalProvider, MortalStore, Reaper};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{Context, Poll, Waker};
use stepback_clock::{Clock, Virtual};
use stepback_core::event::Record;
use stepback_core::manifest::Uses;
use stepback_core::state::{State, Status};
use stepback_core::*;
use stepback_engine::{
    Control, Deps, Limits, PluginBytes, PluginSource, Reporter, Request, RunError, SecretSource,
};
use stepback_journal::{LogLine, Memory, RunnerId, Store};
use stepback_provider::Provider;
use stepback_provider::simulated::Simulated;
use stepback_provider::simulated::faults::Faults;
use stepback_wasm::{Grants, Runtime, RuntimeConfig};

/// The world that every case begins with.
pub const WORLD: &str = include_str!("../../operations/demo-world.toml");

/// When every case begins.
pub const BEGIN: UnixMs = UnixMs(1_790_000_000_000);

static RUNTIME: LazyLock<Arc<Runtime>> = LazyLock::new(|| {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rules-cache");
    let config = RuntimeConfig { cache_dir: Some(cache), ..RuntimeConfig::default() };
    Arc::new(Runtime::new(config).expect("a sandbox"))
});

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

struct Built;

impl PluginSource for Built {
    fn plugin(&self, uses: &Uses, _base_dir: &Path) -> Result<PluginBytes, Option<String>> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let path = root.join("plugins/target").join(format!("{}.component.wasm", uses.plugin()));
        let bytes = std::fs::read(path).map_err(|error| Some(error.to_string()))?;
        Ok(PluginBytes { bytes: bytes.into(), grants: Grants::all() })
    }

    fn names(&self) -> Vec<String> {
        vec![]
    }
}

struct NoSecrets;

impl SecretSource for NoSecrets {
    fn resolve(&self, reference: &str) -> Result<String, String> {
        Err(format!("there is no {reference}"))
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
    Arc::new(Deps {
        store,
        provider,
        plugins: Arc::new(Built),
        runtime,
        reporter: Arc::new(Quiet),
        secrets: Arc::new(NoSecrets),
        // The same name for all: a store in memory can't see a runner die.
        runner: RunnerId("mortal".into()),
        actor: "test".into(),
        limits,
        clock,
    })
}

/// A manifest to run, with nothing given.
pub fn request(manifest: &str) -> Request {
    Request {
        manifest_name: "case.toml".into(),
        manifest: manifest.to_owned(),
        base_dir: ".".into(),
        inputs: BTreeMap::new(),
        environment: "local".into(),
        actor: "test".into(),
        no_wait: false,
    }
}

/// An operation with all that outlives its runners.
pub struct Lives {
    manifest: String,
    store: Arc<Memory>,
    world: Arc<Simulated>,
    time: Virtual,
    faults: Vec<String>,
    before: String,
    too_early: Arc<Mutex<Vec<String>>>,
    pub acks: Acks,
    pub limits: Limits,
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
        let time = Virtual::new(BEGIN);
        let world = Simulated::in_memory(WORLD, Faults::default(), time.clock()).expect("a world");
        let before = world.load().expect("a world").restorable();
        Self {
            manifest: manifest.to_owned(),
            store: Arc::new(Memory::open().expect("a store")),
            world: Arc::new(world),
            time,
            faults: faults.to_vec(),
            before,
            too_early: Arc::default(),
            acks: Acks::default(),
            limits: Limits::default(),
        }
    }

    /// One life: run the operation if there is none yet, or else go on with it.
    pub fn live(&self, fate: Fate) -> Lived {
        // A time that stands still but for waits: nothing rests on how fast the machine is.
        let runtime = self.time.runtime().expect("a runtime");
        let reaper = Reaper::new(fate);
        self.world.set_faults(Faults::parse(&self.faults).expect("faults"));
        let ended = runtime.block_on(async {
            tokio::select! {
                biased;
                () = reaper.died.notified() => None,
                ended = self.go(&reaper) => Some(ended),
            }
        });
        // Whatever was under way ends here, without a word.
        drop(runtime);
        Lived { ended, instants: reaper.passed.load(Ordering::SeqCst) }
    }

    async fn go(&self, reaper: &Arc<Reaper>) -> Result<Status, String> {
        let store = MortalStore {
            inner: Arc::clone(&self.store),
            reaper: Arc::clone(reaper),
            acks: self.acks,
            held_back: tokio::sync::Mutex::default(),
        };
        let provider = MortalProvider {
            inner: Arc::clone(&self.world),
            store: Arc::clone(&self.store),
            reaper: Arc::clone(reaper),
            too_early: Arc::clone(&self.too_early),
        };
        let (store, provider) = (Arc::new(store), Arc::new(provider));
        let deps =
            deps(store, provider, Arc::clone(&RUNTIME), self.limits.clone(), self.time.clock());
        let control = Control::new();
        let ended = match self.store.load(OperationId(1)).await {
            Err(_) => stepback_engine::run(&deps, &request(&self.manifest), &control).await,
            Ok(_) => stepback_engine::resume(&deps, OperationId(1), &control).await,
        };
        match ended {
            Ok(ended) => Ok(ended.state.status),
            Err(RunError::Ended { .. } | RunError::Refused(_)) => Ok(self.state().status),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The fold of the journal as it is.
    pub fn state(&self) -> State {
        let records = at_once(self.store.load(OperationId(1)));
        State::fold(&records.unwrap_or_default()).expect("the journal folds")
    }

    /// What must hold when the operation has ended, whatever befell it.
    pub fn check(&self, status: Status) -> Result<State, String> {
        let state = self.state();
        let world = self.world.load().map_err(|failure| failure.message)?;
        let says = |what: &str| Err(format!("{what}: it ended {status:?}, {:?}", state.why));
        if state.status != status || !status.is_final() {
            return says("the last word is not the journal's");
        }
        let too_early = self.too_early.lock().expect("no panic");
        if !too_early.is_empty() {
            return says(&format!("effects before their intent was durable: {too_early:?}"));
        }
        let twice: Vec<_> = world.effects.values().filter(|made| made.times != 1).collect();
        if !twice.is_empty() {
            return says(&format!("effects took place twice: {twice:?}"));
        }
        let is_restored = world.restorable() == self.before;
        match status {
            Status::Refused if !is_restored => return says("refused, and something changed"),
            Status::RolledBack if !is_restored => return says("not restored"),
            Status::RollbackFailed if state.not_restored.is_empty() => {
                return says("incomplete, and nothing is named");
            }
            _ => {}
        }
        let locks = at_once(self.store.locks());
        let locks = locks.map_err(|error| error.to_string())?;
        if status != Status::RollbackFailed && !locks.is_empty() {
            return says("a lock is left");
        }
        Ok(state)
    }
}

/// What a future gives that never has to wait, as those of a store in memory.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it has to wait"),
    }
}
