//! Secrets that can't be had any more, met again in the world.
//!
//! An undo needs no password, but what it looks at may hold one: a tag, a command line. Kept out of
//! the journal it can be only by its value. The journal knows how each text went on around a mark,
//! and the fingerprint of what stood there; what the world has in its place, with that
//! fingerprint, is the secret.

use super::seals::{Fits, Seals};
use super::{EDGE, SECRET_BYTES_MIN, Secrets, next_mark};
use crate::deps::Deps;
use crate::replaced::ReplacedParts;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, Engine, GeneralPurpose, GeneralPurposeConfig};
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
use stepback_provider::decoded;

/// How long one look may take.
const LOOK_MS_MAX: u64 = 10_000;

/// So many places where a secret may end are tried in one text.
const ENDS_MAX: usize = 4096;
/// Each part of a text is tried that has no more characters, such as a tag.
const PART_OF_MAX: usize = 256;
/// So many parts are tried of all that is looked at.
const PARTS_MAX: usize = 400_000;

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
    fn of(missing: &BTreeSet<String>, text: &str) -> Option<Self> {
        let (before, mut mark, mut rest) = next_mark(text)?;
        let mut around = Self { before: before.to_owned(), missing: vec![] };
        loop {
            let name = missing.iter().find(|name| secret_placeholder(name) == mark)?;
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

/// Every secret that is a part of a short text, as it is or written in some way: whatever else
/// stands in it by now, and whoever wrote it.
pub(super) fn parts(
    text: &str,
    unmet: &[&String],
    fits: &dyn Fn(&str, &str) -> bool,
    tries: &mut usize,
) -> Vec<(String, String)> {
    if unmet.is_empty() || text.chars().count() > PART_OF_MAX {
        return vec![];
    }
    let ways = decoded::ways(text);
    let read = ways.iter().filter_map(|way| std::str::from_utf8(way.bytes()).ok());
    let plain: Vec<&str> = [text].into_iter().chain(read).collect();
    let decoded: Vec<String> = plain.iter().flat_map(|text| out_of_base64(text)).collect();
    let mut found = vec![];
    for text in plain.into_iter().chain(decoded.iter().map(String::as_str)) {
        let edges: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        for (nth, start) in edges.iter().enumerate() {
            for end in &edges[nth + 1..] {
                if end - start < SECRET_BYTES_MIN {
                    continue;
                }
                for name in unmet {
                    let Some(left) = tries.checked_sub(1) else { return found };
                    *tries = left;
                    if fits(name, &text[*start..*end]) {
                        found.push(((*name).clone(), text[*start..*end].to_owned()));
                    }
                }
            }
        }
    }
    found
}

/// What the base64 in a text says that is text.
fn out_of_base64(text: &str) -> Vec<String> {
    let is_of_it = |c: char| c.is_ascii_alphanumeric() || "+/-_".contains(c);
    let config = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = GeneralPurpose::new(&alphabet::STANDARD, config);
    let runs = text.split(|c| !is_of_it(c)).filter(|run| run.len() > SECRET_BYTES_MIN);
    let of = |run: &str| {
        let run = run.replace('-', "+").replace('_', "/");
        // A letter alone in the last group says nothing.
        let run = &run[..run.len() - usize::from(run.len() % 4 == 1)];
        String::from_utf8(engine.decode(run).ok()?).ok()
    };
    runs.filter_map(of).collect()
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
    let mut met = BTreeMap::new();
    let missing: BTreeSet<String> = secrets.unmet.names().into_iter().collect();
    let began_with = match &state.pinned {
        Some(pinned) if !missing.is_empty() => &pinned.secrets,
        _ => return met,
    };
    let mut around = BTreeSet::new();
    for text in texts_of(state) {
        around.extend(Around::of(&missing, &secrets.reveal_text(&text)));
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
    let (limit, mut tries) = (Duration::from_millis(LOOK_MS_MAX), PARTS_MAX);
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
            let unmet = missing.iter().filter(|name| !met.contains_key(*name));
            let unmet: Vec<&String> = unmet.collect();
            met.extend(parts(&text, &unmet, &fits, &mut tries));
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
        let missing: BTreeSet<String> = ["pw", "user"].map(str::to_owned).into();
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

    /// Whoever wrote what is around it, or it itself in another way.
    #[test]
    fn a_secret_is_met_wherever_it_stands_in_a_short_text() {
        let fits = |name: &str, value: &str| (name, value) == ("pw", "p@ss-Secret77");
        let unmet = ["pw".to_owned(), "user".to_owned()];
        let unmet: Vec<&String> = unmet.iter().collect();
        for text in [
            "u:p@ss-Secret77 (old)",
            "u:p%40ss%2DSecret77",
            "Basic dTpwQHNzLVNlY3JldDc3",
            "cEBzcy1TZWNyZXQ3Nw==",
            "cEBzcy1TZWNyZXQ3Nw%3D%3D",
            r"p\u0040ss-Secret77",
        ] {
            let found = parts(text, &unmet, &fits, &mut 100_000);
            assert!(found.iter().any(|(name, value)| fits(name, value)), "{text}: {found:?}");
        }
        assert_eq!(parts("p@ss-Secret78", &unmet, &fits, &mut 100_000), []);
        assert_eq!(parts("u:p@ss-Secret77", &unmet, &fits, &mut 3), [], "it is bounded");
    }
}
