//! Directories and files for their owner alone: 0700 and 0600, whatever the umask.
//!
//! A group shares them where their directory says so: one with the set-group-ID bit that the group
//! may write to is 2770, and what is made in it is 0770 and 0660 and has its group. A file that is
//! there already is tightened, or refused where others may write it and this user can't change
//! that; it is never given to anybody, because a member of the group may have put a file there that
//! is not to be theirs. What root makes behind `sudo` in a directory of who called it is that
//! user's. Below the top of what is kept no link is followed that somebody else can have put there:
//! root would give away what it leads to.

mod making;

pub use making::make;

use crate::acl::lets_others_write;
use crate::trust::{STICKY, Trusted, mode, quoted, sudo_gid, sudo_uid};
use crate::who;
use rustix::process::geteuid;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// A directory whose files have its group (inode(7), *set-group-ID*).
const SET_GROUP: u32 = 0o2000;
/// All that a mode says of who may do what.
const PERMISSIONS: u32 = 0o777;
/// Those, and the bits that change whose a program runs as.
const ALL_BITS: u32 = 0o7777;

/// For whom files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Their owner.
    Alone,
    /// The members of a group, too.
    Group(u32),
}

impl Sharing {
    /// For whom what is made in a directory is.
    ///
    /// # Errors
    /// A directory that can't be looked at.
    pub fn of(dir: &Path) -> io::Result<Self> {
        let found = fs::metadata(dir)?;
        Ok(match found.mode() & (SET_GROUP | PERMISSIONS) == Self::Group(0).dir_mode() {
            true => Self::Group(found.gid()),
            false => Self::Alone,
        })
    }

    /// The group that shares.
    pub fn group(self) -> Option<u32> {
        match self {
            Self::Alone => None,
            Self::Group(group) => Some(group),
        }
    }

    fn dir_mode(self) -> u32 {
        match self {
            Self::Alone => 0o700,
            Self::Group(_) => SET_GROUP | 0o770,
        }
    }

    fn file_mode(self) -> u32 {
        match self {
            Self::Alone => 0o600,
            Self::Group(_) => 0o660,
        }
    }
}

/// Make a directory that is shared as the one it is in, with those above it that are not there.
///
/// `marks` are names of which a directory that is used for this has one: it is tightened where it
/// has one, or nothing at all. Any other is left as it is, and refused where others may write it:
/// it may be something else's.
///
/// # Errors
/// One that can't be made, or that others may write to, with what to do.
pub fn dir(dir: &Path, marks: &[&str]) -> io::Result<()> {
    let sharing = as_above(dir)?;
    make_missing(dir, sharing)?;
    tighten_dir(dir, dir, &opened_below(dir, dir)?, marks, sharing)
}

fn as_above(dir: &Path) -> io::Result<Sharing> {
    let whole = std::path::absolute(dir)?;
    let mut above = whole.ancestors().skip(1);
    let there = above.find(|above| above.is_dir());
    there.map_or(Ok(Sharing::Alone), Sharing::of)
}

/// The same of a directory that is the top of what is kept, which may be a link: one that a group
/// shares already stays as it is, because whoever knows for whom it is has made it so.
///
/// # Errors
/// Those of [`dir`].
pub fn top(dir: &Path, marks: &[&str]) -> io::Result<()> {
    match Sharing::of(dir) {
        Ok(Sharing::Group(_)) => Ok(()),
        Ok(Sharing::Alone) | Err(_) => dir_for(dir, marks, as_above(dir)?),
    }
}

/// The same of the top, shared as is said.
///
/// # Errors
/// Those of [`dir`], and a group that this user is not in.
pub fn dir_for(dir: &Path, marks: &[&str], sharing: Sharing) -> io::Result<()> {
    make_missing(dir, sharing)?;
    tighten_dir(dir, dir, &opened_top(dir)?, marks, sharing)
}

/// Make directories below the top, each in the one before, shared as is said; all are nothing but
/// its own. Each is reached from the one before, whatever its path leads to meanwhile.
///
/// # Errors
/// Those of [`dir_for`], and a link that somebody else can have put there.
pub fn dirs_below(top: &Path, names: &[&str], sharing: Sharing) -> io::Result<()> {
    let (mut above, mut shown) = (opened_top(top)?, top.to_owned());
    for name in names {
        shown.push(name);
        let at = inside(&above, name);
        match DirBuilder::new().mode(0o700).create(&at) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let opened = opened_below(&at, &shown)?;
        tighten_dir(&at, &shown, &opened, &["."], sharing)?;
        above = opened;
    }
    Ok(())
}

