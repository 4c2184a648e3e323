//! `stepback logs`: an operation's story, as it was told while it ran, from any terminal.

use super::{ending, past};
use crate::args::{Global, Logs};
use crate::config::Config;
use crate::environment;
use crate::error::{CliError, Exit};
use crate::output::{Style, print};
use crate::report::{Human, JsonLines};
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::OperationId;
use stepback_core::diagnostic::suggest;
use stepback_core::event::Record;
use stepback_core::state::State;
use stepback_engine::Reporter;
use stepback_journal::{LogLine, Store, StoreError, Summary};

/// How often a followed operation is looked at.
const FOLLOW_EVERY: Duration = Duration::from_millis(200);

pub async fn run(global: &Global, args: Logs) -> Result<Exit, CliError> {
    let config = Config::load(global)?;
    let store = environment::store(&config, false)?;
    let id = past::which(&*store, args.id).await?;
    let summary = summary(&*store, id).await?;
    if let Some(step) = &args.step {
        must_have_step(&*store, &summary, step).await?;
    }
    let reporter: Box<dyn Reporter> = match args.json {
        true => Box::new(JsonLines::of(args.step.clone())),
        false => Box::new(Human::again(args.step.clone())),
    };
    let mut told = Told { id, records: 0, lines: 0 };
    let mut is_left_told = false;
    loop {
        // Looked at first, so that what came just before the end is not missed.
        let now = self::summary(&*store, id).await?;
        let has_ended = now.finished.is_some();
        told.tell(&*store, &now, &*reporter).await?;
        // Whoever waits for more is told that there is nobody to come from.
        let is_left = !has_ended && !now.is_run;
        if is_left
            && !is_left_told
            && let Some(left) = past::read(&*store, &now).await?.1.left()
        {
            tell!("{} {}", Style::of_stderr().yellow("!"), left);
        }
        is_left_told = is_left;
        if has_ended || !args.follow {
            break;
        }
        Clock::real().sleep(FOLLOW_EVERY).await;
    }
    if args.step.is_none() && !args.json {
        let records = store.load(id).await?;
        let state =
            State::fold(&records).map_err(|error| CliError::unreadable(id, error.to_string()))?;
        if state.status.is_final() && !state.steps.is_empty() {
            print(&ending::summary(id, &state, &Style::of_stdout()));
        }
    }
    Ok(Exit::Succeeded)
}

async fn summary(store: &dyn Store, id: OperationId) -> Result<Summary, CliError> {
    let all = store.list().await?;
    all.into_iter().find(|one| one.id == id).ok_or_else(|| StoreError::NotFound(id).into())
}

/// A step that is misspelt would have nothing to tell.
async fn must_have_step(store: &dyn Store, of: &Summary, step: &str) -> Result<(), CliError> {
    let (_, view) = past::read(store, of).await?;
    let names: Vec<&str> = view.steps.iter().map(|one| one.id.as_str()).collect();
    let is_it = |name: &&str| name.split('[').next() == Some(step) || *name == step;
    match names.iter().any(is_it) {
        true => Ok(()),
        false => {
            let message = shown!("operation {} has no step `{}`", of.id, step);
            Err(CliError::usage(message, suggest(step, names)))
        }
    }
}

/// How much of an operation was told.
struct Told {
    id: OperationId,
    records: usize,
    lines: u64,
}

impl Told {
    /// Tell what is new, in the order of time.
    async fn tell(
        &mut self,
        store: &dyn Store,
        now: &Summary,
        reporter: &dyn Reporter,
    ) -> Result<(), CliError> {
        let lines = store.logs(self.id, self.lines).await?;
        self.lines += lines.len() as u64;
        let records = match now.last_seq.0 as usize > self.records {
            true => store.load(self.id).await?,
            false => vec![],
        };
        let new = records.get(self.records..).unwrap_or_default();
        self.records += new.len();
        let mut lines = lines.iter().peekable();
        for record in new {
            while let Some(line) = lines.next_if(|line| is_before(line, record)) {
                reporter.on_log(self.id, line);
            }
            reporter.on_record(self.id, record);
        }
        lines.for_each(|line| reporter.on_log(self.id, line));
        Ok(())
    }
}

fn is_before(line: &LogLine, record: &Record) -> bool {
    line.at < record.at
}
