//! Records and what they imply, in the tables: one transaction keeps both.

use super::leases::Leases;
use super::listing::is_run;
use super::rows::text_if_any;
use crate::implied::{EndingChange, Implied, Known, Progress, Stage, implied};
use crate::{Ending, Lease, Requested, StoreError};
use rusqlite::{Connection, OptionalExtension, params};
use stepback_core::event::Record;
use stepback_core::{Epoch, OperationId, Seq};

/// The operation's epoch, last event and runner.
pub(super) fn head(
    connection: &Connection,
    id: OperationId,
) -> Result<(Epoch, Seq, Option<String>), StoreError> {
    let sql = "SELECT epoch, last_seq, runner FROM operations WHERE id = ?1";
    let row = connection
        .prepare_cached(sql)?
        .query_row([id.0 as i64], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, text_if_any(row, 2)?))
        })
        .optional()?;
    let (epoch, seq, runner) = row.ok_or(StoreError::NotFound(id))?;
    Ok((Epoch(epoch.max(0) as u64), Seq(seq.max(0) as u64), runner))
}

/// What is known of the operation, if the lease is still its own.
pub(super) fn must_hold(connection: &Connection, lease: &Lease) -> Result<Known, StoreError> {
    let id = lease.operation;
    let (now, last, runner) = head(connection, id)?;
    lease.must_be_of(now, runner.as_deref())?;
    let sql = "SELECT EXISTS (SELECT 1 FROM requests WHERE operation = ?1)";
    let has_requests =
        connection.prepare_cached(sql)?.query_row([id.0 as i64], |row| row.get(0))?;
    Ok(Known { id, last, has_requests })
}

/// Write records after `after`, and all that they imply.
pub(super) fn insert(
    connection: &Connection,
    known: Known,
    after: Seq,
    records: &[Record],
) -> Result<(), StoreError> {
    let implied = implied(known, after, records)?;
    let id = known.id.0 as i64;
    let mut statement = connection
        .prepare_cached("INSERT INTO events (operation, seq, record) VALUES (?1, ?2, ?3)")?;
    for record in records {
        let text = serde_json::to_string(record)?;
        statement.execute(params![id, record.seq.0 as i64, text])?;
    }
    keep(connection, id, implied)
}

/// Carry out what records imply.
fn keep(connection: &Connection, id: i64, implied: Implied) -> Result<(), StoreError> {
    let Implied { last, progress, drops_requests, leaves_queue, releases_locks } = implied;
    let sql = "UPDATE operations SET last_seq = ?2 WHERE id = ?1";
    connection.execute(sql, params![id, last.0 as i64])?;
    keep_progress(connection, id, progress)?;
    if drops_requests {
        connection.execute("DELETE FROM requests WHERE operation = ?1", [id])?;
    }
    if leaves_queue {
        connection.execute("DELETE FROM waiting WHERE operation = ?1", [id])?;
    }
    if releases_locks {
        connection.execute("DELETE FROM locks WHERE owner = ?1", [id])?;
    }
    Ok(())
}

/// Keep beside the events how far the operation is, for those who must not read them all.
pub(super) fn keep_progress(
    connection: &Connection,
    id: i64,
    progress: Progress,
) -> Result<(), StoreError> {
    if let Some(stage) = progress.stage {
        let sql = "UPDATE operations SET stage = ?2 WHERE id = ?1";
        connection.execute(sql, params![id, stage.name()])?;
    }
    let ending = match progress.ending {
        EndingChange::Same => return Ok(()),
        EndingChange::GoesOn => None,
        EndingChange::Ends(ending) => Some(serde_json::to_string(&ending)?),
    };
    let sql = "UPDATE operations SET ending = ?2 WHERE id = ?1";
    connection.execute(sql, params![id, ending])?;
    Ok(())
}

/// What becomes of a request for the operation.
pub(super) fn answer(
    connection: &Connection,
    leases: &Leases,
    id: OperationId,
) -> Result<Requested, StoreError> {
    let sql = "SELECT stage, ending, runner FROM operations WHERE id = ?1";
    let row = connection
        .prepare_cached(sql)?
        .query_row([id.0 as i64], |row| {
            Ok((row.get::<_, String>(0)?, text_if_any(row, 1)?, text_if_any(row, 2)?))
        })
        .optional()?;
    let (stage, ending, runner) = row.ok_or(StoreError::NotFound(id))?;
    let known = Stage::named(&stage);
    let stage = known.ok_or_else(|| StoreError::Corrupt(format!("stage `{stage}`")))?;
    let ending: Option<Ending> = ending.map(|text| serde_json::from_str(&text)).transpose()?;
    Ok(stage.answer(ending, is_run(connection, leases, runner.as_deref())?))
}

/// Whether the events reach as far as the store says that they do: a journal whose end is gone
/// would be believed, and the world taken for what it is not. More may have come meanwhile.
///
/// # Errors
/// [`StoreError::Unreadable`], with the first event that is gone.
pub(super) fn must_reach(id: OperationId, last: Seq, found: Option<Seq>) -> Result<(), StoreError> {
    let found = found.unwrap_or_default();
    if found >= last {
        return Ok(());
    }
    let why = format!("it is gone, with all that came after it up to event {}", last.0);
    Err(StoreError::Unreadable { id, seq: Seq(found.0 + 1), why })
}
