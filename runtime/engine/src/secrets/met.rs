//! Secrets that can't be had any more, met again in the world.
//!
//! An undo needs no password, but what it looks at may hold one: a tag, a command line. Kept out of
//! the journal it can be only by its value. The journal knows how each text went on around a mark,
//! and the fingerprint of what stood there; what the world has in its place, with that
//! fingerprint, is the secret.

use super::seals::{Fits, Seals};
use super::{EDGE, Secrets, next_mark};
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

/// So many places where a secret may end are tried in one text.
const ENDS_MAX: usize = 4096;

/// A text around the marks of secrets that are missing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Around {
    before: String,
    /// Each secret, with what comes behind it.
    missing: Vec<(String, String)>,
}

impl Around {
    /// The text, with the values of those secrets in it that are known, if no other mark is in it
    /// than of missing ones that stand there whole.
    fn of(missing: &BTreeMap<String, String>, text: &str) -> Option<Self> {
        let (before, mut mark, mut rest) = next_mark(text)?;
        let mut around = Self { before: before.to_owned(), missing: vec![] };
        loop {
            let name = missing.keys().find(|name| secret_placeholder(name) == mark)?;
            let next = next_mark(rest);
            let behind = next.map_or(rest, |(behind, ..)| behind);
            around.missing.push((name.clone(), behind.to_owned()));
            let Some((_, next, after)) = next else { break };
            (mark, rest) = (next, after);
        }
        let behind = around.missing.iter().map(|(_, behind)| behind);
        let is_plain = !behind.chain([&around.before]).any(|text| text.contains(EDGE));
        is_plain.then_some(around)
    }

    /// What a text of the world has in the marks' places: each one that `fits`, wherever it ends.
    fn inside<'a>(
        &self,
        text: &'a str,
        fits: &dyn Fn(&str, &str) -> bool,
    ) -> Vec<(String, &'a str)> {
        let (mut found, mut tries) = (vec![], ENDS_MAX);
        if let Some(rest) = text.strip_prefix(self.before.as_str()) {
            inside(&self.missing, rest, fits, &mut tries, &mut found);
        }
        found
    }
}

/// Whether the rest of a text is these secrets with what is behind each.
fn inside<'a>(
    missing: &[(String, String)],
    rest: &'a str,
    fits: &dyn Fn(&str, &str) -> bool,
    tries: &mut usize,
    found: &mut Vec<(String, &'a str)>,
) -> bool {
    let Some(((name, behind), more)) = missing.split_first() else { return rest.is_empty() };
    if more.is_empty() {
        let value = rest.strip_suffix(behind.as_str()).filter(|value| fits(name, value));
        found.extend(value.map(|value| (name.clone(), value)));
        return value.is_some();
    }
    let ends = rest.match_indices(behind.as_str()).map(|(at, _)| at);
    for at in ends {
        let Some(left) = tries.checked_sub(1) else { return false };
        *tries = left;
        let value = &rest[..at];
        if !fits(name, value) {
            continue;
        }
        found.push((name.clone(), value));
        if inside(more, &rest[at + behind.len()..], fits, tries, found) {
            return true;
        }
    }
    false
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
    secrets: &Secrets,
    seals: &Seals,
) -> BTreeMap<String, String> {
    let (mut met, missing) = (BTreeMap::new(), secrets.missing());
    let began_with = match &state.pinned {
        Some(pinned) if !missing.is_empty() => &pinned.secrets,
        _ => return met,
    };
    let mut around = BTreeSet::new();
    for text in texts_of(state) {
        around.extend(Around::of(missing, &secrets.reveal_text(&text)));
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
    let fits = |name: &str, value: &str| {
        let given = state.given.get(name).map(|given| &given.fingerprint);
        let known = [began_with.get(name), given].into_iter().flatten();
        known.into_iter().any(|known| seals.fits(name, value, known) == Fits::Yes)
    };
    let limit = Duration::from_millis(LOOK_MS_MAX);
    // What does not answer keeps nothing else from being met.
    let looks = resources.into_iter().map(|resource| async move {
        let looked = AssertUnwindSafe(deps.provider.observe(resource)).catch_unwind();
        deps.clock.timeout(limit, looked).await
    });
    for looked in join_all(looks).await {
        let Ok(Ok(Ok(facts))) = looked else { continue };
        for text in facts.texts() {
            let found = around.iter().flat_map(|one| one.inside(&text, &fits));
            met.extend(found.map(|(name, value)| (name, value.to_owned())));
        }
    }
    met
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An address has a user and a password in it, and one text may have the same secret twice.
    #[test]
    fn each_of_several_secrets_is_met_in_one_text() {
        let missing: BTreeMap<String, String> =
            ["pw", "user"].map(|name| (name.to_owned(), "gone".to_owned())).into();
        let known = BTreeMap::from([("pw", "Old:Secret@77"), ("user", "appuser")]);
        let fits = |name: &str, value: &str| known.get(name) == Some(&value);
        let mark = |name: &str| secret_placeholder(name);
        let met = |text: &str, world: &str| -> Vec<String> {
            let around = Around::of(&missing, text);
            let found = around.map(|one| one.inside(world, &fits)).unwrap_or_default();
            found.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
        };
        let address = format!("postgres://{}:{}@db/main", mark("user"), mark("pw"));
        let both = ["user=appuser", "pw=Old:Secret@77"];
        assert_eq!(met(&address, "postgres://appuser:Old:Secret@77@db/main"), both);
        assert_eq!(met(&address, "postgres://another:Old:Secret@77@db/main"), [""; 0]);
        // The one that is known is told, whatever stands in the other's place.
        assert_eq!(met(&address, "postgres://appuser:New@db/main"), ["user=appuser"]);
        let twice = format!("{}{}", mark("pw"), mark("pw"));
        assert_eq!(met(&twice, "Old:Secret@77Old:Secret@77"), ["pw=Old:Secret@77"; 2]);
        let plain = format!("x{}y", mark("pw"));
        assert_eq!(met(&plain, "xOld:Secret@77y"), ["pw=Old:Secret@77"]);
        let form = format!("x{}y", mark("pw#url-1"));
        assert_eq!(met(&form, "xOld:Secret@77y"), [""; 0]);
    }
}
