//! Waiting for an engine to answer, for a container to be healthy, and for a volume's device to
//! come and go.
//!
//! An engine that does not answer may do so later, so that ends no wait before its time is over;
//! and one that hangs is not asked for longer than the wait may take.

use super::Docker;
use super::connect::Engine;
use super::errors::Answer;
use super::shapes::{error_of, health_of, is_paused, is_running};
use bollard::errors::Error;
use bollard::models::{BollardDate, ContainerInspectResponse, ContainerState, EventMessage};
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::{Stream, StreamExt};
use serde_json::Value;
use std::collections::HashMap;
use std::pin::Pin;
use std::time::Duration;
use stepback_clock::Moment;
use stepback_core::calls::DockerCall;
use stepback_core::manifest::duration_text;
use stepback_core::{Call, Failure, FailureClass, InstanceId};
use stepback_core::{docker_effects, docker_reads};

/// The pause between two looks begins so short, and is a part of what was waited so far: nobody is
/// told much later than it could be.
const PAUSE_MS_MIN: u64 = 5;
const PAUSE_MS_MAX: u64 = 2_000;
const PAUSE_PART: u32 = 20;
/// A look that was begun in time may take so long, whatever is left of it: a helper has to start.
const LOOK_MS_MIN: u64 = 15_000;

enum Progress {
    Over(Value),
    /// What it still waits for.
    NotYet(String),
}

fn timeout_ms(call: &Call) -> Option<u64> {
    match call {
        Call::Docker(DockerCall::WaitEngine { timeout_ms, .. })
        | Call::Docker(DockerCall::WaitHealthy { timeout_ms, .. })
        | Call::Docker(DockerCall::WaitDevice { timeout_ms, .. })
        | Call::Docker(DockerCall::WaitUnmounted { timeout_ms, .. }) => Some(*timeout_ms),
        _ => None,
    }
}

/// Wait until what the call waits for is so.
pub(super) async fn wait(
    docker: &Docker,
    host: &InstanceId,
    call: &Call,
) -> Result<Value, Failure> {
    let timeout_ms = timeout_ms(call).ok_or_else(|| super::misplaced(call))?;
    let clock = &docker.clock;
    let began = clock.now();
    let until = began.after(Duration::from_millis(timeout_ms));
    let (mut engine, mut watch) = (None, Watch::default());
    let mut news = News::default();
    loop {
        let left = until.since(clock.now()).max(Duration::from_millis(LOOK_MS_MIN));
        let looked_at = clock.now();
        let reads = look(docker, host, &mut engine, call, &mut watch);
        let waits_for = match clock.timeout(left, reads).await {
            Ok(Ok(Progress::Over(answer))) => return Ok(answer),
            Ok(Ok(Progress::NotYet(why))) => why,
            Ok(Err(told)) if told.is_unknown() || told.failure.is_retryable() => {
                // It may listen elsewhere when it comes back, and what ran there was down.
                (engine, watch, news) = (None, Watch::default(), News::default());
                told.failure.message
            }
            Ok(Err(told)) => return Err(told.failure),
            Err(_) => format!("the Docker Engine of {host} does not answer"),
        };
        let now = clock.now();
        if now >= until {
            let message = format!("{waits_for}, after {}", duration_text(timeout_ms));
            return Err(Failure::new(FailureClass::Deadline, message));
        }
        // A look that is dear is not made twice as often as it takes.
        let took = now.since(looked_at).min(Duration::from_millis(PAUSE_MS_MAX));
        let mut pause = pause_after(now.since(began)).max(took);
        if watch.up.is_some() {
            pause = pause.min(Duration::from_millis(docker.settings.stays_up_ms / 4 + 1));
        }
        tokio::select! {
            () = clock.sleep(pause.min(until.since(now))) => {}
            () = news.come(engine.as_ref(), call) => {}
        }
    }
}

fn pause_after(waited: Duration) -> Duration {
    let (min, max) = (Duration::from_millis(PAUSE_MS_MIN), Duration::from_millis(PAUSE_MS_MAX));
    (waited / PAUSE_PART).clamp(min, max)
}

type Events = Pin<Box<dyn Stream<Item = Result<EventMessage, Error>> + Send>>;

/// What an engine tells by itself of the container that is waited for (Docker docs, *Engine API*,
/// *SystemEvents*): its health, its start and end, and that it goes on. It only ends a pause; what
/// counts is what the next look shows, so that one that tells nothing costs no more than that.
#[derive(Default)]
struct News {
    stream: Option<Events>,
    are_over: bool,
}

impl News {
    /// Wait for the next; for ever, where there will be none.
    async fn come(&mut self, engine: Option<&Engine>, call: &Call) {
        let (Some(engine), Call::Docker(DockerCall::WaitHealthy { container, .. })) =
            (engine, call)
        else {
            return std::future::pending().await;
        };
        if self.are_over {
            return std::future::pending().await;
        }
        let stream = self.stream.get_or_insert_with(|| {
            let filters = HashMap::from([
                ("container", vec![container.as_str()]),
                ("event", vec!["health_status", "start", "die", "unpause"]),
            ]);
            let options = EventsOptionsBuilder::new().filters(&filters).build();
            Box::pin(engine.client.events(Some(options)))
        });
        if !matches!(stream.next().await, Some(Ok(_))) {
            // A broken stream tells nothing more, at once, again and again.
            (self.stream, self.are_over) = (None, true);
        }
    }
}

