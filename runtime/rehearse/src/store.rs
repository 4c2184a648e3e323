//! The store as the runner of a case has it: any commit may be its last.

use crate::place::{Fault, Kind};
use crate::script::{About, Script};
use async_trait::async_trait;
use std::sync::Arc;
use stepback_clock::Clock;
use stepback_core::event::{Event, Pinned, Record};
use stepback_core::*;
use stepback_journal::{
    Lease, LockAnswer, LockRow, LogLine, Memory, Request, Requested, RunnerId, Store, StoreError,
    StoreTime, Summary, Takeover,
};

/// A store that follows a script.
pub(crate) struct Scripted {
    pub inner: Arc<Memory>,
    pub script: Arc<Script>,
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
        let fault = self.script.pass(Kind::Commit, about, &self.clock);
        if fault == Some(Fault::CrashBefore) {
            self.script.die().await;
        }
        let committed = commit.await;
        if committed.is_ok() {
            self.script.wrote(&records);
        }
        match fault {
            Some(Fault::CrashAfter) => self.script.die().await,
            Some(Fault::Cancel) => self.script.cancel(&self.inner).await,
            _ => {}
        }
        committed
    }
}

#[async_trait]
impl Store for Scripted {
    fn id(&self) -> StoreId {
        self.inner.id()
    }

    async fn now(&self) -> Result<StoreTime, StoreError> {
        self.inner.now().await
    }

    async fn create(
        &self,
        pinned: Pinned,
        at: UnixMs,
        runner: &RunnerId,
    ) -> Result<(OperationId, Lease), StoreError> {
        let event = Event::Created(Box::new(pinned.clone()));
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

    async fn load(&self, id: OperationId) -> Result<Vec<Record>, StoreError> {
        self.inner.load(id).await
    }

    async fn list(&self) -> Result<Vec<Summary>, StoreError> {
        self.inner.list().await
    }

    async fn summary(&self, id: OperationId) -> Result<Option<Summary>, StoreError> {
        self.inner.summary(id).await
    }

    async fn acquire_locks(
        &self,
        lease: &Lease,
        environment: &EnvironmentName,
        names: &[LockName],
        at: UnixMs,
        wait: bool,
    ) -> Result<LockAnswer, StoreError> {
        self.inner.acquire_locks(lease, environment, names, at, wait).await
    }

    async fn locks(&self) -> Result<Vec<LockRow>, StoreError> {
        self.inner.locks().await
    }

    async fn request(&self, id: OperationId, request: Request) -> Result<Requested, StoreError> {
        self.inner.request(id, request).await
    }

    async fn requests(&self, lease: &Lease) -> Result<Vec<Request>, StoreError> {
        self.inner.requests(lease).await
    }

    async fn until_requested(&self, lease: &Lease) -> Result<Vec<Request>, StoreError> {
        self.inner.until_requested(lease).await
    }

    async fn put_blob(&self, digest: &PluginDigest, bytes: &[u8]) -> Result<(), StoreError> {
        self.inner.put_blob(digest, bytes).await
    }

    async fn get_blob(&self, digest: &PluginDigest) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.get_blob(digest).await
    }

    async fn append_logs(&self, id: OperationId, lines: Vec<LogLine>) -> Result<(), StoreError> {
        self.inner.append_logs(id, lines).await
    }

    async fn logs(&self, id: OperationId, after: u64) -> Result<Vec<LogLine>, StoreError> {
        self.inner.logs(id, after).await
    }

    async fn take_lease(
        &self,
        id: OperationId,
        runner: &RunnerId,
        grace_ms: u64,
    ) -> Result<Takeover, StoreError> {
        self.inner.take_lease(id, runner, grace_ms).await
    }

    fn shows_alive(&self, runner: &str) -> bool {
        self.inner.shows_alive(runner)
    }

    async fn hold(&self, lease: &Lease) -> Result<(), StoreError> {
        self.inner.hold(lease).await
    }

    async fn release(&self, lease: &Lease, at: UnixMs) -> Result<(), StoreError> {
        self.inner.release(lease, at).await
    }
}
