//! The providers of real environments, as far as this program was built with them (the features
//! `aws`, `docker`, `haproxy` and `onebox`).

#[cfg(feature = "docker")]
pub use with_engines::*;

use crate::config::Config;
use crate::environments::{Account, DockerConfig, Instance};
use crate::error::CliError;
use crate::pools::Pools;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use stepback_provider::Provider;

/// An environment whose provider was left out when the program was built.
#[cfg(not(all(feature = "aws", feature = "haproxy", feature = "onebox")))]
fn left_out(provider: &str) -> CliError {
    CliError::usage(
        shown!("this `stepback` was built without the provider `{}`", provider),
        shown!("build it in: `cargo build --package stepback --features {}`", provider),
    )
}

#[cfg(not(feature = "aws"))]
pub fn is_of_aws(_: &str) -> bool {
    true
}

#[cfg(not(feature = "aws"))]
pub async fn aws(_: &Account, _: &DockerConfig, _: &Pools) -> Result<Arc<dyn Provider>, CliError> {
    Err(left_out("aws"))
}

#[cfg(not(feature = "onebox"))]
pub fn onebox(
    _: &Config,
    _: &Path,
    _: &BTreeMap<String, Instance>,
    _: &DockerConfig,
    _: &Pools,
) -> Result<Arc<dyn Provider>, CliError> {
    Err(left_out("onebox"))
}

#[cfg(feature = "docker")]
mod with_engines {
    use super::*;
    use crate::actor::actor;
    #[cfg(feature = "onebox")]
    use crate::ownership::{Choice, Kept};
    use crate::pools::{Backend, Pool};
    use crate::secrets::References;
    use stepback_clock::Clock;
    use stepback_docker::{Credentials, Docker, DockerSettings, Registry, Tls};
    use stepback_engine::SecretSource;
    #[cfg(any(feature = "aws", feature = "haproxy"))]
    use stepback_provider::addresses::OfCloud;
    use stepback_provider::router::Router;

    #[cfg(feature = "aws")]
    pub use stepback_aws::is_of_aws;

    #[cfg(feature = "aws")]
    pub async fn aws(
        account: &Account,
        docker: &DockerConfig,
        pools: &Pools,
    ) -> Result<Arc<dyn Provider>, CliError> {
        let Account { region, profile, endpoint, account } = account.clone();
        let config = stepback_aws::AwsConfig { region, profile, endpoint, account };
        let aws = stepback_aws::Aws::connect(config, Clock::real()).await.map_err(|failure| {
            let help = "mend the environment in stepback.toml, or give what AWS's own tools need";
            CliError::usage(failure.message, help)
        })?;
        let aws = Arc::new(aws);
        let cloud: Arc<dyn Provider> = Arc::clone(&aws) as _;
        let (named, template) = (docker.hosts.clone(), docker.endpoint.clone());
        let hosts = stepback_docker::TemplatedHosts::new(Arc::clone(&cloud), named, template);
        let docker = Docker::new(Arc::new(hosts), settings(docker)?, Clock::real());
        let groups = target_groups(aws, Arc::clone(&cloud), pools);
        with_pools(cloud, Arc::new(docker), groups, pools)
    }

    /// The pools of an account that are target groups, if there are any.
    #[cfg(feature = "aws")]
    fn target_groups(
        aws: Arc<stepback_aws::Aws>,
        cloud: Arc<dyn Provider>,
        pools: &Pools,
    ) -> Option<Arc<dyn Provider>> {
        use stepback_aws::{TargetGroup, TargetGroups};
        let of = |(name, pool): (&String, &Pool)| {
            let Pool::TargetGroup(written) = pool else { return None };
            let usual = TargetGroup::of(&written.group);
            let linger_ms = written.linger_ms.unwrap_or(usual.linger_ms);
            Some((name.clone(), TargetGroup { linger_ms, ..usual }))
        };
        let groups: BTreeMap<String, TargetGroup> = pools.iter().filter_map(of).collect();
        if groups.is_empty() {
            return None;
        }
        Some(Arc::new(TargetGroups::new(aws, groups, Arc::new(OfCloud(cloud)))))
    }

