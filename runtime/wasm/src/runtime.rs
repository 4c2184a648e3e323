//! The engine that all guests share: its configuration, its clock of epochs, its linker.

use crate::apart::Compiler;
use crate::bindings;
use crate::cache::{self, Cache};
use crate::engine::engine;
use crate::fault::PluginError;
use crate::guest::Guest;
use crate::limits::Limits;
use crate::load;
use crate::plugin::{Plugin, Source};
use crate::quota::MemoryQuota;
use crate::shared::{Shared, Turns};
use crate::wasi;
use crate::watch::EPOCH_TICK;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use stepback_core::PluginDigest;
use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::{Component, HasSelf, Linker};

/// What a [`Runtime`] is made with.
#[derive(Clone, Debug, Default)]
pub struct RuntimeConfig {
    /// Where compiled plugins are kept; without it each process compiles anew.
    pub cache_dir: Option<PathBuf>,
    /// The bounds of each guest.
    pub limits: Limits,
    /// What [`Runtime::load_apart`] compiles with, whose own bounds are [`Limits::default`];
    /// without it that is done in this process.
    pub compiler: Option<Compiler>,
    /// Whether a guest that computes for long stands aside for others: when that is depends on how
    /// fast the machine is. A rehearsal has none, so that the same comes out every time.
    pub turns: Turns,
}

/// Loads plugins; one per process.
pub struct Runtime {
    linker: Linker<Guest>,
    shared: Arc<Shared>,
    compiler: Option<Compiler>,
    loaded: Mutex<HashMap<PluginDigest, Arc<Plugin>>>,
    compiled: AtomicU64,
}

impl Runtime {
    /// Starts the engine and its epoch thread, which ends with the last plugin.
    pub fn new(config: RuntimeConfig) -> Result<Self, PluginError> {
        let fail = |error: wasmtime::Error| PluginError::Engine(format!("{error:#}"));
        let RuntimeConfig { cache_dir, limits, compiler, turns } = config;
        let engine = engine(&limits).map_err(fail)?;
        let mut linker = Linker::new(&engine);
        wasi::add_to_linker(&mut linker).map_err(fail)?;
        bindings::Plugin::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)
            .map_err(fail)?;
        start_epochs(&engine).map_err(|error| PluginError::Engine(error.to_string()))?;
        let permits = Arc::new(Semaphore::new(limits.guests_max as usize));
        let cache = cache_dir.and_then(|dir| Cache::open(&dir, &engine));
        Ok(Self {
            linker,
            shared: Arc::new(Shared { engine, limits, cache, permits, turns }),
            compiler,
            loaded: Mutex::default(),
            compiled: AtomicU64::new(0),
        })
    }

    /// The plugin of these bytes: compiled, or from the cache, or the one already loaded.
    ///
    /// `name` is for messages. Compiling takes tens of milliseconds of this thread, and whatever a
    /// hostile component makes of that.
    pub fn load(&self, name: &str, bytes: &[u8]) -> Result<Arc<Plugin>, PluginError> {
        let digest = digest_of(bytes);
        if let Some(plugin) = self.known(&digest) {
            return Ok(plugin);
        }
        let Shared { engine, cache, .. } = &*self.shared;
        let component = match self.cached(&digest) {
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
        self.linked(name, bytes, digest, &component)
    }

    /// The same, compiled in a process of its own that is bounded, and ended when this is dropped.
    pub async fn load_apart(&self, name: &str, bytes: &[u8]) -> Result<Arc<Plugin>, PluginError> {
        let digest = digest_of(bytes);
        let is_there = self.known(&digest).is_some();
        let Some(compiler) = self.compiler.as_ref().filter(|_| !is_there) else {
            return self.load(name, bytes);
        };
        let component = match self.cached(&digest) {
            Some(component) => component,
            None => {
                let code = compiler.compile(name, bytes).await?;
                self.compiled.fetch_add(1, Ordering::Relaxed);
                let Shared { engine, cache, .. } = &*self.shared;
                let component = cache::component_of(engine, &code).map_err(|error| {
                    PluginError::Compiler { name: name.to_owned(), why: load::why(&error) }
                })?;
                if let Some(cache) = cache {
                    cache.keep_code(&digest, &code);
                }
                component
            }
        };
        self.linked(name, bytes, digest, &component)
    }

    fn cached(&self, digest: &PluginDigest) -> Option<Component> {
        let Shared { engine, cache, .. } = &*self.shared;
        cache.as_ref().and_then(|cache| cache.component(engine, digest))
    }

    fn linked(
        &self,
        name: &str,
        bytes: &[u8],
        digest: PluginDigest,
        component: &Component,
    ) -> Result<Arc<Plugin>, PluginError> {
        let engine = &self.shared.engine;
        let imports = load::verify(engine, name, component)?;
        let pre = load::link(&self.linker, name, component)?;
        let shared = self.shared.clone();
        let initial_memory = component.resources_required().map_or(0, |needs| {
            let largest = usize::try_from(needs.max_initial_memory_size.unwrap_or_default());
            largest.unwrap_or(usize::MAX).saturating_mul(needs.num_memories as usize)
        });
        let (name, bytes) = (name.to_owned(), bytes.into());
        let source = Source { name, digest: digest.clone(), bytes, initial_memory };
        let plugin = Arc::new(Plugin::new(source, imports, pre, shared));
        Ok(self.loaded().entry(digest).or_insert(plugin).clone())
    }

    /// What the guests of one more operation may have together.
    pub fn memory_quota(&self) -> MemoryQuota {
        MemoryQuota::new(&self.shared.limits)
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

fn digest_of(bytes: &[u8]) -> PluginDigest {
    PluginDigest(hex::encode(Sha256::digest(bytes)))
}

/// Advances the engine's epoch until the engine is gone.
fn start_epochs(engine: &Engine) -> std::io::Result<()> {
    let engine = engine.weak();
    stepback_clock::beat("stepback-epoch", EPOCH_TICK, move || {
        engine.upgrade().inspect(Engine::increment_epoch).is_some()
    })
}
