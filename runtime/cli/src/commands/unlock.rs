//! `stepback unlock`: give an operation up where it stands, and release its locks (R7).
//!
//! The last way out: for an operation that no other command can end, because its journal, its
//! plugins or its world can't be had any more. Nothing is put back; what may have happened without
//! anybody knowing is told.

use super::{ending, locks, past};
use crate::actor::actor;
use crate::args::{Global, Unlock};
use crate::config::Config;
use crate::environment;
use crate::error::{CliError, Exit};
use crate::output::{Style, print, print_json, print_json_line};
use crate::shown::{Shown, row};
use serde_json::json;
use std::sync::Arc;
use stepback_clock::Clock;
use stepback_core::OperationId;
use stepback_core::shell::word;
use stepback_engine::{GivenUp, Whose};
use stepback_journal::Store;
use stepback_provider::Provider;
use stepback_provider::faults::Faults;
use stepback_provider::locks::Freed;

pub async fn run(global: &Global, args: Unlock) -> Result<Exit, CliError> {
    let config = Config::load(global)?;
    let (what, reason) = (args.what, args.reason);
    if reason.trim().is_empty() {
        let help = "say why nothing else can end it: `--reason 'the host is gone, ticket 12'`";
        return Err(CliError::usage("`--reason` is empty", help));
    }
    if let Some(environment) = args.environment {
        return free(&config, &environment, &what, reason, args.json).await;
    }
    let store = environment::store(&config, false)?;
    let id = what.parse().map(OperationId).map_err(|_| {
        let help = shown!(
            "give the number that `stepback list` has; a lock that a world holds is freed with \
             `-e ENV {}`",
            what
        );
        CliError::usage(shown!("`{}` is no operation's number", what), help)
    })?;
    let world = world_of(&config, &*store, id).await;
    let (runner, clock) = (environment::runner()?, Clock::real());
    let given_up =
        stepback_engine::abandon(&*store, world.as_deref(), &runner, id, &clock, actor(), reason);
    let GivenUp { state, kept } = given_up.await?;
    if let Some(why) = &kept {
        let (why, environment) = (row(why), environment_of(&*store, id).await);
        tell!("its locks in the environment, if it has any, are kept: {}", why);
        tell!("  help: `stepback locks -e {}` tells who has them", environment);
    }
    match (state, args.json) {
        (Ok(state), false) => {
            let seen = match &world {
                Some(world) => {
                    let key = environment::key_to_go_back(&config)?;
                    stepback_engine::look_at(&*store, &**world, &state, &clock, &key).await
                }
                None => vec![],
            };
            print(&ending::summary_beside(id, &state, &seen, &Style::of_stdout()));
        }
        (Ok(_), true) => {
            print_json(&past::one(&*store, id).await?.1);
        }
        (Err(why), false) => {
            let locks = match kept {
                None => "and its locks are released",
                Some(_) => "and its locks in the state directory are released",
            };
            print(&shown!(
                "operation {} is given up, {}; what it did can't be told: {}\n",
                id,
                locks,
                why
            ));
        }
        (Err(why), true) => {
            print_json_line(&json!({ "id": id, "status": "abandoned", "why": why }));
        }
    }
    Ok(Exit::Succeeded)
}

