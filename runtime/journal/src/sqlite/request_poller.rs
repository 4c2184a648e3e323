//! Polls for requests that other processes made, once for all of this process's operations.

use crate::store::NOTICED_MS_MAX;
use rusqlite::Connection;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::OperationId;
use tokio::sync::watch;

/// What a poll found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Polled {
    /// Something is asked of these operations.
    Requests(BTreeSet<OperationId>),
    /// The store can't be read; everybody is to look for himself and hear why.
    #[default]
    Unknown,
}

impl Polled {
    pub(super) fn may_concern(&self, id: OperationId) -> bool {
        match self {
            Polled::Requests(operations) => operations.contains(&id),
            Polled::Unknown => true,
        }
    }
}

/// Wait for a poll that may concern an operation; for another one, if the last was seen already.
pub(super) async fn until_it_may_concern(
    id: OperationId,
    polls: &mut watch::Receiver<Polled>,
    was_seen: bool,
) {
    // The polling ends with the store, which its waiters have.
    if was_seen {
        let _ = polls.changed().await;
    }
    let _ = polls.wait_for(|polled| polled.may_concern(id)).await;
}

/// The polling, until it is dropped.
pub(super) struct RequestPoller(Arc<watch::Sender<Polled>>);

impl RequestPoller {
    /// Poll twice within the time allowed, in a thread of its own.
    pub(super) fn start(reader: &Arc<Mutex<Connection>>, clock: Clock) -> std::io::Result<Self> {
        let polls = Arc::new(watch::Sender::new(Polled::default()));
        let (reader, told) = (Arc::downgrade(reader), Arc::downgrade(&polls));
        let work = move || {
            while let (Some(reader), Some(told)) = (Weak::upgrade(&reader), Weak::upgrade(&told)) {
                if told.receiver_count() > 0 {
                    let polled = poll(&reader).unwrap_or_default();
                    told.send_if_modified(|last| std::mem::replace(last, polled.clone()) != polled);
                }
                drop((reader, told));
                clock.rest(Duration::from_millis(NOTICED_MS_MAX / 2));
            }
        };
        std::thread::Builder::new().name("stepback-poll".to_owned()).spawn(work)?;
        Ok(Self(polls))
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Polled> {
        self.0.subscribe()
    }
}

fn poll(reader: &Mutex<Connection>) -> rusqlite::Result<Polled> {
    let connection = reader.lock().unwrap_or_else(PoisonError::into_inner);
    let mut statement = connection.prepare_cached("SELECT DISTINCT operation FROM requests")?;
    let rows = statement.query_map([], |row| Ok(OperationId(row.get::<_, i64>(0)? as u64)))?;
    Ok(Polled::Requests(rows.collect::<rusqlite::Result<_>>()?))
}
