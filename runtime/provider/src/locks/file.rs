//! Locks in a file of the world's directory, which all programs take turns at.

use super::alive::{self, Alive};
use super::{Freed, Holder, WorldLock, WorldLocks};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::{Failure, FailureClass, LockName, OperationId, StoreId};

/// Nobody keeps the file for longer who is well.
const TURN_MS_MAX: u64 = 5_000;
const TURN_LOOK_MS: u64 = 5;
/// Nobody holds so many locks; more is neither read nor written.
const BYTES_MAX: u64 = 4 << 20;
/// How many locks that were freed by hand are remembered.
const FREED_MAX: usize = 50;
/// So much is remembered of why.
const REASON_CHARS_MAX: usize = 1_000;
/// Only whoever may change the world may hold it up.
const MODE: u32 = 0o600;

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
pub struct LockFile {
    kept: Kept,
    clock: Clock,
    alive: Alive,
}

#[derive(Clone)]
enum Kept {
    Dir(PathBuf),
    Memory(Arc<Mutex<Table>>),
}

impl Table {
    /// `is_gone` tells whether a holder's program is.
    fn take(
        &mut self,
        names: &[LockName],
        holder: &Holder,
        is_gone: impl Fn(&Holder) -> bool,
    ) -> Option<WorldLock> {
        let is_own = |held: &Holder| {
            held.key == holder.key
                && (held.runner == holder.runner
                    || held.is_at_the_place_of(holder)
                    || is_gone(held))
        };
        let mut others = names.iter().filter_map(|name| self.locks.get_key_value(name));
        if let Some((name, held)) = others.find(|(_, held)| !is_own(held)) {
            return Some(WorldLock { name: name.clone(), holder: held.clone() });
        }
        for name in names {
            // Taken up elsewhere, it is held from there.
            self.locks.insert(name.clone(), holder.clone());
        }
        None
    }

    fn free(&mut self, mut freed: Freed) -> bool {
        if self.locks.get(&freed.name) != Some(&freed.holder) {
            return false;
        }
        self.locks.remove(&freed.name);
        freed.reason = freed.reason.chars().take(REASON_CHARS_MAX).collect();
        self.freed.push(freed);
        let too_many = self.freed.len().saturating_sub(FREED_MAX);
        self.freed.drain(..too_many);
        true
    }
}

impl LockFile {
    pub fn in_dir(dir: &Path, clock: Clock) -> Self {
        Self { kept: Kept::Dir(dir.to_owned()), clock, alive: Alive::default() }
    }

