//! Effects on containers (Docker docs, *Docker Engine API*, *Container*).

use super::connect::Engine;
use super::errors::{Answer, Told};
use super::shapes::{given_address, image_of, is_stamp, labels, own_name_of, restart_of, token_of};
use crate::EffectContext;
use crate::restart::Policy;
use bollard::container::LogOutput;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerUpdateBody, EndpointSettings,
    HostConfig, Mount as DockerMount, MountType, MountVolumeOptions, NetworkingConfig, PortBinding,
    RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder,
    RenameContainerOptionsBuilder, StopContainerOptionsBuilder,
};
use futures_util::StreamExt;
use serde_json::Value;
use std::collections::HashMap;
use std::time::Duration;
use stepback_core::FailureClass;
use stepback_core::call::{ContainerSpec, Mount};

/// What a stop may take beyond the grace its container is given.
const STOP_EXTRA_S: u64 = 60;

/// How long a start waits for a device to show up, and how often it looks.
const DEVICE_MS_MAX: u64 = 30_000;
const DEVICE_EVERY_MS: u64 = 250;

/// Whether a start failed because a volume's device is not there (yet): the engine said no, so
/// nothing happened.
fn misses_a_device(told: &Told) -> bool {
    let message = &told.failure.message;
    !told.is_unknown()
        && message.contains("failed to mount local volume")
        && ["no such file or directory", "no such device"].iter().any(|why| message.contains(why))
}

impl Engine {
    /// Create it, stamped; `model` is the container that it is to be like.
    pub(super) async fn create(
        &self,
        name: &str,
        spec: &ContainerSpec,
        model: Option<ContainerInspectResponse>,
        context: &EffectContext,
    ) -> Answer<Value> {
        let what = self.name_of("container", name);
        let body = self.body(spec, model, context).await?;
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let created = self.asked(&what, self.client.create_container(Some(options), body)).await;
        if let Err(told) = created {
            // The same request again, after its first answer was lost.
            if !told.is_conflict() || !self.is_stamped(name, context).await? {
                return Err(told);
            }
        }
        self.shown_after(name).await
    }

    /// Whether the container of this name was created by the same call.
    pub(super) async fn is_stamped(&self, name: &str, context: &EffectContext) -> Answer<bool> {
        let found = self.find(name).await?;
        let config = found.and_then(|found| found.config);
        let labels = config.as_ref().and_then(|config| config.labels.as_ref());
        Ok(token_of(labels) == Some(context.token.0.as_str()))
    }

    /// What an effect that the engine accepted has made of a container.
    async fn shown_after(&self, name: &str) -> Answer<Value> {
        let shown = async {
            let found = self.inspect(name).await?;
            self.shown(&found).await
        };
        shown.await.map_err(Told::after_accepted)
    }

    async fn body(
        &self,
        spec: &ContainerSpec,
        model: Option<ContainerInspectResponse>,
        context: &EffectContext,
    ) -> Answer<ContainerCreateBody> {
        let mut body = match model {
            Some(model) => {
                self.must_be_on_one_network(&model)?;
                like(model)
            }
            None => ContainerCreateBody::default(),
        };
        if !spec.image.is_empty() {
            body.image = Some(spec.image.clone());
        }
        if !spec.command.is_empty() {
            body.cmd = Some(spec.command.clone());
        }
        let mut env = super::shapes::env_of(&body.env.take().unwrap_or_default());
        env.extend(spec.env.clone());
        body.env = Some(env.iter().map(|(key, value)| format!("{key}={value}")).collect());
        body.labels.get_or_insert_default().extend(labels(context));
        let mut host = body.host_config.take().unwrap_or_default();
        if !spec.mounts.is_empty() {
            host.mounts = Some(spec.mounts.iter().map(mount).collect());
        }
        self.set_mount_options(&mut host).await?;
        if !spec.ports.is_empty() {
            body.exposed_ports = None;
            set_ports(&mut body, &mut host, &spec.ports)?;
        }
        if !spec.restart.is_empty() {
            host.restart_policy = Some(policy(&spec.restart)?);
        }
        body.host_config = Some(host);
        Ok(body)
    }

    /// An engine puts a new container on one network (Docker docs, *Engine API*,
    /// *ContainerCreate*).
    fn must_be_on_one_network(&self, model: &ContainerInspectResponse) -> Answer<()> {
        let networks = model.network_settings.as_ref().and_then(|set| set.networks.as_ref());
        let mut names: Vec<&str> =
            networks.into_iter().flatten().map(|(n, _)| n.as_str()).collect();
        if names.len() < 2 {
            return Ok(());
        }
        names.sort_unstable();
        let message = format!(
            "container `{}` is on {} networks ({}), and a new one like it would be on one: take it \
             off all but one, or create the new one otherwise",
            super::shapes::name_of(model),
            names.len(),
            names.join(", ")
        );
        Err(Told::no(FailureClass::Precondition, "networks", message))
    }

