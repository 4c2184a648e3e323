//! Which room a look is answered in.

use super::{pools, read};
use crate::world::World;
use serde_json::Value;
use stepback_core::manifest::duration_text;
use stepback_core::{Call, Failure, FailureClass, UnixMs};

/// Answer a question.
pub(super) fn answer(world: &World, call: &Call, now: UnixMs) -> Result<Value, Failure> {
    match call {
        Call::LoadBalancer(of) => pools::read(world, of, now),
        _ => read::answer(world, call, now),
    }
}

/// The wait's answer, if what it waits for is so by now.
pub(super) fn wait_over(world: &World, call: &Call, now: UnixMs) -> Result<Option<Value>, Failure> {
    match call {
        Call::LoadBalancer(of) => pools::wait_over(world, of, now),
        _ => read::wait_over(world, call),
    }
}

/// What a wait that is over by its time has to say.
pub(super) fn in_the_end(
    world: &World,
    call: &Call,
    now: UnixMs,
    waited_for: String,
) -> Result<Value, Failure> {
    let told = match call {
        Call::LoadBalancer(of) => pools::in_the_end(world, of, now),
        _ => Err(waited_for),
    };
    told.map_err(|waited_for| {
        let message = format!("{waited_for}, after {}", duration_text(read::timeout_ms(call)));
        Failure::new(FailureClass::Deadline, message)
    })
}
