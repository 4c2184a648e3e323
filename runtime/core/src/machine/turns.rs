//! Whose turn it is, of a step's instances of which only so many are under way at a time.

use crate::ids::*;
use std::collections::{BTreeMap, BTreeSet};

/// The instances of each such step, by the order in which they come.
#[derive(Clone, Debug)]
pub(super) struct Turns<Order> {
    steps: BTreeMap<StepId, Step<Order>>,
    /// The steps in which somebody's turn has come.
    due: BTreeSet<StepId>,
}

#[derive(Clone, Debug)]
struct Step<Order> {
    at_most: usize,
    waiting: BTreeSet<(Order, StepKey)>,
    going: BTreeSet<StepKey>,
}

impl<Order> Default for Turns<Order> {
    fn default() -> Self {
        Self { steps: BTreeMap::new(), due: BTreeSet::new() }
    }
}

impl<Order: Ord + Copy> Turns<Order> {
    /// An instance waits for its turn.
    pub(super) fn wait(&mut self, key: &StepKey, at_most: usize, order: Order) {
        let step = self.step(key, at_most);
        step.going.remove(key);
        step.waiting.insert((order, key.clone()));
        self.note_due(&key.step);
    }

    /// An instance is under way.
    pub(super) fn go(&mut self, key: &StepKey, at_most: usize, order: Order) {
        let step = self.step(key, at_most);
        step.waiting.remove(&(order, key.clone()));
        step.going.insert(key.clone());
        self.note_due(&key.step);
    }

    /// An instance is over, or not to come.
    pub(super) fn end(&mut self, key: &StepKey, order: Order) {
        if let Some(step) = self.steps.get_mut(&key.step) {
            step.going.remove(key);
            step.waiting.remove(&(order, key.clone()));
            self.note_due(&key.step);
        }
    }

    /// The instance whose turn it is, the first in order of its step.
    pub(super) fn next(&self) -> Option<(Order, &StepKey)> {
        let step = self.steps.get(self.due.first()?)?;
        step.waiting.first().map(|(order, key)| (*order, key))
    }

    fn step(&mut self, key: &StepKey, at_most: usize) -> &mut Step<Order> {
        let (waiting, going) = (BTreeSet::new(), BTreeSet::new());
        let new = || Step { at_most, waiting, going };
        self.steps.entry(key.step.clone()).or_insert_with(new)
    }

    fn note_due(&mut self, id: &StepId) {
        let Some(step) = self.steps.get(id) else { return };
        match !step.waiting.is_empty() && step.going.len() < step.at_most {
            true => drop(self.due.insert(id.clone())),
            false => drop(self.due.remove(id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_go_at_a_time_and_in_order() {
        let key = |key: &str| StepKey { step: "a".into(), key: Some(EachKey(key.to_owned())) };
        let mut turns: Turns<u8> = Turns::default();
        for (order, name) in ["z", "y", "x"].iter().enumerate() {
            turns.wait(&key(name), 2, order as u8);
        }
        let mut went = vec![];
        while let Some((order, next)) = turns.next() {
            let next = next.clone();
            turns.go(&next, 2, order);
            went.push(next);
        }
        assert_eq!(went, [key("z"), key("y")]);
        turns.end(&key("y"), 1);
        assert_eq!(turns.next(), Some((2, &key("x"))));
        turns.end(&key("x"), 2);
        assert_eq!(turns.next(), None);
    }
}
