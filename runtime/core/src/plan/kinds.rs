//! Holding the kind of a step's output that goes into another step as it is against what that one
//! takes: `20` is no text, whoever writes it.

use crate::diagnostic::Diagnostic;
use crate::expr::{self, Part, Reading};
use crate::ids::StepId;
use crate::manifest::{Manifest, Step, pointer};
use crate::step::StepInfo;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Every value of a `with` that is one field of an output, of another kind than the step takes.
pub(super) fn check(
    manifest: &Manifest,
    infos: &BTreeMap<StepId, StepInfo>,
    found: &mut Vec<Diagnostic>,
) {
    for step in &manifest.steps {
        let Some(info) = infos.get(&step.id) else { continue };
        for (key, value) in step.with.as_object().into_iter().flatten() {
            let given = value.as_str().and_then(|text| given(manifest, infos, text));
            let takes = kinds(&info.input_schema, key);
            let (Some((from, gives)), Some(takes)) = (given, takes) else { continue };
            if gives.iter().any(|kind| is_one_of(kind, &takes)) {
                continue;
            }
            let all =
                |kinds: &BTreeSet<&str>| kinds.iter().copied().collect::<Vec<_>>().join(" or ");
            let message = format!(
                "`{key}` of `{}` is to be {}, and `{from}` is {}",
                step.uses,
                all(&takes),
                all(&gives)
            );
            let span = step.spans.in_with(&pointer("", key));
            let help = "write an expression that makes one of it, such as `… | string`, `… > 0`";
            found.push(Diagnostic::at(span, message).help(help));
        }
    }
}

/// The field of a step's output that a text is, and its kinds but for null.
fn given<'a>(
    manifest: &Manifest,
    infos: &'a BTreeMap<StepId, StepInfo>,
    text: &str,
) -> Option<(String, BTreeSet<&'a str>)> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?.trim();
    let is_path = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let outline =
        expr::read(text, Reading::Template).ok().filter(|_| inner.chars().all(is_path))?;
    let [mention] = &outline.mentions[..] else { return None };
    let [Part::Name(root), id, Part::Name(field)] = &mention.path[..] else { return None };
    let id = expr::step_id(id);
    let of: &Step = manifest.steps.iter().find(|step| step.id == id)?;
    if root != "steps" || of.for_each.is_some() {
        return None;
    }
    let mut gives = kinds(&infos.get(&id)?.output_schema, field)?;
    gives.remove("null");
    (!gives.is_empty()).then(|| (inner.to_owned(), gives))
}

/// The kinds of a field, where its schema says so plainly.
fn kinds<'a>(schema: &'a Value, field: &str) -> Option<BTreeSet<&'a str>> {
    let mut at = schema.get("properties")?.get(field)?;
    if let Some(reference) = at.get("$ref").and_then(Value::as_str) {
        at = schema.pointer(reference.strip_prefix('#')?)?;
    }
    match at.get("type")? {
        Value::String(kind) => Some(BTreeSet::from([kind.as_str()])),
        Value::Array(kinds) => kinds.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

fn is_one_of(kind: &str, takes: &BTreeSet<&str>) -> bool {
    let is_number = |kind: &str| ["integer", "number"].contains(&kind);
    takes.contains(kind) || is_number(kind) && takes.iter().any(|takes| is_number(takes))
}
