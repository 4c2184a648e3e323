//! Secrets that are given anew for an operation on record: found elsewhere, or others.
//!
//! Another value than a call was given is none to go forward with: half of the world would have
//! the one, and half the other. Until then it takes the old one's place. Either way it is
//! journaled where it comes from, so that the next runner finds it there, too.

use super::seals::{Fits, Seals};
use super::{EDGE, met};
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
}

/// What was given anew, in the past and now.
///
/// # Errors
/// A secret is given that the operation does not have.
pub(crate) fn given(
    deps: &Deps,
    state: &State,
    pinned: &Pinned,
    manifest: &Manifest,
    seals: &Seals,
) -> Result<Anew, String> {
    let (mut inputs, mut known_by) = (pinned.inputs.clone(), pinned.secrets.clone());
    let mut references = BTreeMap::new();
    for (name, given) in &state.given {
        references.insert(name.clone(), given.reference.clone());
        known_by.insert(name.clone(), given.fingerprint.clone());
    }
    let names = inputs::secrets(manifest, &inputs);
    let mut given = BTreeMap::new();
    for (name, reference) in &deps.given {
        if !names.contains_key(name) {
            return Err(format!("the operation has no secret `{name}`"));
        }
        let reference = deps.secrets.absolute(reference);
        references.insert(name.clone(), reference.clone());
        // One that can't be had is missing, and is told as that.
        let Ok(value) = deps.secrets.resolve(&reference) else { continue };
        let is_same = known_by
            .get(name)
            .is_some_and(|fingerprint| seals.fits(name, &value, fingerprint) == Fits::Yes);
        if is_same || !is_revealed(state, name) {
            let fingerprint = seals.fingerprint(name, &value);
            known_by.insert(name.clone(), fingerprint.clone());
            given.insert(name.clone(), GivenSecret { reference, fingerprint });
        }
    }
    inputs::change_references(manifest, &mut inputs, |name, reference| {
        references.get(name).cloned().unwrap_or_else(|| reference.to_owned())
    });
    Ok(Anew { inputs, known_by, given })
}

/// Whether a call was given the secret, or may have been.
fn is_revealed(state: &State, name: &str) -> bool {
    let begins = format!("{EDGE}secret:{name}");
    let goes_on = |rest: &str| rest.starts_with([EDGE, '#', '<']);
    let holds = |text: &String| text.split(begins.as_str()).skip(1).any(goes_on);
    met::calls_of(state).any(|texts| texts.iter().any(holds))
}
