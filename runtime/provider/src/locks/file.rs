//! Locks in a file of the world's directory, which all programs take turns at; and who runs
//! operations that have none, in many small ones, because there may be thousands.

use super::alive::{self, Alive};
use super::journaled::{Journaled, Known};
use super::open::{is_named, made_ours, opened, unusable};
use super::table::Table;
use super::turns::{Threads, Turns};
use super::{Freed, Holder, Place, WorldLock, WorldLocks, of_one};
use async_trait::async_trait;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::{Failure, FailureClass, LockName, OperationId, StoreId};
use stepback_files::private;

/// Nobody holds so many locks; more is neither read nor written.
const BYTES_MAX: u64 = 4 << 20;

/// Locks in a file of a directory, or in memory.
#[derive(Clone)]
pub struct LockFile {
    kept: Kept,
    known: Known,
    alive: Alive,
    turns: Turns,
    /// Threads for what waits for nobody, so that a turn lasts no longer than it must, and for what
    /// may.
    tables: Threads,
    notes: Threads,
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
        Self::new(Kept::Dir(dir.to_owned()), known, clock)
    }

    /// Locks that only clones of this one share, and that are gone with the process.
    pub fn in_memory(clock: Clock) -> Self {
        Self::new(Kept::Memory(Arc::default()), Known::in_memory(), clock)
    }

    fn new(kept: Kept, known: Known, clock: Clock) -> Self {
        let (alive, turns) = (Alive::default(), Turns::new(clock));
        Self { kept, known, alive, turns, tables: Threads::default(), notes: Threads::default() }
    }

    async fn turn<T: Send + 'static>(
        &self,
        part: Part,
        turn: impl FnOnce(&mut Table) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let dir = match &self.kept {
            Kept::Memory(table) => {
                return Ok(turn(&mut table.lock().unwrap_or_else(PoisonError::into_inner)));
            }
            Kept::Dir(dir) => dir.clone(),
        };
        let file = part.file(&dir);
        if part != Part::Locks {
            let runs = dir.join(RUNS);
            made_ours(&runs, is_of_runs).map_err(|error| unusable("used", &runs, &error))?;
        }
        let own = self.turns.at(&file, part.turn_max()).await?;
        let work = move || {
            let _own = own;
            let before = read(part, &file)?;
            let mut table = before.clone();
            let answer = turn(&mut table);
            if table != before {
                // What is run is run by a program, which no power cut outlives.
                write(&file, &table, part == Part::Locks)?;
            }
            Ok(answer)
        };
        self.tables.run(work).await
    }

    /// A turn at a part if there may be anything in it. Who runs what has no locks keeps nobody
    /// from those that others have, whatever is wrong with where that is.
    async fn if_any<T: Default + Send + 'static>(
        &self,
        part: Part,
        turn: impl FnOnce(&mut Table) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        if !self.has(part) {
            return Ok(T::default());
        }
        match (part, self.turn(part, turn).await) {
            (Part::Runs(_), Err(failure)) => {
                tracing::warn!(why = ?failure.message, "who runs the operation can't be looked up");
                Ok(T::default())
            }
            (_, done) => done,
        }
    }

    /// Whether there may be anything in a part: in memory there is but one.
    fn has(&self, part: Part) -> bool {
        match &self.kept {
            // What can't be looked at is told where it is read.
            Kept::Dir(dir) => match part.file(dir).symlink_metadata() {
                Err(error) => error.kind() != ErrorKind::NotFound,
                Ok(_) => true,
            },
            Kept::Memory(_) => part == Part::Locks,
        }
    }
}

/// Where the files are of who runs operations without locks, below the world's directory.
const RUNS: &str = "runs";

/// Whether this is a file of those.
fn is_of_runs(path: &Path) -> bool {
    is_named(path, 2, &["json", "lock"])
}

/// A part of what is kept, in a file of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Locks,
    /// Who runs the operations without locks whose keys come to this.
    Runs(u8),
}

impl Part {
    fn of_run(key: &StoreId, operation: OperationId) -> Self {
        let digest = Sha256::digest(of_one(key, operation).as_str().as_bytes());
        Self::Runs(digest[0])
    }

    fn file(self, dir: &Path) -> PathBuf {
        match self {
            Self::Locks => dir.join("locks.json"),
            Self::Runs(number) => dir.join(RUNS).join(format!("{number:02x}.json")),
        }
    }

