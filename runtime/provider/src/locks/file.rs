//! Locks in a file of the world's directory, which all programs take turns at.

use super::alive::{self, Alive};
use super::journaled::{Journaled, Known};
use super::open::{opened, unusable};
use super::table::Table;
use super::{Freed, Holder, WorldLock, WorldLocks};
use async_trait::async_trait;
use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::{Failure, FailureClass, LockName, OperationId, StoreId};
use stepback_files::{lock, private};

/// Nobody keeps the file for longer who is well.
const TURN_MS_MAX: u64 = 5_000;
const TURN_LOOK_MS: u64 = 5;
/// Nobody holds so many locks; more is neither read nor written.
const BYTES_MAX: u64 = 4 << 20;

/// Locks in a file of a directory, or in memory.
#[derive(Clone)]
pub struct LockFile {
    kept: Kept,
    known: Known,
    clock: Clock,
    alive: Alive,
}

#[derive(Clone)]
enum Kept {
    Dir(PathBuf),
    Memory(Arc<Mutex<Table>>),
}

impl LockFile {
    /// The locks in `locks.json` of this directory, which all programs that use it share.
    pub fn in_dir(dir: &Path, clock: Clock) -> Self {
        let known = Known::in_dir(dir, clock.clone());
        Self { kept: Kept::Dir(dir.to_owned()), known, clock, alive: Alive::default() }
    }

    /// Locks that only clones of this one share, and that are gone with the process.
    pub fn in_memory(clock: Clock) -> Self {
        let known = Known::in_memory();
        Self { kept: Kept::Memory(Arc::default()), known, clock, alive: Alive::default() }
    }

    async fn turn<T: Send + 'static>(
        &self,
        turn: impl FnOnce(&mut Table) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let dir = match &self.kept {
            Kept::Memory(table) => {
                return Ok(turn(&mut table.lock().unwrap_or_else(PoisonError::into_inner)));
            }
            Kept::Dir(dir) => dir.clone(),
        };
        let guard = self.guard(&dir).await?;
        in_thread(move || {
            let _guard = guard;
            let before = read(&dir)?;
            let mut table = before.clone();
            let answer = turn(&mut table);
            if table != before {
                write(&dir, &table)?;
            }
            Ok(answer)
        })
        .await
    }

    /// This one's turn at the file, among all programs.
    async fn guard(&self, dir: &Path) -> Result<File, Failure> {
        let path = dir.join("locks.lock");
        let how = &mut File::options();
        let file = opened(&path, how.create(true).truncate(false).write(true));
        let file = file.map_err(|error| unusable("opened", &path, &error))?;
        let until = self.clock.now().after(Duration::from_millis(TURN_MS_MAX));
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(unusable("locked", &path, &error)),
                Err(TryLockError::WouldBlock) if self.clock.now() >= until => {
                    let limit = Duration::from_millis(TURN_MS_MAX);
                    let message = lock::held(&file, &path, limit);
                    return Err(Failure::new(FailureClass::Transient, message));
                }
                Err(TryLockError::WouldBlock) => {
                    self.clock.sleep(Duration::from_millis(TURN_LOOK_MS)).await;
                }
            }
        }
    }
}

/// What reads or writes files, where it blocks nobody.
async fn in_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let panicked = |error: tokio::task::JoinError| {
        Err(Failure::new(FailureClass::Internal, error.to_string()))
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(panicked)
}

fn file(dir: &Path) -> PathBuf {
    dir.join("locks.json")
}

fn read(dir: &Path) -> Result<Table, Failure> {
    let path = file(dir);
    let read = || {
        let mut text = String::new();
        let file = opened(&path, File::options().read(true))?;
        file.take(BYTES_MAX + 1).read_to_string(&mut text)?;
        match text.len() as u64 > BYTES_MAX {
            true => Err(std::io::Error::other(format!("it is larger than {BYTES_MAX} bytes"))),
            false => Ok(text),
        }
    };
    let text = match read() {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Table::default()),
        Err(error) => return Err(unusable("read", &path, &error)),
    };
    serde_json::from_str(&text).map_err(|error| {
        let message = format!(
            "{} does not hold locks: {error}; where nothing runs in this environment it may be \
             removed",
            path.display()
        );
        Failure::new(FailureClass::Internal, message)
    })
}

