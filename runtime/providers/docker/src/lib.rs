//! Docker Engines, one a host, over their API (Docker docs, *Docker Engine API*).
//!
//! A host is the instance an engine runs on; [`Hosts`] knows where its engine listens and where
//! it shows the devices of attached volumes. What needs a tool on the host (looking at, making and
//! growing file systems) runs in a short-lived helper container.
//!
//! An engine knows no idempotence tokens and no epochs. What is created carries the token as a
//! label; everything else is settled by looking.

mod advice;
mod check;
mod commands;
mod config;
mod connect;
mod containers;
mod credentials;
mod endings;
mod errors;
mod helper;
mod hidden;
mod import;
mod in_the_way;
mod left_behind;
mod leftovers;
mod like;
mod networks;
mod options;
mod passwords;
mod pausing;
mod pull;
mod reads;
mod resident;
mod script;
mod settle;
mod shapes;
mod sockets;
mod ssh;
mod stamps;
mod streams;
mod templated;
mod there;
mod tls;
mod transport;
mod trial;
mod volumes;
mod waits;

pub use credentials::Credentials;
pub use pull::Registry;
pub use templated::TemplatedHosts;
pub use tls::Tls;

use async_trait::async_trait;
use connect::Engine;
use errors::RequestError;
use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::calls::ContainerSpec;
use stepback_core::calls::run_once_name;
use stepback_core::step::EffectOutcome;
use stepback_core::*;
use stepback_core::{docker_effects, docker_reads, docker_waits};
use stepback_provider::advice::Advice;
use stepback_provider::endpoint::Endpoint;
use stepback_provider::engines::{ONE_BY_ONE, is_gone};
use stepback_provider::inventory::Inventory;
use stepback_provider::{Checked, EffectContext, Provider, Settled, Stamped};

/// The label that holds the token of the call that created something.
pub const TOKEN_LABEL: &str = "stepback.token";
/// The label that holds the operation's id.
pub const OPERATION_LABEL: &str = "stepback.operation";
/// Where a Linux host shows devices by their names.
pub const DEVICE_DIR: &str = "/dev/disk/by-id";

/// A request that was sent to an engine is over by then, or nobody waits for it.
const REQUEST_MS_MAX: u64 = connect::ANSWER_S_MAX * 1000;

/// An engine that does not tell its id by then is one that does not answer.
const IDENTITY_MS_MAX: u64 = 5_000;

/// Where the engine of each instance is.
#[async_trait]
pub trait Hosts: Send + Sync {
    /// Where the engine of this instance listens.
    ///
    /// # Errors
    /// An instance that is not known, or has no address now.
    async fn endpoint(&self, instance: &str) -> Result<Endpoint, Failure>;

    /// The instances whose engines are known without asking anybody.
    fn fixed(&self) -> Vec<String>;

    /// How the engine of any other instance is found, for people.
    fn template(&self) -> Option<&str> {
        None
    }

    /// The directory of the host in which the devices of attached volumes show up.
    fn device_dir(&self, _instance: &str) -> String {
        DEVICE_DIR.to_owned()
    }
}

/// How engines are used.
#[derive(Clone, Debug)]
pub struct DockerSettings {
    /// For `tcp://` endpoints, which are plain without.
    pub tls: Option<Tls>,
    /// Whether a plain one may be another machine's.
    pub insecure: bool,
    /// An image with `sh`, `blkid`, `mount`, `mkfs.*`, `resize2fs` and `xfs_growfs`.
    pub helper_image: Option<String>,
    /// Who runs this, for people who wonder whose helper it is.
    pub run_by: String,
    /// A container without a health check is healthy when it has been up for this long.
    pub stays_up_ms: u64,
    /// A pull in which nothing arrives for this long goes on from the next mirror.
    pub stall_ms: u64,
    /// By the registry's name, `docker.io` being the one of short image names.
    pub registries: BTreeMap<String, Registry>,
}

impl Default for DockerSettings {
    fn default() -> Self {
        Self {
            tls: None,
            insecure: false,
            helper_image: None,
            run_by: String::new(),
            stays_up_ms: 3_000,
            stall_ms: 30_000,
            registries: BTreeMap::new(),
        }
    }
}

/// The Docker Engines of an environment.
pub struct Docker {
    hosts: Arc<dyn Hosts>,
    settings: DockerSettings,
    clock: Clock,
    engines: Mutex<HashMap<String, Engine>>,
    /// The hosts whose engines anybody asked for, whether they answered or not.
    asked_for: Mutex<BTreeSet<String>>,
    /// The hosts, with their endpoints, on which the helper ran.
    helpers: Mutex<BTreeSet<(String, String)>>,
}

