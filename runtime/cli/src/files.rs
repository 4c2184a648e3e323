//! Files that somebody named. They are read bounded, because a path may lead to what has no end,
//! and written whole or not at all.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use stepback_files::key::Key;
use stepback_files::private;

/// What people write is shorter, a manifest too.
pub const TEXT_BYTES_MAX: u64 = 1 << 20;

/// The mode of a file for its owner's eyes.
pub const FOR_OWNER: u32 = 0o600;
/// The mode of a file for everybody whom the umask lets have it.
pub const FOR_ALL: u32 = 0o666;

/// A file's bytes.
///
/// # Errors
/// Why they can't be had, or that there are more than `bytes_max`, with the path.
pub fn bytes(path: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    opened(path, bytes_max).map(|(bytes, _)| bytes)
}

/// A file's bytes, and which file that was, whatever its path leads to by now.
///
/// # Errors
/// As [`bytes`] has them.
pub fn opened(path: &Path, bytes_max: u64) -> Result<(Vec<u8>, Metadata), String> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| format!("{shown} can't be read: {error}");
    let file = File::open(path).map_err(unreadable)?;
    let found = file.metadata().map_err(unreadable)?;
    if found.is_dir() {
        return Err(format!("{shown} is a directory"));
    }
    let mut bytes = vec![];
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
    match bytes.len() as u64 > bytes_max {
        true => Err(format!("{shown} is larger than {} MiB", bytes_max >> 20)),
        false => Ok((bytes, found)),
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

/// Write a file, all of it or nothing. It is made anew by a name that nobody can know before, so
/// that nobody has put a link, or a file of his own, in its way. What root writes behind `sudo` in
/// a directory of who called it is that user's.
///
/// # Errors
/// Why it can't be written.
pub fn write_whole(path: &Path, text: impl AsRef<[u8]>, mode: u32) -> std::io::Result<()> {
    let part = &part_of(path)?;
    let mut file = File::options().write(true).create_new(true).mode(mode).open(part)?;
    let written = file.write_all(text.as_ref()).and_then(|()| file.sync_all());
    let given = written.and_then(|()| private::give_to_sudo(&file, part));
    let done = given.and_then(|()| std::fs::rename(part, path));
    if done.is_err() {
        // Why it could not be written is told; a part that stays is only untidy.
        let _ = std::fs::remove_file(part);
    }
    done
}

/// Whether a file can be written there by now, which is found out by making another one beside it.
///
/// # Errors
/// Why it can't be written.
pub fn can_be_written(path: &Path) -> std::io::Result<()> {
    if path.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    let part = part_of(path)?;
    File::create_new(&part)?;
    std::fs::remove_file(part)
}

/// A name beside it that nobody can know before.
fn part_of(path: &Path) -> std::io::Result<PathBuf> {
    let mut part = path.to_owned().into_os_string();
    part.push(format!(".{}.part", hex::encode(&Key::new_bytes()?[..8])));
    Ok(part.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::read_to_string;

    #[test]
    fn nobody_knows_the_name_of_a_part_and_what_is_there_is_not_written_through() {
        let place = tempfile::tempdir().unwrap();
        let (path, victim) = (place.path().join("world.toml"), place.path().join("victim"));
        std::fs::write(&victim, "kept").unwrap();
        for name in [format!("world.toml.{}.part", std::process::id()), "world.toml".to_owned()] {
            std::os::unix::fs::symlink(&victim, place.path().join(name)).unwrap();
        }
        write_whole(&path, "mine", FOR_OWNER).unwrap();
        assert_eq!(read_to_string(&victim).unwrap(), "kept");
        assert_eq!(read_to_string(&path).unwrap(), "mine");
        assert!(!path.is_symlink());
        // The two, and the one that was planted.
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 3, "nothing else is left");
    }
}
