//! The helpers that this program made and has not seen removed.
//!
//! Each has its name before the engine is asked to make it, so that one whose answer was lost can
//! be removed as well: an engine that was killed forgets connections, and with them what was to
//! end with them.

use super::errors::{Answer, RequestError};
use bollard::query_parameters::{CreateContainerOptions, CreateContainerOptionsBuilder};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use stepback_core::FailureClass;

/// The names of what may be left on a host, and whether each may be removed while it runs.
#[derive(Default)]
pub(super) struct Leftovers(Mutex<BTreeMap<String, bool>>);

impl Leftovers {
    pub(super) fn all(&self) -> MutexGuard<'_, BTreeMap<String, bool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One helper, which counts as lost from when this is dropped until it is seen removed.
pub(super) struct HelperGuard {
    name: String,
    may_be_cut_off: bool,
    leftovers: Arc<Leftovers>,
}

impl Drop for HelperGuard {
    fn drop(&mut self) {
        self.leftovers.all().insert(std::mem::take(&mut self.name), self.may_be_cut_off);
    }
}

impl HelperGuard {
    /// A name for a new helper. One that writes is not removed while it may run.
    ///
    /// # Errors
    /// A machine that has no random numbers.
    pub(super) fn new(lost: &Arc<Leftovers>, may_be_cut_off: bool) -> Answer<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| {
            let message = format!("there are no random numbers on this machine: {error}");
            RequestError::no(FailureClass::Internal, "random", message)
        })?;
        let name = format!("stepback-helper-{:016x}", u64::from_le_bytes(random));
        Ok(Self { name, may_be_cut_off, leftovers: Arc::clone(lost) })
    }

    /// What the engine is asked to name it.
    pub(super) fn options(&self) -> Option<CreateContainerOptions> {
        Some(CreateContainerOptionsBuilder::new().name(&self.name).build())
    }

    /// It changes nothing any more.
    pub(super) fn has_ended(&mut self) {
        self.may_be_cut_off = true;
    }
}
