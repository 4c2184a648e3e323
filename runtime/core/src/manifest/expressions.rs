//! Checking the expressions: that they compile, that all they name is there, and what kind of
//! value they come to.

use super::graph::{Graph, Steps};
use super::*;
use crate::diagnostic::suggest;
use crate::expr::{self, Kind, Mention, Outline, Part};
use crate::inputs;

pub(super) fn all(manifest: &Manifest, graph: &Graph, found: &mut Vec<Diagnostic>) {
    let look = NameChecker { manifest, graph, body: body(manifest) };
    for text in manifest.texts() {
        let mistakes = match expr::read(text.text, text.reading()) {
            Ok(outline) => look.at(&text, &outline),
            Err(mistakes) => mistakes,
        };
        text.found(secrets::forged(text.text).into_iter().chain(mistakes).collect(), found);
    }
}

/// What is wrong with how these inputs are used, if their values hold secrets: known only when they
/// are given.
pub(crate) fn of_secrets(manifest: &Manifest, inputs: &[&str]) -> Vec<Diagnostic> {
    let mut found = vec![];
    for text in manifest.texts() {
        if let Ok(outline) = expr::read(text.text, text.reading()) {
            text.found(secrets::mistakes_with(inputs, true, &outline, text.place), &mut found);
        }
    }
    found
}

/// The steps that come before every cleanup step.
fn body(manifest: &Manifest) -> Steps {
    let mut body = Steps::none(manifest.steps.len());
    for (place, step) in manifest.steps.iter().enumerate() {
        if step.phase != Phase::Cleanup {
            body.insert(place);
        }
    }
    body
}

struct NameChecker<'a> {
    manifest: &'a Manifest,
    graph: &'a Graph,
    body: Steps,
}

