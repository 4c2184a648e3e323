//! What there is of an app: its containers, its pool, and what of them is to be left alone.

use schemars::JsonSchema;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use stepback_sdk::docker::{self, Protocol};
use stepback_sdk::load_balancer::{self, TargetHealth};
use stepback_sdk::{Check, Failure, FailureClass, Pair, failure, precondition};

/// The label that an app's containers have.
const LABEL: &str = "app";

/// The ports that are chosen for containers (`auto`).
const CHOSEN: std::ops::RangeInclusive<u16> = 20_000..=29_999;

/// How an app is asked about.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) app: &'a str,
    pub(crate) hosts: &'a [String],
    pub(crate) pool: &'a str,
    /// What is done about targets of the pool that are none of the app's: `refused`, `kept`.
    pub(crate) strangers: &'a str,
    /// What is done about running containers that get no traffic from it: `refused`, `stopped`.
    pub(crate) outside: &'a str,
}

impl Asked<'_> {
    /// What of it makes no sense.
    pub(crate) fn odd(&self) -> Option<String> {
        let hosts: BTreeSet<&String> = self.hosts.iter().collect();
        match () {
            () if self.hosts.is_empty() => Some("give `hosts`: where the app is to run".to_owned()),
            () if hosts.len() < self.hosts.len() => Some("a host is given twice".to_owned()),
            () => odd_word("strangers", self.strangers, ["refused", "kept"])
                .or_else(|| odd_word("outside", self.outside, ["refused", "stopped"])),
        }
    }
}

/// Why a word of an input is none of the two that it may be.
pub(crate) fn odd_word(input: &str, word: &str, may_be: [&str; 2]) -> Option<String> {
    let [one, other] = may_be;
    (!may_be.contains(&word)).then(|| format!("`{input}` is `{one}` or `{other}`"))
}

/// What an input is by default that says what is done about what should not be there.
pub(crate) fn refused() -> String {
    "refused".to_owned()
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

/// What is there before anything is made.
#[derive(Serialize, JsonSchema)]
pub struct There {
    /// The number of the release that comes next.
    pub release: u64,
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
    /// How many of them are none of the app's here, and stay as they are.
    pub others: u32,
    /// How long the balancer lets a drained target go on, as text; none where it has no such limit.
    pub drain_delay: Option<String>,
    /// How long traffic may still come after a target is drained, as text.
    pub linger: String,
}

impl There {
    /// How many targets must serve all the time, where so many are made: no fewer than before, but
    /// where fewer are asked for.
    pub(crate) fn floor(&self, made: usize) -> u32 {
        let made = u32::try_from(made).unwrap_or(u32::MAX);
        self.before.min(made.saturating_add(self.others))
    }
}

/// A running container that publishes a port.
struct Claim {
    container: String,
    /// Whether it is to be reached from its own host alone.
    is_local: bool,
}

/// An app as it is found.
pub(crate) struct App<'a> {
    asked: Asked<'a>,
    /// Each with its host. What has the label and neither a port nor a release's name is something
    /// else of it, such as a worker, and is left alone.
    pub(crate) containers: Vec<(String, docker::Container)>,
    /// What runs on each host, of this app or of others, at each port that it publishes.
    at_ports: BTreeMap<(String, u16), Vec<Claim>>,
    pool: load_balancer::Pool,
    release: u64,
}

impl<'a> App<'a> {
    pub(crate) fn look(asked: Asked<'a>) -> Result<Self, Failure> {
        let labels = [Pair { key: LABEL.to_owned(), value: asked.app.to_owned() }];
        let mut containers = vec![];
        for host in asked.hosts {
            for one in docker::find_containers(host, &labels)? {
                if !one.ports.is_empty() || release_of(asked.app, &one.name).is_some() {
                    containers.push((host.clone(), one));
                }
            }
        }
        let pool = load_balancer::describe_pool(asked.pool)?;
        let mut at_ports: BTreeMap<(String, u16), Vec<Claim>> = BTreeMap::new();
        let mut last = 0;
        for host in asked.hosts {
            for one in docker::list_containers(host)? {
                last = release_of(asked.app, &one.name).map_or(last, |release| last.max(release));
                if !one.is_running() {
                    continue;
                }
                for (port, is_local) in ports_of(&one) {
                    let claim = Claim { container: one.name.clone(), is_local };
                    at_ports.entry((host.clone(), port)).or_default().push(claim);
                }
            }
        }
        let release = after(asked.app, last)?;
        Ok(Self { asked, containers, at_ports, pool, release })
    }

