//! What an error of AWS means: one table of its codes, and the line between *refused* and
//! *unknown* (R3).
//!
//! An effect is refused only where the answer proves it: a named error of the API, or a request
//! that never left this machine. Whatever else goes wrong after sending is unknown. No message
//! here holds a credential: what AWS says about signatures quotes the request, session token
//! included, so it is never passed on.

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use hyper_util::client::legacy::Error as ClientError;
use std::error::Error;
use std::fmt;
use stepback_core::step::EffectOutcome;
use stepback_core::{Call, Failure, FailureClass, cut};

/// What an error code says about the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// Turned away before anything was done; the same again later may pass.
    Throttled,
    /// A definite no, by a rule or a state of the world.
    Is(FailureClass),
    /// The credentials are no good: AWS's own text is withheld, this is said instead.
    Credentials(&'static str),
    /// Something broke on AWS's side; the effect may have taken place.
    Broke,
}

/// How an effect's or a read's request ended, if not well.
#[derive(Clone, Debug)]
pub(super) enum RequestError {
    /// AWS answered with an error.
    Answered { code: String, message: String, status: u16 },
    /// The request was not sent: nothing happened.
    NeverSent(Failure),
    /// It was sent, or may have been, and no whole answer came.
    NoAnswer(String),
}

/// Stands for the code of an answer that names none.
const UNNAMED: &str = "Unnamed";

/// The longest text of AWS's that is passed on.
const TEXT_BYTES_MAX: usize = 300;

const NEW_CREDENTIALS: &str = "AWS does not accept the credentials, at least not for this \
     resource; check the profile, the AWS_… variables or the instance's role";
const EXPIRED: &str = "the AWS credentials have expired; sign in again (`aws sso login`) or renew \
     the session, then run `stepback resume`";
const EXPIRED_OR_CLOCK: &str = "AWS says that the request has expired: temporary credentials have, \
     so sign in again (`aws sso login`) or renew the session; if not, set this machine's clock";
const CLOCK: &str = "AWS does not accept the request's time; set this machine's clock";
const NOT_ENABLED: &str = "the account can't use this service or region; enable the region, or \
     name another one in the environment";

/// What a code says about the request: the table, then the pattern of its name, then the status.
///
/// The table is in two parts only because it is long. Where no other page is named, a code is
/// described by (Amazon EC2 API Reference, *Error codes for the Amazon EC2 API*).
fn meaning(code: &str, status: u16) -> Meaning {
    let listed = about_the_caller(code).or_else(|| about_the_world(code));
    listed.unwrap_or_else(|| by_pattern(code, status))
}

/// The table's first part: who asks, how often, and how AWS fares.
fn about_the_caller(code: &str) -> Option<Meaning> {
    Some(match code {
        // (*Request throttling for the Amazon EC2 API*; *Common client error codes*.)
        "RequestLimitExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "EC2ThrottledException"
        | "SnapshotCreationPerVolumeRateExceeded" => Meaning::Throttled,
        // (*Common client error codes*; AWS STS API Reference, *Common errors*.)
        "UnauthorizedOperation" | "AccessDenied" | "AccessDeniedException" => {
            Meaning::Is(FailureClass::Denied)
        }
        "AuthFailure"
        | "InvalidClientTokenId"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "SignatureDoesNotMatch"
        | "InvalidSignatureException"
        | "UnrecognizedClientException" => Meaning::Credentials(NEW_CREDENTIALS),
        "ExpiredToken" | "ExpiredTokenException" => Meaning::Credentials(EXPIRED),
        // Of temporary credentials it is said too, when they have expired.
        "RequestExpired" => Meaning::Credentials(EXPIRED_OR_CLOCK),
        "RequestTimeTooSkewed" | "RequestInTheFuture" => Meaning::Credentials(CLOCK),
        "OptInRequired" | "Blocked" | "PendingVerification" => Meaning::Credentials(NOT_ENABLED),
        // The request was taken and something broke behind it (*Server error codes*): an effect
        // may have taken place.
        "InternalError"
        | "InternalFailure"
        | "InternalServerError"
        | "ServiceUnavailable"
        | "Unavailable"
        | "RequestTimeout" => Meaning::Broke,
        _ => return None,
    })
}

