//! The store in SQLite: one file, WAL, every commit on disk before its callers are told.
//!
//! `synchronous=FULL` makes a commit survive a power cut (SQLite docs, *PRAGMA synchronous*).
//! Reads have a connection of their own and see what was committed last.

use crate::alive::Alive;
use crate::writer::Writer;
use crate::*;
use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use stepback_core::event::{Event, Pinned, Record};
use stepback_core::*;

/// The version of the tables, kept in `user_version`.
const SCHEMA: i64 = 1;

/// How long a writer waits for another process's commit.
const BUSY_TIMEOUT_MS: u32 = 5_000;

const TABLES: &str = "
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

/// A store in a SQLite file.
pub struct Sqlite {
    id: StoreId,
    reader: Mutex<Connection>,
    writer: Writer,
    alive: Arc<Alive>,
}

impl Sqlite {
    /// Open the store `journal.db` in `dir`, making both where they are not there.
    ///
    /// # Errors
    /// A directory or file that can't be used, or a store of a newer version.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("journal.db");
        std::fs::create_dir_all(dir).map_err(|error| unusable(dir, &error.to_string()))?;
        let connect = || Connection::open(&path).map_err(|e| unusable(&path, &e.to_string()));
        let (writer, reader) = (connect()?, connect()?);
        let id = set_up(&path, &writer, &reader)?;
        let alive = Arc::new(Alive::new(dir));
        Ok(Self { id, reader: Mutex::new(reader), writer: Writer::start(writer), alive })
    }

    /// Show that the runner lives, before it gets its first lease.
    fn hold(&self, runner: &RunnerId) -> Result<(), StoreError> {
        let unwritable = |error: std::io::Error| StoreError::ReadOnly(error.to_string());
        self.alive.hold(&runner.0).map_err(unwritable)
    }

    /// How many commits this process made, for measuring.
    pub fn commits(&self) -> u64 {
        self.writer.commits()
    }

    fn read(&self) -> MutexGuard<'_, Connection> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn set_up(path: &Path, writer: &Connection, reader: &Connection) -> Result<StoreId, StoreError> {
    writer.pragma_update(None, "busy_timeout", BUSY_TIMEOUT_MS)?;
    reader.pragma_update(None, "busy_timeout", BUSY_TIMEOUT_MS)?;
    writer
        .execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;")
        .map_err(|error| unusable(path, &error.to_string()))?;
    migrate(path, writer)
}

fn unusable(path: &Path, why: &str) -> StoreError {
    StoreError::Unusable { path: path.to_owned(), why: why.to_owned() }
}

pub(crate) fn random_name() -> Result<String, StoreError> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|e| unusable(Path::new("random"), &e.to_string()))?;
    Ok(hex::encode(bytes))
}

fn migrate(path: &Path, connection: &Connection) -> Result<StoreId, StoreError> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > SCHEMA {
        connection.execute_batch("ROLLBACK")?;
        return Err(StoreError::Newer { path: path.to_owned(), found, known: SCHEMA });
    }
    if found == 0 {
        connection.execute_batch(TABLES)?;
        connection.execute("INSERT INTO store (id) VALUES (?1)", [random_name()?])?;
        connection.pragma_update(None, "user_version", SCHEMA)?;
    }
    connection.execute_batch("COMMIT")?;
    let id: String = connection.query_row("SELECT id FROM store", [], |row| row.get(0))?;
    Ok(StoreId(id))
}

/// The operation's epoch, last event and runner.
fn head(
    connection: &Connection,
    id: OperationId,
) -> Result<(Epoch, Seq, Option<String>), StoreError> {
    let row = connection
        .query_row(
            "SELECT epoch, last_seq, runner FROM operations WHERE id = ?1",
            [id.0 as i64],
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get(2)?)),
        )
        .optional()?;
    let (epoch, seq, runner) = row.ok_or(StoreError::NotFound(id))?;
    Ok((Epoch(epoch as u64), Seq(seq as u64), runner))
}

fn must_hold(connection: &Connection, lease: &Lease) -> Result<Seq, StoreError> {
    let (now, last, runner) = head(connection, lease.operation)?;
    if now != lease.epoch || runner.is_none() {
        return Err(StoreError::StaleEpoch { id: lease.operation, held: lease.epoch, now });
    }
    Ok(last)
}

fn insert(
    connection: &Connection,
    id: OperationId,
    mut last: Seq,
    records: &[Record],
) -> Result<(), StoreError> {
    let mut statement = connection
        .prepare_cached("INSERT INTO events (operation, seq, record) VALUES (?1, ?2, ?3)")?;
    for record in records {
        if record.seq.0 != last.0 + 1 {
            return Err(StoreError::WrongSequence { id, last });
        }
        last = record.seq;
        let text = serde_json::to_string(record)?;
        statement.execute(params![id.0 as i64, last.0 as i64, text])?;
        if let Some(ending) = Ending::of(&record.event) {
            let text = serde_json::to_string(&ending)?;
            connection.execute(
                "UPDATE operations SET ending = ?2 WHERE id = ?1",
                params![id.0 as i64, text],
            )?;
            if ending.releases_locks() {
                connection.execute("DELETE FROM locks WHERE owner = ?1", [id.0 as i64])?;
            }
        }
    }
    connection.execute(
        "UPDATE operations SET last_seq = ?2 WHERE id = ?1",
        params![id.0 as i64, last.0 as i64],
    )?;
    Ok(())
}

