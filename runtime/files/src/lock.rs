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
    holder_of(&locks, (found.dev(), found.ino()), |pid| has_open(pid, &found))
}

/// Who has a lock of this kind on the file with this device and inode.
fn holder_of(locks: &str, (dev, inode): (u64, u64), has_open: impl Fn(u32) -> bool) -> Option<u32> {
    let (device, inode) = (device(dev), inode.to_string());
    let mut holders = locks.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        // Whoever waits for one has `->` here.
        let is_held = fields.nth(1) == Some("FLOCK");
        let (pid, at) = (fields.nth(2)?, fields.next()?);
        let (on, at) = at.rsplit_once(':')?;
        // One that is not of this view of the machine's processes has none that can be told.
        Some((pid.parse().ok()?, on)).filter(|_| is_held && at == inode)
    });
    // The files of some file systems (btrfs, overlayfs) have another device than these lines.
    holders.find(|(pid, on)| *on == device || has_open(*pid)).map(|(pid, _)| pid)
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
        let of = |at: (u64, u64), open: &[u32]| holder_of(locks, at, |pid| open.contains(&pid));
        let (disk, other) = (libc::makedev(8, 2), libc::makedev(8, 3));
        assert_eq!(of((disk, 77), &[]), Some(15));
        assert_eq!(of((libc::makedev(0, 0x1f), 77), &[]), Some(14));
        assert_eq!(of((other, 77), &[11, 13, 16]), None);
        assert_eq!(of((other, 77), &[14]), Some(14), "it has the very file open");

        // What this process has open is told from what it has not, whatever the device is called.
        let dir = tempfile::tempdir().unwrap();
        let open = File::create(dir.path().join("open")).unwrap();
        std::fs::write(dir.path().join("closed"), "").unwrap();
        let closed = std::fs::metadata(dir.path().join("closed")).unwrap();
        let own = std::process::id();
        assert!(has_open(own, &open.metadata().unwrap()) && !has_open(own, &closed));
    }
}
