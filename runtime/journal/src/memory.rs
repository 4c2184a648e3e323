//! A store in memory: SQLite's own, so that there is one set of rules and not two.

use crate::{Sqlite, StoreError};

/// A store that is gone with its process: for tests and for trying things out.
pub struct Memory;

impl Memory {
    /// A new, empty store.
    ///
    /// # Errors
    /// If SQLite can't be set up.
    pub fn open() -> Result<Sqlite, StoreError> {
        Sqlite::in_memory()
    }
}
