//! The store of journals: the only truth about every operation.
//!
//! It keeps what it is given, in order, and lets nobody overwrite it: an append names the
//! sequence number it follows and the lease it is made under, and is durable when it returns. It
//! knows nothing of plans, plugins or providers; of an event it looks only at what it implies for
//! that which is kept beside the events in the same transaction, such as locks (`implied.rs`).

mod around;
mod error;
mod implied;
mod memory;
mod random;
mod sqlite;
mod store;

pub use around::Around;
pub use error::StoreError;
pub use memory::{Instant, Memory};
pub use sqlite::{Found, Sqlite, look_into};
pub use store::*;
