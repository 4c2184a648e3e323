//! The store and the world as a mortal runner sees them: each instant may be its last.

use crate::befall::{Story, Wrong};
use crate::life::Fate;
use crate::truth;
use async_trait::async_trait;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use stepback_core::event::{Event, Pinned, Record};
use stepback_core::step::EffectOutcome;
use stepback_core::*;
use stepback_journal::{
    Lease, LockAnswer, Memory, Request as Asked, RunnerId, Store, StoreError, Takeover,
};
use stepback_provider::faulty::Faulty;
use stepback_provider::locks::WorldLocks;
use stepback_provider::{EffectContext, Provider, Settled, Stamped};
use tokio::sync::Notify;

/// Counts the instants of one life, and ends it when its time has come.
pub struct Reaper {
    fate: Fate,
    pub story: Arc<Story>,
    pub passed: AtomicU32,
    pub died: Notify,
}

impl Reaper {
    pub fn new(fate: Fate, story: Arc<Story>) -> Arc<Self> {
        Arc::new(Self { fate, story, passed: AtomicU32::new(0), died: Notify::new() })
    }

    /// One instant goes by; if it is the last one, nothing comes after it.
    async fn pass(&self) {
        let instant = self.passed.fetch_add(1, Ordering::SeqCst) + 1;
        self.story.pass().await;
        if self.fate.cancel_at == Some(instant) {
            let cancel = Asked::Cancel { actor: "ann".into(), reason: Some("a sweep".into()) };
            // Before there is an operation, there is nothing to cancel.
            let _ = self.story.store.request(OperationId(1), cancel).await;
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
    /// How long the disk takes.
    pub append_ms: u64,
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
impl stepback_journal::Around for MortalStore {
    fn inner(&self) -> &dyn Store {
        &*self.inner
    }

    async fn create(
        &self,
        pinned: Shared<Pinned>,
        at: UnixMs,
        runner: &RunnerId,
    ) -> Result<(OperationId, Lease), StoreError> {
        self.reaper.pass().await;
        let created = self.inner.create(pinned, at, runner).await;
        self.reaper.pass().await;
        created
    }

    async fn append(
        &self,
        lease: &Lease,
        last: Seq,
        records: Vec<Record>,
    ) -> Result<(), StoreError> {
        self.reaper.pass().await;
        self.write_held_back().await?;
        let ends = records.iter().any(|record| matches!(record.event, Event::Finished { .. }));
        let told = truth::windows(&records);
        for record in &records {
            if let Event::CallStarted { token, changes, .. } = &record.event {
                let resources: Vec<_> = changes.iter().map(|one| one.resource.clone()).collect();
                self.reaper.story.begins(token, &resources);
            }
        }
        if self.append_ms > 0 {
            let clock = self.reaper.story.time.clock();
            clock.sleep(Duration::from_millis(self.append_ms)).await;
        }
        let appended = match self.acks {
            Acks::BeforeDurable if !ends => {
                *self.held_back.lock().await = Some((lease.clone(), last, records));
                Ok(())
            }
            _ => self.inner.append(lease, last, records).await,
        };
        truth::holds_windows(&self.reaper.story, &told);
        self.reaper.story.writes();
        self.reaper.pass().await;
        appended
    }

    async fn load(&self, id: OperationId) -> Result<Vec<Record>, StoreError> {
        self.write_held_back().await?;
        self.inner.load(id).await
    }

    async fn acquire_locks(
        &self,
        lease: &Lease,
        environment: &EnvironmentName,
        names: &[LockName],
        at: UnixMs,
        wait: bool,
    ) -> Result<LockAnswer, StoreError> {
        self.reaper.pass().await;
        let answer = self.inner.acquire_locks(lease, environment, names, at, wait).await;
        self.reaper.pass().await;
        answer
    }

    async fn take_lease(
        &self,
        id: OperationId,
        runner: &RunnerId,
        grace_ms: u64,
    ) -> Result<Takeover, StoreError> {
        let taken = self.inner.take_lease(id, runner, grace_ms).await;
        self.reaper.pass().await;
        // A store on a disk knows it from the runners' rows.
        match self.reaper.story.wrote() {
            Some((at, silent_ms)) => {
                let silent_since = self.inner.now().await?.before_ms(silent_ms);
                taken.map(|taken| Takeover { last_alive: Some(at), silent_since, ..taken })
            }
            None => taken,
        }
    }

    async fn release(&self, lease: &Lease, at: UnixMs) -> Result<(), StoreError> {
        self.reaper.pass().await;
        self.inner.release(lease, at).await
    }
}

/// What a provider says that panics on purpose.
pub const ON_PURPOSE: &str = "it panics on purpose";

/// By which name the world knows an operation that another runner takes over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Epochs {
    #[default]
    ByStore,
    /// The mutant: by its number alone.
    ByNumber,
}

impl Epochs {
    fn of(self, store: &StoreId) -> StoreId {
        match self {
            Epochs::ByStore => store.clone(),
            Epochs::ByNumber => StoreId("any".into()),
        }
    }

    /// A world that goes by it, for whoever nothing befalls.
    pub fn over(self, world: Arc<Faulty>) -> Arc<dyn Provider> {
        match self {
            Epochs::ByStore => world,
            Epochs::ByNumber => Arc::new(ByNumber(world)),
        }
    }
}

/// The world as a mortal runner sees it.
pub struct MortalProvider {
    pub reaper: Arc<Reaper>,
    pub epochs: Epochs,
}

/// Whether an effect can be said to be done that was not: what it answers is nothing.
fn answers_nothing(call: &Call) -> bool {
    matches!(
        call.function(),
        "ebs.tag"
            | "ebs.untag"
            | "ebs.delete-volume"
            | "ebs.delete-snapshot"
            | "docker.remove-volume"
    )
}

impl MortalProvider {
    fn world(&self) -> &Faulty {
        &self.reaper.story.faulty
    }

    /// Do it; or panic before, or after.
    async fn or_panics<T>(&self, does: impl Future<Output = T>) -> T {
        self.reaper.pass().await;
        let wrong = self.reaper.story.goes_wrong(&[Wrong::PanicsBefore, Wrong::PanicsAfter]);
        if wrong == Some(Wrong::PanicsBefore) {
            panic!("{ON_PURPOSE}, before");
        }
        let answer = does.await;
        if wrong == Some(Wrong::PanicsAfter) {
            panic!("{ON_PURPOSE}, after");
        }
        answer
    }

    async fn must_be_durable(&self, call: &Call, context: &EffectContext) {
        let story = &self.reaper.story;
        let records = story.store.load(context.operation).await.unwrap_or_default();
        let mut intents = records.iter().filter_map(|record| match &record.event {
            Event::CallStarted { token, .. } => Some(token),
            _ => None,
        });
        if !intents.any(|token| *token == context.token) {
            let function = call.function();
            story.says(format!("effects before their intent was durable: {function}"));
        }
    }

    /// Make the effect, and tell the truth of it, or not.
    async fn make(&self, call: &Call, context: &EffectContext) -> EffectOutcome {
        let lies = match answers_nothing(call) {
            true => &[Wrong::SaysRefused, Wrong::SaysDone][..],
            false => &[Wrong::SaysRefused],
        };
        let context = EffectContext { store: self.epochs.of(&context.store), ..context.clone() };
        match self.reaper.story.goes_wrong(lies) {
            Some(Wrong::SaysDone) => EffectOutcome::Done(Value::Null),
            Some(_) => match self.world().perform(call, &context).await {
                EffectOutcome::Done(_) => {
                    let failure = Failure::new(FailureClass::Refused, "it was refused, it says");
                    EffectOutcome::Refused(failure)
                }
                outcome => outcome,
            },
            None => self.world().perform(call, &context).await,
        }
    }
}

#[async_trait]
impl stepback_provider::Around for MortalProvider {
    fn inner(&self) -> &dyn Provider {
        self.world()
    }

    /// Nobody else is in these worlds.
    fn locks(&self) -> Option<&dyn WorldLocks> {
        None
    }

    async fn read(&self, call: &Call) -> Result<Value, Failure> {
        self.or_panics(self.inner().read(call)).await
    }

    async fn may(&self, call: &Call) -> Result<(), Failure> {
        self.or_panics(self.inner().may(call)).await
    }

    async fn wait(&self, call: &Call) -> Result<Value, Failure> {
        self.or_panics(self.inner().wait(call)).await
    }

    async fn perform(&self, call: &Call, context: &EffectContext) -> EffectOutcome {
        self.must_be_durable(call, context).await;
        let outcome = self.or_panics(self.make(call, context)).await;
        self.reaper.story.arrives(&context.token);
        self.reaper.pass().await;
        outcome
    }

    async fn settle(&self, call: &Call, context: &EffectContext) -> Settled {
        self.reaper.story.begins(&context.token, &call.resources(&context.token));
        let settled = self.or_panics(self.inner().settle(call, context)).await;
        if settled != Settled::NotHappened {
            self.reaper.story.arrives(&context.token);
        }
        settled
    }

    async fn forget(&self, call: &Call, context: &EffectContext) {
        self.or_panics(self.inner().forget(call, context)).await;
    }

    async fn take_over(
        &self,
        store: &StoreId,
        operation: OperationId,
        epoch: Epoch,
    ) -> Result<(), Failure> {
        self.inner().take_over(&self.epochs.of(store), operation, epoch).await
    }

    async fn observe(&self, resource: &Resource) -> Result<Facts, Failure> {
        let story = &self.reaper.story;
        let looked = async {
            story.looks_at(resource);
            self.inner().observe(resource).await
        };
        self.or_panics(looked).await
    }

    async fn stamped(&self, tokens: &[Token]) -> Result<Stamped, Failure> {
        self.or_panics(self.inner().stamped(tokens)).await
    }
}

/// The mutant's world: it knows operations by their numbers.
struct ByNumber(Arc<dyn Provider>);

#[async_trait]
impl stepback_provider::Around for ByNumber {
    fn inner(&self) -> &dyn Provider {
        &*self.0
    }

    /// Nobody else is in these worlds.
    fn locks(&self) -> Option<&dyn WorldLocks> {
        None
    }

    async fn perform(&self, call: &Call, context: &EffectContext) -> EffectOutcome {
        let store = Epochs::ByNumber.of(&context.store);
        self.inner().perform(call, &EffectContext { store, ..context.clone() }).await
    }

    async fn take_over(
        &self,
        store: &StoreId,
        operation: OperationId,
        epoch: Epoch,
    ) -> Result<(), Failure> {
        self.inner().take_over(&Epochs::ByNumber.of(store), operation, epoch).await
    }
}
