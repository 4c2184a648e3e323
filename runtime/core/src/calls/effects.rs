//! Taking back what was done.

use super::entry::Entry;
use super::functions;
use crate::interface::Interface;

functions! {
    /// A call about an operation's own effects.
    EffectsCall of Interface::Effects {
        Reverse "effects.reverse" { effect: String },
    }
}

impl EffectsCall {
    /// What is to be known of it. What a reversal does is done by the calls that it makes.
    pub(super) fn entry(&self) -> Entry<'_> {
        match self {
            EffectsCall::Reverse { .. } => Entry::read(None),
        }
    }
}