fn write(dir: &Path, table: &Table) -> Result<(), Failure> {
    let (path, part) = (file(dir), dir.join("locks.json.part"));
    let text = serde_json::to_string_pretty(table)
        .map_err(|error| Failure::new(FailureClass::Internal, error.to_string()))?;
    if text.len() as u64 > BYTES_MAX {
        let message = format!("{} would be larger than {BYTES_MAX} bytes", path.display());
        return Err(Failure::new(FailureClass::InvalidInput, message));
    }
    let write = || {
        let mut file = private::create(&part)?;
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        std::fs::rename(&part, &path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|error| unusable("written", &path, &error))
}

fn is_run(world: Option<&Path>, holder: &Holder) -> bool {
    let (Some(world), Some(runner)) = (world, &holder.runner) else { return false };
    alive::is_alive(world, runner)
}

#[async_trait]
impl WorldLocks for LockFile {
    async fn take(
        &self,
        names: &[LockName],
        holder: &Holder,
        ours: &[String],
    ) -> Result<Option<WorldLock>, Failure> {
        let (names, holder, ours) = (names.to_vec(), holder.clone(), ours.to_vec());
        let dir = match &self.kept {
            Kept::Dir(dir) => Some(dir.clone()),
            Kept::Memory(_) => None,
        };
        if let (Some(dir), Some(runner)) = (&dir, &holder.runner) {
            self.alive.show(dir, runner)?;
        }
        let is_gone = move |held: &Holder| !is_run(dir.as_deref(), held);
        self.turn(move |table| table.take(&names, &holder, &ours, is_gone)).await
    }

    async fn let_go(&self, key: &StoreId, operation: OperationId) -> Result<(), Failure> {
        let own = key.clone();
        self.turn(move |table| table.let_go(&own, operation)).await
    }

    async fn let_go_of(&self, store: &StoreId, operation: OperationId) -> Result<(), Failure> {
        let store = store.clone();
        self.turn(move |table| table.let_go_of(&store, operation)).await
    }

    async fn note(&self, key: &StoreId, journaled: &Journaled) -> Result<(), Failure> {
        if let Known::Memory(_) = self.known {
            return self.known.note(key, journaled);
        }
        let (known, key, journaled) = (self.known.clone(), key.clone(), journaled.clone());
        in_thread(move || known.note(&key, &journaled)).await
    }

    async fn noted(&self, key: &StoreId) -> Result<Option<Journaled>, Failure> {
        if let Known::Memory(_) = self.known {
            return self.known.of(key);
        }
        let (known, key) = (self.known.clone(), key.clone());
        in_thread(move || known.of(&key)).await
    }

    fn is_run(&self, holder: &Holder) -> bool {
        match &self.kept {
            Kept::Dir(dir) => is_run(Some(dir), holder),
            Kept::Memory(_) => false,
        }
    }

    async fn holders_of(
        &self,
        key: &StoreId,
        operation: OperationId,
    ) -> Result<Vec<Holder>, Failure> {
        let key = key.clone();
        self.turn(move |table| table.holders_of(&key, operation).cloned().collect()).await
    }

    async fn held(&self) -> Result<Vec<WorldLock>, Failure> {
        let held = |table: &mut Table| {
            let locks = table.locks.clone().into_iter();
            locks.map(|(name, holder)| WorldLock { name, holder }).collect()
        };
        self.turn(held).await
    }

    async fn freed(&self) -> Result<Vec<Freed>, Failure> {
        self.turn(|table| table.freed.clone()).await
    }

    async fn free(&self, freed: &Freed) -> Result<bool, Failure> {
        let freed = freed.clone();
        self.turn(move |table| table.free(freed)).await
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::{gone, holder};
    use super::*;

    #[test]
    fn what_could_not_be_read_again_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut table = Table::default();
        assert_eq!(table.take(&["a".into()], &holder("one"), &[], gone), None);
        write(dir.path(), &table).unwrap();
        let long: LockName = "b".repeat(BYTES_MAX as usize).as_str().into();
        assert_eq!(table.take(&[long], &holder("one"), &[], gone), None);
        write(dir.path(), &table).unwrap_err();
        assert_eq!(read(dir.path()).unwrap().locks.len(), 1, "as it was");
    }

    #[tokio::test]
    async fn two_programs_see_each_others_locks_and_a_stranger_holds_up_nobody_for_long() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two] = [(); 2].map(|()| LockFile::in_dir(dir.path(), Clock::real()));
        let names = ["a".into()];
        assert_eq!(one.take(&names, &holder("one"), &[]).await, Ok(None));
        let found = two.take(&names, &holder("two"), &[]).await.unwrap();
        assert_eq!(found.map(|lock| lock.holder.key), Some(StoreId("one".into())));
        assert_eq!(two.held().await.unwrap().len(), 1);
        two.let_go(&StoreId("two".into()), OperationId(1)).await.unwrap();
        assert_eq!(one.held().await.unwrap().len(), 1, "it is another's");
        one.let_go(&StoreId("one".into()), OperationId(1)).await.unwrap();
        assert_eq!(two.take(&names, &holder("two"), &[]).await, Ok(None));
        // Whoever held one lives, as the other sees, until its program ends.
        assert!(one.is_run(&holder("two")) && !one.is_run(&holder("three")));
        two.let_go(&StoreId("two".into()), OperationId(1)).await.unwrap();
        assert_eq!(two.take(&names, &holder("two"), &[]).await, Ok(None));
        two.let_go_of(&StoreId("store".into()), OperationId(1)).await.unwrap();
        assert_eq!(one.held().await.unwrap(), []);
        // Nothing is written through a link, and nobody waits for a pipe.
        let victim = dir.path().join("victim");
        std::fs::write(&victim, "kept").unwrap();
        std::os::unix::fs::symlink(&victim, dir.path().join("locks.json.part")).unwrap();
        assert_eq!(one.take(&names, &holder("one"), &[]).await, Ok(None));
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "kept");
        std::fs::remove_file(file(dir.path())).unwrap();
        std::os::unix::fs::symlink("/dev/zero", file(dir.path())).unwrap();
        one.held().await.unwrap_err();
        std::fs::remove_file(file(dir.path())).unwrap();
        assert!(
            std::process::Command::new("mkfifo").arg(file(dir.path())).status().unwrap().success()
        );
        one.held().await.unwrap_err();
        std::fs::remove_file(file(dir.path())).unwrap();
        std::fs::write(file(dir.path()), "odd").unwrap();
        let odd = one.held().await.unwrap_err();
        assert!(odd.message.contains("does not hold locks"), "{odd:?}");
    }
}
