//! What all plugins of a runtime share.

use crate::cache::Cache;
use crate::limits::Limits;
use std::sync::Arc;
use tokio::sync::Semaphore;
use wasmtime::Engine;

/// Whether guests that share a thread take turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Turns {
    /// One that computes stands aside every few milliseconds.
    #[default]
    ByTime,
    /// Each computes until it makes a call, or its time is up.
    UntilACall,
}

/// What every plugin needs of its runtime.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) limits: Limits,
    pub(crate) cache: Option<Cache>,
    /// One permit per guest that may live at once, as many as the pool has room for.
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) turns: Turns,
}
