//! `stepback cancel`: ask whoever runs an operation to roll it back; where nobody does, do it here.
//!
//! The wish is durable first; a runner notices it within a quarter of a second and makes it an
//! event of the operation. An operation that nobody runs is taken up and rolled back at once.

use super::{
    ending,
    resume::{Going, deps_of},
    signals,
};
use crate::actor::actor;
use crate::args::{Cancel, Global};
use crate::config::Config;
use crate::environment;
use crate::error::{CliError, Exit};
use crate::output::print;
use stepback_core::OperationId;
use stepback_engine::{Control, RunError};
use stepback_journal::{Ending, Request, Requested, Store};

pub async fn run(global: &Global, args: Cancel) -> Result<Exit, CliError> {
    let config = Config::load(global)?;
    let store = environment::store(&config, false)?;
    let id = OperationId(args.id);
    let request = Request::Cancel { actor: actor(), reason: args.reason.clone() };
    match store.request(id, request).await? {
        Requested::Kept { is_run: true } => asked(id),
        Requested::Kept { is_run: false } => roll_back(&config, &*store, id, &args).await,
        Requested::RollingBack => {
            print(&shown!(
                "operation {} is rolling back already; if nobody runs it, `stepback resume {}` \
                 goes on\n",
                id,
                id
            ));
            Ok(Exit::Succeeded)
        }
        Requested::PastCommit => Err(RunError::Committed { id }.into()),
        Requested::Ended(ending) => Err(has_ended(id, ending)),
    }
}

pub fn asked(id: OperationId) -> Result<Exit, CliError> {
    print(&shown!(
        "asked operation {} to roll back; `stepback show {}` tells how it goes\n",
        id,
        id
    ));
    Ok(Exit::Succeeded)
}

async fn roll_back(
    config: &Config,
    store: &dyn Store,
    id: OperationId,
    args: &Cancel,
) -> Result<Exit, CliError> {
    let control = Control::new();
    signals::listen(control.clone());
    let deps = deps_of(config, store, id, &args.inject, args.json, Going::Back).await;
    let deps = deps.inspect_err(|_| {
        tell!("the cancel is kept: whoever takes operation {} up rolls it back", id);
    })?;
    match stepback_engine::resume_asked(&deps, id, &control).await {
        Ok(ended) => Ok(ending::print_ended(&ended, args.json)),
        // Somebody took it up meanwhile, and has the wish.
        Err(RunError::AskedFor { .. }) => asked(id),
        Err(RunError::Left { why, .. }) => {
            let kept = CliError::CancelKept { id, why, stands: vec![] };
            Err(ending::standing(store, &control, kept).await)
        }
        Err(error @ RunError::WentOn { .. }) => {
            tell!("the cancel is kept here, where nobody can take operation {} up", id);
            Err(ending::left(store, &control, error).await)
        }
        // How it stands is told there.
        Err(error @ RunError::RunsElsewhere { .. }) => {
            Err(CliError::CancelKept { id, why: error.to_string(), stands: vec![] })
        }
        Err(error) => Err(ending::left(store, &control, error).await),
    }
}

fn has_ended(id: OperationId, ending: Ending) -> CliError {
    let (how, help) = match ending {
        Ending::Refused => ("refused", shown!("`stepback show {}` tells why", id)),
        Ending::Succeeded => ("succeeded", shown!("`stepback show {}` tells how", id)),
        Ending::RolledBack => ("rolled-back", shown!("`stepback show {}` tells how", id)),
        Ending::RollbackFailed => (
            "rollback-failed",
            shown!("`stepback rollback {}` takes the rollback up again after a fix", id),
        ),
        Ending::Accepted => {
            ("rollback-failed, and accepted", shown!("`stepback show {}` tells how", id))
        }
        Ending::Abandoned => ("abandoned", shown!("`stepback show {}` tells how", id)),
    };
    CliError::usage(shown!("operation {} has ended already: {}", id, how), help)
}
