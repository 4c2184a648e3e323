//! What is in a call's way and stays there, found before anything stops.

use super::Docker;
use super::connect::Engine;
use super::errors::{Answer, Told};
use super::shapes::{is_running, ports_of};
use crate::ports::{self, Published};
use bollard::models::ContainerSummary;
use bollard::query_parameters::ListContainersOptionsBuilder;
use stepback_core::Call;
use stepback_core::call::ContainerSpec;

/// Whether a container like another one can have its ports, and one that is stopped can be started
/// again.
pub(super) async fn nothing(docker: &Docker, engine: &Engine, call: &Call) -> Answer<()> {
    match call {
        Call::DockerCreateContainer { spec, .. } => ports_are_free(docker, engine, spec).await,
        Call::DockerStopContainer { container, .. } => {
            let found = engine.find(container.as_str()).await?;
            let removes_itself = |host: &bollard::models::HostConfig| host.auto_remove;
            let goes = found.as_ref().filter(|found| is_running(found));
            match goes.and_then(|found| removes_itself(found.host_config.as_ref()?)) {
                Some(true) => Err(ports::removes_itself(&engine.host, container.as_str()).into()),
                Some(false) | None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// Of a container that is like another one, which makes way for it; of any other nobody knows what
/// will have stopped by the time that it starts.
async fn ports_are_free(docker: &Docker, engine: &Engine, spec: &ContainerSpec) -> Answer<()> {
    let Some(like) = &spec.like else { return Ok(()) };
    // What it is to be like is looked for when it is made.
    let Ok(on) = docker.engine(&like.host).await else { return Ok(()) };
    let Ok(Some(model)) = on.find(&like.container).await else { return Ok(()) };
    let wanted = if spec.ports.is_empty() { ports_of(&model) } else { spec.ports.clone() };
    let wanted: Vec<Published> = wanted.iter().filter_map(|port| Published::parse(port)).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let what = format!("the containers on {}", engine.host);
    let options = ListContainersOptionsBuilder::new().build();
    let running = engine.asked(&what, engine.client.list_containers(Some(options))).await?;
    let makes_way = model.id.as_deref().filter(|_| like.host == engine.host);
    let others = running.iter().filter(|one| one.id.as_deref() != makes_way || makes_way.is_none());
    let others: Vec<_> = others.map(published).collect();
    ports::must_be_free(&engine.host, &wanted, &others).map_err(Told::from)
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
