//! What a restart is to make of an app: what serves, once more.

use crate::found::{App, Asked, Surveys, There, key, odd_word, refused, release_of};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use stepback_sdk::docker::{self, Protocol};
use stepback_sdk::{Check, Failure, Step, precondition};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunningInput {
    /// The app's name, which its containers have in the label `app`.
    app: String,
    /// The instances whose Docker Engines run it.
    hosts: Vec<String>,
    /// Where its traffic comes from.
    pool: String,
    /// Targets of the pool that are none of the app's: `refused`, or `kept` as they are.
    #[serde(default = "refused")]
    strangers: String,
    /// Running containers of the app that get no traffic from the pool: `refused`, or `stopped`
    /// with the others.
    #[serde(default = "refused")]
    outside: String,
    /// Volumes of its containers, which old and new ones have at once: `refused`, or `shared`.
    #[serde(default = "refused")]
    volumes: String,
}

/// A container that is to be made, and which one it is to be like.
#[derive(Serialize, JsonSchema)]
pub struct Copy {
    pub host: String,
    pub container: String,
    /// The container that it is to be like, on the same host.
    pub like: String,
    pub image: String,
    /// The very image.
    pub digest: String,
    /// The port that it gets its traffic at, in the container.
    pub port: u16,
    /// Its share of the traffic, where the balancer has one.
    pub weight: Option<u32>,
    /// All that it publishes, each at a port of its host that is free.
    pub ports: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
pub struct Ran {
    #[serde(flatten)]
    pub there: There,
    /// What is to be made, by `CONTAINER.HOST`.
    pub new: BTreeMap<String, Copy>,
    /// How many targets must get traffic and be healthy all the time: as many as before, or as are
    /// made and stay if these are fewer.
    pub floor: u32,
    /// Containers that go and are not made once more, since they do not run or get no traffic:
    /// each `CONTAINER.HOST`.
    pub cleared: Vec<String>,
    /// The image of all of them, by its digest.
    pub digest: String,
}

pub struct SurveyRunning;

impl Step for SurveyRunning {
    type Input = RunningInput;
    type Output = Ran;
    const NAME: &'static str = "survey-running";
    const DOC: &'static str = "Look at an app's containers and its pool: what serves, to be made \
                               once more, and how many must stay up.";

    fn check(input: &RunningInput) -> Result<Check, Failure> {
        input.checked()
    }

    fn run(input: RunningInput) -> Result<Ran, Failure> {
        input.found()
    }
}

impl Surveys for RunningInput {
    type Found = Ran;

    fn asked(&self) -> Asked<'_> {
        let Self { app, hosts, pool, strangers, outside, .. } = self;
        Asked { app, hosts, pool, strangers, outside }
    }

    fn odd(&self) -> Option<String> {
        let volumes = || odd_word("volumes", &self.volumes, ["refused", "shared"]);
        self.asked().odd().or_else(volumes)
    }

    fn of(&self, app: &App<'_>) -> Result<Ran, Failure> {
        let there = app.there()?;
        let (mut new, mut numbers) = (BTreeMap::new(), BTreeMap::new());
        let mut made_anew = BTreeSet::new();
        for (host, one) in &app.containers {
            let Some((port, weight)) = self.place_of(app, host, one)? else { continue };
            let number: &mut usize = numbers.entry(host).or_default();
            *number += 1;
            let container = app.name(*number);
            made_anew.insert(key(host, &one.name));
            let copy = Copy {
                host: host.clone(),
                container: container.clone(),
                like: one.name.clone(),
                image: one.image.clone(),
                digest: one.digest.clone(),
                port,
                weight,
                ports: published(one),
            };
            new.insert(key(host, &container), copy);
        }
        self.must_be_of_one_release(&new)?;
        let digest = self.must_be_one_image(&new)?;
        let cleared = there.old.keys().filter(|key| !made_anew.contains(*key)).cloned().collect();
        let floor = there.floor(new.len());
        Ok(Ran { there, new, floor, cleared, digest })
    }
}

