//! Steps on whether a container runs: starting, stopping, freezing, waiting for it, and its restart
//! policy.

use crate::containers::{Container, ContainerInput, check_exists, existing, no_container, policy};
use schemars::JsonSchema;
use serde::Deserialize;
use stepback_sdk::{
    Check, Duration, Failure, FailureClass, Step, docker,
    docker::{ContainerState, Health, RestartPolicy},
    granted, log, may, precondition,
};

pub struct StartContainer;

impl Step for StartContainer {
    type Input = ContainerInput;
    type Output = Container;
    const NAME: &'static str = "start-container";
    const DOC: &'static str = "Start a container.";

    fn check(input: &ContainerInput) -> Result<Check, Failure> {
        granted(|| docker::start_container(&input.host, &input.container))?;
        check_exists(&input.host, &input.container)
    }

    fn run(input: ContainerInput) -> Result<Container, Failure> {
        docker::start_container(&input.host, &input.container).map(Container::from)
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StopInput {
    host: String,
    container: String,
    /// How long it may take to stop by itself before it is killed.
    #[serde(default = "half_a_minute")]
    grace: Duration,
    /// It may remove itself when it stops (`docker run --rm`), with all its options.
    #[serde(default)]
    may_be_gone: bool,
    /// Fail if it had to be killed, so that nothing is done with what it left unfinished.
    #[serde(default)]
    clean: bool,
}

fn half_a_minute() -> Duration {
    Duration::seconds(30)
}

/// How a container exits whose process is killed (Docker docs, *docker container run*, *Exit
/// status*).
const KILLED: i32 = 137;

pub struct StopContainer;

impl Step for StopContainer {
    type Input = StopInput;
    type Output = Container;
    const NAME: &'static str = "stop-container";
    const DOC: &'static str = "Stop a container so that it stays down, even when its host reboots.";

    fn check(input: &StopInput) -> Result<Check, Failure> {
        let StopInput { host, container, grace, may_be_gone, .. } = input;
        let stops = || docker::stop_container(host, container, grace.ms());
        match may_be_gone {
            true => granted(stops)?,
            false => may(stops)?,
        }
        let Some(found) = docker::inspect_container(host, container)? else {
            return Ok(Check::NotYet(no_container(host, container)));
        };
        if found.restart != RestartPolicy::No {
            granted(|| docker::update_container(host, container, RestartPolicy::No))?;
        }
        Ok(Check::Ok)
    }

    fn run(input: StopInput) -> Result<Container, Failure> {
        let StopInput { host, container, grace, may_be_gone: _, clean } = input;
        let found = existing(&host, &container)?;
        // It may have been frozen since it was checked.
        if found.state == ContainerState::Paused {
            return Err(precondition(format!(
                "`{container}` on {host} is paused, and would not be when it is started again: \
                 unpause it first, and pause it again afterwards"
            )));
        }
        // A restart policy would bring it back at the next start of the daemon.
        if found.restart != RestartPolicy::No {
            docker::update_container(&host, &container, RestartPolicy::No)?;
        }
        let stopped = docker::stop_container(&host, &container, grace.ms()).map(Container::from)?;
        match stopped.exit_code {
            // It did not run before.
            _ if !found.is_running() => {}
            Some(KILLED) => {
                let told = format!(
                    "`{container}` did not stop in {grace} and was killed (exit {KILLED}): give it \
                     more `grace`"
                );
                if clean {
                    return Err(precondition(told));
                }
                log::line(log::Level::Warn, &told);
            }
            Some(code) => {
                log::info(&format!("`{container}` stopped within its grace (exit {code})"));
            }
            None => {}
        }
        Ok(stopped)
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestartInput {
    host: String,
    container: String,
    /// no, always, unless-stopped or on-failure.
    restart: String,
}

pub struct SetRestartPolicy;

impl Step for SetRestartPolicy {
    type Input = RestartInput;
    type Output = ();
    const NAME: &'static str = "set-restart-policy";
    const DOC: &'static str = "Tell Docker when to start a container by itself.";

    fn check(input: &RestartInput) -> Result<Check, Failure> {
        let RestartInput { host, container, restart } = input;
        // Grants know no policies, so that one that is not known yet makes no difference.
        let policy = policy(restart);
        let any = policy.clone().unwrap_or(RestartPolicy::No);
        granted(|| docker::update_container(host, container, any))?;
        match policy {
            Ok(_) => check_exists(host, container),
            Err(why) => Ok(Check::Refused(why.message)),
        }
    }

    fn run(input: RestartInput) -> Result<(), Failure> {
        docker::update_container(&input.host, &input.container, policy(&input.restart)?)
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitInput {
    host: String,
    container: String,
    #[serde(default = "a_minute")]
    timeout: Duration,
}

fn a_minute() -> Duration {
    Duration::seconds(60)
}

pub struct WaitHealthy;

impl Step for WaitHealthy {
    type Input = WaitInput;
    type Output = Container;
    const NAME: &'static str = "wait-healthy";
    const DOC: &'static str = "Wait until a container is healthy; when it is not, show its log.";

    fn check(input: &WaitInput) -> Result<Check, Failure> {
        let WaitInput { host, container, timeout } = input;
        may(|| docker::wait_healthy(host, container, timeout.ms()))?;
        Ok(match docker::inspect_container(host, container)? {
            Some(_) => Check::Ok,
            None => Check::NotYet(format!("there is no container `{container}` on {host}")),
        })
    }

    fn run(input: WaitInput) -> Result<Container, Failure> {
        let WaitInput { host, container, timeout } = input;
        match docker::wait_healthy(&host, &container, timeout.ms()) {
            Ok(found) => {
                if found.health == Health::None {
                    let text = format!(
                        "{container} has no health check: it counts as healthy because it has \
                         stayed up, which is all that is known of it"
                    );
                    log::line(log::Level::Warn, &text);
                }
                Ok(found.into())
            }
            Err(why) if why.class == FailureClass::Cancelled => Err(why),
            Err(why) => {
                show_log(&host, &container);
                Err(why)
            }
        }
    }
}

/// What the container said last, which mostly tells why; that it can't be read changes nothing.
fn show_log(host: &str, container: &str) {
    const TAIL_LINES: u32 = 20;
    if let Ok(lines) = docker::logs(host, container, TAIL_LINES) {
        for line in lines {
            log::line(log::Level::Warn, &format!("{container}: {line}"));
        }
    }
}

pub struct PauseContainer;

impl Step for PauseContainer {
    type Input = ContainerInput;
    type Output = Container;
    const NAME: &'static str = "pause-container";
    const DOC: &'static str =
        "Freeze a container that runs: it stays up and does nothing; the undo lets it go on.";

    fn check(input: &ContainerInput) -> Result<Check, Failure> {
        let ContainerInput { host, container } = input;
        granted(|| docker::pause_container(host, container))?;
        Ok(match docker::inspect_container(host, container)? {
            Some(found) if found.state == ContainerState::Paused => {
                Check::NotYet(format!("`{container}` on {host} is paused already"))
            }
            Some(found) if !found.is_running() => {
                Check::NotYet(format!("`{container}` on {host} is not running"))
            }
            Some(_) => Check::Ok,
            None => Check::NotYet(no_container(host, container)),
        })
    }

    fn run(input: ContainerInput) -> Result<Container, Failure> {
        docker::pause_container(&input.host, &input.container).map(Container::from)
    }
}

pub struct UnpauseContainer;

impl Step for UnpauseContainer {
    type Input = ContainerInput;
    type Output = Container;
    const NAME: &'static str = "unpause-container";
    const DOC: &'static str = "Let a paused container go on; the undo freezes it again.";

    fn check(input: &ContainerInput) -> Result<Check, Failure> {
        let ContainerInput { host, container } = input;
        granted(|| docker::unpause_container(host, container))?;
        Ok(match docker::inspect_container(host, container)? {
            Some(found) if found.state == ContainerState::Paused => Check::Ok,
            Some(_) => Check::NotYet(format!("`{container}` on {host} is not paused")),
            None => Check::NotYet(no_container(host, container)),
        })
    }

    fn run(input: ContainerInput) -> Result<Container, Failure> {
        docker::unpause_container(&input.host, &input.container).map(Container::from)
    }
}
