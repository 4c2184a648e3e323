//! What the store's list has of one operation.

use stepback_core::OperationId;
use stepback_journal::{Store, StoreError, Summary};

/// The operation's line, if it is in the list.
pub(crate) async fn of(store: &dyn Store, id: OperationId) -> Result<Option<Summary>, StoreError> {
    Ok(store.list().await?.into_iter().find(|one| one.id == id))
}
