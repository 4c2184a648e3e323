//! Locks that a world holds itself, for operations of any state directory (R13).
//!
//! A store has locks for its own operations alone. Where the world has a directory, the locks of
//! all that change it are in one file there, `locks.json`, with who holds them.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
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
/// Nobody holds so many locks.
const BYTES_MAX: u64 = 4 << 20;
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
    /// The state directory, if it has one that can be written down.
    pub place: Option<String>,
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

    /// Let go of all that an operation holds whose key can't be read any more.
    ///
    /// # Errors
    /// Those of [`WorldLocks::take`].
    async fn let_go_of(&self, store: &StoreId, operation: OperationId) -> Result<(), Failure>;

    /// Whether a program that lives runs what holds locks under this key, wherever it is on this
    /// machine: in another container, or under another name of the host.
    fn is_run(&self, key: &StoreId) -> bool;

    /// Every lock that is held.
    ///
    /// # Errors
    /// Those of [`WorldLocks::take`].
    async fn held(&self) -> Result<Vec<WorldLock>, Failure>;

    /// The last locks that were freed by hand, oldest first.
    ///
    /// # Errors
    /// Those of [`WorldLocks::take`].
    async fn freed(&self) -> Result<Vec<Freed>, Failure>;

    /// Free a lock whose holder is gone, on record; gives whether it was still held so.
    ///
    /// # Errors
    /// Those of [`WorldLocks::take`].
    async fn free(&self, freed: &Freed) -> Result<bool, Failure>;
}

/// The machine's name, as people know it.
pub fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
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
    /// The proofs that this program lives, by the keys that it holds locks under.
    alive: Arc<Mutex<BTreeMap<StoreId, File>>>,
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
            // Taken up elsewhere, it is held from there.
            self.locks.insert(name.clone(), holder.clone());
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
        Self { kept: Kept::Dir(dir.to_owned()), clock, alive: Arc::default() }
    }

    pub(crate) fn in_memory(clock: Clock) -> Self {
        Self { kept: Kept::Memory(Arc::default()), clock, alive: Arc::default() }
    }

    /// Show that the holder of this key lives, until this program ends; gives whether it did not
    /// before.
    fn show_alive(&self, key: &StoreId) -> Result<bool, Failure> {
        let Kept::Dir(dir) = &self.kept else { return Ok(false) };
        let mut alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        if alive.contains_key(key) {
            return Ok(false);
        }
        let path = alive_file(dir, key);
        let show = || {
            std::fs::create_dir_all(path.parent().unwrap_or(dir))?;
            let file = opened(&path, File::options().create(true).truncate(false).write(true))?;
            // One whose runner was taken over may still hold it; then that shows it as well.
            let _ = file.try_lock();
            Ok(file)
        };
        let file = show().map_err(|error| unusable("made", &path, &error))?;
        alive.insert(key.clone(), file);
        Ok(true)
    }

    fn show_no_more(&self, key: &StoreId) {
        let Kept::Dir(dir) = &self.kept else { return };
        let mut alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        if alive.remove(key).is_some() {
            // One that stays shows nothing, as nobody holds it.
            let _ = std::fs::remove_file(alive_file(dir, key));
        }
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
        let file = opened(&path, File::options().create(true).truncate(false).write(true));
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

/// A file that is one: no link, and no pipe whose other end never comes.
fn opened(path: &Path, how: &mut OpenOptions) -> std::io::Result<File> {
    let file = how.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(std::io::Error::other("it is no file")),
    }
}

/// Where whoever holds locks under this key shows that it lives.
fn alive_file(dir: &Path, key: &StoreId) -> PathBuf {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    dir.join("locks.alive").join(key.as_str().chars().map(plain).collect::<String>())
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
    let write = || {
        // What a crash left, or somebody put there: never written through.
        match std::fs::remove_file(&part) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = File::options().write(true).create_new(true).open(&part)?;
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        std::fs::rename(&part, &path)
    };
    write().map_err(|error| unusable("written", &path, &error))
}

#[async_trait]
impl WorldLocks for LockFile {
    async fn take(
        &self,
        names: &[LockName],
        holder: &Holder,
    ) -> Result<Option<WorldLock>, Failure> {
        let (names, holder) = (names.to_vec(), holder.clone());
        let key = holder.key.clone();
        let is_new = self.show_alive(&key)?;
        let taken = self.turn(move |table| table.take(&names, &holder)).await;
        if is_new && !matches!(taken, Ok(None)) {
            self.show_no_more(&key);
        }
        taken
    }

    async fn let_go(&self, key: &StoreId) -> Result<(), Failure> {
        let own = key.clone();
        self.turn(move |table| table.locks.retain(|_, holder| holder.key != own)).await?;
        self.show_no_more(key);
        Ok(())
    }

    async fn let_go_of(&self, store: &StoreId, operation: OperationId) -> Result<(), Failure> {
        let store = store.clone();
        let is_its = move |holder: &Holder| holder.store == store && holder.operation == operation;
        self.turn(move |table| table.locks.retain(|_, holder| !is_its(holder))).await
    }

    fn is_run(&self, key: &StoreId) -> bool {
        let Kept::Dir(dir) = &self.kept else { return false };
        let file = opened(&alive_file(dir, key), File::options().write(true));
        file.is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
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
        // Whoever holds it lives, as the other sees, until it lets go.
        assert!(one.is_run(&StoreId("two".into())) && !one.is_run(&StoreId("one".into())));
        two.let_go(&StoreId("two".into())).await.unwrap();
        assert!(!one.is_run(&StoreId("two".into())));
        assert_eq!(two.take(&names, &holder("two")).await, Ok(None));
        two.let_go_of(&StoreId("store".into()), OperationId(1)).await.unwrap();
        assert_eq!(one.held().await.unwrap(), []);
        // Nothing is written through a link, and nobody waits for a pipe.
        let victim = dir.path().join("victim");
        std::fs::write(&victim, "kept").unwrap();
        std::os::unix::fs::symlink(&victim, dir.path().join("locks.json.part")).unwrap();
        assert_eq!(one.take(&names, &holder("one")).await, Ok(None));
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
