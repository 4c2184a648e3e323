//! Checks before anything starts, and at the gate before the downtime (R10).
//!
//! A check is asked of every step whose inputs are known; the steps are asked side by side. A check
//! that fails (a trap, a limit, a world that can't be asked) counts as a refusal: what can't be
//! checked can't be promised. So does an expression that can never be evaluated. Where some of a
//! step's inputs are not known it is asked with those that are, and only what is denied counts.

mod partly;

use crate::check_port::CheckPort;
use crate::expressions;
use crate::job::{Job, Loaded};
use crate::secrets::Secrets;
use crate::secrets::door::Door;
use futures_util::FutureExt;
use serde_json::Value;
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::evaluate::Evaluated;
use stepback_core::expr::{self, Scope};
use stepback_core::manifest::{Phase, Step};
use stepback_core::shown::in_sentence;
use stepback_core::step::CheckAnswer;
use stepback_core::texts::MapTexts;
use stepback_core::{StepId, StepKey};
use stepback_wasm::{GuestFault, Invocation, Mode, StopSignal};
use tokio::task::JoinSet;

/// What is known of one step before the operation runs.
#[derive(Clone, Debug, PartialEq)]
pub struct StepCheck {
    /// Of a `for_each`, each instance by itself, as far as its keys are known.
    pub step: StepKey,
    /// What its check says now, or why it was not asked.
    pub answer: StepCheckAnswer,
    /// What the step would be run with, if all that it looks at is known; a secret is its mark.
    pub with: Option<Value>,
    /// What it gave, if it only looks and was run ahead.
    pub output: Option<Value>,
}

/// A check's answer, or why there is none yet.
#[derive(Clone, Debug, PartialEq)]
pub enum StepCheckAnswer {
    /// Nothing speaks against it now.
    Ok,
    /// It can't run, and why; the operation, or its downtime, does not begin then.
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

/// The reasons against opening the downtime window: what a check of any step that is still to come
/// says now, and every expression that can't be evaluated although all it looks at is there.
pub(crate) async fn gate(
    job: &Arc<Job>,
    clock: &Clock,
    steps: Vec<(StepId, Scope)>,
) -> Vec<String> {
    let (mut reasons, mut to_check) = (vec![], vec![]);
    for (step, scope) in steps {
        let evaluated =
            expressions::of_step(&job.plan, &job.access.limits, clock, &step, scope).await;
        match evaluated.instances(&step) {
            Ok(instances) => to_check.extend(instances),
            Err(why) => reasons.push(format!("step `{step}`: {}", in_sentence(&why))),
        }
    }
    let checks = check_each(job, clock, to_check, false).await;
    reasons.extend(refusals(&checks));
    reasons
}

/// One sentence for each thing that is wrong, with the steps that say so.
pub(crate) fn refusals(checks: &[StepCheck]) -> Vec<String> {
    let mut all: Vec<(&str, Vec<String>)> = vec![];
    for check in checks {
        let Some(why) = check.answer.refusal() else { continue };
        let step = format!("`{}`", check.step);
        // Whoever was asked first said it with all that there is instead.
        let is_said = |said: &str| said.strip_prefix(why).is_some_and(is_the_rest);
        match all.iter_mut().find(|(said, _)| is_said(said)) {
            Some((_, steps)) => steps.push(step),
            None => all.push((why, vec![step])),
        }
    }
    let sentence = |(why, steps): (&str, Vec<String>)| match (&steps[..], in_sentence(why)) {
        ([first, rest @ ..], why) if !rest.is_empty() => {
            format!("step {first}: {why} (so {} {})", says(rest.len()), rest.join(", "))
        }
        (steps, why) => format!("step {}: {why}", steps.join(", ")),
    };
    all.into_iter().map(sentence).collect()
}

/// Whether this may stand behind a sentence that is whole without it.
fn is_the_rest(text: &str) -> bool {
    text.is_empty() || text.starts_with("; ")
}

fn says(steps: usize) -> &'static str {
    if steps == 1 { "says" } else { "say" }
}

