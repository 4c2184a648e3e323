//! Access to the world: every call of a step goes out here, and its answer comes in.
//! Only what belongs to no step (whose a lock is, what an environment is) asks the provider itself.
//!
//! Secrets are put in here and taken out again, also of the names of things: what is observed is
//! what was called. Facts are sealed; an effect whose answer was lost is settled before anyone
//! hears of it (R3). Every question is bounded, and a provider that panics has not answered (R15).
//! Nothing here journals: what must be durable first is the driver's business.

mod effects;
mod looks;
mod settled;

pub(crate) use effects::IssuePermit;
pub(crate) use looks::{Found, Listed};

use crate::deps::{Deps, Limits};
use crate::replaced::ReplacedParts;
use crate::secrets::Secrets;
use futures_util::FutureExt;
use serde_json::Value;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::calls::bounds::answer_must_fit;
use stepback_core::{Call, Facts, Failure, FailureClass, Resource};
use stepback_provider::Provider;
use stepback_provider::advice::Advice;
use stepback_provider::passwords::{Declared, marking};

/// The way to one world, for one operation.
#[derive(Clone)]
pub(crate) struct WorldAccess {
    /// Reached through this alone.
    provider: Arc<dyn Provider>,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) replaced: Arc<ReplacedParts>,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
}

/// Why there was no answer.
enum NoAnswer {
    Late(Duration),
    Panic(String),
}

impl NoAnswer {
    fn why(&self) -> String {
        match self {
            NoAnswer::Late(limit) => format!("no answer came in {limit:?}"),
            NoAnswer::Panic(said) => format!("the provider panicked: {said}"),
        }
    }

    fn failure(&self, what: &str) -> Failure {
        let class = match self {
            NoAnswer::Late(_) => FailureClass::Deadline,
            NoAnswer::Panic(_) => FailureClass::Internal,
        };
        Failure::new(class, format!("{what}: {}", self.why()))
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&said| said.to_owned()));
    text.unwrap_or_else(|| "it did not say why".to_owned())
}

/// Which world the provider's is (R14): asked before anything is known that could be put in or
/// taken out.
pub(crate) async fn identity(deps: &Deps) -> Result<Value, Failure> {
    let limit = Duration::from_millis(deps.limits.read_ms_max);
    let asked = AssertUnwindSafe(deps.provider.identity()).catch_unwind();
    let no_answer = match deps.clock.timeout(limit, asked).await {
        Ok(Ok(answer)) => return answer,
        Ok(Err(panic)) => NoAnswer::Panic(panic_text(&*panic)),
        Err(_) => NoAnswer::Late(limit),
    };
    Err(no_answer.failure("which world it is"))
}

