//! A look into another store: what became of an operation there that holds locks in a world.

use crate::Ending;
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;
use stepback_core::event::{Event, Record};
use stepback_core::{OperationId, StoreId};

/// A store that is being written to is not waited for.
const BUSY_MS: u64 = 500;

/// What a look into another state directory found of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// No such state directory is there, or it has no such operation.
    Nothing,
    /// It has ended, and holds nothing.
    Ended,
    /// It has not ended, and keeps its locks; whether anybody runs it is not told.
    Unfinished,
    /// Its rollback is incomplete, and waits for a person.
    StandsStill,
}

/// What a state directory has of an operation, told from every other by the store that its first
/// event is pinned to.
///
/// Only a directory of this user, or of root, is looked into, and no link in it is followed.
///
/// # Errors
/// Why it can't be told: a damaged store, or one of another user, which is not opened.
pub fn look_into(dir: &Path, id: OperationId, pinned: &StoreId) -> Result<Found, String> {
    let opened = File::options().read(true).custom_flags(libc::O_DIRECTORY).open(dir);
    let dir = match opened {
        Ok(dir) => dir,
        Err(error) if is_nowhere(&error) => return Ok(Found::Nothing),
        Err(error) => return Err(error.to_string()),
    };
    must_be_own(&dir)?;
    // As it was opened, whatever its path leads to by now (proc(5)).
    let path = format!("/proc/self/fd/{}/journal.db", dir.as_raw_fd());
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    match File::options().read(true).custom_flags(flags).open(&path) {
        Ok(file) => must_be_own(&file)?,
        Err(error) if is_nowhere(&error) => return Ok(Found::Nothing),
        Err(error) => return Err(error.to_string()),
    }
    for beside in ["-wal", "-shm"] {
        if std::fs::symlink_metadata(format!("{path}{beside}")).is_ok_and(|at| !at.is_file()) {
            return Err(format!("its journal.db{beside} is no file"));
        }
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let told = |error: rusqlite::Error| error.to_string();
    let connection = Connection::open_with_flags(&path, flags).map_err(told)?;
    connection.busy_timeout(Duration::from_millis(BUSY_MS)).map_err(told)?;
    let row = "SELECT record, ending FROM operations JOIN events ON events.operation = id
               WHERE id = ?1 AND seq = 1";
    let row = connection.query_row(row, [id.0 as i64], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?))
    });
    let Some((record, ending)) = row.optional().map_err(told)? else { return Ok(Found::Nothing) };
    let record: Record = serde_json::from_str(&record).map_err(|error| error.to_string())?;
    if !matches!(&record.event, Event::Created(created) if created.store == *pinned) {
        return Ok(Found::Nothing);
    }
    let ending = ending.map(|text| serde_json::from_str::<Ending>(&text)).transpose();
    Ok(match ending.map_err(|error| error.to_string())? {
        Some(ending) if ending.releases_locks() => Found::Ended,
        Some(_) => Found::StandsStill,
        None => Found::Unfinished,
    })
}

/// Somebody else's could be anything, and what is made beside a store when it is read is its
/// owner's to make.
fn must_be_own(file: &File) -> Result<(), String> {
    let found = file.metadata().map_err(|error| error.to_string())?;
    // This process's directory belongs to its effective user (proc(5)).
    let own = std::fs::metadata("/proc/self").map(|own| own.uid()).unwrap_or_default();
    match found.uid() == own || found.uid() == 0 {
        true if found.is_file() || found.is_dir() => Ok(()),
        true => Err("its journal.db is no file".to_owned()),
        false => Err("it belongs to another user".to_owned()),
    }
}

/// Whether nothing can be there, as opposed to something that can't be read.
pub(super) fn is_nowhere(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{InvalidFilename, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory | InvalidFilename)
}
