//! The worlds that the suite runs against.

use crate::balancers::Balancer;
use crate::bench::{Bench, World};
use crate::haproxy::{self, App};
use crate::moto::Moto;
use crate::parts::TestCluster;
use crate::proxy::{Proxy, Upstream};
use async_trait::async_trait;
use aws_sdk_elasticloadbalancingv2::types::TargetTypeEnum;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use stepback_aws::{Aws, AwsConfig, Pace, TargetGroup, TargetGroups};
use stepback_clock::Clock;
use stepback_core::{Failure, FailureClass, InstanceId};
use stepback_docker::{Docker, DockerSettings, Hosts};
use stepback_haproxy::{HaProxy, PoolConfig, Saved};
use stepback_onebox::{Onebox, OneboxConfig, OneboxHosts, OneboxInstance};
use stepback_provider::Provider;
use stepback_provider::addresses::Addresses;
use stepback_provider::endpoint::Endpoint;
use stepback_provider::router::Router;
use stepback_simulated::Simulated;

const SIMULATED: &str = r#"
modification_cooldown_s = 21600
[instances.i-a]
state = "running"
type = "t3.micro"
zone = "us-east-1a"
private_ip = "10.0.1.1"
[instances.i-b]
state = "running"
type = "t3.micro"
zone = "us-east-1a"
[instances.i-far]
state = "running"
type = "t3.micro"
zone = "us-east-1b"
[engines.i-a]
[engines.i-b.containers.app-1]
running = true
digest = "sha256:1600000000000000000000000000000000000000000000000000000000000000"
spec = { image = "database:1", ports = ["8081:80"] }
[engines.i-b.containers.app-2]
running = true
digest = "sha256:1600000000000000000000000000000000000000000000000000000000000000"
spec = { image = "database:1", ports = ["8082:80"] }
[pools.web.targets."i-b:8081"]
[pools.unused]
is_used = false
[pools.one-state]
add_enables = true
[engines.i-far]
[registry."database:1"]
digest = "sha256:1600000000000000000000000000000000000000000000000000000000000000"
"#;

/// moto changes at once what takes AWS minutes.
const PACE: Pace = Pace {
    poll_ms: 2,
    poll_ms_max: 20,
    effect_ms_max: 20_000,
    steady_ms_max: 20_000,
    absent_looks: 4,
};

fn instances(names: &[&str]) -> Vec<InstanceId> {
    names.iter().map(|name| (*name).into()).collect()
}

pub fn simulated() -> Bench {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let open = move || -> Arc<dyn Provider> {
        Arc::new(Simulated::open(dir.path(), SIMULATED, Clock::real()).unwrap())
    };
    Bench {
        world: World::Simulated,
        provider: open(),
        again: Box::new(open),
        instances: instances(&["i-a", "i-b", "i-far"]),
        zone: "us-east-1a".to_owned(),
        image: "database:1".to_owned(),
        to_aws: None,
        to_engine: None,
        reboot: None,
        called: RefCell::new(BTreeSet::new()),
    }
}

fn sdk() -> aws_config::SdkConfig {
    let keys = aws_credential_types::Credentials::new("testing", "testing", None, None, "test");
    aws_config::SdkConfig::builder()
        .behavior_version(aws_config::BehaviorVersion::latest())
        .region(aws_config::Region::new("us-east-1"))
        .credentials_provider(aws_credential_types::provider::SharedCredentialsProvider::new(keys))
        .build()
}

/// Two instances at addresses of their own.
struct Two;

#[async_trait]
impl Addresses for Two {
    async fn all(&self) -> Result<BTreeMap<InstanceId, std::net::IpAddr>, Failure> {
        let at = |last: u8| std::net::IpAddr::from([10, 0, 0, last]);
        Ok(BTreeMap::from([("i-b".into(), at(1)), ("i-c".into(), at(2))]))
    }
}

/// A target group that is used, with one target, and one that is not.
async fn groups(moto: &Moto) -> BTreeMap<String, TargetGroup> {
    let balancer = Balancer::start(&format!("http://{}", moto.address), &sdk()).await;
    let (web, arn) = balancer.used(TargetTypeEnum::Ip).await;
    balancer.register(&arn, "10.0.0.1", 8081).await;
    let (unused, _) = balancer.unused(TargetTypeEnum::Ip).await;
    let of = |group: &str| TargetGroup { linger_ms: 20, ..TargetGroup::of(group) };
    BTreeMap::from([("web".to_owned(), of(&web)), ("unused".to_owned(), of(&unused))])
}

pub async fn aws() -> Bench {
    let moto = Moto::shared();
    let groups = groups(&moto).await;
    let proxy = Proxy::to(moto.address);
    let config =
        AwsConfig { endpoint: Some(format!("http://{}", proxy.address)), ..AwsConfig::default() };
    let open = move || -> Arc<dyn Provider> {
        // The server lives as long as somebody may open it.
        let _moto = &moto;
        let config = config.clone();
        let opened = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(Aws::from_sdk(&sdk(), config, Clock::real())).unwrap()
        });
        let aws = Arc::new(opened.join().unwrap().with_pace(PACE));
        let groups = TargetGroups::new(Arc::clone(&aws), groups.clone(), Arc::new(Two));
        Arc::new(Router::new(vec![aws, Arc::new(groups)]))
    };
    Bench {
        world: World::Aws,
        provider: open(),
        again: Box::new(open),
        instances: vec![],
        zone: "us-east-1a".to_owned(),
        image: String::new(),
        to_aws: Some(proxy),
        to_engine: None,
        reboot: None,
        called: RefCell::new(BTreeSet::new()),
    }
}

