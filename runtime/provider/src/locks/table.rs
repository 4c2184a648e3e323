//! Who may take which locks, and what is remembered of those who let go.

use super::{Freed, Holder, WorldLock};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use stepback_core::{Epoch, LockName, Seq, StoreId};

/// How many locks that were freed by hand are remembered.
const FREED_MAX: usize = 50;
/// How many operations that let go are.
const PAST_MAX: usize = 200;
/// So much is remembered of why.
const REASON_CHARS_MAX: usize = 1_000;

/// All of them, as they are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Table {
    pub(super) locks: BTreeMap<LockName, Holder>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) freed: Vec<Freed>,
    /// Who let go last, oldest first: a copy of a state directory may still want to go on with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    past: Vec<Past>,
}

/// An operation that let go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Past {
    key: StoreId,
    runner: Option<String>,
    epoch: Epoch,
    #[serde(default)]
    last_seq: Seq,
    place: Option<String>,
}

/// What came of an attempt to take locks.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Took {
    All,
    HeldBy(Box<WorldLock>),
    /// The operation went on from there, and this journal does not have it.
    WentOnAt(Option<String>),
}

impl Table {
    /// `is_gone` tells whether a holder's program is.
    pub(super) fn take(
        &mut self,
        names: &[LockName],
        holder: &Holder,
        ours: &[String],
        is_gone: impl Fn(&Holder) -> bool,
    ) -> Took {
        if let Some(place) = self.went_on_at(holder, &is_gone) {
            return Took::WentOnAt(place);
        }
        let is_ours = |held: &Holder| held.runner.as_ref().is_some_and(|name| ours.contains(name));
        let is_own = |held: &Holder| {
            held.key == holder.key
                && (held.runner == holder.runner
                    || held.epoch <= holder.epoch && (is_ours(held) || is_gone(held)))
        };
        let mut others = names.iter().filter_map(|name| self.locks.get_key_value(name));
        if let Some((name, held)) = others.find(|(_, held)| !is_own(held)) {
            let held = WorldLock { name: name.clone(), holder: held.clone() };
            return Took::HeldBy(Box::new(held));
        }
        for name in names {
            // Taken up elsewhere, it is held from there.
            self.locks.insert(name.clone(), holder.clone());
        }
        Took::All
    }

    /// From where the operation went on, if the taker's journal lacks what became of it there: it
    /// is a copy, however often it was tried since with a lease of its own.
    fn went_on_at(
        &self,
        holder: &Holder,
        is_gone: impl Fn(&Holder) -> bool,
    ) -> Option<Option<String>> {
        let past = self.past.iter().rev().find(|past| past.key == holder.key);
        let past = past.filter(|past| {
            past.last_seq > holder.last_seq
                || past.runner != holder.runner && past.epoch >= holder.epoch
        });
        if let Some(past) = past {
            return Some(past.place.clone());
        }
        let mut held = self.locks.values().filter(|held| held.key == holder.key);
        let further = held.find(|held| held.last_seq > holder.last_seq && is_gone(held));
        further.map(|held| held.place.clone())
    }

    /// `last_seq` is the operation's last event, where its journal can be read.
    pub(super) fn let_go(&mut self, last_seq: Option<Seq>, is_its: impl Fn(&Holder) -> bool) {
        let gone = self.locks.extract_if(.., |_, holder| is_its(holder)).next();
        self.locks.retain(|_, holder| !is_its(holder));
        if let Some((_, Holder { key, runner, epoch, last_seq: taken_at, place, .. })) = gone {
            let last_seq = last_seq.unwrap_or(taken_at);
            self.past.push(Past { key, runner, epoch, last_seq, place });
            let too_many = self.past.len().saturating_sub(PAST_MAX);
            self.past.drain(..too_many);
        }
    }

