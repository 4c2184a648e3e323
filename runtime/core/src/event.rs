//! The journal's events, version 1: the only truth about an operation (R2).
//!
//! They outlive every version of the program, so they hold what replay, undo and verification
//! need and nothing that can be recomputed: the call with its token, the facts around it, the
//! evaluated `with`, the frozen `past`. A field may be added with a default; none may change.

use crate::actor::Actor;
use crate::calls::Call;
use crate::failure::Failure;
use crate::grants::{Grants, Policy};
use crate::ids::*;
use crate::resource::{Facts, Resource};
use crate::shared::Shared;
use crate::step::{Change, EffectOutcome, Past, UndoAnswer};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// An event with its place and time in the operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// One more than that of the event before it; the first has 1.
    pub seq: Seq,
    /// When the runner decided it; an answer has the time at which it came.
    pub at: UnixMs,
    /// The epoch of the lease under which it was written.
    pub epoch: Epoch,
    /// What happened.
    pub event: Event,
}

/// What can happen to an operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// Everything the operation is pinned to (R14).
    Created(Shared<Pinned>),
    /// Preflight said no: not one effect was made.
    Refused {
        /// One sentence each, for a person; at least one.
        reasons: Vec<String>,
    },
    /// Preflight passed and the locks are held.
    Started,
    /// Another runner goes on where the last one ended (R4).
    TakenUp {
        /// Who started the new runner.
        #[serde(flatten)]
        actor: Actor,
        /// How long nobody ran it: steps' timeouts stood still meanwhile (R15).
        dead_ms: u64,
        /// The secrets that are found elsewhere from here on, or are others.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        secrets: BTreeMap<String, GivenSecret>,
    },
    /// Who asked for the end, and why; the rollback it causes follows (R9).
    CancelRequested {
        /// Who asked.
        #[serde(flatten)]
        actor: Actor,
        /// In their words; `None` if they gave none.
        reason: Option<String>,
    },

    /// `for_each` was evaluated: one instance a key, `each.value` with it.
    StepExpanded {
        /// The step that has the `for_each`.
        step: StepId,
        /// Each key with its value, in the order of the list or map; there may be none.
        instances: Vec<(EachKey, Value)>,
    },
    /// The step's `when` is false: it does not run, and its output is null.
    StepSkipped {
        /// Always without a key: `when` is evaluated once, before `for_each`.
        step: StepKey,
    },
    /// The step's inputs are evaluated, once and for all; its first attempt begins at its turn.
    StepStarted {
        /// The instance; it starts once, whatever retries follow.
        step: StepKey,
        /// The evaluated `with`; null where that failed, and its first attempt fails then.
        with: Value,
    },
    /// An attempt at a step's run or undo begins; a replay of it does not begin another.
    AttemptStarted {
        /// Numbered one above the step's last attempt in the same direction.
        of: AttemptId,
    },
    /// A call ended without an effect being sent: a read, a wait, a reversal that was worked out,
    /// or an effect that was denied. It rides along with the next flush.
    CallAnswered {
        /// Numbered one above the attempt's last call.
        id: CallId,
        /// As the guest made it, with a placeholder for each secret.
        call: Call,
        /// What the guest was given; a replay gives it the same.
        result: Result<Value, Failure>,
    },
    /// A wait lasts: a runner that takes it up waits for the rest of it, not from the beginning.
    WaitBegun {
        /// The number that its answer will have.
        id: CallId,
        /// As the guest made it, with the whole time that it may take.
        call: Call,
        /// When it began, which is before this event: a short wait has no such event.
        since: UnixMs,
    },
    /// An effect is not made before these other steps are done, which changed the same facts (R6);
    /// of none, it waits no longer.
    EffectWaits {
        /// The number that the effect will have once it is made or denied.
        id: CallId,
        /// As the guest made it, with a placeholder for each secret.
        call: Call,
        /// The steps that it waits for; empty when the wait is over.
        behind: Vec<StepKey>,
    },
    /// An effect is about to be made: durable before the provider is asked (R1).
    CallStarted {
        /// Numbered one above the attempt's last call; the token is derived from it.
        id: CallId,
        /// As the guest made it, with a placeholder for each secret.
        call: Call,
        /// What the provider is given to know the call by, however often it is sent.
        token: Token,
        /// What it touches, as it is before the call; `after` is `None` in each.
        changes: Vec<Change>,
    },
    /// The effect's outcome and the facts after it.
    CallFinished {
        /// The effect whose `CallStarted` came before; it finishes once.
        id: CallId,
        /// What the provider answered or, if no answer came, what settling found out.
        outcome: EffectOutcome,
        /// What it touched, with `after` where it could be read; a new thing by its own name.
        changes: Vec<Change>,
    },
    /// An attempt ended, with an answer or with a failure.
    AttemptFinished {
        /// The one that was open; a step has one open attempt at most.
        of: AttemptId,
        /// An output only of a run, an undo's answer only of an undo; both can fail.
        result: AttemptResult,
    },
    /// The step runs again, not before `not_before`. What its failed attempt did has been taken
    /// back by then, but for a cleanup step's: past the commit point nothing is (R5).
    RetryScheduled {
        /// The instance whose last attempt failed.
        step: StepKey,
        /// This event's time and the pause that the manifest's `retry` gives.
        not_before: UnixMs,
    },

    /// The service may be down from here on. It happens again when a rollback takes back what a
    /// window did that is over (R11).
    DowntimeStarted,
    /// The service is back: the window's steps are done or undone, or it was seen to run (R11).
    DowntimeEnded {
        /// How long this window was open.
        downtime_ms: u64,
    },
    /// The commit point (R12): from here on nothing rolls back.
    Committed,

    /// From here on the operation goes back; no attempt is open (R6).
    RollbackStarted {
        /// The kind of reason, for programs.
        cause: Cause,
        /// The reason in one line, for a person.
        why: String,
    },
    /// What the undo is told is frozen here (R4).
    UndoStarted {
        /// An instance that has effects to take back.
        step: StepKey,
        /// The number of the undo attempt that starts with the next event.
        attempt: Attempt,
        /// The step's output, and the effects that are to be taken back.
        past: Past,
    },
    /// No further attempt: the step's undo ended well, or for good without success (R7).
    UndoEnded {
        /// The instance whose undo is over.
        step: StepKey,
        /// `Failed` also without any attempt, where another undo that failed stands in the way.
        result: UndoResult,
    },
    /// The world was read again and compared with the baselines (R8).
    Verified {
        /// If it is incomplete, the operation ends as `RollbackFailed`.
        verdict: Verdict,
        /// What differs, in the order in which a person can put it back.
        not_restored: Vec<NotRestored>,
        /// What undos left on purpose; the verdict does not go by it.
        kept: Vec<Kept>,
        /// What nobody could look at: the containers of a host without an engine, before and now.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        not_compared: Vec<Resource>,
    },

    /// The operation is over; a failed rollback can be taken up again.
    Finished {
        /// `Succeeded` only after the commit point, the others only after a verdict.
        status: FinalStatus,
        /// The manifest's outputs by name, evaluated; empty after a rollback.
        outputs: BTreeMap<String, Value>,
        /// Outputs that could not be worked out, which are null, and why.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        unknown_outputs: BTreeMap<String, String>,
    },
    /// An incomplete rollback is taken up again after a person's fix: what is not undone is tried
    /// anew, and the world is verified again (R7).
    RollbackResumed {
        /// Who ran `stepback rollback`.
        #[serde(flatten)]
        actor: Actor,
    },
    /// A person takes the world as an incomplete rollback left it; the locks are released (R7).
    Accepted {
        /// Who ran `stepback rollback --accept`.
        #[serde(flatten)]
        actor: Actor,
        /// Why the world may stay as it is, in their words.
        reason: String,
    },
    /// A person gives the operation up where it stands; nothing goes on, the locks are released
    /// (R7).
    Abandoned {
        /// Who ran `stepback unlock`.
        #[serde(flatten)]
        actor: Actor,
        /// Why nothing else can end it, in their words.
        reason: String,
        /// The effects of which nobody knows whether they happened.
        unknown: Vec<UnknownEffect>,
        /// Why this is not the operation's last word, where another journal has more of it, or may
        /// go on with it: the locks of the environment are kept for that one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        elsewhere: Option<String>,
    },
}

