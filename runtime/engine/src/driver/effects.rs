//! Effects: allowed or not, made in tasks that no guest can drop, settled before anyone hears.

use super::*;
use crate::access::panic_text;
use crate::guard::{Going, Guard};
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use stepback_provider::looked::Looked;
use stepback_provider::{Note, Notes};
use tracing::Instrument;

/// What of a container a `with` has to say.
const UNSAID: &str = "its image, its command, its environment or what it is like";

impl Driver {
    pub(super) fn on_effect_wanted(
        &mut self,
        id: CallId,
        call: Call,
        token: Token,
        reply: oneshot::Sender<Result<(), Failure>>,
    ) -> Result<(), RunError> {
        self.wanted.insert(id.clone(), reply);
        self.handle(Input::EffectWanted { id, call, token })
    }

    /// Tell a guest whether its effect may be made.
    pub(super) fn on_word(&mut self, id: &CallId, word: Result<(), Failure>) {
        if let Some(reply) = self.wanted.remove(id) {
            // The guest may be gone; then it asks again, or nobody does.
            let _ = reply.send(word);
        }
    }

    pub(super) fn on_effect_asked(
        &mut self,
        id: CallId,
        call: Call,
        token: Token,
        changes: Vec<Change>,
        reverses: bool,
        reply: oneshot::Sender<Reply>,
    ) -> Result<(), RunError> {
        let stopped = self.attempts.get(&id.of).is_some_and(StopSignal::is_stopped);
        let denied = match stopped {
            true => Some(cancelled(call.function())),
            false => self.denial(&id, &call, &changes, reverses),
        };
        if let Some(failure) = denied {
            let result = Err(failure.clone());
            self.handle(Input::Answered { id, call, result })?;
            // The guest may be gone; then nobody waits for it.
            let _ = reply.send(Err(failure));
            return Ok(());
        }
        self.handle(Input::EffectAsked { id: id.clone(), call, token, changes })?;
        self.intents.push_back((self.machine.state().last_seq, id, reply));
        Ok(())
    }

    /// An irreversible call is for steps that are declared irreversible, and for what this
    /// operation created. What runs by a start that nobody declared must have run before.
    pub(super) fn denial(
        &self,
        id: &CallId,
        call: &Call,
        changes: &[Change],
        reverses: bool,
    ) -> Option<Failure> {
        #[cfg(feature = "mutants")]
        if self.deps.limits.mutant == Some(crate::mutants::Mutant::TakesStrangers) {
            return None;
        }
        let state = self.machine.state();
        let starts_unsaid = !reverses && state.starts_unsaid(call, changes);
        if !starts_unsaid && !state.is_irreversible(call, changes) {
            return None;
        }
        let declared = self.job.plan.step(&id.of.step.step);
        let declared = declared.is_some_and(|step| step.irreversible.is_some());
        let message = match id.of.direction {
            Direction::Do if declared => return None,
            Direction::Do if starts_unsaid => format!(
                "{} starts what no step's `with` says ({UNSAID}), and what that does can't be \
                 undone; the step must declare `irreversible` for it",
                call.function()
            ),
            Direction::Undo if starts_unsaid => format!(
                "{} starts what no step's `with` says ({UNSAID}), and an undo may do that only \
                 where it takes a stop back",
                call.function()
            ),
            Direction::Do => format!(
                "{} can't be undone; the step must declare `irreversible` for it",
                call.function()
            ),
            Direction::Undo => {
                let is_foreign = |change: &&Change| !state.is_own(&change.resource, &change.before);
                let foreign = changes.iter().find(is_foreign);
                let foreign = foreign.map_or("this".to_owned(), |one| one.resource.to_string());
                format!(
                    "{} can't be undone, and an undo may do that only to what this operation \
                     created: {foreign} is another's",
                    call.function()
                )
            }
        };
        Some(Failure::new(FailureClass::Denied, message))
    }

