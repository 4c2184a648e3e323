//! Whether engines, their helper image and registries can be used, told one by one.

use super::Docker;
use crate::Checked;
use std::collections::BTreeSet;
use std::time::Duration;
use stepback_core::{Failure, FailureClass};

/// A registry that does not answer by then can't be used.
const REGISTRY_MS_MAX: u64 = 10_000;

/// Everything that does not depend on an operation.
pub(super) async fn all(docker: &Docker) -> Vec<Checked> {
    let mut all = vec![];
    for host in docker.hosts.fixed() {
        let found = docker.version(&host).await;
        let answers = found.is_ok();
        all.push(Checked { what: format!("Docker Engine of {host}"), found });
        if let (true, Some(image)) = (answers, &docker.settings.helper_image) {
            let what = format!("helper image on {host}");
            all.push(Checked { what, found: helper(docker, &host, image).await });
        }
    }
    let registries = &docker.settings.registries;
    let mirrors = registries.values().flat_map(|registry| &registry.mirrors);
    for name in registries.keys().chain(mirrors).collect::<BTreeSet<_>>() {
        all.push(Checked { what: format!("registry {name}"), found: registry(name).await });
    }
    all
}

async fn helper(docker: &Docker, host: &str, image: &str) -> Result<String, Failure> {
    let engine = docker.engine(host).await?;
    match engine.image(image).await {
        Ok(Some(_)) => Ok(image.to_owned()),
        Ok(None) => {
            let message = format!("{image} is not on {host}: `docker pull` it, or load it there");
            Err(Failure::new(FailureClass::Precondition, message).with_code("404"))
        }
        Err(told) => Err(told.failure),
    }
}

/// Whether somebody listens where the registry is, as seen from here.
async fn registry(name: &str) -> Result<String, Failure> {
    // Docker's own registry has its API at another name (Docker docs, *docker image pull*).
    let host = if name == "docker.io" { "registry-1.docker.io" } else { name };
    let at = if host.contains(':') { host.to_owned() } else { format!("{host}:443") };
    let limit = Duration::from_millis(REGISTRY_MS_MAX);
    let fail = |why: String| {
        let message = format!("{at} can't be reached from here: {why}");
        Failure::new(FailureClass::Transient, message)
    };
    match tokio::time::timeout(limit, tokio::net::TcpStream::connect(&at)).await {
        Ok(Ok(_)) => Ok(format!("{at} can be reached from here")),
        Ok(Err(error)) => Err(fail(error.to_string())),
        Err(_) => Err(fail(format!("no answer in {limit:?}"))),
    }
}
