//! The driver of one operation: one queue in, the machine decides, records are made durable,
//! commands are carried out (R1).
//!
//! While an operation runs, only its driver appends, and in order: one flush at a time takes all
//! that is pending, while guests go on. What changes the world waits until its own intent is
//! durable; whatever a crash cuts off before that has left no trace outside. Reads and waits alone
//! don't cause a flush for a while. Effects run in tasks that no guest can drop; an attempt has not
//! ended before its last effect has.

mod commands;
mod effects;
mod flush;
mod still;
mod trace;

use crate::access::IssuePermit;
use crate::attempt;
use crate::deps::{Control, Deps, Limits, Wish};
use crate::error::RunError;
use crate::job::Job;
use crate::message::{Message, Reply};
use crate::port::{AttemptPort, Parking, answer_of, cancelled};
use crate::preflight;
use crate::quota::{Quota, ToBeTold};
use crate::recorded::recorded_calls;
use crate::still::Still;
use crate::tasks::Logs;
use crate::verify;
use effects::{finished_effects, unfinished_effects};
use flush::{Flush, flush_due, written};
use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stepback_clock::{Clock, Moment};
use stepback_core::event::{AttemptResult, Event, Record};
use stepback_core::expr::Scope;
use stepback_core::machine::{
    AttemptOrder, Command, Decision, Input, Machine, Observation, Recovery,
};
use stepback_core::state::{OpenAttempt, RecordedCall, State, StepState, Used};
use stepback_core::step::{Change, EffectOutcome, PastEffect};
use stepback_core::*;
use stepback_journal::{Lease, Request, StoreError};
use stepback_provider::EffectContext;
use stepback_wasm::StopSignal;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long answers of reads and waits may stay in memory only (R1).
const PENDING_MS_MAX: u64 = 100;
/// More tasks than this wait with what they have to say until the driver has caught up (R15).
const QUEUE_MAX: usize = 256;

/// How long the end of an operation waits for what is cleared away behind it.
const FORGET_MS_MAX: u64 = 10_000;

/// What tells the driver one thing, through its queue: behind all that was said before.
type Telling = Pin<Box<dyn Future<Output = ()> + Send>>;
type Requested = Pin<Box<dyn Future<Output = Result<Vec<Request>, StoreError>> + Send>>;

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
    quota: Arc<Quota>,
    logs: Logs,
    /// Boxed, because a queue has room for many messages also while it is empty.
    inbox: mpsc::Receiver<Box<Message>>,
    outbox: mpsc::Sender<Box<Message>>,
    wishes: watch::Receiver<Wish>,
    /// The next request of another process; after one there is none that would matter.
    requested: Requested,
    pending: Vec<Record>,
    pending_since: Option<Moment>,
    /// Whether more than reads and waits is pending.
    pending_urgent: bool,
    flush: Option<Flush>,
    durable: Seq,
    /// Effects that may be made once their intent, up to the event named, is durable.
    intents: VecDeque<(Seq, CallId, oneshot::Sender<Reply>)>,
    attempts: BTreeMap<AttemptId, StopSignal>,
    /// What the undo of each attempt's step will be told.
    to_be_told: BTreeMap<AttemptId, Arc<ToBeTold>>,
    /// Effects that wait for the word that they may be made.
    wanted: BTreeMap<CallId, oneshot::Sender<Result<(), Failure>>>,
    in_flight: BTreeMap<CallId, InFlight>,
    /// Attempts whose guest has ended and whose last effect has not.
    ending: BTreeMap<AttemptId, AttemptResult>,
    /// How many tasks that tell one thing have not told it.
    to_be_heard: usize,
    tasks: JoinSet<()>,
    /// What is done in the driver's own task, because nothing ran beside it when it began: no
    /// thread has to be woken for what it asks and is told.
    here: Option<Telling>,
    /// What is being cleared away behind effects that are over.
    forgetting: JoinSet<()>,
    /// Whether the world is to be looked at for the verdict.
    verify_due: bool,
}

/// Resolves when what is done in the driver's own task, if anything is, has been told.
async fn done_here(here: &mut Option<Telling>) {
    match here {
        Some(telling) => telling.await,
        None => std::future::pending().await,
    }
    *here = None;
}