async fn look(
    docker: &Docker,
    host: &InstanceId,
    engine: &mut Option<Engine>,
    call: &Call,
    watch: &mut Watch,
) -> Answer<Progress> {
    let engine = match engine {
        Some(engine) => engine,
        None => engine.insert(docker.engine(host.as_str()).await?),
    };
    match call {
        // It may have been connected to before it went down.
        Call::Docker(DockerCall::WaitEngine { .. }) => {
            let what = format!("the Docker Engine of {host}");
            engine.asked(&what, engine.client.ping()).await?;
            Ok(Progress::Over(Value::Null))
        }
        Call::Docker(DockerCall::WaitHealthy { container, .. }) => {
            healthy(engine, container.as_str(), docker.settings.stays_up_ms, watch).await
        }
        Call::Docker(DockerCall::WaitDevice { volume, .. }) => {
            let kind = docker.helper(engine)?.kind(volume.as_str()).await;
            shows_up(kind.map(|kind| Progress::Over(Value::from(kind))))
        }
        Call::Docker(DockerCall::WaitUnmounted { volume, .. }) => {
            let mounts = docker.helper(engine)?.mounts(volume.as_str()).await;
            shows_up(mounts.map(|mounts| match mounts.first() {
                None => Progress::Over(Value::Null),
                Some(at) => Progress::NotYet(format!(
                    "volume `{volume}` is still mounted on {host}, at {at}; where no container \
                     that runs uses it, restart the Docker Engine"
                )),
            }))
        }
        Call::Ec2(_)
        | Call::Ebs(_)
        | Call::LoadBalancer(_)
        | Call::Docker(docker_reads!() | docker_effects!())
        | Call::Effects(_)
        | Call::Clock(_) => Err(super::misplaced(call).into()),
    }
}

/// What a device tells that may show up later.
fn shows_up(told: Answer<Progress>) -> Answer<Progress> {
    match told {
        Err(told) if told.failure.code.as_deref() == Some("ENOENT") => {
            Ok(Progress::NotYet(told.failure.message))
        }
        told => told,
    }
}

/// What the looks at a container have told so far.
#[derive(Default)]
struct Watch {
    up: Option<Up>,
    /// The health check's newest run at the first look, if it had run by then.
    first_probe: Option<Option<BollardDate>>,
}

impl Watch {
    /// Whether the health check has not run since the first look: what it says then may be of
    /// before. One that ran into a pause failed, and says so until the next (Docker docs,
    /// *Engine API*, *ContainerInspect*, `State.Health.Log`).
    fn knows_no_newer(&mut self, state: &ContainerState) -> bool {
        let log = state.health.as_ref().and_then(|health| health.log.as_ref());
        let newest = log.and_then(|log| log.last()).and_then(|probe| probe.start.clone());
        *self.first_probe.get_or_insert_with(|| newest.clone()) == newest && newest.is_some()
    }
}

/// Since when a container is up, and which of its runs that is.
struct Up {
    since: Moment,
    run: Run,
}

/// One run of a container: it is another one when its restart policy has started it again, though
/// it may look just like the one before.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    started_at: Option<String>,
    pid: Option<i64>,
    restarts: Option<i64>,
}

impl Run {
    fn of(found: &ContainerInspectResponse) -> Self {
        let state = found.state.as_ref();
        Self {
            started_at: state.and_then(|state| state.started_at.clone()),
            pid: state.and_then(|state| state.pid),
            restarts: found.restart_count,
        }
    }
}

/// Healthy is what the container's health check says; without one, that it stays up, in one run
/// and without a break: what is started again and again is up at any look (Docker docs, *Start
/// containers automatically*).
async fn healthy(
    engine: &Engine,
    name: &str,
    stays_up_ms: u64,
    watch: &mut Watch,
) -> Answer<Progress> {
    let found = engine.inspect(name).await?;
    let what = engine.name_of("container", name);
    let refuse = |code: &str, why: String| {
        let failure = Failure::new(FailureClass::Precondition, why).with_code(code);
        Err(failure.into())
    };
    let state = found.state.clone().unwrap_or_default();
    let health = health_of(&found);
    // One with a health check may take its time, and its runs.
    if !is_running(&found) || health == "none" && state.restarting == Some(true) {
        let (code, error) =
            (state.exit_code.unwrap_or_default(), error_of(&found).unwrap_or_default());
        let again = match found.restart_count.unwrap_or_default() {
            0 => String::new(),
            times => format!(", after {times} restarts"),
        };
        let why = format!("{what} is not running: exit {code}{again} {error}");
        return refuse("not-running", why.trim_end().to_owned());
    }
    if is_paused(&found) {
        // It answers nobody, whatever its last check said, and stays up only from when it goes on.
        watch.up = None;
        return Ok(Progress::NotYet(format!("{what} is paused")));
    }
    let is_old = watch.knows_no_newer(&state);
    let is_over = match health.as_str() {
        "healthy" => true,
        "unhealthy" if is_old => false,
        "unhealthy" => return refuse("unhealthy", format!("{what} is unhealthy")),
        "starting" => false,
        _ => {
            let (now, run) = (engine.clock.now(), Run::of(&found));
            let began = watch.up.get_or_insert_with(|| Up { since: now, run: Run::of(&found) });
            if began.run != run {
                let times = found.restart_count.unwrap_or_default();
                let why = format!(
                    "{what} does not stay up: it ended, and was started again (restarts: {times})"
                );
                return refuse("not-running", why);
            }
            now.since(began.since) >= Duration::from_millis(stays_up_ms)
        }
    };
    match is_over {
        true => Ok(Progress::Over(engine.shown(&found).await?)),
        false => Ok(Progress::NotYet(format!("{what} is not healthy yet"))),
    }
}
