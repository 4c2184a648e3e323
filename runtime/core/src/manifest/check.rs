//! Holding a manifest's parts against each other: ids, the graph, the window, the expressions.

use super::*;
use crate::diagnostic::suggest;
use crate::expr;
use std::collections::BTreeSet;

pub(super) fn all(manifest: &Manifest, found: &mut Vec<Diagnostic>) {
    let unique = ids(manifest, found);
    let known = needs(manifest, found);
    if unique && known && acyclic(manifest, found) {
        phases(manifest, found);
        references(manifest, found);
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

/// Whether no step waits for itself; a cycle is then among `found`, with its steps named.
fn acyclic(manifest: &Manifest, found: &mut Vec<Diagnostic>) -> bool {
    let graph = manifest.dependencies();
    let mut left: BTreeSet<&StepId> = graph.keys().collect();
    loop {
        let ready: Vec<&StepId> = left
            .iter()
            .filter(|id| graph[**id].iter().all(|need| !left.contains(need)))
            .copied()
            .collect();
        if ready.is_empty() {
            break;
        }
        for id in ready {
            left.remove(id);
        }
    }
    // What is only downstream of a cycle is not in it.
    let mut cycle = left.clone();
    loop {
        let outside: Vec<&StepId> = cycle
            .iter()
            .filter(|id| !cycle.iter().any(|other| graph[*other].contains(id)))
            .copied()
            .collect();
        if outside.is_empty() {
            break;
        }
        for id in outside {
            cycle.remove(id);
        }
    }
    let Some(first) = manifest.steps.iter().find(|step| cycle.contains(&step.id)) else {
        return true;
    };
    let names: Vec<String> = cycle.iter().map(|id| format!("`{id}`")).collect();
    let message = format!("these steps need each other in a circle: {}", names.join(", "));
    let span = first.spans.needs.first().cloned().unwrap_or(first.spans.id.clone());
    found.push(Diagnostic::at(span, message).help("take one of their `needs` out"));
    false
}

/// Every step that must be complete before each step starts.
fn ancestors(manifest: &Manifest) -> BTreeMap<StepId, BTreeSet<StepId>> {
    let graph = manifest.dependencies();
    let mut all: BTreeMap<StepId, BTreeSet<StepId>> = BTreeMap::new();
    while all.len() < graph.len() {
        for (id, needs) in &graph {
            if !all.contains_key(id) && needs.iter().all(|need| all.contains_key(need)) {
                let mut above: BTreeSet<StepId> = needs.iter().cloned().collect();
                for need in needs {
                    above.extend(all[need].iter().cloned());
                }
                all.insert(id.clone(), above);
            }
        }
    }
    all
}

fn phases(manifest: &Manifest, found: &mut Vec<Diagnostic>) {
    let above = ancestors(manifest);
    let phase_of: BTreeMap<&StepId, &Step> =
        manifest.steps.iter().map(|step| (&step.id, step)).collect();
    for step in &manifest.steps {
        let before = || above[&step.id].iter().map(|id| phase_of[id]);
        let after_cleanup = before().find(|other| other.phase == Phase::Cleanup);
        if let Some(cleanup) = after_cleanup.filter(|_| step.phase != Phase::Cleanup) {
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
        let gap = before().find(|middle| {
            middle.phase == Phase::Live
                && above[&middle.id].iter().any(|id| phase_of[id].phase == Phase::Downtime)
        });
        if let Some(middle) = gap {
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

fn references(manifest: &Manifest, found: &mut Vec<Diagnostic>) {
    let above = ancestors(manifest);
    let body: BTreeSet<StepId> = manifest
        .steps
        .iter()
        .filter(|step| step.phase != Phase::Cleanup)
        .map(|step| step.id.clone())
        .collect();
    for step in &manifest.steps {
        let mut upstream = above[&step.id].clone();
        if step.phase == Phase::Cleanup {
            upstream.extend(body.iter().cloned());
        }
        let look = Look { manifest, upstream: Some(&upstream), each: step.for_each.is_some() };
        if let Value::Object(with) = &step.with {
            for (key, value) in with {
                let span = step.spans.with_keys.get(key).unwrap_or(&step.spans.with);
                look.template(value, span, found);
            }
        }
        for (text, span) in [(&step.when, &step.spans.when), (&step.for_each, &step.spans.for_each)]
        {
            if let Some(text) = text {
                let each = look.each && std::ptr::eq(span, &step.spans.when);
                Look { each, ..look }.expression(text, span, found);
            }
        }
    }
    let look = Look { manifest, upstream: None, each: false };
    for text in manifest.outputs.values() {
        look.template(&Value::String(text.clone()), &(0..0), found);
    }
    let none = BTreeSet::new();
    let look = Look { manifest, upstream: Some(&none), each: false };
    for text in &manifest.operation.locks {
        look.template(&Value::String(text.clone()), &(0..0), found);
    }
}

/// What an expression may refer to where it stands.
#[derive(Clone, Copy)]
struct Look<'a> {
    manifest: &'a Manifest,
    /// `None`: every step.
    upstream: Option<&'a BTreeSet<StepId>>,
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
        let ids = self.manifest.steps.iter().map(|step| step.id.as_str());
        if !ids.clone().any(|known| known == id) {
            let help = suggest(id, ids);
            return Some(Diagnostic::new(format!("there is no step `{id}`")).help(help));
        }
        let upstream = self.upstream?;
        (!upstream.contains(&StepId::from(id))).then(|| {
            Diagnostic::new(format!("step `{id}` does not come before this one"))
                .help(format!("add `{id}` to `needs`, or move this step after it"))
        })
    }
}
