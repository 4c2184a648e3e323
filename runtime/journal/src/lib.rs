//! The store of journals: the only truth about every operation.
//!
//! It keeps what it is given, in order, and lets nobody overwrite it: an append names the
//! sequence number it follows and the lease it is made under, and is durable when it returns. It
//! knows nothing of plans, plugins or providers; of an event it looks only at what ends an
//! operation, because locks are released in that very transaction.

mod error;
mod memory;
mod random;
mod sqlite;
mod store;

pub use error::StoreError;
pub use memory::Memory;
pub use sqlite::{Found, Sqlite, look_into};
pub use store::*;