/// Check every step of the plan as far as its inputs are known; in the plan's order.
///
/// A step that only looks, and comes after none that changes anything, is run ahead for its
/// output, so that what depends on it is known too. Nothing of that is kept: it runs again for
/// real when its turn comes.
pub(crate) async fn check_all(job: &Arc<Job>, clock: &Clock) -> Vec<StepCheck> {
    let mut known = job.scope();
    let mut checks = vec![];
    // Outputs are worth having only while a later step reads one.
    let last_reader = job.plan.last_reader().cloned();
    let mut is_read_later = last_reader.is_some();
    // What is refused, and what comes after it.
    let mut refused = BTreeSet::new();
    for step in job.plan.steps() {
        let is_after = job.plan.dependencies(&step.id).any(|id| refused.contains(id));
        if is_after {
            refused.insert(step.id.clone());
        }
        is_read_later &= last_reader.as_ref() != Some(&step.id);
        let evaluated = match known_inputs(job, clock, step, &known).await {
            Known::Inputs(instances) => instances,
            Known::Answer(answer) => {
                let answer = match answer {
                    StepCheckAnswer::Refused(_) if is_after => StepCheckAnswer::Unknown,
                    other => other,
                };
                if answer.refusal().is_some() {
                    refused.insert(step.id.clone());
                }
                if answer == StepCheckAnswer::Skipped {
                    known.steps.insert(step.id.clone(), Value::Null);
                }
                let step = StepKey::plain(step.id.as_str());
                checks.push(StepCheck { step, answer, with: None, output: None });
                continue;
            }
        };
        let with = evaluated.first().map(|(_, with)| with.clone());
        let mut answers = check_each(job, clock, evaluated, is_after).await;
        if let ([StepCheck { answer, output: told, .. }], Some(with)) = (&mut answers[..], with)
            && *answer == StepCheckAnswer::Ok
            && is_read_later
            && step.for_each.is_none()
            && comes_first(job, step, &known)
        {
            match look_ahead(job, clock, step, with).await {
                LookedAhead::Output(output) => {
                    *told = Some(output.clone());
                    known.steps.insert(step.id.clone(), output);
                }
                LookedAhead::Fails(why) => *answer = StepCheckAnswer::Refused(why),
                LookedAhead::Changes => {}
            }
        }
        // What no step before it could bring about never will be.
        if comes_first(job, step, &known) {
            answers.iter_mut().for_each(|check| check.answer = final_answer(&check.answer));
        }
        if answers.iter().any(|check| check.answer.refusal().is_some()) {
            refused.insert(step.id.clone());
        }
        checks.extend(answers);
    }
    checks
}

/// The answer of a step that nothing is changed before.
fn final_answer(answer: &StepCheckAnswer) -> StepCheckAnswer {
    match answer {
        StepCheckAnswer::NotYet(why) => {
            let why = format!("{why}, and no step before it could change that");
            StepCheckAnswer::Refused(why)
        }
        other => other.clone(),
    }
}

/// Whether nothing before the step changes the world, so that it can be run ahead.
fn comes_first(job: &Job, step: &Step, known: &Scope) -> bool {
    step.phase == Phase::Live
        && job.plan.dependencies(&step.id).all(|id| known.steps.contains_key(id))
}

enum LookedAhead {
    Output(Value),
    Fails(String),
    /// It would have changed or awaited something.
    Changes,
}

async fn look_ahead(job: &Job, clock: &Clock, step: &Step, with: Value) -> LookedAhead {
    let Ok(loaded) = job.loaded(&step.id) else { return LookedAhead::Changes };
    let mode = Mode::Run { irreversible_allowed: true };
    let door = job.door(&StepKey::plain(step.id.as_str()), None);
    let invocation = invocation(job, step, loaded, door.let_in(&with), mode);
    let guard = Arc::clone(&loaded.guard);
    let (access, own) = (job.access.clone(), door.clone());
    let port = Arc::new(CheckPort::new(access, guard, clock.clone(), false, own));
    let run = loaded.plugin.run(invocation, Arc::clone(&port) as _);
    let redact = |why: String| job.access.secrets.redact_written(door.hide(why));
    let limit = Duration::from_millis(job.access.limits.check_ms_max);
    let ran = clock.timeout(limit, run).await;
    if port.was_denied() {
        return LookedAhead::Changes;
    }
    match ran {
        Ok(Ok(output)) => {
            let schema = job.plan.info(&step.id).map_or(&Value::Null, |info| &info.output_schema);
            LookedAhead::Output(job.access.secrets.of_output(door.hide_all(output), schema))
        }
        Ok(Err(fault)) => match fault.to_failure() {
            // What may pass has its retries when its turn comes.
            failure if failure.is_retryable() => LookedAhead::Changes,
            failure => LookedAhead::Fails(redact(failure.message)),
        },
        Err(_) => LookedAhead::Changes,
    }
}

enum Known {
    Inputs(Vec<(StepKey, Value)>),
    Answer(StepCheckAnswer),
}