impl Docker {
    /// Engines that are connected to when they are first asked.
    pub fn new(hosts: Arc<dyn Hosts>, settings: DockerSettings, clock: Clock) -> Self {
        let (engines, asked_for, helpers) = <(Mutex<_>, Mutex<_>, Mutex<_>)>::default();
        Self { hosts, settings, clock, engines, asked_for, helpers }
    }

    /// The engine of a host, connected.
    async fn engine(&self, host: &str) -> Result<Engine, Failure> {
        self.asked_for().insert(host.to_owned());
        let endpoint = self.hosts.endpoint(host).await?;
        let known = self.engines().get(host).filter(|known| known.endpoint == endpoint).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let dir = self.hosts.device_dir(host);
        let tls = self.settings.tls.as_ref();
        if endpoint.is_open(tls.is_some()) && !self.settings.insecure {
            let message = format!(
                "the Docker Engine of {host} at {endpoint} would be talked to without TLS, and \
                 whoever is on the network between would be root there: give it `tls` in the \
                 environment's `docker` table, or `insecure = true`"
            );
            return Err(Failure::new(FailureClass::Precondition, message).with_code("insecure"));
        }
        let engine = Engine::connect(host, endpoint, dir, tls, &self.clock).await?;
        self.engines().insert(host.to_owned(), engine.clone());
        Ok(engine)
    }

    fn engines(&self) -> MutexGuard<'_, HashMap<String, Engine>> {
        self.engines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asked_for(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.asked_for.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an engine says of itself: its version and API version.
    ///
    /// # Errors
    /// An engine that can't be reached, with why and what to do.
    pub async fn version(&self, host: &str) -> Result<String, Failure> {
        self.engine(host).await?.version().await
    }

    /// The container that a new one is to be like, which is the one that was looked at.
    async fn model(
        &self,
        spec: &ContainerSpec,
        engine: &Engine,
        context: &EffectContext,
    ) -> Result<Option<like::Model>, RequestError> {
        let Some(like) = &spec.like else { return Ok(None) };
        let on = self.engine(&like.host).await?;
        let model = like::Model::read(&on, &like.container, engine).await?;
        let id = model.found.id.as_deref().unwrap_or_default();
        context.looked.must_be(&like.host, &like.container, id)?;
        model.must_be_had_on(&on, engine).await?;
        Ok(Some(model))
    }

    async fn effect(&self, call: &Call, context: &EffectContext) -> Result<Value, RequestError> {
        let Some(host) = call.host() else { return Err(misplaced(call).into()) };
        let engine = self.engine(host.as_str()).await?;
        match call {
            Call::Docker(DockerCall::PullImage { image, .. }) => {
                pull::pull(&engine, image.as_str(), &self.settings, context).await
            }
            Call::Docker(DockerCall::TagImage { image, digest, .. }) => {
                engine.tag(image.as_str(), digest).await
            }
            Call::Docker(DockerCall::RemoveImage { image, .. }) => {
                engine.remove_image(image.as_str()).await
            }
            Call::Docker(DockerCall::CreateContainer { container, spec, .. }) => {
                let model = self.model(spec, &engine, context).await?;
                engine.create(container.as_str(), spec, model, context).await
            }
            Call::Docker(DockerCall::StartContainer { container, .. }) => {
                engine.start(container.as_str()).await
            }
            Call::Docker(DockerCall::StopContainer { container, grace_ms, .. }) => {
                engine.stop(container.as_str(), *grace_ms, context).await
            }
            Call::Docker(
                DockerCall::PauseContainer { .. } | DockerCall::UnpauseContainer { .. },
            ) => engine.set_paused(call).await,
            Call::Docker(DockerCall::RenameContainer { container, to, .. }) => {
                engine.rename(container.as_str(), to.as_str()).await
            }
            Call::Docker(DockerCall::UpdateContainer { container, restart, .. }) => {
                engine.set_restart(container.as_str(), restart).await
            }
            Call::Docker(DockerCall::RemoveContainer { container, .. }) => {
                engine.remove(container.as_str(), context).await
            }
            Call::Docker(DockerCall::RunOnce { spec, timeout_ms, .. }) => {
                engine.run_once(spec, *timeout_ms, context).await
            }
            Call::Docker(DockerCall::Exec { container, command, timeout_ms, .. }) => {
                engine.exec(container.as_str(), command, *timeout_ms, context).await
            }
            Call::Docker(DockerCall::CreateVolume { volume, options, .. }) => {
                engine.create_volume(volume.as_str(), options, context).await
            }
            Call::Docker(DockerCall::RemoveVolume { volume, .. }) => {
                engine.remove_volume(volume.as_str()).await
            }
            Call::Docker(DockerCall::MakeFileSystem { volume, filesystem_type, .. }) => {
                let helper = self.helper(&engine)?;
                helper.make(volume.as_str(), filesystem_type, context).await
            }
            Call::Docker(DockerCall::GrowFileSystem { volume, .. }) => {
                self.helper(&engine)?.grow(volume.as_str(), context).await
            }
            Call::Ec2(_)
            | Call::Ebs(_)
            | Call::LoadBalancer(_)
            | Call::Docker(docker_reads!() | docker_waits!())
            | Call::Effects(_)
            | Call::Clock(_) => Err(misplaced(call).into()),
        }
    }

    /// How far a call came that the engine ended with an error: that is told by looking.
    async fn ended(
        &self,
        call: &Call,
        context: &EffectContext,
        told: RequestError,
    ) -> EffectOutcome {
        // An engine ends a pull so for what a registry says, and it leaves nothing that counts.
        if matches!(call, Call::Docker(DockerCall::PullImage { .. })) {
            return EffectOutcome::Refused(told.failure);
        }
        match settle::settle(self, call, context).await {
            Ok(Some(value)) => EffectOutcome::Done(value),
            Ok(None) => EffectOutcome::Refused(told.failure),
            Err(why) => {
                EffectOutcome::Unknown(format!("{}; {}", told.failure.message, why.failure.message))
            }
        }
    }

    /// Whether a host has the helper, and can run it; proven once a host.
    async fn check_helper(&self, engine: &Engine) -> Result<(), Failure> {
        let helper = self.helper(engine)?;
        check::has_helper(engine, helper.image()).await?;
        let known = || self.helpers.lock().unwrap_or_else(PoisonError::into_inner);
        let proven = (engine.host.clone(), engine.endpoint.to_string());
        if !known().contains(&proven) {
            helper.check().await.map_err(|told| told.failure)?;
            known().insert(proven);
        }
        Ok(())
    }

    /// What of a host's network is in use, where there is a helper that can tell.
    async fn sockets(&self, engine: &Engine) -> Option<sockets::Sockets> {
        self.check_helper(engine).await.ok()?;
        self.helper(engine).ok()?.sockets().await.ok()
    }

    /// Whether two engines are of one machine: then they have its ports and its devices in common.
    async fn is_one_kernel(&self, one: &Engine, other: &Engine) -> bool {
        if one.host == other.host {
            return true;
        }
        let seen = (self.sockets(one).await, self.sockets(other).await);
        let (Some(one), Some(other)) = seen else { return false };
        !one.boot.is_empty() && one.boot == other.boot
    }

    fn helper<'a>(&'a self, engine: &'a Engine) -> Result<helper::Helper<'a>, Failure> {
        helper::Helper::on(engine, &self.settings)
    }
}

pub(crate) fn misplaced(call: &Call) -> Failure {
    let message = format!("{} is not a call for this provider", call.function());
    Failure::new(FailureClass::Internal, message)
}

#[async_trait]
impl Provider for Docker {
    fn name(&self) -> &str {
        "docker"
    }

