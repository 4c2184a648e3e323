//! Who may take which locks.

use super::{Freed, Holder, WorldLock, of_one};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use stepback_core::{LockName, OperationId, StoreId, cut};

/// How many locks that were freed by hand are remembered.
const FREED_MAX: usize = 50;
/// Of fewer nobody looks whether their programs are gone.
const CLEARED_MIN: usize = 64;
/// So much is remembered of why.
const REASON_BYTES_MAX: usize = 1_000;

/// All of them, as they are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Table {
    pub(super) locks: BTreeMap<LockName, Holder>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) freed: Vec<Freed>,
    /// Who runs an operation that has no locks, by [`of_one`].
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    runs: BTreeMap<StoreId, Holder>,
    /// How many were left of these when those were removed whose program is gone.
    #[serde(skip_serializing_if = "is_none")]
    cleared: usize,
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

impl Table {
    /// Take all of them, or none; gives the first that somebody else holds. `is_gone` tells whether
    /// a holder's program is.
    pub(super) fn take(
        &mut self,
        names: &[LockName],
        holder: &Holder,
        ours: &[String],
        is_gone: impl Fn(&Holder) -> bool,
    ) -> Option<WorldLock> {
        let is_ours = |held: &Holder| held.runner.as_ref().is_some_and(|name| ours.contains(name));
        let is_own = |held: &Holder| {
            held.key == holder.key
                && (held.runner == holder.runner
                    || held.epoch <= holder.epoch && (is_ours(held) || is_gone(held)))
        };
        let mut others = names.iter().filter_map(|name| self.locks.get_key_value(name));
        if let Some((name, held)) = others.find(|(_, held)| !is_own(held)) {
            return Some(WorldLock { name: name.clone(), holder: held.clone() });
        }
        if names.is_empty() {
            // A program that is gone runs nothing; each time that there are twice as many is often
            // enough to look.
            if self.runs.len() >= self.cleared.saturating_mul(2).max(CLEARED_MIN) {
                self.runs.retain(|_, held| !is_gone(held));
                self.cleared = self.runs.len();
            }
            let key = of_one(&holder.key, holder.operation);
            if let Some(held) = self.runs.get(&key).filter(|held| !is_own(held)) {
                let name = LockName(format!("operation {}", holder.operation));
                return Some(WorldLock { name, holder: held.clone() });
            }
            self.runs.insert(key, holder.clone());
        }
        for name in names {
            // Taken up elsewhere, it is held from there.
            self.locks.insert(name.clone(), holder.clone());
        }
        None
    }

    pub(super) fn let_go(&mut self, key: &StoreId, operation: OperationId) {
        self.locks.retain(|_, holder| holder.key != *key || holder.operation != operation);
        self.runs.remove(&of_one(key, operation));
    }

    /// Those of which `is_left` says that nobody else may need them.
    pub(super) fn let_go_of(
        &mut self,
        store: &StoreId,
        operation: OperationId,
        is_left: impl Fn(&Holder) -> bool,
    ) {
        let is_its = |holder: &Holder| {
            holder.store == *store && holder.operation == operation && is_left(holder)
        };
        self.locks.retain(|_, holder| !is_its(holder));
        self.runs.retain(|_, holder| !is_its(holder));
    }

    pub(super) fn holders_of(
        &self,
        key: &StoreId,
        operation: OperationId,
    ) -> impl Iterator<Item = &Holder> {
        let locks = self.locks.values();
        let locks = locks.filter(move |held| held.key == *key && held.operation == operation);
        locks.chain(self.runs.get(&of_one(key, operation)))
    }

    pub(super) fn free(&mut self, mut freed: Freed) -> bool {
        if self.locks.get(&freed.name) != Some(&freed.holder) {
            return false;
        }
        self.locks.remove(&freed.name);
        freed.reason = cut::beginning(&freed.reason, REASON_BYTES_MAX);
        self.freed.push(freed);
        let too_many = self.freed.len().saturating_sub(FREED_MAX);
        self.freed.drain(..too_many);
        true
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use stepback_core::{Epoch, UnixMs};

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
            actor: "ann".into(),
            runner: Some(format!("runner-{key}")),
            epoch: Epoch(1),
            since: UnixMs(1),
        }
    }

    #[test]
    fn all_are_taken_or_none() {
        let (a, b): (LockName, LockName) = ("a".into(), "b".into());
        let mut table = Table::default();
        assert_eq!(table.take(std::slice::from_ref(&b), &holder("one"), &[], gone), None);
        let taken = table.take(&[a.clone(), b.clone()], &holder("two"), &[], gone);
        let one = WorldLock { name: b.clone(), holder: holder("one") };
        assert_eq!(taken, Some(one));
        assert!(!table.locks.contains_key(&a), "none was taken");
        // Whoever has it already has it.
        assert_eq!(table.take(&[a, b], &holder("one"), &[], gone), None);
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
            assert_eq!(held.take(&names, &by("first", 2), &[], lives), None);
            let took = held.take(&names, &taker, ours, lives);
            assert_eq!(took.is_none(), may, "{taker:?}: {took:?}");
        }
    }

    #[test]
    fn who_runs_what_has_no_locks_is_told_by_its_key_and_cleared_when_gone() {
        let mut table = Table::default();
        for number in 0..2 * CLEARED_MIN {
            let key = format!("key-{number}");
            assert_eq!(table.take(&[], &holder(&key), &[], gone), None);
        }
        assert!(table.runs.len() < 2 * CLEARED_MIN, "{}", table.runs.len());
        let mut table = Table::default();
        let lives = |_: &Holder| false;
        for key in ["key", "key-1", "ke"] {
            assert_eq!(table.take(&[], &holder(key), &[], lives), None);
        }
        let of = |table: &Table, key: &str| -> Vec<StoreId> {
            let key = StoreId(key.to_owned());
            let held = table.holders_of(&key, OperationId(1));
            held.map(|held| held.key.clone()).collect()
        };
        assert_eq!(of(&table, "key"), [StoreId("key".to_owned())]);
        let mut copy = holder("key");
        copy.runner = Some("another".to_owned());
        assert!(table.take(&[], &copy, &[], lives).is_some(), "it is run already");
        // Another one of the same program.
        let mut other = holder("key");
        other.operation = OperationId(2);
        assert_eq!(table.take(&["a".into()], &other, &[], lives), None);
        table.let_go(&StoreId("key".to_owned()), OperationId(1));
        assert!(of(&table, "key").is_empty());
        assert_eq!(table.locks.len(), 1);
        assert_eq!(of(&table, "key-1").len(), 1);
        table.let_go_of(&StoreId("store".to_owned()), OperationId(1), lives);
        assert!(!table.runs.is_empty(), "it may be another one's");
        table.let_go_of(&StoreId("store".to_owned()), OperationId(1), gone);
        assert!(table.runs.is_empty());
    }

    #[test]
    fn only_the_holder_that_was_seen_is_freed() {
        let name: LockName = "a".into();
        let mut table = Table::default();
        assert_eq!(table.take(std::slice::from_ref(&name), &holder("one"), &[], gone), None);
        let freed = |key: &str| Freed {
            name: name.clone(),
            holder: holder(key),
            by: "ann".to_owned(),
            by_uid: None,
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
