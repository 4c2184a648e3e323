//! The store as the runner of a case has it: any commit may be its last.

use crate::kills::Witness;
use crate::place::{Fault, Kind};
use crate::script::{About, Met, Script};
use async_trait::async_trait;
use std::sync::Arc;
use stepback_clock::Clock;
use stepback_core::event::{Event, Pinned, Record};
use stepback_core::*;
use stepback_journal::{Around, Lease, Memory, RunnerId, Store, StoreError};

/// A store that follows a script.
pub(crate) struct Scripted {
    pub inner: Arc<dyn Store>,
    /// The one behind it, in which a cancel is kept.
    pub memory: Arc<Memory>,
    pub script: Arc<Script>,
    pub witness: Witness,
    pub clock: Clock,
}

impl Scripted {
    /// A commit, with what befalls it.
    async fn commit<T>(
        &self,
        records: Vec<Record>,
        commit: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let about = About::Wrote(records.clone());
        let Met { place, fault } = self.script.pass(Kind::Commit, about, &self.clock).await;
        self.witness.sees(&self.script, place, Fault::CrashBefore);
        if fault == Some(Fault::CrashBefore) {
            self.script.die().await;
        }
        let committed = commit.await;
        if committed.is_ok() {
            self.script.wrote(&records);
        }
        self.witness.sees(&self.script, place, Fault::CrashAfter);
        match fault {
            Some(Fault::CrashAfter) => self.script.die().await,
            Some(Fault::Cancel) => self.script.cancel(&self.memory).await,
            _ => {}
        }
        committed
    }
}

#[async_trait]
impl Around for Scripted {
    fn inner(&self) -> &dyn Store {
        &*self.inner
    }

    async fn create(
        &self,
        pinned: Shared<Pinned>,
        at: UnixMs,
        runner: &RunnerId,
    ) -> Result<(OperationId, Lease), StoreError> {
        let event = Event::Created(pinned.clone());
        let record = Record { seq: Seq(1), at, epoch: Epoch(1), event };
        self.commit(vec![record], self.inner.create(pinned, at, runner)).await
    }

    async fn append(
        &self,
        lease: &Lease,
        last: Seq,
        records: Vec<Record>,
    ) -> Result<(), StoreError> {
        self.commit(records.clone(), self.inner.append(lease, last, records)).await
    }
}
