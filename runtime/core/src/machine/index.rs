//! What the machine must not search for: kept up with every event, so that a decision costs the
//! same in an operation of ten thousand steps as in one of ten.
//!
//! Everything in here follows from the plan and the state; nothing here is a second truth.

use super::turns::Turns;
use crate::event::Event;
use crate::ids::*;
use crate::manifest::Phase;
use crate::plan::Plan;
use crate::state::{State, StepState, StepStatus};
use std::collections::{BTreeMap, BTreeSet};

/// What there is of a kind of steps, and how many are not complete.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Left {
    pub(super) all: usize,
    /// All but the cleanup steps.
    pub(super) body: usize,
    pub(super) window: usize,
    /// Those that a window step needs and that are not in the window.
    pub(super) before_window: usize,
}

/// What is kept of one step's instance.
#[derive(Clone, Debug, Default, PartialEq)]
struct Note {
    is_failed: bool,
    retry: Option<UnixMs>,
    deadline: Option<(UnixMs, AttemptId)>,
    open: Option<AttemptId>,
    turn: Option<Turn>,
}

/// Where an instance stands of which only so many are under way at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Turn {
    ToCome,
    Now,
}

#[derive(Clone, Debug)]
pub(super) struct Index {
    needs_left: Vec<usize>,
    begun: Vec<bool>,
    complete: Vec<bool>,
    is_before_window: Vec<bool>,
    pub(super) left: Left,
    /// Places that have not begun and wait for no other, by what else they wait for.
    ready: BTreeSet<usize>,
    ready_in_window: BTreeSet<usize>,
    ready_after_commit: BTreeSet<usize>,
    notes: BTreeMap<StepKey, Note>,
    failed: BTreeSet<StepKey>,
    retries: BTreeSet<(UnixMs, StepKey)>,
    deadlines: BTreeSet<(UnixMs, AttemptId)>,
    open: BTreeSet<AttemptId>,
    /// By the order in which their inputs were known, which is that of the list.
    turns: Turns<usize>,
}

impl Index {
    pub(super) fn of(plan: &Plan, state: &State) -> Self {
        let count = plan.count();
        let mut is_before_window = vec![false; count];
        for place in (0..count).filter(|place| plan.at(*place).phase == Phase::Downtime) {
            for need in plan.needs(place) {
                is_before_window[*need] |= plan.at(*need).phase != Phase::Downtime;
            }
        }
        let phase = |phase| (0..count).filter(|place| plan.at(*place).phase == phase).count();
        let mut index = Self {
            needs_left: (0..count).map(|place| plan.needs(place).len()).collect(),
            begun: vec![false; count],
            complete: vec![false; count],
            left: Left {
                all: count,
                body: count - phase(Phase::Cleanup),
                window: phase(Phase::Downtime),
                before_window: is_before_window.iter().filter(|is| **is).count(),
            },
            is_before_window,
            ready: BTreeSet::new(),
            ready_in_window: BTreeSet::new(),
            ready_after_commit: BTreeSet::new(),
            notes: BTreeMap::new(),
            failed: BTreeSet::new(),
            retries: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            open: BTreeSet::new(),
            turns: Turns::default(),
        };
        for place in 0..count {
            index.place_ready(plan, place);
        }
        for place in 0..count {
            index.refresh_place(plan, state, place);
        }
        for key in state.steps.keys() {
            index.refresh_step(plan, state, key);
        }
        index
    }

    /// Take what an event changed.
    pub(super) fn note(&mut self, plan: &Plan, state: &State, event: &Event) {
        match event {
            Event::StepExpanded { step, .. } => {
                if let Some(place) = plan.place(step) {
                    self.refresh_place(plan, state, place);
                }
            }
            Event::TakenUp { .. } => {
                let open: Vec<AttemptId> = self.open.iter().cloned().collect();
                open.iter().for_each(|of| self.refresh_step(plan, state, &of.step));
            }
            Event::RollbackStarted { .. } | Event::RollbackResumed { .. } => {
                let keys: Vec<StepKey> = self.notes.keys().cloned().collect();
                keys.iter().for_each(|key| self.refresh_step(plan, state, key));
            }
            Event::EffectWaits { id, .. }
            | Event::CallStarted { id, .. }
            | Event::CallAnswered { id, .. } => self.refresh_step(plan, state, &id.of.step),
            other => {
                let Some(key) = other.step() else { return };
                self.refresh_step(plan, state, key);
                if let Some(place) = plan.place(&key.step) {
                    self.refresh_place(plan, state, place);
                }
            }
        }
    }

    fn place_ready(&mut self, plan: &Plan, place: usize) {
        let ready = match plan.at(place).phase {
            Phase::Live => &mut self.ready,
            Phase::Downtime => &mut self.ready_in_window,
            Phase::Cleanup => &mut self.ready_after_commit,
        };
        if !self.begun[place] && self.needs_left[place] == 0 {
            ready.insert(place);
        } else {
            ready.remove(&place);
        }
    }

    fn refresh_place(&mut self, plan: &Plan, state: &State, place: usize) {
        let step = plan.at(place);
        let begun = has_begun(state, &step.id);
        if self.begun[place] != begun {
            self.begun[place] = begun;
            self.place_ready(plan, place);
        }
        let complete = begun && is_step_complete(state, &step.id);
        if self.complete[place] == complete {
            return;
        }
        self.complete[place] = complete;
        let count = |left: &mut usize| match complete {
            true => *left -= 1,
            false => *left += 1,
        };
        count(&mut self.left.all);
        if step.phase != Phase::Cleanup {
            count(&mut self.left.body);
        }
        if step.phase == Phase::Downtime {
            count(&mut self.left.window);
        }
        if self.is_before_window[place] {
            count(&mut self.left.before_window);
        }
        for next in plan.dependents(place) {
            count(&mut self.needs_left[*next]);
            self.place_ready(plan, *next);
        }
    }

