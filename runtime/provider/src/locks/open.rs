//! Files in a world's directory, which others may put there.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use stepback_core::{Failure, FailureClass};
use stepback_files::private;

pub(super) fn unusable(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    let message = format!("{} can't be {what}: {error}", path.display());
    Failure::new(FailureClass::Internal, message)
}

/// A directory below the world's, made if need be, and no link to another: rights that others have
/// in it are taken away, and in what of it is ours.
pub(super) fn made_ours(dir: &Path, is_ours: impl Fn(&Path) -> bool) -> std::io::Result<()> {
    if dir.is_symlink() {
        return Err(std::io::Error::other("it is a link"));
    }
    let mode = || dir.metadata().map(|found| found.mode()).ok();
    let before = mode();
    // Whatever is in it, it is in a directory of ours.
    private::dir(dir, &["."])?;
    if before.is_some() && before != mode() {
        // It is for others now than its files were.
        for file in std::fs::read_dir(dir)?.flatten().filter(|file| is_ours(&file.path())) {
            private::tighten(&file.path())?;
        }
    }
    Ok(())
}

/// Whether a file is called by so many hexadecimal digits, and has one of these ends.
pub(super) fn is_named(path: &Path, digits: usize, ends: &[&str]) -> bool {
    let text = |part: Option<&OsStr>| part.and_then(OsStr::to_str).unwrap_or_default().to_owned();
    let (stem, end) = (text(path.file_stem()), text(path.extension()));
    stem.len() == digits
        && stem.chars().all(|c| c.is_ascii_hexdigit())
        && ends.contains(&end.as_str())
}

/// A file that is one: no link, no pipe whose other end never comes, and nobody else's to write.
pub(super) use stepback_files::private::{make, open as opened, open_or_make};
