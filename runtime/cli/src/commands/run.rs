//! `stepback run`: a manifest as a new operation, to its end.

use super::{ending, manifest, signals};
use crate::args::{Global, Run};
use crate::config::{Config, add_grants};
use crate::environment;
use crate::error::{CliError, Exit};
use crate::output::Style;
use crate::report::{Human, JsonLines};
use std::sync::Arc;
use stepback_engine::{Control, Reporter};
use stepback_journal::{Ending, Store};
use stepback_provider::faults::Faults;

pub async fn run(global: &Global, run: Run) -> Result<Exit, CliError> {
    let mut config = Config::load(global)?;
    add_grants(&mut config, &run.operation.grants)?;
    config.trusts_new = true;
    let chosen = run.operation.chosen_environment();
    let chosen = chosen.as_deref();
    let request = manifest::request(&config, &run.operation, chosen, run.no_wait).await?;
    let name = request.environment.to_string();
    config.tell_if_simulated(&name);
    let faults = environment::faults(&run.operation.inject)?;
    let reporter = reporter(run.json);
    let deps = environment::deps_with_faults(&config, &name, faults.clone(), reporter).await?;
    tell_unfinished(&*deps.store).await?;
    let control = Control::new();
    signals::listen(control.clone());
    match stepback_engine::run(&deps, &request, &control).await {
        Ok(ended) => {
            tell_what_never_came(&faults);
            ending::tell_late_cancel(&control, &ended.state);
            Ok(ending::print_ended(&ended, run.json))
        }
        Err(error) => Err(ending::left(&*deps.store, &control, error).await),
    }
}

/// Say which faults were asked for and never came about: what was to be tried was not.
fn tell_what_never_came(faults: &Faults) {
    for fault in faults.that_never_came() {
        tell!(
            "{} `--inject {}` never came about: no such call was made",
            Style::of_stderr().yellow("warning:"),
            fault
        );
    }
}

/// Say which operations nobody runs any more, and which rollbacks wait for a person.
async fn tell_unfinished(store: &dyn Store) -> Result<(), CliError> {
    let style = Style::of_stderr();
    for one in store.list().await? {
        let (id, manifest) = (one.id, &one.manifest);
        let left = match one.finished {
            None if !one.is_run => {
                shown!(
                    "operation {} ({}) is unfinished: `stepback resume {}` goes on, \
                     `stepback show {}` tells what else can be done",
                    id,
                    manifest,
                    id,
                    id
                )
            }
            Some(Ending::RollbackFailed) => shown!(
                "the rollback of operation {} ({}) is incomplete: `stepback show {}`",
                id,
                manifest,
                id
            ),
            _ => continue,
        };
        tell!("{} {}", style.yellow("!"), left);
    }
    Ok(())
}

/// Who tells what happens.
pub fn reporter(json: bool) -> Arc<dyn Reporter> {
    match json {
        true => Arc::new(JsonLines::default()),
        false => Human::new().live(),
    }
}
