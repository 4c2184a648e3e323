//! Whose configuration is obeyed, and whose directories are used.
//!
//! What was found (a `stepback.toml` upwards from here, the state directory beside it, a onebox's
//! `root`) must be this user's, root's, or that of who called `sudo`, and nobody else may write it
//! or a directory on the way. What somebody named (`--config`, `--state` and their variables) is
//! that person's own choice.

use crate::error::CliError;
use crate::shown::Shown;
use nix::errno::Errno;
use nix::unistd::Group;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use stepback_files::private::{self, Sharing};
use stepback_files::trust::{Distrust, Trusted};
use stepback_files::who;

/// How a path came to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    Found,
    Named,
}

/// That a configuration may be obeyed.
pub fn must_be_obeyed(path: &Path, choice: Choice) -> Result<(), CliError> {
    if choice == Choice::Named {
        warn_of_everybody(path);
        return Ok(());
    }
    let shown = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    Trusted::caller().must_decide(&shown).map_err(|why| {
        let message = shown!("{} is not obeyed: {}", shown.display(), why);
        let help = shown!(
            "{}if you trust whoever may write there, name the file: `--config {}`; \
             `--config /dev/null --state DIR` is none",
            mended_by(&why),
            shown.display()
        );
        CliError::usage(message, help)
    })
}

fn mended_by(why: &Distrust) -> Shown {
    let mend = why.mend.as_ref().map(|mend| shown!("mend that (`{}`), or ", mend));
    mend.unwrap_or_default()
}

/// The same of a file beside it, which was found or named with it; why not, in words.
pub fn neighbour_must_be_obeyed(path: &Path, choice: Choice) -> Result<(), String> {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match choice {
        Choice::Named => Ok(()),
        Choice::Found => Trusted::caller()
            .must_decide(&whole)
            .map_err(|why| format!("{} is not obeyed: {why}", whole.display())),
    }
}

/// What anybody on the machine may change should not go unsaid, though it was chosen.
fn warn_of_everybody(path: &Path) {
    const ALL_WRITE: u32 = 0o002;
    if let Ok(found) = std::fs::metadata(path)
        && found.is_file()
        && found.mode() & ALL_WRITE != 0
    {
        let mode = format!("{:04o}", found.mode() & 0o7777);
        tell!("warning: everybody may write {} (mode {}): `chmod o-w` it", path.display(), mode);
    }
}

/// A directory that is kept for this user alone, or shared with a group: checked, made where it
/// is not there, and tightened.
pub struct Kept<'a> {
    /// Where it is.
    pub dir: &'a Path,
    /// How it came to be used.
    pub choice: Choice,
    /// For whom it is.
    pub sharing: Sharing,
    /// How another one is chosen.
    pub elsewhere: &'static str,
}

impl Kept<'_> {
    /// Make sure of it; `marks` are names of which one is in it if it is used already.
    pub fn make_sure(&self, marks: &[&str]) -> Result<(), CliError> {
        let shown = self.dir.display();
        self.must_be_theirs()?;
        private::dir_for(self.dir, marks, self.sharing).map_err(|error| {
            let elsewhere = Shown::from(self.elsewhere);
            match error.raw_os_error() {
                // The kernel has said no more than that.
                Some(code) if code == Errno::EACCES as i32 => {
                    let message = shown!("{} can't be used: {}{}", shown, error, whose(self.dir));
                    CliError::usage(message, shown!("{}, or {}", AS_ITS_OWNER, elsewhere))
                }
                _ => CliError::usage(shown!("{} can't be used: {}", shown, error), elsewhere),
            }
        })?;
        // In `/tmp` somebody else may have made it before.
        self.must_be_theirs()
    }

    fn must_be_theirs(&self) -> Result<(), CliError> {
        if self.choice == Choice::Named {
            return Ok(());
        }
        let trusted = Trusted::caller().with_group(self.sharing.group());
        trusted.must_decide(self.dir).map_err(|why| {
            let elsewhere = Shown::from(self.elsewhere);
            let help = match why.is_anothers {
                true => shown!("{}, or {}", AS_ITS_OWNER, elsewhere),
                false => shown!("{}{}", mended_by(&why), elsewhere),
            };
            CliError::usage(shown!("{} is not used: {}", self.dir.display(), why), help)
        })
    }
}

/// What to do about a directory of somebody else.
pub const AS_ITS_OWNER: &str = "use it as whoever it belongs to, such as with `sudo`, or share it \
                                with a group (`state_group` in stepback.toml, docs/state.md)";

/// Whose a directory is, in brackets: it, or the first above it that this user may look at.
pub fn whose(dir: &Path) -> Shown {
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let mut above = dir.ancestors();
    let owned = above.find_map(|dir| std::fs::metadata(dir).ok().map(|found| (dir, found)));
    let told = owned.map(|(dir, found)| {
        let (owner, mode) = (who::user(found.uid()), format!("{:04o}", found.mode() & 0o7777));
        shown!(" ({} belongs to {}, mode {})", dir.display(), owner, mode)
    });
    told.unwrap_or_default()
}

/// What is kept has names, keys and, in a simulated world, passwords: nobody means to commit it.
fn keep_out_of_git(dir: &Path, is_new: bool) {
    let path = dir.join(".gitignore");
    let made = match is_new {
        true => private::make(&path).and_then(|mut file| file.write_all(b"*\n")),
        false => private::tighten(&path),
    };
    // Where that can't be written, or is somebody's own, nothing else is in its way.
    let _ = made;
}

/// The group of this name or number.
pub fn group(name: &str) -> Result<Sharing, String> {
    let known = Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw());
    match known.or_else(|| name.parse().ok()) {
        Some(group) => Ok(Sharing::Group(group)),
        None => Err(format!("there is no group `{name}` on this machine")),
    }
}

/// Where the state directory is, for whom, and who says so.
#[derive(Debug)]
pub struct State {
    pub dir: PathBuf,
    pub choice: Choice,
    pub sharing: Sharing,
}

impl State {
    /// Make sure that it is there, and only for those whom it is for.
    pub fn make_sure(&self) -> Result<(), CliError> {
        let State { dir, choice, sharing } = self;
        let elsewhere = "name it, or another one, with `--state DIR`";
        let kept = Kept { dir, choice: *choice, sharing: *sharing, elsewhere };
        let is_new = match std::fs::read_dir(dir) {
            Ok(mut all) => all.next().is_none(),
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        };
        kept.make_sure(&["journal.db", "journal.db-wal", "runners", "worlds"])?;
        keep_out_of_git(dir, is_new);
        Ok(())
    }

    /// Make sure of a directory in it, which is nothing but its own, and of those between.
    pub fn make_sure_of(&self, names: &[&str]) -> Result<(), CliError> {
        self.make_sure()?;
        private::dirs_below(&self.dir, names, self.sharing).map_err(|error| {
            let dir = names.iter().fold(self.dir.clone(), |dir, name| dir.join(name));
            let message = shown!("{} can't be used: {}", dir.display(), error);
            CliError::usage(message, "choose another place with `--state DIR`")
        })
    }
}