impl Driver {
    pub(crate) fn new(
        deps: Arc<Deps>,
        job: Arc<Job>,
        state: State,
        lease: Lease,
        logs: Logs,
        control: &Control,
    ) -> Box<Self> {
        let (used, durable) = (state.used, state.last_seq);
        let machine = Machine::new(Arc::clone(&job.plan), state, lease.operation, lease.epoch);
        Self::of(deps, job, machine, lease, (used, durable), logs, control)
    }

    /// One that goes on from where nothing was under way.
    pub(crate) fn still(
        deps: Arc<Deps>,
        job: Arc<Job>,
        still: Still,
        logs: Logs,
        control: &Control,
    ) -> Box<Self> {
        let Still { machine, lease, pending, durable, commands, used } = still;
        let mut driver = Self::of(deps, job, machine, lease, (used, durable), logs, control);
        driver.pending = pending;
        driver.pending_urgent = true;
        driver.pending_since = Some(driver.clock.now()).filter(|_| !driver.pending.is_empty());
        driver.begin(commands);
        driver
    }

    fn of(
        deps: Arc<Deps>,
        job: Arc<Job>,
        machine: Machine,
        lease: Lease,
        (used, durable): (Used, Seq),
        logs: Logs,
        control: &Control,
    ) -> Box<Self> {
        let (outbox, inbox) = mpsc::channel(QUEUE_MAX);
        let Limits { effects_max, journaled_bytes_max, .. } = deps.limits;
        let quota = Arc::new(Quota::new(used, effects_max, journaled_bytes_max));
        let clock = deps.clock.never_before(machine.state().last_at);
        #[cfg(feature = "mutants")]
        let (clock, machine) = crate::mutants::misbehaving(&deps, clock, machine);
        let (store, asked_of) = (Arc::clone(&deps.store), lease.clone());
        let requested = Box::pin(async move { store.until_requested(&asked_of).await });
        Box::new(Self {
            deps,
            job,
            machine,
            lease,
            clock,
            quota,
            logs,
            inbox,
            outbox,
            wishes: control.subscribe(),
            requested,
            pending: vec![],
            pending_since: None,
            pending_urgent: false,
            flush: None,
            durable,
            intents: VecDeque::new(),
            attempts: BTreeMap::new(),
            to_be_told: BTreeMap::new(),
            wanted: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            ending: BTreeMap::new(),
            to_be_heard: 0,
            tasks: JoinSet::new(),
            here: None,
            forgetting: JoinSet::new(),
            verify_due: false,
        })
    }

    /// Tell the machine how preflight went.
    pub(crate) fn preflighted(&mut self, reasons: Vec<String>) -> Result<(), RunError> {
        self.note_given()?;
        self.handle(Input::Preflighted { reasons })
    }

    /// Take up an operation that another runner left (R4).
    pub(crate) fn recover(&mut self, recovery: Recovery) -> Result<(), RunError> {
        for id in finished_effects(self.machine.state()) {
            self.forget(&id);
        }
        let unfinished = unfinished_effects(self.machine.state());
        // What was asked for meanwhile, and deadlines that passed, are decided first: an effect
        // that did not happen is not issued when its attempt is to end.
        let decision = self.machine.recover(recovery, self.clock.unix())?;
        self.carry_out(decision);
        for id in unfinished {
            self.make_effect(id, true, None);
        }
        Ok(())
    }

    /// Take up an incomplete rollback after a person's fix (R7).
    pub(crate) fn resume_rollback(&mut self, actor: Actor) -> Result<(), RunError> {
        self.handle(Input::ResumeRollback { actor })?;
        self.note_given()
    }

    /// Write down the secrets that were given anew: calls of theirs may follow.
    fn note_given(&mut self) -> Result<(), RunError> {
        let (actor, secrets) = (self.deps.actor.clone(), self.job.given.clone());
        match secrets.is_empty() {
            true => Ok(()),
            false => self.handle(Input::Given { actor, secrets }),
        }
    }

    /// Drive to the end, or until the operation is left.
    pub(crate) async fn drive(mut self: Box<Self>) -> Result<State, RunError> {
        while !self.machine.state().status.is_final() {
            self.verify_if_due().await?;
            self.start_flush();
            let message = self.next().await?;
            if matches!(message, Message::Leave) {
                self.await_durable().await?;
                // What somebody else took over is not this one's to leave.
                let held = self.deps.store.hold(&self.lease).await;
                held.map_err(|error| self.left_by(error))?;
            }
            self.on_message(message)?;
        }
        self.await_durable().await?;
        self.all_forgotten().await;
        Ok(self.machine.into_state())
    }

