//! The state of an operation: the fold of its journal, and nothing else (R2).
//!
//! [`State::apply`] is the one transition table. An event that is not legal where it stands is an
//! [`IllegalEvent`]; it is never skipped. The fold does not know the plan, so that a journal can
//! be read long after its manifest's plugins are gone; what the plan means the machine knows.

mod attempts;
mod in_vain;
mod ran;
mod step;
mod taken_away;
mod transition;
mod used;

pub use ran::Unsaid;
pub use step::{BegunWait, HeldEffect, OpenAttempt, RecordedCall, StepState, StepStatus};
pub use used::Used;

use crate::actor::Actor;
use crate::calls::{Call, Class, DockerCall};
use crate::event::{
    AttemptResult, Cause, Event, FinalStatus, GivenSecret, Kept, NotRestored, Pinned, Record,
    UndoResult, UnknownEffect, Verdict,
};
use crate::ids::*;
use crate::resource::{Facts, Resource};
use crate::shared::Shared;
use crate::step::{Change, EffectOutcome, PastEffect};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Where an operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It is created, and waits for its checks and its locks.
    Queued,
    /// Preflight said no, or it was cancelled before it began: nothing was changed.
    Refused,
    /// It goes forward, past the commit point too.
    Running,
    /// What was done is taken back, then the world is compared with the baselines.
    RollingBack,
    /// It is over, past the commit point; something may be left to clean up.
    Succeeded,
    /// It is over; all is restored, or all but what was declared.
    RolledBack,
    /// The verdict is incomplete; it keeps its locks until a person ends it (R7).
    RollbackFailed,
    /// A person gave it up where it stood, because nothing else could end it (R7).
    Abandoned,
}

impl Status {
    /// Every status, in the order in which operations come to them.
    pub const ALL: [Status; 8] = [
        Status::Queued,
        Status::Refused,
        Status::Running,
        Status::RollingBack,
        Status::Succeeded,
        Status::RolledBack,
        Status::RollbackFailed,
        Status::Abandoned,
    ];

    /// Whether nothing more will happen by itself.
    pub fn is_final(self) -> bool {
        match self {
            Status::Queued | Status::Running | Status::RollingBack => false,
            Status::Refused
            | Status::Succeeded
            | Status::RolledBack
            | Status::RollbackFailed
            | Status::Abandoned => true,
        }
    }
}

/// The fold of an operation's journal.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// `Queued` until an event changes it.
    pub status: Status,
    /// What it is pinned to; `None` before the first event.
    pub pinned: Option<Shared<Pinned>>,
    /// The secrets that were given anew since.
    pub given: BTreeMap<String, GivenSecret>,
    /// When it was first written down; 0 before that.
    pub created_at: UnixMs,
    /// When preflight had passed; `None` before that.
    pub started_at: Option<UnixMs>,
    /// When it came to its end; `None` again while a rollback is taken up again.
    pub finished_at: Option<UnixMs>,
    /// The number of the last event; 0 before the first.
    pub last_seq: Seq,
    /// When the last event was; the operation's time goes on from there.
    pub last_at: UnixMs,
    /// Why preflight said no, one sentence each; empty if it did not.
    pub refusals: Vec<String>,
    /// Who asked for the end, and why if they said so; `None` if nobody did.
    pub cancel: Option<(Actor, Option<String>)>,
    /// Why it rolled back; `None` if it did not.
    pub cause: Option<Cause>,
    /// The same in one line, for a person.
    pub why: Option<String>,
    /// `None` until the world is compared; incomplete in [`Status::Abandoned`], too.
    pub verdict: Option<Verdict>,
    /// Every instance that was started or skipped.
    pub steps: BTreeMap<StepKey, Shared<StepState>>,
    /// The steps that something may still have to be done about: begun, and not over.
    pub active: BTreeSet<StepKey>,
    /// The instances of each step with `for_each`, once that is evaluated.
    pub expanded: BTreeMap<StepId, Vec<(EachKey, Value)>>,
    /// Whether it is past the commit point (R12): nothing rolls back any more.
    pub committed: bool,
    /// How long the service was down, by the window's events.
    pub downtime: Downtime,
    /// What this operation made and nobody has taken away since; a name may be used twice.
    ///
    /// With the identity of each, where its kind has one and somebody looked.
    pub own: BTreeMap<Resource, Option<String>>,
    /// The irreversible effects that were made on nothing but what the operation owned at that
    /// moment.
    pub own_effects: BTreeSet<CallId>,
    /// The containers that run what no step's `with` says, and the names that came to them.
    pub unsaid: Unsaid,
    /// The starts of such containers.
    pub unsaid_starts: BTreeSet<CallId>,
    /// How much it has used up of what has an end.
    pub used: Used,
    /// The first `before` of each resource, in the order in which they were first touched.
    pub baselines: Baselines,
    /// What differed when the world was compared last.
    pub not_restored: Vec<NotRestored>,
    /// What nobody could look at, neither before nor at the end.
    pub not_compared: Vec<Resource>,
    /// What undos left on purpose, as of then.
    pub kept: Vec<Kept>,
    /// By name; empty unless it succeeded. What is not known is null.
    pub outputs: BTreeMap<String, Value>,
    /// Those of them that could not be worked out, and why.
    pub unknown_outputs: BTreeMap<String, String>,
    /// Who took the world as an incomplete rollback left it, and why.
    pub accepted: Option<(Actor, String)>,
    /// `None` unless a person gave it up, past the commit point too.
    pub abandoned: Option<Abandoned>,
}

