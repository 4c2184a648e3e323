//! The store and the world as a mortal runner sees them: each instant may be its last.

use crate::life::Fate;
use async_trait::async_trait;
use serde_json::Value;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use stepback_core::event::{Event, Pinned, Record};
use stepback_core::step::EffectOutcome;
use stepback_core::*;
use stepback_journal::{
    Lease, LockAnswer, LockRow, LogLine, Memory, Request as Asked, Requested, RunnerId, Store,
    StoreError, Summary, Takeover,
};
use stepback_provider::simulated::Simulated;
use stepback_provider::simulated::world::World;
use stepback_provider::{EffectContext, Provider, Settled};
use tokio::sync::Notify;

/// Counts the instants of one life, and ends it when its time has come.
pub struct Reaper {
    fate: Fate,
    pub passed: AtomicU32,
    pub died: Notify,
}

impl Reaper {
    pub fn new(fate: Fate) -> Arc<Self> {
        Arc::new(Self { fate, passed: AtomicU32::new(0), died: Notify::new() })
    }

    /// One instant goes by; if it is the last one, nothing comes after it.
    async fn pass(&self, store: &Memory) {
        let instant = self.passed.fetch_add(1, Ordering::SeqCst) + 1;
        if self.fate.cancel_at == Some(instant) {
            let cancel = Asked::Cancel { actor: "ann".into(), reason: Some("a sweep".into()) };
            // Before there is an operation, there is nothing to cancel.
            let _ = store.request(OperationId(1), cancel).await;
        }
        if self.fate.kill_at.is_some_and(|last| instant >= last) {
            self.died.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

/// What is done wrongly on purpose, outside the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acks {
    #[default]
    WhenDurable,
    /// The mutant: an append is acknowledged first and becomes durable with the next one.
    BeforeDurable,
}

/// The store as a mortal runner sees it.
pub struct MortalStore {
    pub inner: Arc<Memory>,
    pub reaper: Arc<Reaper>,
    pub acks: Acks,
    /// Acknowledged and not durable.
    pub held_back: tokio::sync::Mutex<Option<(Lease, Seq, Vec<Record>)>>,
}

impl MortalStore {
    async fn write_held_back(&self) -> Result<(), StoreError> {
        match self.held_back.lock().await.take() {
            Some((lease, last, records)) => self.inner.append(&lease, last, records).await,
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Store for MortalStore {
    fn id(&self) -> StoreId {
        self.inner.id()
    }

    async fn create(
        &self,
        pinned: Pinned,
        at: UnixMs,
        runner: &RunnerId,
    ) -> Result<(OperationId, Lease), StoreError> {
        self.reaper.pass(&self.inner).await;
        let created = self.inner.create(pinned, at, runner).await;
        self.reaper.pass(&self.inner).await;
        created
    }

    async fn append(
        &self,
        lease: &Lease,
        last: Seq,
        records: Vec<Record>,
    ) -> Result<(), StoreError> {
        self.reaper.pass(&self.inner).await;
        self.write_held_back().await?;
        let ends = records.iter().any(|record| matches!(record.event, Event::Finished { .. }));
        let appended = match self.acks {
            Acks::BeforeDurable if !ends => {
                *self.held_back.lock().await = Some((lease.clone(), last, records));
                Ok(())
            }
            _ => self.inner.append(lease, last, records).await,
        };
        self.reaper.pass(&self.inner).await;
        appended
    }

    async fn load(&self, id: OperationId) -> Result<Vec<Record>, StoreError> {
        self.write_held_back().await?;
        self.inner.load(id).await
    }

    async fn list(&self) -> Result<Vec<Summary>, StoreError> {
        self.inner.list().await
    }

    async fn acquire_locks(
        &self,
        lease: &Lease,
        environment: &EnvironmentName,
        names: &[LockName],
        at: UnixMs,
        wait: bool,
    ) -> Result<LockAnswer, StoreError> {
        self.reaper.pass(&self.inner).await;
        let answer = self.inner.acquire_locks(lease, environment, names, at, wait).await;
        self.reaper.pass(&self.inner).await;
        answer
    }

    async fn locks(&self) -> Result<Vec<LockRow>, StoreError> {
        self.inner.locks().await
    }

    async fn request(&self, id: OperationId, request: Asked) -> Result<Requested, StoreError> {
        self.inner.request(id, request).await
    }

    async fn requests(&self, lease: &Lease) -> Result<Vec<Asked>, StoreError> {
        self.inner.requests(lease).await
    }

    async fn until_requested(&self, lease: &Lease) -> Result<Vec<Asked>, StoreError> {
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
        let taken = self.inner.take_lease(id, runner, grace_ms).await;
        self.reaper.pass(&self.inner).await;
        taken
    }

    async fn hold(&self, lease: &Lease) -> Result<(), StoreError> {
        self.inner.hold(lease).await
    }

    async fn release(&self, lease: &Lease, at: UnixMs) -> Result<(), StoreError> {
        self.reaper.pass(&self.inner).await;
        self.inner.release(lease, at).await
    }
}

/// The world as a mortal runner sees it.
pub struct MortalProvider {
    pub inner: Arc<Simulated>,
    pub store: Arc<Memory>,
    pub reaper: Arc<Reaper>,
    /// Effects that were asked for before their intent was durable.
    pub too_early: Arc<Mutex<Vec<String>>>,
}

impl MortalProvider {
    async fn pass(&self) {
        self.reaper.pass(&self.store).await;
    }

    async fn must_be_durable(&self, call: &Call, context: &EffectContext) {
        let records = self.store.load(context.operation).await.unwrap_or_default();
        let mut intents = records.iter().filter_map(|record| match &record.event {
            Event::CallStarted { token, .. } => Some(token),
            _ => None,
        });
        if !intents.any(|token| *token == context.token) {
            self.too_early.lock().expect("no panic").push(call.function().to_owned());
        }
    }
}

#[async_trait]
impl Provider for MortalProvider {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn identity(&self) -> Result<Value, Failure> {
        self.inner.identity().await
    }

    async fn read(&self, call: &Call) -> Result<Value, Failure> {
        self.pass().await;
        self.inner.read(call).await
    }

    async fn wait(&self, call: &Call) -> Result<Value, Failure> {
        self.pass().await;
        self.inner.wait(call).await
    }

    async fn perform(&self, call: &Call, context: &EffectContext) -> EffectOutcome {
        self.must_be_durable(call, context).await;
        self.pass().await;
        let outcome = self.inner.perform(call, context).await;
        self.pass().await;
        outcome
    }

    async fn settle(&self, call: &Call, context: &EffectContext) -> Settled {
        self.pass().await;
        self.inner.settle(call, context).await
    }

    async fn forget(&self, call: &Call, context: &EffectContext) {
        self.pass().await;
        self.inner.forget(call, context).await;
    }

    async fn take_over(&self, operation: OperationId, epoch: Epoch) -> Result<(), Failure> {
        self.inner.take_over(operation, epoch).await
    }

    async fn import(&self, world: &mut World) -> Result<Vec<String>, Failure> {
        self.inner.import(world).await
    }

    fn request_ms_max(&self) -> u64 {
        self.inner.request_ms_max()
    }

    async fn observe(&self, resource: &Resource) -> Result<Facts, Failure> {
        self.pass().await;
        self.inner.observe(resource).await
    }

    async fn stamped(&self, tokens: &[Token]) -> Result<Vec<(Token, Resource)>, Failure> {
        self.inner.stamped(tokens).await
    }
}
