//! What all plugins of a runtime share.

use crate::cache::Cache;
use crate::limits::Limits;
use std::sync::Arc;
use tokio::sync::Semaphore;
use wasmtime::Engine;

/// What every plugin needs of its runtime.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) limits: Limits,
    pub(crate) cache: Option<Cache>,
    /// One permit per guest that may live at once, as many as the pool has room for.
    pub(crate) permits: Arc<Semaphore>,
}
