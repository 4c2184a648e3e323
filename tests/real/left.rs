//! What a run of the program must not leave on an engine: its helpers.

use crate::parts::{Engine, TestCluster};
use std::sync::atomic::Ordering;

impl TestCluster {
    /// Helpers end with the program, which takes the engine a moment.
    #[track_caller]
    pub fn helpers_end(&self) {
        self.until_or(
            || format!("a helper is left: {}", self.helpers()),
            || [&self.a, &self.b].iter().all(|engine| has_none(engine)),
        );
    }

    /// The helpers of both engines, and how each is.
    pub fn helpers(&self) -> String {
        let told = "{{.Names}} {{.State}} ({{.Status}}) {{.Labels}}";
        let all = ["ps", "--all", "--filter", "label=stepback.helper", "--format", told];
        let of = |engine: &Engine| engine.try_docker(&all).unwrap_or_else(|error| error);
        format!("a: {}; b: {}", of(&self.a), of(&self.b))
    }
}

/// Whether an engine has no helper. One that is down tells nothing, and one that was killed knows
/// no connection's end.
pub fn has_none(engine: &Engine) -> bool {
    let all = ["ps", "--all", "--quiet", "--filter", "label=stepback.helper"];
    engine.was_killed.load(Ordering::SeqCst)
        || engine.try_docker(&all).is_ok_and(|found| found.is_empty())
        || engine.try_docker(&["version"]).is_err()
}
