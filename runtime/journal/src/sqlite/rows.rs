//! Reading rows of which one may be damaged.

use rusqlite::Row;

/// A text, whatever its bytes are: one that is damaged must not hide all others.
pub(super) fn text_of(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    Ok(text_if_any(row, column)?.unwrap_or_default())
}

/// The same of what may be nothing.
pub(super) fn text_if_any(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<String>> {
    let bytes = row.get_ref(column)?.as_bytes_or_null().unwrap_or_default();
    Ok(bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
}
