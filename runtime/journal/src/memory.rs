//! A store in memory: for rehearsals, tests, and for measuring what durability costs.
//!
//! It keeps the same rules as the store on disk, and the same suite of tests holds both to them.
//! What it never does is outlive its process.

use crate::implied::{EndingChange, Implied, Known, Stage, implied};
use crate::random::random_name;
use crate::*;
use async_trait::async_trait;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use stepback_clock::Clock;
use stepback_core::event::{Event, Pinned, Record};
use stepback_core::*;
use tokio::sync::Notify;

/// A store that is gone with its process.
pub struct Memory {
    id: StoreId,
    clock: Clock,
    inner: Mutex<Inner>,
    /// Told of every request.
    requested: Notify,
}

/// What a store in memory holds at an instant, but for its records and its blobs, which are only
/// ever added to.
#[derive(PartialEq)]
pub struct Instant {
    inner: Inner,
    lasts: BTreeMap<OperationId, usize>,
}

#[derive(Clone, Default, PartialEq)]
struct Inner {
    operations: BTreeMap<OperationId, Operation>,
    locks: BTreeMap<(String, String), (OperationId, UnixMs)>,
    blobs: HashMap<PluginDigest, Arc<[u8]>>,
    /// Who waits for which locks, since when; first come first.
    waiting: Vec<(OperationId, EnvironmentName, Vec<LockName>, UnixMs)>,
}

#[derive(Clone, PartialEq)]
struct Operation {
    manifest: String,
    environment: EnvironmentName,
    created_at: UnixMs,
    epoch: Epoch,
    runner: Option<RunnerId>,
    released_at: Option<UnixMs>,
    records: Vec<Record>,
    stage: Stage,
    ending: Option<Ending>,
    requests: Vec<Request>,
    logs: Vec<LogLine>,
}

impl Operation {
    fn without_records(&self) -> Self {
        Self {
            manifest: self.manifest.clone(),
            environment: self.environment.clone(),
            runner: self.runner.clone(),
            records: vec![],
            requests: self.requests.clone(),
            logs: self.logs.clone(),
            ..*self
        }
    }

    fn last(&self) -> Seq {
        Seq(self.records.len() as u64)
    }

    fn known(&self, id: OperationId) -> Known {
        Known { id, last: self.last(), has_requests: !self.requests.is_empty() }
    }

    fn summary(&self, id: OperationId) -> Summary {
        Summary {
            id,
            manifest: self.manifest.clone(),
            environment: self.environment.clone(),
            created_at: self.created_at,
            last_seq: self.last(),
            finished: self.ending,
            is_run: self.runner.is_some(),
            left_at: match (self.ending, &self.runner) {
                (None, None) => self.released_at,
                (Some(_), _) | (None, Some(_)) => None,
            },
            cancel: self.requests.first().cloned(),
        }
    }
}

impl Inner {
    fn operation(&self, id: OperationId) -> Result<&Operation, StoreError> {
        self.operations.get(&id).ok_or(StoreError::NotFound(id))
    }

    fn operation_mut(&mut self, id: OperationId) -> Result<&mut Operation, StoreError> {
        self.operations.get_mut(&id).ok_or(StoreError::NotFound(id))
    }

    fn held(&mut self, lease: &Lease) -> Result<&mut Operation, StoreError> {
        let operation = self.operation_mut(lease.operation)?;
        let runner = operation.runner.as_ref().map(|runner| runner.0.as_str());
        lease.must_be_of(operation.epoch, runner)?;
        Ok(operation)
    }

    /// Keep records, and what they imply.
    fn keep(
        &mut self,
        id: OperationId,
        records: Vec<Record>,
        implied: Implied,
    ) -> Result<(), StoreError> {
        let operation = self.operation_mut(id)?;
        operation.records.extend(records);
        operation.stage = implied.progress.stage.unwrap_or(operation.stage);
        match implied.progress.ending {
            EndingChange::Same => {}
            EndingChange::GoesOn => operation.ending = None,
            EndingChange::Ends(ending) => operation.ending = Some(ending),
        }
        if implied.drops_requests {
            operation.requests.clear();
        }
        if implied.leaves_queue {
            self.waiting.retain(|(waiter, ..)| *waiter != id);
        }
        if implied.releases_locks {
            self.locks.retain(|_, (owner, _)| *owner != id);
        }
        Ok(())
    }