    /// How long another program is waited for: nobody is kept from anything by what has no locks.
    fn turn_max(self) -> Duration {
        match self {
            Self::Locks => Duration::from_secs(5),
            Self::Runs(_) => Duration::from_secs(1),
        }
    }
}

fn read(part: Part, path: &Path) -> Result<Table, Failure> {
    let read = || {
        let mut text = String::new();
        let file = opened(path, File::options().read(true))?;
        file.take(BYTES_MAX + 1).read_to_string(&mut text)?;
        match text.len() as u64 > BYTES_MAX {
            true => Err(std::io::Error::other(format!("it is larger than {BYTES_MAX} bytes"))),
            false => Ok(text),
        }
    };
    let text = match read() {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Table::default()),
        Err(error) => return Err(unusable("read", path, &error)),
    };
    let table = serde_json::from_str(&text);
    if let (Part::Runs(_), Err(error)) = (part, &table) {
        // It is not synced: a power cut, which no runner outlives, may leave its name alone.
        tracing::warn!(?path, why = ?error, "who runs operations without locks is not known");
        return Ok(Table::default());
    }
    table.map_err(|error| {
        let message = format!(
            "{} does not hold locks: {error}; where nothing runs in this environment it may be \
             removed",
            path.display()
        );
        Failure::new(FailureClass::Internal, message)
    })
}

