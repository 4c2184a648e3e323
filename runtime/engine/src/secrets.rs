//! Secrets: put in at the provider's door, taken out of everything that comes back.
//!
//! The journal, logs and errors hold marks and references only; guests are given handles
//! ([`door`]). A mark stands for a secret, for one line of it, or for what a cut left of one; each
//! is turned back into just the text that it stands for. What can't be turned back (two secrets
//! that overlap, a mark that somebody took to pieces) makes the call that holds it fail, and is
//! never passed on.
//!
//! A secret that can't be had any more is missed only by the calls that need it: going back needs
//! only what the undo uses (R14).

pub(crate) mod anew;
pub(crate) mod door;
mod forms;
pub(crate) mod met;
mod pieces;
mod printed;
mod redact;
pub(crate) mod seals;
mod unmet;

use crate::deps::{Deps, SecretSource};
use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use forms::{is_of_a_part, texts_of};
use futures_util::future::join_all;
use pieces::{Pieces, Side};
use printed::Printed;
use seals::{Fits, Seals};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use stepback_clock::GivenUp;
use stepback_core::expr::secret_placeholder;
use stepback_core::inputs;
use stepback_core::manifest::Manifest;
use stepback_core::plan::Plan;
use stepback_core::shown::in_sentence;
use stepback_core::texts::MapTexts;
use stepback_core::{Call, Failure, FailureClass, Resource, StoreId};
use stepback_files::key::Key;
use unmet::Unmet;

/// A shorter secret would be found, and replaced, in texts that have nothing to do with it.
const SECRET_BYTES_MIN: usize = 4;
/// What is longer goes into no call, whose arguments have no room for it.
const SECRET_BYTES_MAX: usize = 64 << 10;
/// So much is looked for by what is fastest and takes the most memory.
const LOOKED_FOR_FAST_MAX: usize = 64 << 10;
/// Whoever tells a secret has so long; what the configuration runs for one has half of it.
const ASKED_MAX: Duration = Duration::from_secs(60);
/// What a mark begins and ends with: nobody types it by accident.
const EDGE: char = '\u{1}';
/// Said of an answer with marks in it: a later step may look for what it does not find.
pub(crate) const HIDDEN: &str = "the answer has a secret's value in it; steps see a mark in its \
     place, which no call may hold, and which compares with nothing";

/// The secrets of one operation.
pub(crate) struct Secrets {
    /// Each text to look for, and the mark that stands for it.
    texts: Vec<(String, String)>,
    /// Of each of them, whether it is a part of a secret.
    parts: Vec<bool>,
    finder: Option<AhoCorasick>,
    pieces: Pieces,
    /// What each mark stands for.
    marks: BTreeMap<String, String>,
    fingerprints: BTreeMap<String, String>,
    /// Secrets that can't be had now, and why.
    missing: BTreeMap<String, String>,
    /// The secrets that have, or had, a value which nobody knows, each with its fingerprints.
    unmet: Unmet,
    seals: Seals,
    /// What the operation's own commands may print.
    printed: Printed,
}

/// Where each secret came from: its value, or why there is none.
pub(crate) type Found = BTreeMap<String, Result<String, String>>;

/// Whether a text has a mark in it.
pub(crate) fn has_mark(text: &str) -> bool {
    text.contains(EDGE)
}

/// The first mark of a text, with what is before and behind it.
fn next_mark(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let start = from + text[from..].find(EDGE)?;
        let inside = start + EDGE.len_utf8();
        let end = inside + text[inside..].find(EDGE)?;
        if text[inside..end].starts_with("secret:") {
            let end = end + EDGE.len_utf8();
            return Some((&text[..start], &text[start..end], &text[end..]));
        }
        // The next one may begin where this would end.
        from = end;
    }
}

/// Inputs whose secrets are found from anywhere.
pub(crate) fn absolute(
    manifest: &Manifest,
    mut inputs: BTreeMap<String, Value>,
    source: &dyn SecretSource,
) -> BTreeMap<String, Value> {
    inputs::change_references(manifest, &mut inputs, |_, reference| source.absolute(reference));
    inputs
}

