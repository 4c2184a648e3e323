//! A provider whose effects can be made to fail, for trying out what happens then.
//!
//! What is asked for is put in at the provider's door, whatever is behind it: all above it
//! meets the fault as it would meet the real one. `refuse` and `transient` never reach the real
//! provider; with `lost`, `hang-after` and `crash-after` the effect is made.

use crate::faults::{self, Fault, Faults};
use crate::{Around, EffectContext, Provider};
use async_trait::async_trait;
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError};
use stepback_core::step::EffectOutcome;
use stepback_core::{Call, Failure};

/// A provider with faults.
pub struct Faulty {
    inner: Arc<dyn Provider>,
    faults: Mutex<Faults>,
}

impl Faulty {
    /// The provider `inner` with these faults at its door.
    pub fn new(inner: Arc<dyn Provider>, faults: Faults) -> Self {
        Self { inner, faults: Mutex::new(faults) }
    }

    /// Other faults from here on, as a new process has its own.
    pub fn set_faults(&self, faults: Faults) {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    fn next(&self, call: &Call, undo: bool) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.next(call.function(), undo)
    }

    async fn pass(&self, call: &Call) -> Result<(), Failure> {
        match self.next(call, false) {
            None => Ok(()),
            Some(Fault::Refuse) => Err(faults::refused(call)),
            Some(Fault::Transient | Fault::Lost) => Err(faults::transient(call)),
            Some(Fault::Hang | Fault::HangAfter) => std::future::pending().await,
            Some(Fault::CrashBefore | Fault::CrashAfter) => faults::die(),
        }
    }
}

#[async_trait]
impl Around for Faulty {
    fn inner(&self) -> &dyn Provider {
        &*self.inner
    }

    async fn read(&self, call: &Call) -> Result<Value, Failure> {
        self.pass(call).await?;
        self.inner.read(call).await
    }

    async fn wait(&self, call: &Call) -> Result<Value, Failure> {
        self.pass(call).await?;
        self.inner.wait(call).await
    }

    async fn perform(&self, call: &Call, context: &EffectContext) -> EffectOutcome {
        let fault = self.next(call, context.undo);
        match fault {
            Some(Fault::Refuse) => return EffectOutcome::Refused(faults::refused(call)),
            Some(Fault::Transient) => return EffectOutcome::Refused(faults::transient(call)),
            Some(Fault::Hang) => {
                context.cancel.cancelled().await;
                return EffectOutcome::Unknown("no answer came".into());
            }
            Some(Fault::CrashBefore) => faults::die(),
            Some(Fault::Lost | Fault::HangAfter | Fault::CrashAfter) | None => {}
        }
        let outcome = self.inner.perform(call, context).await;
        match fault {
            Some(Fault::CrashAfter) => faults::die(),
            Some(Fault::HangAfter) => std::future::pending().await,
            Some(Fault::Lost) if matches!(outcome, EffectOutcome::Done(_)) => {
                EffectOutcome::Unknown("the answer was lost (injected fault)".into())
            }
            _ => outcome,
        }
    }
}
