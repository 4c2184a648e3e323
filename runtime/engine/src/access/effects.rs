//! Making an effect: issued, settled when its answer is lost, and its facts read afterwards (R3).

use super::{Found, NoAnswer, WorldAccess, in_one_line};
use crate::secrets::{HIDDEN, Secrets};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use stepback_core::calls::SettleMode;
use stepback_core::step::{Change, EffectOutcome};
use stepback_core::{Call, Facts, Failure, FailureClass, Resource, ResourceKind};
use stepback_journal::{Lease, Store, StoreError};
use stepback_provider::{EffectContext, STALE_EPOCH, Settled};

/// Without an answer for so long, the world is asked meanwhile.
const SILENT_MS_MAX: u64 = 10_000;
/// The same where the step is to end.
const ENDING_MS_MAX: u64 = 2_000;
/// So long a look after an effect may still take where the step is to end.
const LOOK_ENDING_MS_MAX: u64 = 10_000;

/// What an effect may still be issued under.
pub(crate) struct IssuePermit {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) lease: Lease,
    /// Whether an effect that did not happen may be issued again.
    pub(crate) goes_forward: Box<dyn Fn() -> bool + Send + Sync>,
    /// Why one that did not happen may not be issued again, though all else goes forward.
    pub(crate) denied: Option<Failure>,
}

/// Tell what became of an effect, for whoever looks from inside: it is redacted by now.
fn tell_outcome(call: &Call, outcome: &EffectOutcome) {
    if !tracing::enabled!(tracing::Level::WARN) {
        return;
    }
    let effect = in_one_line(call);
    match outcome {
        EffectOutcome::Done(_) => tracing::info!(%effect, "the effect is made"),
        EffectOutcome::Refused(failure) => {
            tracing::info!(%effect, why = ?failure.message, "the effect is refused");
        }
        EffectOutcome::Unknown(why) => {
            tracing::warn!(%effect, ?why, "nobody can say whether the effect is made");
        }
    }
}

/// An effect, as the journal has it and as it goes out, and what it was about to change.
pub(super) struct RevealedEffect<'a> {
    pub(super) call: &'a Call,
    pub(super) going_out: &'a Call,
    pub(super) changes: &'a [Change],
}

