//! `stepback resume`: go on with what was left unfinished.

use super::{ending, manifest, run::reporter, signals};
use crate::args::{Global, Resume};
use crate::config::Config;
use crate::environment;
use crate::error::{CliError, Exit};
use crate::report::{Human, JsonLines};
use std::collections::BTreeMap;
use std::sync::Arc;
use stepback_core::event::Event;
use stepback_core::inputs::is_reference;
use stepback_core::state::{State, Status};
use stepback_core::{EnvironmentName, OperationId};
use stepback_engine::{Control, Deps, Reporter};
use stepback_journal::Store;
use tokio::task::JoinSet;

pub async fn run(global: &Global, resume: Resume) -> Result<Exit, CliError> {
    let config = Config::load(global)?;
    let store = environment::store(&config, false)?;
    let control = Control::new();
    signals::listen(control.clone());
    let Some(id) = resume.id.map(OperationId) else {
        return all(&config, &*store, &resume, &control).await;
    };
    let given = given_anew(&resume.secrets)?;
    let deps = deps_of(&config, &*store, id, &resume.inject, resume.json, Going::On).await?;
    let deps = Arc::new(deps.giving(given));
    match stepback_engine::resume(&deps, id, &control).await {
        Ok(ended) => {
            ending::tell_late_cancel(&control, &ended.state);
            Ok(ending::print_ended(&ended, resume.json))
        }
        Err(error) => Err(ending::left(&*deps.store, &control, error).await),
    }
}

/// Where secrets of an operation on record are found from here on.
pub fn given_anew(secrets: &[String]) -> Result<BTreeMap<String, String>, CliError> {
    let given = manifest::secrets(secrets)?;
    for (name, reference) in &given {
        is_reference(reference).map_err(|why| {
            let help = "such as `--secret db=env:DB_PASSWORD`";
            CliError::usage(shown!("`{}` {}", name, why), help)
        })?;
    }
    Ok(given)
}

/// All that nobody runs, side by side: one that waits, or can't go on, keeps none of the others
/// from it (R15).
async fn all(
    config: &Config,
    store: &dyn Store,
    resume: &Resume,
    control: &Control,
) -> Result<Exit, CliError> {
    let all = store.list().await?;
    let unfinished = all.into_iter().filter(|one| one.finished.is_none() && !one.is_run);
    let (mut left, mut worst) = (vec![], Exit::Succeeded);
    for one in unfinished {
        match has_begun(store, one.id).await {
            true => left.push(one),
            // Somebody waited in line for it, and waits no more; others may have come since.
            false => {
                tell!(
                    "operation {} never began, and is left: `stepback resume {}` runs it now, \
                     `stepback cancel {}` ends it",
                    one.id,
                    one.id,
                    one.id
                );
                worst = Exit::Unfinished;
            }
        }
    }
    let mut environments: BTreeMap<EnvironmentName, Arc<Deps>> = BTreeMap::new();
    let mut running = JoinSet::new();
    for one in left {
        let deps = match environments.get(&one.environment) {
            Some(deps) => Ok(Arc::clone(deps)),
            None => {
                let name = one.environment.as_str();
                config.tell_if_simulated(name);
                environment::deps(config, name, &resume.inject, reporter(resume.json)).await
            }
        };
        match deps {
            Ok(deps) => {
                environments.insert(one.environment, Arc::clone(&deps));
                let reporter: Arc<dyn Reporter> = match resume.json {
                    true => Arc::new(JsonLines::default()),
                    false => Human::among_others(one.id).live(),
                };
                let (deps, control) = (Arc::new(deps.reporting_to(reporter)), control.clone());
                running
                    .spawn(async move { stepback_engine::resume(&deps, one.id, &control).await });
            }
            Err(error) => worst = worse(worst, told(&error)),
        }
    }
    while let Some(ended) = running.join_next().await {
        let exit = match ended {
            Ok(Ok(ended)) => ending::print_ended(&ended, resume.json),
            Ok(Err(error)) => told(&ending::left(store, control, error).await),
            Err(panic) => told(&CliError::Internal(panic.to_string().into())),
        };
        worst = worse(worst, exit);
    }
    Ok(worst)
}

/// Whether an operation is out of the line; what can't be read is told when it is taken up.
async fn has_begun(store: &dyn Store, id: OperationId) -> bool {
    let Ok(records) = store.load(id).await else { return true };
    State::fold(&records).map_or(true, |state| state.status != Status::Queued)
}

fn told(error: &CliError) -> Exit {
    error.print();
    error.exit()
}

fn worse(a: Exit, b: Exit) -> Exit {
    if b as u8 > a as u8 { b } else { a }
}

/// Whether an operation on record may go forward.
#[derive(Clone, Copy)]
pub enum Going {
    On,
    Back,
}

/// What an operation on record runs on: its own environment.
pub async fn deps_of(
    config: &Config,
    store: &dyn Store,
    id: OperationId,
    inject: &[String],
    json: bool,
    going: Going,
) -> Result<Arc<Deps>, CliError> {
    let records = store.load(id).await?;
    let pinned = records.iter().find_map(|record| match &record.event {
        Event::Created(pinned) => Some(pinned),
        _ => None,
    });
    let pinned = pinned.ok_or_else(|| CliError::Internal(shown!("{} has no first event", id)))?;
    let environment = pinned.environment.as_str();
    if config.environment(environment).is_err() {
        let message = shown!(
            "operation {} began in the environment `{}`, and the configuration in \
             use has none of that name",
            id,
            environment
        );
        let help = "give the configuration that it began with, `--config FILE`, or run this where \
                    it began";
        return Err(CliError::usage(message, help));
    }
    config.tell_if_simulated(pinned.environment.as_str());
    let (name, reporter) = (pinned.environment.as_str(), reporter(json));
    match going {
        Going::On => environment::deps(config, name, inject, reporter).await,
        Going::Back => environment::deps_to_go_back(config, name, inject, reporter).await,
    }
}
