//! `stepback run`: a manifest as a new operation, to its end.

use super::{ending, manifest, signals};
use crate::args::{Global, Run};
use crate::config::{Config, add_grants};
use crate::environment;
use crate::error::{CliError, Exit};
use crate::report::{Human, JsonLines};
use std::sync::Arc;
use stepback_engine::{Control, Reporter};

pub async fn run(global: &Global, run: Run) -> Result<Exit, CliError> {
    let mut config = Config::load(global)?;
    add_grants(&mut config, &run.operation.grants)?;
    let request = manifest::request(&run.operation, run.no_wait)?;
    let reporter = reporter(run.json);
    let (name, inject) = (&run.operation.environment, &run.operation.inject);
    let deps = environment::deps(&config, name, inject, reporter)?;
    let control = Control::new();
    signals::listen(control.clone());
    let ended = stepback_engine::run(&deps, &request, &control).await?;
    Ok(ending::print_ended(&ended, run.json))
}

/// Who tells what happens.
pub fn reporter(json: bool) -> Arc<dyn Reporter> {
    match json {
        true => Arc::new(JsonLines),
        false => Arc::new(Human::new()),
    }
}
