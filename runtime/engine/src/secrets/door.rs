//! The door of one step's guests: handles of secrets go in, and come out again only where a secret
//! may be put.
//!
//! A handle stands for one secret, for one step of one operation. It is made by a key that is in no
//! journal, so that a replay sees the same one and nobody can guess another. A guest may pass it
//! on, among other text, to a *sink* of a host function ([`Sink`]); there it becomes the mark that
//! the journal holds, which is revealed at the provider's door. Any other call that holds one is
//! refused before it is made, and so is whatever a guest could have had from somewhere else: the
//! handle of another step, or a mark.

use super::{EDGE, next_mark};
use serde_json::Value;
use std::collections::BTreeSet;
use stepback_core::calls::{ArgumentPlace, Sink};
use stepback_core::expr::secret_placeholder;
use stepback_core::texts::MapTexts;
use stepback_core::{Call, Failure, FailureClass, OperationId, StepKey, StoreId};
use stepback_files::key::Key;

/// What a handle begins with, so that what is none of this step's is told from other text.
const PREFIX: &str = stepback_core::shown::HANDLE_BEGINS;
/// 128 bits of it follow, in hexadecimal digits.
const HANDLE_BYTES: usize = 16;
/// The code of a call that was refused here.
const REFUSED: &str = "secret-not-here";

/// A step's door.
#[derive(Clone)]
pub(crate) struct Door {
    /// Whether the operation has secrets at all: without them all text is text.
    guards: bool,
    handles: Vec<Handle>,
    /// Where else its manifest says that they may be revealed.
    reveal: Vec<Sink>,
}

#[derive(Clone)]
struct Handle {
    secret: String,
    text: String,
    mark: String,
}

/// A call as the journal has it, and why it is not made, if so.
pub(crate) struct LetOut {
    pub(crate) call: Call,
    pub(crate) refusal: Option<Failure>,
}

impl LetOut {
    /// The call, if it may be made.
    ///
    /// # Errors
    /// Why it may not.
    pub(crate) fn allowed(self) -> Result<Call, Failure> {
        self.refusal.map_or(Ok(self.call), Err)
    }
}

impl Door {
    /// Of a step in an operation without secrets.
    pub(crate) fn open() -> Self {
        Self { guards: false, handles: vec![], reveal: vec![] }
    }

    /// Of a step that these secrets are given to.
    pub(crate) fn new(
        key: &Key,
        given: BTreeSet<String>,
        reveal: Vec<Sink>,
        step: &StepKey,
        of: Option<(&StoreId, OperationId)>,
    ) -> Self {
        let of = match of {
            Some((store, operation)) => format!("{store}\0{}", operation.0),
            None => "check".to_owned(),
        };
        let handle = |secret: String| {
            // Of these only the step's key can have a zero byte in it, and nothing follows it.
            let seal = key.seal("handle", format!("{of}\0{secret}\0{step}").as_bytes());
            let text = format!("{PREFIX}{}", hex::encode(&seal[..HANDLE_BYTES]));
            Handle { text, mark: secret_placeholder(&secret), secret }
        };
        Self { guards: true, handles: given.into_iter().map(handle).collect(), reveal }
    }

    /// A step's `with` as its guest is given it.
    pub(crate) fn let_in(&self, with: &Value) -> Value {
        match self.handles.is_empty() {
            true => with.clone(),
            false => with.map_texts(&|text| self.put_in(text)),
        }
    }

    /// Mark by mark: what one ends with is not what another begins with.
    fn put_in(&self, text: &str) -> String {
        let (mut put_in, mut rest) = (String::with_capacity(text.len()), text);
        while let Some((before, mark, after)) = next_mark(rest) {
            put_in.push_str(before);
            let own = self.handles.iter().find(|one| one.mark == mark);
            put_in.push_str(own.map_or(mark, |one| &one.text));
            rest = after;
        }
        put_in + rest
    }

    /// A text of a guest's as the journal and people may have it.
    pub(crate) fn hide(&self, text: String) -> String {
        let hide = |text: String, one: &Handle| match text.contains(&one.text) {
            true => text.replace(&one.text, &one.mark),
            false => text,
        };
        self.handles.iter().fold(text, hide)
    }

    /// The same of everything in a value.
    pub(crate) fn hide_all(&self, value: Value) -> Value {
        match self.handles.is_empty() {
            true => value,
            false => value.map_texts(&|text| self.hide(text.to_owned())),
        }
    }

    /// What a guest asks for, as the journal has it.
    pub(crate) fn let_out(&self, call: &Call) -> LetOut {
        if !self.guards || !self.concerns(call) {
            return LetOut { call: call.clone(), refusal: None };
        }
        let mut refusal = None;
        let changed = call.map_places(&mut |place, text| {
            if let Some(why) = self.why_not(place, text) {
                refusal.get_or_insert_with(|| {
                    let place = self.hide(place.name.clone());
                    format!("{}: `{place}` holds {why}", call.function())
                });
            }
            self.hide(text.to_owned())
        });
        let refused = |why: String| {
            let why = format!("{why}; nothing was asked of the world");
            Failure::new(FailureClass::Denied, why).with_code(REFUSED)
        };
        match changed {
            Ok(changed) => LetOut { call: changed, refusal: refusal.map(refused) },
            Err(error) => LetOut { call: call.clone(), refusal: Some(refused(format!("{error}"))) },
        }
    }

    /// Whether a call holds anything that could stand for a secret.
    fn concerns(&self, call: &Call) -> bool {
        let is_odd = |text: &String| text.contains(EDGE) || text.contains(PREFIX);
        call.texts().iter().any(is_odd)
    }

    /// Why a text may not be where it is.
    fn why_not(&self, place: &ArgumentPlace, text: &str) -> Option<String> {
        if text.contains(EDGE) {
            let what = "a mark that the program puts in a secret's place (U+0001), and only what a \
                        step is given by its own `with` stands for a secret; where it comes from \
                        an answer, that had the secret's value in it by chance, and another value \
                        helps, which is no piece of a name";
            return Some(what.to_owned());
        }
        let mut rest = text;
        while let Some(at) = rest.find(PREFIX) {
            rest = &rest[at..];
            match self.handles.iter().find(|one| rest.starts_with(&one.text)) {
                Some(own) => {
                    if let Some(why) = self.not_in(place.sink, &own.secret) {
                        return Some(why);
                    }
                    rest = &rest[own.text.len()..];
                }
                None if is_handle(rest) => {
                    return Some("what stands for a secret of another step".to_owned());
                }
                None => rest = &rest[PREFIX.len()..],
            }
        }
        None
    }

    /// Why a secret of this step's own may not be put there.
    fn not_in(&self, sink: Option<Sink>, secret: &str) -> Option<String> {
        match sink {
            Some(Sink::Environment) => None,
            Some(Sink::Command) if self.reveal.contains(&Sink::Command) => None,
            Some(Sink::Command) => Some(format!(
                "the secret `{secret}`, and whoever may list processes or containers reads a \
                 command; a step that means it says `reveal = [\"command\"]`"
            )),
            None => Some(format!(
                "the secret `{secret}`, and a secret is put into the values of a container's \
                 environment alone"
            )),
        }
    }
}

/// Whether a text begins with a handle of anybody's.
fn is_handle(text: &str) -> bool {
    let digits = text.strip_prefix(PREFIX).unwrap_or_default().bytes().take(2 * HANDLE_BYTES);
    digits.filter(u8::is_ascii_hexdigit).count() == 2 * HANDLE_BYTES
}

#[cfg(test)]
mod tests;
