//! The engine that all guests share: its configuration, its clock of epochs, its linker.

use crate::bindings;
use crate::cache::Cache;
use crate::fault::PluginError;
use crate::guest::Guest;
use crate::limits::Limits;
use crate::load;
use crate::plugin::{Plugin, Source};
use crate::shared::Shared;
use crate::wasi;
use crate::watch::EPOCH_TICK;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use stepback_core::PluginDigest;
use tokio::sync::Semaphore;
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// What a [`Runtime`] is made with.
#[derive(Clone, Debug, Default)]
pub struct RuntimeConfig {
    /// Where compiled plugins are kept; without it each process compiles anew.
    pub cache_dir: Option<PathBuf>,
    /// The bounds of each guest.
    pub limits: Limits,
}

/// Loads plugins; one per process.
pub struct Runtime {
    linker: Linker<Guest>,
    shared: Arc<Shared>,
    loaded: Mutex<HashMap<PluginDigest, Arc<Plugin>>>,
    compiled: AtomicU64,
}

impl Runtime {
    /// Starts the engine and its epoch thread, which ends with the last plugin.
    pub fn new(config: RuntimeConfig) -> Result<Self, PluginError> {
        let fail = |error: wasmtime::Error| PluginError::Engine(format!("{error:#}"));
        let RuntimeConfig { cache_dir, limits } = config;
        // The pool reserves address space for every guest there may be. Where that can't be had (a
        // limit of the shell's, a small processor), each guest gets its own when it comes.
        let engine = engine(&limits, InstanceAllocationStrategy::Pooling(pool(&limits)))
            .or_else(|_| engine(&limits, InstanceAllocationStrategy::OnDemand))
            .map_err(fail)?;
        let mut linker = Linker::new(&engine);
        wasi::add_to_linker(&mut linker).map_err(fail)?;
        bindings::Plugin::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)
            .map_err(fail)?;
        start_epochs(&engine).map_err(|error| PluginError::Engine(error.to_string()))?;
        let permits = Arc::new(Semaphore::new(limits.guests_max as usize));
        let cache = cache_dir.and_then(|dir| Cache::open(&dir, &engine));
        Ok(Self {
            linker,
            shared: Arc::new(Shared { engine, limits, cache, permits }),
            loaded: Mutex::default(),
            compiled: AtomicU64::new(0),
        })
    }

    /// The plugin of these bytes: compiled, or from the cache, or the one already loaded.
    ///
    /// `name` is for messages. Compiling takes tens of milliseconds of this thread.
    pub fn load(&self, name: &str, bytes: &[u8]) -> Result<Arc<Plugin>, PluginError> {
        let digest = PluginDigest(hex::encode(Sha256::digest(bytes)));
        if let Some(plugin) = self.loaded().get(&digest) {
            return Ok(plugin.clone());
        }
        let Shared { engine, cache, .. } = &*self.shared;
        let cached = cache.as_ref().and_then(|cache| cache.component(engine, &digest));
        let component = match cached {
            Some(component) => component,
            None => {
                let component = load::compile(engine, name, bytes)?;
                self.compiled.fetch_add(1, Ordering::Relaxed);
                if let Some(cache) = cache {
                    cache.keep_component(&digest, &component);
                }
                component
            }
        };
        let imports = load::verify(engine, name, &component)?;
        let pre = load::link(&self.linker, name, &component)?;
        let shared = self.shared.clone();
        let source = Source { name: name.to_owned(), digest: digest.clone(), bytes: bytes.into() };
        let plugin = Arc::new(Plugin::new(source, imports, pre, shared));
        Ok(self.loaded().entry(digest).or_insert(plugin).clone())
    }

    /// The plugin with these bytes, if it was loaded before.
    pub fn known(&self, digest: &PluginDigest) -> Option<Arc<Plugin>> {
        self.loaded().get(digest).cloned()
    }

    /// How many plugins had to be compiled so far, because the cache did not have them.
    pub fn compilations(&self) -> u64 {
        self.compiled.load(Ordering::Relaxed)
    }

    fn loaded(&self) -> std::sync::MutexGuard<'_, HashMap<PluginDigest, Arc<Plugin>>> {
        self.loaded.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn engine(limits: &Limits, places: InstanceAllocationStrategy) -> wasmtime::Result<Engine> {
    // Host functions run on the guest's stack, above what the guest itself may use.
    const HOST_STACK_BYTES: usize = 1 << 20;
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .epoch_interruption(true)
        // R4: what a guest sees is deterministic.
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        // No guest may have as much memory as these address.
        .wasm_memory64(false)
        .max_wasm_stack(limits.stack_bytes_max)
        .async_stack_size(limits.stack_bytes_max + HOST_STACK_BYTES)
        .allocation_strategy(places);
    Engine::new(&config)
}

/// Slots for every guest at once: a component is its own module, the shims of the tooling, and
/// for some languages a dozen libraries; one or two memories.
fn pool(limits: &Limits) -> PoolingAllocationConfig {
    const MODULES_PER_GUEST: u32 = 64;
    const MEMORIES_PER_GUEST: u32 = 2;
    const TABLES_PER_GUEST: u32 = 4;
    let guests = limits.guests_max;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(guests)
        .total_stacks(guests)
        .total_memories(guests * MEMORIES_PER_GUEST)
        .total_tables(guests * TABLES_PER_GUEST)
        .total_core_instances(guests * MODULES_PER_GUEST)
        .max_core_instances_per_component(MODULES_PER_GUEST)
        .max_memories_per_component(MEMORIES_PER_GUEST)
        .max_tables_per_component(TABLES_PER_GUEST)
        .max_tables_per_module(TABLES_PER_GUEST)
        .table_elements(limits.table_entries_max)
        // The first pages stay mapped: resetting them is cheaper than faulting them in again.
        .linear_memory_keep_resident(64 << 10)
        .table_keep_resident(4 << 10);
    pool
}

/// Advances the engine's epoch until the engine is gone.
fn start_epochs(engine: &Engine) -> std::io::Result<()> {
    let engine = engine.weak();
    stepback_clock::beat("stepback-epoch", EPOCH_TICK, move || {
        engine.upgrade().inspect(Engine::increment_epoch).is_some()
    })
}
