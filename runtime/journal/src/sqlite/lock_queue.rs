//! Locks, and the line of those who wait for them (R13).

use super::leases::Leases;
use super::listing::is_run;
use super::rows::{text_if_any, text_of};
use crate::{Busy, BusyHow, Ending, LockAnswer, LockRow, StoreError};
use rusqlite::{Connection, OptionalExtension, params};
use stepback_core::*;

/// What is asked for.
pub(super) struct Wanted<'a> {
    pub(super) asker: OperationId,
    pub(super) environment: &'a EnvironmentName,
    pub(super) names: &'a [LockName],
    pub(super) at: UnixMs,
    pub(super) wait: bool,
}

/// Take all of the locks, or none; first come, first served.
pub(super) fn lock_all(
    connection: &Connection,
    leases: &Leases,
    wanted: &Wanted<'_>,
) -> Result<LockAnswer, StoreError> {
    // Whoever held a lock for an operation that is not on record will never release it.
    connection.execute("DELETE FROM locks WHERE owner NOT IN (SELECT id FROM operations)", [])?;
    let busy = match held_by_other(connection, leases, wanted)? {
        Some(busy) => Some(busy),
        // Whoever has them all already stands in no line.
        None if has_all(connection, wanted)? => None,
        None => waits_before(connection, leases, wanted)?,
    };
    let asker = wanted.asker.0 as i64;
    let environment = wanted.environment.as_str();
    if let Some(busy) = busy {
        if wanted.wait && busy.how.is_worth_waiting() {
            let names = serde_json::to_string(wanted.names)?;
            connection.execute(
                "INSERT OR IGNORE INTO waiting (operation, environment, names, since)
                 VALUES (?1, ?2, ?3, ?4)",
                params![asker, environment, names, wanted.at.0 as i64],
            )?;
        }
        return Ok(LockAnswer::Busy(busy));
    }
    for name in wanted.names {
        connection.execute(
            "INSERT OR IGNORE INTO locks (environment, name, owner, since) VALUES (?1, ?2, ?3, ?4)",
            params![environment, name.as_str(), asker, wanted.at.0 as i64],
        )?;
    }
    connection.execute("DELETE FROM waiting WHERE operation = ?1", [asker])?;
    Ok(LockAnswer::Held)
}

fn has_all(connection: &Connection, wanted: &Wanted<'_>) -> Result<bool, StoreError> {
    let mut own = connection.prepare_cached(
        "SELECT EXISTS
         (SELECT 1 FROM locks WHERE environment = ?1 AND name = ?2 AND owner = ?3)",
    )?;
    for name in wanted.names {
        let key = params![wanted.environment.as_str(), name.as_str(), wanted.asker.0 as i64];
        if !own.query_row(key, |row| row.get::<_, bool>(0))? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn held_by_other(
    connection: &Connection,
    leases: &Leases,
    wanted: &Wanted<'_>,
) -> Result<Option<Busy>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT owner, since, ending, runner FROM locks JOIN operations ON operations.id = owner
         WHERE locks.environment = ?1 AND name = ?2 AND owner != ?3",
    )?;
    for name in wanted.names {
        let key = params![wanted.environment.as_str(), name.as_str(), wanted.asker.0 as i64];
        type Held = (i64, i64, Option<String>, Option<String>);
        let held = statement.query_row(key, |row| -> rusqlite::Result<Held> {
            Ok((row.get(0)?, row.get(1)?, text_if_any(row, 2)?, text_if_any(row, 3)?))
        });
        let Some((owner, since, ending, runner)) = held.optional()? else { continue };
        // One that can't be read has not ended, as far as is known.
        let ending: Option<Ending> = ending.and_then(|text| serde_json::from_str(&text).ok());
        let how = BusyHow::of_holder(ending, is_run(connection, leases, runner.as_deref())?);
        let (by, since) = (OperationId(owner as u64), UnixMs(since as u64));
        return Ok(Some(Busy { name: name.clone(), by, since, how }));
    }
    Ok(None)
}

/// The first one in line that wants one of the locks, came before the asker and still lives.
fn waits_before(
    connection: &Connection,
    leases: &Leases,
    wanted: &Wanted<'_>,
) -> Result<Option<Busy>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT waiting.operation, names, since, runner FROM waiting
         JOIN operations ON operations.id = waiting.operation
         WHERE waiting.environment = ?1 AND waiting.operation != ?2 AND ending IS NULL
           AND number < COALESCE((SELECT number FROM waiting WHERE operation = ?2), 1 << 62)
         ORDER BY number",
    )?;
    let mut rows = statement.query(params![wanted.environment.as_str(), wanted.asker.0 as i64])?;
    while let Some(row) = rows.next()? {
        let names = names_in(&text_of(row, 1)?);
        let Some(name) = wanted.names.iter().find(|name| names.contains(name)) else { continue };
        let runner = text_if_any(row, 3)?;
        if is_run(connection, leases, runner.as_deref())? {
            return Ok(Some(Busy {
                name: name.clone(),
                by: OperationId(row.get::<_, i64>(0)? as u64),
                since: UnixMs(row.get::<_, i64>(2)? as u64),
                how: BusyHow::WaitsBefore,
            }));
        }
    }
    Ok(None)
}

/// What somebody waits for; who waits for what can't be read stands in nobody's way.
fn names_in(text: &str) -> Vec<LockName> {
    serde_json::from_str(text).unwrap_or_default()
}

/// Every lock that is held, and who waits for it.
pub(super) fn all(connection: &Connection) -> Result<Vec<LockRow>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT environment, name, owner, since FROM locks ORDER BY environment, name",
    )?;
    let mut rows = statement.query([])?;
    let mut locks = vec![];
    while let Some(row) = rows.next()? {
        locks.push(LockRow {
            environment: EnvironmentName(text_of(row, 0)?),
            name: LockName(text_of(row, 1)?),
            owner: OperationId(row.get::<_, i64>(2)? as u64),
            since: UnixMs(row.get::<_, i64>(3)? as u64),
            waiting: vec![],
        });
    }
    let mut statement = connection
        .prepare_cached("SELECT operation, environment, names FROM waiting ORDER BY number")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (id, environment) = (OperationId(row.get::<_, i64>(0)? as u64), text_of(row, 1)?);
        let names = names_in(&text_of(row, 2)?);
        let environment = EnvironmentName(environment);
        for lock in &mut locks {
            if lock.environment == environment && names.contains(&lock.name) {
                lock.waiting.push(id);
            }
        }
    }
    Ok(locks)
}