fn lock_all(
    connection: &Connection,
    owner: OperationId,
    environment: &EnvironmentName,
    names: &[LockName],
    at: UnixMs,
) -> Result<LockAnswer, StoreError> {
    for name in names {
        let held = connection
            .query_row(
                "SELECT owner, since FROM locks WHERE environment = ?1 AND name = ?2",
                params![environment.as_str(), name.as_str()],
                |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)),
            )
            .optional()?;
        if let Some((other, since)) = held
            && other as u64 != owner.0
        {
            let (name, since) = (name.clone(), UnixMs(since as u64));
            return Ok(LockAnswer::Busy { name, owner: OperationId(other as u64), since });
        }
    }
    for name in names {
        connection.execute(
            "INSERT OR IGNORE INTO locks (environment, name, owner, since) VALUES (?1, ?2, ?3, ?4)",
            params![environment.as_str(), name.as_str(), owner.0 as i64, at.0 as i64],
        )?;
    }
    Ok(LockAnswer::Held)
}

#[async_trait]
impl Store for Sqlite {
    fn id(&self) -> StoreId {
        self.id.clone()
    }

    async fn create(
        &self,
        pinned: Pinned,
        at: UnixMs,
        runner: &RunnerId,
    ) -> Result<(OperationId, Lease), StoreError> {
        self.hold(runner)?;
        let runner = runner.0.clone();
        let write = move |connection: &Connection| {
            connection.execute(
                "INSERT INTO operations (manifest, environment, created_at, last_seq, epoch, runner)
                 VALUES (?1, ?2, ?3, 0, 1, ?4)",
                params![pinned.manifest_name, pinned.environment.as_str(), at.0 as i64, runner],
            )?;
            let id = OperationId(connection.last_insert_rowid() as u64);
            let event = Event::Created(Box::new(pinned));
            let record = Record { seq: Seq(1), at, epoch: Epoch(1), event };
            insert(connection, id, Seq(0), &[record])?;
            Ok((id, Lease { operation: id, epoch: Epoch(1) }))
        };
        self.writer.write(write).await
    }

    async fn append(
        &self,
        lease: &Lease,
        last: Seq,
        records: Vec<Record>,
    ) -> Result<(), StoreError> {
        let lease = lease.clone();
        let write = move |connection: &Connection| {
            let now = must_hold(connection, &lease)?;
            if now != last {
                return Err(StoreError::WrongSequence { id: lease.operation, last: now });
            }
            insert(connection, lease.operation, last, &records)
        };
        self.writer.write(write).await
    }

    async fn load(&self, id: OperationId) -> Result<Vec<Record>, StoreError> {
        let connection = self.read();
        head(&connection, id)?;
        let mut statement = connection
            .prepare_cached("SELECT record FROM events WHERE operation = ?1 ORDER BY seq")?;
        let rows = statement.query_map([id.0 as i64], |row| row.get::<_, String>(0))?;
        rows.map(|row| Ok(serde_json::from_str(&row?)?)).collect()
    }

    async fn list(&self) -> Result<Vec<Summary>, StoreError> {
        let connection = self.read();
        let mut statement = connection.prepare_cached(
            "SELECT id, manifest, environment, created_at, last_seq, ending
             FROM operations ORDER BY id",
        )?;
        let mut rows = statement.query([])?;
        let mut all = vec![];
        while let Some(row) = rows.next()? {
            let ending: Option<String> = row.get(5)?;
            all.push(Summary {
                id: OperationId(row.get::<_, i64>(0)? as u64),
                manifest: row.get(1)?,
                environment: EnvironmentName(row.get(2)?),
                created_at: UnixMs(row.get::<_, i64>(3)? as u64),
                last_seq: Seq(row.get::<_, i64>(4)? as u64),
                finished: ending.map(|text| serde_json::from_str(&text)).transpose()?,
            });
        }
        Ok(all)
    }

    async fn acquire_locks(
        &self,
        lease: &Lease,
        environment: &EnvironmentName,
        names: &[LockName],
        at: UnixMs,
    ) -> Result<LockAnswer, StoreError> {
        let (lease, environment, names) = (lease.clone(), environment.clone(), names.to_vec());
        let write = move |connection: &Connection| {
            must_hold(connection, &lease)?;
            lock_all(connection, lease.operation, &environment, &names, at)
        };
        self.writer.write(write).await
    }

