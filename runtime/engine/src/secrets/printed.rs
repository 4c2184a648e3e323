//! What the commands of an operation print, which its guests wrote themselves.
//!
//! Where such a text is cut, what is left may be a piece of a secret, and is looked for as one. But
//! a guest that writes the beginning of a secret into a command and reads what that prints must not
//! be told whether it is one: what it wrote is as it wrote it.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use stepback_core::calls::DockerCall;
use stepback_core::texts::MapTexts;
use stepback_core::{Call, Interface};

/// The texts of an operation's effects on engines: what is made of them a command may print, now
/// or later.
#[derive(Default)]
pub(super) struct Printed(Mutex<BTreeSet<String>>);

/// Whether what a call is answered is what a command printed.
pub(super) fn is_print(call: &Call) -> bool {
    matches!(
        call,
        Call::Docker(
            DockerCall::Exec { .. } | DockerCall::RunOnce { .. } | DockerCall::Logs { .. }
        )
    )
}

impl Printed {
    /// Note what an effect may have printed.
    pub(super) fn note(&self, call: &Call) {
        if call.interface() != Interface::Docker {
            return;
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(call.texts());
    }

    /// All that may be printed, with what this call holds.
    pub(super) fn with(&self, call: &Call) -> Vec<String> {
        let printed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        printed.iter().cloned().chain(call.texts()).collect()
    }
}
