//! Checks before anything starts, and at the gate before the downtime (R10).
//!
//! A check is asked of every step whose inputs are known; the steps are asked side by side. A
//! check that fails (a trap, a limit, a world that can't be asked) counts as a refusal: what can't
//! be checked can't be promised.

use crate::clock::Clock;
use crate::job::Job;
use crate::port::LookPort;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use stepback_core::expr::{self, Scope};
use stepback_core::manifest::Step;
use stepback_core::plan::check_with;
use stepback_core::step::CheckAnswer;
use stepback_core::{StepKey, expr::ExprError};
use stepback_wasm::{Invocation, Mode, StopSignal};
use tokio::task::JoinSet;

/// What is known of one step before the operation runs.
#[derive(Clone, Debug, PartialEq)]
pub struct StepCheck {
    pub step: StepKey,
    pub answer: StepCheckAnswer,
}

/// A check's answer, or why there is none yet.
#[derive(Clone, Debug, PartialEq)]
pub enum StepCheckAnswer {
    Ok,
    Refused(String),
    /// An earlier step may still bring it about.
    NotYet(String),
    /// Its inputs come from earlier steps.
    Unknown,
    /// Its `when` is false.
    Skipped,
}

impl StepCheckAnswer {
    /// Why the operation must not start, if so.
    pub(crate) fn refusal(&self) -> Option<&str> {
        match self {
            StepCheckAnswer::Refused(why) => Some(why),
            StepCheckAnswer::Ok
            | StepCheckAnswer::NotYet(_)
            | StepCheckAnswer::Unknown
            | StepCheckAnswer::Skipped => None,
        }
    }
}

/// The reasons against going on, of these steps.
pub(crate) async fn refusals(
    job: &Arc<Job>,
    clock: Clock,
    steps: Vec<(StepKey, Value)>,
) -> Vec<String> {
    let checks = check_each(job, clock, steps).await;
    checks.iter().filter_map(reason).collect()
}

/// One sentence that names the step.
pub(crate) fn reason(check: &StepCheck) -> Option<String> {
    check.answer.refusal().map(|why| format!("step `{}`: {why}", check.step))
}

/// Check every step of the plan as far as its inputs are known; in the plan's order.
pub(crate) async fn check_all(job: &Arc<Job>, clock: Clock) -> Vec<StepCheck> {
    let scope = job.scope();
    let mut settled = vec![];
    let mut to_ask = vec![];
    for step in job.plan.steps() {
        match known_inputs(step, &scope) {
            Known::Inputs(instances) => to_ask.extend(instances),
            Known::Answer(answer) => {
                settled.push(StepCheck { step: StepKey::plain(step.id.as_str()), answer });
            }
        }
    }
    settled.extend(check_each(job, clock, to_ask).await);
    let order: Vec<_> = job.plan.steps().map(|step| &step.id).collect();
    settled.sort_by_key(|check| order.iter().position(|id| **id == check.step.step));
    settled
}

enum Known {
    Inputs(Vec<(StepKey, Value)>),
    Answer(StepCheckAnswer),
}

fn known_inputs(step: &Step, scope: &Scope) -> Known {
    match evaluate(step, scope) {
        Ok(Some(instances)) => Known::Inputs(instances),
        Ok(None) => Known::Answer(StepCheckAnswer::Skipped),
        Err(_) if waits_for_steps(step) => Known::Answer(StepCheckAnswer::Unknown),
        // No step can mend an expression that needs none.
        Err(error) => Known::Answer(StepCheckAnswer::Refused(error.to_string())),
    }
}

fn waits_for_steps(step: &Step) -> bool {
    let mut paths: BTreeSet<Vec<String>> = expr::references(&step.with).unwrap_or_default();
    for text in step.when.iter().chain(&step.for_each) {
        paths.extend(expr::expression_references(text).unwrap_or_default());
    }
    let late = |path: &Vec<String>| {
        let first = path.first().map(String::as_str);
        // The operation's id is not drawn before it starts.
        first == Some("steps") || *path == ["operation", "id"]
    };
    paths.iter().any(late)
}

fn evaluate(step: &Step, scope: &Scope) -> Result<Option<Vec<(StepKey, Value)>>, ExprError> {
    if let Some(when) = &step.when
        && !expr::evaluate_bool(when, scope)?
    {
        return Ok(None);
    }
    let Some(each) = &step.for_each else {
        let with = expr::evaluate_value(&step.with, scope)?;
        return Ok(Some(vec![(StepKey { step: step.id.clone(), key: None }, with)]));
    };
    let mut instances = vec![];
    for (key, value) in expr::evaluate_each(each, scope)? {
        let scope = Scope { each: Some((key.clone(), value)), ..scope.clone() };
        let with = expr::evaluate_value(&step.with, &scope)?;
        instances.push((StepKey { step: step.id.clone(), key: Some(key) }, with));
    }
    Ok(Some(instances))
}

async fn check_each(job: &Arc<Job>, clock: Clock, steps: Vec<(StepKey, Value)>) -> Vec<StepCheck> {
    let mut tasks = JoinSet::new();
    let keys: Vec<StepKey> = steps.iter().map(|(key, _)| key.clone()).collect();
    for (index, (key, with)) in steps.into_iter().enumerate() {
        let job = Arc::clone(job);
        tasks.spawn(async move { (index, check_one(&job, clock, &key, with).await) });
    }
    let failed = "the check ended without an answer".to_owned();
    let mut answers = vec![StepCheckAnswer::Refused(failed); keys.len()];
    while let Some(joined) = tasks.join_next().await {
        if let Ok((index, answer)) = joined {
            answers[index] = answer;
        }
    }
    let check = |(step, answer)| StepCheck { step, answer };
    keys.into_iter().zip(answers).map(check).collect()
}

async fn check_one(job: &Job, clock: Clock, key: &StepKey, with: Value) -> StepCheckAnswer {
    if let Some(info) = job.plan.info(&key.step)
        && let Err(why) = check_with(info, &with)
    {
        return StepCheckAnswer::Refused(format!("`with`: {why}"));
    }
    let (Some(step), Ok(loaded)) = (job.plan.step(&key.step), job.loaded(&key.step)) else {
        return StepCheckAnswer::Refused("it has no plugin".into());
    };
    let invocation = Invocation {
        step: step.uses.step().to_owned(),
        input: with,
        mode: Mode::Check,
        grants: loaded.grants.clone(),
        seed: [0; 32],
        stop: StopSignal::new(),
    };
    let port = Arc::new(LookPort { door: job.door.clone(), clock });
    let limit = Duration::from_millis(job.door.limits.check_ms_max);
    let redact = |why: String| job.door.secrets.redact_text(why);
    match tokio::time::timeout(limit, loaded.plugin.check(invocation, port)).await {
        Ok(Ok(CheckAnswer::Ok)) => StepCheckAnswer::Ok,
        Ok(Ok(CheckAnswer::Refused(why))) => StepCheckAnswer::Refused(redact(why)),
        Ok(Ok(CheckAnswer::NotYet(why))) => StepCheckAnswer::NotYet(redact(why)),
        Ok(Err(fault)) => StepCheckAnswer::Refused(redact(fault.to_failure().message)),
        Err(_) => StepCheckAnswer::Refused(format!("its check took longer than {limit:?}")),
    }
}
