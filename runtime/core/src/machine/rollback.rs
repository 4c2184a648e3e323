//! Rolling back: which undo may start, and what follows when one ends (R6, R7).
//!
//! Reverse graph order, and reverse journal order between steps that touched the same resource.
//! A failed undo does not stop the others; only an undo that would touch what the failed one left
//! is not tried, because it could do harm there.

use super::*;
use crate::event::UndoResult;
use crate::resource::Resource;
use crate::state::StepState;
use crate::step::UndoAnswer;

/// How often an undo is tried before it is given up (R15).
pub const UNDO_ATTEMPTS_MAX: u32 = 3;
/// The pause before an undo's second attempt; it doubles from there.
pub const UNDO_BACKOFF_MS: u64 = 200;

/// For each step, every step that comes after it in the graph.
pub(super) fn downstream(plan: &Plan) -> BTreeMap<StepId, BTreeSet<StepId>> {
    let mut after: BTreeMap<StepId, BTreeSet<StepId>> = BTreeMap::new();
    let mut ids: Vec<StepId> = plan.steps().map(|step| step.id.clone()).collect();
    ids.reverse();
    for id in ids {
        let mut all = BTreeSet::new();
        for next in plan.dependents(&id) {
            all.insert(next.clone());
            all.extend(after.get(&next).cloned().unwrap_or_default());
        }
        after.insert(id, all);
    }
    after
}

enum Turn {
    Now,
    Later,
    /// The step whose failed undo stands in the way.
    Blocked(StepKey),
}

fn is_settled(status: StepStatus) -> bool {
    match status {
        StepStatus::Undone | StepStatus::Kept | StepStatus::UndoFailed => true,
        StepStatus::Pending
        | StepStatus::Skipped
        | StepStatus::Running
        | StepStatus::WaitingRetry
        | StepStatus::Done
        | StepStatus::Failed
        | StepStatus::Undoing
        | StepStatus::Leftover => false,
    }
}

impl Machine {
    pub(super) fn advance_rollback(&mut self) -> Result<(), IllegalEvent> {
        if self.downstream.is_none() {
            self.downstream = Some(downstream(&self.plan));
        }
        loop {
            let waiting: Vec<StepKey> = self
                .state
                .steps
                .iter()
                .filter(|(_, step)| step.needs_undo() && !is_settled(step.status))
                .filter(|(_, step)| step.status != StepStatus::Undoing)
                .map(|(key, _)| key.clone())
                .collect();
            let mut moved = false;
            for key in waiting {
                match self.turn(&key) {
                    Turn::Now => {
                        self.start_undo(&key, 0)?;
                        moved = true;
                    }
                    Turn::Blocked(by) => {
                        let why = format!("not tried, because `{by}` could not be undone");
                        let result = UndoResult::Failed(why);
                        self.emit(Event::UndoEnded { step: key, result })?;
                        moved = true;
                    }
                    Turn::Later => {}
                }
            }
            self.resume_undos()?;
            if !moved {
                break;
            }
        }
        self.close_window_undone()?;
        self.ask_for_verification();
        Ok(())
    }

    /// An undo cut off between two attempts goes on with the next one.
    fn resume_undos(&mut self) -> Result<(), IllegalEvent> {
        let cut_off: Vec<StepKey> = self
            .state
            .steps
            .iter()
            .filter(|(_, step)| step.status == StepStatus::Undoing && step.open.is_none())
            .map(|(key, _)| key.clone())
            .collect();
        for key in cut_off {
            self.start_undo(&key, 0)?;
        }
        Ok(())
    }

    fn turn(&self, key: &StepKey) -> Turn {
        let Some(step) = self.state.steps.get(key) else { return Turn::Later };
        let touched: BTreeSet<&Resource> = step.touched().collect();
        let after = self.downstream.as_ref().and_then(|all| all.get(&key.step));
        let mut blocked = None;
        for (other_key, other) in &self.state.steps {
            if other_key == key || !other.needs_undo() {
                continue;
            }
            let shares = other.touched().any(|resource| touched.contains(resource));
            let comes_after = after.is_some_and(|after| after.contains(&other_key.step))
                || (shares && other.order > step.order);
            if !comes_after {
                continue;
            }
            if !is_settled(other.status) {
                return Turn::Later;
            }
            if shares && other.status == StepStatus::UndoFailed {
                blocked = Some(other_key.clone());
            }
        }
        blocked.map_or(Turn::Now, Turn::Blocked)
    }

