//! What is measured: guests, operations and the program, set up as the program sets them up.

use crate::micros;
use async_trait::async_trait;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use stepback_clock::Clock;
use stepback_core::event::{Event, Record};
use stepback_core::manifest::Uses;
use stepback_core::{Call, Failure, OperationId, Seq, StepKey};
use stepback_engine::{
    Control, Deps, Limits, PluginBytes, PluginSource, Reporter, Request, SecretSource,
};
use stepback_files::key::{KEY_BYTES, Key};
use stepback_journal::{LogLine, Memory, RunnerId, Sqlite, Store as _};
use stepback_simulated::Simulated;
use stepback_wasm::{
    Grants, HostPort, Invocation, Limits as GuestLimits, LogLevel, MemoryQuota, Mode, Plugin,
    Reversed, Runtime, RuntimeConfig, StopSignal,
};
use tempfile::TempDir;

/// A component that the build made.
pub fn component(name: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = root.join("plugins/target").join(format!("{name}.component.wasm"));
    std::fs::read(path).expect("the build made it")
}

/// One plugin, and a port that answers at once.
pub struct Guest {
    plugin: Arc<Plugin>,
}

struct NoWait;

#[async_trait]
impl HostPort for NoWait {
    async fn call(&self, _call: Call) -> Result<Value, Failure> {
        Ok(Value::Null)
    }

    async fn may(&self, _call: Call) -> Result<(), Failure> {
        Ok(())
    }

    async fn reverse(&self, _effect_id: &str) -> Result<Reversed, Failure> {
        Ok(Reversed::NothingToDo)
    }

    fn log(&self, _level: LogLevel, _text: String) {}

    fn progress(&self, _text: String, _done: u64, _total: Option<u64>) {}
}

impl Guest {
    pub async fn new() -> Self {
        let runtime = Runtime::new(RuntimeConfig::default()).expect("a sandbox");
        let plugin = runtime.load("core", &component("core")).expect("a plugin");
        Self { plugin }
    }

    pub async fn call(&self) {
        let invocation = Invocation {
            step: "sleep".to_owned(),
            input: serde_json::json!({ "duration": 0 }),
            mode: Mode::Run { irreversible_allowed: false },
            grants: Grants::none(),
            seed: [0; 32],
            stop: StopSignal::new(),
            memory: MemoryQuota::new(&GuestLimits::default()),
        };
        self.plugin.run(invocation, Arc::new(NoWait)).await.expect("it sleeps");
    }
}

/// A component that is compiled already.
pub struct Cached {
    bytes: Vec<u8>,
    dir: TempDir,
    engine: wasmtime::Engine,
    code: Vec<u8>,
    key: Key,
}

impl Cached {
    pub fn new(bytes: &[u8]) -> Self {
        let dir = TempDir::new().expect("a directory");
        let engine = wasmtime::Engine::default();
        let code = engine.precompile_component(bytes).expect("a component");
        let key = Key::of_bytes(&[7; KEY_BYTES]).expect("a key");
        let cached = Self { bytes: bytes.to_owned(), dir, engine, code, key };
        cached.ours();
        cached
    }

    /// What its machine code takes to be hashed with a key and taken by wasmtime.
    pub fn bare(&self) -> Duration {
        let started = Instant::now();
        std::hint::black_box(self.key.seal("bench", &self.code));
        // SAFETY: this very process has compiled it.
        let taken =
            unsafe { wasmtime::component::Component::deserialize(&self.engine, &self.code) };
        let took = started.elapsed();
        taken.expect("a component");
        took
    }

