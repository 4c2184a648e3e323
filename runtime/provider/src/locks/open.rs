//! Files in a world's directory, which others may put there.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use stepback_core::{Failure, FailureClass};

pub(super) fn unusable(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    let message = format!("{} can't be {what}: {error}", path.display());
    Failure::new(FailureClass::Internal, message)
}

/// A file that is one: no link, and no pipe whose other end never comes.
pub(super) fn opened(path: &Path, how: &mut OpenOptions) -> std::io::Result<File> {
    let file = how.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(std::io::Error::other("it is no file")),
    }
}
