//! What an operation runs on, picked by the program: a store, a provider, plugins, a reporter.

use crate::plans::Plans;
use crate::still::Still;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use stepback_clock::Clock;
use stepback_core::calls::bounds::{OPERATION_BYTES_MAX, OPERATION_EFFECTS_MAX, PAST_BYTES_MAX};
use stepback_core::event::Record;
use stepback_core::grants::{Grants, Policy};
use stepback_core::manifest::Uses;
use stepback_core::step::StepInfo;
use stepback_core::{Actor, OperationId, PluginDigest, StepKey};
use stepback_files::key::Key;
use stepback_journal::{LogLine, RunnerId, Store};
use stepback_provider::Provider;
use stepback_wasm::{Plugin, Runtime};
use tokio::sync::watch;

/// Everything outside the engine that an operation needs.
pub struct Deps {
    /// Where journals, logs, locks and the bytes of plugins are kept.
    pub store: Arc<dyn Store>,
    /// The environment's provider: all that is read and changed there goes through it.
    pub provider: Arc<dyn Provider>,
    /// Where the plugins of a new operation come from; the store has those of all others.
    pub plugins: Arc<dyn PluginSource>,
    /// The sandbox that plugins run in.
    pub runtime: Arc<Runtime>,
    /// What was read before, for whoever runs one manifest more than once.
    pub plans: Arc<Plans>,
    /// Told of everything as it happens, for whoever watches.
    pub reporter: Arc<dyn Reporter>,
    /// Asked for the values of secret inputs when an operation begins or is taken up.
    pub secrets: Arc<dyn SecretSource>,
    /// By which handles of secrets are made that nobody can guess; it is in no journal.
    pub key: Key,
    /// Where secrets of an operation on record are found from here on, by their names.
    pub given: BTreeMap<String, String>,
    /// This process among all that share the store.
    pub runner: RunnerId,
    /// Who works it, for the journal: `user@host (uid N)`.
    pub actor: Actor,
    /// The engine's own bounds; those of guests are the sandbox's.
    pub limits: Limits,
    /// The one clock, which the provider has too (R15). Leases go by the store's own (R13).
    pub clock: Clock,
}

impl Deps {
    /// The same, told to somebody else.
    pub fn reporting_to(&self, reporter: Arc<dyn Reporter>) -> Self {
        Self { reporter, ..self.again() }
    }

    /// The same, with secrets of an operation on record given anew.
    pub fn giving(&self, given: BTreeMap<String, String>) -> Self {
        Self { given, ..self.again() }
    }

    /// The same by another clock.
    pub(crate) fn by_clock(&self, clock: Clock) -> Self {
        Self { clock, ..self.again() }
    }

    fn again(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            provider: Arc::clone(&self.provider),
            plugins: Arc::clone(&self.plugins),
            runtime: Arc::clone(&self.runtime),
            plans: Arc::clone(&self.plans),
            reporter: Arc::clone(&self.reporter),
            secrets: Arc::clone(&self.secrets),
            key: self.key.clone(),
            given: self.given.clone(),
            runner: self.runner.clone(),
            actor: self.actor.clone(),
            limits: self.limits.clone(),
            clock: self.clock.clone(),
        }
    }
}

/// The engine's own bounds (R15).
#[derive(Clone, Debug)]
pub struct Limits {
    /// An effect with no answer for this long has an unknown outcome. Stopping a database may
    /// take minutes; a pull that moves is not stopped by it, providers bound its stalls.
    pub effect_ms_max: u64,
    /// A question to the provider, beyond what it says itself that it may take.
    pub read_ms_max: u64,
    /// Evaluating one step's expressions.
    pub expression_ms_max: u64,
    /// One step's check, its reads and waits included.
    pub check_ms_max: u64,
    /// How often an effect that provably did not happen is issued again.
    pub reissues_max: u32,
    /// A guest that waits for longer is dropped, and replayed when the wait is over.
    pub parked_after_ms: u64,
    /// How often reading a resource is tried before it counts as unreadable.
    pub observations_max: u32,
    /// What the calls of one operation, with their answers and the facts of what they touched, may
    /// take in its journal.
    pub journaled_bytes_max: u64,
    /// How many effects the steps of one operation may ask for going forward.
    pub effects_max: u64,
    /// What the undo of one step may have to be told of its effects.
    pub past_bytes_max: usize,
    /// What is done wrongly on purpose.
    #[cfg(feature = "mutants")]
    pub mutant: Option<crate::mutant::Mutant>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            effect_ms_max: 15 * 60_000,
            read_ms_max: 15 * 60_000,
            expression_ms_max: 5_000,
            check_ms_max: 30_000,
            reissues_max: 2,
            parked_after_ms: 1_000,
            observations_max: 4,
            journaled_bytes_max: OPERATION_BYTES_MAX,
            effects_max: OPERATION_EFFECTS_MAX,
            past_bytes_max: PAST_BYTES_MAX,
            #[cfg(feature = "mutants")]
            mutant: None,
        }
    }
}

/// Told of everything that is durable, in order.
///
/// A replay of a finished operation calls the same functions with the same records.
pub trait Reporter: Send + Sync {
    /// One record, after it is durable.
    fn on_record(&self, id: OperationId, record: &Record);

    /// What was before this runner took the operation up, which is told once and for all.
    fn on_past(&self, id: OperationId, records: &[Record]) {
        records.iter().for_each(|record| self.on_record(id, record));
    }

