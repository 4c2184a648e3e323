//! The journal's events, version 1: the only truth about an operation (R2).
//!
//! They outlive every version of the program, so they hold what replay, undo and verification
//! need and nothing that can be recomputed: the call with its token, the facts around it, the
//! evaluated `with`, the frozen `past`. A field may be added with a default; none may change.

use crate::calls::Call;
use crate::failure::Failure;
use crate::ids::*;
use crate::resource::{Facts, Resource};
use crate::step::{Change, EffectOutcome, Past, UndoAnswer};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// An event with its place and time in the operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub seq: Seq,
    pub at: UnixMs,
    pub epoch: Epoch,
    pub event: Event,
}

/// What can happen to an operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// Everything the operation is pinned to (R14).
    Created(Box<Pinned>),
    /// Preflight said no: not one effect was made.
    Refused {
        reasons: Vec<String>,
    },
    /// Preflight passed and the locks are held.
    Started,
    /// Another runner goes on where the last one ended (R4).
    TakenUp {
        actor: String,
        /// How long nobody ran it: steps' timeouts stood still meanwhile (R15).
        dead_ms: u64,
    },
    /// Who asked for the end, and why; the rollback it causes follows (R9).
    CancelRequested {
        actor: String,
        reason: Option<String>,
    },

    /// `for_each` was evaluated: one instance a key, `each.value` with it.
    StepExpanded {
        step: StepId,
        instances: Vec<(EachKey, Value)>,
    },
    StepSkipped {
        step: StepKey,
    },
    /// The step's inputs are evaluated, once and for all.
    StepStarted {
        step: StepKey,
        with: Value,
    },
    AttemptStarted {
        of: AttemptId,
    },
    /// A call ended without an effect being sent: a read, a wait, a reversal that was worked out,
    /// or an effect that was denied. It rides along with the next flush.
    CallAnswered {
        id: CallId,
        call: Call,
        result: Result<Value, Failure>,
    },
    /// A wait lasts: a runner that takes it up waits for the rest of it, not from the beginning.
    WaitBegun {
        id: CallId,
        call: Call,
        since: UnixMs,
    },
    /// An effect is not made before these other steps are done, which changed the same facts (R6);
    /// of none, it waits no longer.
    EffectWaits {
        id: CallId,
        call: Call,
        behind: Vec<StepKey>,
    },
    /// An effect is about to be made: durable before the provider is asked (R1).
    CallStarted {
        id: CallId,
        call: Call,
        token: Token,
        changes: Vec<Change>,
    },
    /// The effect's outcome and the facts after it.
    CallFinished {
        id: CallId,
        outcome: EffectOutcome,
        changes: Vec<Change>,
    },
    AttemptFinished {
        of: AttemptId,
        result: AttemptResult,
    },
    /// The step runs again, not before `not_before`; what its failed attempt did is taken back.
    RetryScheduled {
        step: StepKey,
        not_before: UnixMs,
    },

    /// The service may be down from here on. It happens again when a rollback takes back what a
    /// window did that is over (R11).
    DowntimeStarted,
    DowntimeEnded {
        /// How long this window was open.
        downtime_ms: u64,
    },
    /// The commit point (R12): from here on nothing rolls back.
    Committed,

    RollbackStarted {
        cause: Cause,
        why: String,
    },
    /// What the undo is told is frozen here (R4).
    UndoStarted {
        step: StepKey,
        attempt: Attempt,
        past: Past,
    },
    /// No further attempt: the step's undo ended well, or for good without success (R7).
    UndoEnded {
        step: StepKey,
        result: UndoResult,
    },
    /// The world was read again and compared with the baselines (R8).
    Verified {
        verdict: Verdict,
        not_restored: Vec<NotRestored>,
        kept: Vec<Kept>,
    },

    Finished {
        status: FinalStatus,
        outputs: BTreeMap<String, Value>,
        /// Outputs that could not be worked out, which are null, and why.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        unknown_outputs: BTreeMap<String, String>,
    },
    /// An incomplete rollback is taken up again after a person's fix: what is not undone is tried
    /// anew, and the world is verified again (R7).
    RollbackResumed {
        actor: String,
    },
    /// A person takes the world as an incomplete rollback left it; the locks are released (R7).
    Accepted {
        actor: String,
        reason: String,
    },
    /// A person gives the operation up where it stands; nothing goes on, the locks are released
    /// (R7).
    Abandoned {
        actor: String,
        reason: String,
        /// The effects of which nobody knows whether they happened.
        unknown: Vec<UnknownEffect>,
    },
}