/// An effect that may have happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownEffect {
    /// The step, the attempt and the place in it at which it was asked for.
    pub id: CallId,
    /// `interface.function`.
    pub function: String,
    /// What it touched, the main resource first.
    pub resources: Vec<Resource>,
}

/// A secret that was given anew when an operation was taken up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenSecret {
    /// Where it is found, never the value.
    pub reference: String,
    /// By which it is known again.
    pub fingerprint: String,
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
    /// The one of `stepback.toml` that the operation runs in.
    pub environment: EnvironmentName,
    /// Which world this is, as the provider tells it (account, region, engine ids).
    pub world: Value,
    /// `plugin` or path in the manifest → digest of its bytes, which the store keeps.
    pub plugins: BTreeMap<String, PluginDigest>,
    /// Their evaluated names, sorted, each once.
    pub locks: Vec<LockName>,
    /// Who started the operation: `user@host (uid N)`, as the system has it.
    #[serde(flatten)]
    pub actor: Actor,
    /// The store's identity and, behind it, the random name of who began the operation.
    pub store: StoreId,
    /// What each plugin may do where, by the name it has in the manifest.
    #[serde(default)]
    pub grants: BTreeMap<String, Grants>,
    /// A fingerprint of each secret input: a resume must find the same one.
    #[serde(default)]
    pub secrets: BTreeMap<String, String>,
    /// What the key is known by that fingerprints and seals were made with; `None` if there was
    /// none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What else binds it, and where the grants came from.
    #[serde(default, skip_serializing_if = "Bounds::is_empty")]
    pub bounds: Bounds,
}

