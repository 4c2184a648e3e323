//! Carrying out what was decided: each command tells the driver how it came out, also when it
//! panics, so that nothing waits for ever for an answer that never comes.

use super::*;
use crate::access::panic_text;
use crate::expressions;
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use tracing::Instrument;

/// What the work gives, or what is said instead when it panics.
async fn or_panicked<T>(work: impl Future<Output = T>, said: impl FnOnce(String) -> T) -> T {
    let done = AssertUnwindSafe(work).catch_unwind().await;
    done.unwrap_or_else(|panic| said(format!("a defect of Stepback: {}", panic_text(&*panic))))
}

impl Driver {
    pub(super) fn perform(&mut self, command: Command) {
        match command {
            Command::StartAttempt(order) => self.start_attempt(*order),
            Command::Grant { id } => self.on_word(&id, Ok(())),
            Command::Deny { id, failure } => self.on_word(&id, Err(failure)),
            Command::Interrupt { of } => self.interrupt(&of),
            Command::Evaluate { step, scope } => self.evaluate(step, *scope),
            Command::EvaluateOutputs { scope } => self.evaluate_outputs(*scope),
            Command::Gate { steps } => self.ask_gate(steps),
            Command::Verify => self.verify_due = true,
        }
    }

    /// Do what tells the driver one thing; in a task of its own where anything else is under way.
    /// Without a driver there is nobody to tell.
    fn tell_later(&mut self, work: impl Future<Output = Message> + Send + 'static) {
        self.to_be_heard += 1;
        let outbox = self.outbox.clone();
        let telling = async move {
            let _ = outbox.send(Box::new(work.await)).await;
        };
        if self.here.is_none() && self.tasks.is_empty() {
            self.here = Some(Box::pin(telling));
        } else {
            self.tasks.spawn(telling);
        }
    }

    fn evaluate(&mut self, step: StepId, scope: Scope) {
        let (job, limits, clock) =
            (Arc::clone(&self.job), self.deps.limits.clone(), self.clock.clone());
        self.tell_later(async move {
            let evaluated = expressions::of_step(&job.plan, &limits, &clock, &step, scope).await;
            Message::Evaluated { step, evaluated }
        });
    }

    fn evaluate_outputs(&mut self, scope: Scope) {
        let (job, limits, clock) =
            (Arc::clone(&self.job), self.deps.limits.clone(), self.clock.clone());
        self.tell_later(async move {
            let outputs = expressions::of_outputs(&job.plan, &limits, &clock, scope).await;
            Message::OutputsEvaluated(outputs)
        });
    }

    fn ask_gate(&mut self, steps: Vec<(StepId, Scope)>) {
        let (job, clock) = (Arc::clone(&self.job), self.clock.clone());
        self.tell_later(async move {
            let asked = preflight::gate(&job, &clock, steps);
            Message::Gated { reasons: or_panicked(asked, |said| vec![said]).await }
        });
    }

    /// Look at the world for the verdict. What was kept only to settle an effect by goes first, or
    /// it would be told as left: it goes when the effect's outcome is durable.
    pub(super) async fn verify_if_due(&mut self) -> Result<(), RunError> {
        if !std::mem::take(&mut self.verify_due) {
            return Ok(());
        }
        let mut effects = self.machine.state().steps.values().flat_map(|step| &step.effects);
        if effects.any(|effect| effect.call.entry().leaves_behind) {
            self.await_durable().await?;
        }
        let forgotten = self.all_forgotten();
        let (access, state) = (self.job.access.clone(), self.machine.state().clone());
        self.tell_later(async move {
            forgotten.await;
            let unread = |said: String| {
                let all = state.baselines.iter();
                let unread = |(resource, _): (&Resource, _)| Observation {
                    resource: resource.clone(),
                    now: Err(said.clone()),
                };
                all.map(unread).collect()
            };
            let observations = or_panicked(verify::observe(&access, &state), unread).await;
            Message::Observed { observations }
        });
        Ok(())
    }

    /// What is being cleared away, until it is. What is not by then stays, and is harmless.
    pub(super) fn all_forgotten(&mut self) -> impl Future<Output = ()> + Send + use<> {
        let (mut forgetting, clock) = (std::mem::take(&mut self.forgetting), self.clock.clone());
        async move {
            let forgotten = async { while forgetting.join_next().await.is_some() {} };
            let _ = clock.timeout(Duration::from_millis(FORGET_MS_MAX), forgotten).await;
        }
    }

    fn start_attempt(&mut self, order: AttemptOrder) {
        let stop = StopSignal::new();
        self.attempts.insert(order.of.clone(), stop.clone());
        let port = self.port(&order, stop);
        self.to_be_told.insert(order.of.clone(), Arc::clone(&port.to_be_told));
        let job = Arc::clone(&self.job);
        let AttemptId { step, direction, attempt } = &order.of;
        let span = tracing::info_span!("attempt", %step, ?direction, number = attempt.0);
        let of = order.of.clone();
        // In a place of its own: whatever has a future within it has room for that twice.
        let run = Box::pin(attempt::run(job, order, port));
        self.tell_later(async move {
            let failed = |said| AttemptResult::Failed(Failure::new(FailureClass::Internal, said));
            let run = run.instrument(span);
            let result = or_panicked(run, failed).await;
            Message::AttemptEnded { of, result }
        });
    }
}
