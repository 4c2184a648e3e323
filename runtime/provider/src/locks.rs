//! Locks that a world holds itself, for operations of any state directory (R13).
//!
//! A store has locks for its own operations alone. Where the world has a directory, the locks of
//! all that change it are in one file there, `locks.json`, with who holds them.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::{
    EnvironmentName, Failure, FailureClass, LockName, OperationId, StoreId, UnixMs,
};

/// Nobody keeps the file for longer who is well.
const TURN_MS_MAX: u64 = 5_000;
const TURN_LOOK_MS: u64 = 5;
/// How many locks that were freed by hand are remembered.
const FREED_MAX: usize = 50;

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The operation, told from every other that ever was: numbers repeat, and a state directory
    /// may be a copy.
    pub key: StoreId,
    pub store: StoreId,
    pub operation: OperationId,
    pub environment: EnvironmentName,
    /// The state directory, if it has one.
    pub place: Option<PathBuf>,
    /// The machine that it is on.
    pub host: String,
    pub actor: String,
    pub since: UnixMs,
}

/// A lock that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorldLock {
    pub name: LockName,
    pub holder: Holder,
}

/// A lock that somebody freed by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freed {
    pub name: LockName,
    pub holder: Holder,
    pub by: String,
    pub reason: String,
    pub at: UnixMs,
}

/// The locks of one world.
#[async_trait]
pub trait WorldLocks: Send + Sync {
    /// Take all of them, or none; gives the first that another operation holds.
    ///
    /// # Errors
    /// A file that can't be read or written.
    async fn take(&self, names: &[LockName], holder: &Holder)
    -> Result<Option<WorldLock>, Failure>;

    /// Let go of all that are held under this key.
    ///
    /// # Errors
    /// Those of [`WorldLocks::take`].
    async fn let_go(&self, key: &StoreId) -> Result<(), Failure>;

    /// Every lock that is held.
    ///
    /// # Errors
    /// Those of [`WorldLocks::take`].
    async fn held(&self) -> Result<Vec<WorldLock>, Failure>;

    /// Free a lock whose holder is gone, on record; gives whether it was still held so.
    ///
    /// # Errors
    /// Those of [`WorldLocks::take`].
    async fn free(&self, freed: &Freed) -> Result<bool, Failure>;
}

/// All of them, as they are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Table {
    locks: BTreeMap<LockName, Holder>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    freed: Vec<Freed>,
}

/// Locks in a file of a directory, or in memory.
#[derive(Clone)]
pub(crate) struct LockFile {
    kept: Kept,
    clock: Clock,
}

#[derive(Clone)]
enum Kept {
    Dir(PathBuf),
    Memory(Arc<Mutex<Table>>),
}

impl Table {
    fn take(&mut self, names: &[LockName], holder: &Holder) -> Option<WorldLock> {
        let others = names.iter().filter_map(|name| self.locks.get_key_value(name));
        let mut others = others.filter(|(_, held)| held.key != holder.key);
        if let Some((name, held)) = others.next() {
            return Some(WorldLock { name: name.clone(), holder: held.clone() });
        }
        for name in names {
            self.locks.entry(name.clone()).or_insert_with(|| holder.clone());
        }
        None
    }

    fn free(&mut self, freed: Freed) -> bool {
        if self.locks.get(&freed.name) != Some(&freed.holder) {
            return false;
        }
        self.locks.remove(&freed.name);
        self.freed.push(freed);
        let too_many = self.freed.len().saturating_sub(FREED_MAX);
        self.freed.drain(..too_many);
        true
    }
}

impl LockFile {
    pub(crate) fn in_dir(dir: &Path, clock: Clock) -> Self {
        Self { kept: Kept::Dir(dir.to_owned()), clock }
    }

    pub(crate) fn in_memory(clock: Clock) -> Self {
        Self { kept: Kept::Memory(Arc::default()), clock }
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
        let turned = tokio::task::spawn_blocking(move || {
            let _guard = guard;
            let before = read(&dir)?;
            let mut table = before.clone();
            let answer = turn(&mut table);
            if table != before {
                write(&dir, &table)?;
            }
            Ok(answer)
        });
        let panicked = |error: tokio::task::JoinError| {
            Err(Failure::new(FailureClass::Internal, error.to_string()))
        };
        turned.await.unwrap_or_else(panicked)
    }

