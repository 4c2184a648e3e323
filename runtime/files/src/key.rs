//! A key that is in a file for its owner, or for the group that shares its directory, and in no
//! journal.
//!
//! It is made once, where there is none, and is on the disk before anything depends on it. What is
//! made by it (an HMAC with SHA-256) nobody else can make or guess, whoever reads all that is kept
//! beside the file.

use crate::private;
use crate::trust::Trusted;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A key's length.
pub const KEY_BYTES: usize = 32;
/// A seal's length.
pub const SEAL_BYTES: usize = 32;
/// So much of a seal tells a key from every other.
const ID_BYTES: usize = 6;

/// A key.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

impl Key {
    /// The key of these bytes.
    ///
    /// # Errors
    /// They are not [`KEY_BYTES`].
    pub fn of_bytes(bytes: &[u8]) -> io::Result<Self> {
        if bytes.len() != KEY_BYTES {
            return Err(io::Error::other(format!("it is no key: one has {KEY_BYTES} bytes")));
        }
        Hmac::new_from_slice(bytes).map(Key).map_err(io::Error::other)
    }

    /// The bytes of a new one.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub fn new_bytes() -> io::Result<[u8; KEY_BYTES]> {
        let mut random = [0_u8; KEY_BYTES];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        Ok(random)
    }

    /// The key in a file, which is made where it is not there; its directory must be.
    ///
    /// # Errors
    /// A file that can't be made or read, that others may write, or that holds no key: another one
    /// in its place would fit nothing that was made by the first.
    pub fn in_file(path: &Path) -> io::Result<Self> {
        match read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            read => return read,
        }
        let mut part = path.to_owned();
        let random = Self::new_bytes()?;
        part.set_extension(format!("{}.part", hex::encode(&Self::new_bytes()?[..8])));
        let made = make(&part, path, &random);
        // What could not be named is of no use to anyone.
        let _ = fs::remove_file(&part);
        match made {
            // Another program has made it meanwhile, and that one counts.
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            Ok(()) | Err(_) => read(path),
        }
    }

    /// The key in a file that somebody named, a link included; it is not made.
    ///
    /// # Errors
    /// A file that can't be read, that others may read or write or put another in the place of, or
    /// that holds no key.
    pub fn of_file(path: &Path, trusted: &Trusted) -> io::Result<Self> {
        trusted.must_decide(path).map_err(|distrust| {
            let mend = distrust.mend.as_ref().map(|mend| format!(": `{mend}`"));
            let why = format!("{distrust}{}", mend.unwrap_or_default());
            io::Error::new(ErrorKind::PermissionDenied, why)
        })?;
        let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        private::must_be_kept(path, &file)?;
        bytes_of(file)
    }

    /// The seal of something under a name: under another it does not fit.
    pub fn seal(&self, name: &str, contents: &[u8]) -> [u8; SEAL_BYTES] {
        self.over(name, contents).finalize().into_bytes().into()
    }

    /// Whether this is the seal; how long that takes tells nothing.
    pub fn fits(&self, name: &str, contents: &[u8], seal: &[u8]) -> bool {
        self.over(name, contents).verify_slice(seal).is_ok()
    }

    /// What the key is known by: it tells nothing of what is sealed.
    pub fn id(&self) -> String {
        hex::encode(&self.seal("id of the key", &[])[..ID_BYTES])
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

fn read(path: &Path) -> io::Result<Key> {
    bytes_of(private::open(path, File::options().read(true))?)
}

fn bytes_of(file: File) -> io::Result<Key> {
    let mut bytes = vec![];
    file.take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Key::of_bytes(&bytes)
}

/// Whole and on the disk before it has its name, which it gets only where there is none.
fn make(part: &Path, path: &Path, random: &[u8]) -> io::Result<()> {
    let mut file = private::create(part)?;
    file.write_all(random)?;
    file.sync_all()?;
    fs::hard_link(part, path)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn a_key_is_made_once_and_is_for_its_owner_alone() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("secrets.key");
        let made: Vec<_> = std::thread::scope(|scope| {
            let runs = [(); 8].map(|()| scope.spawn(|| Key::in_file(&path).unwrap().id()));
            runs.into_iter().map(|run| run.join().unwrap()).collect()
        });
        assert!(made.iter().all(|id| *id == made[0]), "{made:?}");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "nothing else is left");
        fs::write(&path, "short").unwrap();
        assert!(Key::in_file(&path).is_err(), "another one would fit nothing");
    }

    #[test]
    fn a_key_that_is_named_is_not_made_and_not_everybodys() {
        let place = tempfile::tempdir().unwrap();
        let (path, link) = (place.path().join("key"), place.path().join("link"));
        let why = Key::of_file(&path, &Trusted::caller()).map(|_| ()).unwrap_err();
        assert_eq!(why.kind(), ErrorKind::NotFound);
        assert!(!path.exists());
        fs::write(&path, [5; KEY_BYTES]).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for (mode, is_kept) in [(0o600, true), (0o400, true), (0o440, true), (0o604, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(Key::of_file(&link, &Trusted::caller()).is_ok(), is_kept, "{mode:o}");
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, mode, "it is left alone");
        }
        assert!(Key::of_file(place.path(), &Trusted::caller()).is_err());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        // Somebody else could put another one in its place.
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let why = Key::of_file(&path, &Trusted::caller()).map(|_| ()).unwrap_err();
        assert_eq!(why.kind(), ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_seal_fits_what_it_was_made_of_and_nothing_else() {
        let key = |byte: u8| Key::of_bytes(&[byte; KEY_BYTES]).unwrap();
        let seal = key(1).seal("a", b"bc");
        assert!(key(1).fits("a", b"bc", &seal));
        assert!(!key(1).fits("ab", b"c", &seal), "where the name ends counts");
        assert!(!key(2).fits("a", b"bc", &seal));
        assert_ne!(key(1).id(), key(2).id());
    }
}
