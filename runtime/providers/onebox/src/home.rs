//! Where a onebox is at home: a copy of its directory has its identity, and is another world.
//!
//! Operations know a onebox by its ledger's id, so that it may be moved. Of a copy that would be
//! untrue: what was undone there says nothing of the one that it is a copy of.

use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use stepback_core::{Failure, FailureClass};
use stepback_files::private;

const HOME: &str = "home";
const PATH_BYTES_MAX: u64 = 8192;
/// A ledger is not larger.
const LEDGER_BYTES_MAX: u64 = 64 << 20;

/// A file's bytes; it is no link, and nothing that one waits for.
fn read(path: &Path, bytes_max: u64) -> std::io::Result<Vec<u8>> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = fs::File::options().read(true).custom_flags(flags).open(path)?;
    let mut bytes = vec![];
    match file.metadata()?.is_file() {
        true => file.take(bytes_max).read_to_end(&mut bytes)?,
        false => return Err(ErrorKind::InvalidInput.into()),
    };
    Ok(bytes)
}

/// Which directory one is, whatever leads to it: a move within a file system keeps that, and a
/// copy has its own (stat(2)).
fn identity(root: &Path) -> std::io::Result<(u64, u64)> {
    fs::metadata(root).map(|found| (found.dev(), found.ino()))
}

/// Where a onebox was at home when it was used last.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Home {
    path: PathBuf,
    /// Its device and inode; an older Stepback did not keep them.
    identity: Option<(u64, u64)>,
}

impl Home {
    fn of(bytes: Vec<u8>) -> Self {
        serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Self { path: OsString::from_vec(bytes).into(), identity: None })
    }
}

/// Whether the onebox there is still the one with this id.
fn is_there(root: &Path, id: &str) -> bool {
    let Ok(bytes) = read(&root.join("world.json"), LEDGER_BYTES_MAX) else { return false };
    let ledger: Result<serde_json::Value, _> = serde_json::from_slice(&bytes);
    ledger.is_ok_and(|ledger| ledger["id"] == id)
}

/// Whether this directory is where the onebox with this id is, or was moved to.
///
/// # Errors
/// It is a copy of one that is where it was, or may be one. Its own path can't be kept.
pub(super) fn must_be_no_copy(root: &Path, id: &str) -> Result<(), Failure> {
    let path = root.join(HOME);
    let found = |error| super::disk::io("found", root, &error);
    let here = fs::canonicalize(root).map_err(found)?;
    let own = identity(root).map_err(found)?;
    let home = match read(&path, PATH_BYTES_MAX) {
        Ok(bytes) => Some(Home::of(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(super::disk::io("read", &path, &error)),
    };
    let now = Home { path: here, identity: Some(own) };
    match home {
        Some(home) if home == now => return Ok(()),
        // Moved within its file system, or put back where it was.
        Some(home) if home.identity == now.identity || home.path == now.path => {}
        // By another path, it may be the very same.
        Some(home) if identity(&home.path).is_ok_and(|there| there == own) => {}
        Some(home) if is_there(&home.path, id) => {
            let message = format!(
                "the onebox at {} is a copy of the one at {}, which is still there: what is done \
                 to one is not done to the other, and operations can't tell them apart; use that \
                 one, `root = \"{}\"` in stepback.toml, or name an empty directory there, in \
                 which a onebox begins with no volumes",
                root.display(),
                home.path.display(),
                home.path.display()
            );
            return Err(Failure::new(FailureClass::Precondition, message).with_code("a-copy"));
        }
        // Begun anew with the files of one that is still there.
        Some(home) if identity(&home.path).ok() == home.identity => {}
        Some(home) if home.identity.is_some() => {
            let message = format!(
                "the onebox at {} is another directory than the one that was at {}: a copy of it, \
                 or moved from another file system; where no other one is used any more, remove \
                 {}, and this is the one",
                root.display(),
                home.path.display(),
                path.display()
            );
            return Err(Failure::new(FailureClass::Precondition, message).with_code("a-copy"));
        }
        Some(_) | None => {}
    }
    let part = root.join("home.part");
    let written = private::create(&part).and_then(|mut file| {
        file.write_all(&serde_json::to_vec(&now)?)?;
        file.sync_data()?;
        fs::rename(&part, &path)
    });
    written.map_err(|error| super::disk::io("written", &path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn onebox(root: &Path, id: &str) {
        fs::create_dir_all(root).unwrap();
        fs::write(root.join("world.json"), serde_json::json!({ "id": id }).to_string()).unwrap();
    }

    #[test]
    fn a_onebox_may_be_moved_and_a_copy_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let [one, moved, copy] = ["one", "moved", "copy"].map(|name| dir.path().join(name));
        onebox(&one, "a");
        must_be_no_copy(&one, "a").unwrap();
        must_be_no_copy(&one, "a").unwrap();
        fs::rename(&one, &moved).unwrap();
        must_be_no_copy(&moved, "a").unwrap();
        // By a link that was left behind, it is the same.
        std::os::unix::fs::symlink(&moved, &one).unwrap();
        must_be_no_copy(&one, "a").unwrap();
        must_be_no_copy(&moved, "a").unwrap();
        fs::remove_file(&one).unwrap();
        // A copy has all of its files.
        onebox(&copy, "a");
        fs::copy(moved.join(HOME), copy.join(HOME)).unwrap();
        let told = must_be_no_copy(&copy, "a").unwrap_err();
        assert!(told.message.contains("which is still there"), "{told:?}");
        must_be_no_copy(&moved, "a").unwrap();
        // Begun anew it is another one.
        onebox(&copy, "b");
        must_be_no_copy(&copy, "b").unwrap();
        // The one that it is a copy of may have been moved since.
        onebox(&copy, "a");
        fs::copy(moved.join(HOME), copy.join(HOME)).unwrap();
        let away = dir.path().join("away");
        fs::rename(&moved, &away).unwrap();
        let told = must_be_no_copy(&copy, "a").unwrap_err();
        assert!(told.message.contains("is another directory than"), "{told:?}");
        must_be_no_copy(&away, "a").unwrap();
        // An older Stepback kept the path alone.
        fs::write(away.join(HOME), moved.as_os_str().as_encoded_bytes()).unwrap();
        must_be_no_copy(&away, "a").unwrap();
        // What is in the way of the note is not read through, and nobody waits for it.
        fs::remove_file(copy.join(HOME)).unwrap();
        std::os::unix::fs::symlink("/dev/zero", copy.join(HOME)).unwrap();
        must_be_no_copy(&copy, "b").unwrap_err();
    }
}
