//! What a provider has to say while it makes an effect: lines and progress for the step's log.

use std::fmt;
use std::sync::Arc;

/// One thing said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A line that is worth knowing.
    Info(String),
    /// A line about what is not as it should be.
    Warn(String),
    /// How far something long is, in any unit: what counts is how much of the whole is done.
    Progress {
        /// What is under way, such as one layer of an image.
        text: String,
        /// How much of it is done.
        done: u64,
        /// How much it is altogether, if that is known.
        total: Option<u64>,
    },
}

/// Where it is said; by default nowhere.
#[derive(Clone, Default)]
pub struct Notes(Option<Arc<dyn Fn(Note) + Send + Sync>>);

impl Notes {
    /// Everything goes to this function.
    pub fn new(to: impl Fn(Note) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(to)))
    }

    /// Something worth knowing.
    pub fn info(&self, text: String) {
        self.say(Note::Info(text));
    }

    /// Something that is not as it should be.
    pub fn warn(&self, text: String) {
        self.say(Note::Warn(text));
    }

    /// How far something is.
    pub fn progress(&self, text: String, done: u64, total: Option<u64>) {
        self.say(Note::Progress { text, done, total });
    }

    fn say(&self, note: Note) {
        if let Some(to) = &self.0 {
            to(note);
        }
    }
}

impl fmt::Debug for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Notes")
    }
}
