//! Taking secrets out of what comes back: marks in place of values, seals in place of facts.

use super::pieces::{Piece, Side};
use super::{EDGE, Secrets, next_mark, printed};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use stepback_core::expr::secret_placeholder;
use stepback_core::shown::marks_in_words;
use stepback_core::texts::MapTexts;
use stepback_core::{Call, Facts, Failure};
use stepback_provider::decoded::{self, Decoded};
use stepback_provider::passwords::{CUT_BYTES_MIN, Declared, Text};

/// What the name ends with in the mark of a secret that a step told.
pub(super) const TOLD: &str = "#told";
/// How the labels begin that only the program gives.
const OWN_LABELS: &str = "stepback.";
/// The fields of answers that are maps, so that their keys are data.
const MAPS: [&str; 4] = ["tags", "options", "labels", "env"];

/// The facts, and fields of answers, whose values are the contract's own words: decisions are made
/// by them, and a secret that is called like one of them is none.
const WORDS: [&str; 4] = ["state", "restart", "health", "protocol"];

/// What those fields of answers say: no more than the enumerations of the contract.
const OWN_WORDS: [&str; 33] = [
    "pending",
    "running",
    "shutting-down",
    "terminated",
    "stopping",
    "stopped",
    "creating",
    "available",
    "in-use",
    "deleting",
    "deleted",
    "error",
    "completed",
    "recoverable",
    "recovering",
    "created",
    "paused",
    "restarting",
    "removing",
    "exited",
    "dead",
    "none",
    "starting",
    "healthy",
    "unhealthy",
    "tcp",
    "udp",
    "sctp",
    "no",
    "always",
    "on-failure",
    "unless-stopped",
    "unknown",
];

/// A secret in a text, or what another one that it overlaps left of it.
struct Found {
    start: usize,
    end: usize,
    /// The text it is of, by its number.
    of: usize,
    is_whole: bool,
    /// Of a piece, which one it is.
    side: Option<Side>,
    /// Whether it is of others as well, so that nobody can put it back.
    is_several: bool,
    /// Whether it is written in some way that nobody can write it in again.
    is_written: bool,
}

/// What was found, the longer ones first of those that begin together, so that none overlaps
/// another: a shorter one inside a longer is the longer one, also where that is a piece.
fn apart(all: Vec<Found>) -> Vec<Found> {
    let mut apart: Vec<Found> = vec![];
    for mut found in all {
        match apart.last_mut() {
            Some(last) if found.end <= last.end => {}
            // Of a piece it is told where the longer one ends.
            Some(last) if found.start < last.end && last.side.is_some() => {
                (last.end, last.is_several) = (found.end, true);
            }
            // Of a whole one the rest of the other goes by itself.
            Some(last) if found.start < last.end => {
                (found.start, found.is_whole) = (last.end, false);
                found.is_several = found.side.is_some();
                apart.push(found);
            }
            _ => apart.push(found),
        }
    }
    apart
}

fn is_own_word(value: &Value) -> bool {
    value.as_str().is_some_and(|word| OWN_WORDS.contains(&word))
}

impl Secrets {
    /// A text with no secret's value in it, no part of one, and no piece that a cut left.
    #[cfg(test)]
    pub(super) fn redact_text(&self, text: String) -> String {
        self.redact_printed(text)
    }

    /// A text that a guest wrote, or could have written and read back, with no secret's value in
    /// it. Parts and pieces are not looked for: whether what it thought up is one would tell it a
    /// secret letter by letter.
    pub(crate) fn redact_written(&self, text: String) -> String {
        self.redact_but_own(text, None)
    }

    /// With parts and pieces looked for or not, but for those that somebody's own texts have.
    fn redact_but_own(&self, text: String, own: Option<&[String]>) -> String {
        let text = self.unmet.taken_out_of(text);
        let (mut redacted, mut at) = (String::with_capacity(text.len()), 0);
        for found in self.found_in(&text, own) {
            redacted.push_str(&text[at..found.start]);
            redacted.push_str(&self.mark_of(&found, &text));
            at = found.end;
        }
        redacted.push_str(&text[at..]);
        redacted
    }

