//! What the host keeps of one running guest: its port, its mode, and the meters of its limits.
//!
//! A passed limit is raised as a [`GuestFault`] inside wasmtime's error, so that it is found
//! again by its type when the guest's call ends.

use crate::fault::GuestFault;
use crate::invocation::{Grants, Mode};
use crate::limits::Limits;
use crate::log::GuestLog;
use crate::port::HostPort;
use crate::quota::Room;
use crate::wasi::{HasWasi, Wasi};
use crate::watch::Watch;
use std::sync::Arc;
use wasmtime_wasi::{WasiCtxView, WasiView};

/// The data of a guest's store.
pub(crate) struct Guest {
    pub(crate) port: Arc<dyn HostPort>,
    pub(crate) mode: Mode,
    pub(crate) grants: Grants,
    pub(crate) space: Space,
    pub(crate) watch: Arc<Watch>,
    pub(crate) log: GuestLog,
    pub(crate) wasi: Wasi,
}

impl Guest {
    pub(crate) fn new(
        port: Arc<dyn HostPort>,
        mode: Mode,
        grants: Grants,
        seed: [u8; 32],
        limits: &Limits,
        room: Room,
    ) -> Self {
        let log = GuestLog::new(port.clone(), limits);
        let watch = Watch::new(mode, limits);
        Self {
            space: Space::new(limits, room),
            wasi: Wasi::new(port.clone(), seed, log.clone(), watch.clone()),
            port,
            mode,
            grants,
            watch,
            log,
        }
    }

    /// Goes on in another mode: its rules and its time count from here; memory, calls and log
    /// stay counted.
    pub(crate) fn enter(&mut self, mode: Mode, limits: &Limits) {
        self.mode = mode;
        self.watch.enter_mode(mode, limits);
    }
}

impl HasWasi for Guest {
    fn wasi(&mut self) -> &mut Wasi {
        &mut self.wasi
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi.view()
    }
}

/// Counts a guest's memory and tables.
pub(crate) struct Space {
    room: Room,
    memory_bytes: usize,
    memory_bytes_max: usize,
    table_entries: usize,
    table_entries_max: usize,
}

impl Space {
    fn new(limits: &Limits, room: Room) -> Self {
        Self {
            room,
            memory_bytes: 0,
            memory_bytes_max: limits.memory_bytes_max,
            table_entries: 0,
            table_entries_max: limits.table_entries_max,
        }
    }
}

/// A text of JSON takes so many times its bytes, once a guest has read it into values.
const READ_TAKES: usize = 32;

impl Space {
    /// Have more by what it takes to read so many bytes: an undo is given all that its step did,
    /// and must not fail for want of room for it.
    pub(crate) fn has_to_take(&mut self, bytes: usize) {
        let more = bytes.saturating_mul(READ_TAKES);
        self.memory_bytes_max = self.memory_bytes_max.saturating_add(more);
    }
}

/// A guest that gets no memory mostly dies of something less telling, so growth past the limit
/// ends it here instead of answering *no*.
impl wasmtime::ResourceLimiter for Space {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let bytes = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        if bytes > self.memory_bytes_max {
            let limit_mib = self.memory_bytes_max >> 20;
            return Err(wasmtime::Error::new(GuestFault::OutOfMemory { limit_mib }));
        }
        self.room.grow_to(bytes).map_err(wasmtime::Error::new)?;
        self.memory_bytes = bytes;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let entries = self.table_entries.saturating_add(desired.saturating_sub(current));
        if entries > self.table_entries_max {
            let limit = self.table_entries_max;
            return Err(wasmtime::Error::new(GuestFault::TableTooLarge { limit }));
        }
        self.table_entries = entries;
        Ok(true)
    }
}