    pub fn in_memory(clock: Clock) -> Self {
        Self { kept: Kept::Memory(Arc::default()), clock, alive: Alive::default() }
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
        let how = &mut File::options();
        let file = opened(&path, how.create(true).truncate(false).write(true).mode(MODE));
        let file = file.map_err(|error| unusable("opened", &path, &error))?;
        let until = self.clock.now().after(Duration::from_millis(TURN_MS_MAX));
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(unusable("locked", &path, &error)),
                Err(TryLockError::WouldBlock) if self.clock.now() >= until => {
                    let by = holder_of(&file).map(|pid| format!(" ({pid})")).unwrap_or_default();
                    let message = format!(
                        "{} has been locked by another program{by} for {TURN_MS_MAX} ms: end that \
                         one",
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

/// The process that has a file locked, where the kernel tells (proc(5), */proc/locks*).
fn holder_of(file: &File) -> Option<u32> {
    let inode = format!(":{}", file.metadata().ok()?.ino());
    let all = std::fs::read_to_string("/proc/locks").ok()?;
    let fields = all.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut held = fields.filter(|line| line.get(1) == Some(&"FLOCK"));
    held.find(|line| line.get(5).is_some_and(|at| at.ends_with(&inode)))?.get(4)?.parse().ok()
}

pub(super) fn unusable(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    let message = format!("{} can't be {what}: {error}", path.display());
    Failure::new(FailureClass::Internal, message)
}

/// A file that is one: no link, and no pipe whose other end never comes.
pub(super) fn opened(path: &Path, how: &mut OpenOptions) -> std::io::Result<File> {
    let file = how.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(std::io::Error::other("it is no file")),
    }
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
        // What a crash left, or somebody put there: never written through.
        match std::fs::remove_file(&part) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = File::options().write(true).create_new(true).mode(MODE).open(&part)?;
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
    ) -> Result<Option<WorldLock>, Failure> {
        let (names, holder) = (names.to_vec(), holder.clone());
        let dir = match &self.kept {
            Kept::Dir(dir) => Some(dir.clone()),
            Kept::Memory(_) => None,
        };
        let is_new = match (&dir, &holder.runner) {
            (Some(dir), Some(runner)) => self.alive.show(dir, runner, &holder.key)?,
            (None, _) | (_, None) => false,
        };
        let (key, world) = (holder.key.clone(), dir.clone());
        let is_gone = move |held: &Holder| !is_run(world.as_deref(), held);
        let taken = self.turn(move |table| table.take(&names, &holder, is_gone)).await;
        if let Some(dir) = dir.filter(|_| is_new && !matches!(taken, Ok(None))) {
            self.alive.end(&dir, &key);
        }
        taken
    }

    async fn let_go(&self, key: &StoreId) -> Result<(), Failure> {
        let own = key.clone();
        self.turn(move |table| table.locks.retain(|_, holder| holder.key != own)).await?;
        if let Kept::Dir(dir) = &self.kept {
            self.alive.end(dir, key);
        }
        Ok(())
    }

    async fn let_go_of(&self, store: &StoreId, operation: OperationId) -> Result<(), Failure> {
        let store = store.clone();
        let is_its = move |holder: &Holder| holder.store == store && holder.operation == operation;
        self.turn(move |table| table.locks.retain(|_, holder| !is_its(holder))).await
    }

    fn is_run(&self, holder: &Holder) -> bool {
        match &self.kept {
            Kept::Dir(dir) => is_run(Some(dir), holder),
            Kept::Memory(_) => false,
        }
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
    use stepback_core::UnixMs;

    /// All programs are gone.
    fn gone(_: &Holder) -> bool {
        true
    }

    fn holder(key: &str) -> Holder {
        Holder {
            key: StoreId(key.to_owned()),
            store: StoreId("store".to_owned()),
            operation: OperationId(1),
            environment: "box".into(),
            place: None,
            host: "host".to_owned(),
            mounts: None,
            actor: "ann".to_owned(),
            runner: Some(format!("runner-{key}")),
            since: UnixMs(1),
        }
    }

    #[test]
    fn all_are_taken_or_none() {
        let (a, b): (LockName, LockName) = ("a".into(), "b".into());
        let mut table = Table::default();
        assert_eq!(table.take(std::slice::from_ref(&b), &holder("one"), gone), None);
        let taken = table.take(&[a.clone(), b.clone()], &holder("two"), gone);
        assert_eq!(taken, Some(WorldLock { name: b.clone(), holder: holder("one") }));
        assert!(!table.locks.contains_key(&a), "none was taken");
        // Whoever has it already has it.
        assert_eq!(table.take(&[a, b], &holder("one"), gone), None);
        assert_eq!(table.locks.len(), 2);
    }

    /// A state directory and a copy of it, whose operations have one key.
    #[test]
    fn one_that_lives_elsewhere_under_the_same_key_is_somebody_else() {
        let names: [LockName; 1] = ["a".into()];
        let at = |place: &str, runner: &str| Holder {
            place: Some(place.to_owned()),
            runner: Some(runner.to_owned()),
            ..holder("one")
        };
        let lives = |_: &Holder| false;
        let table = [
            // The same runner takes more; another one of the same place takes over.
            (at("/a", "first"), true),
            (at("/a", "second"), true),
            (at("/copy", "second"), false),
            (Holder { host: "other".to_owned(), ..at("/a", "second") }, false),
        ];
        for (taker, may) in table {
            let mut held = Table::default();
            assert_eq!(held.take(&names, &at("/a", "first"), lives), None);
            assert_eq!(held.take(&names, &taker, lives).is_none(), may, "{taker:?}");
            assert_eq!(held.take(&names, &taker, gone), None, "{taker:?}");
        }
    }

    #[test]
    fn what_could_not_be_read_again_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut table = Table::default();
        assert_eq!(table.take(&["a".into()], &holder("one"), gone), None);
        write(dir.path(), &table).unwrap();
        let long: LockName = "b".repeat(BYTES_MAX as usize).as_str().into();
        assert_eq!(table.take(&[long], &holder("one"), gone), None);
        write(dir.path(), &table).unwrap_err();
        assert_eq!(read(dir.path()).unwrap().locks.len(), 1, "as it was");
    }

    #[test]
    fn only_the_holder_that_was_seen_is_freed() {
        let name: LockName = "a".into();
        let mut table = Table::default();
        assert_eq!(table.take(std::slice::from_ref(&name), &holder("one"), gone), None);
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
            table.take(std::slice::from_ref(&name), &holder("one"), gone);
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
        assert!(one.is_run(&holder("two")) && !one.is_run(&holder("one")));
        two.let_go(&StoreId("two".into())).await.unwrap();
        assert!(!one.is_run(&holder("two")));
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
