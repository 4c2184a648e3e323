//! Making a private file so that nobody sees it under its name before it is whom it is for.

use super::{give, heir, reached, sharing_at};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Make a private file, which is for whom its directory is.
///
/// # Errors
/// Those of making it, such as that there is one, and one that can't be given to them.
pub fn make(path: &Path) -> io::Result<File> {
    let (_above, at) = reached(path)?;
    if at.symlink_metadata().is_ok() {
        return Err(ErrorKind::AlreadyExists.into());
    }
    // Nobody sees it under its name before it is theirs: whoever is killed in between leaves a part
    // that is in nobody's way.
    let part = PartName::of(&at);
    let file = made_at(&part.0, path, &at)?;
    match fs::hard_link(&part.0, &at) {
        Ok(()) => Ok(file),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(error),
        // Where there are no links, it is made under its name.
        Err(_) => made_at(&at, path, &at),
    }
}

/// A new file at this place, for whom one at `at` is; `path` is how a person knows it.
fn made_at(place: &Path, path: &Path, at: &Path) -> io::Result<File> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(place)?;
    give(&file, path, heir(at), sharing_at(at)?)?;
    Ok(file)
}

/// What a file is called until it is whole, and not afterwards.
struct PartName(PathBuf);

impl PartName {
    fn of(path: &Path) -> Self {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".part-{}-{number}", std::process::id()));
        Self(path.with_file_name(name))
    }
}

impl Drop for PartName {
    fn drop(&mut self) {
        // One that stays is no file of anybody's.
        let _ = fs::remove_file(&self.0);
    }
}
