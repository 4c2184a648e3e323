//! The environments of `stepback.toml`: what each is, with every mistake at its place.

use crate::grants;
use crate::pools::{self, Pools};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use stepback_core::diagnostic::{Diagnostic, suggest};
use stepback_core::grants::Policy;
use stepback_core::image::{is_registry_name, odd_in};
use stepback_core::manifest::duration_ms;
use stepback_provider::endpoint::Endpoint;
use toml::Spanned;

/// The providers there are.
const PROVIDERS: [&str; 3] = ["simulated", "onebox", "aws"];

/// An environment as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authored {
    provider: Spanned<String>,
    world: Option<Spanned<PathBuf>>,
    root: Option<Spanned<PathBuf>>,
    region: Option<Spanned<String>>,
    profile: Option<Spanned<String>>,
    account: Option<Spanned<String>>,
    endpoint: Option<Spanned<String>>,
    #[serde(default)]
    instances: BTreeMap<String, Spanned<AuthoredInstance>>,
    docker: Option<Spanned<AuthoredDocker>>,
    #[serde(default)]
    registries: BTreeMap<Spanned<String>, Spanned<AuthoredRegistry>>,
    #[serde(default)]
    pools: BTreeMap<String, Spanned<pools::Authored>>,
    allow: Option<Vec<grants::Written>>,
    #[serde(default)]
    deny: Vec<grants::Written>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthoredInstance {
    docker: Spanned<String>,
    zone: Option<String>,
    address: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AuthoredDocker {
    endpoint: Option<Spanned<String>>,
    hosts: BTreeMap<String, Spanned<String>>,
    tls: Option<AuthoredTls>,
    insecure: bool,
    helper_image: Option<Spanned<String>>,
    stays_up: Option<Spanned<String>>,
    stall: Option<Spanned<String>>,
}

/// Paths of PEM files.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthoredTls {
    ca: Spanned<PathBuf>,
    cert: Spanned<PathBuf>,
    key: Spanned<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AuthoredRegistry {
    mirrors: Vec<Spanned<String>>,
    username: Option<Spanned<String>>,
    password: Option<Spanned<String>>,
}

/// An environment, checked.
#[derive(Clone, Debug)]
pub enum Environment {
    /// The world file it begins as; `None` is the demo world.
    Simulated {
        world: Option<PathBuf>,
    },
    Onebox {
        root: PathBuf,
        instances: BTreeMap<String, Instance>,
        docker: DockerConfig,
        pools: Pools,
    },
    Aws {
        account: Account,
        docker: DockerConfig,
        pools: Pools,
    },
}

/// How to reach one account of AWS in one region; what is not given AWS's own tools find.
#[derive(Clone, Debug, Default)]
pub struct Account {
    pub region: Option<String>,
    pub profile: Option<String>,
    pub endpoint: Option<String>,
    pub account: Option<String>,
}

/// The certificates for TLS with TCP endpoints: paths of PEM files.
#[derive(Clone, Debug)]
pub struct Certificates {
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// An instance of a onebox.
#[derive(Clone, Debug)]
pub struct Instance {
    pub docker: Endpoint,
    pub zone: Option<String>,
    /// What the ports of its containers are reached by.
    pub address: IpAddr,
}

/// How Docker Engines are used.
#[derive(Clone, Debug, Default)]
pub struct DockerConfig {
    /// A template over the instance.
    pub endpoint: Option<String>,
    pub hosts: BTreeMap<String, Endpoint>,
    pub tls: Option<Certificates>,
    /// Whether a plain `tcp://` endpoint may be another machine's.
    pub insecure: bool,
    pub helper_image: Option<String>,
    pub stays_up_ms: Option<u64>,
    pub stall_ms: Option<u64>,
    pub registries: BTreeMap<String, RegistryConfig>,
}

/// How a registry is used.
#[derive(Clone, Debug, Default)]
pub struct RegistryConfig {
    pub mirrors: Vec<String>,
    /// A user name, and a reference to the password.
    pub login: Option<(String, String)>,
}

impl Environment {
    /// Whether nothing is real there.
    pub fn is_simulated(&self) -> bool {
        matches!(self, Self::Simulated { .. })
    }

    /// What it is called in `env list`.
    pub fn provider(&self) -> &'static str {
        match self {
            Self::Simulated { .. } => "simulated",
            Self::Onebox { .. } => "onebox",
            Self::Aws { .. } => "aws",
        }
    }
}

impl Authored {
    /// What binds everybody in it.
    pub fn policy(&self, text: &str, found: &mut Vec<Diagnostic>) -> Policy {
        grants::policy(self.allow.as_deref(), &self.deny, text, found)
    }

    /// Check it; `base` is where relative paths start.
    pub fn check(&self, base: &Path, found: &mut Vec<Diagnostic>) -> Environment {
        match self.provider.get_ref().as_str() {
            "onebox" => self.onebox(base, found),
            "aws" => self.aws(base, found),
            "simulated" => self.simulated(base, found),
            other => {
                let message = format!("there is no provider `{other}`");
                let help = suggest(other, PROVIDERS);
                found.push(Diagnostic::at(self.provider.span(), message).help(help));
                self.simulated(base, &mut vec![])
            }
        }
    }

    fn simulated(&self, base: &Path, found: &mut Vec<Diagnostic>) -> Environment {
        let misplaced = [
            self.root.as_ref().map(|root| ("root", root.span())),
            self.docker.as_ref().map(|docker| ("docker", docker.span())),
            self.instances.values().next().map(|one| ("instances", one.span())),
            self.registries.values().next().map(|one| ("registries", one.span())),
            self.pools.values().next().map(|one| ("pools", one.span())),
        ];
        self.refuse_aws_settings("simulated", found);
        let help = "its engines, registries and pools are in its world file";
        refuse(&misplaced, "simulated", help, found);
        let world = self.world.as_ref().map(|world| base.join(world.get_ref()));
        Environment::Simulated { world }
    }

    fn onebox(&self, base: &Path, found: &mut Vec<Diagnostic>) -> Environment {
        let world = self.world.as_ref().map(|world| ("world", world.span()));
        refuse(&[world], "onebox", "it has a `root` directory instead", found);
        self.refuse_aws_settings("onebox", found);
        self.refuse_hosts(found);
        let at = self.provider.span();
        let root = self.root.as_ref().map(|root| base.join(root.get_ref()));
        if root.is_none() {
            let help = "such as `root = \"/srv/stepback\"`: volumes and snapshots are kept there";
            let message = "a onebox needs `root`";
            found.push(Diagnostic::at(at.clone(), message).help(help));
        }
        if self.instances.is_empty() {
            let help = "such as `instances.i-a = { docker = \"unix:///run/docker.sock\" }`";
            let message = "a onebox needs `instances`: Docker Engines of this machine";
            found.push(Diagnostic::at(at, message).help(help));
        }
        let mut instances = BTreeMap::new();
        for (id, instance) in &self.instances {
            let instance = instance.get_ref();
            match Endpoint::parse(instance.docker.get_ref()) {
                Ok(docker) => {
                    self.refuse_open(&docker, instance.docker.span(), found);
                    let (zone, address) = (instance.zone.clone(), instance.address(found));
                    instances.insert(id.clone(), Instance { docker, zone, address });
                }
                Err(why) => found.push(Diagnostic::at(instance.docker.span(), why)),
            }
        }
        self.refuse_one_address(&instances, found);
        let docker = self.docker_config(base, found);
        let (root, pools) = (root.unwrap_or_default(), self.pools(base, false, found));
        Environment::Onebox { root, instances, docker, pools }
    }

    /// A pool's target is a place, which must not be that of two instances.
    fn refuse_one_address(
        &self,
        instances: &BTreeMap<String, Instance>,
        found: &mut Vec<Diagnostic>,
    ) {
        let mut by_address: BTreeMap<IpAddr, &String> = BTreeMap::new();
        for (id, instance) in instances.iter().filter(|_| !self.pools.is_empty()) {
            let Some(other) = by_address.insert(instance.address.to_canonical(), id) else {
                continue;
            };
            let message =
                format!("{other} and {id} have one address: no pool could tell them apart");
            let help = "give each its own, such as `address = \"127.0.0.2\"`: a port that is \
                        published on all addresses is reached by each of them";
            let at = self.instances.get(id).map_or(0..0, Spanned::span);
            found.push(Diagnostic::at(at, message).help(help));
        }
    }

    fn pools(&self, base: &Path, in_aws: bool, found: &mut Vec<Diagnostic>) -> Pools {
        let of = |(name, pool): (&String, &Spanned<pools::Authored>)| {
            Some((name.clone(), pool.get_ref().check(pool.span(), base, in_aws, found)?))
        };
        self.pools.iter().filter_map(of).collect()
    }

    fn aws(&self, base: &Path, found: &mut Vec<Diagnostic>) -> Environment {
        let misplaced = [
            self.world.as_ref().map(|world| ("world", world.span())),
            self.root.as_ref().map(|root| ("root", root.span())),
            self.instances.values().next().map(|one| ("instances", one.span())),
        ];
        refuse(&misplaced, "aws", "what there is, is in the account", found);
        if let Some(account) = &self.account {
            let text = account.get_ref();
            if text.len() != 12 || !text.chars().all(|c| c.is_ascii_digit()) {
                let message = format!("`{text}` is not an account's id");
                found.push(Diagnostic::at(account.span(), message).help("it has 12 digits"));
            }
        }
        let text = |one: &Option<Spanned<String>>| one.as_ref().map(|one| one.get_ref().clone());
        let account = Account {
            region: text(&self.region),
            profile: text(&self.profile),
            account: text(&self.account),
            endpoint: text(&self.endpoint),
        };
        let (docker, pools) = (self.docker_config(base, found), self.pools(base, true, found));
        Environment::Aws { account, docker, pools }
    }

    fn refuse_aws_settings(&self, provider: &str, found: &mut Vec<Diagnostic>) {
        let of = |name, one: &Option<Spanned<String>>| one.as_ref().map(|one| (name, one.span()));
        let misplaced = [
            of("region", &self.region),
            of("profile", &self.profile),
            of("account", &self.account),
            of("endpoint", &self.endpoint),
        ];
        refuse(&misplaced, provider, "it is for the provider `aws`", found);
    }

    /// A onebox names the engine of each instance with the instance.
    fn refuse_hosts(&self, found: &mut Vec<Diagnostic>) {
        let Some(docker) = self.docker.as_ref().map(Spanned::get_ref) else { return };
        let misplaced = [
            docker.endpoint.as_ref().map(|one| ("docker.endpoint", one.span())),
            docker.hosts.values().next().map(|one| ("docker.hosts", one.span())),
        ];
        refuse(&misplaced, "onebox", "write `instances.ID = { docker = … }`", found);
    }

    /// An engine that anybody on the network between is root through must be asked for.
    fn refuse_open(&self, at: &Endpoint, span: Range<usize>, found: &mut Vec<Diagnostic>) {
        let docker = self.docker.as_ref().map(Spanned::get_ref);
        let has_tls = docker.is_some_and(|docker| docker.tls.is_some());
        if at.is_open(has_tls) && !docker.is_some_and(|docker| docker.insecure) {
            let message = format!("`{at}` is another machine's, and plain: there is no TLS");
            let help = "give `tls` in the environment's `docker` table, or `insecure = true` there";
            found.push(Diagnostic::at(span, message).help(help));
        }
    }

    fn docker_config(&self, base: &Path, found: &mut Vec<Diagnostic>) -> DockerConfig {
        let nothing = AuthoredDocker::default();
        let docker = self.docker.as_ref().map_or(&nothing, Spanned::get_ref);
        let registries = &self.registries;
        let mut hosts = BTreeMap::new();
        for (instance, endpoint) in &docker.hosts {
            match Endpoint::parse(endpoint.get_ref()) {
                Ok(at) => {
                    self.refuse_open(&at, endpoint.span(), found);
                    hosts.insert(instance.clone(), at);
                }
                Err(why) => found.push(Diagnostic::at(endpoint.span(), why)),
            }
        }
        let tls = docker.tls.as_ref().map(|AuthoredTls { ca, cert, key }| Certificates {
            ca: file_of(ca, base, found),
            cert: file_of(cert, base, found),
            key: file_of(key, base, found),
        });
        if let Some(template) = &docker.endpoint
            && template.get_ref().contains('@')
            && !template.get_ref().starts_with("ssh://")
        {
            let message = "a login has no place in an endpoint, but for `ssh://USER@HOST`";
            let help = "`tcp://` takes certificates (`tls`)";
            found.push(Diagnostic::at(template.span(), message).help(help));
        }
        DockerConfig {
            endpoint: docker.endpoint.as_ref().map(|template| template.get_ref().clone()),
            hosts,
            tls,
            insecure: docker.insecure,
            helper_image: docker.helper_image.as_ref().map(|image| helper(image, found)),
            stays_up_ms: duration(docker.stays_up.as_ref(), found),
            stall_ms: duration(docker.stall.as_ref(), found),
            registries: registries
                .iter()
                .map(|(name, registry)| {
                    registry_name(name, found);
                    (name.get_ref().clone(), registry.get_ref().check(found))
                })
                .collect(),
        }
    }
}

impl AuthoredInstance {
    fn address(&self, found: &mut Vec<Diagnostic>) -> IpAddr {
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let Some(text) = &self.address else { return here };
        text.get_ref().parse().unwrap_or_else(|_| {
            let message = format!("`{}` is no address", text.get_ref());
            found.push(Diagnostic::at(text.span(), message).help("such as `127.0.0.2`"));
            here
        })
    }
}

impl AuthoredRegistry {
    fn check(&self, found: &mut Vec<Diagnostic>) -> RegistryConfig {
        self.mirrors.iter().for_each(|mirror| registry_name(mirror, found));
        let login = match (&self.username, &self.password) {
            (Some(username), Some(password)) => {
                Some((username.get_ref().clone(), reference(password, found)))
            }
            (Some(alone), None) | (None, Some(alone)) => {
                let message = "`username` and `password` go together";
                found.push(Diagnostic::at(alone.span(), message));
                None
            }
            (None, None) => None,
        };
        let mirrors = self.mirrors.iter().map(|mirror| mirror.get_ref().clone()).collect();
        RegistryConfig { mirrors, login }
    }
}

/// A registry, which may have been written with a login, or as an address that is signed.
fn registry_name(name: &Spanned<String>, found: &mut Vec<Diagnostic>) {
    if !is_registry_name(name.get_ref()) {
        let message = "this is no registry's name: a host with a dot or a port, and nothing else";
        let help = "write it as in an image's name: `mirror.example.com:5000`; who logs in goes \
                    into `username` and `password`";
        found.push(Diagnostic::at(name.span(), message).help(help));
    }
}

fn helper(image: &Spanned<String>, found: &mut Vec<Diagnostic>) -> String {
    if let Some(why) = odd_in(image.get_ref(), false) {
        let help = "such as `helper:1` or `registry.example:5000/ops/helper:1`";
        found.push(Diagnostic::at(image.span(), format!("no image's name: {why}")).help(help));
    }
    image.get_ref().clone()
}

/// A secret in the file itself would be read by everybody who reads the file.
fn reference(secret: &Spanned<String>, found: &mut Vec<Diagnostic>) -> String {
    let text = secret.get_ref();
    if !text.starts_with("env:") && !text.starts_with("file:") {
        let message = "a password is given by reference";
        let help = "write `env:NAME` or `file:PATH`";
        found.push(Diagnostic::at(secret.span(), message).help(help));
    }
    text.clone()
}

/// The path of a file, and not what is to be in it, which would be shown where it is not found.
fn file_of(path: &Spanned<PathBuf>, base: &Path, found: &mut Vec<Diagnostic>) -> PathBuf {
    let text = path.get_ref().to_string_lossy();
    if text.contains("-----") || text.contains('\n') {
        let message = "this is what a PEM file has in it, and not its path";
        found.push(Diagnostic::at(path.span(), message).help("write it to a file, and name that"));
    }
    base.join(path.get_ref())
}

fn duration(text: Option<&Spanned<String>>, found: &mut Vec<Diagnostic>) -> Option<u64> {
    let text = text?;
    let read = duration_ms(text.get_ref());
    if read.is_none() {
        let message = format!("`{}` is not a duration", text.get_ref());
        found.push(Diagnostic::at(text.span(), message).help("such as `500ms`, `30s` or `5m`"));
    }
    read
}

fn refuse(
    misplaced: &[Option<(&str, Range<usize>)>],
    provider: &str,
    help: &str,
    found: &mut Vec<Diagnostic>,
) {
    for (name, span) in misplaced.iter().flatten() {
        let message = format!("`{name}` is not for the provider `{provider}`");
        found.push(Diagnostic::at(span.clone(), message).help(help));
    }
}
