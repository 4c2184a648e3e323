//! What passes between the runtime and a plugin's step: the contract of `wit/`, in Rust.

use crate::calls::Call;
use crate::failure::Failure;
use crate::ids::*;
use crate::resource::{Facts, Resource};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One step of a plugin, as the plugin describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepInfo {
    /// What a manifest's `uses` has behind the plugin: `attach-volume`.
    pub name: String,
    /// One line.
    pub doc: String,
    /// JSON Schema of `with`.
    pub input_schema: Value,
    /// JSON Schema of the output.
    pub output_schema: Value,
    /// If `false`, a manifest that uses the step must say `irreversible`.
    pub reversible: bool,
}

/// The answer to *could this step run now?*
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", content = "why", rename_all = "kebab-case")]
pub enum CheckAnswer {
    /// Nothing speaks against it.
    Ok,
    /// It could not, and why.
    Refused(String),
    /// What it waits for: an earlier step of the same operation may still bring it about.
    NotYet(String),
}

/// The answer of an undo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", content = "why", rename_all = "kebab-case")]
pub enum UndoAnswer {
    /// What the step did is taken back.
    Undone,
    /// The step had left nothing to take back.
    NothingToUndo,
    /// Something stays, and why that is harmless.
    Kept(String),
    /// It can't be taken back, and why; the undo is not tried again.
    CannotUndo(String),
}

/// What an undo is told of its step; frozen in `UndoStarted`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Past {
    /// Whether a run of the step gave an output.
    pub finished: bool,
    /// That output; null is read back from a journal as `None`.
    pub output: Option<Value>,
    /// The effects of the step's attempts and earlier undo attempts, oldest first, without those
    /// that an undo has dealt with before the step was tried again.
    pub effects: Vec<PastEffect>,
}

/// One effect of the past.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PastEffect {
    /// What a guest hands to `effects.reverse` to have the effect taken back.
    pub id: CallId,
    /// As the guest made it, with a placeholder for each secret.
    pub call: Call,
    /// What the provider was given to know the call by; the stamp on what it made.
    pub token: Token,
    /// Unknown until the call is over, and for good if nobody can tell.
    pub outcome: EffectOutcome,
    /// What it touched: the main resource first, what changed beside it last.
    pub changes: Vec<Change>,
}

/// One resource around one effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// What was looked at; until it has a name, what is created goes by its token.
    pub resource: Resource,
    /// As it was read before the call was sent.
    pub before: Facts,
    /// As it was read when the call was over; `None` until then, and if it could not be read.
    pub after: Option<Facts>,
}

/// What became of an effect (R3): refused effects changed nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", content = "detail", rename_all = "kebab-case")]
pub enum EffectOutcome {
    /// It happened; with the provider's answer.
    Done(Value),
    /// It certainly did not happen, and why.
    Refused(Failure),
    /// It may have happened, and why nobody can tell.
    Unknown(String),
}
