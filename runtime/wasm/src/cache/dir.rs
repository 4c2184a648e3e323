//! A directory of this user's alone, used by its descriptor.
//!
//! Nothing is reached through its path once it is open, and no link in it is followed: neither a
//! symbolic one nor a second name of a file.

use rustix::fs::{AtFlags, Mode, OFlags, linkat, open, openat, renameat, unlinkat};
use rustix::process::geteuid;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use stepback_files::private::{self, Sharing};
use stepback_files::trust::Trusted;

/// A cache that was there before has one of these; any other directory may be something else's.
const MARKS: &[&str] = &[KEY];
/// What the file of the key is called.
pub(super) const KEY: &str = "key";
/// What others may write, or have to do with a key.
const OTHERS_WRITE: u32 = 0o022;
const OTHERS: u32 = 0o077;
/// Nothing that is kept is larger.
const BYTES_MAX: u64 = 1 << 30;

pub(super) struct Dir {
    opened: File,
}

impl Dir {
    /// Open it, making it where it is not there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let not_ours = |why: &str| io::Error::new(io::ErrorKind::PermissionDenied, why);
        let is_trusted = Trusted::caller().must_decide(path);
        is_trusted.map_err(|why| not_ours(&why.to_string()))?;
        private::dir_for(path, MARKS, Sharing::Alone)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = File::from(open(path, flags, Mode::empty())?);
        // What counts is what was opened, and not what the path led to a moment ago.
        match is_own(&opened.metadata()?, OTHERS_WRITE) {
            true => Ok(Self { opened }),
            false => Err(not_ours("the directory belongs to somebody else")),
        }
    }

    /// A file's bytes, if the file is this user's own and has no other name.
    pub(super) fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.read_if(name, |found| is_own(found, OTHERS_WRITE) && found.nlink() == 1)
    }

    /// The bytes of a file that nobody else may even read.
    pub(super) fn read_secret(&self, name: &str) -> io::Result<Vec<u8>> {
        self.read_if(name, |found| is_own(found, OTHERS))
    }

    fn read_if(&self, name: &str, is_good: impl Fn(&Metadata) -> bool) -> io::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(openat(&self.opened, name, flags, Mode::empty())?);
        let found = file.metadata()?;
        if !found.is_file() || !is_good(&found) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let size = usize::try_from(found.len().min(BYTES_MAX)).unwrap_or_default();
        // One byte more, so that its end is found without asking for more room.
        let mut bytes = Vec::with_capacity(size.saturating_add(1));
        file.take(BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Write a file, which appears whole or not at all, in the place of any other.
    pub(super) fn write(
        &self,
        name: &str,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<()> {
        let part = self.part(write)?;
        let named = renameat(&self.opened, &part, &self.opened, name);
        if named.is_err() {
            self.remove(&part);
        }
        Ok(named?)
    }

    /// The same, but an error where there is one already.
    pub(super) fn write_new(
        &self,
        name: &str,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<()> {
        let part = self.part(write)?;
        let named = linkat(&self.opened, &part, &self.opened, name, AtFlags::empty());
        self.remove(&part);
        named?;
        // Its name is on the disk before anything depends on it.
        self.opened.sync_all()
    }

    /// Take a name away; nothing of it is needed any more.
    pub(super) fn remove(&self, name: &str) {
        // One that stays is of no use to anyone.
        let _ = unlinkat(&self.opened, name, AtFlags::empty());
    }

    /// A file under a name that no other has, whole and on the disk: what a power cut left
    /// half-written must never be found under its final name.
    fn part(&self, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<String> {
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let name = format!("{}.part", hex::encode(random));
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let mut file = File::from(openat(&self.opened, &name, flags, mode)?);
        match write(&mut file).and_then(|()| file.sync_all()) {
            Ok(()) => Ok(name),
            Err(error) => {
                self.remove(&name);
                Err(error)
            }
        }
    }
}

fn is_own(found: &Metadata, nobody_may: u32) -> bool {
    found.uid() == geteuid().as_raw() && found.mode() & nobody_may == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_directory_is_opened_and_no_link_to_one() {
        let place = tempfile::tempdir().unwrap();
        let [cache, link, file] = ["cache", "link", "file"].map(|name| place.path().join(name));
        Dir::open(&cache).map(drop).unwrap();
        std::os::unix::fs::symlink(&cache, &link).unwrap();
        std::fs::write(&file, "").unwrap();
        assert!(Dir::open(&link).is_err() && Dir::open(&file).is_err());
    }
}