    /// Who stands before the asker, if anybody does.
    fn busy(
        &self,
        asker: OperationId,
        environment: &EnvironmentName,
        names: &[LockName],
    ) -> Option<Busy> {
        for name in names {
            let key = (environment.0.clone(), name.0.clone());
            let Some((by, since)) = self.locks.get(&key).copied() else { continue };
            if by != asker {
                let owner = self.operations.get(&by);
                let is_run = owner.is_some_and(|owner| owner.runner.is_some());
                let how = BusyHow::of_holder(owner.and_then(|owner| owner.ending), is_run);
                return Some(Busy { name: name.clone(), by, since, how });
            }
        }
        let own = |name: &LockName| {
            let key = (environment.0.clone(), name.0.clone());
            self.locks.get(&key).is_some_and(|(by, _)| *by == asker)
        };
        // Whoever has them all already stands in no line.
        if names.iter().all(own) {
            return None;
        }
        let before = self.waiting.iter().take_while(|(id, ..)| *id != asker);
        before.filter(|(id, ..)| self.lives(*id)).find_map(|(by, theirs, wanted, since)| {
            let name = names.iter().find(|name| theirs == environment && wanted.contains(name))?;
            let how = BusyHow::WaitsBefore;
            Some(Busy { name: name.clone(), by: *by, since: *since, how })
        })
    }

    fn lives(&self, id: OperationId) -> bool {
        let operation = self.operations.get(&id);
        operation.is_some_and(|one| one.ending.is_none() && one.runner.is_some())
    }
}

impl Memory {
    /// A new, empty store, which goes by this clock.
    ///
    /// # Errors
    /// If there are no random numbers to make its identity of.
    pub fn open(clock: Clock) -> Result<Self, StoreError> {
        Ok(Self::named(StoreId(random_name()?), clock))
    }

    /// The same with an identity that is given, for what must come out the same every time: the
    /// tokens of its operations do, too.
    pub fn named(id: StoreId, clock: Clock) -> Self {
        Self { id, clock, inner: Mutex::default(), requested: Notify::new() }
    }

    /// What it holds now.
    pub fn instant(&self) -> Instant {
        let inner = self.inner();
        let bare = |(id, one): (&OperationId, &Operation)| (*id, one.without_records());
        Instant {
            lasts: inner.operations.iter().map(|(id, one)| (*id, one.records.len())).collect(),
            inner: Inner {
                operations: inner.operations.iter().map(bare).collect(),
                locks: inner.locks.clone(),
                blobs: HashMap::new(),
                waiting: inner.waiting.clone(),
            },
        }
    }

