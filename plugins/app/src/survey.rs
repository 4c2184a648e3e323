//! What there is of an app, and what a deploy is to make of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use stepback_sdk::docker::{self, Protocol};
use stepback_sdk::load_balancer::{self, TargetHealth};
use stepback_sdk::{Check, Failure, FailureClass, Pair, Step, failure};

/// The label that an app's containers have.
const LABEL: &str = "app";

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SurveyInput {
    /// The app's name, which its containers have in the label `app`.
    app: String,
    /// The instances whose Docker Engines run it.
    hosts: Vec<String>,
    /// So many containers on each of them.
    replicas: u32,
    /// Where its traffic comes from.
    pool: String,
    /// The port that it listens on, in its containers.
    port: u16,
}

/// A container that is to be made.
#[derive(Serialize, JsonSchema)]
pub struct New {
    pub host: String,
    pub container: String,
}

/// A container that there is.
#[derive(Serialize, JsonSchema)]
pub struct Old {
    pub host: String,
    pub container: String,
    pub running: bool,
}

/// One that the pool may send traffic to.
#[derive(Serialize, JsonSchema)]
pub struct OldTarget {
    pub host: String,
    pub container: String,
    pub port: u16,
}

#[derive(Serialize, JsonSchema)]
pub struct Surveyed {
    /// The number of the release that comes next.
    pub release: u64,
    /// What is to be made, by `CONTAINER.HOST`.
    pub new: BTreeMap<String, New>,
    /// What is there, by `CONTAINER.HOST`.
    pub old: BTreeMap<String, Old>,
    /// Those of them that publish the app's port.
    pub old_targets: BTreeMap<String, OldTarget>,
    /// Targets of the pool on these hosts that are none of the app's: each `HOST:PORT`.
    pub strangers: Vec<String>,
    /// How many targets of the pool get traffic and are healthy.
    pub before: u32,
    /// How many must stay so all the time: as many as before, or as are asked for if these are
    /// fewer.
    pub floor: u32,
    /// How long traffic may still come after a target is drained, as text.
    pub linger: String,
}

pub struct Survey;

impl Step for Survey {
    type Input = SurveyInput;
    type Output = Surveyed;
    const NAME: &'static str = "survey";
    const DOC: &'static str = "Look at an app's containers and its pool: what is old, what is to \
                               be made, and how many must stay up.";

    fn check(input: &SurveyInput) -> Result<Check, Failure> {
        if let Some(why) = odd(input) {
            return Ok(Check::Refused(why));
        }
        for host in &input.hosts {
            docker::find_containers(host, &labels(&input.app))?;
        }
        load_balancer::describe_pool(&input.pool)?;
        Ok(Check::Ok)
    }

    fn run(input: SurveyInput) -> Result<Surveyed, Failure> {
        if let Some(why) = odd(&input) {
            return Err(failure(FailureClass::InvalidInput, why));
        }
        let mut found = vec![];
        for host in &input.hosts {
            for one in docker::find_containers(host, &labels(&input.app))? {
                found.push((host.clone(), one));
            }
        }
        let pool = load_balancer::describe_pool(&input.pool)?;
        Ok(surveyed(&input, &found, &pool))
    }
}

/// What of an input makes no sense.
fn odd(input: &SurveyInput) -> Option<String> {
    let hosts: BTreeSet<&String> = input.hosts.iter().collect();
    match () {
        () if input.hosts.is_empty() => Some("give `hosts`: where the app is to run".to_owned()),
        () if hosts.len() < input.hosts.len() => Some("a host is given twice".to_owned()),
        () if input.replicas == 0 => {
            Some("`replicas` is 0: a deploy does not take an app down".to_owned())
        }
        () => None,
    }
}

fn labels(app: &str) -> [Pair; 1] {
    [Pair { key: LABEL.to_owned(), value: app.to_owned() }]
}

/// The release that a container is of, by its name.
fn release_of(app: &str, container: &str) -> Option<u64> {
    let rest = container.strip_prefix(app)?.strip_prefix("-r")?;
    let (release, _) = rest.split_once('-')?;
    release.parse().ok()
}

/// The port of its host that leads to the app.
fn published(container: &docker::Container, port: u16) -> Option<u16> {
    let is_it =
        |one: &&docker::PublishedPort| one.container_port == port && one.protocol == Protocol::Tcp;
    container.ports.iter().find(is_it)?.host_port
}

fn surveyed(
    input: &SurveyInput,
    found: &[(String, docker::Container)],
    pool: &load_balancer::Pool,
) -> Surveyed {
    let releases = found.iter().filter_map(|(_, one)| release_of(&input.app, &one.name));
    let release = releases.max().unwrap_or_default().saturating_add(1);
    let key = |host: &str, container: &str| format!("{container}.{host}");
    let mut new = BTreeMap::new();
    for host in &input.hosts {
        for number in 1..=input.replicas {
            let container = format!("{}-r{release}-{number}", input.app);
            let one = New { host: host.clone(), container };
            new.insert(key(host, &one.container), one);
        }
    }
    let (mut old, mut old_targets) = (BTreeMap::new(), BTreeMap::new());
    for (host, one) in found {
        let (host, container) = (host.clone(), one.name.clone());
        if let Some(port) = published(one, input.port) {
            let target = OldTarget { host: host.clone(), container: container.clone(), port };
            old_targets.insert(key(&host, &container), target);
        }
        let running = one.is_running();
        old.insert(key(&host, &container), Old { host, container, running });
    }
    let is_ours = |target: &load_balancer::Target| {
        let is_it = |one: &OldTarget| one.host == target.host && one.port == target.port;
        !input.hosts.contains(&target.host) || old_targets.values().any(is_it)
    };
    let strangers = pool.targets.iter().filter(|target| !is_ours(target));
    let strangers = strangers.map(|one| format!("{}:{}", one.host, one.port)).collect();
    let serves = |one: &&load_balancer::Target| {
        one.enabled && one.health == TargetHealth::Healthy && one.weight != Some(0)
    };
    let before = u32::try_from(pool.targets.iter().filter(serves).count()).unwrap_or(u32::MAX);
    let asked = u32::try_from(new.len()).unwrap_or(u32::MAX);
    Surveyed {
        release,
        new,
        old,
        old_targets,
        strangers,
        before,
        floor: before.min(asked),
        linger: format!("{}ms", pool.linger_ms),
    }
}
