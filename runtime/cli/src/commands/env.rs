//! `stepback env`: the environments there are, and whether each can be used.

use crate::args::{Env, Global};
use crate::config::Config;
use crate::environment;
use crate::environments::Environment;
use crate::error::{CliError, Exit};
use crate::files;
use crate::output::{print, print_json_line, print_toml, table, timestamp};
use crate::shown::row;
use serde_json::{Value, json};
use std::path::Path;
use stepback_clock::Clock;
use stepback_provider::Checked;
use stepback_provider::faults::Faults;
use stepback_simulated::Imported;

pub async fn run(global: &Global, env: Env) -> Result<Exit, CliError> {
    let config = Config::load(global)?;
    match env {
        Env::List { json } => {
            list(&config, json);
            Ok(Exit::Succeeded)
        }
        Env::Check { environment, json } => {
            check(&config, &config.chosen(environment.as_deref())?, json).await
        }
        Env::Snapshot { environment, output, force } => {
            let name = config.chosen(environment.as_deref())?;
            snapshot(&config, &name, output.as_deref(), force).await
        }
    }
}

fn list(config: &Config, json: bool) {
    if json {
        let all = config.environments.iter().map(listed);
        return print_json_line(&all.collect::<Value>());
    }
    let mut rows = table(&["environment", "provider"]);
    for (name, environment) in &config.environments {
        rows.add([row(name), row(environment.provider())]);
    }
    print(&shown!("{}\n", rows.shown()));
}

fn listed((name, environment): (&String, &Environment)) -> Value {
    let is_simulated = environment.is_simulated();
    json!({ "name": name, "provider": environment.provider(), "simulated": is_simulated })
}

/// Exit 0 if everything can be used, else 2.
async fn check(config: &Config, name: &str, json: bool) -> Result<Exit, CliError> {
    let provider = environment::provider(config, name, Faults::default()).await?;
    let all = provider.check().await;
    let is_well = all.iter().all(|one| one.found.is_ok());
    match json {
        true => print_json_line(&all.iter().map(as_json).collect::<Value>()),
        false => {
            for Checked { what, found } in &all {
                match found {
                    Ok(said) => print(&shown!("✓ {}: {}\n", what, said)),
                    Err(failure) => print(&shown!("✗ {}: {}\n", what, failure)),
                }
            }
        }
    }
    Ok(if is_well { Exit::Succeeded } else { Exit::Refused })
}

fn as_json(one: &Checked) -> Value {
    match &one.found {
        Ok(said) => json!({ "what": one.what, "ok": true, "said": said }),
        Err(failure) => json!({ "what": one.what, "ok": false, "failure": failure }),
    }
}

/// Exit 0 also if something is left out: each such thing is a line on stderr.
async fn snapshot(
    config: &Config,
    name: &str,
    output: Option<&Path>,
    force: bool,
) -> Result<Exit, CliError> {
    if let Some(path) = output.filter(|path| !force && path.exists()) {
        let message = shown!("{} is there already", path.display());
        return Err(CliError::usage(message, "take another name, or `--force` to write over it"));
    }
    let imported = match config.environment(name)? {
        // A world has more in it than any provider tells of.
        Environment::Simulated { world } => {
            let world = environment::simulated(config, name, world.as_deref())?;
            let world = world.load().map_err(|failure| environment::unread(name, &failure))?;
            let (world, left_out) = world.into_found();
            Imported::new(world, left_out)
        }
        Environment::Onebox { .. } | Environment::Aws { .. } => {
            environment::living(config, name).await?
        }
    };
    let world = toml::to_string_pretty(&imported.world)
        .map_err(|error| CliError::Internal(shown!("the world can't be written: {}", error)))?;
    let when = timestamp(Clock::real().unix());
    let text = format!(
        "# The environment `{name}` as it was at {when}, for `provider = \"simulated\"`.\n\
         # Values of environment variables are masked; commands and tags are as they were.\n\n\
         {world}"
    );
    environment::tell_left_out(&imported);
    match output {
        None => print_toml(&text),
        Some(path) => files::write_whole(path, &text, files::FOR_OWNER).map_err(|error| {
            let message = shown!("{} can't be written: {}", path.display(), error);
            CliError::usage(message, "choose another place with `-o FILE`")
        })?,
    }
    Ok(Exit::Succeeded)
}
