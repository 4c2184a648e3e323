//! The proof that a program lives: a file that it holds locked until it ends, however it ends.
//!
//! The file has the random name of its program, and nobody sees it before it is locked. Whoever
//! asks takes a shared lock for an instant, which is in nobody's way: no program locks a file that
//! others see already.

use super::file::{opened, unusable};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File, TryLockError};
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use stepback_core::{Failure, StoreId};

/// Where the files are, below the world's directory.
const DIR: &str = "locks.alive";
/// What a file is called before it is locked.
const PART: &str = ".part";
/// So many files of others are looked at, to clear away what the dead left.
const SWEPT_MAX: usize = 1_000;

/// The proofs of this program in one world.
#[derive(Clone, Default)]
pub(super) struct Alive {
    shown: Arc<Mutex<BTreeMap<String, Shown>>>,
}

/// One runner's proof, while it holds anything.
struct Shown {
    /// Locked until it is closed.
    _file: File,
    keys: BTreeSet<StoreId>,
}

impl Alive {
    /// Show that a runner lives, which is about to hold locks under this key; gives whether it held
    /// none under it before.
    pub(super) fn show(&self, world: &Path, runner: &str, key: &StoreId) -> Result<bool, Failure> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shown) = shown.get_mut(runner) {
            return Ok(shown.keys.insert(key.clone()));
        }
        let file = show(world, runner).map_err(|e| unusable("made", &world.join(DIR), &e))?;
        let keys = BTreeSet::from([key.clone()]);
        shown.insert(runner.to_owned(), Shown { _file: file, keys });
        Ok(true)
    }

    /// Nothing is held under this key any more.
    pub(super) fn end(&self, world: &Path, key: &StoreId) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        for (runner, of) in shown.iter_mut() {
            if of.keys.remove(key)
                && of.keys.is_empty()
                && let Ok(dir) = directory(world)
            {
                // One that stays shows nothing, as nobody holds it.
                let _ = std::fs::remove_file(inside(&dir, &name_of(runner)));
            }
        }
        shown.retain(|_, of| !of.keys.is_empty());
    }
}

/// Whether the program with this name lives.
pub(super) fn is_alive(world: &Path, runner: &str) -> bool {
    let Ok(dir) = directory(world) else { return false };
    let file = opened(&inside(&dir, &name_of(runner)), File::options().read(true));
    file.is_ok_and(|file| is_locked(&file))
}

fn is_locked(file: &File) -> bool {
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// The directory itself, and no link to another.
fn directory(world: &Path) -> std::io::Result<File> {
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    File::options().read(true).custom_flags(flags).open(world.join(DIR))
}

/// A file in the directory that was opened, whatever its path leads to by now (proc(5)).
fn inside(dir: &File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()))
}

fn name_of(runner: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    runner.chars().map(plain).collect()
}

fn show(world: &Path, runner: &str) -> std::io::Result<File> {
    match DirBuilder::new().mode(0o700).create(world.join(DIR)) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let dir = directory(world)?;
    sweep(&dir);
    let name = name_of(runner);
    let (part, path) = (inside(&dir, &format!("{name}{PART}")), inside(&dir, &name));
    let file = File::options().write(true).create_new(true).mode(0o600).open(&part)?;
    let shown = file.try_lock().map_err(std::io::Error::from);
    match shown.and_then(|()| std::fs::rename(&part, &path)) {
        Ok(()) => Ok(file),
        Err(error) => {
            // It shows nothing.
            let _ = std::fs::remove_file(&part);
            Err(error)
        }
    }
}

/// Remove what programs left that are gone.
fn sweep(dir: &File) {
    let Ok(files) = std::fs::read_dir(inside(dir, "")) else { return };
    for file in files.flatten().take(SWEPT_MAX) {
        let name = file.file_name();
        let Some(name) = name.to_str().filter(|name| !name.ends_with(PART)) else { continue };
        let path = inside(dir, name);
        let is_left = opened(&path, File::options().read(true)).is_ok_and(|file| !is_locked(&file));
        if is_left {
            // Another one may have removed it.
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_is_in_nobodys_way_and_a_link_is_not_followed() {
        let world = tempfile::tempdir().unwrap();
        let (world, key) = (world.path(), StoreId("key".into()));
        let alive = Alive::default();
        assert!(!is_alive(world, "one"));
        assert!(alive.show(world, "one", &key).unwrap());
        assert!(!alive.show(world, "one", &key).unwrap());
        let other = StoreId("other".into());
        assert!(alive.show(world, "one", &other).unwrap());
        // A stranger who holds it shared proves nothing, and takes nothing away.
        let shared = File::open(world.join(DIR).join("one")).unwrap();
        assert!(shared.try_lock_shared().is_err());
        assert!(is_alive(world, "one") && is_alive(world, "one"));
        alive.end(world, &key);
        assert!(is_alive(world, "one"), "it holds another");
        alive.end(world, &other);
        assert!(!is_alive(world, "one"));

        // What one left that was killed is no proof, whoever holds it, and goes with the next.
        std::fs::write(world.join(DIR).join("dead"), "").unwrap();
        let held = File::open(world.join(DIR).join("dead")).unwrap();
        held.try_lock_shared().unwrap();
        assert!(!is_alive(world, "dead"));
        alive.show(world, "two", &key).unwrap();
        assert!(!world.join(DIR).join("dead").exists());
        alive.end(world, &key);

        std::fs::remove_dir_all(world.join(DIR)).unwrap();
        std::fs::create_dir(world.join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(world.join("elsewhere"), world.join(DIR)).unwrap();
        assert!(alive.show(world, "three", &key).is_err());
        assert_eq!(std::fs::read_dir(world.join("elsewhere")).unwrap().count(), 0);
    }
}
