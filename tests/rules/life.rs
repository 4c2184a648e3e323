//! Lives of an operation: each runner lives until it is killed, and another takes up what it left.

use async_trait::async_trait;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{Context, Poll, Waker};
use stepback_core::event::{Event, Pinned, Record};
use stepback_core::manifest::Uses;
use stepback_core::state::{State, Status};
use stepback_core::step::EffectOutcome;
use stepback_core::*;
use stepback_engine::{
    Control, Deps, Limits, PluginBytes, PluginSource, Reporter, Request, RunError, SecretSource,
};
use stepback_journal::{
    Lease, LockAnswer, LockRow, LogLine, Memory, Request as Asked, Requested, RunnerId, Store,
    StoreError, Summary, Takeover,
};
use stepback_provider::simulated::Simulated;
use stepback_provider::simulated::faults::Faults;
use stepback_provider::simulated::world::World;
use stepback_provider::{EffectContext, Provider, Settled};
use stepback_wasm::{Grants, Runtime, RuntimeConfig};
use tokio::sync::Notify;

/// The world that every case begins with.
pub const WORLD: &str = include_str!("../../operations/demo-world.toml");

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

/// Counts the instants of one life, and ends it when its time has come.
struct Reaper {
    fate: Fate,
    passed: AtomicU32,
    died: Notify,
}

impl Reaper {
    fn new(fate: Fate) -> Arc<Self> {
        Arc::new(Self { fate, passed: AtomicU32::new(0), died: Notify::new() })
    }