async fn known_inputs(job: &Arc<Job>, clock: &Clock, step: &Step, known: &Scope) -> Known {
    // Only what the step looks at: outputs can be large, and there can be many.
    let looks_at = job.plan.place(&step.id).map(|place| job.plan.references(place));
    let steps = looks_at.into_iter().flatten().filter_map(|id| known.steps.get_key_value(id));
    let steps = steps.map(|(id, output)| (id.clone(), output.clone())).collect();
    let scope = Scope { steps, ..job.scope() };
    let limits = &job.access.limits;
    match expressions::of_step(&job.plan, limits, clock, &step.id, scope.clone()).await {
        Evaluated::Skipped => Known::Answer(StepCheckAnswer::Skipped),
        evaluated => match evaluated.instances(&step.id) {
            Ok(instances) => Known::Inputs(instances),
            Err(_) if waits_for_steps(step, known) => {
                let denied = partly::denied(job, clock, step, scope).await;
                let answer = denied.map(StepCheckAnswer::Refused);
                Known::Answer(answer.unwrap_or(StepCheckAnswer::Unknown))
            }
            // No step can mend an expression that needs none.
            Err(why) => Known::Answer(StepCheckAnswer::Refused(why)),
        },
    }
}

/// What the step's expressions refer to.
fn references(step: &Step) -> BTreeSet<Vec<String>> {
    let mut paths: BTreeSet<Vec<String>> = expr::references(&step.with).unwrap_or_default();
    for text in step.when.iter().chain(&step.for_each) {
        paths.extend(expr::expression_references(text).unwrap_or_default());
    }
    paths
}

fn waits_for_steps(step: &Step, known: &Scope) -> bool {
    references(step).iter().any(|path| waits_for_steps_in(path, known))
}

/// Whether what an expression refers to is still to come.
fn waits_for_steps_in(path: &[String], known: &Scope) -> bool {
    let first = path.first().map(String::as_str);
    // The operation's id is not drawn before it starts.
    let unknown = || path.get(1).is_none_or(|id| !known.steps.contains_key(&id.as_str().into()));
    (first == Some("steps") && unknown()) || *path == ["operation", "id"]
}

/// `is_after`: a step that is refused comes before, so that its values may be none that fit.
async fn check_each(
    job: &Arc<Job>,
    clock: &Clock,
    steps: Vec<(StepKey, Value)>,
    is_after: bool,
) -> Vec<StepCheck> {
    let redact = |with: &Value| shown(&job.access.secrets.redact_given(with.clone()));
    let all: Vec<(StepKey, Value)> =
        steps.iter().map(|(key, with)| (key.clone(), redact(with))).collect();
    let answers = match <[_; 1]>::try_from(steps) {
        Ok([(key, with)]) => {
            let asked = AssertUnwindSafe(check_one(job, clock, &key, with, is_after));
            vec![asked.catch_unwind().await.unwrap_or_else(|_| unanswered())]
        }
        Err(steps) => side_by_side(job, clock, steps, is_after).await,
    };
    let check = |((step, with), answer)| StepCheck { step, answer, with: Some(with), output: None };
    all.into_iter().zip(answers).map(check).collect()
}

/// Ask each in a task of its own.
async fn side_by_side(
    job: &Arc<Job>,
    clock: &Clock,
    steps: Vec<(StepKey, Value)>,
    is_after: bool,
) -> Vec<StepCheckAnswer> {
    let mut tasks = JoinSet::new();
    let mut answers = vec![unanswered(); steps.len()];
    for (index, (key, with)) in steps.into_iter().enumerate() {
        let (job, clock) = (Arc::clone(job), clock.clone());
        tasks.spawn(async move { (index, check_one(&job, &clock, &key, with, is_after).await) });
    }
    while let Some(joined) = tasks.join_next().await {
        if let Ok((index, answer)) = joined {
            answers[index] = answer;
        }
    }
    answers
}

fn unanswered() -> StepCheckAnswer {
    StepCheckAnswer::Refused("the check ended without an answer".to_owned())
}

/// What stands for a secret, for people.
fn shown(with: &Value) -> Value {
    with.map_texts(&|text| {
        let parts = text.split('\u{1}').enumerate();
        let shown = parts.map(|(at, part)| match part.strip_prefix("secret:") {
            // Every other part is between two marks.
            Some(name) if at % 2 == 1 => format!("<secret {name}>"),
            Some(_) | None => part.to_owned(),
        });
        shown.collect()
    })
}

