//! The provider as the runner of a case has it: whatever is asked may go wrong.

use crate::assumed;
use crate::invariants::Watched;
use crate::kills::{Witness, is_killed_before};
use crate::place::{Fault, Kind};
use crate::script::{About, Met, Script};
use async_trait::async_trait;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::step::EffectOutcome;
use stepback_core::*;
use stepback_engine::Asker;
use stepback_journal::Memory;
use stepback_provider::faults::{refused, transient};
use stepback_provider::locks::WorldLocks;
use stepback_provider::{Around, EffectContext, Provider, Settled, Stamped};

/// What a question is answered that is refused in a rehearsal, where it is no call.
fn not_answered(fault: Fault) -> Failure {
    match fault {
        Fault::Transient => Failure::new(FailureClass::Transient, "try again (injected fault)")
            .with_code("RequestLimitExceeded"),
        _ => Failure::new(FailureClass::Refused, "it was refused (injected fault)")
            .with_code("InjectedRefusal"),
    }
}

/// A provider that follows a script.
pub(crate) struct Scripted {
    pub inner: Arc<dyn Provider>,
    pub script: Arc<Script>,
    pub store: Arc<Memory>,
    pub watched: Arc<Watched>,
    pub witness: Witness,
    pub clock: Clock,
    /// What is slow takes this long.
    pub slow_ms: u64,
}

impl Scripted {
    async fn takes(&self, ms: u64) {
        self.clock.sleep(Duration::from_millis(ms)).await;
    }

    async fn pass(&self, kind: Kind, about: About) -> Met {
        self.script.pass(kind, about, &self.clock).await
    }

    /// A question that changes nothing, with what befalls it.
    async fn ask<T>(
        &self,
        kind: Kind,
        about: About,
        answer: impl Future<Output = Result<T, Failure>>,
        refusal: impl Fn(Fault) -> Failure,
    ) -> Result<T, Failure> {
        let Met { place, fault } = self.pass(kind, about).await;
        if fault == Some(Fault::Cancel) {
            self.script.cancel(&self.store).await;
        }
        self.takes(assumed::LOOK_MS).await;
        if is_killed_before(kind) {
            self.witness.sees(&self.script, place, Fault::CrashBefore);
        }
        match fault {
            Some(
                fault @ (Fault::Refuse | Fault::RefuseAlways | Fault::Transient | Fault::Lost),
            ) => Err(refusal(fault)),
            Some(Fault::Hang | Fault::HangAfter) => std::future::pending().await,
            Some(Fault::CrashBefore | Fault::CrashAfter) => {
                self.script.die().await;
                std::future::pending().await
            }
            Some(Fault::Slow | Fault::Cancel) | None => answer.await,
        }
    }

    async fn ask_call(
        &self,
        call: &Call,
        answer: impl Future<Output = Result<Value, Failure>>,
    ) -> Result<Value, Failure> {
        let kind = Kind::Call { function: call.function(), undo: false };
        let refusal = |fault| match fault {
            Fault::Transient | Fault::Lost => transient(call),
            _ => refused(call),
        };
        self.ask(kind, About::Asked(Asker::now()), answer, refusal).await
    }

    /// Make an effect after the time that it takes; one that can be ended early is.
    async fn make(&self, call: &Call, context: &EffectContext, ms: u64) -> EffectOutcome {
        tokio::select! {
            biased;
            () = context.cancel.cancelled() => {}
            () = self.takes(ms) => {}
        }
        self.script.lives().await;
        let outcome = self.inner.perform(call, context).await;
        self.watched.look(&format!("after {}", call.function())).await;
        outcome
    }
}

#[async_trait]
impl Around for Scripted {
    fn inner(&self) -> &dyn Provider {
        &*self.inner
    }

    /// Those of the store are held against the last word; nobody else is in this world.
    fn locks(&self) -> Option<&dyn WorldLocks> {
        None
    }

    async fn read(&self, call: &Call) -> Result<Value, Failure> {
        self.ask_call(call, self.inner.read(call)).await
    }

    async fn wait(&self, call: &Call) -> Result<Value, Failure> {
        self.ask_call(call, self.inner.wait(call)).await
    }

    async fn perform(&self, call: &Call, context: &EffectContext) -> EffectOutcome {
        let kind = Kind::Call { function: call.function(), undo: context.undo };
        let Met { place, fault } = self.pass(kind, About::Made(context.token.clone())).await;
        self.witness.sees(&self.script, place, Fault::CrashBefore);
        let ms = assumed::takes_ms(call);
        match fault {
            Some(Fault::Refuse | Fault::RefuseAlways) => {
                self.takes(assumed::LOOK_MS).await;
                return EffectOutcome::Refused(refused(call));
            }
            Some(Fault::Transient) => {
                self.takes(assumed::LOOK_MS).await;
                return EffectOutcome::Refused(transient(call));
            }
            Some(Fault::Hang) => {
                context.cancel.cancelled().await;
                return EffectOutcome::Unknown("no answer came".into());
            }
            Some(Fault::CrashBefore) => self.script.die().await,
            Some(Fault::Cancel) => self.script.cancel(&self.store).await,
            Some(Fault::Slow) => self.takes(self.slow_ms).await,
            Some(Fault::Lost | Fault::HangAfter | Fault::CrashAfter) | None => {}
        }
        let outcome = self.make(call, context, ms).await;
        self.witness.sees(&self.script, place, Fault::CrashAfter);
        match fault {
            Some(Fault::CrashAfter) => self.script.die().await,
            Some(Fault::HangAfter) => std::future::pending().await,
            Some(Fault::Lost) if matches!(outcome, EffectOutcome::Done(_)) => {
                return EffectOutcome::Unknown("the answer was lost (injected fault)".into());
            }
            _ => {}
        }
        outcome
    }

    async fn settle(&self, call: &Call, context: &EffectContext) -> Settled {
        let about = About::Made(context.token.clone());
        let Met { fault, .. } = self.pass(Kind::Settle, about).await;
        self.takes(assumed::LOOK_MS).await;
        self.script.lives().await;
        let settled = match fault {
            Some(fault) => Settled::CantKnow(not_answered(fault).message),
            None => self.inner.settle(call, context).await,
        };
        // Some effects are settled by asking for the same again.
        self.watched.look(&format!("after {} was settled", call.function())).await;
        settled
    }

    async fn observe(&self, resource: &Resource) -> Result<Facts, Failure> {
        let about = About::Looked(resource.clone());
        self.ask(Kind::Look, about, self.inner.observe(resource), not_answered).await
    }

    async fn stamped(&self, tokens: &[Token]) -> Result<Stamped, Failure> {
        self.ask(Kind::Search, About::Nothing, self.inner.stamped(tokens), not_answered).await
    }
}
