//! Going forward: which steps are ready, and what starting one takes.

use super::*;
use crate::expr;
use crate::manifest::{Phase, Step};

/// Whether a pass over the plan changed anything.
#[derive(PartialEq, Eq)]
enum Progress {
    Made,
    None,
}

impl Machine {
    pub(super) fn advance_forward(&mut self) -> Result<(), IllegalEvent> {
        loop {
            let plan = Arc::clone(&self.plan);
            let mut progress = Progress::None;
            for place in 0..plan.count() {
                if self.is_next(place) && self.start_if_ready(place)? == Progress::Made {
                    progress = Progress::Made;
                }
            }
            self.start_due_retries()?;
            self.close_window()?;
            if self.commit_if_complete()? == Progress::Made {
                continue;
            }
            if progress == Progress::None {
                break;
            }
        }
        self.notice_reasons_to_stop();
        if self.stopping.is_some() {
            return self.advance_running();
        }
        self.finish_if_complete()
    }

    /// The step's output for expressions, once it is complete: a map by key for `for_each`.
    pub(super) fn output_of(&self, id: &StepId) -> Option<Value> {
        if let Some(instances) = self.state.expanded.get(id) {
            let mut outputs = serde_json::Map::new();
            for (key, _) in instances {
                let at = StepKey { step: id.clone(), key: Some(key.clone()) };
                let step = self.state.steps.get(&at).filter(|s| self.is_complete(s.status))?;
                outputs.insert(key.0.clone(), step.output.clone().unwrap_or(Value::Null));
            }
            return Some(Value::Object(outputs));
        }
        let at = StepKey { step: id.clone(), key: None };
        let step = self.state.steps.get(&at).filter(|step| self.is_complete(step.status))?;
        Some(step.output.clone().unwrap_or(Value::Null))
    }

    /// Whether every instance of the step is complete.
    pub(super) fn is_step_complete(&self, id: &StepId) -> bool {
        let complete = |key: StepKey| {
            self.state.steps.get(&key).is_some_and(|step| self.is_complete(step.status))
        };
        match self.state.expanded.get(id) {
            None => complete(StepKey { step: id.clone(), key: None }),
            Some(instances) => instances
                .iter()
                .all(|(key, _)| complete(StepKey { step: id.clone(), key: Some(key.clone()) })),
        }
    }