    pub(super) fn start_undo(&mut self, key: &StepKey, delay_ms: u64) -> Result<(), IllegalEvent> {
        let Some(step) = self.state.steps.get(key) else { return Ok(()) };
        let attempt = Attempt(step.undo_attempts.0 + 1);
        let past = past_of(step);
        let input = step.with.clone();
        let of = AttemptId { step: key.clone(), direction: Direction::Undo, attempt };
        let started = Event::UndoStarted { step: key.clone(), attempt, past: past.clone() };
        self.emit(started)?;
        self.emit(Event::AttemptStarted { of: of.clone() })?;
        let order = AttemptOrder { of, input, past: Some(past), delay_ms };
        self.decision.commands.push(Command::StartAttempt(Box::new(order)));
        Ok(())
    }

    /// After an undo's attempt: ended well, tried again, or given up (R7).
    pub(super) fn after_undo(
        &mut self,
        of: &AttemptId,
        result: &AttemptResult,
    ) -> Result<(), IllegalEvent> {
        let before = self.state.steps.get(&of.step).map_or(0, |step| step.undo_attempts_before.0);
        let tries = of.attempt.0.saturating_sub(before).max(1);
        let ended = match result {
            AttemptResult::Undo(UndoAnswer::Undone | UndoAnswer::NothingToUndo) => {
                UndoResult::Undone
            }
            AttemptResult::Undo(UndoAnswer::Kept(why)) => UndoResult::Kept(why.clone()),
            AttemptResult::Undo(UndoAnswer::CannotUndo(why)) => UndoResult::Failed(why.clone()),
            AttemptResult::Failed(failure) if tries >= UNDO_ATTEMPTS_MAX => {
                UndoResult::Failed(failure.message.clone())
            }
            AttemptResult::Failed(_) => {
                let backoff_ms = UNDO_BACKOFF_MS << (tries - 1).min(6);
                let delay_ms = self.with_jitter(of, backoff_ms);
                return self.start_undo(&of.step, delay_ms);
            }
            AttemptResult::Output(_) => UndoResult::Failed("the undo answered like a run".into()),
        };
        let before_retry =
            self.state.status == Status::Running && !matches!(ended, UndoResult::Failed(_));
        self.emit(Event::UndoEnded { step: of.step.clone(), result: ended })?;
        if before_retry && self.stopping.is_none() && self.state.cancel.is_none() {
            self.schedule_retry(&of.step)?;
        }
        Ok(())
    }

    /// Rolling back, the downtime ends when the window's first step is undone (R11); as long as
    /// that fails, what was stopped is down.
    fn close_window_undone(&mut self) -> Result<(), IllegalEvent> {
        let Some(started_at) = self.state.downtime_started_at else { return Ok(()) };
        let first = self
            .state
            .steps
            .iter()
            .filter(|(key, _)| self.plan.is_window(&key.step))
            .min_by_key(|(_, step)| step.order);
        let is_back = |status| is_settled(status) && status != StepStatus::UndoFailed;
        let over = first.is_none_or(|(_, step)| !step.needs_undo() || is_back(step.status));
        if over && self.state.downtime_ms.is_none() {
            let downtime_ms = self.now.since_ms(started_at);
            self.emit(Event::DowntimeEnded { downtime_ms })?;
        }
        Ok(())
    }

    fn ask_for_verification(&mut self) {
        let open = self.state.open_attempts().next().is_some();
        let unsettled =
            self.state.steps.values().any(|step| step.needs_undo() && !is_settled(step.status));
        if !open && !unsettled && !self.verify_asked {
            self.verify_asked = true;
            self.decision.commands.push(Command::Verify);
        }
    }
}

fn past_of(step: &StepState) -> Past {
    Past {
        finished: step.output.is_some(),
        output: step.output.clone(),
        effects: step.effects.clone(),
    }
}