/// Why secrets are kept from steps of the plan that they would be given to.
pub(crate) fn kept_from(
    plan: &Plan,
    inputs: &BTreeMap<String, Value>,
    source: &dyn SecretSource,
) -> Vec<String> {
    let references = inputs::secrets(plan.manifest(), inputs);
    let mut kept = vec![];
    for step in plan.steps() {
        for name in inputs::secrets_of(plan.manifest(), inputs, step) {
            let told = references.get(&name).map_or(Ok(()), |at| source.is_for(at, &step.uses));
            kept.extend(told.err().map(|why| {
                format!("the secret `{name}` is not for step `{}`: {}", step.id, in_sentence(&why))
            }));
        }
    }
    kept
}

async fn find(
    deps: &Deps,
    manifest: &Manifest,
    inputs: &BTreeMap<String, Value>,
    told: &Found,
) -> Found {
    let secret = async |(name, reference): (String, String)| {
        let value = match told.get(&name) {
            Some(value) => value.clone(),
            None => value_of(deps, &reference).await,
        };
        let value = value.and_then(|value| match value.len() {
            len if len < SECRET_BYTES_MIN => Err(format!(
                "{reference} has {len} bytes; fewer than {SECRET_BYTES_MIN} can't be told from \
                 other text and kept out of logs"
            )),
            len if len > SECRET_BYTES_MAX => Err(format!(
                "{reference} has {len} bytes; no call takes more than {SECRET_BYTES_MAX}"
            )),
            _ => Ok(value),
        });
        (name, value)
    };
    join_all(inputs::secrets(manifest, inputs).into_iter().map(secret)).await.into_iter().collect()
}

/// What a reference leads to: a file may be a pipe, and a program may ask another machine.
async fn value_of(deps: &Deps, reference: &str) -> Result<String, String> {
    let (source, asked) = (Arc::clone(&deps.secrets), reference.to_owned());
    let asked = deps.clock.in_thread(ASKED_MAX, move || source.resolve(&asked)).await;
    asked.unwrap_or_else(|why| match why {
        GivenUp::Late => Err(format!("{reference} told nothing for {ASKED_MAX:?}")),
        GivenUp::NoThread(why) => Err(format!("{reference} can't be asked: {why}")),
        GivenUp::Panicked => Err(format!("a defect of Stepback: asking for {reference} panicked")),
    })
}

/// What a command printed before an operation's secrets are known, without these: each with its
/// name.
pub fn without_secrets(text: String, secrets: &[(String, String)], key: &Key) -> String {
    let known = secrets.iter().filter(|(_, value)| value.len() >= SECRET_BYTES_MIN);
    let found = known.map(|(name, value)| (name.clone(), Ok(value.clone()))).collect();
    let seals = Seals::by_key(key, StoreId(String::new()));
    Secrets::of(found, vec![], seals).redact_printed(text)
}

impl Secrets {
    /// Fetch the value behind each secret input of a new operation.
    ///
    /// # Errors
    /// Every secret that can't be had, and why.
    pub(crate) async fn resolve(
        deps: &Deps,
        manifest: &Manifest,
        inputs: &BTreeMap<String, Value>,
        seals: Seals,
    ) -> Result<Self, Vec<String>> {
        let found = find(deps, manifest, inputs, &Found::new()).await;
        let told = |(name, value): (&String, &Result<String, String>)| {
            value.as_ref().err().map(|why| format!("secret `{name}`: {why}"))
        };
        let missing: Vec<String> = found.iter().filter_map(told).collect();
        if missing.is_empty() { Ok(Self::of(found, vec![], seals)) } else { Err(missing) }
    }

    /// Fetch the secrets of an operation that began with these fingerprints; one that is gone or
    /// another by now is missing. `is_told` says whether the journal has a text in the clear.
    pub(crate) async fn again(
        deps: &Deps,
        manifest: &Manifest,
        inputs: &BTreeMap<String, Value>,
        seals: Seals,
        began_with: &BTreeMap<String, String>,
        told: &Found,
        is_told: impl Fn(&str) -> bool,
    ) -> Self {
        let mut found = find(deps, manifest, inputs, told).await;
        let mut also = vec![];
        for (name, value) in &mut found {
            let fits = |value: &String| match began_with.get(name) {
                Some(fingerprint) => seals.fits(name, value, fingerprint),
                None => Fits::No,
            };
            let another = match value.as_ref().map(fits) {
                Ok(Fits::No) => Some("it is not the one that the operation began with"),
                Ok(Fits::CantTell) => Some(
                    "nobody can say whether it is the one that the operation began with: the key \
                     that tells (`secrets.key`, or what `secrets_key` names) is gone, or another \
                     one is in its place",
                ),
                Ok(Fits::Yes) | Err(_) => None,
            };
            if let Some(another) = another.map(str::to_owned) {
                // Nobody may read that one either, unless it is a piece of what the journal tells
                // anyway: hidden there, nothing would be as it was.
                if let Ok(value) = std::mem::replace(value, Err(another))
                    && !is_told(&value)
                {
                    also.push((format!("{name}#another"), value));
                }
            }
        }
        Self::of(found, also, seals)
    }

