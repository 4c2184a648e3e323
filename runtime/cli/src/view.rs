//! The machine's view of an operation: what `show --json`, `list --json` and `activity` print.
//!
//! Folded from the journal alone. The keys are a contract with whoever scripts against them: one
//! may be added, none may change its meaning.

mod steps;

use crate::output::timestamp;
use crate::shown::Shown;
use crate::words::{cause_word, verdict_word};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use stepback_core::event::{Event, Pinned, Record, UnknownEffect};
use stepback_core::manifest;
use stepback_core::state::{Abandoned, IllegalEvent, State, Status};
use stepback_core::{Actor, Facts};
use stepback_journal::{Ending, Request, Summary};
pub use steps::under_way;
use steps::{CurrentView, LeftoverView, StepView, current, leftovers};

/// The status of an operation that nobody runs any more.
const UNFINISHED: &str = "unfinished";

/// One operation.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OperationView {
    pub id: u64,
    /// The operation's name in its manifest.
    pub name: String,
    /// The manifest's path as it was given.
    pub manifest: String,
    pub environment: String,
    /// Whether its environment was a simulation: nothing of what it did is real.
    pub simulated: bool,
    /// queued, refused, running, rolling-back, succeeded, rolled-back, rollback-failed, accepted,
    /// abandoned; unfinished: nobody runs it any more; or unreadable: its journal can't be read.
    pub status: String,
    /// What one that is unfinished was at: queued, running or rolling-back.
    pub left_in: Option<String>,
    /// When it was last known that somebody ran it; RFC 3339, UTC.
    pub left_at: Option<String>,
    /// Why it rolled back: failed, cancelled, timeout or budget.
    pub cause: Option<String>,
    /// The cause in a sentence.
    pub why: Option<String>,
    /// restored, restored-except-declared or incomplete.
    pub verdict: Option<String>,
    /// RFC 3339, UTC.
    pub started_at: Option<String>,
    pub finished_at: Option<String>,
    /// How long the service was down; null if it never was, or still is.
    pub downtime_ms: Option<u64>,
    /// Since when it is, if it is; RFC 3339, UTC.
    pub downtime_since: Option<String>,
    /// Who started it, for people.
    pub actor: String,
    /// Whose account that was, by the system: of whoever called `sudo`, where it was called so.
    /// Null where the journal is older than this.
    pub actor_uid: Option<u32>,
    /// A secret is its reference.
    pub inputs: BTreeMap<String, Value>,
    pub outputs: BTreeMap<String, Value>,
    /// Outputs that could not be worked out, which are null, and why.
    pub unknown_outputs: BTreeMap<String, String>,
    /// The locks it holds now.
    pub locks: Vec<String>,
    /// Whether the commit point is.
    #[serde(skip)]
    pub is_committed: bool,
    /// Whether the commit point or an irreversible effect is behind it.
    pub point_of_no_return_passed: bool,
    /// Who asked for its rollback, and why, where nobody has heard it yet.
    pub cancel_kept: Option<AcceptedView>,
    /// What its steps wait for now.
    pub current: Vec<CurrentView>,
    /// Why it was refused.
    pub refused: Vec<String>,
    pub steps: Vec<StepView>,
    pub not_restored: Vec<NotRestoredView>,
    /// What nobody could look at: the containers of hosts without an engine, before and at the end.
    pub not_compared: Vec<String>,
    pub kept: Vec<KeptView>,
    pub leftovers: Vec<LeftoverView>,
    /// Who took an incomplete rollback's world as it is, and why.
    pub accepted: Option<AcceptedView>,
    /// Who gave the operation up where it stood, and why.
    pub abandoned: Option<AbandonedView>,
}

/// A person's word that nothing else could end the operation.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AbandonedView {
    pub actor: String,
    /// As that of the operation.
    pub actor_uid: Option<u32>,
    pub reason: String,
    /// The effects of which nobody knows whether they happened.
    pub unknown: Vec<UnknownEffectView>,
    /// Why another journal of it has the last word, and keeps its locks in the environment; `null`
    /// where none has.
    pub elsewhere: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct UnknownEffectView {
    pub step: String,
    /// `interface.function`.
    pub call: String,
    pub resources: Vec<String>,
}

/// A person's word: on an incomplete rollback, or to cancel.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AcceptedView {
    pub actor: String,
    /// As that of the operation.
    pub actor_uid: Option<u32>,
    pub reason: String,
}

