//! What one call into a guest is given: the step, its input, and how far it may reach.

pub use stepback_core::Interface;
pub use stepback_core::grants::Grants;

use crate::quota::MemoryQuota;
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::watch;

/// What a guest is run for; it decides which classes of calls are let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Reads only; an effect or a wait is a question whether it could be made.
    Check,
    /// Effects too; those without an inverse only where that is allowed. The engine allows them,
    /// and its driver refuses each that the step has not declared.
    Run {
        /// Whether effects without an inverse get to the port.
        irreversible_allowed: bool,
    },
    /// Everything, and reversing; the port decides what was created by this operation.
    Undo,
}

/// One call into a guest.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The step's name within its plugin.
    pub step: String,
    /// The step's `with`, evaluated; secrets are placeholders.
    pub input: Value,
    /// Which calls get to the port.
    pub mode: Mode,
    /// What the plugin may use; one that imports more interfaces does not run. What its calls are
    /// about is held against it by the port.
    pub grants: Grants,
    /// What the guest's random numbers come from: the same seed, the same numbers.
    pub seed: [u8; 32],
    /// Whoever has a clone of it can tell the guest to end.
    pub stop: StopSignal,
    /// What the guests of its operation have together.
    pub memory: MemoryQuota,
}

/// Tells a running guest to come to its end.
///
/// The port answers `cancelled` from then on; a guest that has not ended after the grace time
/// ([`crate::Limits::stop_grace`], host calls not counted) is stopped where it stands.
#[derive(Clone, Debug)]
pub struct StopSignal(Arc<watch::Sender<bool>>);

impl StopSignal {
    /// A signal nobody has given yet.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Gives the signal; again is the same.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    /// Whether the signal was given.
    pub fn is_stopped(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when the signal is given.
    pub async fn stopped(&self) {
        let mut receiver = self.0.subscribe();
        // The sender lives in `self`, so waiting can't fail before the signal comes.
        let _ = receiver.wait_for(|stopped| *stopped).await;
    }
}

impl Default for StopSignal {
    fn default() -> Self {
        Self::new()
    }
}