    /// The name of a container of the release that comes next.
    pub(crate) fn name(&self, number: usize) -> String {
        format!("{}-r{}-{number}", self.asked.app, self.release)
    }

    /// The containers that a target may be: those that run and publish its port. Of several, each
    /// on an address of its own, it is the one that is to be reached from elsewhere.
    fn claims(&self, target: &load_balancer::Target) -> Vec<&Claim> {
        let all = self.at_ports.get(&(target.host.clone(), target.port));
        let all: Vec<&Claim> = all.into_iter().flatten().collect();
        let open: Vec<&Claim> = all.iter().copied().filter(|one| !one.is_local).collect();
        if open.len() == 1 { open } else { all }
    }

    /// The targets of the pool that a container is, each with the container's own port. One that is
    /// stopped is those at its ports that are nobody's who runs.
    pub(crate) fn targets_of<'b>(
        &'b self,
        host: &'b str,
        container: &'b docker::Container,
    ) -> impl Iterator<Item = (&'b load_balancer::Target, u16)> {
        self.pool.targets.iter().filter(move |target| target.host == host).filter_map(|target| {
            let is_it = |port: &&docker::PublishedPort| {
                port.host_port == Some(target.port) && port.protocol == Protocol::Tcp
            };
            let port = container.ports.iter().find(is_it)?;
            let claims = self.claims(target);
            let is_its =
                claims.is_empty() || claims.iter().any(|one| one.container == container.name);
            is_its.then_some((target, port.container_port))
        })
    }

    /// Whether it is known of each target which container it is.
    fn must_be_told_apart(&self) -> Result<(), Failure> {
        for target in &self.pool.targets {
            let claims = self.claims(target);
            let names: BTreeSet<&str> = claims.iter().map(|one| one.container.as_str()).collect();
            let is_ours = |name: &&str| {
                let is_it = |(host, one): &(String, docker::Container)| {
                    *host == target.host && one.name == **name
                };
                self.containers.iter().any(is_it)
            };
            if names.len() > 1 && names.iter().any(is_ours) {
                let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
                let why = format!(
                    "{} of pool `{}` may be {}: each publishes that port on an address of its own, \
                     and nobody can tell which of them gets the traffic; give one another port",
                    named(target),
                    self.asked.pool,
                    names.join(" or ")
                );
                return Err(precondition(why));
            }
        }
        Ok(())
    }

    /// What is there, where nothing of it must be left alone.
    pub(crate) fn there(&self) -> Result<There, Failure> {
        self.must_be_told_apart()?;
        let (mut old, mut old_targets) = (BTreeMap::new(), BTreeMap::new());
        for (host, one) in &self.containers {
            let (host, container) = (host.clone(), one.name.clone());
            for (nth, (target, _)) in self.targets_of(&host, one).enumerate() {
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
        let targets = &self.pool.targets;
        let is_here = |target: &&load_balancer::Target| self.asked.hosts.contains(&target.host);
        let is_ours = |target: &&load_balancer::Target| {
            old_targets.values().any(|one| one.host == target.host && one.port == target.port)
        };
        let strangers: Vec<&load_balancer::Target> =
            targets.iter().filter(is_here).filter(|one| !is_ours(one)).collect();
        self.must_be_known(&strangers)?;
        self.must_be_in(&old_targets)?;
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let before = targets.iter().filter(|target| serves(target)).count();
        let others = targets.iter().filter(|target| serves(target) && !is_ours(target)).count();
        Ok(There {
            release: self.release,
            old,
            old_targets,
            strangers: strangers.into_iter().map(named).collect(),
            elsewhere: targets.iter().filter(|target| !is_here(target)).map(named).collect(),
            before: count(before),
            others: count(others),
            drain_delay: self.pool.drain_delay_ms.map(|delay| format!("{delay}ms")),
            linger: format!("{}ms", self.pool.linger_ms),
        })
    }

    /// Whether each target there is the app's: another app's would share its traffic, and at the
    /// place of one that is gone a new container would get traffic before it is healthy.
    fn must_be_known(&self, strangers: &[&load_balancer::Target]) -> Result<(), Failure> {
        let Asked { app, pool, .. } = self.asked;
        let list = |all: Vec<String>| all.join(", ");
        let is_gone = |one: &&&load_balancer::Target| {
            let is_up = one.health == TargetHealth::Healthy;
            CHOSEN.contains(&one.port) && !is_up && self.claims(one).is_empty()
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
        if !strangers.is_empty() && self.asked.strangers == "refused" {
            let all = list(strangers.iter().map(|one| named(one)).collect());
            let why = format!(
                "pool `{pool}` has {all}, which is no container with the label `app={app}`: is it \
                 another app's pool? {take_out}, and `strangers = \"kept\"` leaves it"
            );
            return Err(precondition(why));
        }
        Ok(())
    }

    /// Whether what runs of the app gets its traffic from this pool: what another one sends traffic
    /// to must not be stopped. What an interrupted deploy has left is called as a release is, and
    /// goes where others of the app are in the pool.
    fn must_be_in(&self, targets: &BTreeMap<String, OldTarget>) -> Result<(), Failure> {
        let Asked { app, pool, outside, .. } = self.asked;
        let served: BTreeSet<u64> =
            targets.values().filter_map(|at| release_of(app, &at.container)).collect();
        let is_outside = |(host, one): &&(String, docker::Container)| {
            let is_in = targets.values().any(|at| at.host == *host && at.container == one.name);
            let release = release_of(app, &one.name);
            let is_left = release.is_some_and(|one| !targets.is_empty() && !served.contains(&one));
            one.is_running() && !one.ports.is_empty() && !is_in && !is_left
        };
        let running = self.containers.iter().filter(is_outside);
        let running: Vec<String> =
            running.map(|(host, one)| format!("{} on {host}", one.name)).collect();
        if running.is_empty() || outside == "stopped" {
            return Ok(());
        }
        let running = running.join(", ");
        let why = format!(
            "`{app}` runs ({running}), and pool `{pool}` has none of it: is it behind another \
             pool, something else that has the label, or what a first deploy has left? With \
             `outside = \"stopped\"` these are stopped all the same"
        );
        Err(precondition(why))
    }
}

/// The ports of its host that a container publishes (tcp), and whether nobody elsewhere reaches it
/// there.
fn ports_of(container: &docker::Container) -> BTreeMap<u16, bool> {
    let mut all = BTreeMap::new();
    for port in container.ports.iter().filter(|port| port.protocol == Protocol::Tcp) {
        let address = port.host_ip.as_ref().and_then(|ip| ip.parse::<std::net::IpAddr>().ok());
        let is_local = address.is_some_and(|address| address.is_loopback());
        if let Some(number) = port.host_port {
            all.entry(number).and_modify(|was| *was &= is_local).or_insert(is_local);
        }
    }
    all
}

/// A look at an app, for an operation that is to make something of it.
pub(crate) trait Surveys {
    /// What it finds.
    type Found;

    fn asked(&self) -> Asked<'_>;

    /// What of the input makes no sense.
    fn odd(&self) -> Option<String>;

    fn of(&self, app: &App<'_>) -> Result<Self::Found, Failure>;

    fn checked(&self) -> Result<Check, Failure> {
        if let Some(why) = self.odd() {
            return Ok(Check::Refused(why));
        }
        let app = App::look(self.asked())?;
        Ok(match self.of(&app) {
            Ok(_) => Check::Ok,
            Err(why) => Check::Refused(why.message),
        })
    }

    fn found(&self) -> Result<Self::Found, Failure> {
        if let Some(why) = self.odd() {
            return Err(failure(FailureClass::InvalidInput, why));
        }
        self.of(&App::look(self.asked())?)
    }
}

/// How a container is told from others, of other hosts too.
pub(crate) fn key(host: &str, container: &str) -> String {
    format!("{container}.{host}")
}

/// The number of the release that comes next: no container there is called by it, whoever made
/// that.
fn after(app: &str, last: u64) -> Result<u64, Failure> {
    last.checked_add(1).ok_or_else(|| {
        let why = format!("there is no number after that of the release `{app}-r{last}`");
        precondition(why)
    })
}

/// The release that a container is of, by its name.
pub(crate) fn release_of(app: &str, container: &str) -> Option<u64> {
    let rest = container.strip_prefix(app)?.strip_prefix("-r")?;
    let (release, _) = rest.split_once('-')?;
    release.parse().ok()
}

fn named(target: &load_balancer::Target) -> String {
    format!("{}:{}", target.host, target.port)
}

fn serves(target: &load_balancer::Target) -> bool {
    target.enabled && target.health == TargetHealth::Healthy && target.weight != Some(0)
}
