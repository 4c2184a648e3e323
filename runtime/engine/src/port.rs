//! What a guest's calls are answered by: the journal while it replays, then the world (R4).
//!
//! Calls of an attempt are sequential and numbered. A number the journal holds is answered from
//! it; the one in flight is taken up; from there on calls are live. Reads and waits are made right
//! here, in the guest's own task, where dropping them loses nothing. Effects are asked of the
//! driver, which makes them in tasks of its own.
//!
//! A guest whose wait lasts is *parked*: it is dropped, its wait goes on without it, and when the
//! answer is in the journal the attempt runs again from its beginning, as after a crash. Thus
//! thousands of operations can wait, and none of them holds a sandbox meanwhile.
//!
//! It touches three things: what the journal holds of this one attempt ([`Recorded`]), the world,
//! for reads and waits alone and only through [`WorldAccess`], and the driver's channel, by which
//! it asks for effects and writes down answers. It has no provider, no store and no lease; what
//! else it holds bounds the guest, or hears of it. A step's check has another port, `check_port`.

mod hiding;
mod live;
mod reversal;
mod waits;

use crate::access::WorldAccess;
use crate::guard::Guard;
use crate::message::{Message, Reply};
use crate::quota::{Quota, ToBeTold};
use crate::recorded::Recorded;
use crate::secrets::door::{Door, LetOut};
use crate::secrets::{HIDDEN, Secrets};
use crate::tasks::Logs;
use serde_json::Value;
use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::calls::bounds::{ATTEMPT_BYTES_MAX, TOO_LARGE, answer_bytes};
use stepback_core::state::BegunWait;
use stepback_core::step::{EffectOutcome, Past};
use stepback_core::*;
use stepback_wasm::{HostPort, LogLevel, Reversed, StopSignal};
use tokio::sync::{Notify, mpsc, oneshot};

/// What an effect's outcome is for the guest that asked for it.
pub(crate) fn answer_of(call: &Call, outcome: &EffectOutcome) -> Result<Value, Failure> {
    match outcome {
        EffectOutcome::Done(value) => Ok(value.clone()),
        EffectOutcome::Refused(failure) => Err(failure.clone()),
        EffectOutcome::Unknown(why) => {
            let message = format!("whether {} happened can't be known: {why}", call.function());
            Err(Failure::new(FailureClass::UnknownOutcome, message))
        }
    }
}

pub(crate) fn cancelled(function: &str) -> Failure {
    Failure::new(FailureClass::Cancelled, format!("{function}: the step is being ended"))
}

/// What an undo waits for at a time, in milliseconds: a large disk that is let go of, a database
/// that comes up.
const UNDO_WAIT_MS_MAX: u64 = 60 * 60_000;

/// A wait whose guest may be gone.
type Waiting = Pin<Box<dyn Future<Output = Result<Value, Failure>> + Send>>;

/// What a guest was parked over.
enum Parked {
    Wait {
        id: CallId,
        call: Box<Call>,
        waiting: Waiting,
    },
    /// An effect that waits for other steps.
    Held {
        id: CallId,
        function: &'static str,
        granted: Granted,
    },
}

/// The word that an effect may be made.
type Granted = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// Where a guest leaves the wait that it is to be parked over.
#[derive(Default)]
pub(crate) struct Parking {
    parked: Mutex<Option<Parked>>,
    filled: Notify,
}