/// One host, with its engine behind a proxy.
struct OneHost(Endpoint);

#[async_trait]
impl Hosts for OneHost {
    async fn endpoint(&self, instance: &str) -> Result<Endpoint, Failure> {
        match instance {
            "i-a" => Ok(self.0.clone()),
            other => Err(Failure::new(FailureClass::Precondition, format!("no `{other}`"))),
        }
    }

    fn fixed(&self) -> Vec<String> {
        vec!["i-a".to_owned()]
    }
}

fn settings() -> DockerSettings {
    let helper_image = Some("helper:1".to_owned());
    DockerSettings { helper_image, ..DockerSettings::default() }
}

fn to_engine(parts: &TestCluster) -> (Proxy, Endpoint) {
    let proxy = Proxy::to(Upstream::Unix(parts.path("a/sock")));
    let endpoint = Endpoint::parse(&format!("tcp://{}", proxy.address)).unwrap();
    (proxy, endpoint)
}

/// A machine that goes down ends its engine, and the engine its containers.
fn reboot(parts: &Rc<TestCluster>) -> Box<dyn Fn()> {
    let parts = Rc::clone(parts);
    Box::new(move || parts.a.restart_with(&[]))
}

pub fn docker(parts: &Rc<TestCluster>) -> Bench {
    let (proxy, endpoint) = to_engine(parts);
    let open = move || -> Arc<dyn Provider> {
        Arc::new(Docker::new(Arc::new(OneHost(endpoint.clone())), settings(), Clock::real()))
    };
    Bench {
        world: World::Docker,
        provider: open(),
        again: Box::new(open),
        instances: instances(&["i-a"]),
        zone: String::new(),
        image: parts.image(),
        to_aws: None,
        to_engine: Some(proxy),
        reboot: Some(reboot(parts)),
        called: RefCell::new(BTreeSet::new()),
    }
}

pub fn onebox(parts: &Rc<TestCluster>) -> Bench {
    let (proxy, endpoint) = to_engine(parts);
    let other = Endpoint::parse(&parts.b.host()).unwrap();
    let instance = |docker: &Endpoint, zone: Option<&str>| OneboxInstance {
        docker: docker.clone(),
        zone: zone.map(str::to_owned),
        address: std::net::Ipv4Addr::LOCALHOST.into(),
    };
    let config = OneboxConfig {
        root: parts.path("onebox"),
        instances: BTreeMap::from([
            ("i-a".to_owned(), instance(&endpoint, None)),
            ("i-b".to_owned(), instance(&other, None)),
            ("i-far".to_owned(), instance(&other, Some("elsewhere"))),
        ]),
    };
    let open = move || -> Arc<dyn Provider> {
        let cloud = Arc::new(Onebox::open(&config, Clock::real()).unwrap());
        let hosts = Arc::new(OneboxHosts::new(config.clone()));
        Arc::new(Router::new(vec![cloud, Arc::new(Docker::new(hosts, settings(), Clock::real()))]))
    };
    Bench {
        world: World::Onebox,
        provider: open(),
        again: Box::new(open),
        instances: instances(&["i-a", "i-b", "i-far"]),
        zone: "onebox".to_owned(),
        image: parts.image(),
        to_aws: None,
        to_engine: Some(proxy),
        reboot: Some(reboot(parts)),
        called: RefCell::new(BTreeSet::new()),
    }
}

/// One instance, at an address of this machine.
struct At(std::net::IpAddr);

#[async_trait]
impl Addresses for At {
    async fn all(&self) -> Result<BTreeMap<InstanceId, std::net::IpAddr>, Failure> {
        Ok(BTreeMap::from([("i-b".into(), self.0)]))
    }
}

/// Two processes for one pool, whose first server is written into their configuration.
pub fn haproxy() -> Bench {
    let dir = tempfile::TempDir::with_prefix_in("sb-", "/tmp").unwrap();
    let address = haproxy::address();
    let apps = [8081, 8082].map(|port| App::start(&address, port, "app"));
    let first = format!("  server first {address}:8081 check\n");
    let processes = ["a", "b"].map(|name| {
        let bind = format!("unix@{}", dir.path().join(format!("{name}.front")).display());
        haproxy::HaProxy::start(&dir.path().join(name), &bind, &first)
    });
    let config = PoolConfig {
        sockets: processes.iter().map(|one| Endpoint::Unix(one.admin())).collect(),
        masters: processes.iter().map(|one| Endpoint::Unix(one.master())).collect(),
        backend: "web".to_owned(),
        saved: Saved::StateFiles(processes.iter().map(|one| one.state_file()).collect()),
    };
    let open = move || -> Arc<dyn Provider> {
        // They live as long as somebody may open it.
        let _parts = (&processes, &apps, &dir);
        let pools = BTreeMap::from([("web".to_owned(), config.clone())]);
        let at = Arc::new(At(address.parse().unwrap()));
        Arc::new(HaProxy::new(pools, at, Clock::real()))
    };
    Bench {
        world: World::HaProxy,
        provider: open(),
        again: Box::new(open),
        instances: vec![],
        zone: String::new(),
        image: String::new(),
        to_aws: None,
        to_engine: None,
        reboot: None,
        called: RefCell::new(BTreeSet::new()),
    }
}