    #[cfg(feature = "onebox")]
    pub fn onebox(
        config: &Config,
        root: &Path,
        instances: &BTreeMap<String, Instance>,
        docker: &DockerConfig,
        pools: &Pools,
    ) -> Result<Arc<dyn Provider>, CliError> {
        use stepback_onebox::{Onebox, OneboxConfig, OneboxHosts, OneboxInstance};
        let elsewhere = "give the environment another `root`";
        let (choice, sharing) = (Choice::Found, config.state.sharing);
        Kept { dir: root, choice, sharing, elsewhere }.make_sure(&["world.json", "volumes"])?;
        let instance = |(id, instance): (&String, &Instance)| {
            let Instance { docker, zone, address } = instance.clone();
            (id.clone(), OneboxInstance { docker, zone, address })
        };
        let instances = instances.iter().map(instance).collect();
        let config = OneboxConfig { root: root.to_owned(), instances };
        let cloud = Onebox::open(&config, Clock::real()).map_err(|failure| {
            let help = "a onebox needs root's rights on Linux, and a `root` directory it can write";
            CliError::usage(failure.message, help)
        })?;
        let hosts = Arc::new(OneboxHosts::new(config));
        let docker = Docker::new(hosts, settings(docker)?, Clock::real());
        with_pools(Arc::new(cloud), Arc::new(docker), None, pools)
    }

    /// Pools come last: their targets are where the instances are.
    fn with_pools(
        cloud: Arc<dyn Provider>,
        docker: Arc<dyn Provider>,
        groups: Option<Arc<dyn Provider>>,
        pools: &Pools,
    ) -> Result<Arc<dyn Provider>, CliError> {
        let of = |(name, pool): (&String, &Pool)| match pool {
            Pool::HaProxy(backend) => Some((name.clone(), backend.clone())),
            Pool::TargetGroup(_) => None,
        };
        let backends: BTreeMap<String, Backend> = pools.iter().filter_map(of).collect();
        let mut all = vec![Arc::clone(&cloud), docker];
        all.extend(groups);
        if !backends.is_empty() {
            all.push(haproxy(cloud, backends)?);
        }
        Ok(Arc::new(Router::new(all)))
    }

    #[cfg(not(feature = "haproxy"))]
    fn haproxy(
        _: Arc<dyn Provider>,
        _: BTreeMap<String, Backend>,
    ) -> Result<Arc<dyn Provider>, CliError> {
        Err(left_out("haproxy"))
    }

    #[cfg(feature = "haproxy")]
    fn haproxy(
        cloud: Arc<dyn Provider>,
        backends: BTreeMap<String, Backend>,
    ) -> Result<Arc<dyn Provider>, CliError> {
        use stepback_haproxy::{HaProxy, PoolConfig, Saved};
        let of = |(name, backend): (String, Backend)| {
            let Backend { sockets, masters, backend, state_files } = backend;
            let saved = state_files.map_or(Saved::ByReloadHook, Saved::StateFiles);
            (name, PoolConfig { sockets, masters, backend, saved })
        };
        let pools = backends.into_iter().map(of).collect();
        Ok(Arc::new(HaProxy::new(pools, Arc::new(OfCloud(cloud)), Clock::real())))
    }

    fn settings(config: &DockerConfig) -> Result<DockerSettings, CliError> {
        let usual = DockerSettings::default();
        let mut registries = BTreeMap::new();
        for (name, registry) in &config.registries {
            let credentials = match &registry.login {
                None => None,
                Some((username, reference)) => {
                    let password = References::default().resolve(reference).map_err(|why| {
                        let message = shown!("the password of the registry `{}`: {}", name, why);
                        CliError::usage(message, "give it, and run this again")
                    })?;
                    Some(Credentials { username: username.clone(), password })
                }
            };
            let mirrors = registry.mirrors.clone();
            registries.insert(name.clone(), Registry { mirrors, credentials });
        }
        if config.insecure && config.tls.is_none() {
            tell!(
                "warning: `insecure = true`: plain `tcp://` engines are used; whoever is on the \
                 network between is root there"
            );
        }
        let tls = config.tls.clone();
        Ok(DockerSettings {
            insecure: config.insecure,
            helper_image: config.helper_image.clone(),
            run_by: format!("{}, process {}", actor(), std::process::id()),
            stays_up_ms: config.stays_up_ms.unwrap_or(usual.stays_up_ms),
            stall_ms: config.stall_ms.unwrap_or(usual.stall_ms),
            registries,
            tls: tls.map(|files| Tls { ca: files.ca, cert: files.cert, key: files.key }),
        })
    }
}
