//! A container that is started for a moment with what only a start tells of, before anything stops:
//! whether the log driver's target answers, and whether the host gives such limits (Docker docs,
//! *Docker Engine API*, *ContainerStart*). A profile may forbid what a trial runs and not what the
//! container does, and real-time budgets are the old one's still: these only the start tells.

use super::Docker;
use super::connect::Engine;
use super::errors::{Answer, RequestError};
use super::leftovers::HelperGuard;
use super::like::Model;
use super::shapes::name_of;
use bollard::models::{ContainerCreateBody, HostConfig};
use std::time::Duration;
use stepback_core::FailureClass;
use stepback_core::grants::is_every_engines;

/// A start that takes longer waits for somebody who does not answer.
const START_MS_MAX: u64 = 10_000;
/// So long its removal is waited for; it goes on by itself.
const REMOVE_MS_MAX: u64 = 3_000;

/// Log drivers that need nobody else (Docker docs, *Configure logging drivers*).
const LOGS_ALONE: [&str; 4] = ["", "json-file", "local", "none"];

impl Model {
    /// Whether a container with its options starts on a host. Where no helper image is, the start
    /// itself tells it.
    pub(super) async fn must_start_on(&self, docker: &Docker, to: &Engine) -> Answer<()> {
        let Some(options) = told_at_start(self.host()) else { return Ok(()) };
        let Ok(helper) = docker.helper(to) else { return Ok(()) };
        if to.find_image(helper.image()).await?.is_none() {
            return Ok(());
        }
        let made = ContainerCreateBody {
            env: Some(vec!["DO=check".to_owned()]),
            host_config: Some(options),
            ..helper.body()
        };
        let what = format!("a trial container on {}", to.host);
        let name = HelperGuard::new(&to.leftovers, true)?;
        let created = to.asked(&what, to.client.create_container(name.options(), made)).await;
        let started = match &created {
            Ok(created) => {
                let started = to.asked(&what, to.client.start_container(&created.id, None));
                let limit = Duration::from_millis(START_MS_MAX);
                let late = |_| {
                    let why = format!("it did not start in {limit:?}: what does it wait for?");
                    Err(RequestError::no(FailureClass::Precondition, "no-start", why))
                };
                to.clock.timeout(limit, started).await.unwrap_or_else(late)
            }
            Err(_) => Ok(()),
        };
        drop(name);
        remove_leftovers(to).await;
        match created.map(drop).and(started) {
            // An engine that does not answer now may do so later.
            Err(told) if to.client.ping().await.is_err() => Err(told),
            Err(told) => {
                let message = format!(
                    "a container with the options of `{}` can't start on {} (another one was \
                     tried): {}",
                    name_of(&self.found),
                    to.host,
                    told.failure.message
                );
                Err(RequestError::no(FailureClass::Precondition, "no-start", message))
            }
            Ok(()) => Ok(()),
        }
    }
}

/// Remove a trial; an engine that can't end its start removes it later.
async fn remove_leftovers(on: &Engine) {
    let engine = on.clone();
    let removing = tokio::spawn(async move { engine.remove_leftovers().await });
    let _ = on.clock.timeout(Duration::from_millis(REMOVE_MS_MAX), removing).await;
}

/// What of a container's options only a start tells of, if it has any.
fn told_at_start(host: HostConfig) -> Option<HostConfig> {
    let text = |text: Option<String>| text.filter(|text| !text.is_empty());
    let log = host.log_config.filter(|log| {
        let driver = log.typ.as_deref().unwrap_or_default();
        !LOGS_ALONE.contains(&driver)
    });
    let kept = HostConfig {
        log_config: log,
        runtime: host.runtime.filter(|runtime| !is_every_engines(runtime)),
        ulimits: host.ulimits.filter(|all| !all.is_empty()),
        cpuset_cpus: text(host.cpuset_cpus),
        cpuset_mems: text(host.cpuset_mems),
        ..HostConfig::default()
    };
    (kept != HostConfig::default())
        .then(|| HostConfig { network_mode: Some("none".to_owned()), ..kept })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::{HostConfigLogConfig, ResourcesUlimits};

    #[test]
    fn only_what_a_start_tells_of_is_tried() {
        let log = |driver: &str| HostConfig {
            log_config: Some(HostConfigLogConfig { typ: Some(driver.to_owned()), config: None }),
            ..HostConfig::default()
        };
        let runtime =
            |name: &str| HostConfig { runtime: Some(name.to_owned()), ..HostConfig::default() };
        let limits =
            |all: Vec<ResourcesUlimits>| HostConfig { ulimits: Some(all), ..HostConfig::default() };
        let table = [
            (HostConfig::default(), false),
            (log("json-file"), false),
            (log("syslog"), true),
            (runtime("runc"), false),
            (runtime("nvidia"), true),
            (limits(vec![]), false),
            (limits(vec![ResourcesUlimits::default()]), true),
            (HostConfig { cpuset_cpus: Some(String::new()), ..HostConfig::default() }, false),
            (HostConfig { cpuset_cpus: Some("64".to_owned()), ..HostConfig::default() }, true),
            // No matter of the start.
            (HostConfig { privileged: Some(true), ..HostConfig::default() }, false),
        ];
        for (host, is_tried) in table {
            assert_eq!(told_at_start(host.clone()).is_some(), is_tried, "{host:?}");
        }
    }
}
