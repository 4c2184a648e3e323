//! Inputs: what was given, checked against what the manifest asks for.

use crate::diagnostic::{Diagnostic, Diagnostics, suggest};
use crate::expr::{self, MARK_EDGE, secret_placeholder};
use crate::manifest::{InputKind, InputSpec, Manifest, Step, of_secrets};
use crate::nesting::{LEVELS_MAX, is_too_deep};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What names a secret in a value of a map, and what its reference is kept as.
const SECRET: &str = "secret";
const FROM: &str = "from";

/// A value as it was given: text from a command line is read by the input's type.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    /// From a command line: a string or a secret as it is, any other type in JSON.
    Text(String),
    /// From a file of inputs, which has types itself.
    Value(Value),
}

/// The operation's inputs: given or default, all checked. Of the secrets that values of maps name
/// the references are put in; they are given by name, `secrets`, and `has` tells whether there is
/// one of a name anyway.
///
/// # Errors
/// Every input that is unknown, missing, or not of its type or pattern; every secret that is named
/// and not given, or given and not named.
pub fn resolve(
    manifest: &Manifest,
    given: &BTreeMap<String, Given>,
    secrets: &BTreeMap<String, String>,
    has: &dyn Fn(&str) -> bool,
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
    found.extend(put_in(manifest, &mut resolved, secrets, has));
    let holds = |(name, value): (&String, &Value)| {
        let mut values = value.as_object().into_iter().flat_map(|map| map.values());
        is_map(manifest, name) && values.any(|one| named(one).is_some())
    };
    let hold: Vec<&str> =
        resolved.iter().filter(|one| holds(*one)).map(|(name, _)| name.as_str()).collect();
    found.extend(of_secrets(manifest, &hold));
    if found.is_empty() {
        Ok(resolved)
    } else {
        let (name, text) = (manifest.name.clone(), manifest.text.clone());
        Err(Diagnostics { name, text, list: found })
    }
}

/// Inputs as they were resolved for an earlier operation, to be given once more; with the
/// references of the secrets that values of maps name, but for those that the configuration has.
pub fn again(
    manifest: &Manifest,
    inputs: &BTreeMap<String, Value>,
) -> (BTreeMap<String, Given>, BTreeMap<String, String>) {
    let mut secrets = BTreeMap::new();
    let mut given = BTreeMap::new();
    for (name, value) in inputs {
        let again = match (manifest.inputs.get(name).map(|spec| spec.kind), value) {
            (Some(InputKind::Secret), Value::String(reference)) => Given::Text(reference.clone()),
            (Some(InputKind::Map), Value::Object(map)) => {
                let mut map = map.clone();
                for value in map.values_mut() {
                    let Some(secret) = named(value).map(str::to_owned) else { continue };
                    if let Some(from) = value.get(FROM).and_then(Value::as_str)
                        && *from != format!("{SECRET}:{secret}")
                    {
                        secrets.insert(secret.clone(), from.to_owned());
                    }
                    *value = json!({ SECRET: secret });
                }
                Given::Value(Value::Object(map))
            }
            (_, value) => Given::Value(value.clone()),
        };
        given.insert(name.clone(), again);
    }
    (given, secrets)
}

/// The inputs as expressions and guests see them: a secret is a placeholder, not its reference.
pub fn visible(manifest: &Manifest, inputs: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let is_secret =
        |name: &str| manifest.inputs.get(name).is_some_and(|spec| spec.kind == InputKind::Secret);
    let show = |(name, value): (&String, &Value)| match (is_secret(name), value) {
        (true, _) => (name.clone(), Value::String(secret_placeholder(name))),
        (false, Value::Object(map)) if is_map(manifest, name) => {
            let show = |value: &Value| match named(value) {
                Some(secret) => Value::String(secret_placeholder(secret)),
                None => value.clone(),
            };
            let shown = map.iter().map(|(key, value)| (key.clone(), show(value))).collect();
            (name.clone(), Value::Object(shown))
        }
        (false, _) => (name.clone(), value.clone()),
    };
    inputs.iter().map(show).collect()
}

