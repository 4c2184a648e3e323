//! What tells one way of going on from another.

use serde_json::Value;
use std::hash::{DefaultHasher, Hash, Hasher};
use stepback_core::event::Record;
use stepback_simulated::world::World;

/// What tells one way of going on from another: what happened, and how the world is; not when,
/// and not in which words. It is known of each beginning of a journal.
#[derive(Clone, Default)]
pub(crate) struct Digest(Vec<DefaultHasher>);

impl Digest {
    /// Of a journal; `begin` is one that it begins with.
    pub fn of(begin: Option<&Self>, records: &[Record]) -> Self {
        let mut all = begin.map_or_else(Vec::new, |begin| begin.0.clone());
        all.truncate(records.len());
        let mut hash = all.last().cloned().unwrap_or_default();
        for record in &records[all.len()..] {
            let mut event = serde_json::to_value(&record.event).unwrap_or_default();
            without_times_and_words(&mut event);
            event.to_string().hash(&mut hash);
            all.push(hash.clone());
        }
        Self(all)
    }

    /// The same of so many records.
    pub fn of_first(&self, count: usize) -> Self {
        Self(self.0[..count.min(self.0.len())].to_vec())
    }

    /// With how the world is in the end.
    pub fn with_world(&self, world: &World) -> u64 {
        let mut hash = self.0.last().cloned().unwrap_or_default();
        world.restorable().hash(&mut hash);
        hash.finish()
    }
}

/// What differs between cases that are alike.
const TIMES_AND_WORDS: [&str; 10] = [
    "at",
    "dead_ms",
    "downtime_ms",
    "hint",
    "message",
    "not_before",
    "paused_ms",
    "since",
    "undo_error",
    "why",
];

fn without_times_and_words(value: &mut Value) {
    match value {
        Value::Object(map) => {
            TIMES_AND_WORDS.iter().for_each(|name| {
                map.remove(*name);
            });
            map.values_mut().for_each(without_times_and_words);
        }
        Value::Array(list) => list.iter_mut().for_each(without_times_and_words),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
