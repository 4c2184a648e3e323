//! `stepback rollback`: take an operation back that nobody runs, or accept the world as an
//! incomplete rollback left it (R7).

use super::resume::{self, Going, deps_of};
use super::unlock::world_of;
use super::{cancel, ending, past, signals};
use crate::actor::actor;
use crate::args::{Global, Rollback};
use crate::config::Config;
use crate::environment;
use crate::error::{CliError, Exit};
use crate::output::{Style, print, print_json};
use std::sync::Arc;
use stepback_clock::Clock;
use stepback_core::OperationId;
use stepback_engine::{Control, RunError};
use stepback_journal::Store;

pub async fn run(global: &Global, args: Rollback) -> Result<Exit, CliError> {
    let config = Config::load(global)?;
    let store = environment::store(&config, false)?;
    let id = OperationId(args.id);
    if let Some(reason) = args.accept {
        return accept(&config, &*store, id, reason, args.json).await;
    }
    let control = Control::new();
    signals::listen(control.clone());
    let given = resume::given_anew(&args.secrets)?;
    let deps = deps_of(&config, &*store, id, &args.inject, args.json, Going::Back).await?;
    let deps = Arc::new(deps.giving(given));
    match stepback_engine::roll_back(&deps, id, actor(), args.reason, &control).await {
        Ok(ended) => Ok(ending::print_ended(&ended, args.json)),
        Err(RunError::AskedFor { id }) => cancel::asked(id),
        Err(error) => Err(ending::left(store.as_ref(), &control, error).await),
    }
}

async fn accept(
    config: &Config,
    store: &dyn Store,
    id: OperationId,
    reason: String,
    json: bool,
) -> Result<Exit, CliError> {
    if reason.trim().is_empty() {
        let help = "say why the world is right as it is: `--accept 'restored by hand, ticket 12'`";
        return Err(CliError::usage("`--accept` needs a reason", help));
    }
    let runner = environment::runner()?;
    let (world, clock) = (world_of(config, store, id).await, Clock::real());
    let accepted =
        stepback_engine::accept(store, world.as_deref(), &runner, id, &clock, actor(), reason);
    let state = accepted.await?;
    if json {
        let (_, view) = past::one(store, id).await?;
        print_json(&view);
    } else {
        print(&ending::summary(id, &state, &Style::of_stdout()));
    }
    Ok(Exit::Succeeded)
}
