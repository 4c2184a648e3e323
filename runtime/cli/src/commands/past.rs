//! Operations of the past, read from the store.

use crate::error::CliError;
use crate::output::Style;
use crate::view::OperationView;
use stepback_core::OperationId;
use stepback_core::event::Record;
use stepback_journal::{Ending, Store, Summary};

/// One operation's records and view.
pub async fn one(
    store: &dyn Store,
    id: OperationId,
) -> Result<(Vec<Record>, OperationView), CliError> {
    let read = async {
        let records = store.load(id).await?;
        let view = OperationView::of(id, &records)
            .map_err(|error| CliError::unreadable(id, error.to_string()))?;
        Ok((records, view))
    };
    match read.await {
        Err(CliError::Unreadable { id, why, .. }) => {
            let is_it = |one: &Summary| one.id == id && one.finished == Some(Ending::Abandoned);
            let is_given_up = store.list().await?.iter().any(is_it);
            Err(CliError::Unreadable { id, why, is_given_up })
        }
        read => read,
    }
}

/// Every operation's view, oldest first; of one whose journal can't be read, what is known.
pub async fn all(store: &dyn Store) -> Result<Vec<OperationView>, CliError> {
    let mut views = vec![];
    for summary in store.list().await? {
        let view = match one(store, summary.id).await {
            Ok((_, view)) => view,
            Err(CliError::Unreadable { id, why, .. }) => {
                let mark = Style::of_stderr().yellow("!");
                tell!("{mark} the journal of operation {id} can't be read: {why}");
                let held = store.locks().await?.into_iter().filter(|lock| lock.owner == id);
                let held = held.map(|lock| lock.name.to_string()).collect();
                OperationView::unreadable(&summary, &why, held)
            }
            Err(error) => return Err(error),
        };
        views.push(view);
    }
    Ok(views)
}

/// What a script reads.
pub fn json(value: &impl serde::Serialize) -> Result<String, CliError> {
    serde_json::to_string_pretty(value).map_err(|error| CliError::Internal(error.to_string()))
}
