//! A store in memory: for rehearsals, tests, and for measuring what durability costs.
//!
//! It keeps the same rules as the store on disk, and the same suite of tests holds both to them.
//! What it never does is outlive its process.

use crate::*;
use async_trait::async_trait;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use stepback_core::event::{Event, Pinned, Record};
use stepback_core::*;

/// A store that is gone with its process.
pub struct Memory {
    id: StoreId,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    operations: BTreeMap<OperationId, Operation>,
    locks: BTreeMap<(String, String), (OperationId, UnixMs)>,
    blobs: HashMap<PluginDigest, Vec<u8>>,
}

struct Operation {
    manifest: String,
    environment: EnvironmentName,
    created_at: UnixMs,
    epoch: Epoch,
    runner: Option<RunnerId>,
    records: Vec<Record>,
    ending: Option<Ending>,
    requests: Vec<Request>,
    logs: Vec<LogLine>,
}

impl Operation {
    fn last(&self) -> Seq {
        Seq(self.records.len() as u64)
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
        let id = lease.operation;
        let operation = self.operation_mut(id)?;
        if operation.epoch != lease.epoch || operation.runner.is_none() {
            let (held, now) = (lease.epoch, operation.epoch);
            return Err(StoreError::StaleEpoch { id, held, now });
        }
        Ok(operation)
    }
}

impl Memory {
    /// A new, empty store.
    ///
    /// # Errors
    /// If there are no random numbers to make its identity of.
    pub fn open() -> Result<Self, StoreError> {
        let id = StoreId(crate::sqlite::random_name()?);
        Ok(Self { id, inner: Mutex::default() })
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

    async fn create(
        &self,
        pinned: Pinned,
        at: UnixMs,
        runner: &RunnerId,
    ) -> Result<(OperationId, Lease), StoreError> {
        let mut inner = self.inner();
        let id = OperationId(inner.operations.len() as u64 + 1);
        let (manifest, environment) = (pinned.manifest_name.clone(), pinned.environment.clone());
        let event = Event::Created(Box::new(pinned));
        let operation = Operation {
            manifest,
            environment,
            created_at: at,
            epoch: Epoch(1),
            runner: Some(runner.clone()),
            records: vec![Record { seq: Seq(1), at, epoch: Epoch(1), event }],
            ending: None,
            requests: vec![],
            logs: vec![],
        };
        inner.operations.insert(id, operation);
        Ok((id, Lease { operation: id, epoch: Epoch(1) }))
    }

    async fn append(
        &self,
        lease: &Lease,
        last: Seq,
        records: Vec<Record>,
    ) -> Result<(), StoreError> {
        let mut inner = self.inner();
        let id = lease.operation;
        let operation = inner.held(lease)?;
        let now = operation.last();
        let follows = (now.0 + 1..).zip(&records).all(|(seq, record)| record.seq.0 == seq);
        if now != last || !follows {
            return Err(StoreError::WrongSequence { id, last: now });
        }
        let ending = records.iter().find_map(|record| Ending::of(&record.event));
        operation.records.extend(records);
        operation.ending = ending.or(operation.ending);
        if ending.is_some_and(Ending::releases_locks) {
            inner.locks.retain(|_, (owner, _)| *owner != id);
        }
        Ok(())
    }

    async fn load(&self, id: OperationId) -> Result<Vec<Record>, StoreError> {
        Ok(self.inner().operation(id)?.records.clone())
    }

    async fn list(&self) -> Result<Vec<Summary>, StoreError> {
        let summary = |(id, operation): (&OperationId, &Operation)| Summary {
            id: *id,
            manifest: operation.manifest.clone(),
            environment: operation.environment.clone(),
            created_at: operation.created_at,
            last_seq: operation.last(),
            finished: operation.ending,
        };
        Ok(self.inner().operations.iter().map(summary).collect())
    }

    async fn acquire_locks(
        &self,
        lease: &Lease,
        environment: &EnvironmentName,
        names: &[LockName],
        at: UnixMs,
    ) -> Result<LockAnswer, StoreError> {
        let mut inner = self.inner();
        inner.held(lease)?;
        let key = |name: &LockName| (environment.0.clone(), name.0.clone());
        for name in names {
            if let Some((owner, since)) = inner.locks.get(&key(name)).copied()
                && owner != lease.operation
            {
                return Ok(LockAnswer::Busy { name: name.clone(), owner, since });
            }
        }
        for name in names {
            inner.locks.entry(key(name)).or_insert((lease.operation, at));
        }
        Ok(LockAnswer::Held)
    }

    async fn locks(&self) -> Result<Vec<LockRow>, StoreError> {
        let inner = self.inner();
        let rows = inner.locks.iter().map(|((environment, name), (owner, since))| LockRow {
            environment: EnvironmentName(environment.clone()),
            name: LockName(name.clone()),
            owner: *owner,
            since: *since,
        });
        Ok(rows.collect())
    }

    async fn request(&self, id: OperationId, request: Request) -> Result<(), StoreError> {
        self.inner().operation_mut(id)?.requests.push(request);
        Ok(())
    }

    async fn take_requests(&self, lease: &Lease) -> Result<Vec<Request>, StoreError> {
        Ok(std::mem::take(&mut self.inner().held(lease)?.requests))
    }

    async fn put_blob(&self, digest: &PluginDigest, bytes: &[u8]) -> Result<(), StoreError> {
        let mut inner = self.inner();
        if !inner.blobs.contains_key(digest) {
            inner.blobs.insert(digest.clone(), bytes.to_vec());
        }
        Ok(())
    }

    async fn get_blob(&self, digest: &PluginDigest) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.inner().blobs.get(digest).cloned())
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

    async fn take_lease(&self, id: OperationId, runner: &RunnerId) -> Result<Lease, StoreError> {
        let mut inner = self.inner();
        let operation = inner.operation_mut(id)?;
        if let Some(other) = operation.runner.as_ref().filter(|other| *other != runner) {
            return Err(StoreError::LeaseHeld { id, runner: other.0.clone() });
        }
        operation.epoch = Epoch(operation.epoch.0 + 1);
        operation.runner = Some(runner.clone());
        Ok(Lease { operation: id, epoch: operation.epoch })
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        self.inner().held(lease)?.runner = None;
        Ok(())
    }
}
