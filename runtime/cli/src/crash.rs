//! `--inject commit#N=crash-before|crash-after`: the program dies beside the N-th commit.
//!
//! A store around the real one, for the tests that kill the program at every instant. Nothing
//! else of the journal can be made to fail from outside.

use async_trait::async_trait;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use stepback_core::event::{Pinned, Record};
use stepback_core::{OperationId, Seq, Shared, UnixMs};
use stepback_journal::{Around, Lease, RunnerId, Store, StoreError};
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
impl Around for CrashingStore {
    fn inner(&self) -> &dyn Store {
        &*self.inner
    }

    async fn create(
        &self,
        pinned: Shared<Pinned>,
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
}
