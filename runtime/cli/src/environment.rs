//! Opens what an operation runs on: the store, the environment's provider, the sandbox.

use crate::actor::actor;
use crate::args;
use crate::config::Config;
use crate::crash::CrashingStore;
use crate::environments::Environment;
use crate::error::CliError;
use crate::files;
use crate::output::{Style, duration};
use crate::ownership;
use crate::plugins::Plugins;
use crate::providers;
use crate::secrets::References;
use crate::shown::row;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::Failure;
use stepback_core::shell::quoted;
use stepback_engine::{Deps, Limits, Reporter};
use stepback_files::key::{KEY_BYTES, Key};
use stepback_files::trust::Trusted;
use stepback_journal::{RunnerId, Sqlite, Store};
use stepback_provider::Provider;
use stepback_provider::faults::Faults;
use stepback_provider::faulty::Faulty;
use stepback_simulated::world::World;
use stepback_simulated::{Imported, NOT_A_WORLD, NOT_OURS, Simulated, WORLD_FILE, import};
use stepback_wasm::{Compiler, Runtime, RuntimeConfig, Turns};

/// The key of secrets, in the state directory.
const KEY_FILE: &str = "secrets.key";

/// What `local` begins as.
const DEMO_WORLD: &str = include_str!("../../../operations/demo-world.toml");

/// The store in the state directory; made if `create`.
pub fn store(config: &Config, create: bool) -> Result<Arc<Sqlite>, CliError> {
    let is_new = !is_there(config, Sqlite::was_in(&config.state.dir))?;
    if !create && is_new {
        return Err(CliError::usage(
            shown!("there are no operations in {}", config.state.dir.display()),
            "`stepback run MANIFEST` begins one; `--state DIR` looks elsewhere",
        ));
    }
    if is_new {
        let shown =
            std::path::absolute(&config.state.dir).unwrap_or_else(|_| config.state.dir.clone());
        tell!(
            "new state directory: {} (what is run is kept there, and its locks)",
            shown.display()
        );
    }
    config.state.make_sure()?;
    Ok(Arc::new(Sqlite::open(&config.state.dir, Clock::real())?))
}

/// Whether something is in the state directory; of one that can't be looked into nothing is known.
fn is_there(config: &Config, found: std::io::Result<bool>) -> Result<bool, CliError> {
    found.map_err(|error| {
        let dir = std::path::absolute(&config.state.dir);
        let dir = dir.unwrap_or_else(|_| config.state.dir.clone());
        let (shown, whose) = (dir.display(), ownership::whose(&dir));
        let message = shown!("what is in {} can't be told: {}{}", shown, error, whose);
        CliError::usage(message, ownership::AS_ITS_OWNER)
    })
}

/// The store in the state directory, if there is one.
pub fn store_if_any(config: &Config) -> Result<Option<Arc<Sqlite>>, CliError> {
    match is_there(config, Sqlite::was_in(&config.state.dir))? {
        true => store(config, false).map(Some),
        false => Ok(None),
    }
}

