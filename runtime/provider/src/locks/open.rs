//! Files in a world's directory, which others may put there.

use std::path::Path;
use stepback_core::{Failure, FailureClass};
use stepback_files::private;

pub(super) fn unusable(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    let message = format!("{} can't be {what}: {error}", path.display());
    Failure::new(FailureClass::Internal, message)
}

/// A directory below the world's, made if need be, and no link to another: rights that others have
/// in it are taken away.
pub(super) fn made_ours(dir: &Path) -> std::io::Result<()> {
    if dir.is_symlink() {
        return Err(std::io::Error::other("it is a link"));
    }
    // Whatever is in it, it is in a directory of ours.
    private::dir(dir, &["."])
}

/// A file that is one: no link, no pipe whose other end never comes, and nobody else's to write.
pub(super) use stepback_files::private::open as opened;
