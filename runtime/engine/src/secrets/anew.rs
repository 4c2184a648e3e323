//! Secrets that are given anew for an operation on record: found elsewhere, or others.
//!
//! Another value than a call was given is none to go forward with: half of the world would have
//! the one, and half the other. Until then it takes the old one's place. Either way it is
//! journaled where it comes from, so that the next runner finds it there, too.

use super::pieces::Side;
use super::seals::{Fits, Seals};
use super::{EDGE, Found, met, value_of};
use crate::deps::Deps;
use serde_json::Value;
use std::collections::BTreeMap;
use stepback_core::event::{GivenSecret, Pinned};
use stepback_core::inputs;
use stepback_core::manifest::Manifest;
use stepback_core::state::State;

/// An operation's inputs and secrets, with what was given anew.
pub(crate) struct Anew {
    pub(crate) inputs: BTreeMap<String, Value>,
    /// The fingerprint of each secret.
    pub(crate) known_by: BTreeMap<String, String>,
    /// What is given now, and to be journaled.
    pub(crate) given: BTreeMap<String, GivenSecret>,
    /// What they told: a pipe tells it once.
    pub(crate) told: Found,
}

/// What was given anew, in the past and now; `is_told` says whether the journal has a text in the
/// clear.
///
/// # Errors
/// A secret is given that the operation does not have, or another one that is a piece of what the
/// journal calls things: hidden from now on, nothing would be as it was.
pub(crate) async fn given(
    deps: &Deps,
    state: &State,
    pinned: &Pinned,
    manifest: &Manifest,
    seals: &Seals,
    is_told: impl Fn(&str) -> bool,
) -> Result<Anew, String> {
    let (mut inputs, mut known_by) = (pinned.inputs.clone(), pinned.secrets.clone());
    let mut references = BTreeMap::new();
    for (name, given) in &state.given {
        references.insert(name.clone(), given.reference.clone());
        known_by.insert(name.clone(), given.fingerprint.clone());
    }
    let names = inputs::secrets(manifest, &inputs);
    let (mut given, mut told) = (BTreeMap::new(), BTreeMap::new());
    for (name, reference) in &deps.given {
        if !names.contains_key(name) {
            return Err(format!("the operation has no secret `{name}`"));
        }
        let reference = deps.secrets.absolute(reference);
        references.insert(name.clone(), reference.clone());
        let value = value_of(deps, &reference).await;
        told.insert(name.clone(), value.clone());
        // One that can't be had is missing, and is told as that.
        let Ok(value) = value else { continue };
        let is_same = known_by
            .get(name)
            .is_some_and(|fingerprint| seals.fits(name, &value, fingerprint) == Fits::Yes);
        let may_be_another = !is_same
            && !is_revealed(state, name)
            && !was_another_ones(deps, state, name, &names, &known_by, seals, &mut told).await;
        if may_be_another && is_told(&value) {
            return Err(format!(
                "the value that is given for the secret `{name}` is a piece of what the journal \
                 calls things already, such as a name: give another one, or roll the operation back"
            ));
        }
        if is_same || may_be_another {
            let fingerprint = seals.fingerprint(name, &value);
            known_by.insert(name.clone(), fingerprint.clone());
            given.insert(name.clone(), GivenSecret { reference, fingerprint });
        }
    }
    inputs::change_references(manifest, &mut inputs, |name, reference| {
        references.get(name).cloned().unwrap_or_else(|| reference.to_owned())
    });
    Ok(Anew { inputs, known_by, given, told })
}

/// Whether a secret had the value of another one that a call was given: the journal has one mark
/// for both.
async fn was_another_ones(
    deps: &Deps,
    state: &State,
    name: &str,
    names: &BTreeMap<String, String>,
    known_by: &BTreeMap<String, String>,
    seals: &Seals,
    told: &mut Found,
) -> bool {
    let Some(began_with) = known_by.get(name) else { return false };
    for (other, reference) in names.iter().filter(|(other, _)| *other != name) {
        if !is_revealed(state, other) {
            continue;
        }
        if !told.contains_key(other) {
            told.insert(other.clone(), value_of(deps, reference).await);
        }
        let fits = |value: &String| seals.fits(name, value, began_with) == Fits::Yes;
        if told.get(other).is_some_and(|value| value.as_ref().is_ok_and(fits)) {
            return true;
        }
    }
    false
}

/// Whether a call was given the secret, or may have been.
fn is_revealed(state: &State, name: &str) -> bool {
    met::calls_of(state).any(|texts| texts.iter().any(|text| has_mark(text, name)))
}

/// Whether a text has what stands for a secret, for one of several of its values, or for a piece.
fn has_mark(text: &str, name: &str) -> bool {
    let ends = |rest: &str| {
        rest.starts_with([EDGE, '#']) || Side::ALL.iter().any(|side| rest.starts_with(side.sign()))
    };
    text.split(&format!("{EDGE}secret:{name}")).skip(1).any(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mark_of_a_secret_is_known_as_one() {
        let goes_on = ["", "#0a", "<9#0a", ">9#0a"];
        for rest in goes_on {
            let text = format!("before {EDGE}secret:db{rest}{EDGE} after");
            assert!(has_mark(&text, "db"), "{text}");
            assert!(!has_mark(&text, "d") && !has_mark(&text, "b"), "{text}");
        }
        assert!(!has_mark("secret:db", "db"));
    }
}
