//! The tables, their versions, and how a store of an older version becomes one of this.

use super::errors::unusable;
use super::liveness::RUNNERS;
use super::records::keep_progress;
use super::tables::must_be_made_by;
use crate::StoreError;
use crate::implied::Progress;
use crate::random::random_name;
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::path::Path;
use stepback_core::StoreId;
use stepback_core::event::Record;

/// The version of the tables, kept in `user_version`.
pub(super) const SCHEMA: i64 = 2;

/// Each version's change to the tables of the one before it; the first makes them.
const CHANGES: [&str; SCHEMA as usize] = [VERSION_1, VERSION_2];

const VERSION_1: &str = "
CREATE TABLE store (id TEXT NOT NULL) STRICT;
CREATE TABLE operations (
    id INTEGER PRIMARY KEY AUTOINCREMENT, manifest TEXT NOT NULL, environment TEXT NOT NULL,
    created_at INTEGER NOT NULL, last_seq INTEGER NOT NULL, ending TEXT,
    epoch INTEGER NOT NULL, runner TEXT
) STRICT;
CREATE TABLE events (
    operation INTEGER NOT NULL REFERENCES operations(id), seq INTEGER NOT NULL,
    record TEXT NOT NULL, PRIMARY KEY (operation, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE locks (
    environment TEXT NOT NULL, name TEXT NOT NULL, owner INTEGER NOT NULL,
    since INTEGER NOT NULL, PRIMARY KEY (environment, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE requests (
    number INTEGER PRIMARY KEY AUTOINCREMENT, operation INTEGER NOT NULL, request TEXT NOT NULL
) STRICT;
CREATE TABLE blobs (digest TEXT PRIMARY KEY, bytes BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE logs (
    operation INTEGER NOT NULL, number INTEGER NOT NULL, line TEXT NOT NULL,
    PRIMARY KEY (operation, number)
) STRICT, WITHOUT ROWID;
";

/// Leases that run out, a line of who waits for locks, and how far an operation is.
const VERSION_2: &str = "
ALTER TABLE operations ADD COLUMN stage TEXT NOT NULL DEFAULT 'open';
ALTER TABLE operations ADD COLUMN released_at INTEGER;
CREATE INDEX operations_by_runner ON operations (runner) WHERE runner IS NOT NULL;
CREATE TABLE runners (
    name TEXT PRIMARY KEY, until_ms INTEGER NOT NULL, seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE waiting (
    number INTEGER PRIMARY KEY AUTOINCREMENT, operation INTEGER NOT NULL UNIQUE,
    environment TEXT NOT NULL, names TEXT NOT NULL, since INTEGER NOT NULL
) STRICT;
";

/// Bring the tables to this version, all or nothing.
///
/// # Errors
/// [`StoreError::Newer`] for a store of a later version, and [`StoreError::Corrupt`] for one whose
/// tables Stepback did not make; both are left alone.
pub(super) fn migrate(path: &Path, connection: &Connection) -> Result<StoreId, StoreError> {
    let version = |connection: &Connection| -> Result<i64, StoreError> {
        Ok(connection.query_row("PRAGMA user_version", [], |row| row.get(0))?)
    };
    // Nearly always there is nothing to change, and then nobody has to wait for a writer.
    if version(connection)? == SCHEMA {
        must_be_made_by(&CHANGES, path, connection)?;
    } else {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let changed = version(connection).and_then(|found| change(path, connection, found));
        connection.execute_batch(if changed.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
        changed?;
    }
    let id: String = connection.query_row("SELECT id FROM store", [], |row| row.get(0))?;
    Ok(StoreId(id))
}

fn change(path: &Path, connection: &Connection, found: i64) -> Result<(), StoreError> {
    if found > SCHEMA {
        return Err(StoreError::Newer { path: path.to_owned(), found, known: SCHEMA });
    }
    if found == 0 {
        must_be_the_first(path)?;
    }
    let done = usize::try_from(found).map_err(|_| unusable(path, "its version is negative"))?;
    must_be_made_by(&CHANGES[..done], path, connection)?;
    for change in &CHANGES[done..] {
        connection.execute_batch(change)?;
    }
    if found == 0 {
        connection.execute("INSERT INTO store (id) VALUES (?1)", [random_name()?])?;
    } else if found < 2 {
        fill_progress(connection)?;
    }
    connection.pragma_update(None, "user_version", SCHEMA)?;
    Ok(())
}

/// What version 2 keeps beside the events, worked out from the events of version 1.
fn fill_progress(connection: &Connection) -> Result<(), StoreError> {
    let mut all = connection.prepare("SELECT operation, record FROM events ORDER BY 1, seq")?;
    let mut rows = all.query([])?;
    let mut operations: BTreeMap<i64, Progress> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        // What can't be read is told when its operation is; it is in nobody else's way.
        let text = row.get::<_, String>(1).unwrap_or_default();
        if let Ok(record) = serde_json::from_str::<Record>(&text) {
            let progress = operations.entry(row.get(0)?).or_default();
            *progress = progress.then(&record.event);
        }
    }
    operations.into_iter().try_for_each(|(id, progress)| keep_progress(connection, id, progress))
}

/// Whoever makes a journal makes the runners' place once that is durable, so one without tables
/// has lost them: what is not in the file yet is in its log, which was left behind.
fn must_be_the_first(path: &Path) -> Result<(), StoreError> {
    let runners = path.with_file_name(RUNNERS);
    match runners.exists() {
        false => Ok(()),
        true => Err(StoreError::Corrupt(format!(
            "{}: it has nothing in it, and {} tells that operations were kept here: where it was \
             copied, its `-wal` file belongs to it; to begin a new one, move the directory away",
            path.display(),
            runners.display()
        ))),
    }
}

/// A journal that is empty, or not there, is none that is new where there is beside it what was
/// written to it last, or a place for runners: that is made once there is a journal.
pub(super) fn must_not_be_emptied(path: &Path) -> Result<(), StoreError> {
    let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
    let (log, runners) = (path.with_extension("db-wal"), path.with_file_name(RUNNERS));
    if bytes(path) > 0 || bytes(&log) == 0 && !runners.exists() {
        return Ok(());
    }
    // Whoever makes the first one right now writes it before its log and the runners' place.
    if bytes(path) > 0 {
        return Ok(());
    }
    let left = if bytes(&log) > 0 { log } else { runners };
    Err(StoreError::Corrupt(format!(
        "{}: it is {}, and {} tells that operations were kept here; to begin a new one, move the \
         directory away",
        path.display(),
        if path.exists() { "empty" } else { "not there" },
        left.display()
    )))
}
