//! The key that what is kept is sealed with: a file of mode 0600 in the cache itself.
//!
//! It is made once, and on the disk before anything is sealed with it. One that somebody else may
//! read is no secret: another takes its place, and all that was sealed before is made anew.

use super::dir::{Dir, KEY};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::io::{self, ErrorKind, Write};

const KEY_BYTES: usize = 32;
/// A seal is an HMAC with SHA-256.
pub(super) const SEAL_BYTES: usize = 32;

pub(super) struct Key(Hmac<Sha256>);

impl Key {
    /// The directory's key, made where there is none.
    pub(super) fn of(dir: &Dir) -> io::Result<Self> {
        match read(dir) {
            Ok(key) => return Ok(key),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(_) => dir.remove(KEY),
        }
        let mut random = [0_u8; KEY_BYTES];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        match dir.write_new(KEY, |file| file.write_all(&random)) {
            // Another program has made it meanwhile, and that one counts.
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            Ok(()) | Err(_) => read(dir),
        }
    }

    /// The seal of what is kept under a name: under another it does not fit.
    pub(super) fn seal(&self, name: &str, contents: &[u8]) -> [u8; SEAL_BYTES] {
        self.over(name, contents).finalize().into_bytes().into()
    }

    /// Whether this is the seal.
    pub(super) fn fits(&self, name: &str, contents: &[u8], seal: &[u8]) -> bool {
        self.over(name, contents).verify_slice(seal).is_ok()
    }

    fn over(&self, name: &str, contents: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        // No name has a zero byte in it, so that where it ends is sealed, too.
        mac.update(name.as_bytes());
        mac.update(&[0]);
        mac.update(contents);
        mac
    }
}

fn read(dir: &Dir) -> io::Result<Key> {
    let bytes = dir.read_secret(KEY)?;
    if bytes.len() != KEY_BYTES {
        return Err(io::Error::other("it is no key"));
    }
    Hmac::new_from_slice(&bytes).map(Key).map_err(io::Error::other)
}