impl WorldAccess {
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
        permit: &IssuePermit,
    ) -> Result<(EffectOutcome, Vec<Change>), StoreError> {
        self.secrets.note_asked(call);
        let outcome = match self.going_out(call) {
            Ok(going_out) => {
                let asked = RevealedEffect { call, going_out: &going_out, changes: &changes };
                self.issue_until_known(&asked, context, cut_off, permit).await?
            }
            Err(failure) if cut_off => self.settle_unissued(call, context, &failure).await,
            Err(failure) => EffectOutcome::Refused(failure),
        };
        let outcome = match outcome {
            EffectOutcome::Done(value) => EffectOutcome::Done(self.hide(call, value, context)),
            EffectOutcome::Refused(failure) => {
                EffectOutcome::Refused(self.secrets.redact_failure(failure))
            }
            EffectOutcome::Unknown(why) => EffectOutcome::Unknown(self.secrets.redact_written(why)),
        };
        tell_outcome(&self.secrets.canonical(call), &outcome);
        let changes = self.after(call, changes, &outcome, context).await;
        Ok((outcome, changes))
    }

    /// The answer as a guest and the journal may have it.
    fn hide(&self, call: &Call, value: Value, context: &EffectContext) -> Value {
        let hidden = self.secrets.taken_in(call, value);
        if Secrets::are_hidden_in(&hidden) {
            context.notes.warn(HIDDEN.to_owned());
        }
        hidden
    }

    /// Issue the call until its outcome is known or can't be known.
    async fn issue_until_known(
        &self,
        asked: &RevealedEffect<'_>,
        context: &EffectContext,
        cut_off: bool,
        permit: &IssuePermit,
    ) -> Result<EffectOutcome, StoreError> {
        #[cfg(feature = "mutants")]
        let cut_off =
            cut_off && self.limits.mutant != Some(crate::mutants::Mutant::ReissuesUnsettled);
        let function = asked.call.function();
        let mut outcome = match cut_off {
            true => EffectOutcome::Unknown("the runner ended before an answer came".into()),
            false => self.issue(asked, context, permit).await?,
        };
        let mut reissues = 0;
        while let EffectOutcome::Unknown(why) = &outcome {
            let refused = |class: FailureClass, message: String| {
                Ok(EffectOutcome::Refused(Failure::new(class, message)))
            };
            let found = self.find_out(asked, context).await;
            let told = match &found {
                Settled::Done(_) => "it is made",
                Settled::NotHappened => "it did not happen",
                Settled::CantKnow(_) => "it can't be told",
            };
            tracing::info!(function, reissues, told, "no answer came, and the world was asked");
            match found {
                Settled::Done(value) => return Ok(EffectOutcome::Done(value)),
                Settled::NotHappened if !(permit.goes_forward)() => {
                    let message = format!("{function} did not happen, and its step is ending");
                    return refused(FailureClass::Cancelled, message);
                }
                Settled::NotHappened if let Some(failure) = &permit.denied => {
                    return Ok(EffectOutcome::Refused(failure.clone()));
                }
                Settled::NotHappened if reissues >= self.limits.reissues_max => {
                    let message = format!("{function} never happened: {why}, time and again");
                    return refused(FailureClass::Transient, message);
                }
                Settled::NotHappened => {
                    reissues += 1;
                    outcome = self.issue(asked, context, permit).await?;
                }
                Settled::CantKnow(more) => {
                    return Ok(EffectOutcome::Unknown(format!("{why}; {more}")));
                }
            }
        }
        Ok(outcome)
    }

    pub(super) async fn settle(&self, call: &Call, context: &EffectContext) -> Settled {
        let limit_ms = self.limits.effect_ms_max.saturating_add(call.own_ms());
        let asked = self.provider.settle(call, context);
        let settled = self.ask(limit_ms, asked).await;
        settled.unwrap_or_else(|no_answer| Settled::CantKnow(no_answer.why()))
    }

    /// Settle a call that can't go out as it did: a secret is missing, or its engine is another.
    ///
    /// What carries a stamp is found by that and by its name, which mostly holds no secret;
    /// anything else would be compared with what nobody knows.
    async fn settle_unissued(
        &self,
        call: &Call,
        context: &EffectContext,
        failure: &Failure,
    ) -> EffectOutcome {
        let unknown = |why: &str| {
            EffectOutcome::Unknown(format!("the runner ended before an answer came; {why}"))
        };
        let names = self.secrets.reveal_known(call);
        let by_stamp = call.leaves_a_stamp();
        let are_known = |resource: &Resource| self.secrets.reveal_resource(resource).is_ok();
        let named = names.resources(&context.token).iter().all(are_known);
        if !by_stamp || !named || self.replaced.must_allow(&names).is_err() {
            return unknown(&failure.message);
        }
        match self.settle(&names, context).await {
            Settled::Done(value) => EffectOutcome::Done(value),
            Settled::NotHappened => EffectOutcome::Refused(failure.clone()),
            Settled::CantKnow(why) => unknown(&why),
        }
    }

    /// Ask the world, once, if the lease is still this runner's (R13).
    async fn issue(
        &self,
        asked: &RevealedEffect<'_>,
        context: &EffectContext,
        permit: &IssuePermit,
    ) -> Result<EffectOutcome, StoreError> {
        permit.store.hold(&permit.lease).await?;
        let call = asked.going_out;
        let limit_ms = self.limits.effect_ms_max.saturating_add(call.own_ms());
        let performed = self.provider.perform(call, context);
        let outcome = tokio::select! {
            biased;
            outcome = self.ask(limit_ms, performed) => {
                let unknown = |no_answer: NoAnswer| EffectOutcome::Unknown(no_answer.why());
                outcome.unwrap_or_else(unknown)
            }
            value = self.seen_made(asked, context) => EffectOutcome::Done(value),
        };
        match &outcome {
            // The world knows a later lease: nothing here is this runner's to do, or to judge.
            EffectOutcome::Refused(failure) if failure.code.as_deref() == Some(STALE_EPOCH) => {
                let (id, held) = (context.operation, permit.lease.epoch);
                Err(StoreError::StaleEpoch { id, held, now: None })
            }
            _ => Ok(outcome),
        }
    }

    /// Ready when the world shows an effect that nobody answers for: looked for when no answer has
    /// come for a while, or the step is to end. That it is not there yet proves nothing, because
    /// the request may still be under way.
    async fn seen_made(&self, asked: &RevealedEffect<'_>, context: &EffectContext) -> Value {
        let call = asked.going_out;
        let silent_ms = match call.settle_mode() {
            _ if call.entry().leaves_behind => return std::future::pending().await,
            Some(SettleMode::DesiredState) => Some(SILENT_MS_MAX.saturating_add(call.own_ms())),
            // What carries its stamp may not be all made yet; where its step is to end, that goes
            // with it.
            Some(SettleMode::FindByStamp | SettleMode::ReissueSameToken) => None,
            Some(SettleMode::Unknowable) | None => return std::future::pending().await,
        };
        let silence = async {
            match silent_ms {
                Some(ms) => self.clock.sleep(Duration::from_millis(ms)).await,
                None => std::future::pending().await,
            }
        };
        let mut pause_ms = tokio::select! {
            () = silence => SILENT_MS_MAX,
            () = context.cancel.cancelled() => {
                self.clock.sleep(Duration::from_millis(ENDING_MS_MAX)).await;
                ENDING_MS_MAX
            }
        };
        let function = call.function();
        loop {
            if let Settled::Done(value) = self.is_made(asked, context).await {
                tracing::info!(function, "no answer came, and the world shows that it is made");
                return value;
            }
            context.notes.info(format!(
                "{function} has no answer yet, and the world does not show it: it may still take \
                 effect, and is waited for"
            ));
            self.clock.sleep(Duration::from_millis(pause_ms)).await;
            pause_ms = pause_ms.saturating_mul(2);
        }
    }

    /// The facts after the effect; what was created gets its own name.
    async fn after(
        &self,
        call: &Call,
        mut changes: Vec<Change>,
        outcome: &EffectOutcome,
        context: &EffectContext,
    ) -> Vec<Change> {
        if matches!(outcome, EffectOutcome::Refused(_)) {
            for change in &mut changes {
                change.after = Some(change.before.clone());
            }
            return changes;
        }
        let objects = call.resources(&context.token).len().min(changes.len());
        let beside = changes.split_off(objects);
        for change in &mut changes {
            if let Resource::Created { kind, .. } = &change.resource {
                match self.name_of_created(*kind, outcome, context).await {
                    Some(named) => change.resource = named,
                    None => continue,
                }
            }
            // Unread, the reversal compares with the world as it finds it then.
            change.after = match self.is_somebody_elses(change, context).await {
                true => Some(Facts::Absent),
                false => {
                    let look = self.after_it(call, change, outcome, context);
                    self.unless_cut_off(context, look).await
                }
            };
            // What has the name of what was removed was made by somebody else.
            let is_anothers = |after: &Facts| change.before.is_another(after);
            if call.removes() && change.after.as_ref().is_some_and(is_anothers) {
                change.after = Some(Facts::Absent);
            }
        }
        let main = changes.first().and_then(|main| main.after.as_ref());
        let is_down = main.is_some_and(|main| main.is_absent() || main.is_down());
        let looks = beside.into_iter().map(|change| async move {
            let after = self.see_beside(&change.resource, is_down).await;
            let after = Some(after).filter(|after| !matches!(after, Facts::Unknown(_)));
            Change { after, ..change }
        });
        changes.extend(futures_util::future::join_all(looks).await);
        changes
    }

    /// What is seen after an effect, unless its step is being ended and nobody answers for a while:
    /// no budget is spent on a look.
    async fn unless_cut_off(
        &self,
        context: &EffectContext,
        look: impl Future<Output = Result<Facts, Failure>>,
    ) -> Option<Facts> {
        let cut_off = async {
            context.cancel.cancelled().await;
            self.clock.sleep(Duration::from_millis(LOOK_ENDING_MS_MAX)).await;
        };
        tokio::select! {
            biased;
            facts = look => facts.ok(),
            () = cut_off => None,
        }
    }

    /// Whether a Docker volume was made by somebody else between the look at its name and the call:
    /// an engine answers success all the same, and what it has carries no mark of the effect
    /// (Docker Engine API, *VolumeCreate*). The effect has made nothing then.
    async fn is_somebody_elses(&self, change: &Change, context: &EffectContext) -> bool {
        if change.resource.kind() != ResourceKind::DockerVolume || !change.before.is_absent() {
            return false;
        }
        let found = self.stamped(std::slice::from_ref(&context.token)).await;
        found.is_ok_and(|found| found.has(&change.resource) == Ok(false))
    }

    /// The name of what was created: the answer tells it, or else the stamp.
    async fn name_of_created(
        &self,
        kind: ResourceKind,
        outcome: &EffectOutcome,
        context: &EffectContext,
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
                | ResourceKind::FileSystem
                | ResourceKind::Containers
                | ResourceKind::Pool
                | ResourceKind::PoolTarget => {}
            }
        }
        let is_it = |found: &Found| found.resources.iter().any(|found| found.kind() == kind);
        let tokens = std::slice::from_ref(&context.token);
        let found = self.stamped_in_time(tokens, is_it).await.ok()?;
        found.resources.into_iter().find(|found| found.kind() == kind)
    }

    /// The effect's outcome is durable: what was kept only to settle it by may go.
    pub(crate) async fn forget(&self, call: &Call, context: &EffectContext) {
        // What can't be named now is tried again at the next recovery.
        let Ok(going_out) = self.going_out(&self.secrets.reveal_known(call)) else { return };
        let asked = self.provider.forget(&going_out, context);
        let _ = self.ask(self.limits.read_ms_max, asked).await;
    }
}
