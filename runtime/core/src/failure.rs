//! What can go wrong in a step, as a class that is told and never guessed from a text.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The kind of a failure; it decides what happens next, so it is part of the plugin contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureClass {
    /// The step was asked for something that makes no sense.
    InvalidInput,
    /// The world is not as the step needs it.
    Precondition,
    /// The provider said no: nothing happened.
    Refused,
    /// A grant or a permission is missing: nothing happened.
    Denied,
    /// The provider said *try again*: nothing happened.
    Transient,
    /// A wait or an attempt took longer than it may.
    Deadline,
    /// It may or may not have happened, and asking the world could not tell.
    UnknownOutcome,
    /// The operation is being cancelled.
    Cancelled,
    /// A defect: of the plugin (panic, trap, limit) or of Stepback.
    Internal,
}

/// The code of a `denied` that only says so much: it was a question, and nothing speaks against it.
pub const ONLY_ASKED: &str = "only-asked";

/// A failure of a host call or of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Its kind, which decides whether the step is tried again.
    pub class: FailureClass,
    /// The provider's own error code (`VolumeInUse`, `NoSuchImage`), where it gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// One sentence for a person; never holds a secret.
    pub message: String,
}

impl Failure {
    /// A failure without a provider's code.
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self { class, code: None, message: message.into() }
    }

    /// The same failure with the provider's own error code.
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// Whether every `retry` covers it, whatever it names (R5).
    pub fn is_retryable(&self) -> bool {
        matches!(self.class, FailureClass::Transient | FailureClass::Deadline)
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FailureClass::InvalidInput => "invalid-input",
            FailureClass::Precondition => "precondition",
            FailureClass::Refused => "refused",
            FailureClass::Denied => "denied",
            FailureClass::Transient => "transient",
            FailureClass::Deadline => "deadline",
            FailureClass::UnknownOutcome => "unknown-outcome",
            FailureClass::Cancelled => "cancelled",
            FailureClass::Internal => "internal",
        })
    }
}