    /// What is in the image at the mount's place must not be copied to a device: Docker would
    /// mount it for that at once, when it may not be attached yet. And a volume that is not there
    /// is not made by the way: Docker would make an empty one on the host's own disk.
    async fn set_mount_options(&self, host: &mut HostConfig) -> Answer<()> {
        for mount in host.mounts.iter_mut().flatten() {
            let (Some(MountType::VOLUME), Some(name)) = (mount.typ, &mount.source) else {
                continue;
            };
            let Some(volume) = self.find_volume(name).await? else {
                let message = format!("there is no {}", self.name_of("Docker volume", name));
                return Err(Told::no(FailureClass::Precondition, "404", message));
            };
            if volume.options.contains_key("device") {
                let options = mount.volume_options.get_or_insert_default();
                options.no_copy = Some(true);
            }
        }
        Ok(())
    }

    /// Start it. The device of a volume that was just attached shows up seconds later (Amazon EBS
    /// User Guide, *Attach a volume*), so a start that misses it is tried again for a while.
    pub(super) async fn start(&self, name: &str) -> Answer<Value> {
        let what = self.name_of("container", name);
        let id = self.id_of(name).await?;
        let until = self.clock.now().after(Duration::from_millis(DEVICE_MS_MAX));
        loop {
            match self.asked(&what, self.client.start_container(&id, None)).await {
                Ok(()) => return self.shown_after(&id).await,
                Err(told) if !misses_a_device(&told) => return Err(told),
                Err(told) if self.clock.now() >= until => return Err(told),
                Err(_) => self.clock.sleep(Duration::from_millis(DEVICE_EVERY_MS)).await,
            }
        }
    }

    pub(super) async fn stop(&self, name: &str, grace_ms: u64) -> Answer<Value> {
        let what = self.name_of("container", name);
        let grace_s = grace_ms.div_ceil(1000);
        let options = StopContainerOptionsBuilder::new()
            .t(i32::try_from(grace_s).unwrap_or(i32::MAX))
            .build();
        let limit = Duration::from_secs(grace_s.saturating_add(STOP_EXTRA_S));
        let patient = self.client.clone().with_timeout(limit);
        let id = self.id_of(name).await?;
        self.asked(&what, patient.stop_container(&id, Some(options))).await?;
        self.shown_after(&id).await
    }

    pub(super) async fn rename(&self, name: &str, to: &str) -> Answer<Value> {
        let what = self.name_of("container", name);
        let options = RenameContainerOptionsBuilder::new().name(to).build();
        let id = self.id_of(name).await?;
        self.asked(&what, self.client.rename_container(&id, options)).await?;
        Ok(Value::Null)
    }

    pub(super) async fn set_restart(&self, name: &str, restart: &str) -> Answer<Value> {
        let what = self.name_of("container", name);
        let body =
            ContainerUpdateBody { restart_policy: Some(policy(restart)?), ..Default::default() };
        let id = self.id_of(name).await?;
        self.asked(&what, self.client.update_container(&id, body)).await?;
        Ok(Value::Null)
    }

    /// Remove a stopped container; its volumes stay.
    pub(super) async fn remove(&self, name: &str) -> Answer<Value> {
        let what = self.name_of("container", name);
        let options = RemoveContainerOptionsBuilder::new().v(false).force(false).build();
        let id = self.id_of(name).await?;
        self.asked(&what, self.client.remove_container(&id, Some(options))).await?;
        Ok(Value::Null)
    }

    pub(super) async fn tail(&self, name: &str, lines: u32) -> Answer<Value> {
        let id = self.id_of(name).await?;
        Ok(Value::from(self.output(&id, lines).await?))
    }

    /// The last lines that a container printed.
    pub(super) async fn output(&self, name: &str, lines: u32) -> Answer<Vec<String>> {
        let what = self.name_of("container", name);
        let options =
            LogsOptionsBuilder::new().stdout(true).stderr(true).tail(&lines.to_string()).build();
        let mut chunks = Box::pin(self.client.logs(name, Some(options)));
        let mut bytes: Vec<u8> = vec![];
        while let Some(chunk) = chunks.next().await {
            let chunk = self.asked(&what, async { chunk }).await?;
            bytes.extend_from_slice(&LogOutput::into_bytes(chunk));
        }
        Ok(String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect())
    }
}