impl RunningInput {
    /// The port of a container that serves, in the container, and its share; none if it does not
    /// run or gets no traffic.
    fn place_of(
        &self,
        app: &App<'_>,
        host: &str,
        one: &docker::Container,
    ) -> Result<Option<(u16, Option<u32>)>, Failure> {
        if !one.is_running() {
            return Ok(None);
        }
        let targets = app.targets_of(host, one);
        let gets_traffic = targets.filter(|(target, _)| target.enabled && target.weight != Some(0));
        let all: Vec<(u16, Option<u32>)> =
            gets_traffic.map(|(target, port)| (port, target.weight)).collect();
        // At which of several of its host's it is found nobody could tell of the new one.
        let published = |port: u16| {
            let at_it = one.ports.iter().filter(|one| one.container_port == port);
            at_it.filter_map(|one| one.host_port).collect::<BTreeSet<u16>>().len()
        };
        let place = match all[..] {
            [] => return Ok(None),
            [place] if published(place.0) == 1 => place,
            _ => {
                let why = format!(
                    "pool `{}` has `{}` on {host} by more than one of its ports, or by one that is \
                     at several of its host's: `deploy-app` makes a release with one",
                    self.pool, one.name
                );
                return Err(precondition(why));
            }
        };
        if let Some(mount) = one.mounts.first().filter(|_| self.volumes == "refused") {
            let why = format!(
                "`{}` on {host} has the volume `{}`, which the old container and the new one would \
                 have at once: with `volumes = \"shared\"` they do",
                one.name, mount.volume
            );
            return Err(precondition(why));
        }
        Ok(Some(place))
    }

    /// Whether what serves is of one release: an interrupted operation that was given up has left
    /// two, and each would be made once more.
    fn must_be_of_one_release(&self, new: &BTreeMap<String, Copy>) -> Result<(), Failure> {
        let mut by_host: BTreeMap<&str, BTreeMap<Option<u64>, &str>> = BTreeMap::new();
        for one in new.values() {
            let release = release_of(&self.app, &one.like);
            by_host.entry(&one.host).or_default().insert(release, &one.like);
        }
        let Some((host, several)) = by_host.into_iter().find(|(_, all)| all.len() > 1) else {
            return Ok(());
        };
        let names: Vec<String> = several.values().map(|name| format!("`{name}`")).collect();
        let why = format!(
            "{} serve at once on {host}, of more than one release of `{}`: `deploy-app` with the \
             image that is meant clears the others away",
            names.join(" and "),
            self.app
        );
        Err(precondition(why))
    }

    /// The digest of what serves: of two images at once nobody knows which is meant.
    fn must_be_one_image(&self, new: &BTreeMap<String, Copy>) -> Result<String, Failure> {
        let Self { app, pool, .. } = self;
        let mut by_digest: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for one in new.values() {
            by_digest.entry(&one.digest).or_default().push(format!("{} on {}", one.like, one.host));
        }
        let mut all = by_digest.iter();
        match (all.next(), all.next()) {
            (Some((digest, _)), None) => Ok((*digest).to_owned()),
            (None, _) => Err(precondition(format!(
                "nothing of `{app}` that runs on {} gets traffic from pool `{pool}`: `deploy-app` \
                 makes what is asked for",
                self.hosts.join(", ")
            ))),
            (Some((_, one)), Some((_, other))) => Err(precondition(format!(
                "two images of `{app}` serve at once ({}; {}): deploy the one that is meant with \
                 `deploy-app`",
                one.join(", "),
                other.join(", ")
            ))),
        }
    }
}

/// All that a container publishes, at ports that are chosen anew: it runs on beside the new one.
fn published(container: &docker::Container) -> Vec<String> {
    let all = container.ports.iter().map(|port| {
        let address = match &port.host_ip {
            Some(ip) if ip.contains(':') => format!("[{ip}]:"),
            Some(ip) => format!("{ip}:"),
            None => String::new(),
        };
        let protocol = match port.protocol {
            Protocol::Tcp => "",
            Protocol::Udp => "/udp",
            Protocol::Sctp => "/sctp",
        };
        format!("{address}auto:{}{protocol}", port.container_port)
    });
    all.collect::<BTreeSet<String>>().into_iter().collect()
}