/// The port of one attempt.
pub(crate) struct AttemptPort {
    pub(crate) of: AttemptId,
    pub(crate) operation: OperationId,
    pub(crate) store: StoreId,
    pub(crate) access: WorldAccess,
    /// What its step's plugin may do where.
    pub(crate) guard: Arc<Guard>,
    pub(crate) door: Door,
    pub(crate) driver: mpsc::Sender<Box<Message>>,
    pub(crate) logs: Logs,
    pub(crate) clock: Clock,
    pub(crate) stop: StopSignal,
    pub(crate) past: Option<Past>,
    /// Effects that go away with what they were made on: without an inverse on what the operation
    /// itself created, and any on what it took away since.
    pub(crate) go_with_it: Vec<CallId>,
    /// Effects that an earlier attempt took back.
    pub(crate) taken_back: BTreeSet<CallId>,
    /// Effects without an inverse on anything else.
    pub(crate) irreversible: Vec<CallId>,
    /// Why the manifest says that is acceptable.
    pub(crate) declared: Option<String>,
    pub(crate) recorded: Vec<Recorded>,
    /// The wait behind what is recorded, if that lasts already.
    pub(crate) begun: Option<Box<BegunWait>>,
    pub(crate) calls_made: AtomicU32,
    /// What its calls and their answers take in the journal.
    pub(crate) journaled_bytes: AtomicUsize,
    /// What all attempts of the operation may ask for together.
    pub(crate) quota: Arc<Quota>,
    pub(crate) to_be_told: Arc<ToBeTold>,
    pub(crate) started_at: UnixMs,
    pub(crate) last_at: AtomicU64,
    pub(crate) parking: Parking,
    /// The effect that it was parked for.
    pub(crate) held: Option<CallId>,
    /// Why the replay asked for something else than the journal holds.
    pub(crate) diverged: Mutex<Option<String>>,
    /// Whether it was said that an answer has a mark in it.
    pub(crate) told_of_secrets: AtomicBool,
    /// The effect that is being taken back.
    pub(crate) reversing: Mutex<Option<CallId>>,
}

impl AttemptPort {
    /// The divergence, if there was one; the attempt is then a failure, whatever the guest says.
    pub(crate) fn divergence(&self) -> Option<Failure> {
        let diverged = self.diverged.lock().unwrap_or_else(PoisonError::into_inner);
        diverged.as_ref().map(|why| Failure::new(FailureClass::Internal, why.clone()))
    }

    fn next_id(&self) -> CallId {
        let number = self.calls_made.fetch_add(1, Ordering::Relaxed) + 1;
        CallId { of: self.of.clone(), number: CallNumber(number) }
    }

    fn recorded(&self, id: &CallId) -> Option<Recorded> {
        self.recorded.get(id.number.0 as usize - 1).cloned()
    }

    /// Whether the journal takes another call of this attempt; a replay counts as it was counted.
    fn must_have_room(&self, call: &Call) -> Result<(), Failure> {
        let bytes = call.bytes();
        let before = self.journaled_bytes.fetch_add(bytes, Ordering::Relaxed);
        match before.saturating_add(bytes) {
            all if all > ATTEMPT_BYTES_MAX => {
                let message = format!(
                    "{}: the step's calls and answers would take {all} bytes in the journal, and \
                     {ATTEMPT_BYTES_MAX} are the most of one attempt",
                    call.function()
                );
                Err(Failure::new(FailureClass::InvalidInput, message).with_code(TOO_LARGE))
            }
            _ => Ok(()),
        }
    }

    fn is_replaying(&self) -> bool {
        (self.calls_made.load(Ordering::Relaxed) as usize) < self.recorded.len()
    }

    fn diverge(&self, id: &CallId, was: &Call, is: &Call) -> Failure {
        let why = format!(
            "call {id} asked for {} on replay where the journal holds {}: the plugin does not \
             run the same way twice",
            is.function(),
            was.function()
        );
        let mut diverged = self.diverged.lock().unwrap_or_else(PoisonError::into_inner);
        let why = diverged.get_or_insert(why).clone();
        Failure::new(FailureClass::Internal, why)
    }

    async fn send(&self, message: Message) -> Result<(), Failure> {
        let gone = |_| Failure::new(FailureClass::Internal, "the driver is gone");
        self.driver.send(Box::new(message)).await.map_err(gone)
    }

    /// Journal an answer that changed nothing; it need not be durable to be given.
    async fn answered(
        &self,
        id: CallId,
        call: Call,
        result: Result<Value, Failure>,
    ) -> Result<Value, Failure> {
        let at = self.clock.unix();
        self.pass_time(&call, at);
        if let Ok(answer) = &result
            && !matches!(call, Call::Effects(EffectsCall::Reverse { .. }))
            && Secrets::are_hidden_in(answer)
            && !self.told_of_secrets.swap(true, Ordering::Relaxed)
        {
            self.log(LogLevel::Warn, format!("{}: {HIDDEN}", call.function()));
        }
        let given = result.clone();
        self.send(Message::Answered { id, call, result, at }).await?;
        given
    }

