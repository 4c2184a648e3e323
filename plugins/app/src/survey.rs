//! What there is of an app, and what a deploy is to make of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use stepback_sdk::docker::{self, Protocol};
use stepback_sdk::load_balancer::{self, TargetHealth};
use stepback_sdk::{Check, Failure, FailureClass, Pair, Step, failure, precondition};

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
    /// Targets of the pool that are none of the app's: `refused`, or `kept` as they are.
    #[serde(default = "refused")]
    strangers: String,
    /// Running containers of the app of which none gets traffic from the pool: `refused`, or
    /// `stopped` with the others.
    #[serde(default = "refused")]
    outside: String,
}

fn refused() -> String {
    "refused".to_owned()
}

/// The ports that are chosen for containers (`auto`).
const CHOSEN: std::ops::RangeInclusive<u16> = 20_000..=29_999;

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
    /// Those of them that the pool has, by any of their ports.
    pub old_targets: BTreeMap<String, OldTarget>,
    /// Targets of the pool on these hosts that are none of the app's, and are kept: each
    /// `HOST:PORT`.
    pub strangers: Vec<String>,
    /// Targets of the pool on other hosts, which nothing is done about.
    pub elsewhere: Vec<String>,
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
        let (found, pool) = looked(input)?;
        let release = next_release(input)?;
        Ok(match surveyed(input, release, &found, &pool) {
            Ok(_) => Check::Ok,
            Err(why) => Check::Refused(why.message),
        })
    }

    fn run(input: SurveyInput) -> Result<Surveyed, Failure> {
        if let Some(why) = odd(&input) {
            return Err(failure(FailureClass::InvalidInput, why));
        }
        let (found, pool) = looked(&input)?;
        surveyed(&input, next_release(&input)?, &found, &pool)
    }
}

/// An app's containers, each with its host.
type Found = Vec<(String, docker::Container)>;

/// The number of the release that comes next: no container there is called by it, whoever made
/// that.
fn next_release(input: &SurveyInput) -> Result<u64, Failure> {
    let mut last = 0;
    for host in &input.hosts {
        let all = docker::list_containers(host)?;
        let releases = all.iter().filter_map(|one| release_of(&input.app, &one.name));
        last = releases.fold(last, u64::max);
    }
    last.checked_add(1).ok_or_else(|| {
        let why = format!("there is no number after that of the release `{}-r{last}`", input.app);
        precondition(why)
    })
}

/// What there is of the app, and its pool. What has the label and neither a port nor a release's
/// name is something else of it, such as a worker, and is left alone.
fn looked(input: &SurveyInput) -> Result<(Found, load_balancer::Pool), Failure> {
    let mut found = vec![];
    for host in &input.hosts {
        for one in docker::find_containers(host, &labels(&input.app))? {
            if !one.ports.is_empty() || release_of(&input.app, &one.name).is_some() {
                found.push((host.clone(), one));
            }
        }
    }
    Ok((found, load_balancer::describe_pool(&input.pool)?))
}

/// What of an input makes no sense.
fn odd(input: &SurveyInput) -> Option<String> {
    let hosts: BTreeSet<&String> = input.hosts.iter().collect();
    match () {
        () if input.hosts.is_empty() => Some("give `hosts`: where the app is to run".to_owned()),
        () if hosts.len() < input.hosts.len() => Some("a host is given twice".to_owned()),
        () if !["refused", "kept"].contains(&input.strangers.as_str()) => {
            Some("`strangers` is `refused` or `kept`".to_owned())
        }
        () if !["refused", "stopped"].contains(&input.outside.as_str()) => {
            Some("`outside` is `refused` or `stopped`".to_owned())
        }
        () if input.port == 0 => Some("`port` is 0: give the one the app listens on".to_owned()),
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

/// The targets of the pool that a container is, by whatever it publishes there.
fn targets_of<'a>(
    host: &'a str,
    container: &'a docker::Container,
    pool: &'a load_balancer::Pool,
) -> impl Iterator<Item = &'a load_balancer::Target> {
    pool.targets.iter().filter(move |target| {
        let is_it = |port: &docker::PublishedPort| {
            port.host_port == Some(target.port) && port.protocol == Protocol::Tcp
        };
        target.host == host && container.ports.iter().any(is_it)
    })
}

