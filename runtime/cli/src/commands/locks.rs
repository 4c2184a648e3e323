//! `stepback locks`: what is held, by which operation, since when, and who waits.

use crate::args::{Global, Locks};
use crate::config::Config;
use crate::environment;
use crate::error::{CliError, Exit};
use crate::output::{print, table, timestamp};
use serde_json::{Value, json};
use stepback_journal::Store;

pub async fn run(global: &Global, args: Locks) -> Result<Exit, CliError> {
    let config = Config::load(global)?;
    let store = environment::store(&config, false)?;
    let held = store.locks().await?;
    if args.json {
        let rows = held.iter().map(|lock| {
            json!({
                "environment": lock.environment, "name": lock.name, "operation": lock.owner,
                "since": timestamp(lock.since), "waiting": lock.waiting,
            })
        });
        print(&format!("{:#}\n", rows.collect::<Value>()));
        return Ok(Exit::Succeeded);
    }
    let mut rows = table(&["environment", "lock", "operation", "since", "waiting"]);
    for lock in held {
        let (environment, name) = (lock.environment.to_string(), lock.name.to_string());
        let waiting: Vec<String> = lock.waiting.iter().map(ToString::to_string).collect();
        let (owner, since) = (lock.owner.to_string(), timestamp(lock.since));
        rows.add_row([environment, name, owner, since, waiting.join(", ")]);
    }
    print(&format!("{rows}\n"));
    Ok(Exit::Succeeded)
}