    /// Start the task that makes an effect, or takes one up that was cut off.
    pub(super) fn make_effect(
        &mut self,
        id: CallId,
        cut_off: bool,
        reply: Option<oneshot::Sender<Reply>>,
    ) {
        let Some(effect) = self.machine.state().effect(&id).cloned() else { return };
        let mut context = self.context(&effect);
        let cancel = context.cancel.clone();
        let stop = self.attempts.get(&id.of).cloned().unwrap_or_default();
        let undo = context.undo;
        if stop.is_stopped() {
            cancel.cancel();
        }
        let mut permit = IssuePermit {
            store: Arc::clone(&self.deps.store),
            lease: self.lease.clone(),
            goes_forward: Box::new(move || undo || !stop.is_stopped()),
            denied: None,
        };
        let guard = self.job.guard(&id.of.step.step);
        self.in_flight.insert(id.clone(), InFlight { reply, cancel });
        let (access, outbox) = (self.job.access.clone(), self.outbox.clone());
        let AttemptId { step, direction, .. } = &id.of;
        let span = tracing::info_span!("effect", %step, ?direction, cut_off);
        // Not one of `tasks`: those are dropped when the operation is left, effects never are.
        let making = async move {
            // What is issued again goes forward, and may not be granted any more. And whoever
            // waited for its turn goes by what there is now.
            let going = if undo { Going::Back } else { Going::Forward };
            let is_again = cut_off && !undo;
            if is_again || Guard::goes_by_a_container(&effect.call) {
                let asked = tokio::select! {
                    biased;
                    () = context.cancel.cancelled() => Err(cancelled(effect.call.function())),
                    asked = guard.permit(&access, &effect.call, going) => asked,
                };
                match asked {
                    Ok(looked) => context.looked = looked,
                    // It may have gone out before: that is settled first.
                    Err(failure) if cut_off => permit.denied = Some(failure),
                    Err(failure) => {
                        let (outcome, changes) = (EffectOutcome::Refused(failure), effect.changes);
                        let ended = Message::EffectEnded { id, outcome, changes };
                        let _ = outbox.send(Box::new(ended)).await;
                        return;
                    }
                }
            }
            let changes = effect.changes.clone();
            let made = access.make(&effect.call, &context, effect.changes, cut_off, &permit);
            let made = AssertUnwindSafe(made).catch_unwind().await;
            let message = match made {
                Ok(Ok((outcome, changes))) => Message::EffectEnded { id, outcome, changes },
                Ok(Err(error)) => Message::LeaseLost(error),
                // It may have gone as far as it likes before that.
                Err(panic) => {
                    let why = format!("a defect of Stepback: {}", panic_text(&*panic));
                    Message::EffectEnded { id, outcome: EffectOutcome::Unknown(why), changes }
                }
            };
            // Without a driver there is nobody to tell; whoever resumes settles it.
            let _ = outbox.send(Box::new(message)).await;
        };
        tokio::spawn(making.instrument(span));
    }

    /// The name that tokens and epochs of this operation have in them.
    pub(super) fn store(&self) -> StoreId {
        let pinned = self.machine.state().pinned.as_ref();
        pinned.map_or_else(|| self.deps.store.id(), |pinned| pinned.store.clone())
    }

    fn context(&self, effect: &PastEffect) -> EffectContext {
        EffectContext {
            store: self.store(),
            operation: self.lease.operation,
            token: effect.token.clone(),
            epoch: self.lease.epoch,
            undo: effect.id.of.direction == Direction::Undo,
            cancel: CancellationToken::new(),
            looked: Looked::default(),
            notes: self.notes(&effect.id.of, &effect.call),
        }
    }

