//! `stepback cancel`: ask whoever runs an operation to roll it back.
//!
//! The wish is durable first; the runner notices it within a quarter of a second and makes it an
//! event of the operation. Without a runner it waits for `resume`.

use crate::args::{Cancel, Global};
use crate::config::Config;
use crate::environment::{self, actor};
use crate::error::{CliError, Exit};
use crate::output::print;
use stepback_core::OperationId;
use stepback_journal::{Ending, Request, Requested, Store};

pub async fn run(global: &Global, args: Cancel) -> Result<Exit, CliError> {
    let config = Config::load(global)?;
    let store = environment::store(&config, false)?;
    let id = OperationId(args.id);
    let request = Request::Cancel { actor: actor(), reason: args.reason };
    let ended = |how: &str| {
        let why = format!("operation {id} has ended already: {how}");
        CliError::usage(why, format!("`stepback show {id}` tells how"))
    };
    let told = match store.request(id, request).await? {
        Requested::Kept { is_run: true } => {
            format!("asked operation {id} to roll back; `stepback show {id}` tells how it goes\n")
        }
        Requested::Kept { is_run: false } => {
            format!("operation {id} is to roll back; nobody runs it: `stepback resume {id}` does\n")
        }
        Requested::RollingBack => format!("operation {id} is rolling back already\n"),
        Requested::PastCommit => {
            let why = format!("operation {id} is past its commit point: nothing rolls back now");
            return Err(CliError::usage(why, "what it still does is cleanup; let it end"));
        }
        Requested::Ended(Ending::Refused) => return Err(ended("refused")),
        Requested::Ended(Ending::Succeeded) => return Err(ended("succeeded")),
        Requested::Ended(Ending::RolledBack) => return Err(ended("rolled-back")),
        Requested::Ended(Ending::RollbackFailed | Ending::Accepted) => {
            return Err(ended("rollback-failed"));
        }
    };
    print(&told);
    Ok(Exit::Succeeded)
}
