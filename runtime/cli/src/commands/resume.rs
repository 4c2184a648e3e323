//! `stepback resume`: go on with what was left unfinished.

use super::{ending, run::reporter, signals};
use crate::args::{Global, Resume};
use crate::config::Config;
use crate::environment;
use crate::error::{CliError, Exit};
use std::sync::Arc;
use stepback_core::OperationId;
use stepback_core::event::Event;
use stepback_engine::{Control, Deps};
use stepback_journal::Store;

pub async fn run(global: &Global, resume: Resume) -> Result<Exit, CliError> {
    let config = Config::load(global)?;
    let store = environment::store(&config, false)?;
    let control = Control::new();
    signals::listen(control.clone());
    let ids = match resume.id {
        Some(id) => vec![OperationId(id)],
        None => {
            let all = store.list().await?;
            let left = all.iter().filter(|one| one.finished.is_none() && !one.is_run);
            left.map(|one| one.id).collect()
        }
    };
    let mut worst = Exit::Succeeded;
    let several = resume.id.is_none();
    for id in ids {
        match one(&config, &*store, id, &resume, &control).await {
            Ok(exit) => worst = worse(worst, exit),
            // One that can't go on keeps none of the others from it (R15).
            Err(error) if several => {
                error.print();
                worst = worse(worst, error.exit());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(worst)
}

fn worse(a: Exit, b: Exit) -> Exit {
    if b as u8 > a as u8 { b } else { a }
}

async fn one(
    config: &Config,
    store: &dyn Store,
    id: OperationId,
    resume: &Resume,
    control: &Control,
) -> Result<Exit, CliError> {
    let deps = deps_of(config, store, id, &resume.inject, resume.json).await?;
    let ended = stepback_engine::resume(&deps, id, control).await?;
    Ok(ending::print_ended(&ended, resume.json))
}

/// What an operation on record runs on: its own environment.
pub async fn deps_of(
    config: &Config,
    store: &dyn Store,
    id: OperationId,
    inject: &[String],
    json: bool,
) -> Result<Arc<Deps>, CliError> {
    let records = store.load(id).await?;
    let pinned = records.iter().find_map(|record| match &record.event {
        Event::Created(pinned) => Some(pinned),
        _ => None,
    });
    let pinned = pinned.ok_or_else(|| CliError::Internal(format!("{id} has no first event")))?;
    environment::deps(config, pinned.environment.as_str(), inject, reporter(json)).await
}
