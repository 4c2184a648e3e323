//! `clock`: the journal's time, and sleeping.

use crate::bindings::stepback::clock::clock::{Failure, Host};
use crate::guest::Guest;
use stepback_core::Call;
use stepback_core::calls::ClockCall;

impl Host for Guest {
    async fn now(&mut self) -> Result<u64, Failure> {
        self.ask(Call::Clock(ClockCall::Now {})).await
    }

    async fn sleep(&mut self, duration_ms: u64) -> Result<(), Failure> {
        self.tell(Call::Clock(ClockCall::Sleep { duration_ms })).await
    }
}
