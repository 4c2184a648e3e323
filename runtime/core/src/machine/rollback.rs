//! Rolling back: which undo may start, and what follows when one ends (R6, R7).
//!
//! [`UndoOrder`] says which comes next. A failed undo does not stop the others; only an undo that
//! would touch what the failed one left is not tried, because it could do harm there.

use super::undo_order::UndoOrder;
use super::*;
use crate::calls::Class;
use crate::event::UndoResult;
use crate::resource::Facts;
use crate::step::UndoAnswer;

/// How often an undo is tried before it is given up (R15).
pub const UNDO_ATTEMPTS_MAX: u32 = 3;
/// How long undos are tried on, all of a rollback together, while the provider says *try again*: an
/// engine that is started again comes back within that, and nobody else brings the service back.
pub const UNDO_PATIENCE_MS: u64 = 90_000;
/// The pause before an undo's second attempt; it doubles from there.
pub const UNDO_BACKOFF_MS: u64 = 200;

impl Machine {
    pub(super) fn advance_rollback(&mut self) -> Result<(), IllegalEvent> {
        if self.undo_order.is_none() {
            self.undo_order = Some(UndoOrder::of(&self.plan, &self.state));
            #[cfg(feature = "mutants")]
            if self.mutant == Some(Mutant::UndoIgnoresFacts) {
                self.undo_order = Some(UndoOrder::without_facts(&self.plan, &self.state));
            }
        }
        loop {
            let Some(order) = &mut self.undo_order else { return Ok(()) };
            match order.take_ready() {
                Some((key, None)) => self.start_undo_of_rollback(&key)?,
                Some((key, Some(by))) => {
                    // Whatever it took down stays down.
                    self.open_window_again(&key)?;
                    let why = format!("not tried, because `{by}` could not be undone");
                    let result = UndoResult::Failed(why);
                    self.emit(Event::UndoEnded { step: key, result })?;
                }
                None if order.is_over() || !self.index.open().is_empty() => break,
                None => order.break_circle(),
            }
        }
        self.close_window_undone()?;
        self.ask_for_verification();
        Ok(())
    }

    fn start_undo_of_rollback(&mut self, key: &StepKey) -> Result<(), IllegalEvent> {
        #[cfg(feature = "mutants")]
        if self.mutant == Some(Mutant::WindowStaysShut) {
            return self.start_undo(key, 0);
        }
        self.open_window_again(key)?;
        self.start_undo(key, 0)
    }

    /// What a window that is over brought about is taken back: the service goes down once more.
    fn open_window_again(&mut self, key: &StepKey) -> Result<(), IllegalEvent> {
        match self.plan.is_window(&key.step) && self.state.downtime.total_ms().is_some() {
            true => self.emit(Event::DowntimeStarted),
            false => Ok(()),
        }
    }

    pub(super) fn start_undo(&mut self, key: &StepKey, delay_ms: u64) -> Result<(), IllegalEvent> {
        let Some(step) = self.state.steps.get(key) else { return Ok(()) };
        let attempt = Attempt(step.undo_attempts.0 + 1);
        let past = step.past();
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
            AttemptResult::Failed(failure)
                if tries >= UNDO_ATTEMPTS_MAX && !self.is_patient_with(failure) =>
            {
                UndoResult::Failed(failure.message.clone())
            }
            AttemptResult::Failed(_) => {
                let backoff_ms = UNDO_BACKOFF_MS << (tries - 1).min(6);
                let delay_ms = self.with_jitter(of, backoff_ms);
                return self.start_undo(&of.step, delay_ms);
            }
            AttemptResult::Output(_) => UndoResult::Failed("the undo answered like a run".into()),
        };
        // Where it can't be taken back, it is not tried again (R5).
        let before_retry =
            self.state.status == Status::Running && !matches!(ended, UndoResult::Failed(_));
        self.emit(Event::UndoEnded { step: of.step.clone(), result: ended })?;
        if before_retry && self.stopping.is_none() && self.state.cancel.is_none() {
            self.schedule_retry(&of.step)?;
        }
        Ok(())
    }

    /// Whether what may pass is waited for a while longer, which begins with the first of these.
    fn is_patient_with(&mut self, failure: &Failure) -> bool {
        if failure.class != FailureClass::Transient {
            return false;
        }
        let until = UnixMs(self.now.0.saturating_add(UNDO_PATIENCE_MS));
        self.now < *self.patience_until.get_or_insert(until)
    }

    /// Rolling back, the downtime ends when everything the window stopped is back (R11); as long
    /// as one undo of the window's is to come or has failed, the service may be down.
    fn close_window_undone(&mut self) -> Result<(), IllegalEvent> {
        let is_back = self.undo_order.as_ref().is_some_and(UndoOrder::is_service_back);
        #[cfg(feature = "mutants")]
        let is_back = is_back || self.mutant == Some(Mutant::WindowClosesEarly);
        match self.state.downtime.since.filter(|_| is_back && !self.took_a_service_away()) {
            Some(since) => {
                self.emit(Event::DowntimeEnded { downtime_ms: self.now.since_ms(since) })
            }
            None => Ok(()),
        }
    }

    /// Whether something may have taken away for good what ran and what the window is about: no
    /// undo brings that back, and whether the service is there is told by a look alone.
    fn took_a_service_away(&self) -> bool {
        let is_gone = |change: &Change| match &change.after {
            None | Some(Facts::Absent | Facts::Unknown(_)) => true,
            Some(after) => after.get("state").is_some_and(|state| state == "terminated"),
        };
        let services: Vec<_> = self.services_of_window().collect();
        let ran = |change: &Change| {
            services.iter().any(|(resource, before)| change.is_of(resource, before))
        };
        let effects = self.state.steps.values().flat_map(|step| &step.effects);
        effects.into_iter().any(|effect| {
            let is_made = !matches!(effect.outcome, EffectOutcome::Refused(_));
            is_made
                && effect.call.class() == Class::Irreversible
                && effect.changes.iter().any(|change| ran(change) && is_gone(change))
        })
    }

    fn ask_for_verification(&mut self) {
        let is_over = self.undo_order.as_ref().is_some_and(UndoOrder::is_over);
        if is_over && self.index.open().is_empty() && !self.verify_asked {
            self.verify_asked = true;
            self.decision.commands.push(Command::Verify);
        }
    }
}
