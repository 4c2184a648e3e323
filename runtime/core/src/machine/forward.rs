//! Going forward: which steps are ready, and what starting one takes.

use super::*;
use crate::evaluate::{self, Evaluated, Outputs};
use crate::event::FinalStatus;

/// Whether a pass changed anything.
#[derive(PartialEq, Eq)]
pub(super) enum Progress {
    Made,
    None,
}

impl Machine {
    pub(super) fn advance_forward(&mut self) -> Result<(), IllegalEvent> {
        loop {
            // After the first failure no further step starts, not even in the same pass.
            self.notice_reasons_to_stop();
            if self.stopping.is_some() {
                return self.advance_running();
            }
            if self.advance_once()? == Progress::None {
                return Ok(());
            }
        }
    }

    fn advance_once(&mut self) -> Result<Progress, IllegalEvent> {
        let window_is_open = self.state.downtime.has_begun();
        if let Some(place) = self.index.next_ready(window_is_open, self.state.committed) {
            self.start(place)?;
            return Ok(Progress::Made);
        }
        if let Some(key) = self.index.next_in_turn() {
            let with = self.state.steps.get(&key).map(|step| step.with.clone()).unwrap_or_default();
            self.start_run(key, with)?;
            return Ok(Progress::Made);
        }
        if self.start_due_retry()? == Progress::Made || self.open_window()? == Progress::Made {
            return Ok(Progress::Made);
        }
        self.close_window()?;
        if !self.state.committed && self.index.left.body == 0 {
            self.emit(Event::Committed)?;
            return Ok(Progress::Made);
        }
        self.finish_if_complete()?;
        Ok(Progress::None)
    }

    /// The step's output for expressions, once it is complete: a map by key for `for_each`.
    pub(super) fn output_of(&self, id: &StepId) -> Option<Value> {
        let output = |key: Option<EachKey>| {
            let step = self.state.steps.get(&StepKey { step: id.clone(), key })?;
            index::is_complete(step.status).then(|| step.output.clone().unwrap_or(Value::Null))
        };
        let Some(instances) = self.state.expanded.get(id) else { return output(None) };
        let named = |(key, _): &(EachKey, Value)| Some((key.0.clone(), output(Some(key.clone()))?));
        let outputs: Option<serde_json::Map<_, _>> = instances.iter().map(named).collect();
        outputs.map(Value::Object)
    }

    /// Evaluate the step in place, or ask for it.
    fn start(&mut self, place: usize) -> Result<(), IllegalEvent> {
        let plan = Arc::clone(&self.plan);
        let scope = self.scope(place);
        if plan.is_simple(place) {
            let evaluated = evaluate::step(plan.at(place), &scope);
            return self.begin(place, evaluated);
        }
        self.index.take_ready(place);
        let (step, scope) = (plan.at(place).id.clone(), Box::new(scope));
        self.decision.commands.push(Command::Evaluate { step, scope });
        Ok(())
    }

    pub(super) fn handle_evaluated(
        &mut self,
        step: &StepId,
        evaluated: Evaluated,
    ) -> Result<(), IllegalEvent> {
        // The operation may have come to its end meanwhile; then nothing starts any more.
        self.notice_reasons_to_stop();
        let goes_on = self.state.status == Status::Running && self.stopping.is_none();
        match self.plan.place(step).filter(|place| goes_on && !self.index.has_begun(*place)) {
            Some(place) => self.begin(place, evaluated),
            None => Ok(()),
        }
    }

    fn begin(&mut self, place: usize, evaluated: Evaluated) -> Result<(), IllegalEvent> {
        let id = self.plan.at(place).id.clone();
        let plain = StepKey { step: id.clone(), key: None };
        match evaluated {
            Evaluated::Skipped => self.emit(Event::StepSkipped { step: plain }),
            Evaluated::Failed { what, why } => {
                self.fail_to_start(plain, format!("`{what}` can't be evaluated: {why}"))
            }
            Evaluated::Once(Ok(with)) => self.start_instance(plain, with),
            Evaluated::Once(Err(why)) => self.fail_to_start(plain, why),
            Evaluated::Each(all) => {
                let instances = all.iter().map(|one| (one.key.clone(), one.value.clone()));
                let instances = instances.collect();
                self.emit(Event::StepExpanded { step: id.clone(), instances })?;
                let key = |key: &EachKey| StepKey { step: id.clone(), key: Some(key.clone()) };
                let failed = all.iter().find_map(|one| Some((&one.key, one.with.as_ref().err()?)));
                if let (Some((failed, why)), false) = (failed, self.state.committed) {
                    return self.fail_to_start(key(failed), why.clone());
                }
                // Past the commit point a failure stops nothing: each instance has its end.
                for one in &all {
                    match &one.with {
                        Ok(with) => self.start_instance(key(&one.key), with.clone())?,
                        Err(why) => self.fail_to_start(key(&one.key), why.clone())?,
                    }
                }
                Ok(())
            }
        }
    }

