//! Waiting: here for a while, then without the guest.

use super::{AttemptPort, Parked, Waiting};
use crate::asker::Asker;
use crate::message::Message;
use serde_json::Value;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
use std::time::Duration;
use stepback_core::*;
use tokio::sync::oneshot;

impl AttemptPort {
    /// Wait here for a while; if it lasts, elsewhere, without the guest.
    pub(super) async fn wait(&self, id: &CallId, call: &Call) -> Result<Value, Failure> {
        self.must_end(call)?;
        let since = self.clock.unix();
        let begun = match &self.begun {
            Some(begun) if id.number.0 as usize == self.recorded.len() + 1 => Some(begun),
            _ => None,
        };
        if let Some(begun) = begun.filter(|begun| begun.call != *call) {
            return Err(self.diverge(id, &begun.call, call));
        }
        let rest = begun.map_or_else(|| call.clone(), |begun| begun.rest(since));
        let sleep_ms = match rest {
            Call::Clock(ClockCall::Sleep { duration_ms }) => Some(duration_ms),
            _ => None,
        };
        let mut waiting = self.waiting(id, rest);
        let parked_after_ms = self.access.limits.parked_after_ms;
        // How long a sleep lasts is known.
        if sleep_ms.is_none_or(|sleep_ms| sleep_ms <= parked_after_ms) {
            let lasts = Duration::from_millis(parked_after_ms);
            let answer = self.clock.timeout(lasts, &mut waiting);
            let answer = self.unless_stopped(call.function(), async { Ok(answer.await) });
            if let Ok(answer) = answer.await? {
                return answer;
            }
        }
        if begun.is_none() {
            let (id, call) = (id.clone(), call.clone());
            self.send(Message::WaitBegun { id, call, since }).await?;
        }
        let (id, call) = (id.clone(), Box::new(call.clone()));
        self.park(Parked::Wait { id, call, waiting }).await
    }

    /// The guest ends here: whoever runs the attempt drops it.
    pub(super) async fn park<T>(&self, over: Parked) -> T {
        *self.parking.parked.lock().unwrap_or_else(PoisonError::into_inner) = Some(over);
        self.parking.filled.notify_one();
        std::future::pending().await
    }

    fn waiting(&self, id: &CallId, call: Call) -> Waiting {
        let asker = Asker::Attempt(id.clone());
        if let Call::Clock(ClockCall::Sleep { duration_ms }) = call {
            // By itself: a thousand operations may sleep for a day.
            let sleep = self.access.clock.sleep(Duration::from_millis(duration_ms));
            return Box::pin(asker.asks(async move {
                sleep.await;
                Ok(Value::Null)
            }));
        }
        let access = self.access.clone();
        Box::pin(asker.asks(async move { access.wait(&call).await }))
    }

    /// Returns when the guest is to be parked.
    pub(crate) async fn parked(&self) {
        self.parking.filled.notified().await;
    }

    /// Wait on for the guest that was dropped, then get ready for the one that replays it.
    pub(crate) async fn wait_parked(&mut self) -> Result<(), Failure> {
        let parking = self.parking.parked.get_mut().unwrap_or_else(PoisonError::into_inner);
        match parking.take() {
            None => return Ok(()),
            Some(Parked::Wait { id, call, waiting }) => {
                let result = self.unless_stopped(call.function(), waiting).await;
                // What it was answered is what the replay is answered.
                let _ = self.answered(id, *call, result).await;
            }
            // What was granted is granted again when it is asked for again.
            Some(Parked::Held { id, function, granted }) => {
                let _ = self.unless_stopped(function, granted).await;
                self.held = Some(id);
            }
        }
        let (reply, recorded) = oneshot::channel();
        self.send(Message::ReplayAsked { of: self.of.clone(), reply }).await?;
        let gone = |_| Failure::new(FailureClass::Internal, "the driver is gone");
        self.recorded = recorded.await.map_err(gone)?;
        self.begun = None;
        self.calls_made = AtomicU32::new(0);
        self.journaled_bytes = AtomicUsize::new(0);
        self.last_at = AtomicU64::new(self.started_at.0);
        Ok(())
    }
}
