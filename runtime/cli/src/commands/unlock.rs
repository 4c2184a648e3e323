//! `stepback unlock`: give an operation up where it stands, and release its locks (R7).
//!
//! The last way out: for an operation that no other command can end, because its journal, its
//! plugins or its world can't be had any more. Nothing is put back; what may have happened without
//! anybody knowing is told.

use super::{ending, past};
use crate::args::{Global, Unlock};
use crate::config::Config;
use crate::environment::{self, actor};
use crate::error::{CliError, Exit};
use crate::output::{Style, print};
use serde_json::json;
use std::sync::Arc;
use stepback_clock::Clock;
use stepback_core::OperationId;
use stepback_engine::GivenUp;
use stepback_journal::Store;
use stepback_provider::Provider;
use stepback_provider::simulated::faults::Faults;

pub async fn run(global: &Global, args: Unlock) -> Result<Exit, CliError> {
    let config = Config::load(global)?;
    let store = environment::store(&config, false)?;
    let id = OperationId(args.id);
    let reason = args.reason;
    if reason.trim().is_empty() {
        let help = "say why nothing else can end it: `--reason 'the host is gone, ticket 12'`";
        return Err(CliError::usage("`--reason` is empty", help));
    }
    let world = world(&config, &*store, id).await;
    let (runner, clock) = (environment::runner()?, Clock::real());
    let given_up =
        stepback_engine::abandon(&*store, world.as_deref(), &runner, id, &clock, actor(), reason);
    match (given_up.await?, args.json) {
        (GivenUp::State(state), false) => {
            print(&ending::summary(id, &state, &Style::of_stdout()));
        }
        (GivenUp::State(_), true) => {
            print(&format!("{}\n", past::json(&past::one(&*store, id).await?.1)?));
        }
        (GivenUp::Unreadable(why), false) => {
            print(&format!(
                "operation {id} is given up, and its locks are released; what it did can't be \
                 told: {why}\n"
            ));
        }
        (GivenUp::Unreadable(why), true) => {
            print(&format!("{}\n", json!({ "id": id, "status": "abandoned", "why": why })));
        }
    }
    Ok(Exit::Succeeded)
}

/// The world that the operation was in, if it can be had: it is to refuse a runner that wakes.
async fn world(config: &Config, store: &dyn Store, id: OperationId) -> Option<Arc<dyn Provider>> {
    let all = store.list().await.ok()?;
    let name = all.into_iter().find(|one| one.id == id)?.environment;
    environment::provider(config, name.as_str(), Faults::default()).await.ok()
}