fn make_missing(dir: &Path, sharing: Sharing) -> io::Result<()> {
    let mut missing = vec![];
    for above in dir.ancestors().filter(|above| !above.as_os_str().is_empty()) {
        match fs::metadata(above) {
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::NotFound => missing.push(above),
            Err(error) => return Err(error),
        }
    }
    for above in missing.into_iter().rev() {
        match DirBuilder::new().mode(0o700).create(above) {
            Ok(()) => give(&opened_dir(above)?, above, heir(above), sharing)?,
            // Another program has made it meanwhile.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// `at` is how it was reached, and `shown` how a person knows it.
fn tighten_dir(
    at: &Path,
    shown: &Path,
    dir: &File,
    marks: &[&str],
    sharing: Sharing,
) -> io::Result<()> {
    let found = dir.metadata()?;
    let is_marked = || {
        // One that can't be listed may have anything in it.
        let is_empty = || fs::read_dir(at).is_ok_and(|mut all| all.next().is_none());
        marks.iter().any(|mark| at.join(mark).exists()) || is_empty()
    };
    if is_tight(&found, sharing, sharing.dir_mode()) && !is_for_sudo(&found, at) {
        return Ok(());
    }
    if may_change(&found) && found.mode() & STICKY == 0 && is_marked() {
        return give(dir, shown, heir(at), sharing);
    }
    must_not_be_written_by_others(shown, &found, sharing)
}

/// Open a file that is there, and private from now on. It is no link, and no pipe whose other end
/// never comes.
///
/// # Errors
/// Those of opening it; one that others may write, with what to do.
pub fn open(path: &Path, how: &mut OpenOptions) -> io::Result<File> {
    let (_above, at) = reached(path)?;
    let file = how.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&at)?;
    tighten_file(&at, path, &file)?;
    Ok(file)
}

/// Open a private file to write to it, made where it is not there.
///
/// # Errors
/// Those of [`open`] and [`make`].
pub fn open_or_make(path: &Path) -> io::Result<File> {
    loop {
        match make(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => return made,
        }
        match open(path, File::options().write(true)) {
            // Somebody has removed it meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            opened => return opened,
        }
    }
}

/// A file below the top that is only looked at, and left as it is.
pub struct Looked {
    /// The file, opened.
    pub file: File,
    at: PathBuf,
    _above: File,
}

impl Looked {
    /// Open it; it is no link, no pipe, and in no directory that somebody else has put a link for.
    ///
    /// # Errors
    /// Those of opening it.
    pub fn open(path: &Path, how: &mut OpenOptions) -> io::Result<Self> {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::from(ErrorKind::NotFound));
        };
        let above = opened_below(dir, dir)?;
        let at = inside(&above, name);
        let file = how.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&at)?;
        match file.metadata()?.is_file() {
            true => Ok(Self { file, at, _above: above }),
            false => Err(io::Error::other("it is no file")),
        }
    }

    /// Remove what has its name, in the directory where it was found.
    ///
    /// # Errors
    /// It can't be removed.
    pub fn remove(&self) -> io::Result<()> {
        fs::remove_file(&self.at)
    }
}

/// Make a file anew that is private; what a crash left there, or somebody put there, is not
/// written through.
///
/// # Errors
/// What is there can't be removed, or the file can't be made.
pub fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    make(path)
}

/// Tighten a file, if it is there. It is not opened for that: whoever closes a file lets go of all
/// locks that this process has on it (fcntl(2), *Record locks*).
///
/// # Errors
/// Those of [`open`], but for one that is not there, or not readable.
pub fn tighten(path: &Path) -> io::Result<()> {
    let flags = libc::O_PATH | libc::O_NOFOLLOW;
    let opened = reached(path).and_then(|(above, at)| {
        let file = File::options().read(true).custom_flags(flags).open(&at)?;
        Ok((above, at, file))
    });
    match opened {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok((_above, at, file)) => tighten_file(&at, path, &file),
    }
}

fn tighten_file(at: &Path, shown: &Path, file: &File) -> io::Result<()> {
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let sharing = sharing_at(at)?;
    // Of another group's file nothing is for this one.
    let is_of_group = sharing.group().is_some_and(|group| group == found.gid());
    let most = if is_of_group { sharing.file_mode() } else { Sharing::Alone.file_mode() };
    match found.mode() & ALL_BITS & !most {
        0 => Ok(()),
        _ if may_change(&found) => set_mode(file, shown, found.mode() & most, sharing),
        _ => must_not_be_written_by_others(shown, &found, sharing),
    }
}

/// For whom a file is by its directory.
fn sharing_at(at: &Path) -> io::Result<Sharing> {
    at.parent().map_or(Ok(Sharing::Alone), Sharing::of)
}

/// Refuse a file that others than its owner and a group may read, or that others may write.
///
/// # Errors
/// Such a file, or what is no file, with what to do.
pub fn must_be_kept(path: &Path, file: &File) -> io::Result<()> {
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    if found.mode() & 0o004 != 0 {
        let why = format!("everybody may read it: `chmod o-r {}`", quoted(path));
        return Err(io::Error::new(ErrorKind::PermissionDenied, why));
    }
    must_not_be_written_by_others(path, &found, Sharing::Alone)
}

/// What has this name in a directory that is open.
fn inside(dir: &File, name: impl AsRef<Path>) -> PathBuf {
    by_descriptor(dir).join(name)
}

/// What is open, whatever its path leads to by now (proc(5)).
fn by_descriptor(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// The directory of a path, and the path by it, as long as the directory is open.
fn reached(path: &Path) -> io::Result<(File, PathBuf)> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(ErrorKind::NotFound));
    };
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let above = File::options().read(true).custom_flags(flags).open(dir)?;
    let at = inside(&above, name);
    Ok((above, at))
}