    pub(super) fn free(&mut self, mut freed: Freed) -> bool {
        if self.locks.get(&freed.name) != Some(&freed.holder) {
            return false;
        }
        self.locks.remove(&freed.name);
        freed.reason = freed.reason.chars().take(REASON_CHARS_MAX).collect();
        self.freed.push(freed);
        let too_many = self.freed.len().saturating_sub(FREED_MAX);
        self.freed.drain(..too_many);
        true
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use stepback_core::{OperationId, UnixMs};

    /// All programs are gone.
    pub(in super::super) fn gone(_: &Holder) -> bool {
        true
    }

    pub(in super::super) fn holder(key: &str) -> Holder {
        Holder {
            key: StoreId(key.to_owned()),
            store: StoreId("store".to_owned()),
            operation: OperationId(1),
            environment: "box".into(),
            place: None,
            host: "host".to_owned(),
            mounts: None,
            actor: "ann".to_owned(),
            runner: Some(format!("runner-{key}")),
            epoch: Epoch(1),
            last_seq: Seq(7),
            since: UnixMs(1),
        }
    }

    #[test]
    fn all_are_taken_or_none() {
        let (a, b): (LockName, LockName) = ("a".into(), "b".into());
        let mut table = Table::default();
        assert_eq!(table.take(std::slice::from_ref(&b), &holder("one"), &[], gone), Took::All);
        let taken = table.take(&[a.clone(), b.clone()], &holder("two"), &[], gone);
        let one = WorldLock { name: b.clone(), holder: holder("one") };
        assert_eq!(taken, Took::HeldBy(Box::new(one)));
        assert!(!table.locks.contains_key(&a), "none was taken");
        // Whoever has it already has it.
        assert_eq!(table.take(&[a, b], &holder("one"), &[], gone), Took::All);
        assert_eq!(table.locks.len(), 2);
    }

    /// A state directory and a copy of it, whose operations have one key.
    #[test]
    fn one_that_lives_elsewhere_under_the_same_key_is_somebody_else() {
        let names: [LockName; 1] = ["a".into()];
        let by = |runner: &str, epoch: u64| Holder {
            runner: Some(runner.to_owned()),
            epoch: Epoch(epoch),
            ..holder("one")
        };
        let lives = |_: &Holder| false;
        let ours = ["first".to_owned()];
        let table = [
            // The same runner takes more; one of the store that gave it a later lease takes over.
            (by("first", 2), &[][..], true),
            (by("second", 3), &ours, true),
            (by("second", 2), &ours, true),
            // One that was fenced meanwhile does not take it back.
            (by("second", 1), &ours, false),
            // A copy's.
            (by("second", 3), &[], false),
        ];
        for (taker, ours, may) in table {
            let mut held = Table::default();
            assert_eq!(held.take(&names, &by("first", 2), &[], lives), Took::All);
            let took = held.take(&names, &taker, ours, lives);
            assert_eq!(took == Took::All, may, "{taker:?}: {took:?}");
        }
        // What a copy carried to its end, the other one does not go on with.
        let mut held = Table::default();
        assert_eq!(held.take(&names, &by("copy", 2), &[], gone), Took::All);
        held.let_go(Some(Seq(7)), |holder| holder.operation == OperationId(1));
        assert_eq!(held.take(&names, &by("first", 1), &[], gone), Took::WentOnAt(None));
        assert_eq!(held.take(&names, &by("first", 2), &[], gone), Took::WentOnAt(None));
        assert_eq!(held.take(&names, &holder("two"), &[], gone), Took::All, "it is another's");
    }

    /// A refused try has a lease of its own, which is later each time.
    #[test]
    fn an_older_copy_of_a_journal_does_not_go_on_however_often_it_tries() {
        let names: [LockName; 1] = ["a".into()];
        let at = |runner: &str, epoch: u64, last_seq: u64| Holder {
            runner: Some(runner.to_owned()),
            epoch: Epoch(epoch),
            last_seq: Seq(last_seq),
            ..holder("one")
        };
        let mut table = Table::default();
        assert_eq!(table.take(&names, &at("first", 1, 3), &[], gone), Took::All);
        // Killed, and taken up with a journal that has less than was there when it was taken.
        assert_eq!(table.take(&names, &at("copy", 9, 2), &[], gone), Took::WentOnAt(None));
        assert_eq!(table.take(&names, &at("second", 2, 8), &[], gone), Took::All);
        table.let_go(Some(Seq(20)), |_| true);
        for epoch in 2..6 {
            let copy = table.take(&names, &at("copy", epoch, 8), &[], gone);
            assert_eq!(copy, Took::WentOnAt(None), "try {epoch}");
        }
        // Of the runner that let go there may be a copy as well.
        assert_eq!(table.take(&names, &at("second", 3, 8), &[], gone), Took::WentOnAt(None));
        // Taken up again from the journal that has it all.
        assert_eq!(table.take(&names, &at("third", 3, 20), &[], gone), Took::All);
    }

    #[test]
    fn only_the_holder_that_was_seen_is_freed() {
        let name: LockName = "a".into();
        let mut table = Table::default();
        assert_eq!(table.take(std::slice::from_ref(&name), &holder("one"), &[], gone), Took::All);
        let freed = |key: &str| Freed {
            name: name.clone(),
            holder: holder(key),
            by: "ann".to_owned(),
            reason: "gone".to_owned(),
            at: UnixMs(2),
        };
        assert!(!table.free(freed("two")));
        assert!(table.free(freed("one")));
        assert!(table.locks.is_empty());
        assert_eq!(table.freed, [freed("one")]);
        for _ in 0..FREED_MAX + 3 {
            table.take(std::slice::from_ref(&name), &holder("one"), &[], gone);
            table.free(freed("one"));
        }
        assert_eq!(table.freed.len(), FREED_MAX);
    }
}
