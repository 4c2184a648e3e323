//! Steps whose `with` is not all known before the operation runs: what is known of it is asked.
//!
//! Whatever an earlier step still has to give has a mark in its place ([`NOT_KNOWN_YET`]), and the
//! step's check is asked with that. Only one answer of it counts: that something which the step
//! would do is denied, whatever it is done to. All else may be because of the mark.

use super::{ask, waits_for_steps_in};
use crate::expressions;
use crate::job::Job;
use serde_json::Value;
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::calls::NOT_KNOWN_YET;
use stepback_core::evaluate::{self, Evaluated};
use stepback_core::expr::{self, Scope};
use stepback_core::failure::ONLY_ASKED;
use stepback_core::manifest::{InputKind, Step};
use stepback_core::texts::MapTexts;
use stepback_core::{FailureClass, StepKey};

/// Why the step can never run, as far as that can be told by what is known of it.
pub(super) async fn denied(job: &Job, clock: &Clock, step: &Step, scope: Scope) -> Option<String> {
    let with = known_part(job, clock, step, scope).await?;
    let key = StepKey::plain(step.id.as_str());
    expressions::fits(&job.plan, &job.access.limits, clock, &step.id, &with).await.ok()?;
    let (door, asked) = ask(job, clock, &key, &with).await.ok()?;
    let failure = asked.ok()?.err()?.to_failure();
    let is_denied = failure.class == FailureClass::Denied;
    let is_said = is_denied && failure.code.as_deref() != Some(ONLY_ASKED);
    is_said.then(|| job.access.secrets.redact_written(door.hide(failure.message)))
}

/// The step's `with` as far as it is known; none where nobody can tell whether it runs at all.
async fn known_part(job: &Job, clock: &Clock, step: &Step, scope: Scope) -> Option<Value> {
    let texts = step.when.iter().chain(&step.for_each);
    let paths = texts.flat_map(|text| expr::expression_references(text).unwrap_or_default());
    if step.for_each.is_some() || paths.into_iter().any(|path| waits_for_steps_in(&path, &scope)) {
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
    let limit = Duration::from_millis(job.access.limits.expression_ms_max);
    let evaluated = clock.in_thread(limit, move || evaluate::step(&step, &scope)).await;
    match evaluated {
        Ok(Evaluated::Once(with)) => with.ok(),
        Ok(Evaluated::Skipped | Evaluated::Each(_) | Evaluated::Failed { .. }) | Err(_) => None,
    }
}