    async fn next(&mut self) -> Result<Message, RunError> {
        loop {
            let far = self.clock.now().after(Duration::from_secs(3600));
            let wake = self.machine.next_wake().map_or(far, |at| self.clock.moment_of(at));
            // The next flush begins when this one is written, and not before.
            let flush = self.pending_since.filter(|_| self.flush.is_none());
            let flush = flush.map_or(far, flush_due);
            tokio::select! {
                biased;
                changed = self.wishes.changed() => {
                    // The other end lives as long as the program wants the operation to.
                    if changed.is_err() || self.wishes.borrow().leave {
                        return Ok(Message::Leave);
                    }
                    let wish = self.wishes.borrow_and_update().clone();
                    if let Some((actor, reason)) = wish.cancel {
                        return Ok(Message::Requested(vec![Request::Cancel { actor, reason }]));
                    }
                }
                asked = &mut self.requested => {
                    self.requested = Box::pin(std::future::pending());
                    return asked.map(Message::Requested).map_err(|error| self.left_by(error));
                }
                written = written(&mut self.flush) => return Ok(Message::Flushed(written)),
                Some(message) = self.inbox.recv() => return Ok(*message),
                () = done_here(&mut self.here) => {}
                // Each of them tells how it came out, also when it panicked.
                Some(_) = self.tasks.join_next() => {}
                () = self.clock.sleep_until(flush) => return Ok(Message::FlushDue),
                () = self.clock.sleep_until(wake) => return Ok(Message::Tick),
            }
        }
    }

    fn left(&self, why: String) -> RunError {
        RunError::Left { id: self.lease.operation, why }
    }

    /// Why the store stops the operation here: before its next effect, with nothing lost.
    fn left_by(&self, error: StoreError) -> RunError {
        RunError::LeftByStore { id: self.lease.operation, error }
    }

    fn on_message(&mut self, message: Message) -> Result<(), RunError> {
        if message.tells_all() {
            self.to_be_heard = self.to_be_heard.saturating_sub(1);
        }
        match message {
            Message::Answered { id, call, result, at } => {
                self.wanted.remove(&id);
                let decision = self.machine.handle(Input::Answered { id, call, result }, at)?;
                self.carry_out(decision);
                Ok(())
            }
            Message::WaitBegun { id, call, since } => {
                self.handle(Input::WaitBegun { id, call, since })
            }
            Message::EffectWanted { id, call, token, reply } => {
                self.on_effect_wanted(id, call, token, reply)
            }
            Message::EffectAsked { id, call, token, changes, reverses, reply } => {
                self.on_effect_asked(id, call, token, changes, reverses, reply)
            }
            Message::EffectTakenUp { id, reply } => {
                self.on_effect_taken_up(&id, reply);
                Ok(())
            }
            Message::ReplayAsked { of, reply } => {
                let open = self.open_attempt(&of);
                let recorded = open.map_or(vec![], |(step, open)| recorded_calls(step, open));
                // The attempt's task is gone only with the driver.
                let _ = reply.send(recorded);
                Ok(())
            }
            Message::EffectEnded { id, outcome, changes } => {
                self.on_effect_ended(id, outcome, changes)
            }
            Message::AttemptEnded { of, result } => {
                self.ending.insert(of.clone(), result);
                self.end_attempt(&of)
            }
            Message::Evaluated { step, evaluated } => {
                self.handle(Input::Evaluated { step, evaluated })
            }
            Message::OutputsEvaluated(outputs) => self.handle(Input::OutputsEvaluated(outputs)),
            Message::Gated { reasons } => self.handle(Input::Gated { reasons }),
            Message::Observed { observations } => self.handle(Input::Observed { observations }),
            Message::Requested(asked) => {
                for Request::Cancel { actor, reason } in asked {
                    self.handle(Input::Cancel { actor, reason })?;
                }
                Ok(())
            }
            Message::LeaseLost(error) => Err(self.left_by(error)),
            Message::Tick => self.handle(Input::Tick),
            Message::FlushDue => {
                self.pending_urgent = true;
                Ok(())
            }
            Message::Flushed(written) => self.on_flushed(written),
            Message::Leave => Err(self.left("it was left on request".into())),
        }
    }

