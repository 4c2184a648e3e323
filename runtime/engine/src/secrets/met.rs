//! Secrets that can't be had any more, met again in the world.
//!
//! An undo needs no password, but what it looks at may hold one: a tag, a command line. Kept out of
//! the journal it can be only by its value. The journal knows how each text went on around a mark,
//! and the fingerprint of what stood there; what the world has in its place, with that
//! fingerprint, is the secret.

use super::EDGE;
use super::seals::{Fits, Seals};
use crate::deps::Deps;
use crate::replaced::ReplacedParts;
use futures_util::FutureExt;
use futures_util::future::join_all;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use stepback_core::expr::secret_placeholder;
use stepback_core::state::{RecordedCall, State};
use stepback_core::texts::MapTexts;
use stepback_core::{Facts, Resource};

/// How long one look may take.
const LOOK_MS_MAX: u64 = 10_000;

/// A text around a secret's mark.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Around {
    name: String,
    before: String,
    after: String,
}

impl Around {
    /// The text, if the secret's mark is the only one in it.
    fn of(name: &str, text: &str) -> Option<Self> {
        let (before, after) = text.split_once(&secret_placeholder(name))?;
        let around =
            Self { name: name.to_owned(), before: before.to_owned(), after: after.to_owned() };
        (!before.contains(EDGE) && !after.contains(EDGE)).then_some(around)
    }

    /// What a text of the world has in the mark's place.
    fn inside<'a>(&self, text: &'a str) -> Option<&'a str> {
        text.strip_prefix(self.before.as_str())?.strip_suffix(self.after.as_str())
    }
}

/// The texts of each effect's call, those included of which nobody knows whether they happened.
pub(super) fn calls_of(state: &State) -> impl Iterator<Item = Vec<String>> {
    let effects = state.steps.values().flat_map(|step| &step.effects);
    effects.map(|effect| effect.call.texts())
}

/// Every text of an operation's calls and of the facts that it found.
pub(crate) fn texts_of(state: &State) -> BTreeSet<String> {
    let mut texts = BTreeSet::new();
    for effect in state.steps.values().flat_map(|step| &step.effects) {
        texts.extend(effect.call.texts());
        for change in &effect.changes {
            texts.extend(change.resource.texts());
            texts.extend(change.before.texts());
            texts.extend(change.after.iter().flat_map(Facts::texts));
        }
    }
    texts
}

/// Every text that the journal has of calls, answers and outputs: what a replay asks for is held
/// against them, and what is called by them is found by them.
pub(crate) fn told_in_clear(state: &State) -> BTreeSet<String> {
    let mut texts = texts_of(state);
    for step in state.steps.values() {
        texts.extend(step.output.iter().flat_map(Value::texts));
        let calls = step.open.iter().flat_map(|open| &open.calls);
        for call in calls {
            let RecordedCall::Answered { call, result, .. } = call else { continue };
            texts.extend(call.texts());
            texts.extend(result.iter().flat_map(Value::texts));
        }
    }
    texts
}

/// The values of those that are missing, as far as they are where the operation put them.
///
/// Nothing is told of what can't be looked at: it is looked at again where it matters.
pub(crate) async fn in_world(
    deps: &Deps,
    replaced: &ReplacedParts,
    state: &State,
    missing: &BTreeMap<String, String>,
    seals: &Seals,
) -> BTreeMap<String, String> {
    let mut met = BTreeMap::new();
    let began_with = match &state.pinned {
        Some(pinned) if !missing.is_empty() => &pinned.secrets,
        _ => return met,
    };
    let mut around = BTreeSet::new();
    for text in texts_of(state) {
        around.extend(missing.keys().filter_map(|name| Around::of(name, &text)));
    }
    if around.is_empty() {
        return met;
    }
    let effects = state.steps.values().flat_map(|step| &step.effects);
    let resources = effects.flat_map(|effect| &effect.changes).map(|change| &change.resource);
    let resources: BTreeSet<&Resource> = resources
        .filter(|resource| !resource.to_string().contains(EDGE))
        .filter(|resource| replaced.must_allow_look(resource).is_ok())
        .collect();
    let limit = Duration::from_millis(LOOK_MS_MAX);
    // What does not answer keeps nothing else from being met.
    let looks = resources.into_iter().map(|resource| async move {
        let looked = AssertUnwindSafe(deps.provider.observe(resource)).catch_unwind();
        deps.clock.timeout(limit, looked).await
    });
    for looked in join_all(looks).await {
        let Ok(Ok(Ok(facts))) = looked else { continue };
        for text in facts.texts() {
            for one in &around {
                let Some(value) = one.inside(&text) else { continue };
                let given = state.given.get(&one.name).map(|given| &given.fingerprint);
                let known = [began_with.get(&one.name), given].into_iter().flatten();
                let fits = |known: &String| seals.fits(&one.name, value, known) == Fits::Yes;
                if known.into_iter().any(fits) {
                    met.insert(one.name.clone(), value.to_owned());
                }
            }
        }
    }
    met
}
