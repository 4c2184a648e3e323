//! Whether a store has the tables that Stepback makes, to the letter, and nothing else: a trigger,
//! a generated column or a clause that ignores conflicts would change what is asked or written.

use crate::StoreError;
use rusqlite::Connection;
use std::path::Path;

/// What SQLite keeps of one table, index, view or trigger (SQLite docs, *The Schema Table*).
#[derive(Debug, PartialEq, Eq)]
struct Thing {
    kind: String,
    name: String,
    /// As it was made and changed since; an index of a primary key has none.
    text: Option<String>,
}

/// Whether a store's tables are what these changes make of an empty one.
///
/// # Errors
/// [`StoreError::Corrupt`], with the first thing that is another.
pub(super) fn must_be_made_by(
    changes: &[&str],
    path: &Path,
    store: &Connection,
) -> Result<(), StoreError> {
    let own = Connection::open_in_memory()?;
    changes.iter().try_for_each(|change| own.execute_batch(change))?;
    let (own, found) = (things(&own)?, things(store)?);
    let odd = found.iter().find(|thing| !own.contains(thing));
    let lacking = own.iter().find(|thing| !found.contains(thing));
    let said = |Thing { kind, name, .. }: &Thing| format!("{kind} `{}`", name.escape_default());
    let why = match (odd, lacking) {
        (None, None) => return Ok(()),
        (Some(odd), _) if own.iter().any(|thing| thing.name == odd.name) => {
            format!("its {} is not as Stepback made it", said(odd))
        }
        (Some(odd), _) => format!("Stepback did not make its {}", said(odd)),
        (None, Some(lacking)) => format!("its {} is gone", said(lacking)),
    };
    Err(StoreError::Corrupt(format!("{}: {why}", path.display())))
}

/// All there is but what `ANALYZE` keeps, which only makes a question faster or slower.
fn things(of: &Connection) -> Result<Vec<Thing>, StoreError> {
    let sql = "SELECT type, name, sql FROM sqlite_schema
               WHERE NOT (type = 'table' AND name IN ('sqlite_stat1', 'sqlite_stat4'))";
    let mut all = of.prepare(sql)?;
    let thing = |row: &rusqlite::Row<'_>| {
        Ok(Thing { kind: row.get(0)?, name: row.get(1)?, text: row.get(2)? })
    };
    let things = all.query_map([], thing)?.collect::<Result<_, _>>()?;
    Ok(things)
}
