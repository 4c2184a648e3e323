//! Opens what an operation runs on: the store, the environment's provider, the sandbox.

use crate::config::Config;
use crate::crash::CrashingStore;
use crate::error::CliError;
use crate::plugins::Plugins;
use crate::secrets::References;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use stepback_engine::{Deps, Limits, Reporter};
use stepback_journal::{RunnerId, Sqlite};
use stepback_provider::Provider;
use stepback_provider::simulated::Simulated;
use stepback_provider::simulated::faults::Faults;
use stepback_wasm::{Runtime, RuntimeConfig};

/// What `local` begins as.
const DEMO_WORLD: &str = include_str!("../../../operations/demo-world.toml");

/// The store in the state directory; made if `create`.
pub fn store(config: &Config, create: bool) -> Result<Arc<Sqlite>, CliError> {
    if !create && !config.state.join("journal.db").exists() {
        return Err(CliError::usage(
            format!("there are no operations in {}", config.state.display()),
            "`stepback run MANIFEST` begins one; `--state DIR` looks elsewhere",
        ));
    }
    Ok(Arc::new(Sqlite::open(&config.state)?))
}

/// The sandbox, with its cache of compiled plugins.
pub fn sandbox(config: &Config) -> Result<Arc<Runtime>, CliError> {
    let cache_dir = Some(cache_dir(config));
    let runtime = Runtime::new(RuntimeConfig { cache_dir, ..RuntimeConfig::default() });
    runtime.map(Arc::new).map_err(|error| CliError::Internal(error.to_string()))
}

/// Where compiled plugins are kept: with the user's other caches, for all state directories.
fn cache_dir(config: &Config) -> PathBuf {
    let from = |name: &str| std::env::var_os(name).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    from("STEPBACK_CACHE")
        .or_else(|| from("XDG_CACHE_HOME").map(|dir| dir.join("stepback")))
        .or_else(|| from("HOME").map(|home| home.join(".cache/stepback")))
        .unwrap_or_else(|| config.state.join("cache"))
}

/// The environment's provider, with the faults asked for.
pub fn provider(
    config: &Config,
    environment: &str,
    faults: Faults,
) -> Result<Arc<dyn Provider>, CliError> {
    let world = config.world(environment)?;
    let seed = match world {
        None => DEMO_WORLD.to_owned(),
        Some(path) => read_world(path)?,
    };
    let dir = world_dir(config, environment);
    let opened = Simulated::open(&dir, &seed, faults);
    let opened = opened.map_err(|failure| {
        CliError::usage(failure.message, "mend the world file, or take another `--state`")
    })?;
    Ok(Arc::new(opened))
}

/// What `--inject` asks for.
fn faults(inject: &[String]) -> Result<Faults, CliError> {
    Faults::parse(inject).map_err(|why| {
        CliError::usage(
            format!("`--inject`: {why}"),
            "`[undo:]CALL[#N]=FAULT`, such as `ebs.attach=refuse`",
        )
    })
}

/// Where a simulated environment's world is kept.
pub fn world_dir(config: &Config, environment: &str) -> PathBuf {
    config.state.join("worlds").join(environment)
}

fn read_world(path: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(path).map_err(|error| {
        CliError::usage(
            format!("the world file {} can't be read: {error}", path.display()),
            "mend `world` of the environment in stepback.toml",
        )
    })
}

/// Everything an operation runs on.
pub fn deps(
    config: &Config,
    environment: &str,
    inject: &[String],
    reporter: Arc<dyn Reporter>,
) -> Result<Arc<Deps>, CliError> {
    let faults = faults(inject)?;
    let provider = provider(config, environment, faults.clone())?;
    let store = CrashingStore::around(store(config, true)?, &faults);
    Ok(Arc::new(Deps {
        store,
        provider,
        plugins: Arc::new(Plugins::new(config.plugins.clone())),
        runtime: sandbox(config)?,
        reporter,
        secrets: Arc::new(References),
        runner: runner()?,
        actor: actor(),
        limits: Limits::default(),
    }))
}

/// This process, told from every other that ever ran.
pub fn runner() -> Result<RunnerId, CliError> {
    let mut random = [0u8; 8];
    getrandom::fill(&mut random).map_err(|error| CliError::Internal(error.to_string()))?;
    Ok(RunnerId(format!("{}-{}", std::process::id(), hex::encode(random))))
}

/// Who is at the terminal: `user@host`.
pub fn actor() -> String {
    let user = ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = host.map(|host| host.trim().to_owned()).filter(|host| !host.is_empty());
    let user = user.unwrap_or_else(|| "unknown".to_owned());
    host.map_or(user.clone(), |host| format!("{user}@{host}"))
}
