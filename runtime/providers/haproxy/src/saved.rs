//! What a process would forget at a reload, written down after each change (HAProxy Configuration
//! Manual, *load-server-state-from-file*).

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// HAProxy may read it as another user.
const MODE: u32 = 0o644;

/// Put a state in a file's place, durably: whoever reads it has the old one or the new one.
///
/// # Errors
/// A directory that is not there or may not be written.
pub(super) fn write(path: &Path, state: &str) -> io::Result<()> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it names no file"));
    };
    let part = dir.join(format!(".{}.stepback", name.to_string_lossy()));
    match fs::remove_file(&part) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&part)?;
    let written = (|| {
        // As it was, for whoever reads it.
        match fs::symlink_metadata(path) {
            Ok(old) if old.is_file() => {
                fchown(&file, Some(old.uid()), Some(old.gid()))?;
                file.set_permissions(Permissions::from_mode(old.mode() & 0o777))?;
            }
            Ok(_) => return Err(no_file()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                file.set_permissions(Permissions::from_mode(MODE))?;
            }
            Err(error) => return Err(error),
        }
        file.write_all(state.as_bytes())?;
        file.sync_all()?;
        fs::rename(&part, path)?;
        File::open(dir)?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    written
}

/// What a state of thousands of servers has at most.
const STATE_BYTES_MAX: u64 = 32 << 20;

/// What is written there; nothing where no file is.
///
/// # Errors
/// It is no plain file (a pipe, a link, a device), has no end, or may not be read.
pub(super) fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::symlink_metadata(path) {
        Ok(there) if there.is_file() => {}
        // Whoever opened a pipe would wait for ever.
        Ok(_) => return Err(no_file()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut text = vec![];
    File::open(path)?.take(STATE_BYTES_MAX + 1).read_to_end(&mut text)?;
    match text.len() as u64 > STATE_BYTES_MAX {
        true => Err(io::Error::new(ErrorKind::InvalidData, "it is larger than any state")),
        false => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
    }
}

fn no_file() -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, "it is no plain file")
}

/// Whether a file can be put there.
///
/// # Errors
/// As of [`write`]; nothing is changed.
pub(super) fn may_write(path: &Path) -> io::Result<()> {
    let Some(dir) = path.parent() else {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it names no file"));
    };
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let (pid, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let probe = dir.join(format!(".{pid}-{next}.stepback"));
    OpenOptions::new().write(true).create_new(true).open(&probe)?;
    fs::remove_file(&probe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_takes_the_place_of_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web");
        write(&path, "one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, MODE);
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        // One that was killed leaves its part.
        fs::write(dir.path().join(".web.stepback"), "half").unwrap();
        write(&path, "two").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let elsewhere = dir.path().join("elsewhere");
        fs::write(&elsewhere, "theirs").unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
        write(&link, "three").unwrap_err();
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "theirs");
        assert_eq!(read(&path).unwrap().as_deref(), Some("two"));
        assert_eq!(read(&dir.path().join("nothing")).unwrap(), None);
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for odd in [&*link, &*pipe, dir.path(), Path::new("/dev/full")] {
            assert_eq!(read(odd).unwrap_err().to_string(), "it is no plain file", "{odd:?}");
        }
        write(&dir.path().join("none/web"), "x").unwrap_err();
        may_write(&dir.path().join("none/web")).unwrap_err();
        may_write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
    }
}