/// A call with the arguments that say what it is about: `ebs.describe(volume=vol-1)`.
fn in_one_line(call: &Call) -> String {
    let arguments = serde_json::to_value(call).unwrap_or_default()["arguments"].take();
    let plain = |(name, value): (&String, &Value)| match value {
        Value::String(text) => Some(format!("{name}={}", text.escape_debug())),
        Value::Number(number) => Some(format!("{name}={number}")),
        // What has parts of its own may be long, and is in the journal.
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let plain: Vec<String> =
        arguments.as_object().into_iter().flatten().filter_map(plain).collect();
    format!("{}({})", call.function(), plain.join(", "))
}

impl WorldAccess {
    pub(crate) fn new(deps: &Deps, secrets: Secrets, replaced: ReplacedParts) -> Self {
        Self {
            provider: Arc::clone(&deps.provider),
            secrets: Arc::new(secrets),
            replaced: Arc::new(replaced),
            limits: deps.limits.clone(),
            clock: deps.clock.clone(),
        }
    }

    /// The bare provider, for a defect on purpose: nothing else may reach it.
    #[cfg(feature = "mutants")]
    pub(crate) fn left_open(&self) -> &dyn Provider {
        &*self.provider
    }

    /// Ask the provider, for so long at most; that it panicked is an answer of its own.
    async fn ask<T>(&self, ms_max: u64, asked: impl Future<Output = T>) -> Result<T, NoAnswer> {
        let limit = Duration::from_millis(ms_max);
        let asked = marking(Arc::clone(&self.secrets) as Arc<dyn Declared>, asked);
        #[cfg(feature = "mutants")]
        if self.limits.mutant == Some(crate::mutants::Mutant::PanicsAreLost) {
            let answer = self.clock.timeout(limit, asked).await;
            return answer.map_err(|_| NoAnswer::Late(limit));
        }
        match self.clock.timeout(limit, AssertUnwindSafe(asked).catch_unwind()).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(panic)) => Err(NoAnswer::Panic(panic_text(&*panic))),
            Err(_) => Err(NoAnswer::Late(limit)),
        }
    }

    /// Ask, with why it fails told without secrets.
    async fn ask_of<T>(
        &self,
        what: &str,
        ms_max: u64,
        asked: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let answer = self.ask(ms_max, asked).await;
        let answer = answer.unwrap_or_else(|no_answer| Err(no_answer.failure(what)));
        answer.map_err(|failure| self.secrets.redact_failure(failure))
    }

    /// Tell how a question was answered, for whoever looks from inside: failures are redacted by
    /// now, and so is the call.
    fn tell<T>(&self, question: &str, call: &Call, answer: &Result<T, Failure>) {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let of = in_one_line(&self.secrets.canonical(call));
        match answer {
            Ok(_) => tracing::debug!(question, %of, "answered"),
            Err(failure) => {
                let class = failure.class;
                tracing::debug!(question, %of, %class, why = ?failure.message, "failed");
            }
        }
    }

    /// The call as it goes out.
    ///
    /// # Errors
    /// It needs a secret that is missing, or is for a part of the world that is another one by now.
    pub(crate) fn going_out(&self, call: &Call) -> Result<Call, Failure> {
        let revealed = self.secrets.reveal(call)?;
        self.replaced.must_allow(&revealed)?;
        Ok(revealed)
    }

    /// What a guest is given of an answer, of which it may have all that is left of it.
    pub(crate) fn given(&self, call: &Call, answer: Value) -> Result<Value, Failure> {
        let answer = self.secrets.taken_in(call, answer);
        answer_must_fit(call.function(), &answer)?;
        Ok(answer)
    }

    /// Answer a read of the engine's own, which no guest is given: however much there is counts.
    pub(crate) async fn read_all(&self, call: &Call) -> Result<Value, Failure> {
        Ok(self.secrets.taken_in(call, self.read_as_it_is(call).await?))
    }

    /// The same with secrets in it, for a decision alone: it is kept nowhere.
    pub(crate) async fn read_as_it_is(&self, call: &Call) -> Result<Value, Failure> {
        let going_out = self.going_out(call)?;
        let asked = self.provider.read(&going_out);
        let answer = self.ask_of(call.function(), self.limits.read_ms_max, asked).await;
        self.tell("read", call, &answer);
        answer
    }

    /// Answer a wait; dropping the future ends it.
    pub(crate) async fn wait(&self, call: &Call) -> Result<Value, Failure> {
        let going_out = self.going_out(call)?;
        // The provider ends it; whoever hangs beyond that is ended here.
        let limit_ms = call.own_ms().saturating_add(self.limits.read_ms_max);
        let asked = self.provider.wait(&going_out);
        let answer = self.ask_of(call.function(), limit_ms, asked).await;
        self.tell("wait", call, &answer);
        let answer = answer?;
        answer_must_fit(call.function(), &answer)?;
        Ok(self.secrets.taken_in(call, answer))
    }

    /// Whether the provider would let an effect be made. No answer depends on a secret, and so it
    /// is told none.
    pub(crate) async fn may(&self, call: &Call) -> Result<(), Failure> {
        self.replaced.must_allow(call)?;
        let asked = self.provider.may(call);
        let answer = self.ask_of(call.function(), self.limits.read_ms_max, asked).await;
        self.tell("may", call, &answer);
        answer
    }

    /// What the provider says to do about a resource that is not as it was. It is told what the
    /// journal holds, and asks nobody.
    pub(crate) fn advice(&self, resource: &Resource, before: &Facts, now: &Facts) -> String {
        let advice = or_look_at(resource, || self.provider.advice(resource, before, now));
        self.secrets.redact_written(advice.to_string())
    }
}

/// What was read still counts where the provider panics at what to say of it.
fn or_look_at(resource: &Resource, asked: impl FnOnce() -> Advice) -> Advice {
    catch_unwind(AssertUnwindSafe(asked)).unwrap_or_else(|panic| {
        let why = NoAnswer::Panic(panic_text(&*panic)).why();
        Advice::LookAt(format!("{}: {why}", Advice::look_at(resource)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepback_core::calls::EbsCall;

    #[test]
    fn a_call_is_told_in_one_line() {
        let attach = Call::Ebs(EbsCall::Attach {
            volume: "vol-1\n2026 INFO all is well".into(),
            instance: "i-1".into(),
            device: "/dev/sdf".into(),
        });
        let wanted =
            "ebs.attach(device=/dev/sdf, instance=i-1, volume=vol-1\\n2026 INFO all is well)";
        assert_eq!(in_one_line(&attach), wanted);
    }

    #[test]
    fn a_provider_that_panics_at_its_advice_loses_nothing_that_was_read() {
        let volume = Resource::Volume { id: "vol-1".to_owned() };
        let said = or_look_at(&volume, || panic!("on purpose"));
        let wanted = "look at ebs:volume/vol-1: the provider panicked: on purpose";
        assert_eq!(said.to_string(), wanted);
        let said = or_look_at(&volume, || Advice::Paste("mend it".to_owned()));
        assert_eq!(said.to_string(), "mend it");
    }
}
