//! Turns at the files of a world, among all programs and in this one, and the threads for them.

use super::open::{open_or_make, unusable};
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::{Failure, FailureClass};
use stepback_files::lock;
use tokio::sync::{OwnedMutexGuard, Semaphore};

const TURN_LOOK_MS: u64 = 5;
/// So many threads are at the files of one world: more are no faster, and each has memory of its
/// own.
const THREADS_MAX: usize = 8;

/// Thousands of operations of this program wait in line for a file; what other programs are waited
/// for has its bound beside that.
#[derive(Clone)]
pub(super) struct Turns {
    clock: Clock,
    own: Arc<Mutex<BTreeMap<PathBuf, Arc<Own>>>>,
}

type Own = tokio::sync::Mutex<()>;

/// A turn, which ends when it is dropped: who comes next in this program finds the file free.
pub(super) struct Turn {
    _guard: File,
    _own: OwnedMutexGuard<()>,
}

impl Turns {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, own: Arc::default() }
    }

    /// A turn at this file; another program is waited for that long.
    pub(super) async fn at(&self, file: &Path, most: Duration) -> Result<Turn, Failure> {
        let own = {
            let mut all = self.own.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(file.to_owned()).or_default())
        };
        let own = own.lock_owned().await;
        Ok(Turn { _guard: self.guard(file, most).await?, _own: own })
    }

    async fn guard(&self, file: &Path, most: Duration) -> Result<File, Failure> {
        let path = file.with_extension("lock");
        let file = open_or_make(&path).map_err(|error| unusable("opened", &path, &error))?;
        let until = self.clock.now().after(most);
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(unusable("locked", &path, &error)),
                Err(TryLockError::WouldBlock) if self.clock.now() >= until => {
                    let message = lock::held(&file, &path, most);
                    return Err(Failure::new(FailureClass::Transient, message));
                }
                Err(TryLockError::WouldBlock) => {
                    self.clock.sleep(Duration::from_millis(TURN_LOOK_MS)).await;
                }
            }
        }
    }
}

/// Threads for what reads or writes files, where it blocks nobody.
#[derive(Clone)]
pub(super) struct Threads(Arc<Semaphore>);

impl Default for Threads {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(THREADS_MAX)))
    }
}

impl Threads {
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        // It is the thread that has it: work goes on when nobody waits for it any more.
        let one = Arc::clone(&self.0).acquire_owned().await;
        let panicked = |error: tokio::task::JoinError| {
            Err(Failure::new(FailureClass::Internal, error.to_string()))
        };
        let in_thread = move || {
            let _one = one;
            work()
        };
        tokio::task::spawn_blocking(in_thread).await.unwrap_or_else(panicked)
    }
}
