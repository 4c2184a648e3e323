//! Whether what is at a path can have been put there by somebody who is not trusted.
//!
//! Trusted are whoever runs the program, root, and behind `sudo` who called it. Each directory on
//! the way is looked at, and each link: whoever may write to one of them decides what is found.

use crate::acl::lets_others_write;
use crate::who;
use rustix::process::geteuid;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// As many links lead to a file as the kernel follows (path_resolution(7)).
const LINKS_MAX: usize = 40;
/// What the group may write.
pub(crate) const GROUP_WRITES: u32 = 0o020;
/// What everybody may write.
pub(crate) const ALL_WRITE: u32 = 0o002;
/// In a directory with it, only its owner takes a file away (inode(7)).
pub(crate) const STICKY: u32 = 0o1000;

/// Whose files are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted {
    uids: Vec<u32>,
    /// The group that shares the files, where one does.
    group: Option<u32>,
}

/// Why what is at a path is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distrust {
    /// What others decide about: the file, or a directory or link on the way to it.
    pub path: PathBuf,
    /// Its owner, its mode, and what is wrong with them.
    pub why: String,
    /// What to do to that path, as a command, where one mends it.
    pub mend: Option<String>,
    /// Whether it is another user's.
    pub is_anothers: bool,
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path.display(), self.why)
    }
}

impl Trusted {
    /// Whoever runs this program, and root; where that is root, also who called `sudo`.
    pub fn caller() -> Self {
        let euid = geteuid().as_raw();
        let mut uids = vec![euid, 0];
        uids.extend(sudo_uid(euid));
        Self { uids, group: None }
    }

    /// One user, and root.
    pub(crate) fn only(uid: u32) -> Self {
        Self { uids: vec![uid, 0], group: None }
    }

    /// The same, and the members of a group: what has that group may be anybody's of them.
    pub fn with_group(self, group: Option<u32>) -> Self {
        Self { group, ..self }
    }

    fn owns(&self, found: &Metadata) -> bool {
        self.uids.contains(&found.uid()) || self.group == Some(found.gid())
    }

    /// Whether nobody but who is trusted may write it.
    pub(crate) fn alone_may_write(&self, found: &Metadata) -> bool {
        let by_group = found.mode() & GROUP_WRITES != 0;
        let is_trusted =
            |gid| self.group == Some(gid) || self.uids.iter().any(|uid| who::is_private(gid, *uid));
        found.mode() & ALL_WRITE == 0 && (!by_group || is_trusted(found.gid()))
    }

    /// That nobody else can have decided what is at this path, if anything is. In a directory
    /// with the sticky bit somebody else may make it before this user does: ask again then.
    ///
    /// # Errors
    /// The first place on the way that somebody else has a say in, or that can't be looked at.
    pub fn must_decide(&self, path: &Path) -> Result<(), Distrust> {
        let unreadable = |(path, error): (PathBuf, io::Error)| Distrust {
            why: format!("can't be looked at: {error}"),
            mend: Some(format!("ls -ld {}", quoted(&path))),
            is_anothers: false,
            path,
        };
        let (way, is_there) = way(path).map_err(unreadable)?;
        let last = way.len().saturating_sub(1);
        for (at, (path, found)) in way.iter().enumerate() {
            // What is not there yet is made in the last one.
            self.must_be_theirs(path, found, at < last || !is_there)?;
        }
        Ok(())
    }

    fn must_be_theirs(
        &self,
        path: &Path,
        found: &Metadata,
        is_parent: bool,
    ) -> Result<(), Distrust> {
        if !self.owns(found) {
            // Root's is trusted by everybody; given to one user, it would lock out the others.
            let mend = Some(format!("chown root {}", quoted(path)));
            let why = format!("belongs to {}, mode {}", who::user(found.uid()), mode(found));
            return Err(Distrust { path: path.to_owned(), why, mend, is_anothers: true });
        }
        let keeps_files = is_parent && found.mode() & STICKY != 0;
        // Nobody asks for the mode of a link (symlink(7)).
        if found.is_symlink() || keeps_files {
            return Ok(());
        }
        if lets_others_write(path) {
            let why = "may be written by others (its access control list says so)".to_owned();
            let mend = Some(format!("setfacl -b {}", quoted(path)));
            return Err(Distrust { path: path.to_owned(), why, mend, is_anothers: false });
        }
        if self.alone_may_write(found) {
            return Ok(());
        }
        let (who, take) = match found.mode() & ALL_WRITE != 0 {
            true => ("everybody".to_owned(), "go-w"),
            false => (format!("the group {}", who::group(found.gid())), "g-w"),
        };
        let owner = who::user(found.uid());
        let why = format!("may be written by {who} (owner {owner}, mode {})", mode(found));
        // A directory with the sticky bit is everybody's for good.
        let is_meant = found.is_dir() && found.mode() & STICKY != 0;
        let mend = (!is_meant).then(|| format!("chmod {take} {}", quoted(path)));
        Err(Distrust { path: path.to_owned(), why, mend, is_anothers: false })
    }
}

/// Who called `sudo`, where this is root: anybody could set the variable for himself.
pub(crate) fn sudo_uid(euid: u32) -> Option<u32> {
    let named = || std::env::var("SUDO_UID").ok()?.parse().ok();
    if euid == 0 { named() } else { None }
}

/// The group of who called `sudo`, which counts only where [`sudo_uid`] does.
pub(crate) fn sudo_gid() -> Option<u32> {
    std::env::var("SUDO_GID").ok()?.parse().ok()
}

