//! Inputs: what was given, checked against what the manifest asks for.

use crate::diagnostic::{Diagnostic, Diagnostics, suggest};
use crate::expr::secret_placeholder;
use crate::manifest::{InputKind, InputSpec, Manifest};
use serde_json::Value;
use std::collections::BTreeMap;

/// A value as it was given: text from a command line is read by the input's type.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    Text(String),
    Value(Value),
}

/// The operation's inputs: given or default, all checked.
///
/// # Errors
/// Every input that is unknown, missing, or not of its type or pattern.
pub fn resolve(
    manifest: &Manifest,
    given: &BTreeMap<String, Given>,
) -> Result<BTreeMap<String, Value>, Diagnostics> {
    let mut found = vec![];
    let names = || manifest.inputs.keys().map(String::as_str);
    for name in given.keys().filter(|name| !manifest.inputs.contains_key(*name)) {
        let message = format!("there is no input `{name}`");
        found.push(Diagnostic::new(message).help(suggest(name, names().collect::<Vec<_>>())));
    }
    let mut resolved = BTreeMap::new();
    for (name, spec) in &manifest.inputs {
        let value = match given.get(name) {
            Some(Given::Text(text)) => from_text(spec, text),
            Some(Given::Value(value)) => Ok(value.clone()),
            None => match &spec.default {
                Some(default) => Ok(default.clone()),
                None => {
                    let message = format!("input `{name}` is missing");
                    let help = missing_help(name, spec);
                    found.push(Diagnostic::at(spec.span.clone(), message).help(help));
                    continue;
                }
            },
        };
        match value.and_then(|value| accept(spec, &value).map(|()| value)) {
            Ok(value) => {
                resolved.insert(name.clone(), value);
            }
            Err(why) => {
                let message = format!("input `{name}` {why}");
                found.push(Diagnostic::at(spec.span.clone(), message));
            }
        }
    }
    if found.is_empty() {
        Ok(resolved)
    } else {
        let (name, text) = (manifest.name.clone(), manifest.text.clone());
        Err(Diagnostics { name, text, list: found })
    }
}

/// The inputs as expressions and guests see them: a secret is a placeholder, not its reference.
pub fn visible(manifest: &Manifest, inputs: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let is_secret =
        |name: &str| manifest.inputs.get(name).is_some_and(|spec| spec.kind == InputKind::Secret);
    let show = |(name, value): (&String, &Value)| match is_secret(name) {
        true => (name.clone(), Value::String(secret_placeholder(name))),
        false => (name.clone(), value.clone()),
    };
    inputs.iter().map(show).collect()
}

fn missing_help(name: &str, spec: &InputSpec) -> String {
    let about = spec.description.as_ref().map(|d| format!(" ({d})")).unwrap_or_default();
    match spec.kind {
        InputKind::Secret => {
            format!("give it as a reference: `-i {name}=env:NAME` or `-i {name}=file:PATH`{about}")
        }
        _ => format!("give it with `-i {name}=…`{about}"),
    }
}

fn from_text(spec: &InputSpec, text: &str) -> Result<Value, String> {
    let parsed = || serde_json::from_str::<Value>(text);
    match spec.kind {
        InputKind::String | InputKind::Secret => Ok(Value::String(text.to_owned())),
        InputKind::Integer | InputKind::Number | InputKind::Boolean => {
            parsed().map_err(|_| format!("must be {}, not `{text}`", article(spec.kind)))
        }
        InputKind::List | InputKind::Map => {
            let such = match spec.kind {
                InputKind::List => r#"["a", "b"]"#,
                _ => r#"{"name": "value"}"#,
            };
            let kind = article(spec.kind);
            parsed().map_err(|why| format!("must be {kind} in JSON, such as `{such}`: {why}"))
        }
    }
}

/// Whether the value is of the input's type and pattern; the error reads on from "the input …".
pub(crate) fn accept(spec: &InputSpec, value: &Value) -> Result<(), String> {
    let fits = match spec.kind {
        InputKind::String | InputKind::Secret => value.is_string(),
        InputKind::Integer => value.is_i64() || value.is_u64(),
        InputKind::Number => value.is_number(),
        InputKind::Boolean => value.is_boolean(),
        InputKind::List => value.is_array(),
        InputKind::Map => value.is_object(),
    };
    if !fits {
        let shown = if spec.kind == InputKind::Secret { "…".into() } else { value.to_string() };
        return Err(format!("must be {}, not {shown}", article(spec.kind)));
    }
    if spec.kind == InputKind::Secret {
        return is_reference(value.as_str().unwrap_or_default());
    }
    if let (Some(pattern), Some(text)) = (&spec.pattern, value.as_str()) {
        let regex = regex::Regex::new(pattern).map_err(|error| error.to_string())?;
        if !regex.is_match(text) {
            return Err(format!("`{text}` does not match the pattern `{pattern}`"));
        }
    }
    Ok(())
}

/// A secret's value never gets into a manifest or a journal, so only references are taken.
fn is_reference(text: &str) -> Result<(), String> {
    match text.split_once(':') {
        Some(("env" | "file", name)) if !name.is_empty() => Ok(()),
        _ => Err("is a secret: give a reference, `env:NAME` or `file:PATH`, not the value".into()),
    }
}

pub(crate) fn article(kind: InputKind) -> String {
    match kind {
        InputKind::Integer => "an integer".into(),
        _ => format!("a {}", kind.name()),
    }
}