/// The secrets among resolved inputs, each with its reference: inputs of that kind, and what values
/// of maps name.
pub fn secrets(manifest: &Manifest, inputs: &BTreeMap<String, Value>) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for (name, value) in inputs {
        match manifest.inputs.get(name).map(|spec| spec.kind) {
            Some(InputKind::Secret) => {
                all.extend(value.as_str().map(|at| (name.clone(), at.to_owned())));
            }
            Some(InputKind::Map) => {
                let values = value.as_object().into_iter().flat_map(|map| map.values());
                let given = values.filter_map(|one| Some((named(one)?, one.get(FROM)?.as_str()?)));
                all.extend(given.map(|(secret, at)| (secret.to_owned(), at.to_owned())));
            }
            _ => {}
        }
    }
    all
}

/// The secrets that a step's own `with` mentions, by name: these are given to it, and no other.
pub fn secrets_of(
    manifest: &Manifest,
    inputs: &BTreeMap<String, Value>,
    step: &Step,
) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for path in expr::references(&step.with).unwrap_or_default() {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let ["inputs", name, rest @ ..] = &path[..] else { continue };
        match (manifest.inputs.get(*name).map(|spec| spec.kind), inputs.get(*name), rest) {
            (Some(InputKind::Secret), _, _) => {
                all.insert((*name).to_owned());
            }
            (Some(InputKind::Map), Some(map), [key, ..]) => {
                all.extend(map.get(key).and_then(named).map(str::to_owned));
            }
            (Some(InputKind::Map), Some(Value::Object(map)), []) => {
                all.extend(map.values().filter_map(named).map(str::to_owned));
            }
            _ => {}
        }
    }
    all
}

/// Change the reference of each secret among resolved inputs, by its name.
pub fn change_references<'a>(
    manifest: &Manifest,
    inputs: &'a mut BTreeMap<String, Value>,
    change: impl Fn(&str, &str) -> String,
) {
    for (name, value) in inputs {
        let references: Vec<(String, &mut Value)> =
            match manifest.inputs.get(name).map(|spec| spec.kind) {
                Some(InputKind::Secret) => vec![(name.clone(), value)],
                Some(InputKind::Map) => {
                    let values = value.as_object_mut().into_iter().flat_map(|map| map.values_mut());
                    let named = |one: &'a mut Value| {
                        let name = named(one)?.to_owned();
                        Some((name, one.get_mut(FROM)?))
                    };
                    values.filter_map(named).collect()
                }
                _ => vec![],
            };
        for (name, reference) in references {
            if let Value::String(text) = reference {
                *text = change(&name, text);
            }
        }
    }
}

fn is_map(manifest: &Manifest, name: &str) -> bool {
    manifest.inputs.get(name).is_some_and(|spec| spec.kind == InputKind::Map)
}

/// The name of the secret that a value of a map asks for: `{ secret = "db" }`.
fn named(value: &Value) -> Option<&str> {
    value.as_object()?.get(SECRET)?.as_str()
}

