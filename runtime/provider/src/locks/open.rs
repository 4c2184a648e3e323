//! Files in a world's directory, which others may put there.

use std::path::Path;
use stepback_core::{Failure, FailureClass};

pub(super) fn unusable(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    let message = format!("{} can't be {what}: {error}", path.display());
    Failure::new(FailureClass::Internal, message)
}

/// A file that is one: no link, no pipe whose other end never comes, and nobody else's to write.
pub(super) use stepback_files::private::open as opened;
