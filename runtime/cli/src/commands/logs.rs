//! `stepback logs`: what an operation's steps logged.

use crate::args::{Global, Logs};
use crate::config::Config;
use crate::environment;
use crate::error::{CliError, Exit};
use crate::output::{print, timestamp};
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::OperationId;
use stepback_journal::{LogLine, Store};

/// How often a followed log is looked at.
const FOLLOW_EVERY: Duration = Duration::from_millis(200);

pub async fn run(global: &Global, args: Logs) -> Result<Exit, CliError> {
    let config = Config::load(global)?;
    let store = environment::store(&config, false)?;
    let id = OperationId(args.id);
    // A log that is empty and an operation that is not there are told apart.
    store.load(id).await?;
    let mut seen = 0;
    loop {
        // Looked at first, so that what was logged just before the end is not missed.
        let ended = has_ended(&*store, id).await?;
        let lines = store.logs(id, seen).await?;
        seen += lines.len() as u64;
        for line in &lines {
            print(&text(line));
        }
        if !args.follow || ended {
            return Ok(Exit::Succeeded);
        }
        Clock::real().sleep(FOLLOW_EVERY).await;
    }
}

async fn has_ended(store: &dyn Store, id: OperationId) -> Result<bool, CliError> {
    let all = store.list().await?;
    Ok(all.iter().any(|one| one.id == id && one.finished.is_some()))
}

fn text(line: &LogLine) -> String {
    let step = line.step.as_ref().map(ToString::to_string).unwrap_or_default();
    let LogLine { at, level, text, .. } = line;
    format!("{} {level:<5} {step}  {text}\n", timestamp(*at))
}
