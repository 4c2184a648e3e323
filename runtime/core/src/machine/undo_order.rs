//! Which undo comes before which (R6).
//!
//! A step is undone after every step that came after it in the graph, and of the steps that
//! changed one fact the one whose change is the newest goes first. Both follow the order of
//! time: what comes after in the graph began later, and the changes of two steps to one fact never
//! interleave ([`super::claims`]). So there is no circle, but in a journal that was written before
//! that was so; there the newest change goes first, because nothing may wait for ever.

use super::holds::areas_of;
use super::turns::Turns;
use crate::calls::Area;
use crate::ids::*;
use crate::plan::Plan;
use crate::state::{State, StepState, StepStatus};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// What an undo waits for: another step's undo, or a place of the plan to be clear, which it is
/// when all of its own steps and all that depends on it are undone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Node {
    Step(StepKey),
    Place(usize),
}

#[derive(Clone, Debug, Default)]
struct Edges {
    waits_for: usize,
    /// Who waits for this one, and whether because both changed the same fact.
    behind: Vec<(Node, bool)>,
    is_over: bool,
}

/// The order of the undos that are still to come.
#[derive(Clone, Debug)]
pub(super) struct UndoOrder {
    nodes: BTreeMap<Node, Edges>,
    ready: BTreeSet<StepKey>,
    /// Those of which only so many are undone at a time, the newest first.
    in_turn: Turns<Reverse<Seq>>,
    /// By step, how many instances of it are undone at a time, where that is not all.
    at_most: BTreeMap<StepId, usize>,
    /// Steps whose undo has begun.
    begun: BTreeSet<StepKey>,
    /// Steps that an undo which failed stands in the way of.
    blocked: BTreeMap<StepKey, StepKey>,
    /// Steps whose undo is not over, each with its newest change.
    pending: BTreeMap<StepKey, Seq>,
    /// Of these and those that failed, how many took the service down.
    window_left: usize,
}

impl UndoOrder {
    /// The order of what is to be undone by this state.
    pub(super) fn of(plan: &Plan, state: &State) -> Self {
        Self::ordered(plan, state, true)
    }

    #[cfg(feature = "mutants")]
    pub(super) fn without_facts(plan: &Plan, state: &State) -> Self {
        Self::ordered(plan, state, false)
    }

    fn ordered(plan: &Plan, state: &State, by_facts: bool) -> Self {
        let steps = state.steps.iter().map(|(key, step)| (key, &**step));
        let to_undo: BTreeMap<&StepKey, &StepState> =
            steps.filter(|(_, step)| step.needs_undo()).collect();
        let mut order = Self {
            nodes: BTreeMap::new(),
            ready: BTreeSet::new(),
            in_turn: Turns::default(),
            at_most: plan
                .steps()
                .filter_map(|step| Some((step.id.clone(), plan.at_most(&step.id)?)))
                .collect(),
            begun: BTreeSet::new(),
            blocked: BTreeMap::new(),
            pending: BTreeMap::new(),
            window_left: to_undo.keys().filter(|key| plan.is_window(&key.step)).count(),
        };
        for place in 0..plan.count() {
            order.nodes.entry(Node::Place(place)).or_default();
            for dependent in plan.dependents(place) {
                order.edge(Node::Place(*dependent), Node::Place(place), false);
            }
        }
        for (key, step) in &to_undo {
            let newest = step.to_undo().next_back().map_or(Seq(0), |(seq, _)| seq);
            order.pending.insert((*key).clone(), newest);
            let node = Node::Step((*key).clone());
            order.nodes.entry(node.clone()).or_default();
            let Some(place) = plan.place(&key.step) else { continue };
            order.edge(node.clone(), Node::Place(place), false);
            for dependent in plan.dependents(place) {
                order.edge(Node::Place(*dependent), node.clone(), false);
            }
        }
        if by_facts {
            order.add_changes(&to_undo);
        }
        order.begin(plan, &to_undo);
        order
    }

    fn edge(&mut self, first: Node, then: Node, shares: bool) {
        self.nodes.entry(then.clone()).or_default().waits_for += 1;
        self.nodes.entry(first).or_default().behind.push((then, shares));
    }