    fn refresh_step(&mut self, plan: &Plan, state: &State, key: &StepKey) {
        let Some(step) = state.steps.get(key) else { return };
        let now = note_of(plan, step);
        let before = self.notes.insert(key.clone(), now.clone()).unwrap_or_default();
        if before == now {
            return;
        }
        if before.is_failed {
            self.failed.remove(key);
        }
        if let Some(at) = before.retry {
            self.retries.remove(&(at, key.clone()));
        }
        if let Some(deadline) = before.deadline {
            self.deadlines.remove(&deadline);
        }
        if let Some(of) = before.open {
            self.open.remove(&of);
        }
        if now.is_failed {
            self.failed.insert(key.clone());
        }
        self.retries.extend(now.retry.map(|at| (at, key.clone())));
        self.deadlines.extend(now.deadline);
        self.open.extend(now.open);
        if let Some(at_most) = plan.at_most(&key.step) {
            match now.turn {
                Some(Turn::ToCome) => self.turns.wait(key, at_most, step.order),
                Some(Turn::Now) => self.turns.go(key, at_most, step.order),
                None => self.turns.end(key, step.order),
            }
        }
    }

    /// The next step that can begin; those of the window only while it is open, those of the
    /// cleanup only after the commit point.
    pub(super) fn next_ready(&self, window_is_open: bool, committed: bool) -> Option<usize> {
        let in_window = self.ready_in_window.first().filter(|_| window_is_open);
        let after_commit = self.ready_after_commit.first().filter(|_| committed);
        self.ready.first().or(in_window).or(after_commit).copied()
    }

    /// The step at a place is not to be started again, because it is being evaluated.
    pub(super) fn take_ready(&mut self, place: usize) {
        self.ready.remove(&place);
        self.ready_in_window.remove(&place);
        self.ready_after_commit.remove(&place);
    }

    pub(super) fn is_window_ready(&self) -> bool {
        !self.ready_in_window.is_empty() && self.left.before_window == 0
    }

    pub(super) fn has_begun(&self, place: usize) -> bool {
        self.begun[place]
    }

    pub(super) fn is_complete(&self, place: usize) -> bool {
        self.complete[place]
    }

    /// A step because of which the operation stops.
    pub(super) fn failed(&self) -> Option<&StepKey> {
        self.failed.first()
    }

    /// The next instance whose turn it is, of those that were given their inputs.
    pub(super) fn next_in_turn(&self) -> Option<StepKey> {
        self.turns.next().map(|(_, key)| key.clone())
    }

    pub(super) fn next_retry(&self) -> Option<&(UnixMs, StepKey)> {
        self.retries.first()
    }

    pub(super) fn deadlines(&self) -> impl Iterator<Item = &(UnixMs, AttemptId)> {
        self.deadlines.iter()
    }

    /// Attempts that have started and not finished.
    pub(super) fn open(&self) -> &BTreeSet<AttemptId> {
        &self.open
    }
}

fn note_of(plan: &Plan, step: &StepState) -> Note {
    let timeout_ms = |step: &StepId| plan.step(step)?.timeout_ms;
    let deadline = step.open.as_ref().and_then(|open| {
        // What waits for other steps is not late, and an undo takes the time that it needs.
        let counts = open.held.is_none() && open.id.direction == Direction::Do;
        let timeout_ms = timeout_ms(&open.id.step.step).filter(|_| counts)?;
        let at = open.started_at.0.saturating_add(timeout_ms).saturating_add(open.paused_ms);
        Some((UnixMs(at), open.id.clone()))
    });
    Note {
        // One that was undone before another attempt and has none to come has failed for good:
        // the operation was about to be rolled back, and a runner's death lost why.
        is_failed: matches!(
            step.status,
            StepStatus::Failed | StepStatus::UndoFailed | StepStatus::Undone | StepStatus::Kept
        ),
        retry: step.not_before.filter(|_| step.status == StepStatus::WaitingRetry),
        deadline,
        turn: turn_of(step.status),
        open: step.open.as_ref().map(|open| open.id.clone()),
    }
}

fn turn_of(status: StepStatus) -> Option<Turn> {
    match status {
        StepStatus::Pending => Some(Turn::ToCome),
        status if is_complete(status) => None,
        _ => Some(Turn::Now),
    }
}

fn has_begun(state: &State, id: &StepId) -> bool {
    state.expanded.contains_key(id)
        || state.steps.contains_key(&StepKey { step: id.clone(), key: None })
}

/// Whether every instance of the step is complete.
fn is_step_complete(state: &State, id: &StepId) -> bool {
    let complete =
        |key: StepKey| state.steps.get(&key).is_some_and(|step| is_complete(step.status));
    match state.expanded.get(id) {
        None => complete(StepKey { step: id.clone(), key: None }),
        Some(instances) => instances
            .iter()
            .all(|(key, _)| complete(StepKey { step: id.clone(), key: Some(key.clone()) })),
    }
}

/// Whether what depends on a step may go on.
pub(super) fn is_complete(status: StepStatus) -> bool {
    match status {
        StepStatus::Done | StepStatus::Skipped | StepStatus::Leftover => true,
        StepStatus::Pending
        | StepStatus::Running
        | StepStatus::WaitingRetry
        | StepStatus::Failed
        | StepStatus::Undoing
        | StepStatus::Undone
        | StepStatus::Kept
        | StepStatus::UndoFailed => false,
    }
}
