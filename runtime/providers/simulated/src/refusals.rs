//! How what can't be is refused, with the codes of the real ones.

use stepback_core::{Call, Failure, FailureClass};

/// What EC2 or an engine refuses, with its own code.
pub fn refused(code: &str, message: String) -> Failure {
    Failure::new(FailureClass::Refused, message).with_code(code)
}

/// No such thing: EC2's and Docker's own codes.
pub(super) fn missing(code: &str, what: &str) -> Failure {
    Failure::new(FailureClass::Precondition, format!("there is no {what}")).with_code(code)
}

/// A call that this provider is asked for by mistake.
pub fn misplaced(call: &Call) -> Failure {
    let message = format!("{} is not a call for the provider", call.function());
    Failure::new(FailureClass::Internal, message)
}