/// Say that a plugin takes long to compile.
fn tell_compiling(name: &str, bytes: usize, since: Duration) {
    let mib = format!("{:.1}", bytes as f64 / f64::from(1 << 20));
    let since = duration(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    tell!("  compiling `{}` ({} MiB), once on this machine; {} so far", row(name), mib, since);
}

/// The sandbox, with its cache of compiled plugins.
pub fn sandbox(config: &Config) -> Result<Arc<Runtime>, CliError> {
    sandbox_with(config, Turns::default())
}

/// The same, where guests take turns otherwise.
pub fn sandbox_with(config: &Config, turns: Turns) -> Result<Arc<Runtime>, CliError> {
    // This program, whatever is in its file by now (proc(5)).
    let (program, arguments) = ("/proc/self/exe".into(), vec![args::COMPILE_PLUGIN.into()]);
    let compiler = Some(Compiler { program, arguments, told: Some(tell_compiling) });
    let cache_dir = Some(cache_dir(config));
    let config = RuntimeConfig { cache_dir, compiler, turns, ..RuntimeConfig::default() };
    let runtime = Runtime::new(config);
    runtime.map(Arc::new).map_err(|error| {
        CliError::usage(
            error.to_string(),
            "this machine gives it too little: see `ulimit -v`, `ulimit -u`, and the limits of the \
             container or the service it runs in",
        )
    })
}

/// Where compiled plugins are kept: with the user's other caches, for all state directories.
fn cache_dir(config: &Config) -> PathBuf {
    let from = |name: &str| std::env::var_os(name).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    from("STEPBACK_CACHE")
        .or_else(|| from("XDG_CACHE_HOME").map(|dir| dir.join("stepback")))
        .or_else(|| from("HOME").map(|home| home.join(".cache/stepback")))
        .unwrap_or_else(|| config.state.dir.join("cache"))
}

/// The environment's provider, with the faults asked for.
pub async fn provider(
    config: &Config,
    name: &str,
    faults: Faults,
) -> Result<Arc<dyn Provider>, CliError> {
    let provider: Arc<dyn Provider> = match config.environment(name)? {
        Environment::Simulated { world } => Arc::new(simulated(config, name, world.as_deref())?),
        Environment::Onebox { root, instances, docker, pools } => {
            providers::onebox(config, root, instances, docker, pools)?
        }
        Environment::Aws { account, docker, pools } => {
            if account.endpoint.as_deref().is_none_or(providers::is_of_aws) && !faults.is_empty() {
                let message =
                    shown!("`--inject` is not for `{}`, which is an account of AWS", name);
                let help = "try it in a simulated environment or a onebox";
                return Err(CliError::usage(message, help));
            }
            providers::aws(account, docker, pools).await?
        }
    };
    Ok(match faults.is_empty() {
        true => provider,
        false => Arc::new(Faulty::new(provider, faults)),
    })
}

/// A simulated environment's world, which is made if it is not there.
pub fn simulated(config: &Config, name: &str, world: Option<&Path>) -> Result<Simulated, CliError> {
    let seed = seed(world)?;
    config.state.make_sure_of(&[WORLDS, name])?;
    let opened = Simulated::open(&world_dir(config, name), &seed, Clock::real());
    opened.map_err(|failure| unusable(config, name, &in_file(failure, world)))
}

/// What is wrong with a world, with the file that it is wrong in.
fn in_file(failure: Failure, world: Option<&Path>) -> Failure {
    match world.filter(|_| failure.code.as_deref() == Some(NOT_A_WORLD)) {
        Some(path) => {
            Failure { message: format!("{}: {}", path.display(), failure.message), ..failure }
        }
        None => failure,
    }
}

/// Why a simulated environment's world can't be used.
fn unusable(config: &Config, name: &str, failure: &Failure) -> CliError {
    match failure.code.as_deref() == Some(NOT_OURS) {
        true => {
            let whose = ownership::whose(&world_dir(config, name).join(WORLD_FILE));
            CliError::usage(shown!("{}{}", failure.message, whose), ownership::AS_ITS_OWNER)
        }
        false => {
            let help = "mend the world file, or take another `--state`";
            CliError::usage(failure.message.clone(), help)
        }
    }
}

/// A simulated environment's world as it is now, or as it would begin; none is made.
pub fn simulated_as_it_is(
    config: &Config,
    name: &str,
    world: Option<&Path>,
) -> Result<World, CliError> {
    let is_made = is_there(config, world_dir(config, name).try_exists())?;
    let found = match is_made {
        true => simulated(config, name, world)?.load(),
        false => stepback_simulated::parse(&seed(world)?),
    };
    found.map_err(|failure| unusable(config, name, &in_file(failure, world)))
}

/// What there is in a living environment, read and not changed.
pub async fn living(config: &Config, name: &str) -> Result<Imported, CliError> {
    let provider = provider(config, name, Faults::default()).await?;
    import(&*provider).await.map_err(|failure| unread(name, &failure))
}

/// Why an environment can't be read.
pub fn unread(name: &str, failure: &Failure) -> CliError {
    let message = shown!("the environment `{}` can't be read: {}", name, failure.message);
    CliError::usage(message, shown!("`stepback env check {}` tells what is wrong", name))
}

/// What of an environment is not in its world, a line each.
pub fn tell_left_out(imported: &Imported) {
    for left_out in &imported.left_out {
        tell!("{} left out: {}", Style::of_stderr().yellow("!"), left_out);
    }
}

/// What `--inject` asks for.
pub fn faults(inject: &[String]) -> Result<Faults, CliError> {
    Faults::parse(inject).map_err(|why| {
        CliError::usage(
            shown!("`--inject`: {}", why),
            "`[undo:]CALL[#N]=FAULT`, such as `ebs.attach=refuse`",
        )
    })
}

/// Where a simulated environment's world is kept.
pub fn world_dir(config: &Config, environment: &str) -> PathBuf {
    config.state.dir.join(WORLDS).join(environment)
}

/// Where worlds are, in a state directory.
const WORLDS: &str = "worlds";

/// Of a snapshot of a large environment, too.
const WORLD_BYTES_MAX: u64 = 64 << 20;

/// That a simulated world is there: a look at its locks does not make one.
pub fn must_be_there(config: &Config, name: &str) -> Result<(), CliError> {
    if !config.is_simulated(name) || is_there(config, world_dir(config, name).try_exists())? {
        return Ok(());
    }
    let message = shown!("nothing has run in `{}` of {} yet", name, config.state.dir.display());
    Err(CliError::usage(message, "`--state DIR` looks elsewhere"))
}

/// A world file's text.
pub fn read_world(path: &Path, help: &'static str) -> Result<String, CliError> {
    files::text(path, WORLD_BYTES_MAX)
        .map_err(|why| CliError::usage(shown!("the world file {}", why), help))
}

/// What a simulated environment begins with.
fn seed(world: Option<&Path>) -> Result<String, CliError> {
    match world {
        None => Ok(DEMO_WORLD.to_owned()),
        Some(path) => read_world(path, "mend `world` of the environment in stepback.toml"),
    }
}

/// Everything an operation runs on.
pub async fn deps(
    config: &Config,
    environment: &str,
    inject: &[String],
    reporter: Arc<dyn Reporter>,
) -> Result<Arc<Deps>, CliError> {
    deps_with(config, environment, faults(inject)?, reporter, key).await
}

/// The same with faults that somebody else looks at as well.
pub async fn deps_with_faults(
    config: &Config,
    environment: &str,
    faults: Faults,
    reporter: Arc<dyn Reporter>,
) -> Result<Arc<Deps>, CliError> {
    deps_with(config, environment, faults, reporter, key).await
}

/// The same for going back, which goes on without the key: what was sealed by it can't be compared
/// then, and the verdict says so.
pub async fn deps_to_go_back(
    config: &Config,
    environment: &str,
    inject: &[String],
    reporter: Arc<dyn Reporter>,
) -> Result<Arc<Deps>, CliError> {
    deps_with(config, environment, faults(inject)?, reporter, key_to_go_back).await
}

/// The key, or where it can't be had one that fits nothing: who only goes back is told, and can.
pub fn key_to_go_back(config: &Config) -> Result<Key, CliError> {
    key(config).or_else(|error| {
        error.print();
        tell!("warning: it goes on without that key: what was sealed by it can't be compared");
        let random = Key::new_bytes().and_then(|bytes| Key::of_bytes(&bytes));
        random.map_err(|error| CliError::Internal(error.to_string().into()))
    })
}

async fn deps_with(
    config: &Config,
    environment: &str,
    faults: Faults,
    reporter: Arc<dyn Reporter>,
    key: impl FnOnce(&Config) -> Result<Key, CliError>,
) -> Result<Arc<Deps>, CliError> {
    let provider = provider(config, environment, faults.clone()).await?;
    let kept = store(config, true)?;
    let is_new_key = is_without_key(config);
    let key = key(config)?;
    if is_new_key && !kept.list().await?.is_empty() {
        tell!(
            "warning: the key of secrets was not there, and is a new one now: what operations on \
             record sealed by another one can't be compared; where that one turns up, put it back \
             before anything else is run"
        );
    }
    let store = CrashingStore::around(kept, &faults);
    Ok(Arc::new(Deps {
        store,
        provider,
        plugins: Arc::new(Plugins::new(config, Some(environment))),
        runtime: sandbox(config)?,
        plans: Arc::default(),
        reporter,
        secrets: Arc::new(References(config.secrets.clone())),
        key,
        given: BTreeMap::new(),
        runner: runner()?,
        actor: actor(),
        limits: Limits::default(),
        clock: Clock::real(),
    }))
}

/// Whether the next to ask for the key makes one.
fn is_without_key(config: &Config) -> bool {
    config.secrets_key.is_none() && !config.state.dir.join(KEY_FILE).exists()
}

/// The key in the file that the configuration names, or else in the state directory, which is
/// there by now.
pub fn key(config: &Config) -> Result<Key, CliError> {
    let in_state = config.state.dir.join(KEY_FILE);
    let path = config.secrets_key.as_ref().unwrap_or(&in_state);
    let key = match config.secrets_key {
        // Made anew where another one is meant, it would fit nothing.
        Some(_) => Key::of_file(path, &Trusted::caller().with_group(config.state.sharing.group())),
        None => Key::in_file(path),
    };
    key.map_err(|why| {
        let help = match why.kind() {
            ErrorKind::NotFound if config.secrets_key.is_some() => shown!(
                "`secrets_key` names it: bring it back; the first one is made by hand, \
                 `(umask 077; head -c {} /dev/urandom > {})`",
                KEY_BYTES,
                quoted(&path.display().to_string())
            ),
            ErrorKind::PermissionDenied if config.secrets_key.is_some() => {
                "who else has a say in it knows the key, or can put another one in its place".into()
            }
            _ => "bring it back from a backup; `stepback rollback` goes back without it. Where it \
                  is lost, move the file away: another key is made then, and what was sealed by \
                  the lost one can't be compared any more"
                .into(),
        };
        CliError::usage(
            shown!("the key of secrets, {}, can't be had: {}", path.display(), why),
            help,
        )
    })
}

/// This process, told from every other that ever ran.
pub fn runner() -> Result<RunnerId, CliError> {
    let mut random = [0u8; 8];
    getrandom::fill(&mut random).map_err(|error| CliError::Internal(error.to_string().into()))?;
    Ok(RunnerId(format!("{}-{}", std::process::id(), hex::encode(random))))
}