    fn handle(&mut self, input: Input) -> Result<(), RunError> {
        let decision = self.machine.handle(input, self.clock.unix())?;
        self.carry_out(decision);
        Ok(())
    }

    fn carry_out(&mut self, decision: Decision) {
        let Decision { records, commands } = decision;
        if !records.is_empty() {
            records.iter().for_each(trace::decided);
            records.iter().for_each(|record| self.quota.count_facts(&record.event));
            let rides_along = |record: &Record| {
                matches!(
                    record.event,
                    Event::CallAnswered { .. }
                        | Event::WaitBegun { .. }
                        | Event::EffectWaits { .. }
                )
            };
            self.pending_urgent |= !records.iter().all(rides_along);
            self.pending.extend(records);
            self.pending_since.get_or_insert_with(|| self.clock.now());
        }
        self.tell_if_still(&commands);
        self.begin(commands);
    }

    fn begin(&mut self, commands: Vec<Command>) {
        self.start_flush();
        for command in commands {
            self.perform(command);
        }
    }

    fn port(&self, order: &AttemptOrder, stop: StopSignal) -> AttemptPort {
        let state = self.machine.state();
        let open = self.open_attempt(&order.of);
        let recorded = open.map_or(vec![], |(step, open)| recorded_calls(step, open));
        let started_at = open.map_or(self.clock.unix(), |(_, open)| open.started_at);
        let begun = open.and_then(|(_, open)| open.wait.clone());
        let past = order.past.clone();
        let step = state.steps.get(&order.of.step);
        let done = step.map_or(&[][..], |step| step.not_dealt_with());
        let taken_back = step.map(|step| step.taken_back.clone()).unwrap_or_default();
        let effects = past.as_ref().map_or(&[][..], |past| &past.effects);
        let without_inverse =
            effects.iter().filter(|effect| effect.call.class() == Class::Irreversible);
        let (irreversible, own): (Vec<_>, Vec<_>) =
            without_inverse.partition(|effect| state.was_irreversible(effect));
        let ids = |effects: Vec<&PastEffect>| -> Vec<CallId> {
            effects.iter().map(|effect| effect.id.clone()).collect()
        };
        let gone = effects.iter().filter(|effect| state.is_taken_away(effect)).collect();
        let (irreversible, go_with_it) = (ids(irreversible), [ids(own), ids(gone)].concat());
        let declared = self.job.plan.step(&order.of.step.step);
        let declared = declared.and_then(|step| step.irreversible.clone());
        let to_be_told = Arc::new(ToBeTold::new(done, self.job.access.limits.past_bytes_max));
        AttemptPort {
            of: order.of.clone(),
            operation: self.lease.operation,
            store: self.store(),
            access: self.job.access.clone(),
            guard: self.job.guard(&order.of.step.step),
            door: self.job.door(&order.of.step, Some((&self.store(), self.lease.operation))),
            driver: self.outbox.clone(),
            logs: self.logs.clone(),
            clock: self.clock.clone(),
            stop,
            go_with_it,
            taken_back,
            irreversible,
            declared,
            past,
            recorded,
            begun,
            calls_made: AtomicU32::new(0),
            journaled_bytes: AtomicUsize::new(0),
            quota: Arc::clone(&self.quota),
            to_be_told,
            started_at,
            parking: Parking::default(),
            last_at: AtomicU64::new(started_at.0),
            diverged: Mutex::new(None),
            held: None,
            told_of_secrets: AtomicBool::new(false),
            reversing: Mutex::default(),
        }
    }

    /// An attempt that is open, with its step.
    fn open_attempt(&self, of: &AttemptId) -> Option<(&StepState, &OpenAttempt)> {
        let step = self.machine.state().steps.get(&of.step)?;
        let open = step.open.as_ref()?;
        (open.id == *of).then_some((step, open))
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

    /// End an attempt whose guest has ended, unless an effect of it is still in flight.
    fn end_attempt(&mut self, of: &AttemptId) -> Result<(), RunError> {
        let mut intents = self.intents.iter().map(|(_, id, _)| id);
        if self.in_flight.keys().any(|id| id.of == *of) || intents.any(|id| id.of == *of) {
            return Ok(());
        }
        let Some(result) = self.ending.remove(of) else { return Ok(()) };
        self.attempts.remove(of);
        self.to_be_told.remove(of);
        self.handle(Input::AttemptEnded { of: of.clone(), result })
    }
}