    /// What a provider says while it makes an effect, in the log of the effect's step.
    fn notes(&self, of: &AttemptId, call: &Call) -> Notes {
        // An effect outlives an operation that is left here, and its log is closed then.
        let (logs, clock, of) = (self.logs.downgrade(), self.clock.clone(), of.clone());
        let (secrets, call) = (Arc::clone(&self.job.access.secrets), call.clone());
        let said = move |text| secrets.redact_noted(Some(&call), text);
        Notes::new(move |note| {
            let Some(logs) = logs.upgrade() else { return };
            let line = |level, text| {
                logs.line(clock.unix(), &of, level, said(text));
            };
            match note {
                Note::Info(text) => line("info", text),
                Note::Warn(text) => line("warn", text),
                Note::Progress { text, done, total } => {
                    logs.progress(&of.step, &said(text), done, total);
                }
            }
        })
    }

    /// What was kept only to settle this effect by may go: its outcome is durable.
    pub(super) fn forget(&mut self, id: &CallId) {
        let Some(effect) = self.machine.state().effect(id) else { return };
        if !effect.call.entry().leaves_behind {
            return;
        }
        let (call, context) = (effect.call.clone(), self.context(effect));
        let access = self.job.access.clone();
        self.forgetting.spawn(async move { access.forget(&call, &context).await });
    }

    pub(super) fn on_effect_taken_up(&mut self, id: &CallId, reply: oneshot::Sender<Reply>) {
        if let Some(effect) = self.in_flight.get_mut(id) {
            effect.reply = Some(reply);
        } else if let Some(effect) = self.machine.state().effect(id) {
            let _ = reply.send(answer_of(&effect.call, &effect.outcome));
        }
    }

    pub(super) fn on_effect_ended(
        &mut self,
        id: CallId,
        outcome: EffectOutcome,
        changes: Vec<Change>,
    ) -> Result<(), RunError> {
        let in_flight = self.in_flight.remove(&id);
        let answer = match self.machine.state().effect(&id) {
            Some(effect) => answer_of(&effect.call, &outcome),
            None => Err(Failure::new(FailureClass::Internal, "an effect nobody asked for")),
        };
        let of = id.of.clone();
        let effect = self.machine.state().effect(&id);
        if let (Some(told), Some(effect)) = (self.to_be_told.get(&of), effect) {
            told.finished(&effect.changes, &changes);
        }
        self.handle(Input::EffectFinished { id, outcome, changes })?;
        if let Some(reply) = in_flight.and_then(|effect| effect.reply) {
            let _ = reply.send(answer);
        }
        self.end_attempt(&of)
    }

    /// Make an effect whose intent is durable, unless its attempt was told to end meanwhile.
    pub(super) fn make_or_drop(
        &mut self,
        id: CallId,
        reply: oneshot::Sender<Reply>,
    ) -> Result<(), RunError> {
        if !self.attempts.get(&id.of).is_some_and(StopSignal::is_stopped) {
            self.make_effect(id, false, Some(reply));
            return Ok(());
        }
        let Some(effect) = self.machine.state().effect(&id) else { return Ok(()) };
        let failure = cancelled(effect.call.function());
        let unchanged =
            |change: &Change| Change { after: Some(change.before.clone()), ..change.clone() };
        let changes = effect.changes.iter().map(unchanged).collect();
        let _ = reply.send(Err(failure.clone()));
        self.on_effect_ended(id, EffectOutcome::Refused(failure), changes)
    }
}

/// The effects that were in flight when the last runner ended.
pub(super) fn unfinished_effects(state: &State) -> Vec<CallId> {
    let of_step = |open: &OpenAttempt| -> Vec<CallId> {
        let calls = open.calls.iter().zip(1u32..);
        let unfinished =
            calls.filter(|(call, _)| matches!(call, RecordedCall::Effect { finished: false, .. }));
        unfinished
            .map(|(_, number)| CallId { of: open.id.clone(), number: CallNumber(number) })
            .collect()
    };
    state.open_attempts().flat_map(of_step).collect()
}

/// The effects whose outcome is durable.
pub(super) fn finished_effects(state: &State) -> Vec<CallId> {
    let unfinished = unfinished_effects(state);
    let all = state.steps.values().flat_map(|step| &step.effects);
    all.map(|effect| effect.id.clone()).filter(|id| !unfinished.contains(id)).collect()
}
