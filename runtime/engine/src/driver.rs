//! The driver of one operation: one queue in, the machine decides, records are made durable,
//! commands are carried out (R1).
//!
//! It is the only one that appends. Reads and waits pile up in `pending` and ride along with the
//! next flush; everything else is flushed at once, and a command is carried out only after that.
//! Effects run in tasks that no guest can drop; an attempt has not ended before its last effect
//! has.

use crate::attempt;
use crate::clock::Clock;
use crate::deps::{Control, Deps, Wish};
use crate::door::GoesForward;
use crate::error::RunError;
use crate::job::Job;
use crate::port::{AttemptPort, Recorded, answer_of, cancelled, recorded_calls};
use crate::preflight;
use crate::tasks::Logs;
use crate::verify;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stepback_core::event::{AttemptResult, Event, Record};
use stepback_core::machine::{AttemptOrder, Command, Decision, Input, Machine, Observation};
use stepback_core::state::{OpenAttempt, RecordedCall, State};
use stepback_core::step::{Change, EffectOutcome};
use stepback_core::*;
use stepback_journal::{Lease, Request as Asked};
use stepback_provider::EffectContext;
use stepback_wasm::StopSignal;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long answers of reads and waits may stay in memory only (R1).
const PENDING_MS_MAX: u64 = 100;
/// How often other processes' requests are looked for; a cancel is noticed in a quarter second.
const REQUESTS_EVERY_MS: u64 = 200;
/// More tasks than this wait with what they have to say until the driver has caught up (R15).
const QUEUE_MAX: usize = 256;

/// What an effect's asker is told.
pub(crate) type Reply = Result<Value, Failure>;

/// Everything that can come to the driver, in one line.
pub(crate) enum Message {
    /// A read or a wait was answered at `at`.
    Answered {
        id: CallId,
        call: Call,
        result: Result<Value, Failure>,
        at: UnixMs,
    },
    /// A guest asks for an effect, and what it touches was read just now.
    EffectAsked {
        id: CallId,
        call: Call,
        token: Token,
        changes: Vec<Change>,
        reply: oneshot::Sender<Reply>,
    },
    /// A replaying guest has come to the effect that was in flight.
    EffectTakenUp {
        id: CallId,
        reply: oneshot::Sender<Reply>,
    },
    EffectEnded {
        id: CallId,
        outcome: EffectOutcome,
        changes: Vec<Change>,
    },
    AttemptEnded {
        of: AttemptId,
        result: AttemptResult,
    },
    Gated {
        reasons: Vec<String>,
    },
    Observed {
        observations: Vec<Observation>,
    },
    Requested(Vec<Asked>),
    Tick,
    Flush,
    /// Stop here, for `resume`.
    Leave,
}

struct InFlight {
    reply: Option<oneshot::Sender<Reply>>,
    cancel: CancellationToken,
}

/// One operation, being driven by this process.
pub(crate) struct Driver {
    deps: Arc<Deps>,
    job: Arc<Job>,
    machine: Machine,
    lease: Lease,
    clock: Clock,
    logs: Logs,
    inbox: mpsc::Receiver<Message>,
    outbox: mpsc::Sender<Message>,
    wishes: watch::Receiver<Wish>,
    next_request_look: Instant,
    pending: Vec<Record>,
    pending_since: Option<Instant>,
    durable: Seq,
    attempts: BTreeMap<AttemptId, StopSignal>,
    in_flight: BTreeMap<CallId, InFlight>,
    /// Attempts whose guest has ended and whose last effect has not.
    ending: BTreeMap<AttemptId, AttemptResult>,
    tasks: JoinSet<()>,
}

