//! `stepback plugin build`: a crate's plugins as components, each loaded to see that it can be.

use super::{undeclared, unusable, warn};
use crate::config::Config;
use crate::environment;
use crate::error::{CliError, Exit};
use crate::files;
use crate::output::print;
use crate::plugins;
use crate::trusted::Entry;
use std::path::{Path, PathBuf};
use stepback_plugin_build::{LockFile, Stack};

pub async fn run(
    config: &Config,
    dir: &Path,
    output: Option<PathBuf>,
    locked: bool,
) -> Result<Exit, CliError> {
    let output = output.unwrap_or_else(|| dir.to_owned());
    let lock_file = if locked { LockFile::AsItIs } else { LockFile::Amended };
    let built = stepback_plugin_build::build(dir, &target_dir(dir), lock_file, Stack::Usual);
    let built = built.map_err(|error| unusable(format!("{error:#}")))?;
    let sandbox = environment::sandbox(config)?;
    for (name, component) in built {
        let bytes = plugins::read(&component).map_err(unusable)?;
        // What can't be loaded should be told by the build, not by the first run.
        let checked = sandbox.load_apart(&name, &bytes).await.map_err(unusable)?;
        let infos = checked.describe().await.map_err(unusable)?;
        let to = output.join(format!("{name}.wasm"));
        std::fs::create_dir_all(&output)
            .and_then(|()| files::write_whole(&to, &bytes, files::FOR_ALL))
            .map_err(|error| unusable(shown!("{} can't be written: {}", to.display(), error)))?;
        let steps: Vec<&str> = infos.iter().map(|info| info.name.as_str()).collect();
        print(&shown!("{}: {}\n", to.display(), steps.join(", ")));
        trust_built(config, &to, Entry::of(&checked, &infos))?;
        undeclared(&name, &checked).await?.iter().for_each(|warning| warn(warning));
    }
    Ok(Exit::Succeeded)
}

/// What was built here is what the grants of its file are for from now on, where another one was.
fn trust_built(config: &Config, file: &Path, entry: Entry) -> Result<(), CliError> {
    let Some(trusted) = &config.trusted else { return Ok(()) };
    for (table, _) in config.plugins.iter().filter(|(_, plugin)| plugin.is_for(file)) {
        if trusted.entry(table).map_err(unusable)?.is_some_and(|old| old.sha256 != entry.sha256) {
            trusted.keep(table, entry.clone()).map_err(unusable)?;
        }
    }
    Ok(())
}

/// Where cargo compiles: as it would by itself, so that a `cargo test` before finds the same.
fn target_dir(dir: &Path) -> PathBuf {
    let given = std::env::var_os("CARGO_TARGET_DIR").filter(|given| !given.is_empty());
    given.map_or_else(|| dir.join("target"), PathBuf::from)
}
