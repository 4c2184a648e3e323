//! `stepback plugin trust`: the file that a table's grants are for may be another from now on.

use super::unusable;
use crate::config::Config;
use crate::environment;
use crate::error::{CliError, Exit};
use crate::output::print;
use crate::plugins;
use crate::trusted::Entry;
use sha2::{Digest, Sha256};
use std::path::Path;
use stepback_core::diagnostic::suggest;

pub async fn run(config: &Config, name: &str) -> Result<Exit, CliError> {
    let by_file = || config.plugins.iter().find(|(_, plugin)| plugin.is_for(Path::new(name)));
    let Some((table, plugin)) = config.plugins.get_key_value(name).or_else(by_file) else {
        let help = suggest(name, config.plugins.keys().map(String::as_str).collect::<Vec<_>>());
        return Err(CliError::usage(format!("stepback.toml has no plugin `{name}`"), help));
    };
    let bytes = plugins::read(&plugin.file).map_err(unusable)?;
    if let Some(wanted) = &plugin.sha256 {
        return Err(told_by_the_table(table, wanted, &bytes));
    }
    let sandbox = environment::sandbox(config)?;
    let component = sandbox.load_apart(table, &bytes).await.map_err(unusable)?;
    let steps = component.describe().await.map_err(unusable)?;
    let entry = Entry::of(&component, &steps);
    let Some(trusted) = &config.trusted else {
        return Err(CliError::usage("there is no stepback.toml", "write one with the grants"));
    };
    let changes = trusted.entry(table).map_err(unusable)?.map(|old| old.changes(&entry));
    let digest = entry.sha256.clone();
    trusted.keep(table, entry).map_err(unusable)?;
    let changes = changes.map(|told| shown!(": {}", told)).unwrap_or_default();
    print(&shown!("{} is trusted as sha256:{}{}\n", table, digest, changes));
    for grant in &plugin.grants {
        print(&shown!("  {}\n", grant));
    }
    Ok(Exit::Succeeded)
}

/// What is kept beside a digest that a person wrote would count for nothing.
fn told_by_the_table(table: &str, wanted: &str, bytes: &[u8]) -> CliError {
    let digest = hex::encode(Sha256::digest(bytes));
    let message = shown!("the `sha256` of [plugins.{}] says which file is trusted", table);
    CliError::usage(
        message,
        match digest == wanted {
            true => "it is that of the file: there is nothing to trust".into(),
            false => shown!("if the file is meant, write there `sha256 = \"{}\"`", digest),
        },
    )
}
