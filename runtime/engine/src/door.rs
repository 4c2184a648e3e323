//! The provider's door: the one place where calls go out to the world and answers come in.
//!
//! Secrets are put in here and taken out again; facts are sealed; an effect whose answer was lost
//! is settled before anyone hears of it (R3). Nothing here journals: what must be durable first is
//! the driver's business.

use crate::deps::Limits;
use crate::secrets::Secrets;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::step::{Change, EffectOutcome};
use stepback_core::{Call, Facts, Failure, FailureClass, Resource, ResourceKind, Token};
use stepback_journal::{Lease, Store, StoreError};
use stepback_provider::{EffectContext, Provider, Settled};

/// The pause between two tries of reading a resource; it doubles.
const OBSERVE_BACKOFF_MS: u64 = 50;

/// The way to one world, for one operation.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
}

/// What an effect may still be issued under.
pub(crate) struct Way {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) lease: Lease,
    /// Whether an effect that did not happen may be issued again.
    pub(crate) goes_forward: Box<dyn Fn() -> bool + Send + Sync>,
}

impl Door {
    /// Answer a read.
    pub(crate) async fn read(&self, call: &Call) -> Result<Value, Failure> {
        let call = self.secrets.reveal(call)?;
        self.clean(self.provider.read(&call).await)
    }

    /// Answer a wait; dropping the future ends it.
    pub(crate) async fn wait(&self, call: &Call) -> Result<Value, Failure> {
        let call = self.secrets.reveal(call)?;
        self.clean(self.provider.wait(&call).await)
    }

    fn clean(&self, answer: Result<Value, Failure>) -> Result<Value, Failure> {
        answer
            .map(|value| self.secrets.redact(value))
            .map_err(|failure| self.secrets.redact_failure(failure))
    }

    /// The facts that count of a resource; what may pass (throttling, a broken connection) is
    /// tried again a few times.
    pub(crate) async fn observe(&self, resource: &Resource) -> Result<Facts, Failure> {
        let mut tried = 0;
        loop {
            tried += 1;
            match self.provider.observe(resource).await {
                Ok(facts) => return Ok(self.secrets.seal(facts)),
                Err(failure) if failure.is_retryable() && tried < self.limits.observations_max => {
                    let pause_ms = OBSERVE_BACKOFF_MS << tried.min(6);
                    self.clock.sleep(Duration::from_millis(pause_ms)).await;
                }
                Err(failure) => return Err(self.secrets.redact_failure(failure)),
            }
        }
    }

    /// Whether the provider would let an effect be made.
    pub(crate) async fn may(&self, call: &Call) -> Result<(), Failure> {
        let revealed = self.secrets.reveal(call)?;
        let answer = self.provider.may(&revealed).await;
        answer.map_err(|failure| self.secrets.redact_failure(failure))
    }

    /// What a call touches, as it is now; what it creates is absent.
    pub(crate) async fn before(&self, call: &Call, token: &Token) -> Result<Vec<Change>, Failure> {
        let mut changes = vec![];
        for resource in call.resources(token) {
            let before = match &resource {
                Resource::Created { .. } => Facts::Absent,
                known => self.observe(known).await?,
            };
            changes.push(Change { resource, before, after: None });
        }
        Ok(changes)
    }

    /// Make an effect, or with `cut_off` take up one whose runner is gone; then read what became
    /// of its resources.
    ///
    /// # Errors
    /// The lease is lost: nothing more may be asked of the world or written down.
    pub(crate) async fn make(
        &self,
        call: &Call,
        context: &EffectContext,
        changes: Vec<Change>,
        cut_off: bool,
        way: &Way,
    ) -> Result<(EffectOutcome, Vec<Change>), StoreError> {
        let outcome = match self.secrets.reveal(call) {
            Ok(revealed) => self.settled(&revealed, context, cut_off, way).await?,
            Err(failure) => EffectOutcome::Refused(failure),
        };
        let outcome = match outcome {
            EffectOutcome::Done(value) => EffectOutcome::Done(self.secrets.redact(value)),
            EffectOutcome::Refused(failure) => {
                EffectOutcome::Refused(self.secrets.redact_failure(failure))
            }
            EffectOutcome::Unknown(why) => EffectOutcome::Unknown(self.secrets.redact_text(why)),
        };
        let changes = self.after(changes, &outcome, &context.token).await;
        Ok((outcome, changes))
    }

