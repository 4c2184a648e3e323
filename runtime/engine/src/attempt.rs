//! One attempt: the step's check, then its run; or its undo.
//!
//! Runs in a task of its own. Whatever becomes of the guest (an answer, a failure, a trap, a
//! stop) comes back to the driver as one result.

use crate::expressions;
use crate::job::Job;
use crate::port::AttemptPort;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use stepback_core::event::AttemptResult;
use stepback_core::machine::AttemptOrder;
use stepback_core::{CallId, CallNumber, Direction, Failure, FailureClass, Token};
use stepback_wasm::{HostPort, Invocation, Mode, Ran};

/// Run the attempt to its result, with a new guest after every wait that lasts.
pub(crate) async fn run(job: Arc<Job>, order: AttemptOrder, port: AttemptPort) -> AttemptResult {
    if order.delay_ms > 0 {
        tokio::select! {
            () = port.clock.sleep(Duration::from_millis(order.delay_ms)) => {}
            () = port.stop.stopped() => {}
        }
    }
    let mut port = Arc::new(port);
    loop {
        // What a guest takes is given back while it waits, and a day may pass.
        let result = tokio::select! {
            biased;
            result = Box::pin(run_guest(&job, &order, &port)) => Some(result),
            () = port.parked() => None,
        };
        if let Some(result) = result {
            return match (port.divergence(), result) {
                (Some(failure), _) | (None, Err(failure)) => {
                    AttemptResult::Failed(port.hide_failure(failure))
                }
                (None, Ok(result)) => result,
            };
        }
        let waited = match Arc::get_mut(&mut port) {
            Some(port) => port.wait_parked().await,
            None => Err(Failure::new(FailureClass::Internal, "a guest outlived its end")),
        };
        if let Err(failure) = waited {
            return AttemptResult::Failed(failure);
        }
    }
}

async fn run_guest(
    job: &Job,
    order: &AttemptOrder,
    port: &Arc<AttemptPort>,
) -> Result<AttemptResult, Failure> {
    match order.of.direction {
        Direction::Do => run_do(job, order, port).await,
        Direction::Undo => run_undo(job, order, port).await,
    }
}

async fn run_do(
    job: &Job,
    order: &AttemptOrder,
    port: &Arc<AttemptPort>,
) -> Result<AttemptResult, Failure> {
    let step_id = &order.of.step.step;
    expressions::fits(&job.plan, &job.access.limits, &port.clock, step_id, &order.input)
        .await
        .map_err(|why| Failure::new(FailureClass::InvalidInput, format!("`with`: {why}")))?;
    let loaded = job.loaded(step_id)?;
    // Whether irreversible calls may be made is decided by the driver, which knows what was created
    // here.
    let both = invocation(job, order, port, Mode::Run { irreversible_allowed: true })?;
    let as_port = Arc::clone(port) as Arc<dyn HostPort>;
    let ran = loaded.plugin.check_then_run(both, as_port).await.map_err(|f| f.to_failure())?;
    let precondition = |why: String| Failure::new(FailureClass::Precondition, why);
    match ran {
        Ran::Output(output) => {
            let schema = job.plan.info(step_id).map_or(&Value::Null, |info| &info.output_schema);
            Ok(AttemptResult::Output(port.hide_output(output, schema)))
        }
        Ran::Refused(why) => Err(precondition(why)),
        Ran::NotYet(why) => Err(precondition(format!("what it needs is not there: {why}"))),
    }
}

async fn run_undo(
    job: &Job,
    order: &AttemptOrder,
    port: &Arc<AttemptPort>,
) -> Result<AttemptResult, Failure> {
    #[cfg(feature = "mutants")]
    if port.access.limits.mutant == Some(crate::mutants::Mutant::UndoSkipped) {
        return Ok(AttemptResult::Undo(stepback_core::step::UndoAnswer::Undone));
    }
    let loaded = job.loaded(&order.of.step.step)?;
    let Some(past) = &order.past else {
        return Err(Failure::new(FailureClass::Internal, "an undo without a past"));
    };
    let undo = invocation(job, order, port, Mode::Undo)?;
    let as_port = Arc::clone(port) as Arc<dyn HostPort>;
    let answer = loaded.plugin.undo(undo, past, as_port).await.map_err(|f| f.to_failure())?;
    Ok(AttemptResult::Undo(port.hide_answer(answer)))
}

fn invocation(
    job: &Job,
    order: &AttemptOrder,
    port: &Arc<AttemptPort>,
    mode: Mode,
) -> Result<Invocation, Failure> {
    let step_id = &order.of.step.step;
    let step = job.plan.step(step_id);
    let step = step.ok_or_else(|| Failure::new(FailureClass::Internal, "no such step"))?;
    let first = CallId { of: order.of.clone(), number: CallNumber(0) };
    let token = Token::derive(&port.store, port.operation, &first);
    let mut seed = [0; 32];
    // A token is 64 hex digits, so it always fills the seed.
    hex::decode_to_slice(&token.0, &mut seed)
        .map_err(|error| Failure::new(FailureClass::Internal, error.to_string()))?;
    Ok(Invocation {
        step: step.uses.step().to_owned(),
        input: port.door.let_in(&order.input),
        mode,
        grants: job.loaded(step_id)?.guard.grants().clone(),
        seed,
        stop: port.stop.clone(),
        memory: job.memory.clone(),
    })
}
