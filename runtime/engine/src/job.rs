//! What is to run: a manifest held against its plugins, with its inputs and secrets.
//!
//! A new operation takes its plugins from where the manifest says; a resumed one takes the very
//! bytes it was pinned to from the store (R14). Both end up as the same [`Job`].

use crate::access::{self, WorldAccess};
use crate::deps::{Deps, PluginBytes, PluginSource};
use crate::error::{Refusal, RunError};
use crate::guard::Guard;
use crate::plans::{Parsed, Plans};
use crate::replaced::ReplacedParts;
use crate::secrets::anew::{self, Anew};
use crate::secrets::door::Door;
use crate::secrets::seals::Seals;
use crate::secrets::{self, Secrets, met};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use stepback_core::diagnostic::{Diagnostic, Diagnostics, suggest};
use stepback_core::event::{Bounds, GivenSecret, Pinned};
use stepback_core::expr::{Scope, evaluate_value};
use stepback_core::grants::{Grants, Policy};
use stepback_core::inputs::{self, Given};
use stepback_core::manifest::{LOCK_BYTES_MAX, Step, Strictness, Uses};
use stepback_core::plan::{Offers, Plan};
use stepback_core::shown::in_sentence;
use stepback_core::state::State;
use stepback_core::*;
use stepback_files::key::Key;
use stepback_journal::RunnerId;
use stepback_wasm::{MemoryQuota, Plugin, Runtime};

/// A manifest to run, as it was given.
#[derive(Clone, Debug)]
pub struct Request {
    /// The path, for people.
    pub manifest_name: String,
    /// Its text, in TOML.
    pub manifest: String,
    /// Where the manifest's relative paths start.
    pub base_dir: PathBuf,
    /// By name, as they were given; not held against the manifest yet.
    pub inputs: BTreeMap<String, Given>,
    /// References of the secrets that values of map inputs name.
    pub secrets: BTreeMap<String, String>,
    /// Where it is to run, as `stepback.toml` names it.
    pub environment: EnvironmentName,
    /// Who asks for it, for the journal, such as `ann@box (uid 1000)`.
    pub actor: Actor,
    /// Refuse at once when a lock is held.
    pub no_wait: bool,
}

/// A plugin of the job, with what it may use.
pub(crate) struct Loaded {
    pub(crate) plugin: Arc<Plugin>,
    pub(crate) guard: Arc<Guard>,
    /// The grants that only the command line gave.
    granted_here: Grants,
    file: Option<String>,
}

/// A validated manifest with everything it needs to run.
pub struct Job {
    pub(crate) plan: Arc<Plan>,
    pub(crate) plugins: BTreeMap<String, Loaded>,
    pub(crate) inputs: BTreeMap<String, Value>,
    pub(crate) access: WorldAccess,
    key: Key,
    /// The secrets that were given anew for going on.
    pub(crate) given: BTreeMap<String, GivenSecret>,
    /// Why secrets are kept from steps that they would be given to.
    kept: Vec<String>,
    pub(crate) environment: EnvironmentName,
    /// What its guests have together.
    pub(crate) memory: MemoryQuota,
}

impl Job {
    /// The manifest as a plan.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// The operation's inputs; a secret is its reference.
    pub fn inputs(&self) -> &BTreeMap<String, Value> {
        &self.inputs
    }

    /// The door of a step's guests: of those of an operation that runs, or of a check that belongs
    /// to none yet.
    pub(crate) fn door(&self, key: &StepKey, of: Option<(&StoreId, OperationId)>) -> Door {
        let secrets = &self.access.secrets;
        match self.plan.step(&key.step) {
            Some(step) if !secrets.are_none() => {
                let given = inputs::secrets_of(self.plan.manifest(), &self.inputs, step);
                Door::new(&self.key, given, step.reveal.clone(), key, of)
            }
            _ => Door::open(),
        }
    }

    /// The plugin of a step.
    pub(crate) fn loaded(&self, step: &StepId) -> Result<&Loaded, Failure> {
        let name = self.plan.step(step).map(|step| step.uses.plugin());
        name.and_then(|name| self.plugins.get(name)).ok_or_else(|| {
            Failure::new(FailureClass::Internal, format!("step `{step}` has no plugin"))
        })
    }