    async fn locks(&self) -> Result<Vec<LockRow>, StoreError> {
        let connection = self.read();
        let mut statement = connection.prepare_cached(
            "SELECT environment, name, owner, since FROM locks ORDER BY environment, name",
        )?;
        let rows = statement.query_map([], |row| {
            Ok(LockRow {
                environment: EnvironmentName(row.get(0)?),
                name: LockName(row.get(1)?),
                owner: OperationId(row.get::<_, i64>(2)? as u64),
                since: UnixMs(row.get::<_, i64>(3)? as u64),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    async fn request(&self, id: OperationId, request: Request) -> Result<(), StoreError> {
        let write = move |connection: &Connection| {
            head(connection, id)?;
            let text = serde_json::to_string(&request)?;
            connection.execute(
                "INSERT INTO requests (operation, request) VALUES (?1, ?2)",
                params![id.0 as i64, text],
            )?;
            Ok(())
        };
        self.writer.write(write).await
    }

    async fn take_requests(&self, lease: &Lease) -> Result<Vec<Request>, StoreError> {
        // Mostly there is nothing to take, and a look costs no commit.
        let sql = "SELECT EXISTS (SELECT 1 FROM requests WHERE operation = ?1)";
        let asked: bool =
            self.read().query_row(sql, [lease.operation.0 as i64], |row| row.get(0))?;
        if !asked {
            return Ok(vec![]);
        }
        let lease = lease.clone();
        let write = move |connection: &Connection| {
            must_hold(connection, &lease)?;
            let id = lease.operation.0 as i64;
            let mut statement = connection.prepare_cached(
                "SELECT request FROM requests WHERE operation = ?1 ORDER BY number",
            )?;
            let rows = statement.query_map([id], |row| row.get::<_, String>(0))?;
            let all = rows
                .map(|row| Ok(serde_json::from_str(&row?)?))
                .collect::<Result<Vec<Request>, StoreError>>()?;
            connection.execute("DELETE FROM requests WHERE operation = ?1", [id])?;
            Ok(all)
        };
        self.writer.write(write).await
    }

    async fn put_blob(&self, digest: &PluginDigest, bytes: &[u8]) -> Result<(), StoreError> {
        let (digest, bytes) = (digest.0.clone(), bytes.to_vec());
        let write = move |connection: &Connection| {
            let sql = "INSERT OR IGNORE INTO blobs (digest, bytes) VALUES (?1, ?2)";
            connection.execute(sql, params![digest, bytes])?;
            Ok(())
        };
        self.writer.write(write).await
    }

    async fn get_blob(&self, digest: &PluginDigest) -> Result<Option<Vec<u8>>, StoreError> {
        let connection = self.read();
        let sql = "SELECT bytes FROM blobs WHERE digest = ?1";
        Ok(connection.query_row(sql, [digest.as_str()], |row| row.get(0)).optional()?)
    }

    async fn append_logs(&self, id: OperationId, lines: Vec<LogLine>) -> Result<(), StoreError> {
        let write = move |connection: &Connection| {
            head(connection, id)?;
            let sql = "SELECT COALESCE(MAX(number), 0) FROM logs WHERE operation = ?1";
            let mut number: i64 = connection.query_row(sql, [id.0 as i64], |row| row.get(0))?;
            let mut statement = connection
                .prepare_cached("INSERT INTO logs (operation, number, line) VALUES (?1, ?2, ?3)")?;
            for line in &lines {
                number += 1;
                statement.execute(params![id.0 as i64, number, serde_json::to_string(line)?])?;
            }
            Ok(())
        };
        self.writer.write(write).await
    }

    async fn logs(&self, id: OperationId, after: u64) -> Result<Vec<LogLine>, StoreError> {
        let connection = self.read();
        head(&connection, id)?;
        let mut statement = connection.prepare_cached(
            "SELECT line FROM logs WHERE operation = ?1 AND number > ?2 ORDER BY number",
        )?;
        let rows =
            statement.query_map([id.0 as i64, after as i64], |row| row.get::<_, String>(0))?;
        rows.map(|row| Ok(serde_json::from_str(&row?)?)).collect()
    }

    async fn take_lease(&self, id: OperationId, runner: &RunnerId) -> Result<Lease, StoreError> {
        self.hold(runner)?;
        let (runner, alive) = (runner.0.clone(), Arc::clone(&self.alive));
        let write = move |connection: &Connection| {
            let (epoch, _, held) = head(connection, id)?;
            let held = held.filter(|other| *other != runner && !alive.is_dead(other));
            if let Some(other) = held {
                return Err(StoreError::LeaseHeld { id, runner: other });
            }
            let epoch = Epoch(epoch.0 + 1);
            connection.execute(
                "UPDATE operations SET epoch = ?2, runner = ?3 WHERE id = ?1",
                params![id.0 as i64, epoch.0 as i64, runner],
            )?;
            Ok(Lease { operation: id, epoch })
        };
        self.writer.write(write).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        let lease = lease.clone();
        let write = move |connection: &Connection| {
            must_hold(connection, &lease)?;
            let sql = "UPDATE operations SET runner = NULL WHERE id = ?1";
            connection.execute(sql, [lease.operation.0 as i64])?;
            Ok(())
        };
        self.writer.write(write).await
    }
}
