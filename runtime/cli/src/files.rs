//! Reading files that somebody named, bounded: a path may lead to what has no end.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// What people write is shorter, a manifest too.
pub const TEXT_BYTES_MAX: u64 = 1 << 20;

/// A file's bytes.
///
/// # Errors
/// Why they can't be had, or that there are more than `bytes_max`, with the path.
pub fn bytes(path: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| format!("{shown} can't be read: {error}");
    let file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(format!("{shown} is a directory"));
    }
    let mut bytes = vec![];
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
    match bytes.len() as u64 > bytes_max {
        true => Err(format!("{shown} is larger than {} MiB", bytes_max >> 20)),
        false => Ok(bytes),
    }
}

/// A file's text.
///
/// # Errors
/// As [`bytes`] has them, or where it is not UTF-8.
pub fn text(path: &Path, bytes_max: u64) -> Result<String, String> {
    String::from_utf8(bytes(path, bytes_max)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        format!("{} is not UTF-8 (byte {at}): save it as UTF-8", path.display())
    })
}