fn write(path: &Path, table: &Table, is_synced: bool) -> Result<(), Failure> {
    let part = path.with_extension("json.part");
    let text = serde_json::to_string_pretty(table)
        .map_err(|error| Failure::new(FailureClass::Internal, error.to_string()))?;
    if text.len() as u64 > BYTES_MAX {
        let message = format!("{} would be larger than {BYTES_MAX} bytes", path.display());
        return Err(Failure::new(FailureClass::InvalidInput, message));
    }
    let write = || {
        let mut file = private::create(&part)?;
        file.write_all(text.as_bytes())?;
        if is_synced {
            file.sync_data()?;
        }
        std::fs::rename(&part, path)?;
        match path.parent().filter(|_| is_synced) {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(|error| unusable("written", path, &error))
}

fn is_run(world: Option<&Path>, holder: &Holder) -> bool {
    let (Some(world), Some(runner)) = (world, &holder.runner) else { return false };
    alive::is_alive(world, runner)
}

#[async_trait]
impl WorldLocks for LockFile {
    fn dir(&self) -> Option<&Path> {
        match &self.kept {
            Kept::Dir(dir) => Some(dir),
            Kept::Memory(_) => None,
        }
    }

    async fn take(
        &self,
        names: &[LockName],
        holder: &Holder,
        ours: &[String],
    ) -> Result<Option<WorldLock>, Failure> {
        let (names, holder, ours) = (names.to_vec(), holder.clone(), ours.to_vec());
        let dir = self.dir().map(Path::to_owned);
        if let (Some(dir), Some(runner)) = (&dir, &holder.runner) {
            self.alive.show(dir, runner)?;
        }
        let is_gone = move |held: &Holder| !is_run(dir.as_deref(), held);
        let part = match names.is_empty() {
            true => Part::of_run(&holder.key, holder.operation),
            false => Part::Locks,
        };
        self.turn(part, move |table| table.take(&names, &holder, &ours, is_gone)).await
    }

    async fn let_go(&self, key: &StoreId, operation: OperationId) -> Result<(), Failure> {
        for part in [Part::Locks, Part::of_run(key, operation)] {
            let own = key.clone();
            self.if_any(part, move |table| table.let_go(&own, operation)).await?;
        }
        Ok(())
    }

    async fn let_go_of(
        &self,
        store: &StoreId,
        operation: OperationId,
        place: &Place,
    ) -> Result<(), Failure> {
        let dir = match &self.kept {
            Kept::Dir(dir) => Some(dir.clone()),
            Kept::Memory(_) => None,
        };
        for part in [Part::Locks].into_iter().chain((0..=u8::MAX).map(Part::Runs)) {
            let (store, place, dir) = (store.clone(), place.clone(), dir.clone());
            let is_left = move |held: &Holder| place.is_of(held) && !is_run(dir.as_deref(), held);
            self.if_any(part, move |table| table.let_go_of(&store, operation, is_left)).await?;
        }
        Ok(())
    }

    async fn note(&self, key: &StoreId, journaled: &Journaled) -> Result<(), Failure> {
        if let Known::Memory(_) = self.known {
            return self.known.note(key, journaled);
        }
        let (known, key, journaled) = (self.known.clone(), key.clone(), journaled.clone());
        self.notes.run(move || known.note(&key, &journaled)).await
    }

    async fn noted(&self, key: &StoreId) -> Result<Option<Journaled>, Failure> {
        if let Known::Memory(_) = self.known {
            return self.known.of(key);
        }
        let (known, key) = (self.known.clone(), key.clone());
        self.notes.run(move || known.of(&key)).await
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
        let mut all = vec![];
        for part in [Part::Locks, Part::of_run(key, operation)] {
            let key = key.clone();
            let of_it = move |table: &mut Table| -> Vec<Holder> {
                table.holders_of(&key, operation).cloned().collect()
            };
            all.extend(self.if_any(part, of_it).await?);
        }
        Ok(all)
    }

    async fn held(&self) -> Result<Vec<WorldLock>, Failure> {
        let held = |table: &mut Table| {
            let locks = table.locks.clone().into_iter();
            locks.map(|(name, holder)| WorldLock { name, holder }).collect()
        };
        self.turn(Part::Locks, held).await
    }

    async fn freed(&self) -> Result<Vec<Freed>, Failure> {
        self.turn(Part::Locks, |table| table.freed.clone()).await
    }

    async fn free(&self, freed: &Freed) -> Result<bool, Failure> {
        let freed = freed.clone();
        self.turn(Part::Locks, move |table| table.free(freed)).await
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::{gone, holder};
    use super::*;
    use stepback_core::UnixMs;

    #[test]
    fn what_could_not_be_read_again_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut table = Table::default();
        assert_eq!(table.take(&["a".into()], &holder("one"), &[], gone), None);
        let path = Part::Locks.file(dir.path());
        write(&path, &table, true).unwrap();
        let long: LockName = "b".repeat(BYTES_MAX as usize).as_str().into();
        assert_eq!(table.take(&[long], &holder("one"), &[], gone), None);
        write(&path, &table, true).unwrap_err();
        assert_eq!(read(Part::Locks, &path).unwrap().locks.len(), 1, "as it was");
    }

    /// As one in memory knows them, in files of which none has many.
    #[tokio::test]
    async fn who_runs_what_has_no_locks_is_known_to_every_program() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two] = [(); 2].map(|()| LockFile::in_dir(dir.path(), Clock::real()));
        let by = |operation: u64, runner: &str| Holder {
            operation: OperationId(operation),
            runner: Some(runner.to_owned()),
            ..holder("key")
        };
        for operation in 1..=100 {
            assert_eq!(one.take(&[], &by(operation, "first"), &[]).await, Ok(None));
        }
        let key = StoreId("key".into());
        for operation in [1, 50, 100] {
            let of_it = two.holders_of(&key, OperationId(operation)).await.unwrap();
            assert_eq!(of_it, [by(operation, "first")]);
            let held = two.take(&[], &by(operation, "second"), &[]).await.unwrap();
            assert_eq!(held.map(|lock| lock.holder), Some(by(operation, "first")));
        }
        two.let_go(&key, OperationId(50)).await.unwrap();
        assert_eq!(one.holders_of(&key, OperationId(50)).await.unwrap(), []);
        assert_eq!(one.holders_of(&key, OperationId(51)).await.unwrap().len(), 1);
        let (store, here) = (StoreId("store".into()), place_of(&holder("key")));
        two.let_go_of(&store, OperationId(51), &here).await.unwrap();
        assert_eq!(one.holders_of(&key, OperationId(51)).await.unwrap().len(), 1, "it lives");
        two.let_go(&key, OperationId(51)).await.unwrap();
        assert_eq!(one.holders_of(&key, OperationId(51)).await.unwrap(), []);
        assert!(!Part::Locks.file(dir.path()).exists(), "nobody has a lock");
        let files = std::fs::read_dir(dir.path().join(RUNS)).unwrap().flatten();
        let longest = files.map(|file| file.metadata().unwrap().len()).max().unwrap();
        assert!(longest < 10_000, "{longest} bytes in one");
        // What a power cut left of one, which is not synced, keeps nobody from anything.
        let file = Part::of_run(&key, OperationId(51)).file(dir.path());
        for left in ["", "\0\0\0", "{\"locks\""] {
            std::fs::write(&file, left).unwrap();
            assert_eq!(one.holders_of(&key, OperationId(51)).await, Ok(vec![]), "{left:?}");
            two.let_go(&key, OperationId(51)).await.unwrap();
            assert_eq!(one.take(&[], &by(51, "first"), &[]).await, Ok(None), "{left:?}");
            assert_eq!(two.holders_of(&key, OperationId(51)).await.unwrap().len(), 1, "{left:?}");
        }
        // Nor does a file that can't be used, but whoever is to be in it is told so.
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        assert_eq!(one.holders_of(&key, OperationId(51)).await, Ok(vec![]));
        one.let_go(&key, OperationId(51)).await.unwrap();
        one.let_go_of(&store, OperationId(51), &here).await.unwrap();
        one.take(&[], &by(51, "first"), &[]).await.unwrap_err();
        // Nothing is written where a link leads.
        std::fs::remove_dir_all(dir.path().join(RUNS)).unwrap();
        std::os::unix::fs::symlink("/tmp", dir.path().join(RUNS)).unwrap();
        one.take(&[], &by(1, "first"), &[]).await.unwrap_err();
    }

    fn place_of(holder: &Holder) -> Place {
        Place { path: holder.place.clone(), host: holder.host.clone() }
    }

    /// However long they wait for each other: the clock here goes on whenever a task waits for it.
    #[test]
    fn thousands_of_one_program_wait_for_their_turns() {
        let dir = tempfile::tempdir().unwrap();
        let time = stepback_clock::Virtual::new(UnixMs(1));
        let locks = LockFile::in_dir(dir.path(), time.clock());
        time.runtime().unwrap().block_on(async {
            let takes = (0..2_000_u64).map(|number| {
                let locks = locks.clone();
                tokio::spawn(async move {
                    let by = Holder { operation: OperationId(number), ..holder("key") };
                    locks.take(&[], &by, &[]).await
                })
            });
            for take in takes.collect::<Vec<_>>() {
                assert_eq!(take.await.unwrap(), Ok(None));
            }
        });
    }

    #[tokio::test]
    async fn two_programs_see_each_others_locks_and_a_stranger_holds_up_nobody_for_long() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two] = [(); 2].map(|()| LockFile::in_dir(dir.path(), Clock::real()));
        let names: [LockName; 1] = ["a".into()];
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
        let here = place_of(&holder("two"));
        two.let_go_of(&StoreId("store".into()), OperationId(1), &here).await.unwrap();
        assert_eq!(one.held().await.unwrap().len(), 1, "its program lives");
        two.let_go(&StoreId("two".into()), OperationId(1)).await.unwrap();
        let left = Holder { runner: Some("nobody's".to_owned()), ..holder("two") };
        let taken = names.clone();
        let take = move |table: &mut Table| table.take(&taken, &left, &[], |_| true);
        two.turn(Part::Locks, take).await.unwrap();
        let elsewhere = Place { path: Some("/elsewhere".to_owned()), ..here.clone() };
        two.let_go_of(&StoreId("store".into()), OperationId(1), &elsewhere).await.unwrap();
        assert_eq!(one.held().await.unwrap().len(), 1, "it is held from elsewhere");
        two.let_go_of(&StoreId("store".into()), OperationId(1), &here).await.unwrap();
        assert_eq!(one.held().await.unwrap(), []);
        let file = Part::Locks.file(dir.path());
        // Nothing is written through a link, and nobody waits for a pipe.
        let victim = dir.path().join("victim");
        std::fs::write(&victim, "kept").unwrap();
        std::os::unix::fs::symlink(&victim, dir.path().join("locks.json.part")).unwrap();
        assert_eq!(one.take(&names, &holder("one"), &[]).await, Ok(None));
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "kept");
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &file).unwrap();
        one.held().await.unwrap_err();
        std::fs::remove_file(&file).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
        one.held().await.unwrap_err();
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, "odd").unwrap();
        let odd = one.held().await.unwrap_err();
        assert!(odd.message.contains("does not hold locks"), "{odd:?}");
    }
}