    /// What a new process takes to have the plugin, once it has read it.
    pub fn ours(&self) -> Duration {
        let cache_dir = Some(self.dir.path().join("cache"));
        let config = RuntimeConfig { cache_dir, ..RuntimeConfig::default() };
        let runtime = Runtime::new(config).expect("a sandbox");
        let started = Instant::now();
        let plugin = runtime.load("bench", &self.bytes).expect("a plugin");
        let took = started.elapsed();
        drop(plugin);
        took
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
        Ok(PluginBytes::built_in(&component(uses.plugin())))
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

/// Where the journal is.
#[derive(Clone, Copy)]
pub enum Store {
    Disk,
    Memory,
}

/// What a run took.
pub struct Ran {
    pub took: Duration,
    pub commits: u64,
}

/// A store, a world and a sandbox.
pub struct Load {
    deps: Arc<Deps>,
    /// The store on disk, if it is one.
    disk: Option<Arc<Sqlite>>,
    runs: AtomicU64,
    _dir: TempDir,
}

impl Load {
    pub fn new(store: Store) -> Self {
        Self::reporting(store, Arc::new(Quiet))
    }

    /// The same, told to a reporter.
    pub fn reporting(store: Store, reporter: Arc<dyn Reporter>) -> Self {
        let dir = TempDir::new().expect("a directory");
        let (disk, store): (_, Arc<dyn stepback_journal::Store>) = match store {
            Store::Disk => {
                let disk = Arc::new(Sqlite::open(dir.path(), Clock::real()).expect("a store"));
                (Some(Arc::clone(&disk)), disk)
            }
            Store::Memory => (None, Arc::new(Memory::open(Clock::real()).expect("a store"))),
        };
        let world = Simulated::open(&dir.path().join("world"), "", Clock::real());
        let runtime = Runtime::new(RuntimeConfig::default()).expect("a sandbox");
        let deps = Deps {
            store,
            provider: Arc::new(world.expect("a world")),
            plugins: Arc::new(Built),
            runtime: Arc::new(runtime),
            plans: Arc::default(),
            reporter,
            secrets: Arc::new(NoSecrets),
            key: Key::of_bytes(&[7; KEY_BYTES]).expect("a key"),
            given: BTreeMap::new(),
            runner: RunnerId("bench".into()),
            actor: "bench".into(),
            limits: Limits::default(),
            clock: Clock::real(),
        };
        Self { deps: Arc::new(deps), disk, runs: AtomicU64::new(0), _dir: dir }
    }

    /// What its operations run on.
    pub fn deps(&self) -> Arc<Deps> {
        Arc::clone(&self.deps)
    }

    /// Run that many operations of that many steps side by side.
    pub async fn run(&self, operations: u32, steps: u32) -> Ran {
        self.run_shaped(Shape::Chain, operations, steps).await
    }

    /// The same with steps that hang together in some way.
    pub async fn run_shaped(&self, shape: Shape, operations: u32, steps: u32) -> Ran {
        let manifest: Arc<str> = shaped(shape, steps).into();
        let commits = self.commits();
        let started = Instant::now();
        let tasks: Vec<_> = (0..operations)
            .map(|_| {
                self.runs.fetch_add(1, Ordering::Relaxed);
                let (deps, text) = (Arc::clone(&self.deps), Arc::clone(&manifest));
                tokio::spawn(async move {
                    let request = request(&text);
                    let ended = stepback_engine::run(&deps, &request, &Control::new()).await;
                    ended.expect("it runs");
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
        Ran { took: started.elapsed(), commits: self.commits() - commits }
    }

    fn commits(&self) -> u64 {
        self.disk.as_ref().map_or(0, |disk| disk.commits())
    }

    /// What a step's records take by themselves, in microseconds: each serialised once, and those
    /// of a step appended to another such store, as the last operation of this one has them.
    pub async fn bare_records(&self, steps: u32) -> f64 {
        let last = self.deps.store.list().await.expect("a list").pop().expect("an operation");
        let records = self.deps.store.load(last.id).await.expect("its records");
        let Some(Event::Created(pinned)) = records.first().map(|record| record.event.clone())
        else {
            panic!("an operation begins with what it is pinned to")
        };
        let store = Memory::open(Clock::real()).expect("a store");
        let runner = RunnerId("bench".into());
        let begun = store.create(pinned, records[0].at, &runner).await;
        let (_, lease) = begun.expect("an operation");
        let of_a_step = records.len().div_ceil(steps as usize);
        let started = Instant::now();
        let mut at = Seq(1);
        for step in records[1..].chunks(of_a_step) {
            for record in step {
                std::hint::black_box(serde_json::to_vec(record).expect("JSON"));
            }
            store.append(&lease, at, step.to_vec()).await.expect("they are appended");
            at = step.last().map_or(at, |record| record.seq);
        }
        micros(started.elapsed()) / f64::from(steps)
    }

    /// The same on a disk: each serialised once and inserted into a bare table of SQLite, in so
    /// many commits, each as safe as the store's.
    pub async fn bare_rows(&self, steps: u32, commits: u64) -> f64 {
        let last = self.deps.store.list().await.expect("a list").pop().expect("an operation");
        let records = self.deps.store.load(last.id).await.expect("its records");
        let dir = TempDir::new().expect("a directory");
        let bare = rusqlite::Connection::open(dir.path().join("bare")).expect("a database");
        let tables = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;
            CREATE TABLE events (operation INTEGER NOT NULL, seq INTEGER NOT NULL,
                record TEXT NOT NULL, PRIMARY KEY (operation, seq)) STRICT, WITHOUT ROWID;";
        bare.execute_batch(tables).expect("a table");
        let in_one = records.len().div_ceil(usize::try_from(commits).expect("few"));
        let started = Instant::now();
        for rows in records[1..].chunks(in_one) {
            bare.execute_batch("BEGIN IMMEDIATE").expect("a transaction");
            let mut insert =
                bare.prepare_cached("INSERT INTO events VALUES (1, ?1, ?2)").expect("SQL");
            for row in rows {
                let text = serde_json::to_string(row).expect("JSON");
                insert.execute(rusqlite::params![row.seq.0 as i64, text]).expect("a row");
            }
            bare.execute_batch("COMMIT").expect("a commit");
        }
        micros(started.elapsed()) / f64::from(steps)
    }

    /// One commit of the same store, in microseconds.
    pub async fn bare_commit(&self) -> f64 {
        const ROUNDS: u32 = 200;
        let id = OperationId(1);
        let started = Instant::now();
        for _ in 0..ROUNDS {
            let line = LogLine {
                at: stepback_core::UnixMs(0),
                step: None,
                level: "info".into(),
                text: "x".into(),
            };
            self.deps.store.append_logs(id, vec![line]).await.expect("a commit");
        }
        started.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS)
    }
}

/// How the steps of a graph hang together.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// Each follows the one above it.
    Chain,
    /// None needs another.
    Wide,
}

pub fn manifest(steps: u32) -> String {
    shaped(Shape::Chain, steps)
}

/// Written close, so that ten thousand steps are a manifest that is taken.
fn shaped(shape: Shape, steps: u32) -> String {
    let needs = match shape {
        Shape::Chain => "",
        Shape::Wide => "needs=[]\n",
    };
    let mut text = String::from("schema = 1\n[operation]\nname = \"bench\"\n");
    for step in 0..steps {
        text.push_str(&format!(
            "[[steps]]\nid=\"s{step}\"\nuses=\"core/assert\"\n{needs}\
             with={{condition=true,message=\"never\"}}\n"
        ));
    }
    text
}

pub fn request(manifest: &str) -> Request {
    Request {
        manifest_name: "bench.toml".into(),
        manifest: manifest.to_owned(),
        base_dir: PathBuf::from("."),
        inputs: BTreeMap::new(),
        secrets: BTreeMap::new(),
        environment: "local".into(),
        actor: "bench".into(),
        no_wait: true,
    }
}

/// Run the program once, in the same state each time; its peak memory in KiB.
pub fn program_once() -> u64 {
    let dir = std::env::temp_dir().join(format!("stepback-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let path = dir.join("noop.toml");
    std::fs::write(&path, manifest(1)).expect("a manifest");
    let before = children_peak_kib();
    let status = Command::new(env!("CARGO_BIN_EXE_stepback"))
        .arg("run")
        .arg(&path)
        .arg("--state")
        .arg(dir.join("state"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(status.expect("the program starts").success());
    children_peak_kib().max(before)
}

/// The largest resident set of any child so far (getrusage(2), `RUSAGE_CHILDREN`).
fn children_peak_kib() -> u64 {
    // SAFETY: the structure is plain data, and the call fills it.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage);
        usage.ru_maxrss as u64
    }
}

/// What starting any process takes.
pub fn process_start_ms(rounds: u32) -> f64 {
    let started = Instant::now();
    for _ in 0..rounds {
        assert!(Command::new("true").status().expect("true").success());
    }
    started.elapsed().as_secs_f64() * 1000.0 / f64::from(rounds)
}
