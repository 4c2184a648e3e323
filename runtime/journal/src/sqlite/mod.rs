//! The store in SQLite: one file, WAL, every commit on disk before its callers are told.
//!
//! `synchronous=FULL` makes a commit survive a power cut (SQLite docs, *PRAGMA synchronous*).
//! Reads have a connection of their own and see what was committed last.

mod elsewhere;
mod errors;
mod leases;
mod listing;
mod liveness;
mod lock_queue;
mod records;
mod request_poller;
mod rows;
mod schema;
mod tables;
mod writer;

use crate::implied::Known;
use crate::*;
use async_trait::async_trait;
use elsewhere::is_nowhere;
pub use elsewhere::{Found, look_into};
use errors::{as_opening, unusable};
use leases::Leases;
use listing::released_at;
use liveness::{Liveness, RUNNERS};
use lock_queue::Wanted;
use records::{answer, head, insert, must_hold, must_reach};
use request_poller::{RequestPoller, until_it_may_concern};
use rusqlite::{Connection, OptionalExtension, params};
use schema::migrate;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use stepback_clock::Clock;
use stepback_core::event::{Event, Pinned, Record};
use stepback_core::*;
use stepback_files::private;
use writer::Writer;

/// How long a change waits for another process's commit: longer than a backup of the file takes,
/// because what waits may be an operation in its downtime.
const WRITER_BUSY_MS: u32 = 30_000;
/// How long a read waits; in WAL mode it has nobody to wait for but at the very beginning.
const READER_BUSY_MS: u32 = 5_000;
/// How long a lease lasts, and how often it is renewed.
const TERMS: LeaseTerms = LeaseTerms { length_ms: 8_000, renew_every_ms: Some(2_000) };

/// What tells that a directory is a store's.
const MARKS: [&str; 3] = ["journal.db", "journal.db-wal", RUNNERS];

/// A store in a SQLite file.
pub struct Sqlite {
    id: StoreId,
    dir: PathBuf,
    reader: Arc<Mutex<Connection>>,
    writer: Arc<Writer>,
    leases: Arc<Leases>,
    poller: RequestPoller,
}

