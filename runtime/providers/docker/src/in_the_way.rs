//! What is in a call's way and stays there, found before anything stops.

use super::Docker;
use super::connect::Engine;
use super::errors::{Answer, RequestError};
use super::like::Model;
use super::shapes::{is_paused, is_running, ports_of};
use super::sockets::Sockets;
use bollard::models::{ContainerInspectResponse, ContainerSummary, HealthConfig};
use bollard::query_parameters::ListContainersOptionsBuilder;
use stepback_core::calls::{ContainerSpec, DockerCall};
use stepback_core::manifest::duration_text;
use stepback_core::{Call, FailureClass};
use stepback_provider::ports::{self, Published};

/// What a health check has that says nothing of it (Dockerfile reference, *HEALTHCHECK*).
const INTERVAL_MS: u64 = 30_000;
const START_INTERVAL_MS: u64 = 5_000;
/// Engines since 25.0 know a start interval (Docker docs, *Engine API version history*, v1.44).
const START_INTERVAL_SINCE: (usize, usize) = (1, 44);

/// Whether a container like another one can have its ports, and one that is stopped can be started
/// again.
pub(super) async fn nothing(docker: &Docker, engine: &Engine, call: &Call) -> Answer<()> {
    match call {
        Call::Docker(DockerCall::CreateContainer { spec, .. }) => {
            can_be_like(docker, engine, spec).await
        }
        Call::Docker(DockerCall::RemoveContainer { container, .. }) => {
            let Some(found) = engine.find(container.as_str()).await? else { return Ok(()) };
            nobody_hangs_on(engine, &found).await?;
            engine.must_keep_nothing(&found).await
        }
        Call::Docker(DockerCall::StopContainer { container, grace_ms, .. }) => {
            let found = engine.find(container.as_str()).await?;
            let own_s = found.as_ref().and_then(|found| found.config.as_ref()?.stop_timeout);
            let grace_s = grace_ms.div_ceil(1000);
            if let Some(own_s) = own_s.and_then(|own_s| u64::try_from(own_s).ok())
                && own_s > grace_s
            {
                let what = engine.name_of("container", container.as_str());
                let message = format!(
                    "{what} may take {own_s} s to stop (`--stop-timeout`), and would be killed \
                     after {grace_s} s: give it that long"
                );
                return Err(RequestError::no(FailureClass::Precondition, "grace", message));
            }
            if found.as_ref().is_some_and(is_paused) {
                return Err(ports::is_paused(&engine.host, container.as_str()).into());
            }
            let removes_itself = |host: &bollard::models::HostConfig| host.auto_remove;
            let goes = found.as_ref().filter(|found| is_running(found));
            match goes.and_then(|found| removes_itself(found.host_config.as_ref()?)) {
                Some(true) => Err(ports::removes_itself(&engine.host, container.as_str()).into()),
                Some(false) | None => Ok(()),
            }
        }
        Call::Docker(DockerCall::WaitHealthy { container, timeout_ms, .. }) => {
            let Some(found) = engine.find(container.as_str()).await? else { return Ok(()) };
            // Of one that runs its health is known.
            match is_running(&found) {
                true => Ok(()),
                false => is_asked_in_time(engine, &found, *timeout_ms),
            }
        }
        _ => Ok(()),
    }
}

/// A health check is made for the first time when its interval has passed since the start; in its
/// start period engines since 25.0 take the start interval (Dockerfile reference, *HEALTHCHECK*).
fn is_asked_in_time(
    engine: &Engine,
    found: &ContainerInspectResponse,
    timeout_ms: u64,
) -> Answer<()> {
    let check = found.config.as_ref().and_then(|config| config.healthcheck.as_ref());
    let Some(check) = check else { return Ok(()) };
    let version = engine.client.client_version();
    let version = (version.major_version, version.minor_version);
    let has_start_interval = version >= START_INTERVAL_SINCE;
    let Some(first_ms) = first_probe_ms(check, has_start_interval) else { return Ok(()) };
    if first_ms < timeout_ms {
        return Ok(());
    }
    let what = engine.name_of("container", &super::shapes::name_of(found));
    let message = format!(
        "the health check of {what} is made for the first time {} after the start, and it is \
         waited for {}: make the new one with a shorter interval, or wait longer",
        duration_text(first_ms),
        duration_text(timeout_ms)
    );
    Err(RequestError::no(FailureClass::Precondition, "late-health", message))
}