/// A new container with every option of another one, but for its stamp.
fn like(model: ContainerInspectResponse) -> ContainerCreateBody {
    let (image, restart) = (image_of(&model), restart_of(&model));
    let own_name = own_name_of(&model);
    let networks = model.network_settings.and_then(|settings| settings.networks);
    let config = model.config.unwrap_or_default();
    let mut labels = config.labels.unwrap_or_default();
    labels.retain(|key, _| !is_stamp(key));
    let mut host = model.host_config.unwrap_or_default();
    // Volumes are told as mounts only, because only these have options.
    let is_bind = |bind: &String| bind.starts_with('/');
    host.binds = host.binds.map(|binds| binds.into_iter().filter(is_bind).collect());
    let mut mounts: Vec<DockerMount> = host.mounts.take().unwrap_or_default();
    mounts.retain(|mount| mount.typ != Some(MountType::VOLUME));
    let volumes = model.mounts.into_iter().flatten();
    mounts.extend(volumes.filter(|at| at.typ.as_deref() == Some("volume")).map(|at| {
        let read_only = !at.rw.unwrap_or(true);
        let (volume, target) = (at.name.unwrap_or_default(), at.destination.unwrap_or_default());
        mount(&Mount { volume, target, read_only })
    }));
    host.mounts = Some(mounts);
    host.restart_policy = policy(&restart).ok();
    ContainerCreateBody {
        // By default it is the container's own id, which the new one has not.
        hostname: config.hostname.filter(|name| Some(name) != own_name.as_ref()),
        domainname: config.domainname,
        user: config.user,
        exposed_ports: config.exposed_ports,
        tty: config.tty,
        open_stdin: config.open_stdin,
        env: config.env,
        cmd: config.cmd,
        healthcheck: config.healthcheck,
        image: Some(image),
        working_dir: config.working_dir,
        entrypoint: config.entrypoint,
        labels: Some(labels),
        stop_signal: config.stop_signal,
        stop_timeout: config.stop_timeout,
        shell: config.shell,
        networking_config: networks.and_then(|all| named(all, own_name.as_deref())),
        host_config: Some(host),
        ..Default::default()
    }
}

/// The names and addresses that a container was given on the network that people made for it; the
/// engine's own networks know none. An address that the engine chose is none of the options.
fn named(
    networks: HashMap<String, EndpointSettings>,
    own_name: Option<&str>,
) -> Option<NetworkingConfig> {
    let is_own = |name: &str| ["bridge", "host", "none"].contains(&name);
    let kept = networks.into_iter().filter(|(name, _)| !is_own(name)).map(|(name, endpoint)| {
        let ipam_config = given_address(&endpoint).cloned();
        let mut aliases = endpoint.aliases.unwrap_or_default();
        // An engine adds the container's own id, which the new one has not.
        aliases.retain(|alias| Some(alias.as_str()) != own_name);
        let (aliases, driver_opts) = (Some(aliases), endpoint.driver_opts);
        (name, EndpointSettings { aliases, ipam_config, driver_opts, ..Default::default() })
    });
    let kept: HashMap<_, _> = kept.collect();
    (!kept.is_empty()).then_some(NetworkingConfig { endpoints_config: Some(kept) })
}

fn mount(mount: &Mount) -> DockerMount {
    DockerMount {
        typ: Some(MountType::VOLUME),
        source: Some(mount.volume.clone()),
        target: Some(mount.target.clone()),
        read_only: Some(mount.read_only),
        volume_options: Some(MountVolumeOptions::default()),
        ..Default::default()
    }
}

fn policy(restart: &str) -> Answer<RestartPolicy> {
    let (name, count) = match Policy::parse(restart) {
        Some(Policy::No) => (RestartPolicyNameEnum::NO, None),
        Some(Policy::Always) => (RestartPolicyNameEnum::ALWAYS, None),
        Some(Policy::UnlessStopped) => (RestartPolicyNameEnum::UNLESS_STOPPED, None),
        Some(Policy::OnFailure(count)) => (RestartPolicyNameEnum::ON_FAILURE, Some(count)),
        None => {
            let message = format!("`{restart}` is no restart policy");
            return Err(Told::no(FailureClass::InvalidInput, "400", message));
        }
    };
    Ok(RestartPolicy { name: Some(name), maximum_retry_count: count.map(i64::from) })
}

fn set_ports(
    body: &mut ContainerCreateBody,
    host: &mut HostConfig,
    ports: &[String],
) -> Answer<()> {
    let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    for port in ports {
        let Some((outside, inside)) = port.rsplit_once(':') else {
            let message = format!("the port `{port}` is not HOST-PORT:CONTAINER-PORT");
            return Err(Told::no(FailureClass::InvalidInput, "400", message));
        };
        let inside = match inside.contains('/') {
            true => inside.to_owned(),
            false => format!("{inside}/tcp"),
        };
        let (host_ip, host_port) = match outside.rsplit_once(':') {
            Some((ip, port)) => (Some(ip.trim_matches(['[', ']']).to_owned()), port),
            None => (None, outside),
        };
        let binding = PortBinding { host_ip, host_port: Some(host_port.to_owned()) };
        bindings.entry(inside.clone()).or_default().get_or_insert_default().push(binding);
        body.exposed_ports.get_or_insert_default().push(inside);
    }
    host.port_bindings = Some(bindings);
    Ok(())
}
