//! Where a onebox is at home: a copy of its directory has its identity, and is another world.
//!
//! Operations know a onebox by its ledger's id, so that it may be moved. Of a copy that would be
//! untrue: what was undone there says nothing of the one that it is a copy of.

use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use stepback_core::{Failure, FailureClass};

const HOME: &str = "home";
const PATH_BYTES_MAX: u64 = 4096;
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

/// Whether the onebox there is still the one with this id.
fn is_there(root: &Path, id: &str) -> bool {
    let Ok(bytes) = read(&root.join("world.json"), LEDGER_BYTES_MAX) else { return false };
    let ledger: Result<serde_json::Value, _> = serde_json::from_slice(&bytes);
    ledger.is_ok_and(|ledger| ledger["id"] == id)
}

/// Whether this directory is where the onebox with this id is, or was moved to.
///
/// # Errors
/// It is a copy of one that is where it was. Its own path can't be kept.
pub(super) fn must_be_no_copy(root: &Path, id: &str) -> Result<(), Failure> {
    let path = root.join(HOME);
    let here = fs::canonicalize(root).map_err(|error| super::disk::io("found", root, &error))?;
    let home = match read(&path, PATH_BYTES_MAX) {
        Ok(bytes) => Some(PathBuf::from(std::ffi::OsString::from_vec(bytes))),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(super::disk::io("read", &path, &error)),
    };
    match home {
        Some(home) if home == here => return Ok(()),
        Some(home) if is_there(&home, id) => {
            let message = format!(
                "the onebox at {} is a copy of the one at {}, which is still there: what is done \
                 to one is not done to the other, and operations can't tell them apart; use that \
                 one, or remove `world.json` here to begin anew with these files",
                root.display(),
                home.display()
            );
            return Err(Failure::new(FailureClass::Precondition, message).with_code("a-copy"));
        }
        Some(_) | None => {}
    }
    let part = root.join("home.part");
    let _ = fs::remove_file(&part);
    let written = fs::File::options().write(true).create_new(true).mode(0o600).open(&part);
    let written = written.and_then(|mut file| {
        std::io::Write::write_all(&mut file, here.as_os_str().as_bytes())?;
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
        // A copy has all of its files.
        onebox(&copy, "a");
        fs::copy(moved.join(HOME), copy.join(HOME)).unwrap();
        let told = must_be_no_copy(&copy, "a").unwrap_err();
        assert!(told.message.contains("which is still there"), "{told:?}");
        must_be_no_copy(&moved, "a").unwrap();
        // Begun anew it is another one.
        onebox(&copy, "b");
        must_be_no_copy(&copy, "b").unwrap();
        // What is in the way of the note is not read through, and nobody waits for it.
        fs::remove_file(copy.join(HOME)).unwrap();
        std::os::unix::fs::symlink("/dev/zero", copy.join(HOME)).unwrap();
        must_be_no_copy(&copy, "b").unwrap_err();
    }
}