impl NameChecker<'_> {
    fn at(&self, text: &Text<'_>, outline: &Outline) -> Vec<Diagnostic> {
        let mut all = match text.place {
            Place::Invariant(_) => expr::unknown_names_of_invariant(outline),
            Place::With(_) | Place::When(_) | Place::ForEach(_) | Place::Output | Place::Lock => {
                expr::unknown_names(outline)
            }
        };
        all.extend(secrets::mistakes(self.manifest, outline, text.place));
        all.extend(outline.mentions.iter().filter_map(|mention| self.mention(mention, text)));
        if all.is_empty() {
            all.extend(self.kind(text, outline));
        }
        all
    }

    /// What is wrong with a path, if anything.
    fn mention(&self, mention: &Mention, text: &Text<'_>) -> Option<Diagnostic> {
        let place = text.place;
        let (Part::Name(root), rest) = mention.path.split_first()? else { return None };
        match root.as_str() {
            "inputs" => self.input(rest),
            "steps" => self.step(rest, place),
            "each" => each(rest, place),
            "operation" => match (rest, place) {
                ([Part::Name(key), ..], Place::Invariant(_)) if key == "id" => Some(
                    Diagnostic::new("an invariant is the same of every run of the operation")
                        .help("name what the inputs say"),
                ),
                ([Part::Name(key), ..], Place::Lock) if key == "id" => Some(
                    Diagnostic::new("an operation has no id yet when it takes its locks")
                        .help("name what must not be changed by two at once"),
                ),
                _ => key_of("operation", rest, &["id", "name"]),
            },
            "environment" => key_of("environment", rest, &["name"]),
            "loop" => Some(
                Diagnostic::new("`loop` is only there in a `{% for %}`")
                    .help("a step with `for_each` has `each.key` and `each.value`"),
            ),
            name if expr::is_function(name) => Some(
                Diagnostic::new(format!("`{name}` is a function and is not called"))
                    .help(format!("write `{name}(…)`")),
            ),
            other => {
                let names = ["inputs", "steps", "each", "operation", "environment"];
                let mistake = Diagnostic::new(format!("`{other}` is not known here"));
                Some(match expr::foreign(text.text) {
                    Some(hint) => mistake.help(hint),
                    None => mistake.help(suggest(other, names)),
                })
            }
        }
    }

    fn input(&self, rest: &[Part]) -> Option<Diagnostic> {
        let (name, rest) = rest.split_first()?;
        let name = name.to_string();
        let Some(spec) = self.manifest.inputs.get(&name) else {
            let names = self.manifest.inputs.keys().map(String::as_str);
            let help = suggest(&name, names);
            return Some(Diagnostic::new(format!("there is no input `{name}`")).help(help));
        };
        let part = rest.first()?;
        let has_parts = match (spec.kind, part) {
            (InputKind::Map, Part::Name(_)) => true,
            (InputKind::List | InputKind::String, Part::Index(_)) => true,
            // What is done with a secret has its own mistakes.
            (InputKind::Secret, _) => true,
            (
                InputKind::Map
                | InputKind::List
                | InputKind::String
                | InputKind::Integer
                | InputKind::Number
                | InputKind::Boolean,
                _,
            ) => false,
        };
        (!has_parts).then(|| {
            let kind = inputs::article(spec.kind);
            let message = format!("input `{name}` is {kind}: there is no `{part}` in it");
            Diagnostic::new(message).help(format!("write `inputs.{name}`"))
        })
    }

    fn step(&self, rest: &[Part], place: Place<'_>) -> Option<Diagnostic> {
        let Some(id) = rest.first() else {
            return Some(
                Diagnostic::new("`steps` alone says not which step is waited for")
                    .help("write `steps.<id>` with the step's own id"),
            );
        };
        let id = expr::step_id(id);
        let Some(at) = self.graph.place(&id) else {
            let ids = self.manifest.steps.iter().map(|step| step.id.as_str());
            let help = suggest(id.as_str(), ids);
            return Some(Diagnostic::new(format!("there is no step `{id}`")).help(help));
        };
        let comes_before = match place {
            Place::With(step) | Place::When(step) | Place::ForEach(step) => {
                let above = self.graph.place(&step.id).map(|here| self.graph.above(here));
                above.is_some_and(|above| above.contains(at))
                    || (step.phase == Phase::Cleanup && self.body.contains(at))
            }
            Place::Output => true,
            Place::Invariant(_) => {
                return Some(
                    Diagnostic::new("an invariant must hold before any step has run, too")
                        .help("name what the inputs say, and ask the world: `running('app')`"),
                );
            }
            Place::Lock => {
                return Some(
                    Diagnostic::new("locks are taken before any step has run")
                        .help("name what the inputs say"),
                );
            }
        };
        let is_itself = match place {
            Place::With(step) | Place::When(step) | Place::ForEach(step) => step.id == id,
            Place::Output | Place::Lock | Place::Invariant(_) => false,
        };
        if is_itself {
            let mistake =
                Diagnostic::new(format!("step `{id}` can't look at what it gives itself"));
            return Some(mistake.help("write what an earlier step gives, or an input"));
        }
        (!comes_before).then(|| {
            Diagnostic::new(format!("step `{id}` does not come before this one"))
                .help(format!("add `{id}` to `needs`, or move this step after it"))
        })
    }

    /// Whether the value can be what it is used as.
    fn kind(&self, text: &Text<'_>, outline: &Outline) -> Option<Diagnostic> {
        let (key, wanted) = match text.place {
            Place::When(_) => ("when", "true or false"),
            Place::ForEach(_) => ("for_each", "a list or a map"),
            Place::Invariant(invariant) => match invariant.holds {
                Holds::Always => ("always", "true or false"),
                Holds::Sometimes => ("sometimes", "true or false"),
            },
            Place::With(_) | Place::Output | Place::Lock => return None,
        };
        let is = match outline.kind {
            Kind::Text => "text".to_owned(),
            Kind::Unknown => return None,
            Kind::Path => match &outline.mentions.first()?.path[..] {
                [Part::Name(root), Part::Name(name)] if root == "inputs" => {
                    let kind = self.manifest.inputs.get(name)?.kind;
                    let fits = match text.place {
                        Place::When(_) | Place::Invariant(_) => kind == InputKind::Boolean,
                        _ => matches!(kind, InputKind::List | InputKind::Map),
                    };
                    if fits {
                        return None;
                    }
                    inputs::article(kind)
                }
                _ => return None,
            },
        };
        Some(Diagnostic::new(format!("`{key}` must be {wanted}, and this is {is}")))
    }
}

fn each(rest: &[Part], place: Place<'_>) -> Option<Diagnostic> {
    match place {
        Place::With(step) if step.for_each.is_some() => key_of("each", rest, &["key", "value"]),
        Place::When(step) | Place::ForEach(step) if step.for_each.is_some() => Some(
            Diagnostic::new("`each` is not there yet: `when` and `for_each` are evaluated once")
                .help("leave items out in `for_each` itself, with `select` or `selectattr`"),
        ),
        _ => Some(
            Diagnostic::new("`each` is only there in a step with `for_each`")
                .help("add `for_each` to the step"),
        ),
    }
}

/// What is wrong with the key of a map whose keys are known.
fn key_of(what: &str, rest: &[Part], keys: &[&str]) -> Option<Diagnostic> {
    let key = rest.first()?.to_string();
    (!keys.contains(&key.as_str())).then(|| {
        let help = suggest(&key, keys.iter().copied());
        Diagnostic::new(format!("`{what}` has no `{key}`")).help(help)
    })
}