/// The table's second part: what is asked for, in the world as it is.
fn about_the_world(code: &str) -> Option<Meaning> {
    Some(Meaning::Is(match code {
        // Not in this state (*AttachVolume*, *DetachVolume*, *DeleteVolume*, *StartInstances*,
        // *StopInstances*, *TerminateInstances*, *ModifyInstanceAttribute*, *DeleteSnapshot*).
        "VolumeInUse"
        | "IncorrectState"
        | "IncorrectInstanceState"
        | "InvalidSnapshot.InUse"
        | "InvalidVolume.ZoneMismatch"
        | "AttachmentLimitExceeded"
        | "OperationNotPermitted"
        | "UnsupportedOperation"
        | "UnsupportedHostConfiguration"
        | "Unsupported" => FailureClass::Refused,
        // Not now, not so large (*ModifyVolume*).
        "VolumeModificationRateExceeded"
        | "VolumeModificationSizeLimitExceeded"
        | "IncorrectModificationState" => FailureClass::Refused,
        // Capacity and quotas (*RunInstances*, *StartInstances*, *CreateVolume*,
        // *CreateSnapshot*); some come with status 500 and are definite all the same
        // (*Server error codes*).
        "InsufficientInstanceCapacity"
        | "InsufficientCapacity"
        | "InsufficientHostCapacity"
        | "InsufficientReservedInstanceCapacity"
        | "InsufficientVolumeCapacity"
        | "InsufficientFreeAddressesInSubnet"
        | "InstanceLimitExceeded"
        | "VcpuLimitExceeded"
        | "VolumeLimitExceeded"
        | "MaxIOPSLimitExceeded"
        | "SnapshotLimitExceeded"
        | "ConcurrentSnapshotLimitExceeded"
        | "PendingSnapshotLimitExceeded"
        | "ResourceLimitExceeded"
        | "TagLimitExceeded"
        | "TagPolicyViolation" => FailureClass::Refused,
        // The same token with other parameters (*Ensuring idempotency in Amazon EC2 API
        // requests*).
        "IdempotentParameterMismatch" | "IdempotentInstanceTerminated" => FailureClass::Refused,
        // A value that the simulator refuses under the same code (*CreateVolume*,
        // *ModifyVolume*, *AttachVolume*).
        "InvalidParameterValue" | "InvalidParameterCombination" | "InvalidParameterDependency" => {
            FailureClass::Refused
        }
        // (Elastic Load Balancing API Reference, *RegisterTargets*, *DeregisterTargets*.)
        "TargetGroupNotFound" | "InvalidTarget" => FailureClass::Precondition,
        "TooManyTargets" | "TooManyRegistrationsForTargetId" => FailureClass::Refused,
        "InvalidParameter"
        | "MissingParameter"
        | "UnknownParameter"
        | "ValidationError"
        | "ValidationException"
        | "InvalidInput"
        | "InvalidRequest"
        | "InvalidAction" => FailureClass::InvalidInput,
        _ => return None,
    }))
}

fn by_pattern(code: &str, status: u16) -> Meaning {
    match code {
        // `InvalidInstanceID.NotFound`, `InvalidVolume.NotFound`, `InvalidAMIID.Unavailable` …
        other if other.ends_with(".NotFound") || other.ends_with(".Unavailable") => {
            Meaning::Is(FailureClass::Precondition)
        }
        // `InvalidInstanceID.Malformed`, `InvalidVolumeID.Malformed` …
        other if other.ends_with(".Malformed") => Meaning::Is(FailureClass::InvalidInput),
        _ if matches!(status, 401 | 403) => Meaning::Credentials(NEW_CREDENTIALS),
        // No named error of the API, so no proof either: something in between answered.
        UNNAMED => Meaning::Broke,
        // Codes of the 4xx kind say that the request was rejected (*Common client error codes*).
        _ if (400..500).contains(&status) => Meaning::Is(FailureClass::Refused),
        _ => Meaning::Broke,
    }
}

impl<E> From<SdkError<E, HttpResponse>> for RequestError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        if let Some(failure) = credentials_failure(&error) {
            return RequestError::NeverSent(failure);
        }
        match &error {
            SdkError::ConstructionFailure(_) => {
                let message = "the request to AWS could not be made of these arguments";
                RequestError::NeverSent(Failure::new(FailureClass::InvalidInput, message))
            }
            SdkError::TimeoutError(_) => {
                RequestError::NoAnswer("AWS did not answer in time".into())
            }
            SdkError::DispatchFailure(_) => undispatched(&error),
            SdkError::ResponseError(_) => {
                RequestError::NoAnswer("the answer of AWS could not be read".into())
            }
            SdkError::ServiceError(answer) => RequestError::Answered {
                code: error.code().unwrap_or(UNNAMED).to_owned(),
                message: error.message().unwrap_or_default().to_owned(),
                status: answer.raw().status().as_u16(),
            },
            _ => RequestError::NoAnswer("the request to AWS failed".into()),
        }
    }
}

