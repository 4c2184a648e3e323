//! Holding a manifest's parts against each other: ids, the graph, the window, the expressions.

use super::graph::{Graph, Steps};
use super::*;
use crate::diagnostic::suggest;
use crate::expr;
use std::collections::BTreeSet;

pub(super) fn all(manifest: &Manifest, found: &mut Vec<Diagnostic>) {
    let unique = ids(manifest, found);
    let known = needs(manifest, found);
    if !unique || !known {
        return;
    }
    match Graph::of(manifest) {
        Ok(graph) => {
            phases(manifest, &graph, found);
            references(manifest, &graph, found);
        }
        Err(circle) => found.push(goes_round(manifest, &circle)),
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

fn needs(manifest: &Manifest, found: &mut Vec<Diagnostic>) -> bool {
    let ids: Vec<&str> = manifest.steps.iter().map(|step| step.id.as_str()).collect();
    let mut known = true;
    for step in &manifest.steps {
        for (need, span) in step.needs.iter().flatten().zip(&step.spans.needs) {
            if !ids.contains(&need.as_str()) {
                known = false;
                let message = format!("there is no step `{need}`");
                let help = suggest(need.as_str(), ids.iter().copied());
                found.push(Diagnostic::at(span.clone(), message).help(help));
            }
        }
    }
    known
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

fn references(manifest: &Manifest, graph: &Graph, found: &mut Vec<Diagnostic>) {
    let mut body = Steps::none(manifest.steps.len());
    for (place, step) in manifest.steps.iter().enumerate() {
        if step.phase != Phase::Cleanup {
            body.insert(place);
        }
    }
    for (place, step) in manifest.steps.iter().enumerate() {
        let mut upstream = graph.above(place).clone();
        if step.phase == Phase::Cleanup {
            upstream.extend(&body);
        }
        let each = step.for_each.is_some();
        let look = Look { manifest, graph, upstream: Some(&upstream), each };
        if let Value::Object(with) = &step.with {
            for (key, value) in with {
                let span = step.spans.with_keys.get(key).unwrap_or(&step.spans.with);
                look.template(value, span, found);
            }
        }
        // Both are evaluated before there is an `each`.
        let look = Look { each: false, ..look };
        for (text, span) in [(&step.when, &step.spans.when), (&step.for_each, &step.spans.for_each)]
        {
            if let Some(text) = text {
                look.expression(text, span, found);
            }
        }
    }
    let look = Look { manifest, graph, upstream: None, each: false };
    for text in manifest.outputs.values() {
        look.template(&Value::String(text.clone()), &(0..0), found);
    }
    let none = Steps::none(manifest.steps.len());
    let look = Look { manifest, graph, upstream: Some(&none), each: false };
    for text in &manifest.operation.locks {
        look.template(&Value::String(text.clone()), &(0..0), found);
    }
}

/// What an expression may refer to where it stands.
#[derive(Clone, Copy)]
struct Look<'a> {
    manifest: &'a Manifest,
    graph: &'a Graph,
    /// `None`: every step.
    upstream: Option<&'a Steps>,
    each: bool,
}

impl Look<'_> {
    fn template(&self, value: &Value, span: &Range<usize>, found: &mut Vec<Diagnostic>) {
        match expr::references(value) {
            Ok(references) => self.all(&references, span, found),
            Err(error) => found.push(Diagnostic::at(span.clone(), error.to_string())),
        }
    }

    fn expression(&self, text: &str, span: &Range<usize>, found: &mut Vec<Diagnostic>) {
        match expr::expression_references(text) {
            Ok(references) => self.all(&references, span, found),
            Err(error) => found.push(Diagnostic::at(span.clone(), error.to_string())),
        }
    }

    fn all(&self, refs: &BTreeSet<Vec<String>>, span: &Range<usize>, found: &mut Vec<Diagnostic>) {
        for path in refs {
            if let Some(mut mistake) = self.one(path) {
                mistake.span = Some(span.clone());
                found.push(mistake);
            }
        }
    }

    fn one(&self, path: &[String]) -> Option<Diagnostic> {
        let second = path.get(1).map(String::as_str);
        match (path.first().map(String::as_str)?, second) {
            ("inputs", Some(name)) if !self.manifest.inputs.contains_key(name) => {
                let names = self.manifest.inputs.keys().map(String::as_str);
                let help = suggest(name, names);
                Some(Diagnostic::new(format!("there is no input `{name}`")).help(help))
            }
            ("steps", Some(id)) => self.step(id),
            ("steps", None) => Some(
                Diagnostic::new("`steps` alone says not which step is waited for")
                    .help("write `steps.<id>` with the step's own id"),
            ),
            ("each", _) if !self.each => Some(
                Diagnostic::new("`each` is only there in a step with `for_each`")
                    .help("add `for_each` to the step"),
            ),
            ("inputs" | "each" | "operation" | "environment", _) => None,
            (other, _) => {
                let names = ["inputs", "steps", "each", "operation", "environment"];
                let help = suggest(other, names);
                Some(Diagnostic::new(format!("`{other}` is not known here")).help(help))
            }
        }
    }

    fn step(&self, id: &str) -> Option<Diagnostic> {
        let Some(place) = self.graph.place(&StepId::from(id)) else {
            let ids = self.manifest.steps.iter().map(|step| step.id.as_str());
            let help = suggest(id, ids);
            return Some(Diagnostic::new(format!("there is no step `{id}`")).help(help));
        };
        let upstream = self.upstream?;
        (!upstream.contains(place)).then(|| {
            Diagnostic::new(format!("step `{id}` does not come before this one"))
                .help(format!("add `{id}` to `needs`, or move this step after it"))
        })
    }
}