/// An effect that may have happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownEffect {
    pub id: CallId,
    /// `interface.function`.
    pub function: String,
    pub resources: Vec<Resource>,
}

/// What an operation is pinned to, kept from its first event on (R14).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pinned {
    /// The path or name it was started from, for people.
    pub manifest_name: String,
    /// The text itself.
    pub manifest: String,
    /// The inputs; a secret is its reference, never its value.
    pub inputs: BTreeMap<String, Value>,
    pub environment: EnvironmentName,
    /// Which world this is, as the provider tells it (account, region, engine ids).
    pub world: Value,
    /// `plugin` or path in the manifest → digest of its bytes, which the store keeps.
    pub plugins: BTreeMap<String, PluginDigest>,
    pub locks: Vec<LockName>,
    pub actor: String,
    /// The store's identity and, behind it, the random name of who began the operation.
    pub store: StoreId,
    /// The interfaces each plugin may use, by the name it has in the manifest.
    #[serde(default)]
    pub grants: BTreeMap<String, Vec<String>>,
    /// A salted fingerprint of each secret input: a resume must find the same one.
    #[serde(default)]
    pub secrets: BTreeMap<String, String>,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", content = "detail", rename_all = "kebab-case")]
pub enum AttemptResult {
    /// Of a run: the output.
    Output(Value),
    /// Of an undo: its answer.
    Undo(UndoAnswer),
    Failed(Failure),
}

/// How a step's undo ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", content = "why", rename_all = "kebab-case")]
pub enum UndoResult {
    Undone,
    Kept(String),
    Failed(String),
}

/// Why an operation rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    Failed,
    Cancelled,
    Timeout,
    Budget,
}

/// The last word on a rollback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Restored,
    RestoredExceptDeclared,
    Incomplete,
}

/// A resource that is not as it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NotRestored {
    pub resource: Resource,
    pub before: Facts,
    /// `None`: the facts now, or those before, are not known.
    pub now: Option<Facts>,
    pub why: String,
    pub hint: String,
    /// Whether a declared irreversible effect explains the difference.
    pub declared: bool,
}

/// What a rollback left on purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub step: StepKey,
    pub reason: String,
}

/// The statuses an operation can end in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FinalStatus {
    Succeeded,
    RolledBack,
    RollbackFailed,
}

impl Event {
    /// The step's instance whose status the event may change.
    pub fn step(&self) -> Option<&StepKey> {
        match self {
            Event::StepSkipped { step }
            | Event::StepStarted { step, .. }
            | Event::RetryScheduled { step, .. }
            | Event::UndoStarted { step, .. }
            | Event::UndoEnded { step, .. } => Some(step),
            Event::AttemptStarted { of } | Event::AttemptFinished { of, .. } => Some(&of.step),
            Event::Created(_)
            | Event::Refused { .. }
            | Event::Started
            | Event::TakenUp { .. }
            | Event::CancelRequested { .. }
            | Event::StepExpanded { .. }
            | Event::CallAnswered { .. }
            | Event::WaitBegun { .. }
            | Event::EffectWaits { .. }
            | Event::CallStarted { .. }
            | Event::CallFinished { .. }
            | Event::DowntimeStarted
            | Event::DowntimeEnded { .. }
            | Event::Committed
            | Event::RollbackStarted { .. }
            | Event::Verified { .. }
            | Event::Finished { .. }
            | Event::RollbackResumed { .. }
            | Event::Accepted { .. }
            | Event::Abandoned { .. } => None,
        }
    }
}