    /// Of steps that changed the same, the one whose last change is the newest goes first.
    fn add_changes(&mut self, to_undo: &BTreeMap<&StepKey, &StepState>) {
        let mut last: BTreeMap<(&StepKey, Part), Seq> = BTreeMap::new();
        for (key, step) in to_undo {
            for (seq, effect) in step.to_undo() {
                let changed = areas_of(&effect.call, &effect.token, &effect.changes);
                let changed = changed.into_iter().chain(effect.call.shares()).map(Part::Changed);
                for part in changed.chain(effect.call.before().map(Part::Before)) {
                    last.insert((key, part), seq);
                }
            }
        }
        let mut by_age: Vec<(Seq, &StepKey, Part)> =
            last.into_iter().map(|((key, part), seq)| (seq, key, part)).collect();
        by_age.sort();
        let mut newer = Newer::default();
        let mut known = BTreeSet::new();
        for (_, key, part) in by_age.into_iter().rev() {
            let over = match part {
                Part::Changed(area) => newer.put(key, area),
                Part::Before(area) => newer.put_before(key, area),
            };
            for first in over {
                if first != *key && known.insert((first.clone(), key.clone())) {
                    self.edge(Node::Step(first), Node::Step(key.clone()), true);
                }
            }
        }
    }

    /// Note what has ended already, and see what is ready.
    fn begin(&mut self, plan: &Plan, to_undo: &BTreeMap<&StepKey, &StepState>) {
        let under_way = to_undo.iter().filter(|(_, step)| step.open.is_some());
        let under_way: Vec<StepKey> = under_way.map(|(key, _)| (*key).clone()).collect();
        under_way.into_iter().for_each(|key| self.note_begun(key));
        let free = |(node, edges): (&Node, &Edges)| (edges.waits_for == 0).then(|| node.clone());
        let free: Vec<Node> = self.nodes.iter().filter_map(free).collect();
        free.into_iter().for_each(|node| self.freed(node));
        for (key, step) in to_undo {
            if step.status == StepStatus::UndoFailed {
                self.note_ended(plan, key, false);
            }
        }
    }

    /// Nothing stands before a node any more.
    fn freed(&mut self, node: Node) {
        let mut free = vec![node];
        while let Some(node) = free.pop() {
            match node {
                Node::Step(key) => {
                    let newest = self.pending.get(&key).filter(|_| !self.begun.contains(&key));
                    match (newest, self.at_most.get(&key.step)) {
                        (Some(newest), Some(at_most)) => {
                            self.in_turn.wait(&key, *at_most, Reverse(*newest));
                        }
                        (Some(_), None) => drop(self.ready.insert(key)),
                        (None, _) => {}
                    }
                }
                Node::Place(_) => free.extend(self.leave(&node)),
            }
        }
    }

    /// A node is over; gives those that nothing else stands before.
    fn leave(&mut self, node: &Node) -> Vec<Node> {
        let Some(edges) = self.nodes.get_mut(node).filter(|edges| !edges.is_over) else {
            return vec![];
        };
        edges.is_over = true;
        let behind = edges.behind.clone();
        let mut free = vec![];
        for (then, _) in behind {
            if let Some(edges) = self.nodes.get_mut(&then) {
                edges.waits_for -= 1;
                if edges.waits_for == 0 {
                    free.push(then);
                }
            }
        }
        free
    }

    /// An undo has ended; after one that failed, what changed the same before it is not tried,
    /// because it could do harm there.
    pub(super) fn note_ended(&mut self, plan: &Plan, key: &StepKey, is_undone: bool) {
        let Some(newest) = self.pending.remove(key) else { return };
        self.ready.remove(key);
        self.in_turn.end(key, Reverse(newest));
        if is_undone && plan.is_window(&key.step) {
            self.window_left -= 1;
        }
        let node = Node::Step(key.clone());
        if !is_undone {
            let edges = self.nodes.get(&node);
            let shares = edges.into_iter().flat_map(|edges| &edges.behind);
            let shares = shares.filter_map(|(then, shares)| match then {
                Node::Step(then) if *shares => Some(then.clone()),
                Node::Step(_) | Node::Place(_) => None,
            });
            let shares: Vec<StepKey> = shares.collect();
            for then in shares {
                self.blocked.entry(then).or_insert_with(|| key.clone());
            }
        }
        self.leave(&node).into_iter().for_each(|node| self.freed(node));
    }

    /// The next step to undo, and the step whose failed undo stands in its way.
    pub(super) fn take_ready(&mut self) -> Option<(StepKey, Option<StepKey>)> {
        let in_turn = || self.in_turn.next().map(|(_, key)| key.clone());
        let key = self.ready.pop_first().or_else(in_turn)?;
        self.note_begun(key.clone());
        let by = self.blocked.get(&key).cloned();
        Some((key, by))
    }

