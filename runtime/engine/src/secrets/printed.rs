//! What the commands of an operation print, which its guests wrote themselves.
//!
//! Where such a text is cut, what is left may be a piece of a secret, and is looked for as one. But
//! a guest that writes the beginning of a secret into a command and reads what that prints must not
//! be told whether it is one: what it wrote is as it wrote it.

use super::next_mark;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use stepback_core::calls::DockerCall;
use stepback_core::texts::MapTexts;
use stepback_core::{Call, Interface};

/// The texts of an operation's effects on engines: what is made of them a command may print, now
/// or later.
#[derive(Default)]
pub(super) struct Printed(Mutex<BTreeSet<String>>);

/// Whether what a call is answered is what a command printed.
pub(super) fn is_print(call: &Call) -> bool {
    matches!(
        call,
        Call::Docker(
            DockerCall::Exec { .. } | DockerCall::RunOnce { .. } | DockerCall::Logs { .. }
        )
    )
}

/// An answer without what a command printed; how the command ended is told.
pub(super) fn withheld(answer: Value, why: &str) -> Value {
    match answer {
        Value::Object(mut record) => {
            if let Some(output) = record.get_mut("output") {
                *output = why.into();
            }
            Value::Object(record)
        }
        Value::Array(lines) if !lines.is_empty() => json!([why]),
        other => other,
    }
}

/// What of a text somebody wrote: a mark stands for what he did not.
fn written(text: &str) -> Vec<String> {
    let (mut parts, mut rest) = (vec![], text);
    while let Some((before, _, after)) = next_mark(rest) {
        parts.push(before.to_owned());
        rest = after;
    }
    parts.push(rest.to_owned());
    parts.retain(|part| !part.is_empty());
    parts
}

impl Printed {
    /// Note what an effect may have printed.
    pub(super) fn note(&self, call: &Call) {
        if call.interface() != Interface::Docker {
            return;
        }
        let texts = call.texts().into_iter().flat_map(|text| written(&text));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(texts);
    }

    /// All that may be printed, with what this call holds.
    pub(super) fn with(&self, call: &Call) -> Vec<String> {
        let printed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let texts = call.texts().into_iter().flat_map(|text| written(&text));
        printed.iter().cloned().chain(texts).collect()
    }
}
