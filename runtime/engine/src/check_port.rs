//! The port of a look outside any attempt: a check, or a run ahead of its time.
//!
//! Nothing of it is kept; in a run ahead, what would change or await something is denied and noted.

use crate::access::WorldAccess;
use crate::guard::{Going, Guard};
use crate::secrets::door::Door;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::calls::ClockCall;
use stepback_core::{Call, Class, Failure, FailureClass};
use stepback_wasm::{HostPort, LogLevel, Reversed};

/// What a guest that may only look is answered by.
pub(crate) struct CheckPort {
    access: WorldAccess,
    guard: Arc<Guard>,
    clock: Clock,
    may_wait: bool,
    door: Door,
    denied: AtomicBool,
}

impl CheckPort {
    pub(crate) fn new(
        access: WorldAccess,
        guard: Arc<Guard>,
        clock: Clock,
        may_wait: bool,
        door: Door,
    ) -> Self {
        Self { access, guard, clock, may_wait, door, denied: AtomicBool::new(false) }
    }

    /// Whether something was asked for that is not looking.
    pub(crate) fn was_denied(&self) -> bool {
        self.denied.load(Ordering::Relaxed)
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
                let answer = self.access.read(other).await?;
                self.guard.covered(&self.access, other, answer, Going::Forward).await
            }
            (Class::Wait, Call::Clock(ClockCall::Sleep { duration_ms })) if self.may_wait => {
                self.clock.sleep(Duration::from_millis(*duration_ms)).await;
                Ok(Value::Null)
            }
            (Class::Wait, other) if self.may_wait => self.access.wait(other).await,
            (Class::Wait | Class::Effect | Class::Irreversible, other) => {
                Err(self.deny(other.function()))
            }
        }
    }

    async fn may(&self, call: Call) -> Result<(), Failure> {
        let call = self.door.let_out(&call).allowed()?;
        self.guard.permit(&self.access, &call, Going::Forward).await?;
        self.access.may(&call).await
    }

    async fn reverse(&self, _effect_id: &str) -> Result<Reversed, Failure> {
        Err(self.deny("effects.reverse"))
    }

    fn log(&self, _level: LogLevel, _text: String) {}

    fn progress(&self, _text: String, _done: u64, _total: Option<u64>) {}
}