/// The permissions, as `chmod` takes them.
pub(crate) fn mode(found: &Metadata) -> String {
    format!("{:04o}", found.mode() & 0o7777)
}

/// A path in a command to paste.
pub(crate) fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// What is on the way to a path, the root first.
type Way = Vec<(PathBuf, Metadata)>;

/// All that is on the way to a path, the root first, and what is there last. A link is followed
/// by hand, so that the directories on its way count, too. It ends where nothing is, and says so.
fn way(path: &Path) -> Result<(Way, bool), (PathBuf, io::Error)> {
    let whole = std::path::absolute(path).map_err(|error| (path.to_owned(), error))?;
    let mut left: VecDeque<OsString> = parts(&whole).into();
    let mut at = PathBuf::from("/");
    let mut way = vec![(at.clone(), looked_at(&at)?)];
    let mut links = 0;
    while let Some(part) = left.pop_front() {
        if part == ".." {
            at.pop();
            continue;
        }
        at.push(&part);
        let found = match looked_at(&at) {
            Ok(found) => found,
            Err((_, error)) if error.kind() == io::ErrorKind::NotFound => return Ok((way, false)),
            Err(error) => return Err(error),
        };
        let is_link = found.is_symlink();
        way.push((at.clone(), found));
        if is_link {
            links += 1;
            if links > LINKS_MAX {
                return Err((at, io::Error::other("too many links lead on from it")));
            }
            let target = fs::read_link(&at).map_err(|error| (at.clone(), error))?;
            at.pop();
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            parts(&target).into_iter().rev().for_each(|part| left.push_front(part));
        }
    }
    Ok((way, true))
}

fn looked_at(path: &Path) -> Result<Metadata, (PathBuf, io::Error)> {
    fs::symlink_metadata(path).map_err(|error| (path.to_owned(), error))
}

fn parts(path: &Path) -> Vec<OsString> {
    let part = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    /// Nobody has this number.
    const OTHER: u32 = 54_321;

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("in/file");
        fs::create_dir(dir.path().join("in")).unwrap();
        fs::write(&file, "").unwrap();
        set(&file, 0o644);
        set(&dir.path().join("in"), 0o755);
        (dir, file)
    }

    #[test]
    fn what_everybody_may_write_is_not_trusted_nor_what_is_in_it() {
        let (dir, file) = place();
        let us = Trusted::caller();
        us.must_decide(&file).unwrap();
        us.must_decide(&dir.path().join("in/not/there")).unwrap();
        set(&file, 0o666);
        let told = us.must_decide(&file).unwrap_err();
        assert_eq!(told.path, file.canonicalize().unwrap());
        assert!(told.why.contains("everybody") && told.why.contains("0666"), "{told}");
        let mend = told.mend.unwrap();
        assert!(mend.starts_with("chmod go-w '/"), "{mend}");
        set(&file, 0o644);
        let parent = file.parent().unwrap();
        set(parent, 0o777);
        assert_eq!(us.must_decide(&file).unwrap_err().path, parent.canonicalize().unwrap());
        // Its owner alone takes what is there away; but what it holds itself is anybody's.
        set(parent, 0o1777);
        us.must_decide(&file).unwrap();
        us.must_decide(&parent.join("not/there")).unwrap();
        assert_eq!(us.must_decide(parent).unwrap_err().mend, None, "it is so for a reason");
    }

    #[test]
    fn a_link_is_followed_through_every_directory_on_its_way() {
        let (dir, file) = place();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        fs::create_dir(dir.path().join("open")).unwrap();
        symlink("open/../two", &one).unwrap();
        symlink(&file, &two).unwrap();
        let us = Trusted::caller();
        us.must_decide(&one).unwrap();
        set(&dir.path().join("open"), 0o777);
        assert!(us.must_decide(&one).unwrap_err().path.ends_with("open"));
        symlink("loop", dir.path().join("loop")).unwrap();
        us.must_decide(&dir.path().join("loop")).unwrap_err();
    }

    #[test]
    fn what_another_user_has_is_theirs_to_change() {
        let (dir, file) = place();
        if chown(&file, Some(OTHER), Some(OTHER)).is_err() {
            return println!("SKIPPED: only root gives files away");
        }
        let us = Trusted::caller();
        let told = us.must_decide(&file).unwrap_err();
        assert!(told.why.contains("belongs to uid 54321, mode 0644"), "{told}");
        let them = Trusted { uids: vec![OTHER, 0], group: None };
        them.must_decide(&file).unwrap();
        set(&file, 0o664);
        them.must_decide(&file).unwrap();
        chown(&file, None, Some(OTHER + 1)).unwrap();
        assert!(them.must_decide(&file).unwrap_err().why.contains("group gid 54322"));
        let sharing = us.with_group(Some(OTHER + 1));
        sharing.must_decide(&file).unwrap();

        // A file of root's in a directory of theirs is theirs to replace.
        chown(&file, Some(0), Some(0)).unwrap();
        chown(dir.path().join("in"), Some(OTHER), None).unwrap();
        let us = Trusted { uids: vec![0], group: None };
        assert!(us.must_decide(&file).unwrap_err().path.ends_with("in"));
        // A link, as well.
        chown(dir.path().join("in"), Some(0), None).unwrap();
        us.must_decide(&file).unwrap();
        let link = dir.path().join("link");
        symlink(&file, &link).unwrap();
        std::os::unix::fs::lchown(&link, Some(OTHER), None).unwrap();
        assert!(us.must_decide(&link).unwrap_err().path.ends_with("link"));
    }
}