    fn serves(&self) -> &[Interface] {
        &[Interface::Docker]
    }

    /// The id of each engine that is known without asking; `null` for one that does not answer.
    async fn identity(&self) -> Result<Value, Failure> {
        let limit = Duration::from_millis(IDENTITY_MS_MAX);
        let asked = self.hosts.fixed().into_iter().map(|host| async move {
            let id = async { self.engine(&host).await.ok()?.id().await };
            let id = self.clock.timeout(limit, id).await.ok().flatten();
            (host, id.map_or(Value::Null, Value::from))
        });
        let engines: Map<String, Value> = join_all(asked).await.into_iter().collect();
        Ok(json!({ "engines": engines }))
    }

    async fn check(&self) -> Vec<Checked> {
        check::all(self).await
    }

    fn looks_through(&self) -> Vec<String> {
        let helpers = self.helpers.lock().unwrap_or_else(PoisonError::into_inner);
        let image = self.settings.helper_image.as_deref().unwrap_or_default();
        helpers.iter().map(|(host, _)| format!("a container of {image} on {host}")).collect()
    }

    async fn read(&self, call: &Call) -> Result<Value, Failure> {
        let Some(host) = call.host() else { return Err(misplaced(call)) };
        let engine = self.engine(host.as_str()).await?;
        let answer = match call {
            Call::Docker(DockerCall::InspectContainer { container, .. }) => {
                engine.container(container.as_str()).await.map(Option::unwrap_or_default)
            }
            Call::Docker(DockerCall::ListContainers { .. }) => {
                engine.containers(&BTreeMap::new()).await
            }
            Call::Docker(DockerCall::FindContainers { labels, .. }) => {
                engine.containers(labels).await
            }
            Call::Docker(DockerCall::InspectImage { image, .. }) => {
                engine.image(image.as_str()).await.map(Option::unwrap_or_default)
            }
            Call::Docker(DockerCall::InspectVolume { volume, .. }) => {
                engine.volume(volume.as_str()).await.map(Option::unwrap_or_default)
            }
            Call::Docker(DockerCall::FileSystem { volume, .. }) => {
                self.helper(&engine)?.kind(volume.as_str()).await.map(Value::from)
            }
            Call::Docker(DockerCall::CheckHelper { .. }) => {
                self.check_helper(&engine).await?;
                Ok(Value::Null)
            }
            Call::Docker(DockerCall::Logs { container, tail_lines, .. }) => {
                engine.tail(container.as_str(), *tail_lines).await
            }
            Call::Ec2(_)
            | Call::Ebs(_)
            | Call::LoadBalancer(_)
            | Call::Docker(docker_waits!() | docker_effects!())
            | Call::Effects(_)
            | Call::Clock(_) => return Err(misplaced(call)),
        };
        answer.map_err(|told| told.failure)
    }