    /// The guest's own clock stands where the last read or wait was answered.
    fn pass_time(&self, call: &Call, at: UnixMs) {
        // An effect's time is not on record, and a refused one's is not told either.
        if !call.is_effect() {
            self.last_at.store(at.0, Ordering::Relaxed);
        }
    }

    /// Answer a call, or journal why it is not made.
    async fn made(&self, call: Call, refusal: Option<Failure>) -> Result<Value, Failure> {
        self.must_have_room(&call)?;
        let (id, call) = (self.next_id(), self.access.secrets.canonical(&call));
        let (recorded, goes_forward) = (self.recorded(&id), self.of.direction == Direction::Do);
        let is_new = recorded.is_none() && goes_forward;
        let refusal = match is_new {
            true => self.quota.take(&call).err().or(refusal),
            false => refusal,
        };
        let answered = match (recorded, refusal) {
            (Some(recorded), _) => self.replayed(id, call, recorded).await,
            (None, Some(refusal)) => self.answered(id, call, Err(refusal)).await,
            (None, None) => self.live(id, call).await,
        };
        let bytes = answered.as_ref().map_or(0, answer_bytes);
        self.journaled_bytes.fetch_add(bytes, Ordering::Relaxed);
        if is_new {
            self.quota.count(bytes);
        }
        answered
    }

    /// Whether a wait ends by itself in good time: no timeout of the manifest ends one of an undo,
    /// and nobody may cancel it.
    fn must_end(&self, call: &Call) -> Result<(), Failure> {
        let is_too_long = call.own_ms() > UNDO_WAIT_MS_MAX;
        match self.of.direction == Direction::Undo && is_too_long {
            false => Ok(()),
            true => {
                let message = format!(
                    "{}: an undo waits for {} minutes at a time at most, and {} ms are asked for",
                    call.function(),
                    UNDO_WAIT_MS_MAX / 60_000,
                    call.own_ms()
                );
                Err(Failure::new(FailureClass::InvalidInput, message))
            }
        }
    }