    /// This one's turn at the file, among all programs.
    async fn guard(&self, dir: &Path) -> Result<File, Failure> {
        let path = dir.join("locks.lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|error| unusable("opened", &path, &error))?;
        let until = self.clock.now().after(Duration::from_millis(TURN_MS_MAX));
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(unusable("locked", &path, &error)),
                Err(TryLockError::WouldBlock) if self.clock.now() >= until => {
                    let message = format!(
                        "{} has been locked by another program for {TURN_MS_MAX} ms: end that one",
                        path.display()
                    );
                    return Err(Failure::new(FailureClass::Transient, message));
                }
                Err(TryLockError::WouldBlock) => {
                    self.clock.sleep(Duration::from_millis(TURN_LOOK_MS)).await;
                }
            }
        }
    }
}

fn unusable(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    let message = format!("{} can't be {what}: {error}", path.display());
    Failure::new(FailureClass::Internal, message)
}

fn file(dir: &Path) -> PathBuf {
    dir.join("locks.json")
}

fn read(dir: &Path) -> Result<Table, Failure> {
    let path = file(dir);
    let text = match std::fs::read_to_string(&path) {
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
    let written = File::create(&part).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        std::fs::rename(&part, &path)
    });
    written.map_err(|error| unusable("written", &path, &error))
}

#[async_trait]
impl WorldLocks for LockFile {
    async fn take(
        &self,
        names: &[LockName],
        holder: &Holder,
    ) -> Result<Option<WorldLock>, Failure> {
        let (names, holder) = (names.to_vec(), holder.clone());
        self.turn(move |table| table.take(&names, &holder)).await
    }

    async fn let_go(&self, key: &StoreId) -> Result<(), Failure> {
        let key = key.clone();
        self.turn(move |table| table.locks.retain(|_, holder| holder.key != key)).await
    }

    async fn held(&self) -> Result<Vec<WorldLock>, Failure> {
        let held = |table: &mut Table| {
            let locks = table.locks.clone().into_iter();
            locks.map(|(name, holder)| WorldLock { name, holder }).collect()
        };
        self.turn(held).await
    }

    async fn free(&self, freed: &Freed) -> Result<bool, Failure> {
        let freed = freed.clone();
        self.turn(move |table| table.free(freed)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(key: &str) -> Holder {
        Holder {
            key: StoreId(key.to_owned()),
            store: StoreId("store".to_owned()),
            operation: OperationId(1),
            environment: "box".into(),
            place: None,
            host: "host".to_owned(),
            actor: "ann".to_owned(),
            since: UnixMs(1),
        }
    }

    #[test]
    fn all_are_taken_or_none() {
        let (a, b): (LockName, LockName) = ("a".into(), "b".into());
        let mut table = Table::default();
        assert_eq!(table.take(std::slice::from_ref(&b), &holder("one")), None);
        let taken = table.take(&[a.clone(), b.clone()], &holder("two"));
        assert_eq!(taken, Some(WorldLock { name: b.clone(), holder: holder("one") }));
        assert!(!table.locks.contains_key(&a), "none was taken");
        // Whoever has it already has it.
        assert_eq!(table.take(&[a, b], &holder("one")), None);
        assert_eq!(table.locks.len(), 2);
    }

    #[test]
    fn only_the_holder_that_was_seen_is_freed() {
        let name: LockName = "a".into();
        let mut table = Table::default();
        assert_eq!(table.take(std::slice::from_ref(&name), &holder("one")), None);
        let freed = |key: &str| Freed {
            name: name.clone(),
            holder: holder(key),
            by: "ann".to_owned(),
            reason: "gone".to_owned(),
            at: UnixMs(2),
        };
        assert!(!table.free(freed("two")));
        assert!(table.free(freed("one")));
        assert!(table.locks.is_empty());
        assert_eq!(table.freed, [freed("one")]);
        for _ in 0..FREED_MAX + 3 {
            table.take(std::slice::from_ref(&name), &holder("one"));
            table.free(freed("one"));
        }
        assert_eq!(table.freed.len(), FREED_MAX);
    }

    #[tokio::test]
    async fn two_programs_see_each_others_locks_and_a_stranger_holds_up_nobody_for_long() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two] = [(); 2].map(|()| LockFile::in_dir(dir.path(), Clock::real()));
        let names = ["a".into()];
        assert_eq!(one.take(&names, &holder("one")).await, Ok(None));
        let found = two.take(&names, &holder("two")).await.unwrap();
        assert_eq!(found.map(|lock| lock.holder.key), Some(StoreId("one".into())));
        assert_eq!(two.held().await.unwrap().len(), 1);
        two.let_go(&StoreId("two".into())).await.unwrap();
        assert_eq!(one.held().await.unwrap().len(), 1, "it is another's");
        one.let_go(&StoreId("one".into())).await.unwrap();
        assert_eq!(two.take(&names, &holder("two")).await, Ok(None));
        std::fs::write(file(dir.path()), "odd").unwrap();
        let odd = one.held().await.unwrap_err();
        assert!(odd.message.contains("does not hold locks"), "{odd:?}");
    }
}
