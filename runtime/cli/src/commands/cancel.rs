//! `stepback cancel`: ask whoever runs an operation to roll it back.
//!
//! The wish is durable first; the runner notices it within a quarter of a second and makes it an
//! event of the operation. Without a runner it waits for `resume`.

use super::past;
use crate::args::{Cancel, Global};
use crate::config::Config;
use crate::environment::{self, actor};
use crate::error::{CliError, Exit};
use crate::output::print;
use stepback_core::OperationId;
use stepback_core::state::{State, Status};
use stepback_journal::{Request, Store};

pub async fn run(global: &Global, args: Cancel) -> Result<Exit, CliError> {
    let config = Config::load(global)?;
    let store = environment::store(&config, false)?;
    let id = OperationId(args.id);
    let (records, view) = past::one(&*store, id).await?;
    let state = State::fold(&records).map_err(|error| CliError::Internal(error.to_string()))?;
    match state.status {
        Status::Queued | Status::Running if !state.committed => {}
        Status::Queued | Status::Running => {
            let why = format!("operation {id} is past its commit point: nothing rolls back now");
            return Err(CliError::usage(why, "what it still does is cleanup; let it end"));
        }
        Status::RollingBack => {
            print(&format!("operation {id} is rolling back already\n"));
            return Ok(Exit::Succeeded);
        }
        Status::Refused | Status::Succeeded | Status::RolledBack | Status::RollbackFailed => {
            let why = format!("operation {id} has ended already: {}", view.status);
            return Err(CliError::usage(why, format!("`stepback show {id}` tells how")));
        }
    }
    store.request(id, Request::Cancel { actor: actor(), reason: args.reason }).await?;
    print(&format!(
        "asked operation {id} to roll back; `stepback show {id}` tells how it goes, and \
         `stepback resume {id}` goes on if nobody runs it\n"
    ));
    Ok(Exit::Succeeded)
}
