//! Where a manifest may mention a secret.
//!
//! No expression sees one: the host fills a mention with what stands for it, and puts the secret in
//! at the provider's door. Whatever would do more with it than putting it in whole (a filter, a
//! comparison, a slice, `~`) would work on what stands for it, and so is a mistake.

use super::{InputKind, Manifest, Place};
use crate::diagnostic::Diagnostic;
use crate::expr::{MARK_EDGE, Mention, Outline, Part, Use};

/// What is wrong with how an expression treats the secrets.
pub(super) fn mistakes(
    manifest: &Manifest,
    outline: &Outline,
    place: Place<'_>,
) -> Vec<Diagnostic> {
    let secrets = manifest.inputs.iter().filter(|(_, spec)| spec.kind == InputKind::Secret);
    let secrets: Vec<&str> = secrets.map(|(name, _)| name.as_str()).collect();
    mistakes_with(&secrets, false, outline, place)
}

/// The same with these inputs for secrets, or, if they are `maps`, with secrets in their values.
pub(super) fn mistakes_with(
    secrets: &[&str],
    maps: bool,
    outline: &Outline,
    place: Place<'_>,
) -> Vec<Diagnostic> {
    if secrets.is_empty() {
        return vec![];
    }
    // Without an argument, `debug` shows all that there is.
    let shows_all = |one: &Use| matches!(one, Use::Function(name, Some(0)) if name == "debug");
    let debug = outline.uses.iter().any(shows_all).then(|| in_all("`debug()`", secrets));
    let mentions = outline.mentions.iter().filter_map(|one| mistake(secrets, maps, one, place));
    debug.into_iter().chain(mentions).collect()
}

/// What is wrong with a text that writes what stands for a secret itself.
pub(super) fn forged(text: &str) -> Option<Diagnostic> {
    text.contains(MARK_EDGE).then(|| {
        let message = "it holds the control character U+0001, which stands for secrets here";
        Diagnostic::new(message).help("a secret is put in by `{{ inputs.NAME }}`")
    })
}

/// What is wrong with mentioning a secret like this here, if it is one.
fn mistake(
    secrets: &[&str],
    maps: bool,
    mention: &Mention,
    place: Place<'_>,
) -> Option<Diagnostic> {
    let name = match &mention.path[..] {
        [Part::Name(root)] if root == "inputs" => {
            return Some(in_all("`inputs` as a whole", secrets));
        }
        [Part::Name(root), Part::Name(name), ..] if root == "inputs" => name.as_str(),
        _ => return None,
    };
    if !secrets.contains(&name) {
        return None;
    }
    let message = match place {
        Place::With(_) if mention.whole && may_be_put_in(&mention.path, maps) => return None,
        Place::With(_) => format!("the secret `{name}` can't be worked with, only put in whole"),
        Place::When(_) => format!("the secret `{name}` can't be looked at in `when`"),
        Place::ForEach(_) => format!("the secret `{name}` can't be looked at in `for_each`"),
        Place::Output => format!("the secret `{name}` can't be an output"),
        Place::Lock => format!("the secret `{name}` can't be in a lock's name"),
        Place::Invariant(_) => {
            format!("the secret `{name}` can't be looked at in an invariant")
        }
    };
    Some(Diagnostic::new(message).help(allowed(name)))
}

/// An input is put in by its name, and a value of a map by its own.
fn may_be_put_in(path: &[Part], maps: bool) -> bool {
    path.len() == 2 || maps && matches!(path, [_, _, Part::Name(_)])
}

fn in_all(what: &str, secrets: &[&str]) -> Diagnostic {
    let names: Vec<String> = secrets.iter().map(|name| format!("`{name}`")).collect();
    let message = format!("{what} has a secret in it: {}", names.join(", "));
    Diagnostic::new(message).help(format!(
        "name the inputs that are meant, as `inputs.name`; {}",
        allowed(secrets.first().unwrap_or(&"name"))
    ))
}

fn allowed(name: &str) -> String {
    format!(
        "a secret can only be put in whole, in a step's `with` and outside of blocks: write \
         `{{{{ inputs.{name} }}}}`, alone or in text"
    )
}
