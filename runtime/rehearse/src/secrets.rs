//! Secrets as a rehearsal has them: made up, so that nobody is asked for a real one, and none can
//! be in a report.

use std::sync::Arc;
use stepback_core::manifest::Uses;
use stepback_engine::SecretSource;

/// Knows which secrets there are, and whose they may be; their values are its own.
pub(crate) struct MadeUp(pub Arc<dyn SecretSource>);

impl SecretSource for MadeUp {
    /// One value for each reference: who compares two sees which are the same.
    fn resolve(&self, reference: &str) -> Result<String, String> {
        Ok(format!("made-up-for-rehearsal:{reference}"))
    }

    fn absolute(&self, reference: &str) -> String {
        self.0.absolute(reference)
    }

    fn has(&self, name: &str) -> bool {
        self.0.has(name)
    }

    fn is_for(&self, reference: &str, uses: &Uses) -> Result<(), String> {
        self.0.is_for(reference, uses)
    }
}
