//! Which running step has changed what, and so, which effects of other steps must wait (R6).
//!
//! A step claims what its effects change until it is done, or until they are taken back. Thus the
//! changes of two steps to one fact never interleave, and undoing them has an order. A claim is on
//! a fact, a resource or a whole host; it stands in the way of what lies within it and of what it
//! lies within.

use crate::calls::Area;
use crate::ids::*;
use std::collections::{BTreeMap, BTreeSet};

/// The claims of one operation's running steps.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims {
    nodes: BTreeMap<Area, Node>,
    calls: BTreeMap<CallId, Vec<Area>>,
    steps: BTreeMap<StepKey, BTreeSet<CallId>>,
}

/// Who claims an area, and who claims something within it; how often each.
#[derive(Clone, Debug, Default)]
struct Node {
    whole: BTreeMap<StepKey, u32>,
    within: BTreeMap<StepKey, u32>,
}

fn add(counts: &mut BTreeMap<StepKey, u32>, step: &StepKey) {
    *counts.entry(step.clone()).or_default() += 1;
}

fn take(counts: &mut BTreeMap<StepKey, u32>, step: &StepKey) {
    if let Some(count) = counts.get_mut(step) {
        *count -= 1;
        if *count == 0 {
            counts.remove(step);
        }
    }
}

impl Claims {
    /// Claim what a call changes, beside what it claims already.
    pub(super) fn claim(&mut self, id: &CallId, areas: Vec<Area>) {
        let step = &id.of.step;
        for area in &areas {
            for around in area.around() {
                add(&mut self.nodes.entry(around).or_default().within, step);
            }
            add(&mut self.nodes.entry(area.clone()).or_default().whole, step);
        }
        self.calls.entry(id.clone()).or_default().extend(areas);
        self.steps.entry(step.clone()).or_default().insert(id.clone());
    }

    /// Whether a call claims anything.
    pub(super) fn has(&self, id: &CallId) -> bool {
        self.calls.contains_key(id)
    }

    /// A call changed nothing, so it claims nothing.
    pub(super) fn release_call(&mut self, id: &CallId) {
        let step = &id.of.step;
        for area in self.calls.remove(id).into_iter().flatten() {
            for around in area.around() {
                self.in_node(&around, |node| take(&mut node.within, step));
            }
            self.in_node(&area, |node| take(&mut node.whole, step));
        }
        if let Some(calls) = self.steps.get_mut(step) {
            calls.remove(id);
            if calls.is_empty() {
                self.steps.remove(step);
            }
        }
    }

    fn in_node(&mut self, area: &Area, change: impl FnOnce(&mut Node)) {
        if let Some(node) = self.nodes.get_mut(area) {
            change(node);
            if node.whole.is_empty() && node.within.is_empty() {
                self.nodes.remove(area);
            }
        }
    }

    /// A step is done, or has nothing left that it changed; `false` if it claimed nothing.
    pub(super) fn release_step(&mut self, step: &StepKey) -> bool {
        let calls = self.steps.get(step).cloned().unwrap_or_default();
        calls.iter().for_each(|id| self.release_call(id));
        !calls.is_empty()
    }

    /// The other steps that claim what overlaps these areas.
    pub(super) fn in_the_way(&self, step: &StepKey, areas: &[Area]) -> BTreeSet<StepKey> {
        let mut found = BTreeSet::new();
        for area in areas {
            let here = self.nodes.get(area);
            found.extend(here.iter().flat_map(|node| node.whole.keys().chain(node.within.keys())));
            for around in area.around() {
                found
                    .extend(self.nodes.get(&around).into_iter().flat_map(|node| node.whole.keys()));
            }
        }
        found.into_iter().filter(|other| *other != step).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Resource;

    fn call(step: &str, number: u32) -> CallId {
        let (step, direction) = (StepKey::plain(step), Direction::Do);
        let of = AttemptId { step, direction, attempt: Attempt(1) };
        CallId { of, number: CallNumber(number) }
    }

    fn fact(name: &str) -> Area {
        let resource = Resource::Container { host: "i-1".into(), name: "db".into() };
        Area::Fact(resource, name.to_owned())
    }

    fn in_the_way(claims: &Claims, step: &str, area: Area) -> Vec<String> {
        let found = claims.in_the_way(&StepKey::plain(step), &[area]);
        found.into_iter().map(|key| key.to_string()).collect()
    }

    #[test]
    fn a_claim_stands_in_the_way_of_what_overlaps_until_its_step_is_done() {
        let mut claims = Claims::default();
        claims.claim(&call("a", 1), vec![fact("running")]);
        claims.claim(&call("a", 2), vec![fact("running"), fact("restart")]);
        assert_eq!(in_the_way(&claims, "b", fact("running")), ["a"]);
        assert_eq!(in_the_way(&claims, "b", fact("networks")), [""; 0]);
        assert_eq!(in_the_way(&claims, "a", fact("running")), [""; 0], "its own");
        let host = Area::Host("i-1".into());
        assert_eq!(in_the_way(&claims, "b", host.clone()), ["a"]);
        claims.release_call(&call("a", 1));
        assert_eq!(in_the_way(&claims, "b", fact("running")), ["a"], "its second call");
        assert!(claims.release_step(&StepKey::plain("a")));
        assert_eq!(in_the_way(&claims, "b", host.clone()), [""; 0]);
        claims.claim(&call("b", 1), vec![host]);
        assert_eq!(in_the_way(&claims, "a", fact("running")), ["b"]);
        assert!(claims.release_step(&StepKey::plain("b")));
        assert!(claims.nodes.is_empty() && claims.calls.is_empty() && claims.steps.is_empty());
        assert!(!claims.release_step(&StepKey::plain("b")));
    }
}
