//! Where a pool is.

use std::path::PathBuf;
use stepback_provider::endpoint::Endpoint;

/// How a pool is reached, and how what is changed outlives a reload.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// The runtime socket of each process that serves the pool: every one is told everything.
    pub sockets: Vec<Endpoint>,
    /// Their masters' sockets (`-S`), over which the workers that a reload left are asked.
    pub masters: Vec<Endpoint>,
    /// The backend whose servers are the pool's places.
    pub backend: String,
    /// How it outlives a reload.
    pub saved: Saved,
}

/// How what is changed at runtime outlives a reload of HAProxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saved {
    /// It is written to a file of each process after each change, and read at its start
    /// (`load-server-state-from-file local`).
    StateFiles(Vec<PathBuf>),
    /// Whatever reloads it saves the state first.
    ByReloadHook,
}