impl AcceptedView {
    fn of(actor: Actor, reason: String) -> Self {
        Self { actor: actor.name, actor_uid: actor.uid, reason }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct NotRestoredView {
    pub resource: String,
    /// The facts that count; null for absent, `"unknown"` if they could not be read.
    pub before: Value,
    /// Null for absent, `"unknown"` if it could not be read.
    pub now: Value,
    pub why: String,
    /// What to paste, or to look at, in words of the world that the operation was in.
    pub hint: String,
    /// Whether a declared irreversible effect explains it.
    pub declared: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct KeptView {
    pub step: String,
    pub reason: String,
}

/// Whether a world, as its provider tells it, is a simulation.
pub fn is_simulated(world: &Value) -> bool {
    world["provider"] == "simulated"
}

fn word(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}

impl OperationView {
    /// The environment, for people.
    pub fn shown_environment(&self) -> String {
        let environment = &self.environment;
        if self.simulated { format!("{environment} (SIMULATED)") } else { environment.clone() }
    }

    /// Who closed it by his word, and why: accepted as it is, or given up.
    pub fn closed(&self) -> Option<(&str, &str)> {
        let accepted = self.accepted.as_ref().map(|one| (&one.actor, &one.reason));
        let abandoned = self.abandoned.as_ref().map(|one| (&one.actor, &one.reason));
        accepted.or(abandoned).map(|(actor, reason)| (actor.as_str(), reason.as_str()))
    }

    /// What to do about one that is unfinished.
    pub fn left(&self) -> Option<Shown> {
        let (id, was) = (self.id, self.left_in.as_deref()?);
        let since = self.left_at.as_ref().map(|at| shown!(", seen last {}", at));
        let since = since.unwrap_or_default();
        if let Some(AcceptedView { actor, reason, .. }) = &self.cancel_kept {
            let because = if reason.is_empty() { "" } else { ": " };
            return Some(shown!(
                "operation {} is unfinished: nobody runs it{} (it was {}), and {} cancelled \
                 it{}{}; `stepback resume {}` rolls it back",
                id,
                since,
                was,
                actor,
                because,
                reason,
                id
            ));
        }
        let back = match was {
            "rolling-back" => Shown::default(),
            _ if self.is_committed => "; past its commit point nothing rolls back".into(),
            _ => shown!(", `stepback cancel {}` rolls it back", id),
        };
        Some(shown!(
            "operation {} is unfinished: nobody runs it{} (it was {}); `stepback resume {}` goes \
             on{}",
            id,
            since,
            was,
            id,
            back
        ))
    }

    /// The view of these records.
    pub fn of(summary: &Summary, records: &[Record]) -> Result<Self, IllegalEvent> {
        let id = summary.id;
        let is_left = summary.finished.is_none() && !summary.is_run;
        let state = State::fold(records)?;
        let pinned = records.iter().find_map(|record| match &record.event {
            Event::Created(pinned) => Some(pinned.clone()),
            _ => None,
        });
        let parsed = pinned.as_ref().and_then(|pinned| {
            manifest::parse_pinned(&pinned.manifest_name, &pinned.manifest).ok()
        });
        let name = parsed.as_ref().map(|parsed| parsed.operation.name.clone());
        Ok(Self {
            id: id.0,
            name: name.unwrap_or_default(),
            manifest: pinned.as_ref().map(|p| p.manifest_name.clone()).unwrap_or_default(),
            environment: pinned.as_ref().map(|p| p.environment.to_string()).unwrap_or_default(),
            simulated: pinned.as_ref().is_some_and(|p| is_simulated(&p.world)),
            status: match (is_left, &state.accepted) {
                (true, _) => UNFINISHED.to_owned(),
                (false, Some(_)) => "accepted".to_owned(),
                (false, None) => word(state.status),
            },
            left_in: is_left.then(|| word(state.status)),
            // Its last event may be later than the last time its runner said that it lives.
            left_at: summary.left_at.filter(|_| is_left).map(|at| timestamp(at.max(state.last_at))),
            cancel_kept: summary.cancel.clone().map(|Request::Cancel { actor, reason }| {
                AcceptedView::of(actor, reason.unwrap_or_default())
            }),
            cause: state.cause.map(|cause| cause_word(cause).to_owned()),
            why: state.why.clone(),
            verdict: state.verdict.map(|verdict| verdict_word(verdict).to_owned()),
            started_at: state.started_at.map(timestamp),
            finished_at: state.finished_at.map(timestamp),
            downtime_ms: state.downtime.total_ms(),
            downtime_since: state.downtime.since.map(timestamp),
            actor: pinned.as_ref().map(|p| p.actor.name.clone()).unwrap_or_default(),
            actor_uid: pinned.as_ref().and_then(|p| p.actor.uid),
            inputs: pinned.as_ref().map(|p| p.inputs.clone()).unwrap_or_default(),
            outputs: state.outputs.clone(),
            unknown_outputs: state.unknown_outputs.clone(),
            locks: locks(&state),
            is_committed: state.committed,
            point_of_no_return_passed: state.committed || irreversible_ran(&state),
            current: current(&state),
            refused: state.refusals.clone(),
            steps: steps::steps(&state, parsed.as_ref()),
            not_restored: not_restored(&state),
            not_compared: state.not_compared.iter().map(ToString::to_string).collect(),
            kept: kept(&state),
            leftovers: leftovers(&state),
            accepted: state.accepted.clone().map(|(actor, reason)| AcceptedView::of(actor, reason)),
            abandoned: state.abandoned.as_ref().map(abandoned),
        })
    }

    /// The row of an operation whose journal can't be read: what the store knows of it, and its
    /// first event where that can be.
    pub fn unreadable(
        summary: &Summary,
        began_with: Option<&Pinned>,
        why: &str,
        locks: Vec<String>,
    ) -> Self {
        let status = match summary.finished {
            Some(Ending::Abandoned) => "abandoned",
            _ => "unreadable",
        };
        Self {
            id: summary.id.0,
            name: began_with.map(name_of).unwrap_or_default(),
            manifest: summary.manifest.clone(),
            environment: summary.environment.to_string(),
            simulated: began_with.is_some_and(|pinned| is_simulated(&pinned.world)),
            status: status.to_owned(),
            left_in: None,
            left_at: None,
            cancel_kept: None,
            cause: None,
            why: Some(format!("its journal can't be read: {why}")),
            verdict: None,
            started_at: None,
            finished_at: None,
            downtime_ms: None,
            downtime_since: None,
            actor: began_with.map(|pinned| pinned.actor.name.clone()).unwrap_or_default(),
            actor_uid: began_with.and_then(|pinned| pinned.actor.uid),
            inputs: began_with.map(|pinned| pinned.inputs.clone()).unwrap_or_default(),
            outputs: BTreeMap::new(),
            unknown_outputs: BTreeMap::new(),
            locks,
            is_committed: false,
            point_of_no_return_passed: false,
            current: vec![],
            refused: vec![],
            steps: vec![],
            not_restored: vec![],
            not_compared: vec![],
            kept: vec![],
            leftovers: vec![],
            accepted: None,
            abandoned: None,
        }
    }
}

/// What an operation is called by its manifest.
pub fn name_of(pinned: &Pinned) -> String {
    let parsed = manifest::parse_pinned(&pinned.manifest_name, &pinned.manifest);
    parsed.map(|manifest| manifest.operation.name).unwrap_or_default()
}

fn abandoned(abandoned: &Abandoned) -> AbandonedView {
    let view = |effect: &UnknownEffect| UnknownEffectView {
        step: effect.id.of.step.to_string(),
        call: effect.function.clone(),
        resources: effect.resources.iter().map(ToString::to_string).collect(),
    };
    AbandonedView {
        actor: abandoned.actor.name.clone(),
        actor_uid: abandoned.actor.uid,
        reason: abandoned.reason.clone(),
        unknown: abandoned.unknown.iter().map(view).collect(),
        elsewhere: abandoned.elsewhere.clone(),
    }
}

fn locks(state: &State) -> Vec<String> {
    let held = match state.status {
        Status::Running | Status::RollingBack => true,
        Status::RollbackFailed => state.accepted.is_none(),
        Status::Queued
        | Status::Refused
        | Status::Succeeded
        | Status::RolledBack
        | Status::Abandoned => false,
    };
    let locks = state.pinned.as_ref().filter(|_| held).map(|pinned| &pinned.locks);
    locks.into_iter().flatten().map(ToString::to_string).collect()
}

fn irreversible_ran(state: &State) -> bool {
    use stepback_core::step::EffectOutcome;
    state.steps.values().flat_map(|step| &step.effects).any(|effect| {
        !matches!(effect.outcome, EffectOutcome::Refused(_)) && state.was_irreversible(effect)
    })
}

fn facts(facts: &Facts) -> Value {
    match facts {
        Facts::Absent => Value::Null,
        Facts::Present(map) => map.clone().into_iter().collect::<serde_json::Map<_, _>>().into(),
        Facts::Unknown(_) => "unknown".into(),
    }
}

fn not_restored(state: &State) -> Vec<NotRestoredView> {
    let view = |lost: &stepback_core::event::NotRestored| NotRestoredView {
        resource: lost.resource.to_string(),
        before: facts(&lost.before),
        now: lost.now.as_ref().map_or_else(|| "unknown".into(), facts),
        why: lost.why.clone(),
        hint: lost.hint.clone(),
        declared: lost.declared,
    };
    state.not_restored.iter().map(view).collect()
}

fn kept(state: &State) -> Vec<KeptView> {
    let view = |kept: &stepback_core::event::Kept| KeptView {
        step: kept.step.to_string(),
        reason: kept.reason.clone(),
    };
    state.kept.iter().map(view).collect()
}
