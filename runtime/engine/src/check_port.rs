//! The port of a look outside any attempt: a check, or a run ahead of its time.
//!
//! Nothing of it is kept; in a run ahead, what would change or await something is denied and noted.
//! What can't be known before the operation runs has a mark in its place
//! ([`stepback_core::calls::NOT_KNOWN_YET`]): a question with it is held against the grants as far
//! as it is known, and the provider is not asked.
//!
//! An undo needs no grant of today's. Where a step asks about an effect that is not granted, but
//! would take back one that is, the provider is asked all the same: what speaks against it is told,
//! and else that it is not granted, which the step may pass over. Of anything else that is not
//! granted nothing is asked, so that no plugin learns of what is out of its reach.

use crate::access::WorldAccess;
use crate::asker::Asker;
use crate::guard::{Going, Guard, NOT_GRANTED};
use crate::secrets::door::Door;
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::calls::ClockCall;
use stepback_core::{Call, Class, Failure, FailureClass};
use stepback_wasm::{HostPort, LogLevel, Reversed};

/// So many effects that a check asked about are remembered; a check asks about a few.
const REMEMBERED_MAX: usize = 64;

/// What a guest that may only look is answered by.
pub(crate) struct CheckPort {
    access: WorldAccess,
    guard: Arc<Guard>,
    clock: Clock,
    may_wait: bool,
    door: Door,
    denied: AtomicBool,
    /// The effects that the step may make, as far as it asked.
    granted: Mutex<Vec<Call>>,
}

impl CheckPort {
    pub(crate) fn new(
        access: WorldAccess,
        guard: Arc<Guard>,
        clock: Clock,
        may_wait: bool,
        door: Door,
    ) -> Self {
        let (denied, granted) = (AtomicBool::new(false), Mutex::default());
        Self { access, guard, clock, may_wait, door, denied, granted }
    }

    /// Whether something was asked for that is not looking.
    pub(crate) fn was_denied(&self) -> bool {
        self.denied.load(Ordering::Relaxed)
    }

    fn remember_granted(&self, call: &Call) {
        let mut granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        if call.is_effect() && granted.len() < REMEMBERED_MAX {
            granted.push(call.clone());
        }
    }

    /// Whether it takes back what the step may do.
    fn may_take_back(&self, call: &Call) -> bool {
        let granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        granted.iter().any(|effect| call.may_take_back(effect))
    }

    fn deny(&self, function: &str) -> Failure {
        self.denied.store(true, Ordering::Relaxed);
        let message = format!("{function} is not for looking only");
        Failure::new(FailureClass::Denied, message)
    }
}

#[async_trait::async_trait]
impl HostPort for CheckPort {
    async fn call(&self, call: Call) -> Result<Value, Failure> {
        let call = self.door.let_out(&call).allowed()?;
        if !call.is_effect() {
            self.guard.permit(&self.access, &call, Going::Forward).await?;
        }
        match (call.class(), &call) {
            (Class::Read, Call::Clock(ClockCall::Now {})) => Ok(Value::from(self.clock.unix().0)),
            (Class::Read, other) => {
                Asker::Check.asks(self.guard.read(&self.access, other, Going::Forward)).await
            }
            (Class::Wait, Call::Clock(ClockCall::Sleep { duration_ms })) if self.may_wait => {
                self.clock.sleep(Duration::from_millis(*duration_ms)).await;
                Ok(Value::Null)
            }
            (Class::Wait, other) if self.may_wait => {
                Asker::Check.asks(self.access.wait(other)).await
            }
            (Class::Wait | Class::Effect | Class::Irreversible, other) => {
                Err(self.deny(other.function()))
            }
        }
    }

    async fn may(&self, call: Call) -> Result<(), Failure> {
        let call = self.door.let_out(&call).allowed()?;
        if !call.is_all_known() {
            return self.guard.permit_known(&self.access, &call).await;
        }
        let permitted = self.guard.permit(&self.access, &call, Going::Forward).await.map(|_| ());
        if permitted.is_ok() {
            self.remember_granted(&call);
        }
        both(permitted, self.may_take_back(&call), self.access.may(&call)).await
    }

    async fn reverse(&self, _effect_id: &str) -> Result<Reversed, Failure> {
        Err(self.deny("effects.reverse"))
    }

    fn log(&self, _level: LogLevel, _text: String) {}

    fn progress(&self, _text: String, _done: u64, _total: Option<u64>) {}
}

/// What the grants and then the provider say of a call; what is not granted the provider is asked
/// only where it takes back what is.
async fn both(
    permitted: Result<(), Failure>,
    takes_back: bool,
    asked: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    match &permitted {
        Ok(()) => asked.await,
        Err(failure) if takes_back && failure.code.as_deref() == Some(NOT_GRANTED) => {
            asked.await?;
            permitted
        }
        Err(_) => permitted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn answer(permitted: Result<(), Failure>, takes_back: bool, said: &str) -> Option<String> {
        let said = said.to_owned();
        let asked = async move {
            match said.as_str() {
                "yes" => Ok(()),
                "must not be asked" => panic!("the provider was asked"),
                _ => Err(Failure::new(FailureClass::Denied, said)),
            }
        };
        let answer = both(permitted, takes_back, asked).now_or_never().expect("nothing waits");
        answer.err().map(|failure| failure.message)
    }

    #[test]
    fn the_provider_is_asked_what_is_granted_or_takes_that_back() {
        let told = |text: &str| Some(text.to_owned());
        let denied = || Failure::new(FailureClass::Denied, "not granted").with_code(NOT_GRANTED);
        let late = || Failure::new(FailureClass::Transient, "no answer");
        assert_eq!(answer(Ok(()), false, "yes"), None);
        assert_eq!(answer(Ok(()), false, "IAM says no"), told("IAM says no"));
        assert_eq!(answer(Err(denied()), false, "must not be asked"), told("not granted"));
        assert_eq!(answer(Err(denied()), true, "IAM says no"), told("IAM says no"));
        assert_eq!(answer(Err(denied()), true, "yes"), told("not granted"));
        assert_eq!(answer(Err(late()), true, "must not be asked"), told("no answer"));
    }
}