    fn note_begun(&mut self, key: StepKey) {
        if let (Some(at_most), Some(newest)) = (self.at_most.get(&key.step), self.pending.get(&key))
        {
            self.in_turn.go(&key, *at_most, Reverse(*newest));
        }
        self.begun.insert(key);
    }

    /// Where everything waits for everything, the newest change goes first.
    pub(super) fn break_circle(&mut self) {
        let waits = self.pending.iter().filter(|(key, _)| !self.begun.contains(*key));
        let newest = waits.max_by_key(|(_, seq)| **seq);
        if let Some((key, _)) = newest {
            self.ready.insert(key.clone());
        }
    }

    /// Whether every undo has ended.
    pub(super) fn is_over(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether nothing of what took the service down is still to be put back.
    pub(super) fn is_service_back(&self) -> bool {
        self.window_left == 0
    }
}

/// What an effect has to do with a part of the world.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// It changed it.
    Changed(Area),
    /// It is undone before what changed it.
    Before(Area),
}

/// The newest changes met so far on the way from new to old.
#[derive(Default)]
struct Newer {
    by: BTreeMap<Area, StepKey>,
    /// By area, those within it that are in `by`.
    within: BTreeMap<Area, BTreeSet<Area>>,
    /// Those that are undone before what changed an area: each of them, as they have nothing to do
    /// with each other.
    before: BTreeSet<(Area, StepKey)>,
}

impl Newer {
    /// Note an older change; gives whose newer changes it lies under.
    ///
    /// What was noted within it is forgotten: what is older than both lies under this one.
    fn put(&mut self, key: &StepKey, area: Area) -> Vec<StepKey> {
        let around = area.around();
        let mut over: Vec<StepKey> =
            around.iter().chain([&area]).filter_map(|area| self.by.get(area)).cloned().collect();
        let before = self.before.iter().filter(|(other, _)| other.overlaps(&area));
        over.extend(before.map(|(_, key)| key.clone()));
        for inner in self.within.remove(&area).into_iter().flatten() {
            over.extend(self.by.remove(&inner));
        }
        for larger in around {
            self.within.entry(larger).or_default().insert(area.clone());
        }
        self.by.insert(area, key.clone());
        over
    }

    /// Note one that is undone before older changes of an area; gives whose newer ones it lies
    /// under.
    fn put_before(&mut self, key: &StepKey, area: Area) -> Vec<StepKey> {
        let overlapping = self.by.iter().filter(|(other, _)| other.overlaps(&area));
        let over = overlapping.map(|(_, key)| key.clone()).collect();
        self.before.insert((area, key.clone()));
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Resource;

    #[test]
    fn a_change_lies_under_every_newer_one_that_overlaps() {
        let resource = || Resource::Container { host: "i-1".into(), name: "db".into() };
        let fact = |name: &str| Area::Fact(resource(), name.to_owned());
        let key = StepKey::plain;
        let mut newer = Newer::default();
        assert_eq!(newer.put(&key("d"), fact("running")), []);
        assert_eq!(newer.put(&key("c"), fact("restart")), []);
        let mut over = newer.put(&key("b"), Area::Resource(resource()));
        over.sort();
        assert_eq!(over, [key("c"), key("d")]);
        assert_eq!(newer.put(&key("a"), fact("running")), [key("b")]);
        assert_eq!(newer.put(&key("0"), Area::Host("i-2".into())), []);
        let mut over = newer.put(&key("0"), Area::Host("i-1".into()));
        over.sort();
        assert_eq!(over, [key("a"), key("b")]);
    }

    /// Two targets of one container have nothing to do with each other; the container has to do
    /// with both.
    #[test]
    fn who_is_undone_before_a_change_is_so_whoever_else_is() {
        let container = || Resource::Container { host: "i-1".into(), name: "app".into() };
        let key = StepKey::plain;
        let mut newer = Newer::default();
        let running = Area::Fact(container(), "running".to_owned());
        assert_eq!(newer.put(&key("stop"), running.clone()), []);
        let app = || Area::Resource(container());
        assert_eq!(newer.put_before(&key("web"), app()), [key("stop")]);
        assert_eq!(newer.put_before(&key("api"), app()), [key("stop")]);
        assert_eq!(newer.put_before(&key("host"), Area::Host("i-1".into())), [key("stop")]);
        let mut over = newer.put(&key("start"), running);
        over.sort();
        assert_eq!(over, [key("api"), key("host"), key("stop"), key("web")]);
    }
}