    fn start_instance(&mut self, key: StepKey, with: Value) -> Result<(), IllegalEvent> {
        self.emit(Event::StepStarted { step: key.clone(), with: with.clone() })?;
        // One of which there may be so many at a time begins at its turn.
        match self.plan.at_most(&key.step) {
            None => self.start_run(key, with),
            Some(_) => Ok(()),
        }
    }

    fn start_run(&mut self, step: StepKey, input: Value) -> Result<(), IllegalEvent> {
        let last = self.state.steps.get(&step).map_or(0, |step| step.attempts.0);
        let of = AttemptId { step, direction: Direction::Do, attempt: Attempt(last + 1) };
        self.emit(Event::AttemptStarted { of: of.clone() })?;
        let order = AttemptOrder { of, input, past: None, delay_ms: 0 };
        self.decision.commands.push(Command::StartAttempt(Box::new(order)));
        Ok(())
    }

    fn fail_to_start(&mut self, step: StepKey, why: String) -> Result<(), IllegalEvent> {
        self.emit(Event::StepStarted { step: step.clone(), with: Value::Null })?;
        let of = AttemptId { step, direction: Direction::Do, attempt: Attempt(1) };
        self.emit(Event::AttemptStarted { of: of.clone() })?;
        let failure = Failure::new(FailureClass::InvalidInput, why);
        self.emit(Event::AttemptFinished { of, result: AttemptResult::Failed(failure) })
    }

    fn start_due_retry(&mut self) -> Result<Progress, IllegalEvent> {
        let due = self.index.next_retry().filter(|(at, _)| *at <= self.now);
        let Some((_, key)) = due.cloned() else { return Ok(Progress::None) };
        let with = self.state.steps.get(&key).map(|step| step.with.clone()).unwrap_or_default();
        self.start_run(key, with)?;
        Ok(Progress::Made)
    }

    fn finish_if_complete(&mut self) -> Result<(), IllegalEvent> {
        if !self.state.committed || self.index.left.all > 0 || self.outputs_asked {
            return Ok(());
        }
        let scope = self.whole_scope();
        if self.plan.outputs_are_simple() {
            let outputs = evaluate::outputs(self.plan.manifest(), &scope);
            return self.finish(outputs);
        }
        self.outputs_asked = true;
        self.decision.commands.push(Command::EvaluateOutputs { scope: Box::new(scope) });
        Ok(())
    }

    pub(super) fn finish(&mut self, outputs: Outputs) -> Result<(), IllegalEvent> {
        let Outputs { values: outputs, unknown: unknown_outputs } = outputs;
        let status = FinalStatus::Succeeded;
        self.emit(Event::Finished { status, outputs, unknown_outputs })
    }

    /// After a run's attempt: done, tried again, or failed for good (R5).
    pub(super) fn after_run(
        &mut self,
        of: &AttemptId,
        result: &AttemptResult,
    ) -> Result<(), IllegalEvent> {
        let AttemptResult::Failed(failure) = result else { return Ok(()) };
        let stopping = self.stopping.is_some() || self.state.cancel.is_some();
        let retry = self.plan.step(&of.step.step).and_then(|step| step.retry.as_ref());
        let Some(retry) = retry.filter(|retry| retry.covers(failure)) else { return Ok(()) };
        let has_effects = self.state.steps.get(&of.step).is_some_and(|s| s.needs_undo());
        // What an attempt did after the commit point is not taken back.
        let stays = has_effects && self.state.committed && !failure.is_retryable();
        if stopping || stays || of.attempt.0 >= retry.attempts {
            return Ok(());
        }
        if has_effects && !self.state.committed {
            self.start_undo(&of.step, 0)
        } else {
            self.schedule_retry(&of.step)
        }
    }

    pub(super) fn schedule_retry(&mut self, key: &StepKey) -> Result<(), IllegalEvent> {
        let attempt = self.state.steps.get(key).map_or(Attempt(1), |step| step.attempts);
        let of = AttemptId { step: key.clone(), direction: Direction::Do, attempt };
        let delay_ms = match self.plan.step(&key.step).and_then(|step| step.retry.as_ref()) {
            Some(retry) => {
                let doublings = attempt.0.saturating_sub(1).min(20);
                let doubled = retry.backoff_min_ms.saturating_mul(1 << doublings);
                self.with_jitter(&of, doubled.min(retry.backoff_max_ms))
            }
            None => 0,
        };
        let not_before = UnixMs(self.now.0.saturating_add(delay_ms));
        self.emit(Event::RetryScheduled { step: key.clone(), not_before })
    }
}