    /// What each plugin may do where, by the name that it has in the manifest.
    pub fn grants(&self) -> impl Iterator<Item = (&str, &Grants)> {
        self.plugins.iter().map(|(name, loaded)| (name.as_str(), loaded.guard.grants()))
    }

    /// What the plugin of a step may do where; nothing, if it has none.
    pub(crate) fn guard(&self, step: &StepId) -> Arc<Guard> {
        let nothing = || Arc::new(Guard::new("", Grants::none(), Policy::default()));
        self.loaded(step).map_or_else(|_| nothing(), |loaded| Arc::clone(&loaded.guard))
    }

    /// Read and check all that can be without touching the world.
    ///
    /// # Errors
    /// All mistakes of the manifest, its plugins and its inputs; secrets that can't be had.
    pub async fn prepare(deps: &Deps, request: &Request) -> Result<Job, Refusal> {
        let Request { manifest_name, manifest, .. } = request;
        let parsed = deps.plans.parse(Strictness::Whole, manifest_name, manifest);
        let parsed = parsed.map_err(Refusal::Mistakes)?;
        let inputs = {
            let has = |name: &str| deps.secrets.has(name);
            inputs::resolve(parsed.manifest(), &request.inputs, &request.secrets, &has)
        };
        let (runtime, source) = (&*deps.runtime, &*deps.plugins);
        let planned = load(runtime, source, &deps.plans, parsed, &request.base_dir).await;
        let ((plan, plugins), inputs) = match (planned, inputs) {
            (Ok(planned), Ok(inputs)) => (planned, inputs),
            (Err(mut mistakes), Err(more)) => {
                mistakes.list.extend(more.list);
                return Err(Refusal::Mistakes(mistakes));
            }
            (Err(mistakes), Ok(_)) | (Ok(_), Err(mistakes)) => {
                return Err(Refusal::Mistakes(mistakes));
            }
        };
        let source = &*deps.secrets;
        let seals = Seals::by_key(&deps.key, deps.store.id());
        let inputs = secrets::absolute(plan.manifest(), inputs, source);
        let kept = secrets::kept_from(&plan, &inputs, source);
        if !kept.is_empty() {
            return Err(Refusal::Reasons { id: None, reasons: kept });
        }
        let secrets = Secrets::resolve(deps, plan.manifest(), &inputs, seals).await;
        let secrets = secrets.map_err(|reasons| Refusal::Reasons { id: None, reasons })?;
        let access = WorldAccess::new(deps, secrets, ReplacedParts::default());
        let (key, environment) = (deps.key.clone(), request.environment.clone());
        let given = BTreeMap::new();
        let memory = deps.runtime.memory_quota();
        Ok(Job { plan, plugins, inputs, access, key, given, kept, environment, memory })
    }

