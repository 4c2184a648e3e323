//! A store around another one: what it is not there for goes through as it is.
//!
//! Whatever a [`Store`] does is passed on here and nowhere else, so that no such store leaves
//! anything out.

use crate::*;
use async_trait::async_trait;
use std::path::PathBuf;
use stepback_core::event::{Pinned, Record};
use stepback_core::*;

/// What a store around another one may do otherwise; the rest of a [`Store`] is the inner one's.
#[async_trait]
pub trait Around: Send + Sync {
    /// The one that it is around.
    fn inner(&self) -> &dyn Store;

    /// As [`Store::create`].
    async fn create(
        &self,
        pinned: Shared<Pinned>,
        at: UnixMs,
        runner: &RunnerId,
    ) -> Result<(OperationId, Lease), StoreError> {
        self.inner().create(pinned, at, runner).await
    }

    /// As [`Store::append`].
    async fn append(
        &self,
        lease: &Lease,
        last: Seq,
        records: Vec<Record>,
    ) -> Result<(), StoreError> {
        self.inner().append(lease, last, records).await
    }

    /// As [`Store::load`].
    async fn load(&self, id: OperationId) -> Result<Vec<Record>, StoreError> {
        self.inner().load(id).await
    }

    /// As [`Store::acquire_locks`].
    async fn acquire_locks(
        &self,
        lease: &Lease,
        environment: &EnvironmentName,
        names: &[LockName],
        at: UnixMs,
        wait: bool,
    ) -> Result<LockAnswer, StoreError> {
        self.inner().acquire_locks(lease, environment, names, at, wait).await
    }

    /// As [`Store::take_lease`].
    async fn take_lease(
        &self,
        id: OperationId,
        runner: &RunnerId,
        grace_ms: u64,
    ) -> Result<Takeover, StoreError> {
        self.inner().take_lease(id, runner, grace_ms).await
    }

    /// As [`Store::release`].
    async fn release(&self, lease: &Lease, at: UnixMs) -> Result<(), StoreError> {
        self.inner().release(lease, at).await
    }
}

#[async_trait]
impl<T: Around> Store for T {
    fn id(&self) -> StoreId {
        self.inner().id()
    }

    fn place(&self) -> Option<PathBuf> {
        self.inner().place()
    }

    async fn now(&self) -> Result<StoreTime, StoreError> {
        self.inner().now().await
    }

    async fn create(
        &self,
        pinned: Shared<Pinned>,
        at: UnixMs,
        runner: &RunnerId,
    ) -> Result<(OperationId, Lease), StoreError> {
        Around::create(self, pinned, at, runner).await
    }

    async fn append(
        &self,
        lease: &Lease,
        last: Seq,
        records: Vec<Record>,
    ) -> Result<(), StoreError> {
        Around::append(self, lease, last, records).await
    }

    async fn load(&self, id: OperationId) -> Result<Vec<Record>, StoreError> {
        Around::load(self, id).await
    }

    async fn began_with(&self, id: OperationId) -> Option<Shared<Pinned>> {
        self.inner().began_with(id).await
    }

    async fn list(&self) -> Result<Vec<Summary>, StoreError> {
        self.inner().list().await
    }

    async fn summary(&self, id: OperationId) -> Result<Option<Summary>, StoreError> {
        self.inner().summary(id).await
    }

    async fn acquire_locks(
        &self,
        lease: &Lease,
        environment: &EnvironmentName,
        names: &[LockName],
        at: UnixMs,
        wait: bool,
    ) -> Result<LockAnswer, StoreError> {
        Around::acquire_locks(self, lease, environment, names, at, wait).await
    }

    async fn locks(&self) -> Result<Vec<LockRow>, StoreError> {
        self.inner().locks().await
    }

    async fn request(&self, id: OperationId, request: Request) -> Result<Requested, StoreError> {
        self.inner().request(id, request).await
    }

    async fn requests(&self, lease: &Lease) -> Result<Vec<Request>, StoreError> {
        self.inner().requests(lease).await
    }

    async fn until_requested(&self, lease: &Lease) -> Result<Vec<Request>, StoreError> {
        self.inner().until_requested(lease).await
    }

    async fn put_blob(&self, digest: &PluginDigest, bytes: &[u8]) -> Result<(), StoreError> {
        self.inner().put_blob(digest, bytes).await
    }

    async fn get_blob(&self, digest: &PluginDigest) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner().get_blob(digest).await
    }

    async fn append_logs(&self, id: OperationId, lines: Vec<LogLine>) -> Result<(), StoreError> {
        self.inner().append_logs(id, lines).await
    }

    async fn logs(&self, id: OperationId, after: u64) -> Result<Vec<LogLine>, StoreError> {
        self.inner().logs(id, after).await
    }

    async fn take_lease(
        &self,
        id: OperationId,
        runner: &RunnerId,
        grace_ms: u64,
    ) -> Result<Takeover, StoreError> {
        Around::take_lease(self, id, runner, grace_ms).await
    }

    fn shows_alive(&self, runner: &str) -> bool {
        self.inner().shows_alive(runner)
    }

    async fn hold(&self, lease: &Lease) -> Result<(), StoreError> {
        self.inner().hold(lease).await
    }

    async fn release(&self, lease: &Lease, at: UnixMs) -> Result<(), StoreError> {
        Around::release(self, lease, at).await
    }
}
