//! How an effect is taken back, by what was seen of the world.

use super::Call;
use crate::resource::{Facts, Resource};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How an effect is taken back; the journal holds it as the answer to `effects.reverse`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reversal", content = "detail", rename_all = "kebab-case")]
pub enum Reversal {
    /// The world is as it was before, or the effect never happened.
    NothingToDo,
    /// Make these calls, in this order.
    Calls(Vec<Call>),
    /// It stays, and why that is harmless.
    Kept(String),
    /// It can't be taken back, and why.
    Cannot(String),
}

impl Reversal {
    /// One call takes it back.
    pub(super) fn one(call: impl Into<Call>) -> Self {
        Reversal::Calls(vec![call.into()])
    }

    /// A fact that it takes was not seen before the effect.
    pub(super) fn unread(undo: &Undo<'_>, fact: &str) -> Self {
        let resource = undo.resource;
        Reversal::Cannot(format!("what `{fact}` of {resource} was before is not known"))
    }
}

/// What is known when an effect is to be taken back.
pub struct Undo<'a> {
    /// What it mainly changed.
    pub resource: &'a Resource,
    /// That resource before the effect.
    pub before: &'a Facts,
    /// As it was read for this reversal.
    pub now: &'a Facts,
    /// Whether the resource is now as the effect leaves it; else it is as it was before.
    pub is_done: bool,
    /// Whether it is not known if the effect was made: its request may still be on its way.
    pub is_unknown: bool,
    /// The other resources that changed with it.
    pub others: Vec<Other<'a>>,
}

/// A resource that an effect changed beside the main one.
pub struct Other<'a> {
    /// Such as a container of a host that the effect stopped.
    pub resource: &'a Resource,
    /// As it was before the effect.
    pub before: &'a Facts,
    /// `None` where it was not looked at.
    pub now: Option<&'a Facts>,
}

type Work<'a> = Box<dyn Fn(&Undo<'_>) -> Reversal + 'a>;

/// What takes an effect back.
pub enum Inverse<'a> {
    /// Nothing does.
    None,
    /// This, where the world is as the effect left it.
    OfDone(Work<'a>),
    /// This, even where the main resource is as it was before.
    OfAny(Work<'a>),
}

impl<'a> Inverse<'a> {
    /// An inverse where the world is as the effect left it.
    pub(super) fn of_done(work: impl Fn(&Undo<'_>) -> Reversal + 'a) -> Self {
        Inverse::OfDone(Box::new(work))
    }

    /// An inverse that is asked for even where the main resource is as it was before.
    pub(super) fn of_any(work: impl Fn(&Undo<'_>) -> Reversal + 'a) -> Self {
        Inverse::OfAny(Box::new(work))
    }

    /// One call takes it back, whatever was there before.
    pub(super) fn call<C: Into<Call>>(call: impl Fn() -> C + 'a) -> Self {
        Self::of_done(move |_| Reversal::one(call()))
    }
}

pub(super) fn text<'a>(facts: &'a Facts, name: &str) -> Option<&'a str> {
    facts.get(name).and_then(Value::as_str)
}

/// What a tag was before.
pub(super) fn tag(before: &Facts, key: &str) -> Option<String> {
    before.get("tags")?.get(key)?.as_str().map(str::to_owned)
}

/// What it created is not there by any name.
pub(super) fn nameless(undo: &Undo<'_>) -> Reversal {
    Reversal::Cannot(format!("what {} became is not known", undo.resource))
}
