//! What operations there are, how each ended, and whether anybody runs it.

use super::leases::Leases;
use super::rows::{text_if_any, text_of};
use crate::store::pinned_by;
use crate::{StoreError, Summary};
use rusqlite::{Connection, Row};
use stepback_core::event::Pinned;
use stepback_core::{EnvironmentName, OperationId, Seq, Shared, UnixMs};

/// What [`of`] reads.
const SUMMARIES: &str = "SELECT id, manifest, environment, created_at, last_seq, ending, runner,
            (SELECT request FROM requests WHERE operation = id ORDER BY number LIMIT 1)
     FROM operations";

pub(super) fn all(connection: &Connection, leases: &Leases) -> Result<Vec<Summary>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("{SUMMARIES} ORDER BY id"))?;
    let mut rows = statement.query([])?;
    let mut all = vec![];
    while let Some(row) = rows.next()? {
        all.push(of(connection, leases, row)?);
    }
    Ok(all)
}

pub(super) fn one(
    connection: &Connection,
    leases: &Leases,
    id: OperationId,
) -> Result<Option<Summary>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("{SUMMARIES} WHERE id = ?1"))?;
    let mut rows = statement.query([id.0 as i64])?;
    rows.next()?.map(|row| of(connection, leases, row)).transpose()
}

fn of(connection: &Connection, leases: &Leases, row: &Row) -> Result<Summary, StoreError> {
    let (ending, runner) = (text_if_any(row, 5)?, text_if_any(row, 6)?);
    let id = OperationId(row.get::<_, i64>(0)? as u64);
    // One that can't be read has not ended, as far as is known.
    let finished = ending.and_then(|text| serde_json::from_str(&text).ok());
    let is_run = is_run(connection, leases, runner.as_deref())?;
    let left_at = match (&runner, finished.is_some() || is_run) {
        (_, true) => None,
        (Some(runner), false) => Leases::seen_at(connection, runner)?,
        (None, false) => released_at(connection, id)?,
    };
    Ok(Summary {
        id,
        manifest: text_of(row, 1)?,
        environment: EnvironmentName(text_of(row, 2)?),
        created_at: UnixMs(row.get::<_, i64>(3)? as u64),
        last_seq: Seq(row.get::<_, i64>(4)? as u64),
        finished,
        is_run,
        left_at,
        cancel: text_if_any(row, 7)?.and_then(|text| serde_json::from_str(&text).ok()),
    })
}

pub(super) fn is_run(
    connection: &Connection,
    leases: &Leases,
    runner: Option<&str>,
) -> Result<bool, StoreError> {
    match runner {
        None => Ok(false),
        Some(runner) => Ok(leases.left_ms(connection, runner, 0)? != Some(0)),
    }
}

/// When its runner left it, if it did.
pub(super) fn released_at(
    connection: &Connection,
    id: OperationId,
) -> Result<Option<UnixMs>, StoreError> {
    let sql = "SELECT released_at FROM operations WHERE id = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let at: Option<i64> = statement.query_row([id.0 as i64], |row| row.get(0))?;
    Ok(at.map(|at| UnixMs(at as u64)))
}

/// The first event of an operation, by itself.
pub(super) fn began_with(connection: &Connection, id: OperationId) -> Option<Shared<Pinned>> {
    let mut statement = connection
        .prepare_cached("SELECT record FROM events WHERE operation = ?1 AND seq = 1")
        .ok()?;
    let text: String = statement.query_row([id.0 as i64], |row| row.get(0)).ok()?;
    pinned_by(serde_json::from_str(&text).ok()?)
}
