//! What whoever acts on Docker Engines says in the same words, real or simulated.

use serde_json::{Value, json};
use stepback_core::{Failure, FailureClass};

/// The code of an engine whose instance was terminated: it never answers again.
const GONE: &str = "instance-terminated";

/// What the containers of a host are, which are no facts of one thing.
pub const ONE_BY_ONE: &str = "a host's containers are read one by one";

/// How a command exits that a cancel cut off (a shell's SIGINT).
pub const CUT_OFF: i64 = 130;

/// What the output of a command ends with that a cancel cut off: it did not exit by itself.
pub const STOPPED_BY_CANCEL: &str = "stopped: its step is being ended";

/// The engine of an instance that was terminated.
pub fn gone(instance: &str) -> Failure {
    let message = format!("the Docker Engine of {instance} is gone: the instance was terminated");
    Failure::new(FailureClass::Precondition, message).with_code(GONE)
}

/// The code of a host that answered, and has nobody who listens where an engine would (connect(2)).
const REFUSED: &str = "ECONNREFUSED";

/// The engine of an instance that does not run.
pub fn down(instance: &str, state: &str) -> Failure {
    let message = format!("the Docker Engine of {instance} does not answer: it is {state}");
    Failure::new(FailureClass::Transient, message).with_code(REFUSED)
}

/// Whether a failure shows that no engine is there: one that is slow, or can't be reached, may be.
pub fn is_none(failure: &Failure) -> bool {
    failure.code.as_deref() == Some(REFUSED)
}

/// Whether a failure is that of an engine that is gone for good, and everything on it.
pub fn is_gone(failure: &Failure) -> bool {
    failure.code.as_deref() == Some(GONE)
}

/// The contract's *command-result*.
pub fn command_result(exit_code: i64, output: String) -> Value {
    json!({ "exit_code": exit_code, "output": output })
}
