//! What the host keeps of one running guest: its port, its mode, and the meters of its limits.
//!
//! A passed limit is raised as a [`GuestFault`] inside wasmtime's error, so that it is found
//! again by its type when the guest's call ends.

use crate::fault::GuestFault;
use crate::invocation::{Grants, Mode};
use crate::limits::Limits;
use crate::port::{HostPort, LogLevel};
use crate::wasi::Wasi;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use wasmtime::UpdateDeadline;

/// How often the engine's epoch advances; a guest's time is counted in these.
pub(crate) const EPOCH_TICK: Duration = Duration::from_millis(10);

/// Entries of a guest's tables, all together; each is a pointer of the host's.
const TABLE_ENTRIES_MAX: usize = 100_000;

/// The data of a guest's store.
pub(crate) struct Guest {
    pub(crate) port: Arc<dyn HostPort>,
    pub(crate) mode: Mode,
    pub(crate) grants: Grants,
    pub(crate) meter: Meter,
    pub(crate) log: GuestLog,
    pub(crate) wasi: Wasi,
    /// Whether a host call is being answered; shared with whoever counts the stop's grace.
    pub(crate) in_host: Arc<AtomicBool>,
}

impl Guest {
    pub(crate) fn new(
        port: Arc<dyn HostPort>,
        mode: Mode,
        grants: Grants,
        seed: [u8; 32],
        limits: &Limits,
    ) -> Self {
        let log = GuestLog::new(port.clone(), limits);
        let in_host = Arc::new(AtomicBool::new(false));
        Self {
            meter: Meter::new(mode, limits),
            wasi: Wasi::new(port.clone(), seed, log.clone(), in_host.clone()),
            port,
            mode,
            grants,
            log,
            in_host,
        }
    }
}

impl Guest {
    /// Go on in another mode: its rules and its time count from here, the memory stays counted.
    pub(crate) fn enter(&mut self, mode: Mode, limits: &Limits) {
        self.mode = mode;
        let Meter { memory_bytes, table_entries, .. } = self.meter;
        self.meter = Meter { memory_bytes, table_entries, ..Meter::new(mode, limits) };
    }
}

/// Counts a guest's memory and time.
pub(crate) struct Meter {
    memory_bytes: usize,
    memory_bytes_max: usize,
    table_entries: usize,
    ticks: u64,
    ticks_max: u64,
    calls_renew_time: bool,
    /// The epoch went on while the host worked; the tick that follows is not the guest's.
    back_from_host: bool,
}

impl Meter {
    fn new(mode: Mode, limits: &Limits) -> Self {
        let (time, calls_renew_time) = match mode {
            Mode::Check => (limits.check_time_max, false),
            Mode::Run { .. } | Mode::Undo => (limits.run_time_max, true),
        };
        let ticks_max = (time.as_millis() / EPOCH_TICK.as_millis()).max(1);
        Self {
            memory_bytes: 0,
            memory_bytes_max: limits.memory_bytes_max,
            table_entries: 0,
            ticks: 0,
            ticks_max: u64::try_from(ticks_max).unwrap_or(u64::MAX),
            calls_renew_time,
            back_from_host: false,
        }
    }

    /// A host call was answered.
    pub(crate) fn on_answered(&mut self) {
        self.back_from_host = true;
        if self.calls_renew_time {
            self.ticks = 0;
        }
    }

    /// The epoch advanced while the guest was running: counts it, and lets others run.
    pub(crate) fn on_tick(&mut self) -> wasmtime::Result<UpdateDeadline> {
        if self.back_from_host {
            self.back_from_host = false;
        } else {
            self.ticks += 1;
        }
        if self.ticks > self.ticks_max {
            let tick_ms = u64::try_from(EPOCH_TICK.as_millis()).unwrap_or(u64::MAX);
            let limit_ms = self.ticks_max.saturating_mul(tick_ms);
            return Err(wasmtime::Error::new(GuestFault::OutOfTime { limit_ms }));
        }
        Ok(UpdateDeadline::Yield(1))
    }

    fn out_of_memory(&self) -> wasmtime::Error {
        wasmtime::Error::new(GuestFault::OutOfMemory { limit_mib: self.memory_bytes_max >> 20 })
    }
}

/// A guest that gets no memory mostly dies of something less telling, so growth past the limit
/// ends it here instead of answering *no*.
impl wasmtime::ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let bytes = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        if bytes > self.memory_bytes_max {
            return Err(self.out_of_memory());
        }
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
        if entries > TABLE_ENTRIES_MAX {
            return Err(self.out_of_memory());
        }
        self.table_entries = entries;
        Ok(true)
    }
}

/// A guest's way to the log: bounded per line and per attempt.
#[derive(Clone)]
pub(crate) struct GuestLog {
    port: Arc<dyn HostPort>,
    line_bytes_max: usize,
    budget: Arc<std::sync::Mutex<Budget>>,
}

struct Budget {
    bytes_left: usize,
    noticed: bool,
}

impl GuestLog {
    fn new(port: Arc<dyn HostPort>, limits: &Limits) -> Self {
        let budget = Budget { bytes_left: limits.log_bytes_max, noticed: false };
        Self {
            port,
            line_bytes_max: limits.log_line_bytes_max,
            budget: Arc::new(std::sync::Mutex::new(budget)),
        }
    }

    pub(crate) fn line(&self, level: LogLevel, text: String) {
        if let Some(text) = self.admit(text) {
            self.port.log(level, text);
        }
    }

    pub(crate) fn progress(&self, text: String, done: u64, total: Option<u64>) {
        if let Some(text) = self.admit(text) {
            self.port.progress(text, done, total);
        }
    }

    /// The text as it may pass, if it may. An empty line costs too: it takes space in the log.
    fn admit(&self, text: String) -> Option<String> {
        const LINE_OVERHEAD_BYTES: usize = 32;
        let text = cut(text, self.line_bytes_max);
        let mut budget = self.budget.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let cost = text.len() + LINE_OVERHEAD_BYTES;
        if !budget.noticed && cost <= budget.bytes_left {
            budget.bytes_left -= cost;
            return Some(text);
        }
        if !std::mem::replace(&mut budget.noticed, true) {
            drop(budget);
            let notice = "the plugin logs too much: the rest of this attempt's log is dropped";
            self.port.log(LogLevel::Warn, notice.to_owned());
        }
        None
    }
}

/// The text, shortened to at most `bytes_max` bytes and an ellipsis.
pub(crate) fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
        text.push('…');
    }
    text
}

/// Marks a host call as running, until dropped.
pub(crate) struct InHost(Arc<AtomicBool>);

impl InHost {
    pub(crate) fn enter(flag: &Arc<AtomicBool>) -> Self {
        flag.store(true, Ordering::Release);
        Self(flag.clone())
    }
}

impl Drop for InHost {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