    /// The job of an operation that is on record. A secret that is missing, or a part of the world
    /// that is another one by now, keeps only what needs it from being done.
    ///
    /// # Errors
    /// [`RunError::Left`] if what it was pinned to can't be had; it stays as it is.
    pub(crate) async fn from_pinned(
        deps: &Deps,
        id: OperationId,
        state: &State,
        pinned: &Pinned,
    ) -> Result<Job, RunError> {
        let left = |why: String| RunError::Left { id, why };
        let mistaken = |mistakes: Diagnostics| left(mistakes.to_string());
        let (name, text) = (&pinned.manifest_name, &pinned.manifest);
        let parsed = deps.plans.parse(Strictness::Pinned, name, text).map_err(mistaken)?;
        let mut offers = Offers::new();
        let mut plugins = BTreeMap::new();
        let source = &*deps.plugins;
        for (name, digest) in &pinned.plugins {
            let plugin = match deps.runtime.known(digest) {
                Some(plugin) => plugin,
                None => {
                    let bytes = deps.store.get_blob(digest).await?;
                    let bytes = bytes
                        .ok_or_else(|| left(format!("plugin `{name}` is not in the store")))?;
                    let loaded = deps.runtime.load_apart(name, &bytes).await;
                    let loaded = loaded.map_err(|error| left(error.to_string()))?;
                    if loaded.digest() != digest {
                        return Err(left(format!("plugin `{name}` is not the one in the store")));
                    }
                    loaded
                }
            };
            let infos = plugin.describe().await.map_err(|error| left(error.to_string()))?;
            offers.insert(name.clone(), infos);
            let guard = Arc::new(Guard::again(name, pinned, source));
            let file = pinned.bounds.files.get(name).cloned();
            let granted_here = pinned.bounds.granted_here.get(name).cloned().unwrap_or_default();
            plugins.insert(name.clone(), Loaded { plugin, guard, granted_here, file });
        }
        let digests = pinned.plugins.clone();
        let plan = deps.plans.plan(Strictness::Pinned, parsed, &offers, digests);
        let plan = plan.map_err(mistaken)?;
        let world = access::identity(deps).await.map_err(|failure| left(failure.message))?;
        let source = &*deps.secrets;
        let seals = Seals::pinned(&deps.key, deps.store.id(), pinned.key.as_deref());
        let in_clear = met::told_in_clear(state);
        // A mark has the name of a secret in it, which tells no value.
        let is_told = |value: &str| {
            in_clear.iter().any(|text| text.contains(value) && !secrets::has_mark(text))
        };
        let manifest = plan.manifest();
        let Anew { inputs, known_by, given, told } =
            anew::given(deps, state, pinned, manifest, &seals, is_told).await.map_err(left)?;
        let (known, by) = (&known_by, seals.clone());
        let again = Secrets::again(deps, manifest, &inputs, by, known, &told, is_told);
        let secrets = again.await.having_had(fingerprints(state, pinned));
        let replaced = ReplacedParts::between(&pinned.world, &world);
        let met = met::in_world(deps, &replaced, state, &secrets, &seals).await;
        let secrets = secrets.with_met(met);
        let effects = state.steps.values().flat_map(|step| &step.effects);
        effects.for_each(|effect| secrets.note_asked(&effect.call));
        let access = WorldAccess::new(deps, secrets, replaced);
        let kept = secrets::kept_from(&plan, &inputs, source);
        let (key, environment) = (deps.key.clone(), pinned.environment.clone());
        let memory = deps.runtime.memory_quota();
        Ok(Job { plan, plugins, inputs, access, key, given, kept, environment, memory })
    }

    /// What keeps the operation from going forward: going back needs only what the undo uses (R14).
    pub(crate) fn only_back_because(&self, asked: &BTreeMap<String, String>) -> Vec<String> {
        let missing = self.access.secrets.missing().iter();
        let missing = missing.map(|(name, why)| {
            let why = in_sentence(why);
            match asked.contains_key(name) {
                // That it began with may be in the world already.
                true => format!("the secret `{name}`: {why}"),
                false => format!(
                    "the secret `{name}`: {why}; where it is found elsewhere by now, resume with \
                     `--secret {name}=env:NAME` or `--secret {name}=file:PATH`"
                ),
            }
        });
        let another = self.access.replaced.reasons().into_iter();
        missing
            .chain(self.kept.iter().cloned())
            .chain(another.map(|why| format!("it began in another world: {}", in_sentence(why))))
            .collect()
    }

    /// What the operation is pinned to.
    ///
    /// # Errors
    /// Locks whose names can't be evaluated, or a world that can't be asked who it is.
    pub(crate) async fn pin(&self, deps: &Deps, request: &Request) -> Result<Pinned, Refusal> {
        let refuse = |reason: String| Refusal::Reasons { id: None, reasons: vec![reason] };
        let world = access::identity(deps)
            .await
            .map_err(|failure| refuse(in_sentence(&failure.message).into_owned()))?;
        let locks = self.locks().await.map_err(refuse)?;
        let manifest = self.plan.manifest();
        let digests =
            |(name, loaded): (&String, &Loaded)| (name.clone(), loaded.plugin.digest().clone());
        let grants =
            |(name, loaded): (&String, &Loaded)| (name.clone(), loaded.guard.grants().clone());
        Ok(Pinned {
            manifest_name: request.manifest_name.clone(),
            manifest: manifest.text.clone(),
            inputs: self.inputs.clone(),
            environment: self.environment.clone(),
            world,
            plugins: self.plugins.iter().map(digests).collect(),
            locks,
            actor: request.actor.clone(),
            store: of_one_operation(&deps.store.id(), &deps.runner),
            grants: self.plugins.iter().map(grants).collect(),
            secrets: self.access.secrets.fingerprints(),
            bounds: self.bounds(&*deps.plugins),
            key: Some(self.access.secrets.key_id().to_owned()),
        })
    }

