//! Calls that the journal does not hold yet: each is held against the plugin's grants, then made.

use super::{AttemptPort, cancelled};
use crate::asker::Asker;
use crate::guard::Going;
use serde_json::Value;
use stepback_core::*;

impl AttemptPort {
    pub(super) async fn live(&self, id: CallId, call: Call) -> Result<Value, Failure> {
        let permit = self.permit(&call).await;
        let result = match (permit, call.class()) {
            (Err(failure), _) => Err(failure),
            (Ok(()), Class::Effect | Class::Irreversible) => return self.effect(id, call).await,
            (Ok(()), Class::Read) => Asker::Attempt(id.clone()).asks(self.look(&call)).await,
            (Ok(()), Class::Wait) => self.wait(&id, &call).await,
        };
        self.answered(id, call, result).await
    }

    async fn permit(&self, call: &Call) -> Result<(), Failure> {
        if self.stop.is_stopped() {
            return Err(cancelled(call.function()));
        }
        let permit = self.guard.permit(&self.access, call, self.going());
        self.unless_stopped(call.function(), permit).await.map(|_| ())
    }

    async fn look(&self, call: &Call) -> Result<Value, Failure> {
        if let Call::Clock(ClockCall::Now {}) = call {
            return Ok(Value::from(self.clock.unix().0));
        }
        let read = self.guard.read(&self.access, call, self.going());
        self.unless_stopped(call.function(), read).await
    }

    /// What a call of now is made for.
    fn going(&self) -> Going {
        match self.of.direction {
            _ if self.is_reversing() => Going::Reversing,
            Direction::Undo => Going::Back,
            Direction::Do => Going::Forward,
        }
    }
}
