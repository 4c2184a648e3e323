//! The steps of an operation as `show --json` prints them: how each is, what it waits for now, and
//! what cleanup left over.

use super::word;
use crate::output::timestamp;
use crate::words::phase_word;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use stepback_core::manifest::Manifest;
use stepback_core::state::{RecordedCall, State, StepState, StepStatus};
use stepback_core::{Call, Shared, StepKey};

/// One step, or one instance of a `for_each` step.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StepView {
    pub id: String,
    pub uses: Option<String>,
    /// live, downtime or cleanup.
    pub phase: Option<String>,
    pub status: String,
    pub attempts: u32,
    pub started_at: Option<String>,
    pub finished_at: Option<String>,
    pub error: Option<ErrorView>,
    /// Why its undo did not work.
    pub undo_error: Option<String>,
    pub output: Option<Value>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct ErrorView {
    pub class: String,
    /// The provider's own code.
    pub code: Option<String>,
    pub message: String,
}

/// A host call in flight.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CurrentView {
    pub step: String,
    /// `interface.function` of the last call that began, if one is in flight.
    pub call: Option<String>,
    pub since: String,
    /// The steps that the call waits for, because they changed the same facts.
    pub waits_for: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct LeftoverView {
    pub step: String,
    pub error: Option<String>,
    /// What an attempt made that failed before the step was tried again, and that is still there.
    pub resource: Option<String>,
}

pub(super) fn current(state: &State) -> Vec<CurrentView> {
    let view = |(key, step): (&StepKey, &Shared<StepState>)| {
        let open = step.open.as_ref()?;
        let call = under_way(step).map(|call| call.function().to_owned());
        let waits_for = open.held.iter().flat_map(|held| &held.behind);
        let waits_for = waits_for.filter(|step| state.active.contains(step));
        Some(CurrentView {
            step: key.to_string(),
            call,
            since: timestamp(open.started_at),
            waits_for: waits_for.map(ToString::to_string).collect(),
        })
    };
    state.steps.iter().filter_map(view).collect()
}

/// The call that an attempt is in: an effect, one that waits for other steps, or a wait.
pub fn under_way(step: &StepState) -> Option<&Call> {
    let open = step.open.as_ref()?;
    let effect = match open.calls.last() {
        Some(RecordedCall::Effect { index, finished: false }) => step.effects.get(*index),
        Some(RecordedCall::Effect { finished: true, .. } | RecordedCall::Answered { .. })
        | None => None,
    };
    let held = || open.held.as_ref().map(|held| &held.call);
    let wait = || open.wait.as_ref().map(|wait| &wait.call);
    effect.map(|effect| &effect.call).or_else(held).or_else(wait)
}

/// The steps as the manifest has them, and then any that it no longer tells of.
pub(super) fn steps(state: &State, manifest: Option<&Manifest>) -> Vec<StepView> {
    let mut views = vec![];
    let mut seen = vec![];
    for step in manifest.map_or(&[][..], |manifest| &manifest.steps) {
        let (uses, phase) = (Some(step.uses.to_string()), Some(phase_word(step.phase).to_owned()));
        let instances: Vec<_> = state.steps.iter().filter(|(key, _)| key.step == step.id).collect();
        if instances.is_empty() {
            views.push(pending(step.id.to_string(), uses, phase));
            continue;
        }
        for (key, instance) in instances {
            seen.push(key.clone());
            views.push(started(key, instance, uses.clone(), phase.clone()));
        }
    }
    let rest = state.steps.iter().filter(|(key, _)| !seen.contains(key));
    views.extend(rest.map(|(key, step)| started(key, step, None, None)));
    views
}

fn pending(id: String, uses: Option<String>, phase: Option<String>) -> StepView {
    StepView {
        id,
        uses,
        phase,
        status: word(StepStatus::Pending),
        attempts: 0,
        started_at: None,
        finished_at: None,
        error: None,
        undo_error: None,
        output: None,
    }
}

fn started(
    key: &StepKey,
    step: &StepState,
    uses: Option<String>,
    phase: Option<String>,
) -> StepView {
    let error = step.error.as_ref().map(|failure| ErrorView {
        class: failure.class.to_string(),
        code: failure.code.clone(),
        message: failure.message.clone(),
    });
    StepView {
        id: key.to_string(),
        uses,
        phase,
        status: word(step.status),
        attempts: step.attempts.0,
        started_at: step.started_at.map(timestamp),
        finished_at: step.finished_at.map(timestamp),
        error,
        undo_error: step.undo_error.clone(),
        output: step.output.clone(),
    }
}

pub(super) fn leftovers(state: &State) -> Vec<LeftoverView> {
    let left = state.steps.iter().filter(|(_, step)| step.status == StepStatus::Leftover);
    let left = left.map(|(key, step)| LeftoverView {
        step: key.to_string(),
        error: step.error.as_ref().map(|error| error.message.clone()),
        resource: None,
    });
    let in_vain = state.made_in_vain().map(|(key, resource)| LeftoverView {
        step: key.to_string(),
        error: None,
        resource: Some(resource.to_string()),
    });
    left.chain(in_vain).collect()
}
