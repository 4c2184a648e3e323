//! What an attempt asked for before, as its journal has it: a guest that runs again is answered so.

use serde_json::Value;
use stepback_core::state::{OpenAttempt, RecordedCall, StepState};
use stepback_core::step::PastEffect;
use stepback_core::{Call, Failure, UnixMs};

/// A call the journal holds, with what it was answered.
#[derive(Clone)]
pub(crate) enum Recorded {
    Answered { call: Call, at: UnixMs, result: Result<Value, Failure> },
    Effect { effect: PastEffect, finished: bool },
}

/// What the journal holds of an attempt that was cut off.
pub(crate) fn recorded_calls(step: &StepState, open: &OpenAttempt) -> Vec<Recorded> {
    let recorded = |call: &RecordedCall| match call {
        RecordedCall::Answered { call, at, result } => {
            Recorded::Answered { call: call.clone(), at: *at, result: result.clone() }
        }
        RecordedCall::Effect { index, finished } => {
            Recorded::Effect { effect: step.effects[*index].clone(), finished: *finished }
        }
    };
    open.calls.iter().map(recorded).collect()
}
