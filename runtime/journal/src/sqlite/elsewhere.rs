//! A look into another store, which changes nothing: whether an operation is there that holds locks
//! in a world.

use crate::Ending;
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;
use stepback_core::event::{Event, Record};
use stepback_core::{OperationId, StoreId};

/// A store that is being written to is not waited for.
const BUSY_MS: u64 = 500;

/// Whether a state directory has an operation that has not ended, told from every other by the
/// store that its first event is pinned to.
///
/// # Errors
/// Why it can't be told: a damaged store, or one of another user, which is not opened.
pub fn has_unfinished(dir: &Path, id: OperationId, pinned: &StoreId) -> Result<bool, String> {
    let path = dir.join("journal.db");
    let found = match std::fs::metadata(&path) {
        Ok(found) => found,
        Err(error) if is_nowhere(&error) => return Ok(false),
        Err(error) => return Err(error.to_string()),
    };
    // This process's directory belongs to its effective user (proc(5)).
    let own = std::fs::metadata("/proc/self").map(|own| own.uid()).unwrap_or_default();
    if found.uid() != own && found.uid() != 0 {
        return Err(format!("{} belongs to another user", path.display()));
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
    let Some((record, ending)) = row.optional().map_err(told)? else { return Ok(false) };
    let record: Record = serde_json::from_str(&record).map_err(|error| error.to_string())?;
    let is_it = matches!(&record.event, Event::Created(created) if created.store == *pinned);
    let ending = ending.map(|text| serde_json::from_str::<Ending>(&text)).transpose();
    let has_ended = ending.map_err(|error| error.to_string())?.is_some_and(Ending::releases_locks);
    Ok(is_it && !has_ended)
}

/// Whether nothing can be there, as opposed to something that can't be read.
fn is_nowhere(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{InvalidFilename, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory | InvalidFilename)
}
