//! `stepback locks`: what is held, by which operation, since when, and who waits; with `-e` what
//! the environment's world holds, whatever state directory it is of.

use crate::args::{Global, Locks};
use crate::config::Config;
use crate::environment;
use crate::error::{CliError, Exit};
use crate::output::{Table, print, print_json, table, timestamp};
use crate::shown::{Shown, row};
use serde_json::{Value, json};
use stepback_core::EnvironmentName;
use stepback_engine::Whose;
use stepback_journal::{LockRow, Store};
use stepback_provider::faults::Faults;
use stepback_provider::locks::{Freed, WorldLock};

pub async fn run(global: &Global, args: Locks) -> Result<Exit, CliError> {
    let config = Config::load(global)?;
    let Some(name) = args.environment else {
        let store = environment::store(&config, false)?;
        show(&store.locks().await?, args.json);
        return Ok(Exit::Succeeded);
    };
    environment::must_be_there(&config, &name)?;
    let provider = environment::provider(&config, &name, Faults::default()).await?;
    // One that is damaged holds up nobody who asks what the world holds.
    let store = match provider.locks() {
        Some(_) => environment::store_if_any(&config).unwrap_or_default(),
        None => environment::store_if_any(&config)?,
    };
    let Some(world) = provider.locks() else {
        tell!(
            "`{}` holds no locks itself: these are of the state directory {} alone",
            name,
            config.state.dir.display()
        );
        let name = EnvironmentName::from(name.as_str());
        let mut held = match &store {
            Some(store) => store.locks().await?,
            None => vec![],
        };
        held.retain(|lock| lock.environment == name);
        show(&held, args.json);
        return Ok(Exit::Succeeded);
    };
    let store = store.as_deref().map(|store| store as &dyn Store);
    let held = stepback_engine::held_in_world(store, world, None).await?;
    match args.json {
        true => {
            let rows = held.iter().map(|(lock, whose)| of_world(lock, *whose));
            print_json(&rows.collect::<Value>());
        }
        false => {
            print(&shown!("{}\n", table_of_world(&held).shown()));
            let freed = world.freed().await.unwrap_or_default();
            let lately = freed.iter().rev().take(FREED_TOLD);
            lately.for_each(|one| print(&shown!("{}\n", freed_by_hand(one))));
        }
    }
    Ok(Exit::Succeeded)
}

/// So many of the locks that were freed by hand are told.
const FREED_TOLD: usize = 5;

fn freed_by_hand(freed: &Freed) -> Shown {
    let Freed { name, holder, by, reason, at, .. } = freed;
    let place = holder.place.clone().unwrap_or_default();
    shown!(
        "freed by hand: {}, which operation {} of {} on {} held, by {} at {}: {}",
        row(name),
        holder.operation,
        row(&place),
        row(&holder.host),
        row(by),
        timestamp(*at),
        row(reason)
    )
}

fn show(held: &[LockRow], as_json: bool) {
    if as_json {
        let rows = held.iter().map(|lock| {
            json!({
                "environment": lock.environment, "name": lock.name, "operation": lock.owner,
                "since": timestamp(lock.since), "waiting": lock.waiting,
            })
        });
        print_json(&rows.collect::<Value>());
        return;
    }
    let mut rows = table(&["environment", "lock", "operation", "since", "waiting"]);
    for lock in held {
        let waiting: Vec<String> = lock.waiting.iter().map(ToString::to_string).collect();
        rows.add([
            row(&lock.environment),
            row(&lock.name),
            row(lock.owner),
            row(timestamp(lock.since)),
            row(waiting.join(", ")),
        ]);
    }
    print(&shown!("{}\n", rows.shown()));
}

/// A lock of a world in JSON.
pub fn of_world(lock: &WorldLock, whose: Whose) -> Value {
    let holder = &lock.holder;
    json!({
        "name": lock.name, "operation": holder.operation, "environment": holder.environment,
        "state": holder.place, "host": holder.host, "actor": holder.actor.name,
        "actor_uid": holder.actor.uid,
        "since": timestamp(holder.since), "holder": word(whose),
    })
}

fn word(whose: Whose) -> &'static str {
    match whose {
        Whose::Own => "this state directory",
        Whose::Running => "another state directory, running",
        Whose::Others => "another state directory, unfinished",
        Whose::StandsStill => "another state directory, its rollback incomplete",
        Whose::Unseen => "not to be seen from here",
        Whose::Late => "not looked at in time",
        Whose::Nobodys => "gone",
    }
}

fn table_of_world(held: &[(WorldLock, Whose)]) -> Table {
    let mut rows = table(&["lock", "operation", "since", "state directory", "host", "holder"]);
    for (lock, whose) in held {
        let holder = &lock.holder;
        rows.add([
            row(&lock.name),
            row(holder.operation),
            row(timestamp(holder.since)),
            row(holder.place.as_deref().unwrap_or_default()),
            row(&holder.host),
            word(*whose).into(),
        ]);
    }
    rows
}
