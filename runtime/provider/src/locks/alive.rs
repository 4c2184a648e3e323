//! The proof that a program lives: a file that it holds locked until it ends, however it ends.
//!
//! The file has the random name of its program, and nobody sees it before it is locked. Whoever
//! asks takes a shared lock for an instant, which is in nobody's way: no program locks a file that
//! others see already.

use super::open::{make, opened, unusable};
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use stepback_core::Failure;
use stepback_files::private;

/// Where the files are, below the world's directory.
const DIR: &str = "locks.alive";
/// What a file is called before it is locked.
const PART: &str = ".part";
/// Nobody takes so long to lock one.
const PART_AGE_MAX: Duration = Duration::from_secs(3600);
/// So many files of others are looked at, to clear away what the dead left.
const SWEPT_MAX: usize = 1_000;

/// The proofs of this program in one world, until it ends.
#[derive(Clone, Default)]
pub(super) struct Alive {
    shown: Arc<Mutex<Shown>>,
}

/// By runner: the directory, and the file that is locked until it is closed.
#[derive(Default)]
struct Shown(BTreeMap<String, (File, File)>);

impl Alive {
    /// Show that a runner lives, from before it holds anything until its program ends: whoever
    /// waits, and whoever is between two operations, lives as well.
    pub(super) fn show(&self, world: &Path, runner: &str) -> Result<(), Failure> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if !shown.0.contains_key(runner) {
            let proof = show(world, runner).map_err(|e| unusable("made", &world.join(DIR), &e))?;
            shown.0.insert(runner.to_owned(), proof);
        }
        Ok(())
    }
}

impl Drop for Shown {
    /// A program that ends well leaves nothing behind.
    fn drop(&mut self) {
        for (runner, (dir, _)) in &self.0 {
            // One that stays shows nothing, as nobody holds it.
            let _ = std::fs::remove_file(inside(dir, &name_of(runner)));
        }
    }
}

/// Whether the program with this name lives.
pub(super) fn is_alive(world: &Path, runner: &str) -> bool {
    let look = || opened(&inside(&directory(world)?, &name_of(runner)), File::options().read(true));
    match look() {
        Ok(file) => is_locked(&file),
        // What can't be told is not gone.
        Err(error) => error.kind() != ErrorKind::NotFound,
    }
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

fn show(world: &Path, runner: &str) -> std::io::Result<(File, File)> {
    let made = world.join(DIR);
    if !made.is_symlink() {
        private::dir(&made, &[])?;
    }
    let dir = directory(world)?;
    sweep(&dir);
    let name = name_of(runner);
    let (part, path) = (inside(&dir, &format!("{name}{PART}")), inside(&dir, &name));
    let file = make(&part)?;
    let shown = file.try_lock().map_err(std::io::Error::from);
    match shown.and_then(|()| std::fs::rename(&part, &path)) {
        Ok(()) => Ok((dir, file)),
        Err(error) => {
            // It shows nothing.
            let _ = std::fs::remove_file(&part);
            Err(error)
        }
    }
}

fn is_old(file: &File) -> bool {
    let age = file.metadata().and_then(|found| found.modified()).map(|at| at.elapsed());
    age.is_ok_and(|age| age.is_ok_and(|age| age > PART_AGE_MAX))
}

/// Remove what programs left that are gone.
fn sweep(dir: &File) {
    let Ok(files) = std::fs::read_dir(inside(dir, "")) else { return };
    for file in files.flatten().take(SWEPT_MAX) {
        let name = file.file_name();
        let Some(name) = name.to_str() else { continue };
        let path = inside(dir, name);
        let look = opened(&path, File::options().read(true));
        let is_left = match name.ends_with(PART) {
            // It is locked in a moment, or never.
            true => look.is_ok_and(|file| is_old(&file)),
            // A name is used once, so what is removed is what was looked at.
            false => look.is_ok_and(|file| !is_locked(&file)),
        };
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
        let (world, alive) = (world.path(), Alive::default());
        assert!(!is_alive(world, "one"));
        alive.show(world, "one").unwrap();
        alive.show(world, "one").unwrap();
        // A stranger who holds it shared proves nothing, and takes nothing away.
        let shared = File::open(world.join(DIR).join("one")).unwrap();
        assert!(shared.try_lock_shared().is_err());
        assert!(is_alive(world, "one") && is_alive(world, "one"));
        drop(alive);
        assert!(!is_alive(world, "one"));
        assert_eq!(std::fs::read_dir(world.join(DIR)).unwrap().count(), 0);

        // What one left that was killed is no proof, whoever holds it, and goes with the next.
        std::fs::write(world.join(DIR).join("dead"), "").unwrap();
        let held = File::open(world.join(DIR).join("dead")).unwrap();
        held.try_lock_shared().unwrap();
        assert!(!is_alive(world, "dead"));
        let alive = Alive::default();
        alive.show(world, "two").unwrap();
        assert!(!world.join(DIR).join("dead").exists());
        drop(alive);

        std::fs::remove_dir_all(world.join(DIR)).unwrap();
        std::fs::create_dir(world.join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(world.join("elsewhere"), world.join(DIR)).unwrap();
        assert!(Alive::default().show(world, "three").is_err());
        assert!(is_alive(world, "three"), "what can't be told is not gone");
        assert_eq!(std::fs::read_dir(world.join("elsewhere")).unwrap().count(), 0);
    }
}
