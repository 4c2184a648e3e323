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
    pub name: String,
    /// One line.
    pub doc: String,
    /// JSON Schema of `with`.
    pub input_schema: Value,
    /// JSON Schema of the output.
    pub output_schema: Value,
    pub reversible: bool,
}

/// The answer to *could this step run now?*
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", content = "why", rename_all = "kebab-case")]
pub enum CheckAnswer {
    Ok,
    Refused(String),
    /// What it waits for: an earlier step of the same operation may still bring it about.
    NotYet(String),
}

/// The answer of an undo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", content = "why", rename_all = "kebab-case")]
pub enum UndoAnswer {
    Undone,
    NothingToUndo,
    /// Something stays, and why that is harmless.
    Kept(String),
    CannotUndo(String),
}

/// What an undo is told of its step; frozen in `UndoStarted`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Past {
    pub finished: bool,
    pub output: Option<Value>,
    /// Every effect of the step's attempts and earlier undo attempts, oldest first.
    pub effects: Vec<PastEffect>,
}

/// One effect of the past.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PastEffect {
    pub id: CallId,
    pub call: Call,
    pub token: Token,
    pub outcome: EffectOutcome,
    pub changes: Vec<Change>,
}

/// One resource around one effect; `after` is `None` while the outcome is unknown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    pub resource: Resource,
    pub before: Facts,
    pub after: Option<Facts>,
}

/// What became of an effect (R3): refused effects changed nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", content = "detail", rename_all = "kebab-case")]
pub enum EffectOutcome {
    Done(Value),
    Refused(Failure),
    Unknown(String),
}