/// How long the service was down, and since when it is.
///
/// The window can open twice: going forward, and again when a rollback takes back what it did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Downtime {
    /// Since when it is open.
    pub since: Option<UnixMs>,
    /// How long those were together that are closed.
    pub closed_ms: Option<u64>,
}

impl Downtime {
    /// Whether the service ever was down.
    pub fn has_begun(self) -> bool {
        self.since.is_some() || self.closed_ms.is_some()
    }

    /// How long the service was down in all; `None` if it never was, or still is.
    pub fn total_ms(self) -> Option<u64> {
        self.closed_ms.filter(|_| self.since.is_none())
    }
}

/// Who gave the operation up, why, and what may have happened without anybody knowing.
#[derive(Clone, Debug, PartialEq)]
pub struct Abandoned {
    /// Who ran `stepback unlock`.
    pub actor: Actor,
    /// Why nothing else could end it, in their words.
    pub reason: String,
    /// The effects of which nobody knows whether they happened.
    pub unknown: Vec<UnknownEffect>,
    /// Why another journal of it has the last word, if one has.
    pub elsewhere: Option<String>,
}

/// What each resource was like before the operation first touched it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Baselines {
    in_order: Vec<(Resource, Facts)>,
    places: BTreeMap<Resource, usize>,
}

impl Baselines {
    /// All of them, in the order in which they were first touched.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&Resource, &Facts)> {
        self.in_order.iter().map(|(resource, facts)| (resource, facts))
    }

    /// The one of a resource, if it was touched.
    pub fn of(&self, resource: &Resource) -> Option<&Facts> {
        self.places.get(resource).map(|place| &self.in_order[*place].1)
    }

    /// The one of a resource, or of the container that has this id, whatever it is called by now.
    pub fn of_thing(&self, resource: &Resource) -> Option<&Facts> {
        let by_id = || {
            let Resource::Container { host, name } = resource else { return None };
            let mut there = self.iter().filter(|(one, _)| one.host() == Some(host));
            there.find(|(_, before)| before.identity() == Some(name)).map(|(_, before)| before)
        };
        self.of(resource).or_else(by_id)
    }

    fn note(&mut self, resource: &Resource, before: &Facts) {
        if self.places.contains_key(resource) {
            return;
        }
        self.places.insert(resource.clone(), self.in_order.len());
        self.in_order.push((resource.clone(), before.clone()));
    }
}

/// An event that can't follow what came before it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("event {seq} ({event}) is not legal here: {why}", seq = .seq.0)]
pub struct IllegalEvent {
    /// The event's number.
    pub seq: Seq,
    /// Its kind, as the journal has it.
    pub event: &'static str,
    /// What speaks against it, such as the status of the operation or the step.
    pub why: String,
}

impl Default for State {
    fn default() -> Self {
        Self {
            status: Status::Queued,
            pinned: None,
            given: BTreeMap::new(),
            created_at: UnixMs(0),
            started_at: None,
            finished_at: None,
            last_seq: Seq(0),
            last_at: UnixMs(0),
            refusals: vec![],
            cancel: None,
            cause: None,
            why: None,
            verdict: None,
            steps: BTreeMap::new(),
            active: BTreeSet::new(),
            expanded: BTreeMap::new(),
            committed: false,
            downtime: Downtime::default(),
            own: BTreeMap::new(),
            own_effects: BTreeSet::new(),
            unsaid: Unsaid::default(),
            unsaid_starts: BTreeSet::new(),
            used: Used::default(),
            baselines: Baselines::default(),
            not_restored: vec![],
            not_compared: vec![],
            kept: vec![],
            outputs: BTreeMap::new(),
            unknown_outputs: BTreeMap::new(),
            accepted: None,
            abandoned: None,
        }
    }
}