/// Put the references in, and say what is missing and what nobody asks for.
fn put_in(
    manifest: &Manifest,
    inputs: &mut BTreeMap<String, Value>,
    secrets: &BTreeMap<String, String>,
    has: &dyn Fn(&str) -> bool,
) -> Vec<Diagnostic> {
    let (mut wrong, mut asked) = (vec![], BTreeSet::new());
    for (input, value) in inputs.iter_mut().filter(|(input, _)| is_map(manifest, input)) {
        for (key, value) in value.as_object_mut().into_iter().flatten() {
            let Some(name) = named(value).map(str::to_owned) else { continue };
            asked.insert(name.clone());
            let spec = &manifest.inputs[input];
            if manifest.inputs.contains_key(&name) {
                let message = format!(
                    "`{key}` of input `{input}` asks for the secret `{name}`, which is an input's \
                     name: call it otherwise"
                );
                wrong.push(Diagnostic::at(spec.span.clone(), message));
                continue;
            }
            let own = || has(&name).then(|| format!("{SECRET}:{name}"));
            let Some(reference) = secrets.get(&name).cloned().or_else(own) else {
                let message = format!("`{key}` of input `{input}` asks for the secret `{name}`");
                let help = format!(
                    "give it, `--secret {name}=env:NAME` or `--secret {name}=file:PATH`, or \
                             write `[secrets.{name}]` in stepback.toml"
                );
                wrong.push(Diagnostic::at(spec.span.clone(), message).help(help));
                continue;
            };
            match is_reference(&reference) {
                Ok(()) => *value = json!({ SECRET: name, FROM: reference }),
                Err(why) => wrong.push(Diagnostic::new(format!("`{name}` {why}"))),
            }
        }
    }
    for name in secrets.keys().filter(|name| !asked.contains(*name)) {
        let message = format!("no input asks for the secret `{name}`");
        let help = match manifest.inputs.get(name) {
            Some(spec) if spec.kind == InputKind::Secret => {
                format!("it is an input: `-i {name}=…`")
            }
            _ => format!(
                "a value of an input that is a map does so, and nothing deeper in it: \
                 `{{\"PASSWORD\": {{\"secret\": \"{name}\"}}}}`"
            ),
        };
        wrong.push(Diagnostic::new(message).help(help));
    }
    wrong
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
    if is_too_deep(value) {
        return Err(format!("is nested deeper than {LEVELS_MAX} levels"));
    }
    if has_mark(value) {
        return Err("holds the control character U+0001, which stands for secrets here".into());
    }
    if let (InputKind::Map, Some(map)) = (spec.kind, value.as_object()) {
        return map.iter().try_for_each(|(key, value)| names_well(key, value));
    }
    if let (Some(pattern), Some(text)) = (&spec.pattern, value.as_str()) {
        let regex = crate::manifest::pattern(pattern).map_err(|error| error.to_string())?;
        if !regex.is_match(text) {
            return Err(format!("`{text}` does not match the pattern `{pattern}`"));
        }
    }
    Ok(())
}

/// Whether a text in it could be taken for what stands for a secret.
fn has_mark(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(MARK_EDGE),
        Value::Array(list) => list.iter().any(has_mark),
        Value::Object(map) => map.iter().any(|(key, one)| key.contains(MARK_EDGE) || has_mark(one)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Whether a value of a map that asks for a secret does no more than that.
fn names_well(key: &str, value: &Value) -> Result<(), String> {
    let Some(asked) = value.as_object().filter(|map| map.contains_key(SECRET)) else {
        return Ok(());
    };
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let is_name = |name: &str| !name.is_empty() && name.chars().all(is_word);
    match (asked.len(), named(value)) {
        (1, Some(name)) if is_name(name) => Ok(()),
        _ => Err(format!(
            "asks for a secret at `{key}` by more than its name: write \
             `{{\"secret\": \"NAME\"}}`, and give `--secret NAME=env:…` or `file:…`"
        )),
    }
}

/// A secret's value never gets into a manifest or a journal, so only references are taken.
///
/// # Errors
/// It is none; the text reads on from the secret's name, and does not show what was given.
pub fn is_reference(text: &str) -> Result<(), String> {
    match text.split_once(':') {
        Some(("env" | "file" | SECRET, name)) if !name.is_empty() => Ok(()),
        _ => Err("is a secret: give a reference, `env:NAME`, `file:PATH` or `secret:NAME` of \
                  stepback.toml, not the value"
            .into()),
    }
}

pub(crate) fn article(kind: InputKind) -> String {
    match kind {
        InputKind::Integer => "an integer".into(),
        _ => format!("a {}", kind.name()),
    }
}