fn named(target: &load_balancer::Target) -> String {
    format!("{}:{}", target.host, target.port)
}

fn serves(target: &load_balancer::Target) -> bool {
    target.enabled && target.health == TargetHealth::Healthy && target.weight != Some(0)
}

fn surveyed(
    input: &SurveyInput,
    release: u64,
    found: &Found,
    pool: &load_balancer::Pool,
) -> Result<Surveyed, Failure> {
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
        for (nth, target) in targets_of(&host, one, pool).enumerate() {
            let key = match nth {
                0 => key(&host, &container),
                _ => format!("{}.{}", key(&host, &container), target.port),
            };
            let (host, container, port) = (host.clone(), container.clone(), target.port);
            old_targets.insert(key, OldTarget { host, container, port });
        }
        let running = one.is_running();
        old.insert(key(&host, &container), Old { host, container, running });
    }
    let is_here = |target: &&load_balancer::Target| input.hosts.contains(&target.host);
    let is_ours = |target: &&load_balancer::Target| {
        old_targets.values().any(|one| one.host == target.host && one.port == target.port)
    };
    let strangers: Vec<&load_balancer::Target> =
        pool.targets.iter().filter(is_here).filter(|one| !is_ours(one)).collect();
    must_be_known(input, &strangers)?;
    must_be_in(input, found, old_targets.is_empty())?;
    let elsewhere = pool.targets.iter().filter(|target| !is_here(target)).map(named).collect();
    let before = pool.targets.iter().filter(|target| serves(target)).count();
    let before = u32::try_from(before).unwrap_or(u32::MAX);
    let asked = u32::try_from(new.len()).unwrap_or(u32::MAX);
    Ok(Surveyed {
        release,
        new,
        old,
        old_targets,
        strangers: strangers.into_iter().map(named).collect(),
        elsewhere,
        before,
        floor: before.min(asked),
        linger: format!("{}ms", pool.linger_ms),
    })
}

/// Whether each target there is the app's: another app's would share its traffic, and at the place
/// of one that is gone a new container would get traffic before it is healthy.
fn must_be_known(input: &SurveyInput, strangers: &[&load_balancer::Target]) -> Result<(), Failure> {
    let SurveyInput { app, pool, .. } = input;
    let list = |all: Vec<String>| all.join(", ");
    let is_gone = |one: &&&load_balancer::Target| {
        CHOSEN.contains(&one.port) && one.health != TargetHealth::Healthy
    };
    let gone: Vec<String> = strangers.iter().filter(is_gone).map(|one| named(one)).collect();
    let take_out = "`load-balancer/drain-target` and `load-balancer/remove-target` take it out";
    if !gone.is_empty() {
        let gone = list(gone);
        let why = format!(
            "pool `{pool}` has {gone}, where no healthy container is: a new one could get that \
             place, and traffic before it is healthy; {take_out}"
        );
        return Err(precondition(why));
    }
    if !strangers.is_empty() && input.strangers == "refused" {
        let all = list(strangers.iter().map(|one| named(one)).collect());
        let why = format!(
            "pool `{pool}` has {all}, which is no container with the label `app={app}`: is it \
             another app's pool? {take_out}, and `strangers = \"kept\"` leaves it"
        );
        return Err(precondition(why));
    }
    Ok(())
}

/// Whether what runs of the app gets its traffic from this pool: what another one sends traffic to
/// must not be stopped.
fn must_be_in(input: &SurveyInput, found: &Found, has_none: bool) -> Result<(), Failure> {
    let SurveyInput { app, pool, .. } = input;
    let runs = |one: &&(String, docker::Container)| one.1.is_running() && !one.1.ports.is_empty();
    let running: Vec<String> =
        found.iter().filter(runs).map(|(host, one)| format!("{} on {host}", one.name)).collect();
    if running.is_empty() || !has_none || input.outside == "stopped" {
        return Ok(());
    }
    let running = running.join(", ");
    let why = format!(
        "`{app}` runs ({running}), and pool `{pool}` has none of it: is it behind another pool? \
         With `outside = \"stopped\"` these are stopped all the same"
    );
    Err(precondition(why))
}