    /// The operation stands still for an instant: nothing is under way. `still` makes what it can
    /// go on from, which costs a copy of its state.
    fn on_still(&self, still: &dyn Fn() -> Still) {
        let _ = still;
    }

    /// One line of a step's log.
    fn on_log(&self, id: OperationId, line: &LogLine);

    /// How far something long is.
    fn on_progress(
        &self,
        id: OperationId,
        step: &StepKey,
        text: &str,
        done: u64,
        total: Option<u64>,
    );
}

/// A plugin's bytes, and what it was granted.
pub struct PluginBytes {
    /// The WebAssembly component.
    pub bytes: Arc<[u8]>,
    /// What it may do where; if it imports more, a manifest that uses it is refused.
    pub grants: Grants,
    /// Those of the grants that only the command line gives.
    pub granted_here: Grants,
    /// The file that the grants are for; none of the program's own plugins.
    pub file: Option<String>,
    /// What its source knows the grants by, for [`PluginSource::accept`].
    pub granted_by: Vec<String>,
}

impl PluginBytes {
    /// A plugin of the program's own, which may do everything.
    pub fn built_in(bytes: &[u8]) -> Self {
        let (grants, granted_here) = (Grants::all(), Grants::none());
        Self { bytes: bytes.into(), grants, granted_here, file: None, granted_by: vec![] }
    }
}

/// Why a plugin is not the one that its grants are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unaccepted {
    /// One sentence.
    pub why: String,
    /// What to do.
    pub help: Option<String>,
}

/// Where plugins come from.
pub trait PluginSource: Send + Sync {
    /// The plugin that `uses` names; a relative path starts at `base_dir`.
    ///
    /// # Errors
    /// Why there is none, and what to do, as one sentence; `None` if the name is not known.
    fn plugin(&self, uses: &Uses, base_dir: &Path) -> Result<PluginBytes, Option<String>>;

    /// The names of the plugins that need no path.
    fn names(&self) -> Vec<String>;

    /// Whether a plugin, once it is known what it offers, is the one that its grants are for; only
    /// asked of a new operation's. The grants are those of the bytes that were read
    /// ([`PluginBytes::granted_by`]), whatever the path leads to by now.
    ///
    /// # Errors
    /// Why it is not.
    fn accept(
        &self,
        _granted_by: &[String],
        _plugin: &Plugin,
        _steps: &[StepInfo],
    ) -> Result<(), Unaccepted> {
        Ok(())
    }

    /// What a plugin that an operation began with is granted by now, by its name in the manifest,
    /// its file then and the digest of its bytes; `None` where nobody could have changed that.
    fn granted_now(
        &self,
        _name: &str,
        _file: Option<&str>,
        _digest: Option<&PluginDigest>,
    ) -> Option<Grants> {
        None
    }

    /// What binds everybody in the environment by now.
    fn policy(&self) -> Policy {
        Policy::default()
    }
}

/// Where the values behind secret references come from.
pub trait SecretSource: Send + Sync {
    /// The value behind `env:NAME`, `file:PATH`, or `secret:NAME` of the configuration.
    ///
    /// # Errors
    /// Why there is none; never holds a value.
    fn resolve(&self, reference: &str) -> Result<String, String>;

    /// The reference as it is found from anywhere: a runner that goes on may be started elsewhere.
    fn absolute(&self, reference: &str) -> String {
        reference.to_owned()
    }

    /// Whether there is a secret of this name, so that nobody need say where it comes from.
    fn has(&self, _name: &str) -> bool {
        false
    }

    /// Whether the secret behind a reference may be given to a step.
    ///
    /// # Errors
    /// Why it may not.
    fn is_for(&self, _reference: &str, _uses: &Uses) -> Result<(), String> {
        Ok(())
    }
}

/// What somebody at the terminal wants of a running operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    pub cancel: Option<(Actor, Option<String>)>,
    pub leave: bool,
}

/// The handle by which a running operation is cancelled or left.
#[derive(Clone, Debug)]
pub struct Control(Arc<watch::Sender<Wish>>);

impl Control {
    /// A handle nobody has used.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Wish::default())))
    }

    /// Cancel and roll back; the first one counts.
    pub fn cancel(&self, actor: impl Into<Actor>, reason: Option<&str>) {
        let wish = (actor.into(), reason.map(str::to_owned));
        self.0.send_modify(|wishes| {
            wishes.cancel.get_or_insert(wish);
        });
    }

    /// Stop here, with nothing lost, for `resume`.
    pub fn leave(&self) {
        self.0.send_modify(|wishes| wishes.leave = true);
    }

    /// Whether somebody has asked for it to be cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.borrow().cancel.is_some()
    }

    /// Ready once anything is asked for.
    pub(crate) async fn wished(&self) -> Wish {
        let mut wishes = self.0.subscribe();
        let asked = wishes.wait_for(|wish| wish.leave || wish.cancel.is_some()).await;
        if let Ok(wish) = asked.map(|wish| wish.clone()) {
            return wish;
        }
        // Nobody is left who could ask.
        std::future::pending().await
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Wish> {
        let mut wishes = self.0.subscribe();
        // A wish from before counts too.
        wishes.mark_changed();
        wishes
    }
}

impl Default for Control {
    fn default() -> Self {
        Self::new()
    }
}