    /// Another store that holds what this one held at that instant, and goes by another clock.
    pub fn as_at(&self, instant: &Instant, clock: Clock) -> Self {
        let mut inner = instant.inner.clone();
        let now = self.inner();
        inner.blobs.clone_from(&now.blobs);
        for (id, last) in &instant.lasts {
            let records = now.operations.get(id).map(|one| &one.records[..*last]);
            if let Some(operation) = inner.operations.get_mut(id) {
                operation.records = records.unwrap_or_default().to_vec();
            }
        }
        drop(now);
        Self { inner: Mutex::new(inner), ..Self::named(self.id.clone(), clock) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for Memory {
    fn id(&self) -> StoreId {
        self.id.clone()
    }

    async fn now(&self) -> Result<StoreTime, StoreError> {
        Ok(self.clock.now().into())
    }

    async fn create(
        &self,
        pinned: Shared<Pinned>,
        at: UnixMs,
        runner: &RunnerId,
    ) -> Result<(OperationId, Lease), StoreError> {
        let mut inner = self.inner();
        let id = OperationId(inner.operations.len() as u64 + 1);
        let (manifest, environment) = (pinned.manifest_name.clone(), pinned.environment.clone());
        let event = Event::Created(pinned);
        let records = vec![Record { seq: Seq(1), at, epoch: Epoch(1), event }];
        let operation = Operation {
            manifest,
            environment,
            created_at: at,
            epoch: Epoch(1),
            runner: Some(runner.clone()),
            released_at: None,
            records: vec![],
            stage: Stage::default(),
            ending: None,
            requests: vec![],
            logs: vec![],
        };
        let implied = implied(operation.known(id), Seq(0), &records)?;
        inner.operations.insert(id, operation);
        inner.keep(id, records, implied)?;
        Ok((id, Lease { operation: id, epoch: Epoch(1), runner: runner.clone() }))
    }

    async fn append(
        &self,
        lease: &Lease,
        last: Seq,
        records: Vec<Record>,
    ) -> Result<(), StoreError> {
        let mut inner = self.inner();
        let id = lease.operation;
        let known = inner.held(lease)?.known(id);
        let implied = implied(known, last, &records)?;
        inner.keep(id, records, implied)
    }

    async fn load(&self, id: OperationId) -> Result<Vec<Record>, StoreError> {
        Ok(self.inner().operation(id)?.records.clone())
    }

    async fn list(&self) -> Result<Vec<Summary>, StoreError> {
        let inner = self.inner();
        Ok(inner.operations.iter().map(|(id, operation)| operation.summary(*id)).collect())
    }

    async fn summary(&self, id: OperationId) -> Result<Option<Summary>, StoreError> {
        Ok(self.inner().operations.get(&id).map(|operation| operation.summary(id)))
    }

    async fn acquire_locks(
        &self,
        lease: &Lease,
        environment: &EnvironmentName,
        names: &[LockName],
        at: UnixMs,
        wait: bool,
    ) -> Result<LockAnswer, StoreError> {
        let mut inner = self.inner();
        inner.held(lease)?;
        let asker = lease.operation;
        if let Some(busy) = inner.busy(asker, environment, names) {
            let is_new = !inner.waiting.iter().any(|(id, ..)| *id == asker);
            if wait && is_new && busy.how.is_worth_waiting() {
                inner.waiting.push((asker, environment.clone(), names.to_vec(), at));
            }
            return Ok(LockAnswer::Busy(busy));
        }
        for name in names {
            let key = (environment.0.clone(), name.0.clone());
            inner.locks.entry(key).or_insert((asker, at));
        }
        inner.waiting.retain(|(id, ..)| *id != asker);
        Ok(LockAnswer::Held)
    }

    async fn locks(&self) -> Result<Vec<LockRow>, StoreError> {
        let inner = self.inner();
        let rows = inner.locks.iter().map(|((environment, name), (owner, since))| {
            let (environment, name) =
                (EnvironmentName(environment.clone()), LockName(name.clone()));
            let wants = |(_, theirs, wanted, _): &&(_, _, Vec<LockName>, _)| {
                *theirs == environment && wanted.contains(&name)
            };
            let waiting = inner.waiting.iter().filter(wants).map(|(id, ..)| *id).collect();
            LockRow { environment, name, owner: *owner, since: *since, waiting }
        });
        Ok(rows.collect())
    }

    async fn request(&self, id: OperationId, request: Request) -> Result<Requested, StoreError> {
        let mut inner = self.inner();
        let operation = inner.operation_mut(id)?;
        let answer = operation.stage.answer(operation.ending, operation.runner.is_some());
        if let Requested::Kept { .. } = answer {
            operation.requests.push(request);
            self.requested.notify_waiters();
        }
        Ok(answer)
    }

    async fn requests(&self, lease: &Lease) -> Result<Vec<Request>, StoreError> {
        Ok(self.inner().operation(lease.operation)?.requests.clone())
    }

    async fn until_requested(&self, lease: &Lease) -> Result<Vec<Request>, StoreError> {
        loop {
            let mut told = std::pin::pin!(self.requested.notified());
            // From here on none is missed, also between the look and the wait.
            told.as_mut().enable();
            let requests = self.requests(lease).await?;
            if !requests.is_empty() {
                return Ok(requests);
            }
            told.await;
        }
    }

    async fn put_blob(&self, digest: &PluginDigest, bytes: &[u8]) -> Result<(), StoreError> {
        let mut inner = self.inner();
        if !inner.blobs.contains_key(digest) {
            inner.blobs.insert(digest.clone(), bytes.into());
        }
        Ok(())
    }

    async fn get_blob(&self, digest: &PluginDigest) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.inner().blobs.get(digest).map(|bytes| bytes.to_vec()))
    }

    async fn append_logs(&self, id: OperationId, lines: Vec<LogLine>) -> Result<(), StoreError> {
        self.inner().operation_mut(id)?.logs.extend(lines);
        Ok(())
    }

    async fn logs(&self, id: OperationId, after: u64) -> Result<Vec<LogLine>, StoreError> {
        let inner = self.inner();
        let after = usize::try_from(after).unwrap_or(usize::MAX);
        Ok(inner.operation(id)?.logs.iter().skip(after).cloned().collect())
    }

    async fn take_lease(
        &self,
        id: OperationId,
        runner: &RunnerId,
        _grace_ms: u64,
    ) -> Result<Takeover, StoreError> {
        let mut inner = self.inner();
        let operation = inner.operation_mut(id)?;
        if let Some(other) = operation.runner.as_ref().filter(|other| *other != runner) {
            let runner = other.0.clone();
            return Err(StoreError::LeaseHeld { id, runner, left_ms: None });
        }
        operation.epoch = Epoch(operation.epoch.0 + 1);
        operation.runner = Some(runner.clone());
        let lease = Lease { operation: id, epoch: operation.epoch, runner: runner.clone() };
        let silent_since = self.clock.now().into();
        Ok(Takeover { lease, last_alive: operation.released_at, silent_since })
    }

    /// All who share this store share its process: a lease lasts until it is taken.
    fn shows_alive(&self, runner: &str) -> bool {
        self.inner()
            .operations
            .values()
            .any(|one| one.runner.as_ref().is_some_and(|name| name.0 == runner))
    }

    async fn hold(&self, lease: &Lease) -> Result<(), StoreError> {
        self.inner().held(lease).map(|_| ())
    }

    async fn release(&self, lease: &Lease, at: UnixMs) -> Result<(), StoreError> {
        let mut inner = self.inner();
        let operation = inner.held(lease)?;
        operation.runner = None;
        operation.released_at = Some(at);
        Ok(())
    }
}
