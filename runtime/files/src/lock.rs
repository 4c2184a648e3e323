//! Locks of files (flock(2)), which are waited for until a deadline, and whose holder is named.

use crate::who;
use std::fs::{File, Metadata, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;
use stepback_clock::Clock;

/// How often a lock that somebody has is tried.
pub const LOOK: Duration = Duration::from_millis(5);

/// How long a lock is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// While anybody has it.
    pub with_others: Duration,
    /// While this very program of this user has it, or root's: it may be at work.
    pub with_own: Duration,
}

impl Patience {
    /// The same with everybody.
    pub fn of(limit: Duration) -> Self {
        Self { with_others: limit, with_own: limit }
    }
}

/// Lock a file, and wait so long while somebody else has it.
///
/// This thread waits: what is async tries for itself, and says [`held`].
///
/// # Errors
/// A lock that somebody else still has, with who that is; one that can't be had.
pub fn within(file: &File, path: &Path, clock: &Clock, patience: Patience) -> io::Result<()> {
    let began = clock.now();
    let mut limit = patience.with_others;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => {}
        }
        if clock.now() >= began.after(limit) {
            if limit >= patience.with_own || !holder(file).is_some_and(is_own) {
                return Err(io::Error::new(ErrorKind::TimedOut, held(file, path, limit)));
            }
            limit += patience.with_others.max(LOOK);
        }
        clock.rest(LOOK);
    }
}

/// Whether a process is this program, run by this user or root.
fn is_own(pid: u32) -> bool {
    let program = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/comm")).ok();
    let owner = |pid: &str| std::fs::metadata(format!("/proc/{pid}")).map(|found| found.uid()).ok();
    let pid = pid.to_string();
    let is_ours = owner(&pid).is_some_and(|uid| uid == 0 || Some(uid) == owner("self"));
    is_ours && program(&pid).is_some() && program(&pid) == program("self")
}

/// That somebody else has had a file locked for so long: who, and what to do.
pub fn held(file: &File, path: &Path, limit: Duration) -> String {
    let by = holder(file).map_or_else(|| "another program".to_owned(), told);
    format!("{} has been locked by {by} for {} ms: end that one", path.display(), limit.as_millis())
}

/// The process that has a file locked, where the kernel tells (proc(5), */proc/locks*).
pub fn holder(file: &File) -> Option<u32> {
    let found = file.metadata().ok()?;
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let (mut all, device) = (holders(&locks, found.ino()), device(found.dev()));
    // The files of some file systems (btrfs, overlayfs) have another device than these lines.
    all.find(|(pid, at)| *at == device || has_open(*pid, &found)).map(|(pid, _)| pid)
}

/// Who has a lock of this kind on a file with this inode, and the device of that file.
fn holders(locks: &str, inode: u64) -> impl Iterator<Item = (u32, &str)> {
    let inode = inode.to_string();
    locks.lines().filter_map(move |line| {
        let mut fields = line.split_whitespace();
        // Whoever waits for one has `->` here.
        let is_held = fields.nth(1) == Some("FLOCK");
        let (pid, at) = (fields.nth(2)?, fields.next()?);
        let (device, at) = at.rsplit_once(':')?;
        // One that is not of this view of the machine's processes has none that can be told.
        Some((pid.parse().ok()?, device)).filter(|_| is_held && at == inode)
    })
}

/// A device as the kernel's lists have it.
fn device(dev: u64) -> String {
    format!("{:02x}:{:02x}", libc::major(dev), libc::minor(dev))
}

/// Whether a process has a file open, as far as this one may look.
fn has_open(pid: u32, file: &Metadata) -> bool {
    let all = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut open = all.filter_map(|fd| std::fs::metadata(fd.path()).ok());
    open.any(|open| (open.dev(), open.ino()) == (file.dev(), file.ino()))
}

/// A process as a person finds it: its number, what runs in it, and whose it is.
fn told(pid: u32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let owner = std::fs::metadata(format!("/proc/{pid}")).map(|found| who::user(found.uid()));
    match (name.trim(), owner) {
        (_, Err(_)) => format!("process {pid}"),
        ("", Ok(owner)) => format!("process {pid} of {owner}"),
        (name, Ok(owner)) => format!("process {pid} (`{}`) of {owner}", name.escape_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_never_let_go_is_waited_for_until_the_deadline() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let (one, clock) = (File::create(&path).unwrap(), Clock::real());
        within(&one, &path, &clock, Patience::of(Duration::ZERO)).unwrap();
        let two = File::open(&path).unwrap();
        let short = Duration::from_millis(20);
        let told = within(&two, &path, &clock, Patience::of(short)).unwrap_err();
        assert_eq!(told.kind(), ErrorKind::TimedOut);
        let own = format!("process {} (`", std::process::id());
        assert!(told.to_string().contains(&own), "{told}");
        drop(one);
        within(&two, &path, &clock, Patience::of(Duration::ZERO)).unwrap();
    }
    /// Whoever has another file's lock, or one of another kind, is a stranger.
    #[test]
    fn only_who_has_this_very_lock_is_named() {
        let locks = "\
            1: POSIX  ADVISORY  WRITE 11 08:02:77 0 EOF\n\
            2: OFDLCK ADVISORY  READ -1 08:02:77 0 EOF\n\
            3: FLOCK  ADVISORY  WRITE 13 08:02:177 0 EOF\n\
            4: FLOCK  ADVISORY  WRITE 14 00:1f:77 0 EOF\n\
            5: FLOCK  ADVISORY  WRITE 15 08:02:77 0 EOF\n\
            5: -> FLOCK  ADVISORY  WRITE 16 08:02:77 0 EOF\n";
        assert_eq!(holders(locks, 77).collect::<Vec<_>>(), [(14, "00:1f"), (15, "08:02")]);
        assert_eq!(device(libc::makedev(8, 2)), "08:02");
        assert_eq!(device(libc::makedev(0, 0x1f)), "00:1f");

        // What this process has open is told from what it has not, whatever the device is called.
        let dir = tempfile::tempdir().unwrap();
        let open = File::create(dir.path().join("open")).unwrap();
        std::fs::write(dir.path().join("closed"), "").unwrap();
        let closed = std::fs::metadata(dir.path().join("closed")).unwrap();
        let own = std::process::id();
        assert!(has_open(own, &open.metadata().unwrap()) && !has_open(own, &closed));
    }
}
