//! Steps whose `with` is not all known before the operation runs: what is known of it is asked.
//!
//! Whatever an earlier step still has to give has a mark in its place ([`NOT_KNOWN_YET`]), and the
//! step's check is asked with that. Only one answer of it counts: that something which the step
//! would do is denied, whatever it is done to. All else may be because of the mark.

use super::{ask, waits_for_steps_in};
use crate::expressions;
use crate::job::Job;
use serde_json::{Value, json};
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::calls::NOT_KNOWN_YET;
use stepback_core::evaluate;
use stepback_core::expr::{self, Scope};
use stepback_core::failure::ONLY_ASKED;
use stepback_core::manifest::{InputKind, Step};
use stepback_core::texts::MapTexts;
use stepback_core::{FailureClass, StepKey};

/// Why the step can never run, as far as that can be told by what is known of it.
pub(super) async fn denied(job: &Job, clock: &Clock, step: &Step, scope: Scope) -> Option<String> {
    for (key, with) in known_parts(job, clock, step, scope).await? {
        if let Some(why) = denied_with(job, clock, &key, with).await {
            return Some(why);
        }
    }
    None
}

async fn denied_with(job: &Job, clock: &Clock, key: &StepKey, with: Value) -> Option<String> {
    let schema = job.plan.info(&key.step).map_or(&Value::Null, |info| &info.input_schema);
    let with = in_its_kinds(with, schema);
    expressions::fits(&job.plan, &job.access.limits, clock, &key.step, &with).await.ok()?;
    let (door, asked) = ask(job, clock, key, &with).await.ok()?;
    let failure = asked.ok()?.err()?.to_failure();
    let is_denied = failure.class == FailureClass::Denied;
    let is_said = is_denied && failure.code.as_deref() != Some(ONLY_ASKED);
    is_said.then(|| job.access.secrets.redact_written(door.hide(failure.message)))
}

/// What is not known yet as something of the kind that it will be: no grant goes by a number, nor
/// by what is no text at all.
fn in_its_kinds(with: Value, schema: &Value) -> Value {
    let Value::Object(with) = with else { return with };
    let of = |(name, value): (String, Value)| {
        if value != NOT_KNOWN_YET {
            return (name, value);
        }
        let kinds = schema.pointer(&format!("/properties/{name}/type"));
        let is = |kind: &str| match kinds {
            Some(Value::Array(kinds)) => kinds.iter().any(|one| one == kind),
            Some(one) => one == kind,
            None => false,
        };
        let value = match () {
            () if is("string") => value,
            () if is("integer") || is("number") => json!(1),
            () if is("boolean") => json!(false),
            () if is("array") => json!([]),
            () if is("object") => json!({}),
            () => value,
        };
        (name, value)
    };
    with.into_iter().map(of).collect()
}

/// The `with` of the step, or of each of its instances, as far as it is known; none where nobody
/// can tell whether it runs at all.
async fn known_parts(
    job: &Job,
    clock: &Clock,
    step: &Step,
    scope: Scope,
) -> Option<Vec<(StepKey, Value)>> {
    let texts = step.when.iter().chain(&step.for_each);
    let paths = texts.flat_map(|text| expr::expression_references(text).unwrap_or_default());
    if paths.into_iter().any(|path| waits_for_steps_in(&path, &scope)) {
        return None;
    }
    let is_secret = |name: &str| {
        let input = job.plan.manifest().inputs.get(name);
        input.is_some_and(|input| input.kind == InputKind::Secret)
    };
    let marked = step.with.map_texts(&|text| {
        let paths = expr::references(&Value::String(text.to_owned())).unwrap_or_default();
        if !paths.iter().any(|path| waits_for_steps_in(path, &scope)) {
            return text.to_owned();
        }
        // Where a secret goes is known, whatever stands beside it.
        let secrets = paths.iter().filter_map(|path| match &path[..] {
            [of, name, ..] if of == "inputs" && is_secret(name) => {
                Some(format!("{{{{ inputs.{name} }}}}"))
            }
            _ => None,
        });
        secrets.fold(NOT_KNOWN_YET.to_owned(), |marked, secret| marked + &secret)
    });
    let step = Step { with: marked, ..step.clone() };
    let (id, limit) = (step.id.clone(), job.access.limits.expression_ms_max);
    let limit = Duration::from_millis(limit);
    let evaluated = clock.in_thread(limit, move || evaluate::step(&step, &scope)).await;
    evaluated.ok()?.instances(&id).ok()
}