    fn is_complete(&self, status: StepStatus) -> bool {
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

    pub(super) fn has_begun(&self, id: &StepId) -> bool {
        self.state.expanded.contains_key(id)
            || self.state.steps.contains_key(&StepKey { step: id.clone(), key: None })
    }

    /// Whether all that the step at a place waits for is complete, and it has not begun.
    fn is_next(&self, place: usize) -> bool {
        !self.begun[place]
            && self.plan.needs(place).iter().all(|need| self.complete[*need])
            && (self.state.committed || self.plan.at(place).phase != Phase::Cleanup)
    }

    fn start_if_ready(&mut self, place: usize) -> Result<Progress, IllegalEvent> {
        let plan = Arc::clone(&self.plan);
        let step = plan.at(place);
        let mut scope = self.scope(place);
        match self.is_wanted(step, &scope) {
            Ok(true) => {}
            Ok(false) => {
                let key = StepKey { step: step.id.clone(), key: None };
                self.emit(Event::StepSkipped { step: key })?;
                return Ok(Progress::Made);
            }
            Err(why) => return self.fail_step(step, "when", why),
        }
        if self.plan.is_window(&step.id) && !self.open_window()? {
            return Ok(Progress::None);
        }
        let Some(each) = &step.for_each else {
            let key = StepKey { step: step.id.clone(), key: None };
            return self.start_instance(step, key, &scope);
        };
        let instances = match expr::evaluate_each(each, &scope) {
            Ok(instances) => instances,
            Err(why) => return self.fail_step(step, "for_each", why.to_string()),
        };
        self.emit(Event::StepExpanded { step: step.id.clone(), instances: instances.clone() })?;
        for (key, value) in instances {
            scope.each = Some((key.clone(), value));
            let key = StepKey { step: step.id.clone(), key: Some(key) };
            self.start_instance(step, key, &scope)?;
        }
        Ok(Progress::Made)
    }

    fn is_wanted(&self, step: &Step, scope: &Scope) -> Result<bool, String> {
        match &step.when {
            None => Ok(true),
            Some(when) => expr::evaluate_bool(when, scope).map_err(|why| why.to_string()),
        }
    }

    fn start_instance(
        &mut self,
        step: &Step,
        key: StepKey,
        scope: &Scope,
    ) -> Result<Progress, IllegalEvent> {
        let with = match expr::evaluate_value(&step.with, scope) {
            Ok(with) => with,
            Err(why) => {
                self.emit(Event::StepStarted { step: key.clone(), with: Value::Null })?;
                return self.fail_started(key, format!("`with` can't be evaluated: {why}"));
            }
        };
        self.emit(Event::StepStarted { step: key.clone(), with: with.clone() })?;
        self.start_run(key, with)?;
        Ok(Progress::Made)
    }

    fn start_run(&mut self, step: StepKey, input: Value) -> Result<(), IllegalEvent> {
        let last = self.state.steps.get(&step).map_or(0, |step| step.attempts.0);
        let of = AttemptId { step, direction: Direction::Do, attempt: Attempt(last + 1) };
        self.emit(Event::AttemptStarted { of: of.clone() })?;
        let order = AttemptOrder { of, input, past: None, delay_ms: 0 };
        self.decision.commands.push(Command::StartAttempt(Box::new(order)));
        Ok(())
    }

    fn fail_step(
        &mut self,
        step: &Step,
        what: &str,
        why: String,
    ) -> Result<Progress, IllegalEvent> {
        let key = StepKey { step: step.id.clone(), key: None };
        self.emit(Event::StepStarted { step: key.clone(), with: Value::Null })?;
        self.fail_started(key, format!("`{what}` can't be evaluated: {why}"))
    }

    fn fail_started(&mut self, step: StepKey, why: String) -> Result<Progress, IllegalEvent> {
        let of = AttemptId { step, direction: Direction::Do, attempt: Attempt(1) };
        self.emit(Event::AttemptStarted { of: of.clone() })?;
        let failure = Failure::new(FailureClass::InvalidInput, why);
        self.emit(Event::AttemptFinished { of, result: AttemptResult::Failed(failure) })?;
        Ok(Progress::Made)
    }

    /// Whether downtime steps may start: all that comes before the window is complete, and every
    /// check from the window on passed at the last moment (R10).
    fn open_window(&mut self) -> Result<bool, IllegalEvent> {
        if self.state.downtime_started_at.is_some() {
            return Ok(true);
        }
        let plan = Arc::clone(&self.plan);
        let window = || plan.steps().filter(|step| plan.is_window(&step.id));
        let before = window().flat_map(|step| plan.dependencies(&step.id).iter());
        let ready = before.filter(|id| !plan.is_window(id)).all(|id| self.is_step_complete(id));
        if !ready {
            return Ok(false);
        }
        match self.gate {
            Gate::NotAsked => {
                self.gate = Gate::Asked;
                let steps = self.checkable_from_window();
                self.decision.commands.push(Command::Gate { steps });
                Ok(false)
            }
            Gate::Asked => Ok(false),
            Gate::Passed => {
                self.emit(Event::DowntimeStarted)?;
                Ok(true)
            }
        }
    }

    /// The steps from the window on whose inputs are known by now.
    fn checkable_from_window(&self) -> Vec<(StepKey, Value)> {
        let mut checkable = vec![];
        for place in 0..self.plan.count() {
            let step = self.plan.at(place);
            let later = matches!(step.phase, Phase::Downtime | Phase::Cleanup);
            if self.begun[place] || !later || step.for_each.is_some() {
                continue;
            }
            let scope = self.scope(place);
            if matches!(self.is_wanted(step, &scope), Ok(false) | Err(_)) {
                continue;
            }
            if let Ok(with) = expr::evaluate_value(&step.with, &scope) {
                checkable.push((StepKey { step: step.id.clone(), key: None }, with));
            }
        }
        checkable
    }

    fn start_due_retries(&mut self) -> Result<(), IllegalEvent> {
        let due: Vec<(StepKey, Value)> = self
            .state
            .active_steps()
            .filter(|(_, step)| step.status == StepStatus::WaitingRetry)
            .filter(|(_, step)| step.not_before.is_none_or(|at| at <= self.now))
            .map(|(key, step)| (key.clone(), step.with.clone()))
            .collect();
        for (key, with) in due {
            self.start_run(key, with)?;
        }
        Ok(())
    }

    fn close_window(&mut self) -> Result<(), IllegalEvent> {
        let Some(started_at) = self.state.downtime_started_at else { return Ok(()) };
        if self.state.downtime_ms.is_none()
            && self.all_complete(|step| step.phase == Phase::Downtime)
        {
            let downtime_ms = self.now.since_ms(started_at);
            self.emit(Event::DowntimeEnded { downtime_ms })?;
        }
        Ok(())
    }

    fn all_complete(&self, among: impl Fn(&Step) -> bool) -> bool {
        let mut places = 0..self.plan.count();
        places.all(|place| self.complete[place] || !among(self.plan.at(place)))
    }

    fn commit_if_complete(&mut self) -> Result<Progress, IllegalEvent> {
        if self.state.committed || !self.all_complete(|step| step.phase != Phase::Cleanup) {
            return Ok(Progress::None);
        }
        self.emit(Event::Committed)?;
        Ok(Progress::Made)
    }

    fn finish_if_complete(&mut self) -> Result<(), IllegalEvent> {
        if !self.state.committed || !self.all_complete(|_| true) {
            return Ok(());
        }
        let plan = Arc::clone(&self.plan);
        let scope = self.whole_scope();
        let (mut outputs, mut unknown_outputs) = (BTreeMap::new(), BTreeMap::new());
        for (name, template) in &plan.manifest().outputs {
            let value = expr::evaluate_value(&Value::String(template.clone()), &scope);
            let value = value.unwrap_or_else(|why| {
                unknown_outputs.insert(name.clone(), why.to_string());
                Value::Null
            });
            outputs.insert(name.clone(), value);
        }
        let status = crate::event::FinalStatus::Succeeded;
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
        let attempts_max = match self.plan.step(&of.step.step).and_then(|s| s.retry.as_ref()) {
            Some(retry) => retry.attempts,
            None => 1,
        };
        if stopping || !failure.is_retryable() || of.attempt.0 >= attempts_max {
            return Ok(());
        }
        let has_effects = self.state.steps.get(&of.step).is_some_and(|s| s.needs_undo());
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
                let doubled = retry.backoff_min_ms.saturating_mul(1 << (attempt.0 - 1).min(20));
                self.with_jitter(&of, doubled.min(retry.backoff_max_ms))
            }
            None => 0,
        };
        let not_before = UnixMs(self.now.0 + delay_ms);
        self.emit(Event::RetryScheduled { step: key.clone(), not_before })
    }
}