fn invocation(job: &Job, step: &Step, loaded: &Loaded, input: Value, mode: Mode) -> Invocation {
    Invocation {
        step: step.uses.step().to_owned(),
        input,
        mode,
        grants: loaded.guard.grants().clone(),
        seed: [0; 32],
        stop: StopSignal::new(),
        memory: job.memory.clone(),
    }
}

/// An image that a `with` names, as it would be journaled, if a secret's value is a piece of it.
fn hidden_image(secrets: &Secrets, with: &Value) -> Option<String> {
    match with {
        Value::Object(map) => map.iter().find_map(|(name, value)| match value.as_str() {
            Some(image) if name == "image" => {
                let hidden = secrets.redact_written(image.to_owned());
                (hidden != *image).then_some(hidden)
            }
            _ => hidden_image(secrets, value),
        }),
        Value::Array(list) => list.iter().find_map(|item| hidden_image(secrets, item)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

async fn check_one(
    job: &Job,
    clock: &Clock,
    key: &StepKey,
    with: Value,
    is_after: bool,
) -> StepCheckAnswer {
    let fits = expressions::fits(&job.plan, &job.access.limits, clock, &key.step, &with).await;
    if let Err(why) = fits {
        if is_after {
            return StepCheckAnswer::Unknown;
        }
        return StepCheckAnswer::Refused(format!("`with`: {why}"));
    }
    if let Err(why) = job.plan.fits_in_time(&key.step, &with) {
        return StepCheckAnswer::Refused(why);
    }
    if let Some(image) = hidden_image(&job.access.secrets, &with) {
        return StepCheckAnswer::Refused(format!(
            "a secret has a value that is a piece of the image's name: {}; hidden, nobody could \
             tell what a container runs, so give it another value",
            shown(&Value::from(image))
        ));
    }
    let (door, asked) = match ask(job, clock, key, &with).await {
        Ok(asked) => asked,
        Err(why) => return StepCheckAnswer::Refused(why),
    };
    let redact = |why: String| job.access.secrets.redact_written(door.hide(why));
    match asked {
        Ok(Ok(CheckAnswer::Ok)) => StepCheckAnswer::Ok,
        Ok(Ok(CheckAnswer::Refused(why))) => StepCheckAnswer::Refused(redact(why)),
        Ok(Ok(CheckAnswer::NotYet(why))) => StepCheckAnswer::NotYet(redact(why)),
        Ok(Err(fault)) => StepCheckAnswer::Refused(redact(fault.to_failure().message)),
        Err(limit) => StepCheckAnswer::Refused(format!("its check took longer than {limit:?}")),
    }
}

/// What a step's check answered, if it did in time, and the step's door.
type Asked = (Door, Result<Result<CheckAnswer, GuestFault>, Duration>);

/// Ask a step's check.
///
/// # Errors
/// That there is none.
async fn ask(job: &Job, clock: &Clock, key: &StepKey, with: &Value) -> Result<Asked, String> {
    let (Some(step), Ok(loaded)) = (job.plan.step(&key.step), job.loaded(&key.step)) else {
        return Err("it has no plugin".into());
    };
    let door = job.door(key, None);
    let invocation = invocation(job, step, loaded, door.let_in(with), Mode::Check);
    let guard = Arc::clone(&loaded.guard);
    let (access, own) = (job.access.clone(), door.clone());
    let port = Arc::new(CheckPort::new(access, guard, clock.clone(), true, own));
    let limit = Duration::from_millis(job.access.limits.check_ms_max);
    let asked = clock.timeout(limit, loaded.plugin.check(invocation, port)).await;
    Ok((door, asked.map_err(|_| limit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_steps_say_is_told_once() {
        let refused = |step: &str, why: &str| StepCheck {
            step: StepKey::plain(step),
            answer: StepCheckAnswer::Refused(why.to_owned()),
            with: None,
            output: None,
        };
        let not_yet = StepCheck {
            answer: StepCheckAnswer::NotYet("no volume".to_owned()),
            ..refused("x", "")
        };
        let checks = [
            refused("a", "there is no host `h`; there are i, j"),
            not_yet,
            refused("b", "there is no host `h`"),
            refused("c", "there is no host `hi`"),
            refused("d", "there is no host `h`"),
            refused("e", "there is no host `hi`"),
        ];
        assert_eq!(
            refusals(&checks),
            [
                "step `a`: there is no host `h`; there are i, j (so say `b`, `d`)",
                "step `c`: there is no host `hi` (so says `e`)",
            ]
        );
        assert_eq!(refusals(&checks[..2]), ["step `a`: there is no host `h`; there are i, j"]);
    }
}