    /// What is found in a text, none over another.
    fn found_in(&self, text: &str, own: Option<&[String]>) -> Vec<Found> {
        let Some(finder) = &self.finder else { return vec![] };
        let is_told = |start: usize, end: usize, of: usize| {
            !self.parts[of]
                || own.is_some_and(|own| !own.iter().any(|one| one.contains(&text[start..end])))
        };
        let whole = |start: usize, end: usize, of: usize, is_written: bool| Found {
            start,
            end,
            of,
            is_whole: true,
            side: None,
            is_several: false,
            is_written,
        };
        let matches = finder.find_overlapping_iter(text);
        let all = matches.map(|one| whole(one.start(), one.end(), one.pattern().as_usize(), false));
        let mut all: Vec<Found> = all.collect();
        // As it is, it is known already.
        let known: BTreeSet<(usize, usize)> = all.iter().map(|one| (one.start, one.end)).collect();
        let ways = decoded::ways(text);
        for way in &ways {
            for one in finder.find_overlapping_iter(way.bytes()) {
                let (start, end) = way.written(one.start(), one.end());
                // Of half a character nobody can take anything.
                let is_all = text.is_char_boundary(start) && text.is_char_boundary(end);
                if is_all && !known.contains(&(start, end)) {
                    all.push(whole(start, end, one.pattern().as_usize(), true));
                }
            }
        }
        all.retain(|one| is_told(one.start, one.end, one.of));
        all.extend(own.into_iter().flat_map(|own| self.pieces_in(text, &ways, own)));
        all.sort_by_key(|found| (found.start, std::cmp::Reverse(found.end), !found.is_whole));
        apart(all)
    }

    /// What a cut left of a secret, but for what is no news to whoever wrote it.
    ///
    /// A whole one may lie within it: it is looked for in all of the text.
    fn pieces_in(&self, text: &str, ways: &[Decoded], own: &[String]) -> Vec<Found> {
        let is_long = text.len() >= CUT_BYTES_MIN;
        let found = |piece: Piece, (start, end), is_written| Found {
            start,
            end,
            of: piece.of,
            is_whole: false,
            side: Some(piece.side),
            is_several: false,
            is_written,
        };
        let in_text = |among: &[u8]| self.pieces.find(&self.texts, among, (is_long, is_long));
        let plain = in_text(text.as_bytes()).into_iter();
        let mut all: Vec<Found> = plain
            .map(|piece| {
                let at = (piece.start, piece.end);
                found(piece, at, false)
            })
            .collect();
        for way in ways {
            for piece in in_text(way.bytes()) {
                let (start, end) = way.written(piece.start, piece.end);
                let is_known = all.iter().any(|one| one.start <= start && end <= one.end);
                if !is_known && text.is_char_boundary(start) && text.is_char_boundary(end) {
                    all.push(found(piece, (start, end), true));
                }
            }
        }
        let is_own = |one: &Found| own.iter().any(|own| own.contains(&text[one.start..one.end]));
        all.retain(|one| !is_own(one));
        all
    }

    fn mark_of(&self, found: &Found, text: &str) -> String {
        let mark = &self.texts[found.of].1;
        if found.is_written {
            // Two ways to write it are two marks.
            let cut = format!("{}~{}", mark.trim_matches(EDGE), found.end - found.start);
            let proof = self.seals.proof(&cut, &text[found.start..found.end]);
            return format!("{EDGE}{cut}#{proof}{EDGE}");
        }
        if found.is_whole {
            return mark.clone();
        }
        let sign = found.side.unwrap_or(Side::End).sign();
        let cut = format!("{}{sign}{}", mark.trim_matches(EDGE), found.end - found.start);
        if found.is_several {
            return format!("{EDGE}{cut} and others{EDGE}");
        }
        let proof = self.seals.proof(&cut, &text[found.start..found.end]);
        format!("{EDGE}{cut}#{proof}{EDGE}")
    }

    /// What a step is given, for people, with no secret's value in it.
    pub(crate) fn redact_given(&self, with: Value) -> Value {
        self.redact_by(with, &|text| self.redact_written(text))
    }