    /// Whether a registry would let an image be pulled, whether the helper is there, and what else
    /// is in the way. An engine knows no permissions of its own.
    async fn may(&self, call: &Call) -> Result<(), Failure> {
        let Some(host) = call.host() else { return Err(misplaced(call)) };
        stepback_provider::rules::must_make_sense(call)?;
        let engine = self.engine(host.as_str()).await?;
        match call {
            Call::Docker(DockerCall::PullImage { image, .. }) => {
                pull::check(&engine, image.as_str(), &self.settings).await
            }
            Call::Docker(DockerCall::MakeFileSystem { filesystem_type, .. }) => {
                self.check_helper(&engine).await?;
                let checked = self.helper(&engine)?.check_tools(filesystem_type).await;
                checked.map_err(|told| told.failure)
            }
            Call::Docker(DockerCall::GrowFileSystem { volume, .. }) => {
                self.check_helper(&engine).await?;
                let helper = self.helper(&engine)?;
                // One that is not there yet is looked at when it is grown.
                match helper.kind(volume.as_str()).await {
                    Ok(kind) => helper.check_tools(&kind).await.map_err(|told| told.failure),
                    Err(_) => Ok(()),
                }
            }
            other => in_the_way::nothing(self, &engine, other).await.map_err(|told| told.failure),
        }
    }

    async fn wait(&self, call: &Call) -> Result<Value, Failure> {
        let Some(host) = call.host() else { return Err(misplaced(call)) };
        waits::wait(self, host, call).await
    }

    async fn perform(&self, call: &Call, context: &EffectContext) -> EffectOutcome {
        match self.effect(call, context).await {
            Ok(value) => EffectOutcome::Done(value),
            Err(told) if told.is_ended() => self.ended(call, context, told).await,
            Err(told) => told.outcome(),
        }
    }

    async fn settle(&self, call: &Call, context: &EffectContext) -> Settled {
        match settle::settle(self, call, context).await {
            Ok(Some(value)) => Settled::Done(value),
            Ok(None) => Settled::NotHappened,
            Err(told) => Settled::CantKnow(told.failure.message),
        }
    }

    /// Remove the exited container of a run-once, by which its answer would have been settled.
    async fn forget(&self, call: &Call, context: &EffectContext) {
        if let Call::Docker(DockerCall::RunOnce { host, .. }) = call
            && let Ok(engine) = self.engine(host.as_str()).await
        {
            // It is tried again at every recovery.
            let _ = engine.remove_with(&run_once_name(&context.token), true).await;
        }
    }

    async fn import(&self, found: &mut Inventory) -> Result<(), Failure> {
        let left_out = import::all(self, found).await;
        found.left_out.extend(left_out);
        Ok(())
    }

    fn request_ms_max(&self) -> u64 {
        REQUEST_MS_MAX
    }

    /// An engine lists what it made from the moment it made it.
    fn visible_after_ms(&self) -> u64 {
        0
    }

    async fn observe(&self, resource: &Resource) -> Result<Facts, Failure> {
        self.observed(resource).await
    }

    fn advice(&self, resource: &Resource, before: &Facts, now: &Facts) -> Advice {
        advice::advice(resource, before, now)
    }

    async fn stamped(&self, tokens: &[Token]) -> Result<Stamped, Failure> {
        Ok(self.carrying(self.known(), tokens).await)
    }
}