impl Driver {
    pub(crate) fn new(
        deps: Arc<Deps>,
        job: Arc<Job>,
        state: State,
        lease: Lease,
        logs: Logs,
        control: &Control,
    ) -> Self {
        let (outbox, inbox) = mpsc::channel(QUEUE_MAX);
        let durable = state.last_seq;
        let machine = Machine::new(Arc::clone(&job.plan), state, lease.operation, lease.epoch);
        Self {
            deps,
            job,
            machine,
            lease,
            clock: Clock::start(),
            logs,
            inbox,
            outbox,
            wishes: control.subscribe(),
            next_request_look: Instant::now(),
            pending: vec![],
            pending_since: None,
            durable,
            attempts: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            ending: BTreeMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Tell the machine how preflight went.
    pub(crate) async fn preflighted(&mut self, reasons: Vec<String>) -> Result<(), RunError> {
        self.handle(Input::Preflighted { reasons }).await
    }

    /// Take up an operation that another runner left (R4).
    pub(crate) async fn recover(&mut self) -> Result<(), RunError> {
        for id in unfinished_effects(self.machine.state()) {
            self.make_effect(id, true, None);
        }
        let decision = self.machine.recover(self.clock.now())?;
        self.carry_out(decision).await
    }

    /// Drive to the end, or until the operation is left.
    pub(crate) async fn drive(mut self) -> Result<State, RunError> {
        while !self.machine.state().status.is_final() {
            let message = self.next().await?;
            self.on_message(message).await?;
        }
        self.flush().await?;
        Ok(self.machine.state().clone())
    }

    async fn next(&mut self) -> Result<Message, RunError> {
        loop {
            let far = Instant::now() + Duration::from_secs(3600);
            let wake = self.machine.next_wake().map_or(far, |at| self.clock.instant_of(at));
            let flush = self
                .pending_since
                .map_or(far, |since| since + Duration::from_millis(PENDING_MS_MAX));
            tokio::select! {
                biased;
                changed = self.wishes.changed() => {
                    // The other end lives as long as the program wants the operation to.
                    if changed.is_err() || self.wishes.borrow().leave {
                        return Ok(Message::Leave);
                    }
                    let wish = self.wishes.borrow_and_update().clone();
                    if let Some((actor, reason)) = wish.cancel {
                        return Ok(Message::Requested(vec![Asked::Cancel { actor, reason }]));
                    }
                }
                Some(message) = self.inbox.recv() => return Ok(message),
                Some(Err(panic)) = self.tasks.join_next() => {
                    return Err(self.left(format!("a task of the driver ended badly: {panic}")));
                }
                () = tokio::time::sleep_until(flush) => return Ok(Message::Flush),
                () = tokio::time::sleep_until(wake) => return Ok(Message::Tick),
                () = tokio::time::sleep_until(self.next_request_look) => {
                    let now = Instant::now();
                    self.next_request_look = now + Duration::from_millis(REQUESTS_EVERY_MS);
                    let asked = self.deps.store.take_requests(&self.lease).await;
                    let asked = asked.map_err(|error| self.left(error.to_string()))?;
                    if !asked.is_empty() {
                        return Ok(Message::Requested(asked));
                    }
                }
            }
        }
    }

    fn left(&self, why: String) -> RunError {
        RunError::Left { id: self.lease.operation, why }
    }

    async fn on_message(&mut self, message: Message) -> Result<(), RunError> {
        match message {
            Message::Answered { id, call, result, at } => {
                let decision = self.machine.handle(Input::Answered { id, call, result }, at)?;
                self.carry_out(decision).await
            }
            Message::EffectAsked { id, call, token, changes, reply } => {
                self.on_effect_asked(id, call, token, changes, reply).await
            }
            Message::EffectTakenUp { id, reply } => {
                self.on_effect_taken_up(&id, reply);
                Ok(())
            }
            Message::EffectEnded { id, outcome, changes } => {
                self.on_effect_ended(id, outcome, changes).await
            }
            Message::AttemptEnded { of, result } => {
                self.ending.insert(of.clone(), result);
                self.end_attempt(&of).await
            }
            Message::Gated { reasons } => self.handle(Input::Gated { reasons }).await,
            Message::Observed { observations } => {
                self.handle(Input::Observed { observations }).await
            }
            Message::Requested(asked) => {
                for Asked::Cancel { actor, reason } in asked {
                    self.handle(Input::Cancel { actor, reason }).await?;
                }
                Ok(())
            }
            Message::Tick => self.handle(Input::Tick).await,
            Message::Flush => self.flush().await,
            Message::Leave => {
                self.flush().await?;
                Err(self.left("it was left on request".into()))
            }
        }
    }

    async fn handle(&mut self, input: Input) -> Result<(), RunError> {
        let decision = self.machine.handle(input, self.clock.now())?;
        self.carry_out(decision).await
    }

    async fn carry_out(&mut self, decision: Decision) -> Result<(), RunError> {
        let Decision { records, commands } = decision;
        let rides_along = |record: &Record| matches!(record.event, Event::CallAnswered { .. });
        let waits = commands.is_empty() && records.iter().all(rides_along);
        if !records.is_empty() {
            self.pending.extend(records);
            self.pending_since.get_or_insert_with(Instant::now);
        }
        if !waits {
            self.flush().await?;
        }
        for command in commands {
            self.perform(command);
        }
        Ok(())
    }

    /// Make what is pending durable, then tell the reporter.
    async fn flush(&mut self) -> Result<(), RunError> {
        self.pending_since = None;
        if self.pending.is_empty() {
            return Ok(());
        }
        let records = std::mem::take(&mut self.pending);
        let appended = self.deps.store.append(&self.lease, self.durable, records.clone()).await;
        appended.map_err(|error| self.left(error.to_string()))?;
        for record in &records {
            self.durable = record.seq;
            self.deps.reporter.on_record(self.lease.operation, record);
        }
        Ok(())
    }

    fn perform(&mut self, command: Command) {
        match command {
            Command::StartAttempt(order) => self.start_attempt(*order),
            Command::Perform { id } => self.make_effect(id, false, None),
            Command::Interrupt { of } => self.interrupt(&of),
            Command::Gate { steps } => {
                let (job, clock, outbox) = (Arc::clone(&self.job), self.clock, self.outbox.clone());
                self.tasks.spawn(async move {
                    let reasons = preflight::refusals(&job, clock, steps).await;
                    // Without a driver there is nobody to tell.
                    let _ = outbox.send(Message::Gated { reasons }).await;
                });
            }
            Command::Verify => {
                let (door, outbox) = (self.job.door.clone(), self.outbox.clone());
                let state = self.machine.state().clone();
                self.tasks.spawn(async move {
                    let observations = verify::observe(&door, &state).await;
                    let _ = outbox.send(Message::Observed { observations }).await;
                });
            }
        }
    }

    fn start_attempt(&mut self, order: AttemptOrder) {
        let stop = StopSignal::new();
        self.attempts.insert(order.of.clone(), stop.clone());
        let port = Arc::new(self.port(&order, stop));
        let (job, outbox) = (Arc::clone(&self.job), self.outbox.clone());
        self.tasks.spawn(async move {
            let of = order.of.clone();
            let result = attempt::run(job, order, port).await;
            let _ = outbox.send(Message::AttemptEnded { of, result }).await;
        });
    }

    fn port(&self, order: &AttemptOrder, stop: StopSignal) -> AttemptPort {
        let state = self.machine.state();
        let (mut recorded, mut started_at): (Vec<Recorded>, _) = (vec![], self.clock.now());
        let step = state.steps.get(&order.of.step);
        let open = step.and_then(|step| step.open.as_ref());
        if let (Some(step), Some(open)) = (step, open)
            && open.id == order.of
        {
            recorded = recorded_calls(step, open);
            started_at = open.started_at;
        }
        let past = order.past.clone();
        let effects = past.as_ref().map_or(&[][..], |past| &past.effects);
        let own = effects.iter().filter(|effect| {
            effect.call.class() == Class::Irreversible && !state.was_irreversible(effect)
        });
        AttemptPort {
            of: order.of.clone(),
            operation: self.lease.operation,
            store: self.deps.store.id(),
            door: self.job.door.clone(),
            driver: self.outbox.clone(),
            logs: self.logs.clone(),
            clock: self.clock,
            stop,
            own_effects: own.map(|effect| effect.id.clone()).collect(),
            past,
            recorded,
            calls_made: AtomicU32::new(0),
            last_at: AtomicU64::new(started_at.0),
            diverged: Mutex::new(None),
        }
    }

    fn interrupt(&mut self, of: &AttemptId) {
        if let Some(stop) = self.attempts.get(of) {
            stop.stop();
        }
        // A pull ends early, and is then settled by looking; other effects don't listen.
        for (_, effect) in self.in_flight.iter().filter(|(id, _)| id.of == *of) {
            effect.cancel.cancel();
        }
    }

    async fn on_effect_asked(
        &mut self,
        id: CallId,
        call: Call,
        token: Token,
        changes: Vec<Change>,
        reply: oneshot::Sender<Reply>,
    ) -> Result<(), RunError> {
        let stopped = self.attempts.get(&id.of).is_some_and(StopSignal::is_stopped);
        let denied = match stopped {
            true => Some(cancelled(call.function())),
            false => self.denial(&id, &call, &changes),
        };
        if let Some(failure) = denied {
            let result = Err(failure.clone());
            self.handle(Input::Answered { id, call, result }).await?;
            // The guest may be gone; then nobody waits for it.
            let _ = reply.send(Err(failure));
            return Ok(());
        }
        let input = Input::EffectAsked { id: id.clone(), call, token, changes };
        let mut decision = self.machine.handle(input, self.clock.now())?;
        decision.commands.retain(|command| !matches!(command, Command::Perform { .. }));
        self.carry_out(decision).await?;
        self.make_effect(id, false, Some(reply));
        Ok(())
    }

    /// † is for steps that are declared irreversible, and for what this operation created.
    fn denial(&self, id: &CallId, call: &Call, changes: &[Change]) -> Option<Failure> {
        if !self.machine.state().is_irreversible(call, changes) {
            return None;
        }
        let declared = self.job.plan.step(&id.of.step.step);
        let declared = declared.is_some_and(|step| step.irreversible.is_some());
        let message = match id.of.direction {
            Direction::Do if declared => return None,
            Direction::Do => format!(
                "{} can't be undone; the step must declare `irreversible` for it",
                call.function()
            ),
            Direction::Undo => format!(
                "{} can't be undone, and an undo may do that only to what this operation created",
                call.function()
            ),
        };
        Some(Failure::new(FailureClass::Denied, message))
    }

    /// Start the task that makes an effect, or takes one up that was cut off.
    fn make_effect(&mut self, id: CallId, cut_off: bool, reply: Option<oneshot::Sender<Reply>>) {
        let Some(effect) = self.machine.state().effect(&id).cloned() else { return };
        let cancel = CancellationToken::new();
        let context = EffectContext {
            operation: self.lease.operation,
            token: effect.token,
            epoch: self.lease.epoch,
            undo: id.of.direction == Direction::Undo,
            cancel: cancel.clone(),
        };
        let stop = self.attempts.get(&id.of).cloned().unwrap_or_default();
        let undo = context.undo;
        let goes_forward: GoesForward = Arc::new(move || undo || !stop.is_stopped());
        self.in_flight.insert(id.clone(), InFlight { reply, cancel });
        let (door, outbox) = (self.job.door.clone(), self.outbox.clone());
        // Not one of `tasks`: those are dropped when the operation is left, effects never are.
        tokio::spawn(async move {
            let made = door.make(&effect.call, &context, effect.changes, cut_off, &goes_forward);
            let (outcome, changes) = made.await;
            let _ = outbox.send(Message::EffectEnded { id, outcome, changes }).await;
        });
    }

    fn on_effect_taken_up(&mut self, id: &CallId, reply: oneshot::Sender<Reply>) {
        if let Some(effect) = self.in_flight.get_mut(id) {
            effect.reply = Some(reply);
        } else if let Some(effect) = self.machine.state().effect(id) {
            let _ = reply.send(answer_of(&effect.call, &effect.outcome));
        }
    }

    async fn on_effect_ended(
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
        self.handle(Input::EffectFinished { id, outcome, changes }).await?;
        if let Some(reply) = in_flight.and_then(|effect| effect.reply) {
            let _ = reply.send(answer);
        }
        self.end_attempt(&of).await
    }

    /// End an attempt whose guest has ended, unless an effect of it is still in flight.
    async fn end_attempt(&mut self, of: &AttemptId) -> Result<(), RunError> {
        if self.in_flight.keys().any(|id| id.of == *of) {
            return Ok(());
        }
        let Some(result) = self.ending.remove(of) else { return Ok(()) };
        self.attempts.remove(of);
        self.handle(Input::AttemptEnded { of: of.clone(), result }).await
    }
}

/// The effects that were in flight when the last runner ended.
fn unfinished_effects(state: &State) -> Vec<CallId> {
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
