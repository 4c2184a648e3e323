//! Whose configuration is obeyed, and whose directories are used.
//!
//! What was found (a `stepback.toml` upwards from here, the state directory beside it, a onebox's
//! `root`) must be this user's, root's, or that of who called `sudo`, and nobody else may write it
//! or a directory on the way. What somebody named (`--config`, `--state` and their variables) is
//! that person's own choice.

use crate::error::CliError;
use crate::shown::Shown;
use nix::unistd::Group;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use stepback_files::private::{self, Sharing};
use stepback_files::trust::Trusted;

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
            "mend that (`{}`), or, if you trust whoever may write there, name the file: \
             `--config {}`; `--config /dev/null` is none",
            why.mend,
            shown.display()
        );
        CliError::usage(message, help)
    })
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
        if self.choice == Choice::Found {
            let trusted = Trusted::caller().with_group(self.sharing.group());
            trusted.must_decide(self.dir).map_err(|why| {
                let elsewhere = Shown::from(self.elsewhere);
                let help = shown!("mend that (`{}`), or {}", why.mend, elsewhere);
                CliError::usage(shown!("{} is not used: {}", shown, why), help)
            })?;
        }
        private::dir_for(self.dir, marks, self.sharing).map_err(|error| {
            let message = shown!("{} can't be used: {}", shown, error);
            CliError::usage(message, self.elsewhere)
        })
    }
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
        kept.make_sure(&["journal.db", "journal.db-wal", "runners", "worlds"])
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
