//! Steps on engines themselves.

use schemars::JsonSchema;
use serde::Deserialize;
use stepback_sdk::{Check, Duration, Failure, FailureClass, Step, docker, granted};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitInput {
    /// The instance that the engine runs on.
    host: String,
    #[serde(default = "five_minutes")]
    timeout: Duration,
}

/// A machine boots in that time.
fn five_minutes() -> Duration {
    Duration::seconds(300)
}

pub struct WaitEngine;

impl Step for WaitEngine {
    type Input = WaitInput;
    type Output = ();
    const NAME: &'static str = "wait-engine";
    const DOC: &'static str = "Wait until the Docker Engine of an instance answers.";

    /// An engine that does not answer now is what the step waits for; one that nobody knows, or
    /// that can't be used, is not.
    fn check(input: &WaitInput) -> Result<Check, Failure> {
        granted(|| docker::wait_engine(&input.host, input.timeout.ms()))?;
        match docker::list_containers(&input.host) {
            Ok(_) => Ok(Check::Ok),
            Err(why) if why.class == FailureClass::Transient => Ok(Check::Ok),
            Err(why) => Err(why),
        }
    }

    fn run(input: WaitInput) -> Result<(), Failure> {
        docker::wait_engine(&input.host, input.timeout.ms())
    }
}
