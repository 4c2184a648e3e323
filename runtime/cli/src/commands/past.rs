//! Operations of the past, read from the store.

use crate::error::CliError;
use crate::view::OperationView;
use stepback_core::OperationId;
use stepback_core::event::Record;
use stepback_core::state::IllegalEvent;
use stepback_journal::Store;

/// One operation's records and view.
pub async fn one(
    store: &dyn Store,
    id: OperationId,
) -> Result<(Vec<Record>, OperationView), CliError> {
    let records = store.load(id).await?;
    let view = OperationView::of(id, &records).map_err(|error| illegal(id, &error))?;
    Ok((records, view))
}

/// Every operation's view, oldest first.
pub async fn all(store: &dyn Store) -> Result<Vec<OperationView>, CliError> {
    let mut views = vec![];
    for summary in store.list().await? {
        views.push(one(store, summary.id).await?.1);
    }
    Ok(views)
}

fn illegal(id: OperationId, error: &IllegalEvent) -> CliError {
    CliError::Internal(format!("the journal of operation {id} can't be read: {error}"))
}

/// What a script reads.
pub fn json(value: &impl serde::Serialize) -> Result<String, CliError> {
    serde_json::to_string_pretty(value).map_err(|error| CliError::Internal(error.to_string()))
}