    /// Issue the call until its outcome is known or can't be known.
    async fn settled(
        &self,
        call: &Call,
        context: &EffectContext,
        cut_off: bool,
        way: &Way,
    ) -> Result<EffectOutcome, StoreError> {
        #[cfg(feature = "mutants")]
        let cut_off = cut_off && self.limits.mutant != Some(crate::deps::Mutant::ReissuesUnsettled);
        let mut outcome = match cut_off {
            true => EffectOutcome::Unknown("the runner ended before an answer came".into()),
            false => self.issue(call, context, way).await?,
        };
        let mut reissues = 0;
        while let EffectOutcome::Unknown(why) = &outcome {
            match self.provider.settle(call, context).await {
                Settled::Done(value) => return Ok(EffectOutcome::Done(value)),
                Settled::NotHappened if !(way.goes_forward)() => {
                    let message =
                        format!("{} did not happen, and its step is ending", call.function());
                    let failure = Failure::new(FailureClass::Cancelled, message);
                    return Ok(EffectOutcome::Refused(failure));
                }
                Settled::NotHappened if reissues >= self.limits.reissues_max => {
                    let message =
                        format!("{} never happened: {why}, time and again", call.function());
                    let failure = Failure::new(FailureClass::Transient, message);
                    return Ok(EffectOutcome::Refused(failure));
                }
                Settled::NotHappened => {
                    reissues += 1;
                    outcome = self.issue(call, context, way).await?;
                }
                Settled::CantKnow(more) => {
                    return Ok(EffectOutcome::Unknown(format!("{why}; {more}")));
                }
            }
        }
        Ok(outcome)
    }

    /// Ask the world, once, if the lease is still this runner's (R13).
    async fn issue(
        &self,
        call: &Call,
        context: &EffectContext,
        way: &Way,
    ) -> Result<EffectOutcome, StoreError> {
        way.store.hold(&way.lease).await?;
        let limit = Duration::from_millis(self.limits.effect_ms_max + own_ms(call));
        let asked = self.provider.perform(call, context);
        let outcome = match self.clock.timeout(limit, asked).await {
            Ok(outcome) => outcome,
            Err(_) => EffectOutcome::Unknown(format!("no answer came in {limit:?}")),
        };
        Ok(outcome)
    }

    /// The facts after the effect; what was created gets its own name.
    async fn after(
        &self,
        mut changes: Vec<Change>,
        outcome: &EffectOutcome,
        token: &Token,
    ) -> Vec<Change> {
        if matches!(outcome, EffectOutcome::Refused(_)) {
            for change in &mut changes {
                change.after = Some(change.before.clone());
            }
            return changes;
        }
        for change in &mut changes {
            if let Resource::Created { kind, .. } = &change.resource {
                match self.name_of_created(*kind, outcome, token).await {
                    Some(named) => change.resource = named,
                    None => continue,
                }
            }
            // Unread, the reversal compares with the world as it finds it then.
            change.after = self.observe(&change.resource).await.ok();
        }
        changes
    }

    /// The name of what was created: the answer tells it, or else the stamp.
    async fn name_of_created(
        &self,
        kind: ResourceKind,
        outcome: &EffectOutcome,
        token: &Token,
    ) -> Option<Resource> {
        if let EffectOutcome::Done(value) = outcome
            && let Some(id) = value.get("id").and_then(Value::as_str)
        {
            let id = id.to_owned();
            match kind {
                ResourceKind::Instance => return Some(Resource::Instance { id }),
                ResourceKind::Volume => return Some(Resource::Volume { id }),
                ResourceKind::Snapshot => return Some(Resource::Snapshot { id }),
                // These are named by whoever makes them.
                ResourceKind::Container
                | ResourceKind::Image
                | ResourceKind::DockerVolume
                | ResourceKind::FileSystem => {}
            }
        }
        let stamped = self.provider.stamped(std::slice::from_ref(token)).await.ok()?;
        stamped.into_iter().map(|(_, resource)| resource).find(|found| found.kind() == kind)
    }
}

/// How long a call itself says that it may take.
fn own_ms(call: &Call) -> u64 {
    match call {
        Call::DockerRunOnce { timeout_ms, .. } | Call::DockerExec { timeout_ms, .. } => *timeout_ms,
        Call::DockerStopContainer { grace_ms, .. } => *grace_ms,
        _ => 0,
    }
}