impl Sqlite {
    /// Whether there is a store in `dir`, or a sign that there was one: opening it then tells that
    /// it is gone, and makes no new one.
    ///
    /// # Errors
    /// A directory that can't be looked into: nobody can say what is in it.
    pub fn was_in(dir: &Path) -> std::io::Result<bool> {
        for name in MARKS {
            match std::fs::metadata(dir.join(name)) {
                Ok(_) => return Ok(true),
                Err(error) if is_nowhere(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Open the store `journal.db` in `dir`, making both where they are not there.
    ///
    /// # Errors
    /// A directory or file that can't be used, or a store of a newer version.
    pub fn open(dir: &Path, clock: Clock) -> Result<Self, StoreError> {
        Self::open_with(dir, TERMS, clock)
    }

    /// The same with other terms for leases.
    ///
    /// # Errors
    /// Those of [`Sqlite::open`].
    pub fn open_with(dir: &Path, terms: LeaseTerms, clock: Clock) -> Result<Self, StoreError> {
        let path = dir.join("journal.db");
        private::top(dir, &MARKS).map_err(|error| unusable(dir, &error.to_string()))?;
        schema::must_not_be_emptied(&path)?;
        make_private(&path).map_err(|error| unusable(&path, &error.to_string()))?;
        let connect = || Connection::open(&path).map_err(|e| unusable(&path, &e.to_string()));
        let (writer, reader) = (connect()?, connect()?);
        let id = set_up(&path, &writer, &reader)?;
        let no_thread = |error: std::io::Error| {
            StoreError::Io(format!("no thread can be started for the store: {error}"))
        };
        let writer = Arc::new(Writer::start(writer).map_err(no_thread)?);
        let leases = Leases::new(terms, Liveness::new(dir, clock.clone()), clock.clone());
        Leases::keep_renewing(&leases, &writer).map_err(no_thread)?;
        let reader = Arc::new(Mutex::new(reader));
        let poller = RequestPoller::start(&reader, clock).map_err(no_thread)?;
        let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        Ok(Self { id, dir, reader, writer, leases, poller })
    }

    /// Show that the runner lives, before it gets its first lease.
    fn show_alive(&self, runner: &RunnerId) -> Result<(), StoreError> {
        let unwritable = |error: std::io::Error| match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                StoreError::ReadOnly(error.to_string())
            }
            _ => StoreError::Io(error.to_string()),
        };
        self.leases.liveness.hold(&runner.0).map_err(unwritable)
    }

    /// How many commits this process made, for measuring.
    pub fn commits(&self) -> u64 {
        self.writer.commits()
    }

    /// After its lease had run out: whether nobody took the operation over meanwhile.
    async fn must_not_be_taken(&self, lease: &Lease) -> Result<(), StoreError> {
        match self.hold(lease).await {
            Err(error @ StoreError::StaleEpoch { .. }) => Err(error),
            // One that can't be asked now is asked before the next effect.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn read(&self) -> MutexGuard<'_, Connection> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// SQLite makes what is beside the file with the mode of the file (SQLite's source, `os_unix.c`,
/// *findCreateFileMode*), and the file itself for whomever the umask lets have it.
fn make_private(path: &Path) -> std::io::Result<()> {
    if !path.exists() {
        match private::make(path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    for name in ["db", "db-wal", "db-shm"] {
        private::tighten(&path.with_extension(name))?;
    }
    Ok(())
}

fn set_up(path: &Path, writer: &Connection, reader: &Connection) -> Result<StoreId, StoreError> {
    writer.pragma_update(None, "busy_timeout", WRITER_BUSY_MS)?;
    reader.pragma_update(None, "busy_timeout", READER_BUSY_MS)?;
    writer
        .execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;")
        .map_err(|error| as_opening(path, error))?;
    migrate(path, writer)
}

#[async_trait]
impl Store for Sqlite {
    fn id(&self) -> StoreId {
        self.id.clone()
    }

    fn place(&self) -> Option<PathBuf> {
        Some(self.dir.clone())
    }

    async fn now(&self) -> Result<StoreTime, StoreError> {
        Ok(self.leases.now())
    }

    async fn create(
        &self,
        pinned: Shared<Pinned>,
        at: UnixMs,
        runner: &RunnerId,
    ) -> Result<(OperationId, Lease), StoreError> {
        self.show_alive(runner)?;
        let (name, leases) = (runner.clone(), Arc::clone(&self.leases));
        let write = move |connection: &Connection| {
            connection.execute(
                "INSERT INTO operations (manifest, environment, created_at, last_seq, epoch, runner)
                 VALUES (?1, ?2, ?3, 0, 1, ?4)",
                params![pinned.manifest_name, pinned.environment.as_str(), at.0 as i64, name.0],
            )?;
            let id = OperationId(connection.last_insert_rowid() as u64);
            let event = Event::Created(pinned);
            let record = Record { seq: Seq(1), at, epoch: Epoch(1), event };
            let known = Known { id, last: Seq(0), has_requests: false };
            insert(connection, known, Seq(0), &[record])?;
            let asked = leases.write(connection, &name)?;
            Ok((id, asked, Lease { operation: id, epoch: Epoch(1), runner: name }))
        };
        let (id, asked, lease) = self.writer.write(write).await?;
        self.leases.written(runner, asked, Some(id));
        Ok((id, lease))
    }

    async fn append(
        &self,
        lease: &Lease,
        last: Seq,
        records: Vec<Record>,
    ) -> Result<(), StoreError> {
        let lease = lease.clone();
        let write = move |connection: &Connection| {
            let known = must_hold(connection, &lease)?;
            insert(connection, known, last, &records)
        };
        self.writer.write(write).await
    }

    async fn load(&self, id: OperationId) -> Result<Vec<Record>, StoreError> {
        let connection = self.read();
        let (_, last, _) = head(&connection, id)?;
        let mut statement = connection
            .prepare_cached("SELECT seq, record FROM events WHERE operation = ?1 ORDER BY seq")?;
        let mut rows = statement.query([id.0 as i64])?;
        let mut records = vec![];
        while let Some(row) = rows.next()? {
            let seq: i64 = row.get(0)?;
            let record = row.get::<_, String>(1).map_err(|error| error.to_string());
            let record = record
                .and_then(|text| serde_json::from_str(&text).map_err(|error| error.to_string()));
            let unreadable = |why| StoreError::Unreadable { id, seq: Seq(seq as u64), why };
            records.push(record.map_err(unreadable)?);
        }
        must_reach(id, last, records.last().map(|record: &Record| record.seq))?;
        Ok(records)
    }

    async fn began_with(&self, id: OperationId) -> Option<Shared<Pinned>> {
        listing::began_with(&self.read(), id)
    }

    async fn list(&self) -> Result<Vec<Summary>, StoreError> {
        listing::all(&self.read(), &self.leases)
    }

    async fn summary(&self, id: OperationId) -> Result<Option<Summary>, StoreError> {
        listing::one(&self.read(), &self.leases, id)
    }

    async fn acquire_locks(
        &self,
        lease: &Lease,
        environment: &EnvironmentName,
        names: &[LockName],
        at: UnixMs,
        wait: bool,
    ) -> Result<LockAnswer, StoreError> {
        let (lease, environment, names) = (lease.clone(), environment.clone(), names.to_vec());
        let leases = Arc::clone(&self.leases);
        let write = move |connection: &Connection| {
            must_hold(connection, &lease)?;
            let (asker, environment, names) = (lease.operation, &environment, &names[..]);
            let wanted = Wanted { asker, environment, names, at, wait };
            lock_queue::lock_all(connection, &leases, &wanted)
        };
        self.writer.write(write).await
    }

    async fn locks(&self) -> Result<Vec<LockRow>, StoreError> {
        lock_queue::all(&self.read())
    }

    async fn request(&self, id: OperationId, request: Request) -> Result<Requested, StoreError> {
        let leases = Arc::clone(&self.leases);
        let write = move |connection: &Connection| {
            let answer = answer(connection, &leases, id)?;
            if let Requested::Kept { .. } = answer {
                let text = serde_json::to_string(&request)?;
                connection.execute(
                    "INSERT INTO requests (operation, request) VALUES (?1, ?2)",
                    params![id.0 as i64, text],
                )?;
            }
            Ok(answer)
        };
        self.writer.write(write).await
    }

    async fn requests(&self, lease: &Lease) -> Result<Vec<Request>, StoreError> {
        let connection = self.read();
        let mut statement = connection
            .prepare_cached("SELECT request FROM requests WHERE operation = ?1 ORDER BY number")?;
        let id = lease.operation.0 as i64;
        let rows = statement.query_map([id], |row| row.get::<_, String>(0))?;
        rows.map(|row| Ok(serde_json::from_str(&row?)?)).collect()
    }

    async fn until_requested(&self, lease: &Lease) -> Result<Vec<Request>, StoreError> {
        let (mut polls, mut gaps) = (self.poller.subscribe(), self.leases.gaps());
        let mut was_seen = false;
        loop {
            let is_gap = tokio::select! {
                () = until_it_may_concern(lease.operation, &mut polls, was_seen) => false,
                _ = gaps.changed() => true,
            };
            if is_gap {
                self.must_not_be_taken(lease).await?;
                continue;
            }
            let requests = self.requests(lease).await?;
            if !requests.is_empty() {
                return Ok(requests);
            }
            was_seen = true;
        }
    }

    async fn put_blob(&self, digest: &PluginDigest, bytes: &[u8]) -> Result<(), StoreError> {
        // Most operations run what others ran before, and nothing that is there goes.
        if self.has_blob(digest)? {
            return Ok(());
        }
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
        let mut statement = connection.prepare_cached(sql)?;
        Ok(statement.query_row([digest.as_str()], |row| row.get(0)).optional()?)
    }

    async fn append_logs(&self, id: OperationId, lines: Vec<LogLine>) -> Result<(), StoreError> {
        let write = move |connection: &Connection| {
            head(connection, id)?;
            let sql = "SELECT COALESCE(MAX(number), 0) FROM logs WHERE operation = ?1";
            let mut last = connection.prepare_cached(sql)?;
            let mut number: i64 = last.query_row([id.0 as i64], |row| row.get(0))?;
            let mut statement = connection
                .prepare_cached("INSERT INTO logs (operation, number, line) VALUES (?1, ?2, ?3)")?;
            for line in &lines {
                number = number.saturating_add(1);
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

    async fn take_lease(
        &self,
        id: OperationId,
        runner: &RunnerId,
        grace_ms: u64,
    ) -> Result<Takeover, StoreError> {
        self.show_alive(runner)?;
        let (name, leases) = (runner.clone(), Arc::clone(&self.leases));
        let write = move |connection: &Connection| {
            let (epoch, _, held) = head(connection, id)?;
            let other = held.filter(|other| *other != name.0);
            let left_ms = match &other {
                None => Some(0),
                Some(other) => leases.left_ms(connection, other, grace_ms)?,
            };
            let silent_since = leases.silent_since(connection, other.as_deref())?;
            let last_alive = match &other {
                Some(other) if left_ms == Some(0) => Leases::seen_at(connection, other)?,
                Some(other) => {
                    return Err(StoreError::LeaseHeld { id, runner: other.clone(), left_ms });
                }
                None => released_at(connection, id)?,
            };
            let epoch = Epoch(epoch.0 + 1);
            // What is there tells what was appended last.
            connection.execute(
                "UPDATE operations SET epoch = ?2, runner = ?3, last_seq =
                 (SELECT COALESCE(MAX(seq), 0) FROM events WHERE operation = ?1) WHERE id = ?1",
                params![id.0 as i64, epoch.0 as i64, name.0],
            )?;
            drop_unused_runners(connection)?;
            let asked = leases.write(connection, &name)?;
            let lease = Lease { operation: id, epoch, runner: name };
            Ok((asked, Takeover { lease, last_alive, silent_since }))
        };
        let (asked, takeover) = self.writer.write(write).await?;
        self.leases.written(runner, asked, Some(id));
        Ok(takeover)
    }

    fn shows_alive(&self, runner: &str) -> bool {
        self.leases.liveness.is_shown(runner)
    }

    async fn hold(&self, lease: &Lease) -> Result<(), StoreError> {
        if self.leases.is_fresh(lease) {
            return Ok(());
        }
        let (held, leases) = (lease.clone(), Arc::clone(&self.leases));
        let write = move |connection: &Connection| {
            must_hold(connection, &held)?;
            leases.write(connection, &held.runner)
        };
        let asked = self.writer.write(write).await?;
        self.leases.written(&lease.runner, asked, Some(lease.operation));
        Ok(())
    }

    async fn release(&self, lease: &Lease, at: UnixMs) -> Result<(), StoreError> {
        self.leases.drop_lease(lease);
        let lease = lease.clone();
        let write = move |connection: &Connection| {
            must_hold(connection, &lease)?;
            let sql = "UPDATE operations SET runner = NULL, released_at = ?2 WHERE id = ?1";
            connection.execute(sql, params![lease.operation.0 as i64, at.0 as i64])?;
            Ok(())
        };
        self.writer.write(write).await
    }
}

impl Sqlite {
    fn has_blob(&self, digest: &PluginDigest) -> Result<bool, StoreError> {
        let connection = self.read();
        let sql = "SELECT EXISTS (SELECT 1 FROM blobs WHERE digest = ?1)";
        let mut statement = connection.prepare_cached(sql)?;
        Ok(statement.query_row([digest.as_str()], |row| row.get(0))?)
    }
}

/// Forget runners that hold nothing; a runner that lives writes itself down again.
fn drop_unused_runners(connection: &Connection) -> Result<(), StoreError> {
    connection.execute(
        "DELETE FROM runners WHERE name NOT IN
           (SELECT runner FROM operations WHERE runner IS NOT NULL)",
        [],
    )?;
    Ok(())
}
