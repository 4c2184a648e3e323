//! Where a pool is.

use std::path::PathBuf;
use stepback_provider::endpoint::Endpoint;

/// How a pool is reached, and how what is changed outlives a reload.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// The runtime socket of each process that serves the pool: every one is told everything.
    pub sockets: Vec<Endpoint>,
    /// The master's socket (`-S`), over which the workers that a reload left are asked.
    pub master: Option<Endpoint>,
    /// The backend whose servers are the pool's places.
    pub backend: String,
    /// How it outlives a reload.
    pub saved: Saved,
}

/// How what is changed at runtime outlives a reload of HAProxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saved {
    /// It is written here after each change, and read at a start
    /// (`load-server-state-from-file local`).
    StateFile(PathBuf),
    /// Whatever reloads it saves the state first.
    ByReloadHook,
}
