//! What an engine's errors mean, in one table.
//!
//! The status codes are those of the Docker Engine API reference, per endpoint: 400 bad parameter,
//! 401/403 not allowed, 404 no such thing, 409 conflict with the state it is in, 500 server error.
//! A 4xx rejects a request, so nothing happened. A 500 tells that something went wrong while it was
//! carried out: a stop that is answered so may have stopped the container. A 502, 503 or 504 is
//! told by what is between (RFC 9110, *Server Error 5xx*), and proves nothing.

use super::passwords::without_options;
use super::ssh::NoConnection;
use super::tls;
use bollard::errors::Error;
use std::error::Error as StdError;
use std::io::ErrorKind;
use stepback_core::calls::bounds::TOO_LARGE;
use stepback_core::step::EffectOutcome;
use stepback_core::{Failure, FailureClass};

/// A failure, and what it proves of an effect.
#[derive(Debug)]
pub(super) struct RequestError {
    pub(super) failure: Failure,
    proves: Proves,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proves {
    /// It did not take place.
    Rejected,
    /// The engine is through with it, and how far it came is to be looked at.
    Ended,
    Nothing,
}

pub(super) type Answer<T> = Result<T, RequestError>;

impl RequestError {
    /// The engine said no.
    pub(super) fn no(class: FailureClass, code: &str, message: impl Into<String>) -> Self {
        Self { failure: Failure::new(class, message).with_code(code), proves: Proves::Rejected }
    }

    /// Nobody knows what became of it.
    pub(super) fn unknown(message: impl Into<String>) -> Self {
        let failure = Failure::new(FailureClass::Transient, message).with_code("no-answer");
        Self { failure, proves: Proves::Nothing }
    }

    /// The same with another message.
    pub(super) fn saying(mut self, say: impl FnOnce(&str) -> String) -> Self {
        self.failure.message = say(&self.failure.message);
        self
    }

    /// What went wrong after the engine had accepted an effect: it may have taken place, whatever
    /// this says.
    pub(super) fn after_accepted(self) -> Self {
        Self { proves: Proves::Nothing, ..self }
    }

    pub(super) fn is_missing(&self) -> bool {
        self.failure.code.as_deref() == Some("404")
    }

    pub(super) fn is_conflict(&self) -> bool {
        self.failure.code.as_deref() == Some("409")
    }

    pub(super) fn is_unknown(&self) -> bool {
        self.proves == Proves::Nothing
    }

    /// Whether the engine ended with an error what it had begun.
    pub(super) fn is_ended(&self) -> bool {
        self.proves == Proves::Ended
    }

    /// Whether anybody answered at all.
    pub(super) fn has_status(&self) -> bool {
        let code = self.failure.code.as_deref();
        code.is_some_and(|code| code.len() == 3 && code.parse::<u16>().is_ok())
    }