    /// The same, with what [`met::in_world`] found of those that are missing: they are kept out of
    /// everything, and what undoes by them can be done. Going forward they are missing still.
    pub(crate) fn with_met(self, met: BTreeMap<String, String>) -> Self {
        let missing = self.missing.clone();
        let mut texts = self.texts;
        for (name, value) in &met {
            texts.extend(match missing.contains_key(name) {
                true => texts_of(name, value),
                // The mark without more is its new value's.
                false => texts_of(&format!("{name}#before"), value),
            });
        }
        let mut secrets = Self::to_look_for(texts, self.fingerprints, missing, self.seals);
        secrets.unmet = self.unmet;
        secrets.unmet.are_met(met.keys());
        secrets
    }

    /// The same, with the fingerprints of the values that secrets have had: one that is gone, or
    /// has another since, may stand anywhere in the world still.
    pub(crate) fn having_had(mut self, known: BTreeMap<String, Vec<String>>) -> Self {
        let is_it = |name: &String, print: &String| {
            let value = self.marks.get(&secret_placeholder(name));
            value.is_some_and(|value| self.seals.fits(name, value, print) == Fits::Yes)
        };
        let others = known.into_iter().map(|(name, mut prints)| {
            prints.retain(|print| !is_it(&name, print));
            (name, prints)
        });
        let others = others.filter(|(_, prints)| !prints.is_empty()).collect();
        self.unmet = Unmet::of(others, &self.missing, &self.seals);
        self
    }

    /// Of an operation that has none: it seals all the same.
    pub(crate) fn none(seals: Seals) -> Self {
        Self::of(Found::new(), vec![], seals)
    }

    fn of(found: Found, also: Vec<(String, String)>, seals: Seals) -> Self {
        let mut texts: Vec<(String, String)> =
            also.iter().flat_map(|(name, value)| texts_of(name, value)).collect();
        let mut missing = BTreeMap::new();
        let mut fingerprints = BTreeMap::new();
        for (name, value) in found {
            match value {
                Ok(value) => {
                    texts.extend(texts_of(&name, &value));
                    let fingerprint = seals.fingerprint(&name, &value);
                    fingerprints.insert(name, fingerprint);
                }
                Err(why) => {
                    missing.insert(name, why);
                }
            }
        }
        Self::to_look_for(texts, fingerprints, missing, seals)
    }

    fn to_look_for(
        texts: Vec<(String, String)>,
        fingerprints: BTreeMap<String, String>,
        mut missing: BTreeMap<String, String>,
        seals: Seals,
    ) -> Self {
        let marks = texts.iter().map(|(text, mark)| (mark.clone(), text.clone())).collect();
        let patterns = texts.iter().map(|(text, _)| text);
        let bytes: usize = texts.iter().map(|(text, _)| text.len()).sum();
        // What is fastest takes a table for each byte that there is.
        let kind = (bytes > LOOKED_FOR_FAST_MAX).then_some(AhoCorasickKind::ContiguousNFA);
        let builder = AhoCorasick::builder().match_kind(MatchKind::Standard).kind(kind).clone();
        let finder = builder.build(patterns);
        // One that can't be looked for is given to nobody.
        let unknown = finder.as_ref().err().map(|why| format!("it can't be looked for: {why}"));
        let all = fingerprints.keys().cloned();
        missing
            .extend(unknown.into_iter().flat_map(|why| all.clone().map(move |n| (n, why.clone()))));
        let finder = finder.ok().filter(|_| !texts.is_empty());
        let pieces = Pieces::new(texts.iter().map(|(text, _)| text.as_str()));
        let parts = texts.iter().map(|(_, mark)| is_of_a_part(mark)).collect();
        let (printed, unmet) = (Printed::default(), Unmet::named(missing.keys()));
        Self { texts, parts, finder, pieces, marks, fingerprints, missing, unmet, seals, printed }
    }

    /// What the key is known by that seals are made with.
    pub(crate) fn key_id(&self) -> &str {
        self.seals.key_id()
    }

