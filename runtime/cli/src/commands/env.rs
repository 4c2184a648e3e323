//! `stepback env`: the environments there are, and whether each can be used.

use crate::args::{Env, Global};
use crate::config::Config;
use crate::environment;
use crate::environments::Environment;
use crate::error::{CliError, Exit};
use crate::output::{print, table};
use serde_json::{Value, json};
use stepback_provider::Checked;
use stepback_provider::simulated::faults::Faults;

pub async fn run(global: &Global, env: Env) -> Result<Exit, CliError> {
    let config = Config::load(global)?;
    match env {
        Env::List { json } => {
            list(&config, json);
            Ok(Exit::Succeeded)
        }
        Env::Check { environment, json } => check(&config, &environment, json).await,
    }
}

fn list(config: &Config, json: bool) {
    if json {
        let all = config.environments.iter().map(listed);
        return print(&format!("{}\n", all.collect::<Value>()));
    }
    let mut rows = table(&["environment", "provider"]);
    for (name, environment) in &config.environments {
        rows.add_row([name.as_str(), environment.provider()]);
    }
    print(&format!("{rows}\n"));
}

fn listed((name, environment): (&String, &Environment)) -> Value {
    json!({ "name": name, "provider": environment.provider() })
}

/// Exit 0 if everything can be used, else 2.
async fn check(config: &Config, name: &str, json: bool) -> Result<Exit, CliError> {
    let provider = environment::provider(config, name, Faults::default()).await?;
    let all = provider.check().await;
    let is_well = all.iter().all(|one| one.found.is_ok());
    match json {
        true => print(&format!("{}\n", all.iter().map(as_json).collect::<Value>())),
        false => {
            for Checked { what, found } in &all {
                match found {
                    Ok(said) => print(&format!("✓ {what}: {said}\n")),
                    Err(failure) => print(&format!("✗ {what}: {failure}\n")),
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