impl State {
    /// The state after these records.
    pub fn fold(records: &[Record]) -> Result<State, IllegalEvent> {
        let mut state = State::default();
        for record in records {
            state.apply(record)?;
        }
        Ok(state)
    }

    /// Whether the resource, as it is there now, was made by this operation: what only has the name
    /// of something that was is somebody else's.
    pub fn is_own(&self, resource: &Resource, now: &Facts) -> bool {
        let named = match resource {
            Resource::FileSystem { volume, .. } => &Resource::Volume { id: volume.clone() },
            named => named,
        };
        let Some(made) = self.own.get(named) else { return false };
        match (made, now.identity()) {
            (Some(made), Some(found)) => made == found,
            (None, _) | (_, None) => true,
        }
    }

    /// Whether a call made now would have no inverse: an irreversible one, on something that is not
    /// the operation's own.
    pub fn is_irreversible(&self, call: &Call, changes: &[Change]) -> bool {
        // What a command did is unknown, whoever made the container it ran in.
        matches!(
            call,
            Call::Docker(DockerCall::RunOnce { .. }) | Call::Docker(DockerCall::Exec { .. })
        ) || call.class() == Class::Irreversible
            && !changes.iter().all(|change| self.is_own(&change.resource, &change.before))
    }

    /// Whether an effect of the past has no inverse.
    pub fn was_irreversible(&self, effect: &PastEffect) -> bool {
        effect.call.class() == Class::Irreversible && !self.own_effects.contains(&effect.id)
            || self.unsaid_starts.contains(&effect.id)
    }

    pub(crate) fn note_owner(&mut self, call: &Call, changes: &[Change]) {
        if let (Call::Docker(DockerCall::RenameContainer { .. }), [from, to]) = (call, changes) {
            if let Some(made) = self.own.remove(&from.resource) {
                self.own.insert(to.resource.clone(), made);
            }
            return;
        }
        for change in changes {
            match (&change.before, &change.after) {
                (Facts::Absent, None | Some(Facts::Present(_))) => {
                    let made = change.after.as_ref().and_then(Facts::identity);
                    self.own.insert(change.resource.clone(), made.map(str::to_owned));
                }
                (Facts::Present(_), Some(Facts::Absent)) => {
                    self.own.remove(&change.resource);
                }
                (Facts::Absent, Some(Facts::Absent | Facts::Unknown(_)))
                | (Facts::Present(_), None | Some(Facts::Present(_) | Facts::Unknown(_)))
                | (Facts::Unknown(_), _) => {}
            }
        }
    }

    /// One effect, with what is known of its outcome.
    pub fn effect(&self, id: &CallId) -> Option<&PastEffect> {
        self.steps.get(&id.of.step)?.effects.iter().find(|effect| effect.id == *id)
    }

    /// Attempts that have started and not finished.
    pub fn open_attempts(&self) -> impl Iterator<Item = &OpenAttempt> {
        self.active_steps().filter_map(|(_, step)| step.open.as_ref())
    }

    /// The steps that run, wait, have failed or are being undone.
    pub fn active_steps(&self) -> impl Iterator<Item = (&StepKey, &StepState)> {
        self.active
            .iter()
            .filter_map(|key| self.steps.get_key_value(key))
            .map(|(key, step)| (key, &**step))
    }

    pub(crate) fn note_activity(&mut self, key: &StepKey) {
        let Some(step) = self.steps.get(key) else { return };
        let is_over = match step.status {
            StepStatus::Pending
            | StepStatus::Skipped
            | StepStatus::Done
            | StepStatus::Undone
            | StepStatus::Kept
            | StepStatus::Leftover => true,
            StepStatus::Running
            | StepStatus::WaitingRetry
            | StepStatus::Failed
            | StepStatus::Undoing
            | StepStatus::UndoFailed => false,
        };
        if is_over && step.open.is_none() {
            self.active.remove(key);
        } else {
            self.active.insert(key.clone());
        }
    }

