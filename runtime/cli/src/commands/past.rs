//! Operations of the past, read from the store.

use crate::error::CliError;
use crate::output::Style;
use crate::view::OperationView;
use stepback_core::OperationId;
use stepback_core::event::Record;
use stepback_journal::Store;

/// One operation's records and view.
pub async fn one(
    store: &dyn Store,
    id: OperationId,
) -> Result<(Vec<Record>, OperationView), CliError> {
    let records = store.load(id).await?;
    let view = OperationView::of(id, &records)
        .map_err(|error| CliError::Unreadable { id, why: error.to_string() })?;
    Ok((records, view))
}

/// Every operation's view, oldest first; of one whose journal can't be read, what is known.
pub async fn all(store: &dyn Store) -> Result<Vec<OperationView>, CliError> {
    let mut views = vec![];
    for summary in store.list().await? {
        let view = match one(store, summary.id).await {
            Ok((_, view)) => view,
            Err(CliError::Unreadable { id, why }) => {
                let mark = Style::of_stderr().yellow("!");
                tell!("{mark} the journal of operation {id} can't be read: {why}");
                OperationView::unreadable(&summary, &why)
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
