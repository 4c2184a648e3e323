//! `[[invariants]]`: what must hold of the world while the operation runs, whatever befalls it.

use super::read::{Reader, span_of, wrong_type};
use super::*;

type Toml<'a> = toml_span::Value<'a>;

/// So many a manifest may have: each is evaluated after each effect of each case of a rehearsal.
const INVARIANTS_MAX: usize = 100;

pub(super) fn all(value: &Toml<'_>, found: &mut Vec<Diagnostic>) -> Vec<Invariant> {
    let Some(list) = value.as_array() else {
        let help = "write `[[invariants]]` before each";
        found.push(wrong_type(value, "invariants", "a list of tables").help(help));
        return vec![];
    };
    if list.len() > INVARIANTS_MAX {
        let message = format!("an operation has at most {INVARIANTS_MAX} invariants");
        found.push(Diagnostic::at(span_of(&list[INVARIANTS_MAX]), message));
    }
    let mut all: Vec<Invariant> = vec![];
    for value in list.iter().take(INVARIANTS_MAX) {
        let Some(invariant) = one(value, found) else { continue };
        if all.iter().any(|other| other.name == invariant.name) {
            let message = format!("two invariants are called `{}`", invariant.name);
            found.push(Diagnostic::at(span_of(value), message).help("give each its own name"));
        }
        all.push(invariant);
    }
    all
}

fn one(value: &Toml<'_>, found: &mut Vec<Diagnostic>) -> Option<Invariant> {
    let mut reader = Reader::new(value, "an invariant", found)?;
    let name = reader.required("name", found);
    let always = reader.string("always", found);
    let sometimes = reader.string("sometimes", found);
    reader.finish(found);
    let holds = match (always, sometimes) {
        (Some(always), None) => (Holds::Always, always),
        (None, Some(sometimes)) => (Holds::Sometimes, sometimes),
        (None, None) | (Some(_), Some(_)) => {
            let message = "an invariant has either `always` or `sometimes`";
            let help = "add `always = \"running('app')\"`: what must hold after every effect; or \
                        `sometimes`: what must hold once at least";
            found.push(Diagnostic::at(span_of(value), message).help(help));
            return None;
        }
    };
    let (holds, (condition, span)) = holds;
    Some(Invariant { name: name?.0, holds, condition, span })
}
