//! What SQLite says of a failure, as one of the store's classes.
//!
//! This is the one place that tells SQLite's result codes apart (SQLite docs, *Result and Error
//! Codes*); whoever uses a store sees its class alone. SQLite's own text goes along as the cause,
//! for people.

use crate::StoreError;
use rusqlite::ErrorCode;
use std::path::Path;

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let why = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy(why),
            Some(ErrorCode::DiskFull) => StoreError::Full(why),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => StoreError::ReadOnly(why),
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => StoreError::Io(why),
            _ => StoreError::Corrupt(why),
        }
    }
}

/// A text on record that is not what was written.
impl From<serde_json::Error> for StoreError {
    fn from(error: serde_json::Error) -> Self {
        StoreError::Corrupt(error.to_string())
    }
}

/// An error of the first use of the file, with its place.
pub(super) fn as_opening(path: &Path, error: rusqlite::Error) -> StoreError {
    match StoreError::from(error) {
        StoreError::Io(why) | StoreError::ReadOnly(why) => unusable(path, &why),
        StoreError::Corrupt(why) => StoreError::Corrupt(format!("{}: {why}", path.display())),
        other => other,
    }
}

pub(super) fn unusable(path: &Path, why: &str) -> StoreError {
    StoreError::Unusable { path: path.to_owned(), why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;

    #[test]
    fn each_code_is_told_by_its_class() {
        fn class(error: &StoreError) -> &'static str {
            match error {
                StoreError::Busy(_) => "busy",
                StoreError::Full(_) => "full",
                StoreError::ReadOnly(_) => "read-only",
                StoreError::Io(_) => "io",
                StoreError::Corrupt(_) => "corrupt",
                other => panic!("no code means {other:?}"),
            }
        }
        let table = [
            (ffi::SQLITE_BUSY, "busy"),
            (ffi::SQLITE_BUSY_SNAPSHOT, "busy"),
            (ffi::SQLITE_LOCKED, "busy"),
            (ffi::SQLITE_FULL, "full"),
            (ffi::SQLITE_READONLY, "read-only"),
            (ffi::SQLITE_READONLY_DIRECTORY, "read-only"),
            (ffi::SQLITE_PERM, "read-only"),
            (ffi::SQLITE_IOERR, "io"),
            (ffi::SQLITE_IOERR_FSYNC, "io"),
            (ffi::SQLITE_CANTOPEN, "io"),
            (ffi::SQLITE_CORRUPT, "corrupt"),
            (ffi::SQLITE_NOTADB, "corrupt"),
            (ffi::SQLITE_ERROR, "corrupt"),
        ];
        for (code, wanted) in table {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            assert_eq!(class(&StoreError::from(error)), wanted, "code {code}");
        }
        let error = StoreError::from(rusqlite::Error::QueryReturnedNoRows);
        assert_eq!(class(&error), "corrupt", "a row that must be there is not");
    }
}
