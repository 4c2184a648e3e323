//! The one writer: a thread that packs everybody's changes into one commit.
//!
//! Whoever changes the store sends a job and waits. The thread takes all that is waiting, and
//! while several are at work what comes right behind; it runs each job under its own savepoint,
//! commits once, and only then tells the callers. A job that fails is rolled back to its savepoint
//! and fails nobody else's.

use crate::StoreError;
use rusqlite::Connection;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// So many jobs go into one commit at most, so that nobody waits behind an endless queue.
const JOBS_PER_COMMIT_MAX: usize = 256;
/// How long one more job is waited for while several are at work; about as long as a commit of a
/// fast disk takes.
const GATHER: Duration = Duration::from_micros(500);
/// So often one is waited for before one commit.
const WAITS_MAX: usize = 4;

type Work = Box<dyn FnOnce(&Connection) -> Result<(), StoreError> + Send>;
type Tell = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

struct Job {
    work: Work,
    tell: Tell,
}

/// The way to the writer's thread.
pub(crate) struct Writer {
    jobs: mpsc::Sender<Job>,
    commits: Arc<AtomicU64>,
}

impl Writer {
    pub(crate) fn start(connection: Connection) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel();
        let commits = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&commits);
        let work = move || write_all(&connection, &queue, &counted);
        std::thread::Builder::new().name("stepback-store".to_owned()).spawn(work)?;
        Ok(Self { jobs, commits })
    }

    /// How many commits there were.
    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Run `work` in the next commit; its answer comes after the commit.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (kept, answered) = self.send(work)?;
        answered.await.map_err(|_| StoreError::Closed)??;
        take(&kept)
    }

    /// The same from a thread that may block.
    pub(crate) fn write_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (kept, answered) = self.send(work)?;
        answered.blocking_recv().map_err(|_| StoreError::Closed)??;
        take(&kept)
    }

    fn send<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Sent<T>, StoreError> {
        let (answer, answered) = oneshot::channel();
        let kept = Kept::default();
        let keep = Arc::clone(&kept);
        let work: Work = Box::new(move |connection| {
            let value = work(connection)?;
            *keep.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
            Ok(())
        });
        // A caller that is gone does not hear; its change is committed all the same.
        let tell: Tell = Box::new(move |result| drop(answer.send(result)));
        self.jobs.send(Job { work, tell }).map_err(|_| StoreError::Closed)?;
        Ok((kept, answered))
    }
}

/// A job that was sent: what it gives, and whether it was committed.
type Sent<T> = (Kept<T>, oneshot::Receiver<Result<(), StoreError>>);

/// What the work gave, until the commit is done.
type Kept<T> = Arc<Mutex<Option<T>>>;

fn take<T>(kept: &Kept<T>) -> Result<T, StoreError> {
    kept.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or(StoreError::Closed)
}

fn write_all(connection: &Connection, queue: &mpsc::Receiver<Job>, commits: &AtomicU64) {
    let mut expected = 1;
    while let Ok(first) = queue.recv() {
        let jobs = gather(first, queue, expected, GATHER);
        // As many as came last time are at work still; whoever is alone waits for nobody.
        expected = jobs.len();
        write_batch(connection, jobs, commits);
    }
}

/// All that go into one commit: those that are there, and those that come right behind, if fewer
/// are there than are expected.
fn gather<T>(first: T, queue: &mpsc::Receiver<T>, expected: usize, wait: Duration) -> Vec<T> {
    let mut all = vec![first];
    let mut waits = 0;
    while all.len() < JOBS_PER_COMMIT_MAX {
        if let Ok(one) = queue.try_recv() {
            all.push(one);
        } else if all.len() >= expected || waits == WAITS_MAX {
            break;
        } else {
            waits += 1;
            all.extend(queue.recv_timeout(wait));
        }
    }
    all
}

fn write_batch(connection: &Connection, jobs: Vec<Job>, commits: &AtomicU64) {
    if let Err(error) = connection.execute_batch("BEGIN IMMEDIATE") {
        let error = StoreError::from(error);
        jobs.into_iter().for_each(|job| (job.tell)(Err(error.clone())));
        return;
    }
    let count = jobs.len();
    let mut told = Vec::with_capacity(count);
    for Job { work, tell } in jobs {
        told.push((tell, write_one(connection, work)));
    }
    let committed = connection.execute_batch("COMMIT").map_err(StoreError::from);
    if committed.is_err() && !connection.is_autocommit() {
        // Nothing of the batch counts; if even this fails, the next BEGIN will say so.
        drop(connection.execute_batch("ROLLBACK"));
    }
    commits.fetch_add(1, Ordering::Relaxed);
    match &committed {
        Ok(()) => tracing::debug!(changes = count, "committed to the store"),
        Err(error) => tracing::warn!(changes = count, %error, "the store could not commit"),
    }
    for (tell, result) in told {
        tell(match &committed {
            Ok(()) => result,
            Err(error) => Err(error.clone()),
        });
    }
}

fn write_one(connection: &Connection, work: Work) -> Result<(), StoreError> {
    connection.execute_batch("SAVEPOINT one")?;
    // A defect in one job must not be the end of all that come after it.
    let worked = std::panic::catch_unwind(AssertUnwindSafe(|| work(connection)));
    match worked.unwrap_or(Err(StoreError::Closed)) {
        Ok(()) => Ok(connection.execute_batch("RELEASE one")?),
        Err(error) => {
            connection.execute_batch("ROLLBACK TO one; RELEASE one")?;
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_taken_and_as_many_as_last_time_are_waited_for() {
        let (jobs, queue) = mpsc::channel();
        (1..=3).for_each(|job| jobs.send(job).unwrap());
        // Whoever sends more may do so at any time: nobody waits for that.
        assert_eq!(gather(0, &queue, 4, Duration::MAX), [0, 1, 2, 3]);
        (1..=3).for_each(|job| jobs.send(job).unwrap());
        assert_eq!(gather(0, &queue, 1, Duration::MAX), [0, 1, 2, 3]);
        let (begin, begun) = mpsc::channel::<()>();
        let later = std::thread::spawn(move || {
            begun.recv().unwrap();
            jobs.send(5).unwrap();
            jobs.send(6).unwrap();
        });
        begin.send(()).unwrap();
        assert_eq!(gather(4, &queue, 3, Duration::MAX), [4, 5, 6]);
        later.join().unwrap();
        // Who does not come is not waited for without end.
        assert_eq!(gather(7, &queue, 9, Duration::MAX), [7], "all senders are gone");
        let (jobs, queue) = mpsc::channel();
        assert_eq!(gather(8, &queue, 9, Duration::ZERO), [8]);
        drop(jobs);
    }

    #[test]
    fn no_commit_has_an_endless_number_of_jobs() {
        let (jobs, queue) = mpsc::channel();
        (0..JOBS_PER_COMMIT_MAX + 9).for_each(|job| jobs.send(job).unwrap());
        let all = JOBS_PER_COMMIT_MAX;
        assert_eq!(gather(0, &queue, all, GATHER).len(), all);
        assert_eq!(gather(0, &queue, 1, GATHER).len(), 11);
    }
}
