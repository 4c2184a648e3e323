//! Evaluating expressions where they can be given up: what they compare may be long, and nothing
//! may block the driver, deaf to a timeout and a cancel (R15).

use crate::deps::Limits;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use stepback_clock::{Clock, GivenUp};
use stepback_core::StepId;
use stepback_core::evaluate::{self, Evaluated, Outputs};
use stepback_core::expr::Scope;
use stepback_core::plan::Plan;

/// Evaluate a step's expressions.
pub(crate) async fn of_step(
    plan: &Arc<Plan>,
    limits: &Limits,
    clock: &Clock,
    step: &StepId,
    scope: Scope,
) -> Evaluated {
    let Some(found) = plan.step(step) else {
        return Evaluated::Failed { what: "uses", why: format!("there is no step `{step}`") };
    };
    if plan.evaluates_in_place(step) {
        return evaluate::step(found, &scope);
    }
    let (plan, id) = (Arc::clone(plan), step.clone());
    let limit = Duration::from_millis(limits.expression_ms_max);
    let work = move || plan.step(&id).map(|step| evaluate::step(step, &scope));
    match clock.in_thread(limit, work).await {
        Ok(Some(evaluated)) => evaluated,
        Ok(None) => Evaluated::Once(Err(format!("there is no step `{step}`"))),
        // Nobody knows which of them it was.
        Err(why) => Evaluated::Once(Err(said(&why, limit))),
    }
}

/// Evaluate the operation's outputs.
pub(crate) async fn of_outputs(
    plan: &Arc<Plan>,
    limits: &Limits,
    clock: &Clock,
    scope: Scope,
) -> Outputs {
    let limit = Duration::from_millis(limits.expression_ms_max);
    let evaluating = Arc::clone(plan);
    let work = move || evaluate::outputs(evaluating.manifest(), &scope);
    clock.in_thread(limit, work).await.unwrap_or_else(|why| {
        let mut outputs = Outputs::default();
        for name in plan.manifest().outputs.keys() {
            outputs.values.insert(name.clone(), Value::Null);
            outputs.unknown.insert(name.clone(), said(&why, limit));
        }
        outputs
    })
}

/// Hold a step's evaluated `with` against its plugin's schema.
///
/// # Errors
/// What does not fit, as one sentence; or that nobody can tell in good time.
pub(crate) async fn fits(
    plan: &Arc<Plan>,
    limits: &Limits,
    clock: &Clock,
    step: &StepId,
    with: &Value,
) -> Result<(), String> {
    if plan.checks_at_once(step, with) {
        return plan.check_with(step, with);
    }
    let (plan, id, with) = (Arc::clone(plan), step.clone(), with.clone());
    let limit = Duration::from_millis(limits.expression_ms_max);
    let checked = clock.in_thread(limit, move || plan.check_with(&id, &with)).await;
    checked.unwrap_or_else(|why| {
        Err(match why {
            GivenUp::Late => format!("holding it against the plugin's schema takes over {limit:?}"),
            GivenUp::Panicked => "holding it against the plugin's schema panicked".to_owned(),
            GivenUp::NoThread(why) => {
                format!("there is no thread to hold it against the plugin's schema in: {why}")
            }
        })
    })
}

fn said(why: &GivenUp, limit: Duration) -> String {
    match why {
        GivenUp::Late => format!(
            "evaluating its expressions takes longer than {limit:?}: let them look at less, or let \
             a step of your own work it out"
        ),
        GivenUp::Panicked => "evaluating its expressions panicked".to_owned(),
        GivenUp::NoThread(why) => {
            format!("there is no thread to evaluate its expressions in: {why}")
        }
    }
}
