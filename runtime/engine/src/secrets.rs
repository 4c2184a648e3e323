//! Secrets: put in at the provider's door, taken out of everything that comes back (DESIGN 4).
//!
//! Guests, the journal, logs and errors hold placeholders and references only. What the world
//! itself keeps as a secret, the environment of a container, is sealed: equal values have equal
//! seals, so that verification can compare them, and no value can be read from one.

use crate::deps::SecretSource;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use stepback_core::expr::secret_placeholder;
use stepback_core::manifest::{InputKind, Manifest};
use stepback_core::{Call, Facts, Failure, StoreId};

/// A shorter secret would be found, and replaced, in texts that have nothing to do with it.
const SECRET_BYTES_MIN: usize = 4;

/// The secrets of one operation.
pub(crate) struct Secrets {
    /// Placeholder and value, by input name.
    values: BTreeMap<String, (String, String)>,
    salt: StoreId,
}

impl Secrets {
    /// Fetch the value behind each secret input.
    ///
    /// # Errors
    /// Every secret that can't be had, and why.
    pub(crate) fn resolve(
        manifest: &Manifest,
        inputs: &BTreeMap<String, Value>,
        source: &dyn SecretSource,
        salt: StoreId,
    ) -> Result<Self, Vec<String>> {
        let mut values = BTreeMap::new();
        let mut missing = vec![];
        for (name, spec) in &manifest.inputs {
            let Some(Value::String(reference)) = inputs.get(name) else { continue };
            if spec.kind != InputKind::Secret {
                continue;
            }
            match source.resolve(reference) {
                Ok(value) if value.len() < SECRET_BYTES_MIN => missing.push(format!(
                    "secret `{name}`: {reference} has {} bytes; fewer than {SECRET_BYTES_MIN} \
                     can't be told from other text and kept out of logs",
                    value.len()
                )),
                Ok(value) => {
                    values.insert(name.clone(), (secret_placeholder(name), value));
                }
                Err(why) => missing.push(format!("secret `{name}`: {why}")),
            }
        }
        if missing.is_empty() { Ok(Self { values, salt }) } else { Err(missing) }
    }

    /// A fingerprint of each, by which a resume knows them again (R14).
    pub(crate) fn fingerprints(&self) -> BTreeMap<String, String> {
        let print = |(name, (_, value)): (&String, &(String, String))| {
            (name.clone(), self.digest(&format!("{name}={value}")))
        };
        self.values.iter().map(print).collect()
    }

    fn digest(&self, text: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(self.salt.as_str().as_bytes());
        hash.update([0]);
        hash.update(text.as_bytes());
        hex::encode(&hash.finalize()[..12])
    }

    /// The call as the provider is given it.
    ///
    /// # Errors
    /// If the call with its values can't be read back, which is a defect.
    pub(crate) fn reveal(&self, call: &Call) -> Result<Call, Failure> {
        if self.values.is_empty() {
            return Ok(call.clone());
        }
        let internal = |error: serde_json::Error| {
            Failure::new(stepback_core::FailureClass::Internal, error.to_string())
        };
        let put_in = |text: String| {
            self.values.values().fold(text, |text, (mark, value)| text.replace(mark, value))
        };
        let value = serde_json::to_value(call).map_err(internal)?;
        serde_json::from_value(map_strings(value, &put_in)).map_err(internal)
    }

    /// A text with no secret's value in it.
    pub(crate) fn redact_text(&self, text: String) -> String {
        self.values.values().fold(text, |text, (mark, value)| text.replace(value, mark))
    }

    /// A value with no secret's value in it.
    pub(crate) fn redact(&self, value: Value) -> Value {
        if self.values.is_empty() {
            return value;
        }
        map_strings(value, &|text| self.redact_text(text))
    }

    /// A failure with no secret's value in it.
    pub(crate) fn redact_failure(&self, mut failure: Failure) -> Failure {
        failure.message = self.redact_text(failure.message);
        failure
    }

    /// Facts as the journal may hold them: a container's environment sealed, and its other
    /// options too, since labels, log options and health checks hold passwords as well.
    pub(crate) fn seal(&self, facts: Facts) -> Facts {
        let Facts::Present(mut map) = facts else { return facts };
        for name in ["env", "config"] {
            let Some(Value::Object(values)) = map.get_mut(name) else { continue };
            for value in values.values_mut() {
                *value = Value::String(format!("sealed:{}", self.digest(&value.to_string())));
            }
        }
        let redact = |(name, value)| (name, self.redact(value));
        Facts::Present(map.into_iter().map(redact).collect())
    }
}

fn map_strings(value: Value, map: &dyn Fn(String) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(map(text)),
        Value::Array(list) => list.into_iter().map(|item| map_strings(item, map)).collect(),
        Value::Object(object) => {
            object.into_iter().map(|(key, item)| (key, map_strings(item, map))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}