    /// A fingerprint of each, by which a resume knows them again (R14).
    pub(crate) fn fingerprints(&self) -> BTreeMap<String, String> {
        self.fingerprints.clone()
    }

    /// The secrets that can't be had, and why.
    pub(crate) fn missing(&self) -> &BTreeMap<String, String> {
        &self.missing
    }

    pub(crate) fn are_none(&self) -> bool {
        self.texts.is_empty() && self.missing.is_empty() && self.unmet.are_none()
    }

    /// The call as the provider is given it.
    ///
    /// # Errors
    /// If it needs a secret that is missing, or holds a piece of a mark.
    pub(crate) fn reveal(&self, call: &Call) -> Result<Call, Failure> {
        if self.are_none() {
            return Ok(call.clone());
        }
        let revealed = call.map_texts(&|text| self.reveal_text(text));
        match revealed.texts().into_iter().find(|text| text.contains(EDGE)) {
            None => Ok(revealed),
            Some(text) => Err(self.can_not_reveal(call.function(), &text)),
        }
    }

    fn can_not_reveal(&self, function: &str, text: &str) -> Failure {
        let is_in = |name: &&String| text.contains(&secret_placeholder(name));
        match self.missing.iter().find(|(name, _)| is_in(name)) {
            Some((name, why)) => {
                let message = format!("{function} needs the secret `{name}`, and {why}");
                Failure::new(FailureClass::Precondition, message).with_code("secret-missing")
            }
            None => {
                let message = format!(
                    "{function}: an argument holds a piece of what stands for a secret; a secret \
                     can only be passed on whole"
                );
                Failure::new(FailureClass::InvalidInput, message).with_code("broken-secret")
            }
        }
    }

    /// What a resource is called in the world.
    ///
    /// # Errors
    /// If its name needs a secret that is missing.
    pub(crate) fn reveal_resource(&self, resource: &Resource) -> Result<Resource, Failure> {
        if self.are_none() {
            return Ok(resource.clone());
        }
        let revealed = resource.map_texts(&|text| self.reveal_text(text));
        match revealed.to_string().contains(EDGE) {
            false => Ok(revealed),
            true => Err(self.can_not_reveal("its name", &revealed.to_string())),
        }
    }

    /// The call with every mark revealed whose secret is known. What is found by its stamp needs
    /// only names, so a lost answer may be settled by it although a secret is missing.
    pub(crate) fn reveal_known(&self, call: &Call) -> Call {
        call.map_texts(&|text| self.reveal_text(text))
    }

    fn reveal_text(&self, text: &str) -> String {
        let mut revealed = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find(EDGE) {
            let inside = &rest[start + EDGE.len_utf8()..];
            let Some(len) = inside.find(EDGE) else { break };
            let mark = &rest[start..start + len + 2 * EDGE.len_utf8()];
            revealed.push_str(&rest[..start]);
            let met = || self.unmet.stands_for(mark).map(Cow::Owned);
            match self.stands_for(mark).map(Cow::Borrowed).or_else(met) {
                Some(text) => {
                    revealed.push_str(&text);
                    rest = &rest[start + mark.len()..];
                }
                // Not a mark of ours; the next one may begin where it ends.
                None => {
                    revealed.push_str(&rest[start..start + EDGE.len_utf8() + len]);
                    rest = &rest[start + EDGE.len_utf8() + len..];
                }
            }
        }
        revealed + rest
    }

    fn stands_for(&self, mark: &str) -> Option<&str> {
        if let Some(text) = self.marks.get(mark) {
            return Some(text);
        }
        // The first bytes of one, `secret:NAME<N#PROOF`, or the last: `secret:NAME>N#PROOF`.
        let inside = mark.strip_prefix(EDGE)?.strip_suffix(EDGE)?;
        let (cut, proof) = inside.rsplit_once('#')?;
        let at = cut.rfind(Side::ALL.map(Side::sign))?;
        let side = Side::ALL.into_iter().find(|side| cut[at..].starts_with(side.sign()))?;
        let whole = self.marks.get(&format!("{EDGE}{}{EDGE}", &cut[..at]))?;
        // Whoever wrote it himself would be told as much of a secret as he likes.
        let piece = side.of(whole, cut[at + 1..].parse().ok()?)?;
        self.seals.proves(cut, piece, proof).then_some(piece)
    }
}

#[cfg(test)]
mod tests;