/// The first error of this type in the chain of causes.
fn cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(one) = next {
        if let Some(found) = one.downcast_ref::<T>() {
            return Some(found);
        }
        next = one.source();
    }
    None
}

/// A connection that was never made carried no request.
fn undispatched(error: &(dyn Error + 'static)) -> RequestError {
    if cause::<ClientError>(error).is_some_and(ClientError::is_connect) {
        let message = "AWS can't be reached: no connection was made. Check the network, the \
             region's name, the `endpoint` setting and this machine's CA certificates";
        let failure = Failure::new(FailureClass::Transient, message).with_code("Unreachable");
        return RequestError::NeverSent(failure);
    }
    RequestError::NoAnswer("the connection to AWS broke before an answer came".into())
}

fn credentials_failure(error: &(dyn Error + 'static)) -> Option<Failure> {
    cause::<CredentialsError>(error).map(no_credentials)
}

/// What to do about credentials that could not be got; the cause's own text may quote them.
pub(super) fn no_credentials(error: &CredentialsError) -> Failure {
    let message = match error {
        CredentialsError::CredentialsNotLoaded(_) => {
            "there are no AWS credentials: set AWS_PROFILE or AWS_ACCESS_KEY_ID, name a `profile` \
             in the environment, or give the instance a role"
        }
        CredentialsError::ProviderTimedOut(_) => {
            "the AWS credentials could not be got in time: check the network and the profile"
        }
        CredentialsError::InvalidConfiguration(_) => {
            "the AWS configuration has a mistake: check the profile in ~/.aws/config"
        }
        _ => {
            "the AWS credentials could not be got: sign in again (`aws sso login`) or check the \
             profile's source of credentials"
        }
    };
    Failure::new(FailureClass::Denied, message).with_code("NoCredentials")
}

impl RequestError {
    /// Whether AWS answered with one of these codes.
    pub(super) fn has_code(&self, codes: &[&str]) -> bool {
        matches!(self, RequestError::Answered { code, .. } if codes.contains(&code.as_str()))
    }

    /// The code that AWS answered with.
    pub(super) fn code(&self) -> Option<&str> {
        match self {
            RequestError::Answered { code, .. } => Some(code),
            RequestError::NeverSent(_) | RequestError::NoAnswer(_) => None,
        }
    }

    /// Whether AWS turned the request away unexamined: proof that nothing happened.
    pub(super) fn is_throttled(&self) -> bool {
        self.meaning() == Some(Meaning::Throttled)
    }

    /// Whether asking again later may end otherwise.
    pub(super) fn may_pass(&self, what: &str) -> bool {
        self.failure(what).is_retryable()
    }

    fn meaning(&self) -> Option<Meaning> {
        match self {
            RequestError::Answered { code, status, .. } => Some(meaning(code, *status)),
            RequestError::NeverSent(_) | RequestError::NoAnswer(_) => None,
        }
    }

    /// As the failure of a read or a wait, which change nothing.
    pub(super) fn failure(&self, what: &str) -> Failure {
        let (code, message, status) = match self {
            RequestError::NeverSent(failure) => return failure.clone(),
            RequestError::NoAnswer(why) => {
                return Failure::new(FailureClass::Transient, format!("{what}: {why}"));
            }
            RequestError::Answered { code, message, status } => (code, clean(message), *status),
        };
        let (class, text) = match meaning(code, status) {
            Meaning::Throttled => {
                (FailureClass::Transient, "AWS throttles requests; try again".to_owned())
            }
            Meaning::Broke => (FailureClass::Transient, format!("AWS failed: {message}")),
            Meaning::Credentials(hint) => (FailureClass::Denied, hint.to_owned()),
            Meaning::Is(FailureClass::Denied) => {
                let hint = "grant what docs/environments.md lists for the operation";
                (FailureClass::Denied, format!("AWS does not allow it: {message}; {hint}"))
            }
            Meaning::Is(class) => (class, message),
        };
        Failure::new(class, format!("{what}: {text} ({code})")).with_code(code.clone())
    }

    /// As the outcome of an effect.
    pub(super) fn outcome(&self, what: &str) -> EffectOutcome {
        match (self, self.meaning()) {
            (RequestError::NoAnswer(why), _) => EffectOutcome::Unknown(format!("{what}: {why}")),
            (RequestError::Answered { code, .. }, Some(Meaning::Broke)) => {
                EffectOutcome::Unknown(format!("{what}: AWS failed after the request ({code})"))
            }
            (RequestError::NeverSent(_) | RequestError::Answered { .. }, _) => {
                EffectOutcome::Refused(self.failure(what))
            }
        }
    }
}

/// AWS's text, one line of it, without the part that only AWS can read.
fn clean(message: &str) -> String {
    let end = message.find("Encoded authorization failure message");
    let text = end.map_or(message, |end| &message[..end]).trim().trim_end_matches('.');
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    let text = cut::beginning(&text, TEXT_BYTES_MAX);
    if text.is_empty() { "no reason was given".to_owned() } else { text }
}

/// No such thing, with EC2's own code.
pub(super) fn missing(code: &str, what: &str, id: impl fmt::Display) -> Failure {
    Failure::new(FailureClass::Precondition, format!("there is no {what} `{id}`")).with_code(code)
}

/// A call that this provider is asked for by mistake.
pub(super) fn misplaced(call: &Call) -> Failure {
    let message = format!("{} is not a call for AWS", call.function());
    Failure::new(FailureClass::Internal, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(code: &str, status: u16) -> RequestError {
        RequestError::Answered { code: code.into(), message: "m. m.".into(), status }
    }

    #[test]
    fn codes_have_classes() {
        let table = [
            ("RequestLimitExceeded", 503, FailureClass::Transient),
            ("InvalidInstanceID.NotFound", 400, FailureClass::Precondition),
            ("InvalidVolume.NotFound", 400, FailureClass::Precondition),
            ("InvalidAMIID.Unavailable", 400, FailureClass::Precondition),
            ("InvalidVolumeID.Malformed", 400, FailureClass::InvalidInput),
            ("UnauthorizedOperation", 403, FailureClass::Denied),
            ("AuthFailure", 401, FailureClass::Denied),
            ("RequestExpired", 400, FailureClass::Denied),
            ("VolumeInUse", 400, FailureClass::Refused),
            ("InvalidVolume.ZoneMismatch", 400, FailureClass::Refused),
            ("InsufficientInstanceCapacity", 500, FailureClass::Refused),
            ("NeverHeardOf", 400, FailureClass::Refused),
            ("NeverHeardOf", 403, FailureClass::Denied),
            ("NeverHeardOf", 500, FailureClass::Transient),
            (UNNAMED, 403, FailureClass::Denied),
            (UNNAMED, 404, FailureClass::Transient),
        ];
        for (code, status, class) in table {
            let failure = answered(code, status).failure("x");
            assert_eq!(failure.class, class, "{code}");
            assert_eq!(failure.code.as_deref(), Some(code));
        }
    }

    #[test]
    fn only_proof_counts_as_refused() {
        let refused = |t: RequestError| matches!(t.outcome("x"), EffectOutcome::Refused(_));
        assert!(refused(answered("RequestLimitExceeded", 503)));
        assert!(refused(answered("InsufficientInstanceCapacity", 500)));
        assert!(refused(answered("NeverHeardOf", 400)));
        assert!(!refused(answered("NeverHeardOf", 500)));
        assert!(!refused(answered(UNNAMED, 404)));
        assert!(!refused(answered("InternalError", 500)));
        assert!(!refused(answered("Unavailable", 503)));
        assert!(!refused(RequestError::NoAnswer("reset".into())));
    }

    #[test]
    fn what_aws_says_of_signatures_is_withheld() {
        let trouble = RequestError::Answered {
            code: "SignatureDoesNotMatch".into(),
            message: "the canonical string was x-amz-security-token:SECRET".into(),
            status: 403,
        };
        let failure = trouble.failure("x");
        assert!(!failure.message.contains("SECRET"), "{failure}");
        let trouble = RequestError::Answered {
            code: "UnauthorizedOperation".into(),
            message: "No. Encoded authorization failure message: AAAA".into(),
            status: 403,
        };
        assert!(!trouble.failure("x").message.contains("AAAA"));
    }
}
