//! Requests of other processes, looked for once for all of this process's operations.

use crate::store::NOTICED_MS_MAX;
use rusqlite::Connection;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::OperationId;
use tokio::sync::watch;

/// What the last look found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Look {
    /// Something is asked of these.
    Asked(BTreeSet<OperationId>),
    /// The store can't be read; everybody is to look for himself and hear why.
    #[default]
    Unknown,
}

impl Look {
    pub(super) fn may_concern(&self, id: OperationId) -> bool {
        match self {
            Look::Asked(operations) => operations.contains(&id),
            Look::Unknown => true,
        }
    }
}

/// Wait for a look that may concern an operation; for another one, if the last was seen already.
pub(super) async fn until_it_may_concern(
    id: OperationId,
    looks: &mut watch::Receiver<Look>,
    was_seen: bool,
) {
    // The looking ends with the store, which its waiters have.
    if was_seen {
        let _ = looks.changed().await;
    }
    let _ = looks.wait_for(|look| look.may_concern(id)).await;
}

/// The looking, until it is dropped.
pub(super) struct Asked(Arc<watch::Sender<Look>>);

impl Asked {
    /// Look twice within the time allowed, in a thread of its own.
    pub(super) fn keep_looking(reader: &Arc<Mutex<Connection>>, clock: Clock) -> Self {
        let looks = Arc::new(watch::Sender::new(Look::default()));
        let (reader, told) = (Arc::downgrade(reader), Arc::downgrade(&looks));
        std::thread::spawn(move || {
            while let (Some(reader), Some(told)) = (Weak::upgrade(&reader), Weak::upgrade(&told)) {
                if told.receiver_count() > 0 {
                    let look = look(&reader).unwrap_or_default();
                    told.send_if_modified(|last| std::mem::replace(last, look.clone()) != look);
                }
                drop((reader, told));
                clock.rest(Duration::from_millis(NOTICED_MS_MAX / 2));
            }
        });
        Self(looks)
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Look> {
        self.0.subscribe()
    }
}

fn look(reader: &Mutex<Connection>) -> rusqlite::Result<Look> {
    let connection = reader.lock().unwrap_or_else(PoisonError::into_inner);
    let mut statement = connection.prepare_cached("SELECT DISTINCT operation FROM requests")?;
    let rows = statement.query_map([], |row| Ok(OperationId(row.get::<_, i64>(0)? as u64)))?;
    Ok(Look::Asked(rows.collect::<rusqlite::Result<_>>()?))
}
