//! `clock`: the journal's time, and sleeping.

use crate::bindings::stepback::step::clock::{Failure, Host};
use crate::guest::Guest;
use stepback_core::Call;

impl Host for Guest {
    async fn now(&mut self) -> Result<u64, Failure> {
        self.ask(Call::ClockNow {}).await
    }

    async fn sleep(&mut self, duration_ms: u64) -> Result<(), Failure> {
        self.tell(Call::ClockSleep { duration_ms }).await
    }
}
