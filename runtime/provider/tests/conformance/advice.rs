//! What a person is told to do about what is not as it was.

use crate::bench::{Bench, World};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::sync::Arc;
use stepback_clock::Clock;
use stepback_core::*;
use stepback_docker::{Docker, DockerSettings, Hosts};
use stepback_provider::Provider;
use stepback_provider::endpoint::Endpoint;

/// The kind after this one, so that one more does not compile before it has a place here.
fn next(kind: &ResourceKind) -> Option<ResourceKind> {
    match kind {
        ResourceKind::Volume => Some(ResourceKind::Snapshot),
        ResourceKind::Snapshot => Some(ResourceKind::Instance),
        ResourceKind::Instance => Some(ResourceKind::Container),
        ResourceKind::Container => Some(ResourceKind::Image),
        ResourceKind::Image => Some(ResourceKind::DockerVolume),
        ResourceKind::DockerVolume => Some(ResourceKind::FileSystem),
        ResourceKind::FileSystem => Some(ResourceKind::Containers),
        ResourceKind::Containers => Some(ResourceKind::Pool),
        ResourceKind::Pool => Some(ResourceKind::PoolTarget),
        ResourceKind::PoolTarget => None,
    }
}

/// One of the kind, and the part of its name that any advice on it must have.
fn named(kind: ResourceKind) -> (Resource, &'static str) {
    let id = |id: &str| id.to_owned();
    let host = || id("i-a");
    match kind {
        ResourceKind::Volume => (Resource::Volume { id: id("vol-1") }, "vol-1"),
        ResourceKind::Snapshot => (Resource::Snapshot { id: id("snap-1") }, "snap-1"),
        ResourceKind::Instance => (Resource::Instance { id: id("i-a") }, "i-a"),
        ResourceKind::Container => (Resource::Container { host: host(), name: id("db") }, "db"),
        ResourceKind::Image => (Resource::Image { host: host(), image: id("db:1") }, "db:1"),
        ResourceKind::DockerVolume => {
            (Resource::DockerVolume { host: host(), name: id("data") }, "data")
        }
        ResourceKind::FileSystem => {
            (Resource::FileSystem { host: host(), volume: id("vol-1") }, "vol-1")
        }
        ResourceKind::Containers => (Resource::Containers { host: host() }, "i-a"),
        ResourceKind::Pool => (Resource::Pool { pool: id("web") }, "web"),
        ResourceKind::PoolTarget => {
            (Resource::PoolTarget { pool: id("web"), host: host(), port: 80 }, "i-a:80")
        }
    }
}

/// Every fact that counts of the kind, as it was or as it is.
fn facts(kind: ResourceKind, was: bool) -> Facts {
    let one = |name: &str| -> Value {
        match name {
            "attachments" => {
                json!([{ "instance": if was { "i-a" } else { "i-b" }, "device": "d" }])
            }
            "tags" => json!({ "owner": if was { "a" } else { "b" } }),
            "state" => if was { "running" } else { "stopped" }.into(),
            "running" => was.into(),
            // Facts name engines and commands of the real world in a copy of it, too.
            "image" if !was => "tcp://registry/db:1".into(),
            "command" => json!(["docker ps", "aws s3 ls"]),
            _ => if was { "was" } else { "is" }.into(),
        }
    };
    let counted = kind.counted().iter();
    Facts::Present(counted.map(|name| ((*name).to_owned(), one(name))).collect())
}

pub async fn every_kind_has_advice_that_reaches_its_own_world(bench: &Bench) {
    must_reach_its_own(bench.world, &*bench.provider);
}

fn must_reach_its_own(world: World, provider: &dyn Provider) {
    let mut kinds = 0;
    for kind in std::iter::successors(Some(ResourceKind::Volume), next) {
        if !provider.serves().contains(&kind.interface()) {
            continue;
        }
        kinds += 1;
        let (resource, name) = named(kind);
        let (was, is) = (facts(kind, true), facts(kind, false));
        for (before, now) in [(&was, &is), (&Facts::Absent, &is), (&was, &Facts::Absent)] {
            let said = provider.advice(&resource, before, now).to_string();
            assert!(said.contains(name), "{:?}: {resource}: {said}", world);
            let never = match (world, kind.interface()) {
                (World::Simulated, _) => &["aws ", "docker ", "://"][..],
                (World::Onebox, Interface::Ec2 | Interface::Ebs) => &["aws ", "docker "],
                (World::Onebox | World::Docker | World::Aws | World::HaProxy, _) => &["simulat"],
            };
            for never in never {
                assert!(!said.contains(never), "{:?}: {resource}: {said}", world);
            }
        }
    }
    assert!(kinds > 0, "{:?} knows nothing", world);
}

struct NoHosts;

#[async_trait]
impl Hosts for NoHosts {
    async fn endpoint(&self, _instance: &str) -> Result<Endpoint, Failure> {
        panic!("an engine was asked for advice")
    }

    fn fixed(&self) -> Vec<String> {
        vec![]
    }
}

#[test]
fn advice_needs_no_engine() {
    let docker = Docker::new(Arc::new(NoHosts), DockerSettings::default(), Clock::real());
    must_reach_its_own(World::Docker, &docker);
}