    fn bounds(&self, source: &dyn PluginSource) -> Bounds {
        let here = self.plugins.iter().filter(|(_, loaded)| !loaded.granted_here.is_empty());
        let files = self.plugins.iter();
        let files = files.filter_map(|(name, loaded)| Some((name.clone(), loaded.file.clone()?)));
        Bounds {
            policy: source.policy(),
            granted_here: here
                .map(|(name, loaded)| (name.clone(), loaded.granted_here.clone()))
                .collect(),
            files: files.collect(),
        }
    }

    pub(crate) async fn locks(&self) -> Result<Vec<LockName>, String> {
        let (plan, scope) = (Arc::clone(&self.plan), self.scope());
        let work = move || {
            let locks = &plan.manifest().operation.locks;
            let evaluate = |template: &String| match evaluate_value(
                &Value::String(template.clone()),
                &scope,
            ) {
                Ok(Value::String(name)) => lock_name(name),
                Ok(other) => lock_name(other.to_string()),
                Err(error) => Err(format!("`locks` can't be evaluated: {error}")),
            };
            locks.iter().map(evaluate).collect::<Result<Vec<_>, _>>()
        };
        let limit = Duration::from_millis(self.access.limits.expression_ms_max);
        let names = self.access.clock.in_thread(limit, work).await;
        let mut names = names.map_err(|_| format!("`locks` take longer than {limit:?}"))??;
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// What expressions see before any step has run.
    pub(crate) fn scope(&self) -> Scope {
        let manifest = self.plan.manifest();
        Scope {
            inputs: inputs::visible(manifest, &self.inputs),
            operation: serde_json::json!({ "id": null, "name": manifest.operation.name }),
            environment: serde_json::json!({ "name": self.environment }),
            ..Scope::default()
        }
    }
}

/// What a lock may be called: it is written down by others, and shown to them.
fn lock_name(name: String) -> Result<LockName, String> {
    let shown = name.escape_debug().take(80).collect::<String>();
    match name.len() {
        0 => Err("`locks` has a lock without a name".to_owned()),
        1..=LOCK_BYTES_MAX if !name.chars().any(char::is_control) => Ok(LockName(name)),
        1..=LOCK_BYTES_MAX => Err(format!("`locks`: `{shown}` has a control character in it")),
        long => Err(format!(
            "`locks`: `{shown}…` has {long} bytes, and a lock's name at most {LOCK_BYTES_MAX}"
        )),
    }
}

/// The store's name for one operation. A copied store has the same identity and numbers its
/// operations alike, so whoever begins one puts its own random name to it: nobody else's effects
/// have its tokens, and no other's takeover fences it.
fn of_one_operation(store: &StoreId, runner: &RunnerId) -> StoreId {
    StoreId(format!("{store}/{}", runner.0))
}

/// Hold a manifest against its plugins, with no world, no inputs and no store.
///
/// # Errors
/// All of its mistakes, each with its place.
pub async fn validate(
    runtime: &Runtime,
    source: &dyn PluginSource,
    name: &str,
    text: &str,
    base_dir: &Path,
) -> Result<Arc<Plan>, Diagnostics> {
    let plans = Plans::default();
    let parsed = plans.parse(Strictness::Whole, name, text)?;
    load(runtime, source, &plans, parsed, base_dir).await.map(|(plan, _)| plan)
}

/// Load a manifest's plugins and hold it against them.
async fn load(
    runtime: &Runtime,
    source: &dyn PluginSource,
    plans: &Plans,
    parsed: Parsed,
    base_dir: &Path,
) -> Result<(Arc<Plan>, BTreeMap<String, Loaded>), Diagnostics> {
    let mut found: Vec<Diagnostic> = vec![];
    let mut offers = Offers::new();
    let mut plugins: BTreeMap<String, Loaded> = BTreeMap::new();
    let mut unusable = std::collections::BTreeSet::new();
    let manifest = parsed.manifest();
    for step in &manifest.steps {
        let name = step.uses.plugin();
        if plugins.contains_key(name) || !unusable.insert(name) {
            continue;
        }
        match load_one(runtime, source, step, base_dir).await {
            Ok((infos, loaded)) => {
                unusable.remove(name);
                offers.insert(name.to_owned(), infos);
                plugins.insert(name.to_owned(), loaded);
            }
            Err(mistake) => found.push(mistake),
        }
    }
    let spans = manifest.steps.iter().filter(|step| unusable.contains(step.uses.plugin()));
    let told: Vec<_> = spans.map(|step| step.spans.uses.clone()).collect();
    let (name, text) = (manifest.name.clone(), manifest.text.clone());
    let digest =
        |(name, loaded): (&String, &Loaded)| (name.clone(), loaded.plugin.digest().clone());
    let digests = plugins.iter().map(digest).collect();
    match plans.plan(Strictness::Whole, parsed, &offers, digests) {
        Ok(plan) if found.is_empty() => Ok((plan, plugins)),
        planned => {
            // That a plugin is not there was told with its reason above.
            let more = planned.err().map_or(vec![], |mistakes| mistakes.list);
            let is_told = |one: &Diagnostic| one.span.as_ref().is_some_and(|at| told.contains(at));
            found.extend(more.into_iter().filter(|one| !is_told(one)));
            found.sort_by_key(|one| one.span.as_ref().map(|span| span.start));
            Err(Diagnostics { name, text, list: found })
        }
    }
}

async fn load_one(
    runtime: &Runtime,
    source: &dyn PluginSource,
    step: &Step,
    base_dir: &Path,
) -> Result<(Shared<Vec<step::StepInfo>>, Loaded), Diagnostic> {
    let mistake = |message: String| Diagnostic::at(step.spans.uses.clone(), message);
    let uses = &step.uses;
    let given = source.plugin(uses, base_dir).map_err(|why| match why {
        Some(why) => mistake(why),
        None => unknown_plugin(source, uses, mistake),
    })?;
    let name = uses.plugin();
    let plugin = runtime.load_apart(name, &given.bytes).await;
    let plugin = plugin.map_err(|error| mistake(error.to_string()))?;
    let missing: Vec<&str> = plugin
        .imports()
        .iter()
        .filter(|import| !given.grants.allow(**import))
        .map(|import| import.name())
        .collect();
    if !missing.is_empty() {
        let message = format!("plugin `{name}` uses {}, not granted to it", missing.join(", "));
        let help = format!("grant it with `--grant '{name}={}'`", missing.join(","));
        return Err(mistake(message).help(help));
    }
    let infos = plugin.describe().await.map_err(|error| mistake(error.to_string()))?;
    let PluginBytes { grants, granted_here, file, granted_by, .. } = given;
    source
        .accept(&granted_by, &plugin, &infos)
        .map_err(|no| Diagnostic { help: no.help, ..mistake(no.why) })?;
    let guard = Arc::new(Guard::new(name, grants, source.policy()));
    Ok((infos, Loaded { plugin, guard, granted_here, file }))
}

fn unknown_plugin(
    source: &dyn PluginSource,
    uses: &Uses,
    mistake: impl Fn(String) -> Diagnostic,
) -> Diagnostic {
    let names = source.names();
    let help = suggest(uses.plugin(), names.iter().map(String::as_str));
    mistake(format!("there is no plugin `{}`", uses.plugin())).help(help)
}

/// The fingerprints of what each secret is, or was.
fn fingerprints(state: &State, pinned: &Pinned) -> BTreeMap<String, Vec<String>> {
    let of = |(name, began_with): (&String, &String)| {
        let given = state.given.get(name).map(|given| given.fingerprint.clone());
        (name.clone(), [began_with.clone()].into_iter().chain(given).collect())
    };
    pinned.secrets.iter().map(of).collect()
}
