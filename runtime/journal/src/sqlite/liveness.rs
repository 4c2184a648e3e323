//! Proof that a runner lives: a lock on a file of its own, which the system drops when it dies.
//!
//! A process that is killed can't give its leases back. Its lock goes with it, so whoever wants an
//! operation of its can tell, at once and without a clock, that nobody runs it any more. This
//! holds on one machine, which is where a SQLite store is.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use stepback_clock::Clock;
use stepback_files::lock::{self, Patience};
use stepback_files::private::{self, Looked};

/// The directory with the files of runners, in a store's own; it stays when they have ended.
pub(super) const RUNNERS: &str = "runners";

/// Whoever asks whether a runner lives has its lock for an instant.
const LOCKED_MAX: Duration = Duration::from_secs(5);

/// The runners of one store's directory.
pub(crate) struct Liveness {
    dir: PathBuf,
    /// The locks of this process's own runners, held until it ends.
    held: Mutex<HashMap<String, File>>,
    clock: Clock,
}

impl Liveness {
    pub(crate) fn new(store_dir: &Path, clock: Clock) -> Self {
        Self { dir: store_dir.join(RUNNERS), held: Mutex::default(), clock }
    }

    fn path(&self, runner: &str) -> PathBuf {
        // A runner's name is its own choice; only a plain one is a file's name.
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        self.dir.join(format!("{}.lock", runner.chars().map(plain).collect::<String>()))
    }

    /// Show that this process's runner lives, from here on until the process ends.
    pub(crate) fn hold(&self, runner: &str) -> io::Result<()> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.contains_key(runner) {
            return Ok(());
        }
        private::dir(&self.dir, &[])?;
        let path = self.path(runner);
        let file = private::open_or_make(&path)?;
        lock::within(&file, &path, &self.clock, Patience::of(LOCKED_MAX))?;
        held.insert(runner.to_owned(), file);
        Ok(())
    }

    /// Whether the runner certainly lives, and was let in here.
    pub(crate) fn is_shown(&self, runner: &str) -> bool {
        let found = Looked::open(&self.path(runner), File::options().read(true));
        let is_locked =
            |found: Looked| matches!(found.file.try_lock_shared(), Err(TryLockError::WouldBlock));
        found.is_ok_and(is_locked)
    }

    /// Whether the runner is certainly gone.
    pub(crate) fn is_dead(&self, runner: &str) -> bool {
        let found = match Looked::open(&self.path(runner), File::options().write(true)) {
            Ok(found) => found,
            // A runner's file is made before its first lease, and removed only by who saw it dead.
            Err(error) => return error.kind() == io::ErrorKind::NotFound,
        };
        match found.file.try_lock() {
            Ok(()) => {
                // Nobody needs the file of a dead runner; if it stays, it is found dead again.
                let _ = found.remove();
                true
            }
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => false,
        }
    }
}

impl Drop for Liveness {
    /// A runner that ends well leaves no file behind.
    fn drop(&mut self) {
        let held = self.held.get_mut().unwrap_or_else(PoisonError::into_inner);
        for runner in std::mem::take(held).into_keys() {
            let _ = std::fs::remove_file(self.path(&runner));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runner_lives_until_its_lock_is_gone() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let of = |dir: &Path| Liveness::new(dir, Clock::real());
        let (mine, theirs) = (of(dir.path()), of(dir.path()));
        mine.hold("1-a").expect("it can be held");
        mine.hold("1-a").expect("it is held already");
        assert!(!theirs.is_dead("1-a") && theirs.is_shown("1-a"));
        // What a killed process leaves: the file, and no lock on it.
        std::fs::write(theirs.path("2-b"), "").expect("a file");
        assert!(!theirs.is_shown("2-b") && !theirs.is_shown("never-there"));
        assert!(theirs.is_dead("2-b"));
        assert!(theirs.is_dead("never-there"));
        drop(mine);
        assert!(theirs.is_dead("1-a"));
    }

    /// A member of the group that shares the directory can put anything there.
    #[test]
    fn what_is_no_runners_file_is_not_waited_for_nor_removed() {
        let place = tempfile::TempDir::new().expect("a directory");
        let store = Liveness::new(place.path(), Clock::real());
        store.hold("1-a").expect("it can be held");
        let fifo = store.path("2-b");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        assert!(made.expect("mkfifo(1)").success());
        // It would wait for a reader, and for a writer, without end.
        assert!(!store.is_dead("2-b") && !store.is_shown("2-b") && store.hold("2-b").is_err());
        assert!(fifo.exists());

        let elsewhere = tempfile::TempDir::new().expect("a directory");
        let victim = elsewhere.path().join("3-c.lock");
        std::fs::write(&victim, "").expect("a file");
        std::os::unix::fs::symlink(&victim, store.path("3-c")).expect("a link");
        assert!(!store.is_dead("3-c"));
        std::fs::remove_dir_all(&store.dir).expect("a directory");
        // A directory of everybody's is no place for a link that is followed.
        let all = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(place.path(), all).expect("its mode can be set");
        std::os::unix::fs::symlink(elsewhere.path(), &store.dir).expect("a link");
        assert!(!store.is_dead("3-c") && victim.exists());
        assert!(store.hold("4-d").is_err());
    }
}
