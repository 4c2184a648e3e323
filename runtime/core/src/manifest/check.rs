//! Holding a manifest's parts against each other: ids, the graph, the window.
//!
//! Only what a [`Manifest`] in hand is known for belongs here: it is asked of pinned ones too.

use super::graph::{Graph, Steps};
use super::*;
use crate::diagnostic::suggest;
use std::collections::BTreeSet;

/// The graph, if there is one.
pub(super) fn all(manifest: &Manifest, found: &mut Vec<Diagnostic>) -> Option<Graph> {
    let unique = ids(manifest, found);
    let known = needs(manifest, found);
    likes(manifest, found);
    if !unique || !known {
        return None;
    }
    match Graph::of(manifest) {
        Ok(graph) => {
            phases(manifest, &graph, found);
            Some(graph)
        }
        Err(circle) => {
            found.push(goes_round(manifest, &circle));
            None
        }
    }
}

fn ids(manifest: &Manifest, found: &mut Vec<Diagnostic>) -> bool {
    let mut seen: BTreeSet<&StepId> = BTreeSet::new();
    let mut unique = true;
    for step in &manifest.steps {
        if !seen.insert(&step.id) {
            unique = false;
            let message = format!("another step is called `{}` already", step.id);
            found.push(
                Diagnostic::at(step.spans.id.clone(), message).help("give each step its own id"),
            );
        }
    }
    unique
}

/// So many mistakes get a guess at what was meant.
const SUGGESTIONS_MAX: usize = 20;

fn needs(manifest: &Manifest, found: &mut Vec<Diagnostic>) -> bool {
    let ids: BTreeSet<&str> = manifest.steps.iter().map(|step| step.id.as_str()).collect();
    let mut unknown = 0;
    for step in &manifest.steps {
        for (need, span) in step.needs.iter().flatten().zip(&step.spans.needs) {
            if ids.contains(need.as_str()) {
                continue;
            }
            unknown += 1;
            let mistake = Diagnostic::at(span.clone(), format!("there is no step `{need}`"));
            // To look for what was meant takes a while with many names.
            found.push(match unknown {
                ..=SUGGESTIONS_MAX => mistake.help(suggest(need.as_str(), ids.iter().copied())),
                _ => mistake,
            });
        }
    }
    unknown == 0
}

/// What an input is in an operation that is like an earlier one.
fn likes(manifest: &Manifest, found: &mut Vec<Diagnostic>) {
    for spec in manifest.inputs.values() {
        let Some(output) = &spec.like else { continue };
        let mistake = |message: String| Diagnostic::at(spec.like_span.clone(), message);
        if spec.kind == InputKind::Secret {
            let help = "take `like` out: a secret is given again by its reference";
            found.push(mistake("no output is a secret".to_owned()).help(help));
        } else if !manifest.outputs.contains_key(output) {
            let names = manifest.outputs.keys().map(String::as_str);
            let message = format!("there is no output `{output}`");
            found.push(mistake(message).help(suggest(output, names)));
        }
    }
}

fn goes_round(manifest: &Manifest, circle: &[usize]) -> Diagnostic {
    let steps = || circle.iter().map(|place| &manifest.steps[*place]);
    let names: Vec<String> = steps().map(|step| format!("`{}`", step.id)).collect();
    let message = format!("these steps need each other in a circle: {}", names.join(", "));
    let needs = steps().find_map(|step| step.spans.needs.first());
    let span = needs.or_else(|| steps().next().map(|step| &step.spans.id));
    let diagnostic = Diagnostic::new(message).help("take one of their `needs` out");
    Diagnostic { span: span.cloned(), ..diagnostic }
}

fn phases(manifest: &Manifest, graph: &Graph, found: &mut Vec<Diagnostic>) {
    let mut window = Steps::none(manifest.steps.len());
    for (place, step) in manifest.steps.iter().enumerate() {
        if step.phase == Phase::Downtime {
            window.insert(place);
        }
    }
    for (place, step) in manifest.steps.iter().enumerate() {
        let before = || graph.above(place).iter().map(|other| (other, &manifest.steps[other]));
        let after_cleanup = before().find(|(_, other)| other.phase == Phase::Cleanup);
        if let Some((_, cleanup)) = after_cleanup.filter(|_| step.phase != Phase::Cleanup) {
            let message = format!(
                "step `{}` comes after the cleanup step `{}`, and cleanup comes last",
                step.id, cleanup.id
            );
            let help = "make it a cleanup step, or move it before the first one";
            found.push(Diagnostic::at(step.spans.id.clone(), message).help(help));
        }
        if step.phase != Phase::Downtime {
            continue;
        }
        // A live step between two downtime steps tears the window in two.
        let gap = before().find(|(other, middle)| {
            middle.phase == Phase::Live && graph.above(*other).meets(&window)
        });
        if let Some((_, middle)) = gap {
            let message = format!(
                "the downtime window is in two pieces: the live step `{}` stands between its \
                 steps, before `{}`",
                middle.id, step.id
            );
            let help = format!(
                "move `{}` before the window or after it, or give it `phase = \"downtime\"`",
                middle.id
            );
            found.push(Diagnostic::at(step.spans.phase.clone(), message).help(help));
        }
    }
}