    /// A value with no secret's value in it; the keys of records are the contract's and stay.
    fn redact_by(&self, value: Value, redacted: &dyn Fn(String) -> String) -> Value {
        if self.are_none() {
            return value;
        }
        match value {
            Value::String(text) => Value::String(redacted(text)),
            Value::Array(list) => {
                list.into_iter().map(|item| self.redact_by(item, redacted)).collect()
            }
            Value::Object(record) => {
                let field = |(name, item): (String, Value)| match name.as_str() {
                    word if WORDS.contains(&word) && is_own_word(&item) => (name, item),
                    map if MAPS.contains(&map) => {
                        (name, item.map_texts(&|text| redacted(text.to_owned())))
                    }
                    _ => (name, self.redact_by(item, redacted)),
                };
                record.into_iter().map(field).collect()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value,
        }
    }

    /// A step's output as the journal and later steps may have it, keys included but for those
    /// that its plugin's schema names. A mark in it stands for nothing that a later step is given:
    /// only what a step's own `with` mentions is put in.
    pub(crate) fn of_output(&self, output: Value, schema: &Value) -> Value {
        if self.are_none() {
            return output;
        }
        let names = self.fingerprints.keys().chain(self.missing.keys());
        let told: Vec<(String, String)> = names
            .map(|name| (secret_placeholder(name), secret_placeholder(&format!("{name}{TOLD}"))))
            .collect();
        let mut names = BTreeSet::new();
        named_in(schema, &mut names);
        self.redact_but(output, &names).map_texts(&|text| {
            let (mut whole, mut rest) = (String::with_capacity(text.len()), text);
            // No piece of a mark is left, from which a later step's text could make a whole one.
            let replaced = char::REPLACEMENT_CHARACTER.to_string();
            let plain = |text: &str| text.replace(EDGE, &replaced);
            while let Some((before, mark, after)) = next_mark(rest) {
                whole.push_str(&plain(before));
                let known = told.iter().find(|(known, _)| known == mark);
                whole.push_str(known.map_or(mark, |(_, told)| told));
                rest = after;
            }
            whole + &plain(rest)
        })
    }

    fn redact_but(&self, value: Value, names: &BTreeSet<&str>) -> Value {
        match value {
            Value::String(text) => Value::String(self.redact_written(text)),
            Value::Array(list) => {
                list.into_iter().map(|item| self.redact_but(item, names)).collect()
            }
            Value::Object(record) => {
                let field = |(name, item): (String, Value)| {
                    let is_named = names.contains(name.as_str());
                    let name = if is_named { name } else { self.redact_written(name) };
                    (name, self.redact_but(item, names))
                };
                record.into_iter().map(field).collect()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value,
        }
    }

    /// The answer to a call with no secret's value in it, and nothing that could be taken for what
    /// stands for one: whoever can write a tag must not get a secret by it. Labels are sealed as
    /// among facts, since a container has them from whoever made it.
    ///
    /// Only what commands print is cut, and has parts and pieces of secrets in it; a tag, or an
    /// option, is as somebody wrote it, this operation or another one.
    pub(crate) fn taken_in(&self, call: &Call, mut answer: Value) -> Value {
        self.seal_labels(&mut answer);
        if printed::is_print(call)
            && let Some(why) = self.withheld()
        {
            return printed::withheld(answer, &why);
        }
        if self.are_none() {
            return answer;
        }
        let replaced = char::REPLACEMENT_CHARACTER.to_string();
        let answer = answer.map_texts(&|text| text.replace(EDGE, &replaced));
        match printed::is_print(call) {
            false => self.redact_by(answer, &|text| self.redact_written(text)),
            true => {
                let own = self.printed.with(call);
                self.redact_by(answer, &|text| self.redact_but_own(text, Some(&own)))
            }
        }
    }

    /// Note an effect that is asked for, or was: what its command prints is the guest's own.
    pub(crate) fn note_asked(&self, call: &Call) {
        if self.finder.is_some() {
            self.printed.note(call);
        }
    }

    /// What is noted while a call is made. Parts and pieces are looked for where a command prints
    /// it; any other says names, which somebody may have given to try out a guess.
    pub(crate) fn redact_noted(&self, call: Option<&Call>, text: String) -> String {
        match call.filter(|call| printed::is_print(call)) {
            Some(call) => match self.withheld() {
                Some(why) => why,
                None if self.are_none() => text,
                None => self.redact_but_own(text, Some(&self.printed.with(call))),
            },
            None => self.redact_written(text),
        }
    }

    /// What a command printed that no guest of the operation ran.
    pub(super) fn redact_printed(&self, text: String) -> String {
        self.redact_but_own(text, Some(&[]))
    }

    /// Why nothing is told of what commands print: it may hold what nobody can take out of it.
    fn withheld(&self) -> Option<String> {
        let names = self.unmet.names();
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        let names = match names.as_slice() {
            [] => return None,
            [one] => format!("the secret {one}"),
            all => format!("the secrets {}", all.join(", ")),
        };
        Some(format!("not told: it may hold {names}, and nobody knows any more what to take out"))
    }

    fn seal_labels(&self, answer: &mut Value) {
        match answer {
            Value::Array(list) => list.iter_mut().for_each(|item| self.seal_labels(item)),
            Value::Object(record) => {
                let Some(Value::Object(labels)) = record.get_mut("labels") else { return };
                for (name, value) in labels {
                    if !name.starts_with(OWN_LABELS) {
                        *value = Value::String(self.seals.of_fact(value));
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// Why a call failed, or what a guest failed with, with no secret's value in it. It names what
    /// somebody may have called like a guess, and quotes nothing that a command printed: parts and
    /// pieces are not looked for.
    pub(crate) fn redact_failure(&self, mut failure: Failure) -> Failure {
        failure.message = self.redact_written(failure.message);
        failure.code = failure.code.map(|code| self.redact_written(code));
        failure
    }

    /// A call, or a resource, as the journal may hold it: whoever names it, and however much of the
    /// name is a secret's value, it has one name.
    pub(crate) fn canonical<T: MapTexts + Clone>(&self, named: &T) -> T {
        match self.are_none() {
            true => named.clone(),
            false => named.map_texts(&|text| self.redact_written(self.reveal_text(text))),
        }
    }

    /// The same as people read it: with a word for each secret, which no text is taken apart at.
    pub(crate) fn in_words<T: MapTexts + Clone>(&self, named: &T) -> T {
        let words = |text: &str| {
            let marked = self.redact_written(self.reveal_text(text));
            marks_in_words(&marked, |mark| mark).into_owned()
        };
        match self.are_none() {
            true => named.clone(),
            false => named.map_texts(&words),
        }
    }

    /// Facts as the journal may hold them: a container's environment and its command sealed, and
    /// its other options too, since labels, log options and health checks hold passwords as well.
    pub(crate) fn seal(&self, facts: Facts) -> Facts {
        let Facts::Present(mut map) = facts else { return self.canonical_facts(facts) };
        let words: BTreeMap<String, Value> =
            map.extract_if(.., |name, _| WORDS.contains(&name.as_str())).collect();
        for name in ["env", "config"] {
            let Some(Value::Object(values)) = map.get_mut(name) else { continue };
            for value in values.values_mut() {
                *value = Value::String(self.seals.of_fact(value));
            }
        }
        let command = map.get_mut("command").filter(|_| self.seals.covers_commands());
        // That there is none is no secret.
        if let Some(command) = command.filter(|command| **command != serde_json::json!([])) {
            *command = Value::String(self.seals.of_fact(command));
        }
        match self.canonical_facts(Facts::Present(map)) {
            Facts::Present(mut map) => {
                map.extend(words);
                Facts::Present(map)
            }
            other => other,
        }
    }

    fn canonical_facts(&self, facts: Facts) -> Facts {
        match self.are_none() {
            true => facts,
            // Put back, it would be taken for a mark.
            false if Self::are_hidden_in(&serde_json::json!(facts)) => {
                let why = "it holds what stands for secrets here, the character U+0001";
                Facts::Unknown(why.to_owned())
            }
            false => facts.map_texts(&|text| self.redact_written(text.to_owned())),
        }
    }

    /// Whether an answer holds marks.
    pub(crate) fn are_hidden_in(answer: &Value) -> bool {
        answer.texts().iter().any(|text| text.contains(EDGE))
    }
}

impl Declared for Secrets {
    fn marked(&self, text: &str) -> String {
        self.redact_written(text.to_owned())
    }

    fn places(&self, text: &str, what: Text) -> Vec<Range<usize>> {
        let mut met: Vec<Range<usize>> =
            self.unmet.met_by(text).iter().flat_map(|one| one.places(text, what)).collect();
        let own: &[String] = &[];
        let found = self.found_in(text, (what == Text::Printed).then_some(own));
        met.extend(found.into_iter().map(|one| one.start..one.end));
        met
    }
}

/// Every name that a schema gives to a part of a record.
fn named_in<'a>(schema: &'a Value, names: &mut BTreeSet<&'a str>) {
    match schema {
        Value::Array(list) => list.iter().for_each(|item| named_in(item, names)),
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get("properties") {
                names.extend(properties.keys().map(String::as_str));
            }
            map.values().for_each(|item| named_in(item, names));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
