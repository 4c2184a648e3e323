//! What a plan's steps could do that nothing takes back, and that nobody declared.
//!
//! It is told, and refuses nothing: a component's imports say what it can call, not which step of
//! it calls that, and what the operation itself made may be removed without a word.

use crate::job::Job;
use stepback_core::StepId;

/// A plugin that can call what nothing takes back, and none of whose steps says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undeclared {
    /// Its name, or its path in the manifest.
    pub plugin: String,
    /// `interface.function`.
    pub functions: Vec<&'static str>,
    /// The plan's steps of that plugin, but for those that are declared in the manifest.
    pub steps: Vec<StepId>,
}

pub(crate) async fn undeclared(job: &Job) -> Vec<Undeclared> {
    let mut all = vec![];
    for (name, loaded) in &job.plugins {
        let steps = job.plan.steps().filter(|step| step.uses.plugin() == name);
        let steps: Vec<StepId> =
            steps.filter(|step| step.irreversible.is_none()).map(|step| step.id.clone()).collect();
        // Whoever can't be described is not in a plan.
        let functions = loaded.plugin.undeclared().await.unwrap_or_default();
        if !steps.is_empty() && !functions.is_empty() {
            all.push(Undeclared { plugin: name.clone(), functions, steps });
        }
    }
    all
}
