//! Holding what expressions name of a step's output against the schema of that output.
//!
//! A name that the schema leaves no room for is `undefined` when it is evaluated, which is in the
//! middle of the operation.

use super::schema;
use crate::diagnostic::{Diagnostic, suggest};
use crate::expr::{self, Mention, Part};
use crate::ids::StepId;
use crate::manifest::{Manifest, Step};
use crate::step::StepInfo;
use serde_json::Value;
use std::collections::BTreeMap;

/// Every path into an output that the output can't have.
pub(super) fn check(
    manifest: &Manifest,
    infos: &BTreeMap<StepId, StepInfo>,
    found: &mut Vec<Diagnostic>,
) {
    let steps: BTreeMap<&StepId, &Step> =
        manifest.steps.iter().map(|step| (&step.id, step)).collect();
    for text in manifest.texts() {
        // The manifest's own checks found what can't be read.
        let Ok(outline) = expr::read(text.text, text.reading()) else { continue };
        let mistakes = outline.mentions.iter().filter_map(|mention| {
            let (step, info) = referred(mention, &steps, infos)?;
            missing(mention, step, info)
        });
        text.found(mistakes.collect(), found);
    }
}

/// The step whose output a path goes into.
fn referred<'a>(
    mention: &Mention,
    steps: &BTreeMap<&StepId, &'a Step>,
    infos: &'a BTreeMap<StepId, StepInfo>,
) -> Option<(&'a Step, &'a StepInfo)> {
    let [Part::Name(root), id, _, ..] = &mention.path[..] else { return None };
    if root != "steps" {
        return None;
    }
    let id = expr::step_id(id);
    Some((steps.get(&id)?, infos.get(&id)?))
}

fn missing(mention: &Mention, step: &Step, info: &StepInfo) -> Option<Diagnostic> {
    let mut begin = 2;
    if step.for_each.is_some() {
        if let Part::Index(index) = &mention.path[2] {
            let message = format!("the outputs of `{}` are a map by key, not a list", step.id);
            let help = format!("write `steps.{}['{index}']`", step.id);
            return Some(Diagnostic::new(message).help(help));
        }
        begin = 3;
    }
    let (at, names) = schema::follow(&info.output_schema, &mention.path[begin..])?;
    let whole = shown(&mention.path[..begin + at], &step.id);
    let message = format!("`{whole}` has no `{}`", mention.path[begin + at]);
    let help = match (names.is_empty(), at) {
        (false, _) => suggest(&mention.path[begin + at].to_string(), names.iter().copied()),
        (true, 0) if is_null(&info.output_schema) => format!("`{}` gives no output", step.uses),
        (true, _) => format!("write `{whole}`"),
    };
    Some(Diagnostic::new(message).help(help))
}

/// A path as it is written.
fn shown(path: &[Part], id: &StepId) -> String {
    let is_word = |name: &str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let mut text = format!("steps.{id}");
    for part in &path[2..] {
        text.push_str(&match part {
            Part::Name(name) if is_word(name) => format!(".{name}"),
            Part::Name(name) => format!("['{name}']"),
            Part::Index(index) => format!("[{index}]"),
        });
    }
    text
}

fn is_null(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("null")
}
