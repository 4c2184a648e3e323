//! Whether engines, their helper image and registries can be used, told one by one.

use super::connect::Engine;
use super::credentials::Credentials;
use super::{Docker, pull};
use std::collections::BTreeSet;
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::{Failure, FailureClass};
use stepback_provider::Checked;

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
            let found = match docker.engine(&host).await {
                Ok(engine) => docker.check_helper(&engine).await.map(|()| image.clone()),
                Err(failure) => Err(failure),
            };
            all.push(Checked { what, found });
        }
    }
    if let Some(template) = docker.hosts.template() {
        let what = "Docker Engines of other instances".to_owned();
        let said = format!("not asked; {template} is, when an operation needs one");
        all.push(Checked { what, found: Ok(said) });
    }
    let registries = &docker.settings.registries;
    let mirrors = registries.values().flat_map(|registry| &registry.mirrors);
    for name in registries.keys().chain(mirrors).collect::<BTreeSet<_>>() {
        let login = registries.get(name).and_then(|own| own.credentials.as_ref());
        let found = registry(name, login, &docker.clock).await;
        all.push(Checked { what: format!("registry {name}"), found });
    }
    all
}

/// Whether a host has the helper image.
pub(super) async fn has_helper(engine: &Engine, image: &str) -> Result<(), Failure> {
    match engine.image(image).await {
        Ok(Some(_)) => Ok(()),
        Ok(None) => {
            let host = &engine.host;
            let message = format!(
                "the helper image {image} is not on {host}: `docker pull` it, or load it there"
            );
            Err(Failure::new(FailureClass::Precondition, message).with_code("404"))
        }
        Err(told) => Err(told.failure),
    }
}

/// Whether somebody listens where the registry is, and takes the credentials, as seen from here.
async fn registry(
    name: &str,
    login: Option<&Credentials>,
    clock: &Clock,
) -> Result<String, Failure> {
    // Docker's own registry has its API at another name (Docker docs, *docker image pull*).
    let host = if name == "docker.io" { "registry-1.docker.io" } else { name };
    let at = if host.contains(':') { host.to_owned() } else { format!("{host}:443") };
    let limit = Duration::from_millis(REGISTRY_MS_MAX);
    let fail = |why: String| {
        let message = format!("{at} can't be reached from here: {why}");
        Failure::new(FailureClass::Transient, message)
    };
    let late = || fail(format!("no answer in {limit:?}"));
    let connected = clock.timeout(limit, tokio::net::TcpStream::connect(&at)).await;
    connected.map_err(|_| late())?.map_err(|error| fail(error.to_string()))?;
    let Some(login) = login else { return Ok(format!("{at} can be reached from here")) };
    match clock.timeout(limit, pull::takes(name, login)).await.map_err(|_| late())? {
        Ok(true) => Ok(format!("{at} takes the credentials of {}", login.username)),
        Ok(false) => {
            let advice = pull::login_advice(name, true);
            let message =
                format!("{at} does not take the credentials of {}; {advice}", login.username);
            Err(Failure::new(FailureClass::Denied, message).with_code("401"))
        }
        Err(why) => Err(fail(why)),
    }
}