fn opened_top(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(libc::O_DIRECTORY).open(path)
}

/// A directory below the top: no link, or one that nobody else can have put there.
fn opened_below(at: &Path, shown: &Path) -> io::Result<File> {
    match fs::symlink_metadata(at)?.is_symlink() {
        true => must_be_own_link(shown).and_then(|()| opened_top(shown)),
        false => opened_dir(at),
    }
}

fn must_be_own_link(link: &Path) -> io::Result<()> {
    let (found, target) = (fs::symlink_metadata(link)?, fs::metadata(link)?);
    let (euid, owner) = (geteuid().as_raw(), found.uid());
    let is_callers = owner == euid || sudo_uid(euid) == Some(owner);
    if is_callers && target.uid() == owner && Trusted::only(owner).must_decide(link).is_ok() {
        return Ok(());
    }
    let why = format!(
        "{} is a link of {} to a directory of {}, and it is followed only where both are yours and \
         nobody else may write what they are in: put the directory itself in its place (`rm {}`)",
        link.display(),
        who::user(owner),
        who::user(target.uid()),
        quoted(link),
    );
    Err(io::Error::new(ErrorKind::PermissionDenied, why))
}

fn opened_dir(path: &Path) -> io::Result<File> {
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    File::options().read(true).custom_flags(flags).open(path)
}

fn is_tight(found: &Metadata, sharing: Sharing, mode: u32) -> bool {
    let has_group = sharing.group().is_none_or(|group| group == found.gid());
    found.mode() & (SET_GROUP | PERMISSIONS) == mode && has_group
}

fn may_change(found: &Metadata) -> bool {
    let euid = geteuid().as_raw();
    found.uid() == euid || euid == 0
}

/// Whether root has made it where who called `sudo` keeps files.
fn is_for_sudo(found: &Metadata, path: &Path) -> bool {
    heir(path).is_some_and(|(owner, _)| found.uid() == 0 && owner != 0)
}

/// Whose a file of root's is to be, and of which group: who called `sudo`, in a directory of that
/// user.
fn heir(path: &Path) -> Option<(u32, u32)> {
    let sudo = sudo_uid(geteuid().as_raw())?;
    let above = path.parent()?;
    // One that is named by itself is in the working directory.
    let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
    let parent = fs::metadata(above).ok()?;
    (parent.uid() == sudo).then(|| (sudo, sudo_gid().unwrap_or(parent.gid())))
}

/// Give a file that root has made by a path of its own to who called `sudo`, in a directory of
/// that user; its mode stays as it is.
///
/// # Errors
/// It can't be given away.
pub fn give_to_sudo(file: &File, path: &Path) -> io::Result<()> {
    let (_above, at) = reached(path)?;
    match heir(&at) {
        None => Ok(()),
        Some((owner, group)) => std::os::unix::fs::fchown(file, Some(owner), Some(group)),
    }
}

fn give(file: &File, path: &Path, heir: Option<(u32, u32)>, sharing: Sharing) -> io::Result<()> {
    let found = file.metadata()?;
    let heir = heir.filter(|_| found.uid() == geteuid().as_raw());
    let owner = heir.map(|(owner, _)| owner);
    let group = sharing.group().or(heir.map(|(_, group)| group));
    let group = group.filter(|group| *group != found.gid());
    if owner.is_some() || group.is_some() {
        chown(by_descriptor(file), owner, group).map_err(|error| {
            let why =
                format!("{} can't be given to {}: {error}", path.display(), whom(owner, group));
            io::Error::new(error.kind(), why)
        })?;
    }
    let mode = match found.is_dir() {
        true => sharing.dir_mode(),
        false => sharing.file_mode(),
    };
    set_mode(file, path, mode, sharing)
}

fn set_mode(file: &File, path: &Path, mode: u32, sharing: Sharing) -> io::Result<()> {
    match fs::set_permissions(by_descriptor(file), Permissions::from_mode(mode)) {
        // Nothing is made there, and whoever may not write it can't.
        Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => {
            must_not_be_written_by_others(path, &file.metadata()?, sharing)
        }
        done => done,
    }
}

/// Whom something is given to.
fn whom(owner: Option<u32>, group: Option<u32>) -> String {
    let both = [owner.map(who::user), group.map(who::group)];
    both.into_iter().flatten().collect::<Vec<_>>().join(" and ")
}

fn must_not_be_written_by_others(
    path: &Path,
    found: &Metadata,
    sharing: Sharing,
) -> io::Result<()> {
    let caller = Trusted::caller().with_group(sharing.group());
    if caller.alone_may_write(found) && !lets_others_write(path) {
        return Ok(());
    }
    let why = format!(
        "others may write to {} (owner {}, mode {}): give it to its owner alone, `chmod go-w {}`, \
         or choose another place",
        path.display(),
        who::user(found.uid()),
        mode(found),
        quoted(path),
    );
    Err(io::Error::new(ErrorKind::PermissionDenied, why))
}

#[cfg(test)]
mod tests;