    pub(crate) fn open_attempt(&mut self, of: &AttemptId) -> Result<&mut StepState, String> {
        let step = self.steps.get_mut(&of.step).ok_or("the step has not started")?;
        match &step.open {
            Some(open) if open.id == *of => Ok(step),
            _ => Err("this attempt is not open".to_owned()),
        }
    }

    pub(crate) fn note_baseline(
        &mut self,
        resource: &Resource,
        before: &Facts,
        direction: Direction,
    ) {
        let made_here =
            matches!(resource, Resource::FileSystem { .. }) && self.is_own(resource, before);
        let unnamed = matches!(resource, Resource::Created { .. });
        // What an undo takes down with an instance that did not run before was never as it is now.
        // Whatever an engine does not start by itself, somebody started there meanwhile.
        let is_started = before.get("running") == Some(&true.into())
            && before.get("restart") == Some(&"no".into());
        let comes_by_itself =
            direction == Direction::Undo && self.was_down(resource) && !is_started;
        // What an undo could not see it may have done itself: it is no word about how it was.
        let is_unseen = direction == Direction::Undo && matches!(before, Facts::Unknown(_));
        if !unnamed && !made_here && !comes_by_itself && !is_unseen {
            self.baselines.note(resource, before);
        }
    }

    /// Whether a resource is on an instance that did not run when the operation came.
    pub fn was_down(&self, resource: &Resource) -> bool {
        let on = resource.host().map(|host| Resource::Instance { id: host.to_owned() });
        let instance = on.and_then(|instance| self.baselines.of(&instance));
        instance.is_some_and(Facts::is_down)
    }

    /// The effects whose outcome nobody knows.
    pub fn unknown_effects(&self) -> Vec<UnknownEffect> {
        let all = self.steps.values().flat_map(|step| &step.effects);
        let unknown = all.filter(|effect| matches!(effect.outcome, EffectOutcome::Unknown(_)));
        let told = |effect: &PastEffect| UnknownEffect {
            id: effect.id.clone(),
            function: effect.call.function().to_owned(),
            resources: effect.changes.iter().map(|change| change.resource.clone()).collect(),
        };
        unknown.map(told).collect()
    }

    pub(crate) fn new_step(&mut self, key: &StepKey, status: StepStatus, with: Value, at: UnixMs) {
        let order = self.steps.len();
        self.steps.insert(key.clone(), StepState::new(status, with, order, at).into());
    }
}

impl Event {
    /// The event's name, for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Event::Created(_) => "created",
            Event::Refused { .. } => "refused",
            Event::Started => "started",
            Event::TakenUp { .. } => "taken-up",
            Event::CancelRequested { .. } => "cancel-requested",
            Event::StepExpanded { .. } => "step-expanded",
            Event::StepSkipped { .. } => "step-skipped",
            Event::StepStarted { .. } => "step-started",
            Event::AttemptStarted { .. } => "attempt-started",
            Event::CallAnswered { .. } => "call-answered",
            Event::WaitBegun { .. } => "wait-begun",
            Event::CallStarted { .. } => "call-started",
            Event::CallFinished { .. } => "call-finished",
            Event::AttemptFinished { .. } => "attempt-finished",
            Event::RetryScheduled { .. } => "retry-scheduled",
            Event::DowntimeStarted => "downtime-started",
            Event::DowntimeEnded { .. } => "downtime-ended",
            Event::Committed => "committed",
            Event::RollbackStarted { .. } => "rollback-started",
            Event::UndoStarted { .. } => "undo-started",
            Event::UndoEnded { .. } => "undo-ended",
            Event::Verified { .. } => "verified",
            Event::Finished { .. } => "finished",
            Event::RollbackResumed { .. } => "rollback-resumed",
            Event::Accepted { .. } => "accepted",
            Event::EffectWaits { .. } => "effect-waits",
            Event::Abandoned { .. } => "abandoned",
        }
    }
}

pub(crate) fn final_status(status: FinalStatus) -> Status {
    match status {
        FinalStatus::Succeeded => Status::Succeeded,
        FinalStatus::RolledBack => Status::RolledBack,
        FinalStatus::RollbackFailed => Status::RollbackFailed,
    }
}

pub(crate) fn undo_status(result: &UndoResult) -> StepStatus {
    match result {
        UndoResult::Undone => StepStatus::Undone,
        UndoResult::Kept(_) => StepStatus::Kept,
        UndoResult::Failed(_) => StepStatus::UndoFailed,
    }
}

pub(crate) fn is_output(result: &AttemptResult) -> bool {
    matches!(result, AttemptResult::Output(_))
}