    async fn unless_stopped<T>(
        &self,
        function: &str,
        answer: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            answer = answer => answer,
            () = self.stop.stopped() => Err(cancelled(function)),
        }
    }

    async fn effect(&self, id: CallId, call: Call) -> Result<Value, Failure> {
        // What can't go out is told before anything of it is written down.
        if let Err(failure) = self.access.going_out(&call) {
            return self.answered(id, call, Err(failure)).await;
        }
        let token = Token::derive(&self.store, self.operation, &id);
        if let Err(failure) = self.until_granted(&id, &call, &token).await {
            return self.answered(id, call, Err(failure)).await;
        }
        let before = self.access.before(&call, &token);
        let changes = match self.unless_stopped(call.function(), before).await {
            Ok(changes) => changes,
            Err(failure) => return self.answered(id, call, Err(failure)).await,
        };
        if let Some(failure) = self.came_between(&changes) {
            return self.answered(id, call, Err(failure)).await;
        }
        if self.of.direction == Direction::Do
            && let Err(failure) = self.to_be_told.take(&call, &changes)
        {
            return self.answered(id, call, Err(failure)).await;
        }
        let (reply, answer) = oneshot::channel();
        let reverses = self.is_reversing();
        self.send(Message::EffectAsked { id, call, token, changes, reverses, reply }).await?;
        given(answer).await.inspect(|answer| self.to_be_told.answered(answer))
    }

    /// Wait until no other running step has changed what the effect changes (R6); if that lasts,
    /// elsewhere, without the guest.
    async fn until_granted(&self, id: &CallId, call: &Call, token: &Token) -> Result<(), Failure> {
        #[cfg(feature = "mutants")]
        if self.access.limits.mutant == Some(crate::mutants::Mutant::WaitsForNobody) {
            return Ok(());
        }
        let function = call.function();
        let (reply, answer) = oneshot::channel();
        let wanted = Message::EffectWanted {
            id: id.clone(),
            call: call.clone(),
            token: token.clone(),
            reply,
        };
        self.send(wanted).await?;
        let gone = |_| Failure::new(FailureClass::Internal, "the driver is gone");
        let mut granted: Granted = Box::pin(async move { answer.await.map_err(gone)? });
        // Parked for it once, it is at the head of the line.
        if self.held.as_ref() == Some(id) {
            return self.unless_stopped(function, granted).await;
        }
        let lasts = Duration::from_millis(self.access.limits.parked_after_ms);
        let answer = self.clock.timeout(lasts, &mut granted);
        match self.unless_stopped(function, async { Ok(answer.await) }).await? {
            Ok(answer) => answer,
            Err(_) => self.park(Parked::Held { id: id.clone(), function, granted }).await,
        }
    }

    async fn replayed(&self, id: CallId, call: Call, recorded: Recorded) -> Result<Value, Failure> {
        match recorded {
            Recorded::Answered { call: was, .. } if was != call => {
                Err(self.diverge(&id, &was, &call))
            }
            Recorded::Answered { at, result, .. } => {
                self.pass_time(&call, at);
                result
            }
            Recorded::Effect { effect, .. } if effect.call != call => {
                Err(self.diverge(&id, &effect.call, &call))
            }
            Recorded::Effect { effect, finished: true } => {
                #[cfg(feature = "mutants")]
                self.make_again(&effect).await;
                answer_of(&call, &effect.outcome)
            }
            Recorded::Effect { finished: false, .. } => {
                let (reply, answer) = oneshot::channel();
                self.send(Message::EffectTakenUp { id, reply }).await?;
                given(answer).await
            }
        }
    }

    #[cfg(feature = "mutants")]
    async fn make_again(&self, effect: &stepback_core::step::PastEffect) {
        if self.access.limits.mutant != Some(crate::mutants::Mutant::ReplayMakesEffects) {
            return;
        }
        let context = stepback_provider::EffectContext {
            store: self.store.clone(),
            operation: self.operation,
            token: effect.token.clone(),
            epoch: Epoch(u64::MAX),
            undo: self.of.direction == Direction::Undo,
            cancel: tokio_util::sync::CancellationToken::new(),
            looked: stepback_provider::looked::Looked::default(),
            notes: stepback_provider::Notes::default(),
        };
        let _ = self.access.left_open().perform(&effect.call, &context).await;
    }
}

async fn given(answer: oneshot::Receiver<Reply>) -> Result<Value, Failure> {
    let gone = |_| Failure::new(FailureClass::Internal, "the driver is gone");
    answer.await.map_err(gone)?
}

#[async_trait::async_trait]
impl HostPort for AttemptPort {
    async fn call(&self, call: Call) -> Result<Value, Failure> {
        if let Some(failure) = self.divergence() {
            return Err(failure);
        }
        let LetOut { call, refusal } = self.door.let_out(&call);
        self.made(call, refusal).await
    }

    /// It was asked before the operation began. What is answered here depends on nothing, so that
    /// a replay goes the same way.
    async fn may(&self, _call: Call) -> Result<(), Failure> {
        Ok(())
    }

    /// One numbered call holds the planned calls; each of these is a call of its own (R4).
    async fn reverse(&self, effect_id: &str) -> Result<Reversed, Failure> {
        self.reversed(effect_id).await
    }

    fn log(&self, level: LogLevel, text: String) {
        // Lines of the part that is replayed are kept already.
        if !self.is_replaying() {
            let level = match level {
                LogLevel::Debug => "debug",
                LogLevel::Info => "info",
                LogLevel::Warn => "warn",
                LogLevel::Error => "error",
            };
            let text = self.hide(text);
            self.logs.line(self.clock.unix(), &self.of, level, text);
        }
    }

    fn progress(&self, text: String, done: u64, total: Option<u64>) {
        let text = self.hide(text);
        self.logs.progress(&self.of.step, &text, done, total);
    }

    fn journaled_ms(&self) -> u64 {
        self.last_at.load(Ordering::Relaxed)
    }
}
