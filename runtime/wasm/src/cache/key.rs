//! The key that what is kept is sealed with: a file of mode 0600 in the cache itself.
//!
//! It is made once, and on the disk before anything is sealed with it. One that somebody else may
//! read is no secret: another takes its place, and all that was sealed before is made anew.

use super::dir::{Dir, KEY};
use std::io::{self, ErrorKind, Write};
pub(super) use stepback_files::key::{Key, SEAL_BYTES};

/// The directory's key, made where there is none.
pub(super) fn of(dir: &Dir) -> io::Result<Key> {
    match read(dir) {
        Ok(key) => return Ok(key),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(_) => dir.remove(KEY),
    }
    let random = Key::new_bytes()?;
    match dir.write_new(KEY, |file| file.write_all(&random)) {
        // Another program has made it meanwhile, and that one counts.
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => read(dir),
    }
}

fn read(dir: &Dir) -> io::Result<Key> {
    Key::of_bytes(&dir.read_secret(KEY)?)
}