/// Free a lock that a world holds for an operation of a state directory that is gone.
async fn free(
    config: &Config,
    environment: &str,
    name: &str,
    reason: String,
    as_json: bool,
) -> Result<Exit, CliError> {
    environment::must_be_there(config, environment)?;
    let provider = environment::provider(config, environment, Faults::default()).await?;
    let Some(world) = provider.locks() else {
        let message = shown!("`{}` holds no locks itself", environment);
        let help = "`stepback unlock ID` gives an operation up, and releases its locks";
        return Err(CliError::usage(message, help));
    };
    // One that is damaged is in nobody's way here.
    let store = environment::store_if_any(config).unwrap_or_default();
    let store = store.as_deref().map(|store| store as &dyn Store);
    let held = stepback_engine::held_in_world(store, world, Some(name)).await?;
    let Some((lock, whose)) = held.first() else {
        let all = world.held().await.unwrap_or_default();
        let help = match all.is_empty() {
            true => Shown::from("none is"),
            false => {
                let names = Shown::join(all.iter().map(|lock| row(&lock.name)), ", ");
                shown!("these are: {}", names)
            }
        };
        return Err(CliError::usage(
            shown!("no lock `{}` is held in `{}`", name, environment),
            help,
        ));
    };
    let (id, place) = (lock.holder.operation, lock.holder.place.clone().unwrap_or_default());
    let held_by = shown!("lock `{}` is held by operation {}", name, id);
    let refusal = refusal(id, &place, &held_by, *whose);
    if let Some((message, help)) = refusal {
        return Err(CliError::usage(message, help));
    }
    let (by, at) = (actor(), Clock::real().unix());
    let (name_of, holder) = (lock.name.clone(), lock.holder.clone());
    let freed = Freed { name: name_of, holder, by: by.name, by_uid: by.uid, reason, at };
    match world.free(&freed).await {
        Ok(true) if as_json => print_json_line(&locks::of_world(lock, *whose)),
        Ok(true) => print(&shown!(
            "lock `{}` is free; operation {} of {} on {} held it: what that changed is as \
             it left it\n",
            name,
            id,
            row(&place),
            row(&lock.holder.host)
        )),
        Ok(false) => {
            let help = "`stepback locks -e ENV` tells who has it now";
            return Err(CliError::usage(shown!("{} no more", held_by), help));
        }
        Err(failure) => return Err(CliError::usage(failure.message, "mend that first")),
    }
    Ok(Exit::Succeeded)
}

/// Why a lock is not freed, and what ends its holder, unless nobody else can.
fn refusal(id: OperationId, place: &str, held_by: &Shown, whose: Whose) -> Option<(Shown, Shown)> {
    let state = word(place);
    match whose {
        Whose::Own => {
            let help = shown!("`stepback cancel {}` ends it, or else `stepback unlock {}`", id, id);
            Some((shown!("{} of this state directory", held_by), help))
        }
        Whose::Running => {
            let help = Shown::from("cancel it where it is run");
            Some((shown!("{} of the state directory {}, which runs", held_by, place), help))
        }
        Whose::Others => {
            let help = shown!(
                "`stepback --state {} resume {}` goes on with it, `stepback --state {} \
                 cancel {}` takes it back",
                state,
                id,
                state,
                id
            );
            Some((shown!("{} of the state directory {}, which has it", held_by, place), help))
        }
        Whose::StandsStill => {
            let help = shown!(
                "`stepback --state {} rollback {}` takes its rollback up again, and with \
                 `--accept REASON` takes the world as it is",
                state,
                id
            );
            let message =
                shown!("{} of the state directory {}, which is to mend it", held_by, place);
            Some((message, help))
        }
        Whose::Late => {
            let help = Shown::from("try again in a minute");
            Some((shown!("{} of {}, which there was no time to look into", held_by, place), help))
        }
        Whose::Unseen | Whose::Nobodys => None,
    }
}

async fn environment_of(store: &dyn Store, id: OperationId) -> Shown {
    match store.summary(id).await {
        Ok(Some(one)) => row(&one.environment),
        Ok(None) | Err(_) => Shown::from("ENV"),
    }
}

/// The world that the operation was in, if it can be had: it is to refuse a runner that wakes.
pub async fn world_of(
    config: &Config,
    store: &dyn Store,
    id: OperationId,
) -> Option<Arc<dyn Provider>> {
    let all = store.list().await.ok()?;
    let name = all.into_iter().find(|one| one.id == id)?.environment;
    environment::provider(config, name.as_str(), Faults::default()).await.ok()
}
