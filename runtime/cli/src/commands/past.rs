//! Operations of the past, read from the store.

use crate::args::{Filter, Which};
use crate::config::Config;
use crate::error::CliError;
use crate::output::Style;
use crate::view::{OperationView, name_of};
use std::collections::BTreeSet;
use stepback_clock::Clock;
use stepback_core::diagnostic::suggest;
use stepback_core::event::Record;
use stepback_core::manifest::duration_ms;
use stepback_core::{OperationId, UnixMs};
use stepback_journal::{Ending, Store, StoreError, Summary};

/// One operation's records and view.
pub async fn one(
    store: &dyn Store,
    id: OperationId,
) -> Result<(Vec<Record>, OperationView), CliError> {
    let all = store.list().await?;
    match all.iter().find(|one| one.id == id) {
        Some(summary) => read(store, summary).await,
        None => Err(StoreError::NotFound(id).into()),
    }
}

/// The same of one that is listed.
pub async fn read(
    store: &dyn Store,
    summary: &Summary,
) -> Result<(Vec<Record>, OperationView), CliError> {
    let read = async {
        let records = store.load(summary.id).await?;
        let view = OperationView::of(summary, &records)
            .map_err(|error| CliError::unreadable(summary.id, error.to_string()))?;
        Ok((records, view))
    };
    match read.await {
        Err(CliError::Unreadable { id, why, .. }) => {
            let is_given_up = summary.finished == Some(Ending::Abandoned);
            Err(CliError::Unreadable { id, why, is_given_up })
        }
        read => read,
    }
}

/// The operation that is meant.
pub async fn which(store: &dyn Store, which: Which) -> Result<OperationId, CliError> {
    match which {
        Which::Id(id) => Ok(OperationId(id)),
        Which::Latest => match store.list().await?.last() {
            Some(latest) => Ok(latest.id),
            None => {
                Err(CliError::usage("there are no operations yet", "`stepback run` begins one"))
            }
        },
    }
}

/// What `status` of an operation's view can be.
const STATUSES: [&str; 11] = [
    "queued",
    "refused",
    "running",
    "rolling-back",
    "succeeded",
    "rolled-back",
    "rollback-failed",
    "accepted",
    "abandoned",
    "unfinished",
    "unreadable",
];

/// A name that nothing has is told: an empty table would read as if nothing had happened.
async fn must_be_known(
    config: &Config,
    store: &dyn Store,
    filter: &Filter,
) -> Result<(), CliError> {
    let Some(name) = &filter.environment else { return Ok(()) };
    let all = store.list().await?;
    let ran = all.iter().map(|one| one.environment.as_str());
    let known: BTreeSet<&str> = config.environment_names().chain(ran).collect();
    if known.contains(name.as_str()) {
        return Ok(());
    }
    let message = shown!("there is no environment `{}`, and nothing ran in one of that name", name);
    Err(CliError::usage(message, suggest(name, known)))
}

/// The same of an operation's name.
async fn must_have_run(store: &dyn Store, filter: &Filter) -> Result<(), CliError> {
    let Some(name) = &filter.operation else { return Ok(()) };
    let mut names = BTreeSet::new();
    for summary in store.list().await? {
        match read(store, &summary).await {
            Ok((_, view)) if view.name == *name => return Ok(()),
            Ok((_, view)) => names.extend((!view.name.is_empty()).then_some(view.name)),
            Err(CliError::Unreadable { id, .. }) => {
                let began_with = store.began_with(id).await;
                match began_with.as_deref().map(name_of) {
                    Some(found) if found == *name => return Ok(()),
                    found => names.extend(found),
                }
            }
            Err(error) => return Err(error),
        }
    }
    let help = match names.is_empty() {
        true => "nothing has run yet".to_owned(),
        false => suggest(name, names.iter().map(String::as_str)),
    };
    Err(CliError::usage(shown!("no operation of the name `{}` has run", name), help))
}

/// The views of the operations that are asked for, newest first; of one whose journal can't be
/// read, what is known.
pub async fn all(
    config: &Config,
    store: &dyn Store,
    filter: &Filter,
) -> Result<Vec<OperationView>, CliError> {
    must_be_known(config, store, filter).await?;
    if let Some(status) = &filter.status
        && !STATUSES.contains(&status.as_str())
    {
        let help = suggest(status, STATUSES);
        return Err(CliError::usage(shown!("there is no status `{}`", status), help));
    }
    let since = filter.since.as_deref().map(moment).transpose()?;
    let mut views = vec![];
    must_have_run(store, filter).await?;
    for summary in store.list().await?.into_iter().rev() {
        let is_elsewhere =
            filter.environment.as_ref().is_some_and(|name| summary.environment.as_str() != name);
        if is_elsewhere || since.is_some_and(|since| summary.created_at < since) {
            continue;
        }
        if filter.limit.is_some_and(|most| views.len() >= most) {
            break;
        }
        let view = match read(store, &summary).await.map(|(_, view)| view) {
            Ok(view) => view,
            Err(CliError::Unreadable { id, why, .. }) => {
                let mark = Style::of_stderr().yellow("!");
                tell!("{} the journal of operation {} can't be read: {}", mark, id, why);
                let held = store.locks().await?.into_iter().filter(|lock| lock.owner == id);
                let held = held.map(|lock| lock.name.to_string()).collect();
                let began_with = store.began_with(id).await;
                OperationView::unreadable(&summary, began_with.as_deref(), &why, held)
            }
            Err(error) => return Err(error),
        };
        let is_asked = filter.status.as_ref().is_none_or(|status| view.status == *status)
            && filter.operation.as_ref().is_none_or(|name| view.name == *name);
        views.extend(is_asked.then_some(view));
    }
    Ok(views)
}

/// The moment that long ago.
fn moment(text: &str) -> Result<UnixMs, CliError> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok());
    let ms = match days {
        Some(days) => days.checked_mul(86_400_000),
        None => duration_ms(text),
    };
    let at = ms.and_then(|ms| Clock::real().unix().0.checked_sub(ms));
    at.map(UnixMs).ok_or_else(|| {
        CliError::usage(shown!("`--since {}` is no duration", text), "such as `90m`, `24h` or `7d`")
    })
}
