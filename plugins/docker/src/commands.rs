//! Steps that run commands in containers.

use crate::containers::Mount;
use crate::images::{must_have, the_very};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use stepback_sdk::{Check, Duration, Failure, FailureClass, Step, docker, failure, granted, pairs};

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunOnceInput {
    host: String,
    image: String,
    /// The very image, whatever the name means by now.
    #[serde(default)]
    digest: Option<String>,
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    mounts: Vec<Mount>,
    #[serde(default = "five_minutes")]
    timeout: Duration,
}

fn five_minutes() -> Duration {
    Duration::seconds(300)
}

impl RunOnceInput {
    fn spec(self) -> docker::ContainerSpec {
        docker::ContainerSpec {
            image: self.image,
            command: self.command,
            env: pairs(&self.env),
            mounts: self.mounts.into_iter().map(docker::Mount::from).collect(),
            ports: vec![],
            restart: Some(docker::RestartPolicy::No),
            labels: vec![],
            like: None,
        }
    }
}

#[derive(Serialize, JsonSchema)]
pub struct CommandOutput {
    pub exit_code: i32,
    pub output: String,
}

pub struct RunOnce;

impl Step for RunOnce {
    type Input = RunOnceInput;
    type Output = CommandOutput;
    const NAME: &'static str = "run-once";
    const DOC: &'static str = "Run a command in a container of its own; it must exit with 0.";
    const REVERSIBLE: bool = false;

    fn check(input: &RunOnceInput) -> Result<Check, Failure> {
        let RunOnceInput { host, timeout, .. } = input;
        granted(|| docker::run_once(host, &input.clone().spec(), timeout.ms()))?;
        Ok(match the_very(&input.host, &input.image, input.digest.as_deref())? {
            Some(_) => Check::Ok,
            None => Check::NotYet(format!("image {} is not on {}", input.image, input.host)),
        })
    }

    fn run(mut input: RunOnceInput) -> Result<CommandOutput, Failure> {
        let (host, timeout) = (input.host.clone(), input.timeout);
        if let Some(digest) = &input.digest {
            input.image = must_have(&host, &input.image, digest)?.reference;
        }
        let ran = docker::run_once(&host, &input.spec(), timeout.ms())?;
        ended_well(ran, timeout)
    }
}

/// How a command ends that took longer than it may, and one that a cancel cut off (the contract's
/// *command-result*).
const TIMED_OUT: i32 = 124;
const CUT_OFF: i32 = 130;

/// The last line of what a command printed that was cut off, or its beginning; a command may exit
/// with [`TIMED_OUT`] or [`CUT_OFF`] by itself.
const STOPPED_LATE: &str = "stopped: it took longer than its ";
const STOPPED_BY_CANCEL: &str = "stopped: its step is being ended";

fn ended_well(result: docker::CommandResult, timeout: Duration) -> Result<CommandOutput, Failure> {
    let docker::CommandResult { exit_code, output } = result;
    let printed = output.trim();
    let last = printed.lines().last().unwrap_or_default();
    let (class, why) = match exit_code {
        0 => return Ok(CommandOutput { exit_code, output }),
        TIMED_OUT if last.starts_with(STOPPED_LATE) => {
            (FailureClass::Deadline, format!("took longer than its timeout, {timeout}"))
        }
        CUT_OFF if last == STOPPED_BY_CANCEL => {
            let why = "did not end by itself: it was stopped with its step";
            (FailureClass::Precondition, why.to_owned())
        }
        code => (FailureClass::Precondition, format!("exited with {code}")),
    };
    Err(failure(class, format!("the command {why}: {printed}")))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecInput {
    host: String,
    container: String,
    command: Vec<String>,
    #[serde(default = "five_minutes")]
    timeout: Duration,
}

pub struct Exec;

impl Step for Exec {
    type Input = ExecInput;
    type Output = CommandOutput;
    const NAME: &'static str = "exec";
    const DOC: &'static str = "Run a command in a running container; it must exit with 0.";
    const REVERSIBLE: bool = false;

    fn check(input: &ExecInput) -> Result<Check, Failure> {
        if input.command.is_empty() {
            return Ok(Check::Refused("`command` is empty".to_owned()));
        }
        let ExecInput { host, container, command, timeout } = input;
        granted(|| docker::exec(host, container, command, timeout.ms()))?;
        Ok(match docker::inspect_container(host, container)? {
            Some(found) if found.is_running() => Check::Ok,
            Some(_) => Check::NotYet(format!("{} does not run on {}", input.container, input.host)),
            None => Check::NotYet(format!(
                "there is no container {} on {}",
                input.container, input.host
            )),
        })
    }

    fn run(input: ExecInput) -> Result<CommandOutput, Failure> {
        let ExecInput { host, container, command, timeout } = input;
        let ran = docker::exec(&host, &container, &command, timeout.ms())?;
        ended_well(ran, timeout)
    }
}
