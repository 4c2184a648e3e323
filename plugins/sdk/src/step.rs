//! What a step is.

use crate::host::effects::{self, Reversal};
use crate::{Failure, FailureClass, Pair, Past};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

pub use crate::bindings::exports::stepback::step::steps::{
    CheckAnswer as Check, UndoAnswer as Undo,
};

/// One step of a plugin.
pub trait Step {
    /// The step's `with`. Deny unknown fields: a typing mistake is then shown at its place.
    type Input: DeserializeOwned + JsonSchema;
    /// What later steps see as `steps.<id>`; `()` for nothing.
    type Output: Serialize + JsonSchema;

    /// The name in `uses = "plugin/name"`.
    const NAME: &'static str;
    /// One line for `stepback plugin list`.
    const DOC: &'static str;
    /// Whether the undo can put everything back; else a manifest must say why that is acceptable.
    const REVERSIBLE: bool = true;

    /// Whether the step could run now. It may only look at the world.
    ///
    /// Answer [`Check::NotYet`] where an earlier step of the operation may still bring about what
    /// is missing, and [`Check::Refused`] where none could.
    ///
    /// # Errors
    /// A failure counts as a refusal.
    fn check(_input: &Self::Input) -> Result<Check, Failure> {
        Ok(Check::Ok)
    }

    /// Do it.
    ///
    /// # Errors
    /// What went wrong; everything that was done is then undone.
    fn run(input: Self::Input) -> Result<Self::Output, Failure>;

    /// Take it back; safe to repeat. By default every effect is reversed, newest first.
    ///
    /// # Errors
    /// A failed undo is tried again a few times.
    fn undo(_input: &Self::Input, past: &Past) -> Result<Undo, Failure> {
        reverse_effects(past)
    }
}

/// Reverse every effect of the step, newest first: each resource is put back to what that effect
/// found.
///
/// What cannot be reversed keeps only older effects on the same resources from being tried.
///
/// # Errors
/// The first host call that fails.
pub fn reverse_effects(past: &Past) -> Result<Undo, Failure> {
    let (mut reversed, mut kept, mut cannot) = (0, vec![], vec![]);
    let mut stuck: Vec<&str> = vec![];
    // What an earlier attempt of this undo did is among them: the host knows that there is nothing
    // to take back of it.
    for effect in past.effects.iter().rev() {
        let touched = || effect.changes.iter().map(|change| change.resource.as_str());
        // Under what could not be taken back, an older effect is not: it could do harm there.
        if touched().any(|resource| stuck.contains(&resource)) {
            stuck.extend(touched());
            cannot.push(format!("{} was not tried after that", effect.function));
            continue;
        }
        match effects::reverse(&effect.id)? {
            Reversal::Reversed => reversed += 1,
            Reversal::NothingToDo => {}
            Reversal::Kept(why) => kept.push(why),
            Reversal::Cannot(why) => {
                stuck.extend(touched());
                cannot.push(why);
            }
        }
    }
    kept.dedup();
    Ok(match (cannot.is_empty(), kept.is_empty(), reversed) {
        (false, _, _) => Undo::CannotUndo(cannot.join("; ")),
        (true, false, _) => Undo::Kept(kept.join("; ")),
        (true, true, 0) => Undo::NothingToUndo,
        (true, true, _) => Undo::Undone,
    })
}

/// A failure of a class, with one sentence for a person.
pub fn failure(class: FailureClass, message: impl Into<String>) -> Failure {
    Failure { class, code: None, message: message.into() }
}

/// The world is not as the step needs it.
pub fn precondition(message: impl Into<String>) -> Failure {
    failure(FailureClass::Precondition, message)
}

/// A map as the contract's list of pairs.
pub fn pairs(map: &BTreeMap<String, String>) -> Vec<Pair> {
    map.iter().map(|(key, value)| Pair { key: key.clone(), value: value.clone() }).collect()
}

/// The contract's list of pairs as a map.
pub fn tag_map(pairs: &[Pair]) -> BTreeMap<String, String> {
    pairs.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect()
}

/// The code of a `denied` that only says that nothing speaks against an effect.
const ONLY_ASKED: &str = "only-asked";
/// The code of what is not granted to the plugin, or not allowed in the environment.
const NOT_GRANTED: &str = "not-granted";

/// What stands for what nobody can know before the operation runs, such as the id of a volume that
/// is still to be made. A check may find it in its input, and may ask by it ([`granted`], [`may`]):
/// then the grants are asked, as far as the call is known, and nobody else.
pub const NOT_KNOWN_YET: &str = "stepback-not-known-yet";

/// In a check: ask whether the provider would let these effects be made, or whether a wait could
/// ever be over. Nothing is made, and nothing is waited for.
///
/// ```no_run
/// # use stepback_sdk::{Check, Failure, ebs, may};
/// # fn check(volume: &str) -> Result<Check, Failure> {
/// may(|| ebs::tag(volume, "label", "blue"))?;
/// # Ok(Check::Ok) }
/// ```
///
/// What is asked is permission, not whether the world is ready; providers that can't be asked
/// let everything pass. For what only an undo would do there is [`may_take_back`].
///
/// # Errors
/// What speaks against it.
pub fn may<T>(effect: impl FnOnce() -> Result<T, Failure>) -> Result<(), Failure> {
    match asked(effect) {
        Err(answer) if answer.code.as_deref() != Some(ONLY_ASKED) => Err(answer),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// In a check: ask whether the step may make a call at all, whatever the world is like by now. It
/// is for each call of the step's run that the check does not make or ask about anyhow: effects,
/// waits, and reads too, which are made where all of them is known. Ask first, and look afterwards:
/// what is not known yet ends a look.
///
/// ```no_run
/// # use stepback_sdk::{Check, Failure, NOT_KNOWN_YET, ebs, granted, may};
/// # fn check(volume: &str) -> Result<Check, Failure> {
/// may(|| ebs::create_snapshot(volume, "", &[]))?;
/// granted(|| ebs::wait_snapshot(NOT_KNOWN_YET, 1))?;
/// # Ok(Check::Ok) }
/// ```
///
/// # Errors
/// A `denied` that speaks against it.
pub fn granted<T>(call: impl FnOnce() -> Result<T, Failure>) -> Result<(), Failure> {
    match may(call) {
        Err(answer) if answer.class == FailureClass::Denied => Err(answer),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// In a check: the same as [`may`] for what `reverse_effects` would call. Taking back needs no
/// grant, so that none is asked for; what takes back nothing that was asked about before is asked
/// about as by [`may`]. What an undo calls by itself needs a grant.
///
/// # Errors
/// What speaks against it.
pub fn may_take_back<T>(effect: impl FnOnce() -> Result<T, Failure>) -> Result<(), Failure> {
    match may(effect) {
        Err(answer) if answer.code.as_deref() != Some(NOT_GRANTED) => Err(answer),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// In a native test the scripted world is told that it is only asked.
fn asked<T>(call: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    #[cfg(not(target_arch = "wasm32"))]
    let call = || crate::testing::asking(call);
    call()
}