/// What binds an operation beside its plugins' grants, and where those came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// What bound everybody in the environment.
    #[serde(default, skip_serializing_if = "Policy::is_empty")]
    pub policy: Policy,
    /// The grants among the plugins' that the command line gave: no configuration takes them back.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub granted_here: BTreeMap<String, Grants>,
    /// The file of each plugin that is not the program's own: grants are for one file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
}

impl Bounds {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", content = "detail", rename_all = "kebab-case")]
pub enum AttemptResult {
    /// Of a run: the output.
    Output(Value),
    /// Of an undo: its answer.
    Undo(UndoAnswer),
    /// Of either: what went wrong.
    Failed(Failure),
}

/// How a step's undo ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", content = "why", rename_all = "kebab-case")]
pub enum UndoResult {
    /// What the step did is taken back, or there was nothing to take back.
    Undone,
    /// Something stays, and why that is harmless.
    Kept(String),
    /// It was given up, and why: what the step did may still be there.
    Failed(String),
}

/// Why an operation rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// A step failed for good, or a check said no before the downtime.
    Failed,
    /// Somebody asked for the end (R9).
    Cancelled,
    /// The operation took longer than its own `timeout`.
    Timeout,
    /// The downtime grew past its `budget` (R11).
    Budget,
}

/// The last word on a rollback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every resource is as it was, and no irreversible effect was made.
    Restored,
    /// What differs, if anything, is what declared irreversible effects did.
    RestoredExceptDeclared,
    /// Something differs that nothing declared explains, or it could not be read.
    Incomplete,
}

/// A resource that is not as it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NotRestored {
    /// What was touched, or was found by a stamp of the operation.
    pub resource: Resource,
    /// Its baseline: how it was when the operation first touched it.
    pub before: Facts,
    /// `None`: the facts now, or those before, are not known.
    pub now: Option<Facts>,
    /// What differs and, if its undo failed, what that said; one line for a person.
    pub why: String,
    /// What a person can do about it, with the commands to run.
    pub hint: String,
    /// Whether a declared irreversible effect explains the difference.
    pub declared: bool,
}

/// What a rollback left on purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The instance whose undo left it.
    pub step: StepKey,
    /// Why that is harmless, as the undo said.
    pub reason: String,
}

/// The statuses an operation can end in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FinalStatus {
    /// Every step is complete; what a cleanup step could not do is left over.
    Succeeded,
    /// All is restored, or all but what was declared.
    RolledBack,
    /// The verdict is incomplete; the locks are kept until a person ends it (R7).
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