    pub(super) fn outcome(self) -> EffectOutcome {
        match self.proves {
            Proves::Rejected => EffectOutcome::Refused(self.failure),
            Proves::Ended | Proves::Nothing => EffectOutcome::Unknown(self.failure.message),
        }
    }
}

/// What failed before anything was sent.
impl From<Failure> for RequestError {
    fn from(failure: Failure) -> Self {
        Self { failure, proves: Proves::Rejected }
    }
}

/// What `what` (`container `db` on i-1`) was asked for failed with.
pub(super) fn told(error: Error, what: &str) -> RequestError {
    match error {
        Error::DockerResponseServerError { status_code, message } => {
            let class = class_of(status_code, &message);
            let message = without_options(&message);
            let told =
                RequestError::no(class, &status_code.to_string(), format!("{what}: {message}"));
            let proves = match status_code {
                502..=504 => Proves::Nothing,
                500.. => Proves::Ended,
                _ => Proves::Rejected,
            };
            RequestError { proves, ..told }
        }
        Error::DockerStreamError { error } => {
            let class = class_of(500, &error);
            RequestError::no(class, "500", format!("{what}: {}", without_options(&error)))
        }
        Error::DockerContainerWaitError { error, code } => {
            let message = format!("{what} ended with {code}: {error}");
            RequestError::no(FailureClass::Refused, "500", message)
        }
        Error::SocketNotFoundError(path) => {
            let message = format!("{what}: there is no socket {path}; is the Docker Engine up?");
            RequestError::no(FailureClass::Transient, "ENOENT", message)
        }
        other => unanswered(&other, what),
    }
}

/// An answer is longer than any that makes sense.
#[derive(Debug, thiserror::Error)]
#[error("its answer has more than {0} bytes, which are the most")]
pub(super) struct TooLong(pub(super) usize);

/// An answer that is not read to its end: to ask again would not make it shorter.
pub(super) fn too_long(error: &TooLong, what: &str) -> RequestError {
    let told = RequestError::unknown(format!("{what}: {error}"));
    let failure = Failure::new(FailureClass::Refused, told.failure.message);
    RequestError { failure: failure.with_code(TOO_LARGE), ..told }
}

/// A request without an answer: did it go out at all?
fn unanswered(error: &Error, what: &str) -> RequestError {
    let never_sent = matches!(error, Error::HyperLegacyError { err } if err.is_connect());
    if let Some(error) = cause::<NoConnection>(error) {
        return RequestError::no(FailureClass::Transient, "ssh", format!("{what}: {error}"));
    }
    if let Some(error) = cause::<TooLong>(error) {
        return too_long(error, what);
    }
    if let Some(error) = cause::<rustls::Error>(error) {
        return match never_sent {
            true => tls::refused(error, what).into(),
            false => RequestError::unknown(tls::refused(error, what).message),
        };
    }
    // What the layers in between call themselves tells nobody anything.
    let said = causes(error).join(": ");
    let layers = ["Error in the hyper legacy client", "client error (Connect)"];
    let said = layers.iter().fold(said, |said, layer| said.replace(layer, ""));
    let said = said.trim_matches([' ', ':']).replace(": : ", ": ");
    let said = if said.is_empty() { "the connection broke".to_owned() } else { said };
    match never_sent {
        true => {
            let message = format!("{what}: the Docker Engine does not answer: {said}");
            // Only a host that answered has shown that nobody listens there.
            let kind = cause::<std::io::Error>(error).map(std::io::Error::kind);
            let code = match kind {
                Some(ErrorKind::ConnectionRefused) => "ECONNREFUSED",
                _ => "EHOSTUNREACH",
            };
            RequestError::no(FailureClass::Transient, code, message)
        }
        false => RequestError::unknown(format!("{what}: no answer of the Docker Engine: {said}")),
    }
}

/// The first error of this type among the causes, those inside of I/O errors included.
fn cause<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(one) = next {
        if let Some(found) = one.downcast_ref::<T>() {
            return Some(found);
        }
        // An I/O error's source is not what it holds, but the source of that.
        let held = one.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match held {
            Some(held) => Some(held as &(dyn StdError + 'static)),
            None => one.source(),
        };
    }
    None
}

fn class_of(status: u16, message: &str) -> FailureClass {
    match status {
        400 => FailureClass::InvalidInput,
        401 | 403 => FailureClass::Denied,
        404 => FailureClass::Precondition,
        // Of a registry behind the engine, mostly.
        429 | 502..=504 => FailureClass::Transient,
        500 if is_passing(message) => FailureClass::Transient,
        500 if is_denied(message) => FailureClass::Denied,
        _ => FailureClass::Refused,
    }
}

/// Whether the engine tells of somebody else's trouble that may pass: a registry's, a resolver's.
fn is_passing(message: &str) -> bool {
    const PASSING: [&str; 8] = [
        "connection refused",
        "connection reset",
        "i/o timeout",
        "TLS handshake timeout",
        "no such host",
        "unexpected EOF",
        "Client.Timeout exceeded",
        "toomanyrequests",
    ];
    PASSING.iter().any(|passing| message.contains(passing))
}

/// Whether the engine tells that a registry does not let it in (Distribution documentation, *HTTP
/// API V2*, *Errors*); the first is its own, before it has asked with credentials.
fn is_denied(message: &str) -> bool {
    const DENIED: [&str; 3] = [
        "no basic auth credentials",
        "unauthorized: authentication required",
        "denied: requested access to the resource is denied",
    ];
    DENIED.iter().any(|denied| message.contains(denied))
}

/// The error and what caused it, each said once.
pub(super) fn causes(error: &dyn std::error::Error) -> Vec<String> {
    let mut all: Vec<String> = vec![];
    let mut next = Some(error);
    while let Some(cause) = next {
        let text = cause.to_string();
        if !all.iter().any(|said| said.contains(&text)) {
            all.push(text);
        }
        next = cause.source();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_engine_says_has_its_class() {
        let table = [
            (400, "invalid restart policy", FailureClass::InvalidInput, Proves::Rejected),
            (404, "No such container: db", FailureClass::Precondition, Proves::Rejected),
            (409, "name is in use", FailureClass::Refused, Proves::Rejected),
            (500, "dial tcp: connection refused", FailureClass::Transient, Proves::Ended),
            (500, "error while mounting volume", FailureClass::Refused, Proves::Ended),
            (500, "no basic auth credentials", FailureClass::Denied, Proves::Ended),
            (502, "bad gateway", FailureClass::Transient, Proves::Nothing),
            (504, "gateway timeout", FailureClass::Transient, Proves::Nothing),
        ];
        for (status_code, message, class, proves) in table {
            let error =
                Error::DockerResponseServerError { status_code, message: message.to_owned() };
            let told = told(error, "container `db` on i-1");
            assert_eq!(told.failure.class, class, "{status_code} {message}");
            assert_eq!(told.proves, proves, "{status_code} {message}");
        }
        assert!(told(Error::RequestTimeoutError, "x").is_unknown());
    }
}