    /// One instant goes by; if it is the last one, nothing comes after it.
    async fn pass(&self, store: &Memory) {
        let instant = self.passed.fetch_add(1, Ordering::SeqCst) + 1;
        if self.fate.cancel_at == Some(instant) {
            let cancel = Asked::Cancel { actor: "ann".into(), reason: Some("a sweep".into()) };
            // Before there is an operation, there is nothing to cancel.
            let _ = store.request(OperationId(1), cancel).await;
        }
        if self.fate.kill_at.is_some_and(|last| instant >= last) {
            self.died.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

/// What is done wrongly on purpose, outside the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acks {
    #[default]
    WhenDurable,
    /// The mutant: an append is acknowledged first and becomes durable with the next one.
    BeforeDurable,
}

/// The store as a mortal runner sees it.
struct MortalStore {
    inner: Arc<Memory>,
    reaper: Arc<Reaper>,
    acks: Acks,
    /// Acknowledged and not durable.
    held_back: tokio::sync::Mutex<Option<(Lease, Seq, Vec<Record>)>>,
}

impl MortalStore {
    async fn write_held_back(&self) -> Result<(), StoreError> {
        match self.held_back.lock().await.take() {
            Some((lease, last, records)) => self.inner.append(&lease, last, records).await,
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Store for MortalStore {
    fn id(&self) -> StoreId {
        self.inner.id()
    }

    async fn create(
        &self,
        pinned: Pinned,
        at: UnixMs,
        runner: &RunnerId,
    ) -> Result<(OperationId, Lease), StoreError> {
        self.reaper.pass(&self.inner).await;
        let created = self.inner.create(pinned, at, runner).await;
        self.reaper.pass(&self.inner).await;
        created
    }

    async fn append(
        &self,
        lease: &Lease,
        last: Seq,
        records: Vec<Record>,
    ) -> Result<(), StoreError> {
        self.reaper.pass(&self.inner).await;
        self.write_held_back().await?;
        let ends = records.iter().any(|record| matches!(record.event, Event::Finished { .. }));
        let appended = match self.acks {
            Acks::BeforeDurable if !ends => {
                *self.held_back.lock().await = Some((lease.clone(), last, records));
                Ok(())
            }
            _ => self.inner.append(lease, last, records).await,
        };
        self.reaper.pass(&self.inner).await;
        appended
    }

    async fn load(&self, id: OperationId) -> Result<Vec<Record>, StoreError> {
        self.write_held_back().await?;
        self.inner.load(id).await
    }

    async fn list(&self) -> Result<Vec<Summary>, StoreError> {
        self.inner.list().await
    }

    async fn acquire_locks(
        &self,
        lease: &Lease,
        environment: &EnvironmentName,
        names: &[LockName],
        at: UnixMs,
        wait: bool,
    ) -> Result<LockAnswer, StoreError> {
        self.reaper.pass(&self.inner).await;
        let answer = self.inner.acquire_locks(lease, environment, names, at, wait).await;
        self.reaper.pass(&self.inner).await;
        answer
    }

    async fn locks(&self) -> Result<Vec<LockRow>, StoreError> {
        self.inner.locks().await
    }

    async fn request(&self, id: OperationId, request: Asked) -> Result<Requested, StoreError> {
        self.inner.request(id, request).await
    }

    async fn requests(&self, lease: &Lease) -> Result<Vec<Asked>, StoreError> {
        self.inner.requests(lease).await
    }

    async fn put_blob(&self, digest: &PluginDigest, bytes: &[u8]) -> Result<(), StoreError> {
        self.inner.put_blob(digest, bytes).await
    }

    async fn get_blob(&self, digest: &PluginDigest) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.get_blob(digest).await
    }

    async fn append_logs(&self, id: OperationId, lines: Vec<LogLine>) -> Result<(), StoreError> {
        self.inner.append_logs(id, lines).await
    }

    async fn logs(&self, id: OperationId, after: u64) -> Result<Vec<LogLine>, StoreError> {
        self.inner.logs(id, after).await
    }

    async fn take_lease(
        &self,
        id: OperationId,
        runner: &RunnerId,
        grace_ms: u64,
    ) -> Result<Takeover, StoreError> {
        let taken = self.inner.take_lease(id, runner, grace_ms).await;
        self.reaper.pass(&self.inner).await;
        taken
    }

    async fn hold(&self, lease: &Lease) -> Result<(), StoreError> {
        self.inner.hold(lease).await
    }

    async fn release(&self, lease: &Lease, at: UnixMs) -> Result<(), StoreError> {
        self.reaper.pass(&self.inner).await;
        self.inner.release(lease, at).await
    }
}

/// The world as a mortal runner sees it.
struct MortalProvider {
    inner: Arc<Simulated>,
    store: Arc<Memory>,
    reaper: Arc<Reaper>,
    /// Effects that were asked for before their intent was durable.
    too_early: Arc<Mutex<Vec<String>>>,
}

impl MortalProvider {
    async fn pass(&self) {
        self.reaper.pass(&self.store).await;
    }

    async fn must_be_durable(&self, call: &Call, context: &EffectContext) {
        let records = self.store.load(context.operation).await.unwrap_or_default();
        let mut intents = records.iter().filter_map(|record| match &record.event {
            Event::CallStarted { token, .. } => Some(token),
            _ => None,
        });
        if !intents.any(|token| *token == context.token) {
            self.too_early.lock().expect("no panic").push(call.function().to_owned());
        }
    }
}

#[async_trait]
impl Provider for MortalProvider {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn identity(&self) -> Result<Value, Failure> {
        self.inner.identity().await
    }

    async fn read(&self, call: &Call) -> Result<Value, Failure> {
        self.pass().await;
        self.inner.read(call).await
    }

    async fn wait(&self, call: &Call) -> Result<Value, Failure> {
        self.pass().await;
        self.inner.wait(call).await
    }

    async fn perform(&self, call: &Call, context: &EffectContext) -> EffectOutcome {
        self.must_be_durable(call, context).await;
        self.pass().await;
        let outcome = self.inner.perform(call, context).await;
        self.pass().await;
        outcome
    }

    async fn settle(&self, call: &Call, context: &EffectContext) -> Settled {
        self.pass().await;
        self.inner.settle(call, context).await
    }

    async fn forget(&self, call: &Call, context: &EffectContext) {
        self.pass().await;
        self.inner.forget(call, context).await;
    }

    async fn take_over(&self, operation: OperationId, epoch: Epoch) -> Result<(), Failure> {
        self.inner.take_over(operation, epoch).await
    }

    async fn import(&self, world: &mut World) -> Result<Vec<String>, Failure> {
        self.inner.import(world).await
    }

    fn request_ms_max(&self) -> u64 {
        self.inner.request_ms_max()
    }

    async fn observe(&self, resource: &Resource) -> Result<Facts, Failure> {
        self.pass().await;
        self.inner.observe(resource).await
    }

    async fn stamped(&self, tokens: &[Token]) -> Result<Vec<(Token, Resource)>, Failure> {
        self.inner.stamped(tokens).await
    }
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
        let world = Simulated::in_memory(WORLD, Faults::default()).expect("a world");
        let before = world.load().expect("a world").restorable();
        Self {
            manifest: manifest.to_owned(),
            store: Arc::new(Memory::open().expect("a store")),
            world: Arc::new(world),
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
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
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
        let deps = deps(store, provider, Arc::clone(&RUNTIME), self.limits.clone());
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
