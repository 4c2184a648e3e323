//! `--inject commit#N=crash-before|crash-after`: the program dies beside the N-th commit.
//!
//! A store around the real one, for the tests that kill the program at every instant. Nothing
//! else of the journal can be made to fail from outside.

use async_trait::async_trait;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use stepback_core::event::{Pinned, Record};
use stepback_core::{EnvironmentName, LockName, OperationId, PluginDigest, Seq, StoreId, UnixMs};
use stepback_journal::{
    Lease, LockAnswer, LockRow, LogLine, Request, Requested, RunnerId, Store, StoreError,
    StoreTime, Summary, Takeover,
};
use stepback_provider::faults::{Fault, Faults};

/// Commits of this process that are counted and may be its last.
pub struct CrashingStore {
    inner: Arc<dyn Store>,
    faults: Faults,
    commits: AtomicU32,
}

impl CrashingStore {
    /// The store itself, if no fault names a commit.
    pub fn around(inner: Arc<dyn Store>, faults: &Faults) -> Arc<dyn Store> {
        match faults.name_commits() {
            false => inner,
            true => {
                let (faults, commits) = (faults.clone(), AtomicU32::new(0));
                Arc::new(Self { inner, faults, commits })
            }
        }
    }

    /// What is to happen to the commit that comes now.
    fn next(&self) -> Option<Fault> {
        self.faults.of_commit(self.commits.fetch_add(1, Ordering::SeqCst) + 1)
    }
}

fn die_if(now: bool) {
    if now {
        stepback_provider::faults::die()
    }
}

#[async_trait]
impl Store for CrashingStore {
    fn id(&self) -> StoreId {
        self.inner.id()
    }

    fn place(&self) -> Option<PathBuf> {
        self.inner.place()
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
        let fault = self.next();
        die_if(fault == Some(Fault::CrashBefore));
        let created = self.inner.create(pinned, at, runner).await;
        die_if(fault == Some(Fault::CrashAfter));
        created
    }

    async fn append(
        &self,
        lease: &Lease,
        last: Seq,
        records: Vec<Record>,
    ) -> Result<(), StoreError> {
        let fault = self.next();
        die_if(fault == Some(Fault::CrashBefore));
        let appended = self.inner.append(lease, last, records).await;
        die_if(fault == Some(Fault::CrashAfter));
        appended
    }

    async fn load(&self, id: OperationId) -> Result<Vec<Record>, StoreError> {
        self.inner.load(id).await
    }

    async fn began_with(&self, id: OperationId) -> Option<Pinned> {
        self.inner.began_with(id).await
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
