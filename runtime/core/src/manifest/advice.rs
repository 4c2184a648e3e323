//! What is well formed and can't do what it says: parts that nothing reads, no time at all.

use super::{Diagnostic, InputKind, Manifest, Step, pointer};
use crate::expr;
use serde_json::Value;

pub(super) fn all(manifest: &Manifest, found: &mut Vec<Diagnostic>) {
    patterns(manifest, found);
    durations(manifest, found);
    for step in &manifest.steps {
        keys(step, &step.with, "", found);
    }
}

fn patterns(manifest: &Manifest, found: &mut Vec<Diagnostic>) {
    for (name, spec) in &manifest.inputs {
        if spec.pattern.is_some() && spec.kind != InputKind::String {
            let message = format!("input `{name}` has a pattern and is no string");
            let help = "only a string is held against a pattern; take it out";
            found.push(Diagnostic::at(spec.span.clone(), message).help(help));
        }
    }
}

/// Nothing is done in no time.
fn durations(manifest: &Manifest, found: &mut Vec<Diagnostic>) {
    let Manifest { operation, downtime, .. } = manifest;
    let steps = manifest.steps.iter().map(|step| (step.timeout_ms, &step.spans.timeout, "timeout"));
    let others = [
        (operation.timeout_ms, &operation.timeout_span, "timeout"),
        (downtime.rollback_after_ms(), &downtime.budget_span, "budget"),
    ];
    for (ms, span, key) in steps.chain(others) {
        if ms == Some(0) {
            let message = format!("a {key} of nothing is over before anything is done");
            let help = format!("take the `{key}` out, or give it some time");
            found.push(Diagnostic::at(span.clone(), message).help(help));
        }
    }
}

/// The keys of the maps in `with`, which only look like templates.
fn keys(step: &Step, value: &Value, around: &str, found: &mut Vec<Diagnostic>) {
    match value {
        Value::Array(list) => {
            for (index, item) in list.iter().enumerate() {
                keys(step, item, &pointer(around, &index.to_string()), found);
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                let at = pointer(around, key);
                if expr::is_template(key) {
                    let message = format!("the key `{key}` is not evaluated");
                    let help = "make the whole map an expression: `{{ {inputs.name: 'value'} }}`";
                    found.push(Diagnostic::at(step.spans.in_with(&at), message).help(help));
                }
                keys(step, item, &at, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
