//! Whether the time that a step gives something fits into the time that it has itself.

use super::Plan;
use crate::ids::StepId;
use crate::manifest::{Phase, duration_ms, duration_text};
use serde_json::Value;

/// The input by which plugins say how long something may take to end by itself.
const GRACE: &str = "grace";

impl Plan {
    /// Whether the grace in an evaluated `with` can be used up, within the step's own timeout and,
    /// where the service is down meanwhile, within the downtime's budget.
    ///
    /// A step that is cut off in its grace leaves a database half stopped, to be started again.
    ///
    /// # Errors
    /// What does not fit, as one sentence.
    pub fn fits_in_time(&self, id: &StepId, with: &Value) -> Result<(), String> {
        let (Some(step), Some(grace)) = (self.step(id), with.get(GRACE)) else { return Ok(()) };
        let grace_ms = match grace {
            Value::String(text) => duration_ms(text),
            other => other.as_u64(),
        };
        let Some(grace_ms) = grace_ms else { return Ok(()) };
        let budget_ms = self.manifest().downtime.rollback_after_ms();
        let budget_ms = budget_ms.filter(|_| step.phase == Phase::Downtime);
        for (limit_ms, of) in
            [(step.timeout_ms, "the step's `timeout`"), (budget_ms, "the downtime's `budget`")]
        {
            if let Some(limit_ms) = limit_ms.filter(|limit_ms| grace_ms > *limit_ms) {
                let (grace, limit) = (duration_text(grace_ms), duration_text(limit_ms));
                return Err(format!(
                    "a `{GRACE}` of {grace} is longer than {of} of {limit}: give it less, or give \
                     that more"
                ));
            }
        }
        Ok(())
    }
}