/// After how long the first answer of a health check can be there; never where there is none.
fn first_probe_ms(check: &HealthConfig, has_start_interval: bool) -> Option<u64> {
    let first = check.test.as_ref().and_then(|test| test.first());
    if first.is_none_or(|kind| kind == "NONE") {
        return None;
    }
    let ms = |ns: Option<i64>, default_ms: u64| match ns {
        Some(ns) if ns > 0 => u64::try_from(ns).unwrap_or_default() / 1_000_000,
        _ => default_ms,
    };
    let interval_ms = ms(check.interval, INTERVAL_MS);
    let has_start_period = check.start_period.is_some_and(|ns| ns > 0);
    let start_ms = ms(check.start_interval, START_INTERVAL_MS);
    Some(if has_start_interval && has_start_period { start_ms } else { interval_ms })
}

/// Other containers that have this one's namespaces lose them when it is removed, and can't be
/// started again (Docker docs, *docker container run*, `--network`, `--pid` and `--ipc`).
async fn nobody_hangs_on(engine: &Engine, found: &ContainerInspectResponse) -> Answer<()> {
    let what = format!("the containers on {}", engine.host);
    let options = ListContainersOptionsBuilder::new().all(true).build();
    let all = engine.asked(&what, engine.client.list_containers(Some(options))).await?;
    let id = found.id.as_deref().unwrap_or_default();
    let name = super::shapes::name_of(found);
    let hangs = |one: &&ContainerSummary| {
        let mode = one.host_config.as_ref().and_then(|host| host.network_mode.as_deref());
        // By its id, or by the name that was given before there was one of it.
        let of = mode.and_then(|mode| mode.strip_prefix("container:"));
        of.is_some_and(|of| of == id || of == name || (of.len() >= 12 && id.starts_with(of)))
    };
    let mut hanging = all.iter().find(hangs).map(|other| (other, "network"));
    for other in &all {
        if hanging.is_none() && other.id != found.id {
            let shares = shared_with(engine, other, id).await?;
            hanging = shares.map(|what| (other, what));
        }
    }
    let Some((other, what)) = hanging else { return Ok(()) };
    let (other, _) = published(other);
    let message = format!(
        "container `{other}` on {} has the {what} of `{name}` (`--{what} container:`), and could \
         not be started without it: make it anew first, or by hand",
        engine.host
    );
    Err(RequestError::no(FailureClass::Precondition, "in-use", message))
}

/// Which namespace of the container with this id another one has, by the option that gives it.
async fn shared_with(
    engine: &Engine,
    other: &ContainerSummary,
    id: &str,
) -> Answer<Option<&'static str>> {
    let other = other.id.as_deref().unwrap_or_default();
    let found = match engine.inspect(other).await {
        Err(told) if told.is_missing() => return Ok(None),
        found => found?.host_config.unwrap_or_default(),
    };
    let is_its = |mode: &Option<String>| {
        mode.as_deref().and_then(|mode| mode.strip_prefix("container:")) == Some(id)
    };
    let modes = [(&found.pid_mode, "pid"), (&found.ipc_mode, "ipc")];
    Ok(modes.into_iter().find(|(mode, _)| is_its(mode)).map(|(_, what)| what))
}

/// Of a container that is like another one, which makes way for it; of any other nobody knows what
/// will have stopped by the time that it starts.
async fn can_be_like(docker: &Docker, engine: &Engine, spec: &ContainerSpec) -> Answer<()> {
    let Some(like) = &spec.like else {
        // Without an image it is the ports alone that are asked for.
        let asks_for_ports = spec.image.is_empty() && !spec.ports.is_empty();
        return match asks_for_ports {
            true => ports_are_free(docker, engine, &spec.ports, None).await,
            false => Ok(()),
        };
    };
    // What it is to be like is looked for when it is made.
    let Ok(on) = docker.engine(&like.host).await else { return Ok(()) };
    let model = match Model::read(&on, &like.container, engine).await {
        Ok(model) => model,
        Err(told) if told.is_missing() => return Ok(()),
        Err(told) => return Err(told),
    };
    model.must_be_possible(spec)?;
    model.must_be_had_on(&on, engine).await?;
    model.must_have_no_twin(docker, &on, engine).await?;
    model.must_start_on(docker, engine).await?;
    let wanted = if spec.ports.is_empty() { ports_of(&model.found) } else { spec.ports.clone() };
    ports_are_free(docker, engine, &wanted, Some((&on, &model.found))).await
}

