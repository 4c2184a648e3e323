//! Waiting for a container to be healthy and for a volume's device to come and go.

use super::Docker;
use super::connect::Engine;
use super::errors::Answer;
use super::shapes::{health_of, is_running};
use serde_json::Value;
use std::time::Duration;
use stepback_clock::Moment;
use stepback_core::{Call, Failure, FailureClass};

/// The pause between two looks begins so short and doubles.
const PAUSE_MS_MIN: u64 = 50;
const PAUSE_MS_MAX: u64 = 2_000;

enum Look {
    Over(Value),
    /// What it still waits for.
    NotYet(String),
}

/// Wait until what the call waits for is so.
pub(super) async fn wait(docker: &Docker, engine: &Engine, call: &Call) -> Result<Value, Failure> {
    let timeout_ms = match call {
        Call::DockerWaitHealthy { timeout_ms, .. }
        | Call::DockerWaitDevice { timeout_ms, .. }
        | Call::DockerWaitUnmounted { timeout_ms, .. } => *timeout_ms,
        other => return Err(super::misplaced(other)),
    };
    let until = engine.clock.now().after(Duration::from_millis(timeout_ms));
    let mut up_since = None;
    let mut pause_ms = PAUSE_MS_MIN;
    loop {
        let waits_for = match look(docker, engine, call, &mut up_since).await {
            Ok(Look::Over(answer)) => return Ok(answer),
            Ok(Look::NotYet(why)) => why,
            Err(told) if told.is_unknown() || told.failure.is_retryable() => told.failure.message,
            Err(told) => return Err(told.failure),
        };
        let now = engine.clock.now();
        if now >= until {
            let message = format!("{waits_for}, after {timeout_ms} ms");
            return Err(Failure::new(FailureClass::Deadline, message));
        }
        let pause = Duration::from_millis(pause_ms).min(until.since(now));
        engine.clock.sleep(pause).await;
        pause_ms = (pause_ms * 2).min(PAUSE_MS_MAX);
        if up_since.is_some() {
            pause_ms = pause_ms.min(docker.settings.stays_up_ms / 4 + 1);
        }
    }
}

async fn look(
    docker: &Docker,
    engine: &Engine,
    call: &Call,
    up_since: &mut Option<Moment>,
) -> Answer<Look> {
    match call {
        Call::DockerWaitHealthy { container, .. } => {
            healthy(engine, container.as_str(), docker.settings.stays_up_ms, up_since).await
        }
        Call::DockerWaitDevice { volume, .. } => {
            match docker.helper(engine)?.kind(volume.as_str()).await {
                Ok(kind) => Ok(Look::Over(Value::from(kind))),
                Err(told) if told.failure.code.as_deref() == Some("ENOENT") => {
                    Ok(Look::NotYet(told.failure.message))
                }
                Err(told) => Err(told),
            }
        }
        Call::DockerWaitUnmounted { volume, .. } => {
            let mounts = match docker.helper(engine)?.mounts(volume.as_str()).await {
                Ok(mounts) => mounts,
                Err(told) if told.failure.code.as_deref() == Some("ENOENT") => {
                    return Ok(Look::NotYet(told.failure.message));
                }
                Err(told) => return Err(told),
            };
            Ok(match mounts.first() {
                None => Look::Over(Value::Null),
                Some(at) => Look::NotYet(format!(
                    "volume `{volume}` is still mounted on {}, at {at}; where no container that \
                     runs uses it, restart the Docker Engine",
                    engine.host
                )),
            })
        }
        other => Err(super::misplaced(other).into()),
    }
}

/// Healthy is what the container's health check says; without one, that it stays up.
async fn healthy(
    engine: &Engine,
    name: &str,
    stays_up_ms: u64,
    up_since: &mut Option<Moment>,
) -> Answer<Look> {
    let found = engine.inspect(name).await?;
    let what = engine.name_of("container", name);
    let refuse = |code: &str, why: String| {
        let failure = Failure::new(FailureClass::Precondition, why).with_code(code);
        Err(failure.into())
    };
    if !is_running(&found) {
        let state = found.state.unwrap_or_default();
        let (code, error) = (state.exit_code.unwrap_or_default(), state.error.unwrap_or_default());
        return refuse("not-running", format!("{what} is not running: exit {code} {error}"));
    }
    let is_over = match health_of(&found).as_str() {
        "healthy" => true,
        "unhealthy" => return refuse("unhealthy", format!("{what} is unhealthy")),
        "starting" => false,
        _ => {
            let now = engine.clock.now();
            now.since(*up_since.get_or_insert(now)) >= Duration::from_millis(stays_up_ms)
        }
    };
    match is_over {
        true => Ok(Look::Over(engine.shown(&found).await?)),
        false => Ok(Look::NotYet(format!("{what} is not healthy yet"))),
    }
}
