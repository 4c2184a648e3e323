//! The driver's clock: milliseconds since the Unix epoch that never go back.

use std::time::{SystemTime, UNIX_EPOCH};
use stepback_core::UnixMs;
use tokio::time::Instant;

/// Wall-clock time at the start, and the runtime's own time from there on.
///
/// Steps of the system's clock don't show, and a paused test runtime pauses it too.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    base_ms: u64,
    started: Instant,
}

impl Clock {
    /// A clock that starts at the system's time.
    pub fn start() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let base_ms = since.map_or(0, |since| since.as_millis() as u64);
        Self { base_ms, started: Instant::now() }
    }

    /// The time now.
    pub fn now(&self) -> UnixMs {
        UnixMs(self.base_ms + self.started.elapsed().as_millis() as u64)
    }

    /// The runtime's instant at which `at` comes; now if it is past.
    pub(crate) fn instant_of(&self, at: UnixMs) -> Instant {
        self.started + std::time::Duration::from_millis(at.0.saturating_sub(self.base_ms))
    }
}