/// Whether nobody has these ports but the container that makes way, on the engine that it is on.
async fn ports_are_free(
    docker: &Docker,
    engine: &Engine,
    wanted: &[String],
    makes_way: Option<(&Engine, &ContainerInspectResponse)>,
) -> Answer<()> {
    let wanted: Vec<Published> = wanted.iter().filter_map(|port| Published::parse(port)).collect();
    if wanted.is_empty() || makes_way.is_some_and(|(_, found)| publishes_nothing(found)) {
        return Ok(());
    }
    let here = makes_way.filter(|(on, _)| on.host == engine.host);
    let here = here.and_then(|(_, found)| found.id.as_deref());
    let others: Vec<_> = engine.running().await?;
    let others = others.iter().filter(|one| here.is_none() || one.id.as_deref() != here);
    let others: Vec<_> = others.map(published).collect();
    ports::must_be_free(&engine.host, &wanted, &others).map_err(RequestError::from)?;
    let Some(seen) = docker.sockets(engine).await else { return Ok(()) };
    let (mut theirs, mut sockets) = (vec![], Sockets::default());
    if let Some((on, found)) = makes_way {
        let running = on.running().await?;
        let its = running.iter().filter(|one| one.id == found.id);
        theirs.extend(its.flat_map(|one| published(one).1));
        sockets = docker.sockets(on).await.unwrap_or_default();
    }
    seen.must_leave(&engine.host, &wanted, &theirs, &sockets)
}

/// With the host's network, or none, or one that gives each container an address of the outer one,
/// an engine publishes nothing (Docker docs, *Network drivers*). Of one that runs it tells.
fn publishes_nothing(found: &ContainerInspectResponse) -> bool {
    let host = found.host_config.as_ref();
    let mode = host.and_then(|host| host.network_mode.as_deref()).unwrap_or_default();
    let settings = found.network_settings.as_ref().and_then(|settings| settings.ports.as_ref());
    let mut ports = settings.into_iter().flatten();
    let publishes = ports.any(|(_, bindings)| bindings.as_ref().is_some_and(|all| !all.is_empty()));
    ["host", "none"].contains(&mode) || (is_running(found) && !publishes)
}

fn published(container: &ContainerSummary) -> (String, Vec<Published>) {
    let name = container.names.iter().flatten().next();
    let name = name.map(|name| name.trim_start_matches('/').to_owned()).unwrap_or_default();
    let ports = container.ports.iter().flatten().filter_map(|port| {
        let protocol = port.typ.map_or_else(|| "tcp".to_owned(), |kind| kind.to_string());
        Some(Published::new(port.ip.as_deref(), port.public_port?, &protocol))
    });
    (name, ports.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_probe_is_an_interval_after_the_start() {
        let s = |seconds: i64| Some(seconds * 1_000_000_000);
        let check = |test: &str, interval, start_period, start_interval| HealthConfig {
            test: Some(vec![test.to_owned()]),
            interval,
            start_period,
            start_interval,
            ..HealthConfig::default()
        };
        let table = [
            (check("NONE", s(60), None, None), false, None),
            (HealthConfig::default(), false, None),
            (check("CMD", None, None, None), false, Some(30_000)),
            (check("CMD", s(300), None, None), false, Some(300_000)),
            (check("CMD", s(300), s(60), s(2)), false, Some(300_000)),
            (check("CMD", s(300), s(60), s(2)), true, Some(2_000)),
            (check("CMD", s(300), s(60), None), true, Some(5_000)),
            (check("CMD", s(300), None, s(2)), true, Some(300_000)),
        ];
        for (check, is_new, wanted) in table {
            assert_eq!(first_probe_ms(&check, is_new), wanted, "{check:?}");
        }
    }
}
