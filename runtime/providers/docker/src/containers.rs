//! Effects on containers (Docker docs, *Docker Engine API*, *Container*).

use super::OPERATION_LABEL;
use super::connect::Engine;
use super::errors::{Answer, RequestError};
use super::hidden::Hidden;
use super::like::{Model, is_same_place};
use super::options::{mount, policy};
use super::passwords::without_command;
use super::shapes::{image_of, ports_of};
use super::stamps::{labels, token_of};
use super::streams::Printed;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerUpdateBody, HostConfig,
    Mount as DockerMount, MountType, PortBinding,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, LogsOptionsBuilder,
    RemoveContainerOptionsBuilder, RenameContainerOptionsBuilder, StopContainerOptionsBuilder,
};
use futures_util::StreamExt;
use serde_json::Value;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;
use stepback_core::calls::bounds::{ANSWER_BYTES_MAX, answer_bytes};
use stepback_core::calls::{ContainerSpec, Mount};
use stepback_core::{FailureClass, cut};
use stepback_provider::EffectContext;
use stepback_provider::passwords::Text;
use stepback_provider::ports::{self, Port};
use stepback_provider::rules::labels_must_be_free;

/// How a container exits whose process is killed (Docker docs, *docker container run*, *Exit
/// status*).
const KILLED: i64 = 137;

/// What a stop may take beyond the grace its container is given.
const STOP_EXTRA_S: u64 = 60;

/// How long a start waits for a device to show up, and how often it looks.
const DEVICE_MS_MAX: u64 = 30_000;
const DEVICE_EVERY_MS: u64 = 50;

/// Whether a start failed because a volume's device is not there (yet): the engine said no, so
/// nothing happened. A directory or a share that is not there does not come by itself.
fn misses_a_device(told: &RequestError, device_dir: &str) -> bool {
    let message = &told.failure.message;
    let is_of =
        |dir: &str| message.contains(&format!("failed to mount local volume: mount {dir}/"));
    !told.is_unknown()
        && (is_of("/dev") || is_of(device_dir))
        && ["no such file or directory", "no such device"].iter().any(|why| message.contains(why))
}

/// A port that somebody else has may be free the next time, and another one is chosen then where
/// one is: an engine says so in its own words, or the kernel's (bind(2), *EADDRINUSE*).
fn with_port_in_use(mut told: RequestError) -> RequestError {
    let message = &told.failure.message;
    let words = ["port is already allocated", "address already in use"];
    if !told.is_unknown() && words.iter().any(|words| message.contains(words)) {
        told.failure.class = FailureClass::Transient;
        told.failure = told.failure.with_code("port-in-use");
    }
    told
}

impl Engine {
    /// Create it, stamped; `model` is the container that it is to be like.
    pub(super) async fn create(
        &self,
        name: &str,
        spec: &ContainerSpec,
        model: Option<Model>,
        context: &EffectContext,
    ) -> Answer<Value> {
        let what = self.name_of("container", name);
        let _turn = match ports::are_kept(&spec.ports) {
            true => Some(self.turns.take().await.map_err(|error| {
                let message = format!("no port of {} can be chosen: {error}", self.host);
                RequestError::no(FailureClass::Transient, "locked", message)
            })?),
            false => None,
        };
        let body = self.body(spec, model, context).await?;
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let created = self.asked(&what, self.client.create_container(Some(options), body)).await;
        // What it leaves out (a limit that its kernel does not know) is told to whoever reads.
        for warning in created.iter().flat_map(|created| &created.warnings) {
            context.notes.warn(format!("{what}: {warning}"));
        }
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
    pub(super) async fn shown_after(&self, name: &str) -> Answer<Value> {
        let shown = async {
            let found = self.inspect(name).await?;
            self.shown(&found).await
        };
        shown.await.map_err(RequestError::after_accepted)
    }

    async fn body(
        &self,
        spec: &ContainerSpec,
        model: Option<Model>,
        context: &EffectContext,
    ) -> Answer<ContainerCreateBody> {
        labels_must_be_free(spec)?;
        let mut body = match model {
            Some(model) => {
                model.must_be_possible(spec)?;
                let is_same_image = self.is_image_of(&spec.image, &model).await?;
                model.body(is_same_image)
            }
            None => ContainerCreateBody::default(),
        };
        if !spec.image.is_empty() {
            body.image = Some(spec.image.clone());
        }
        if !spec.command.is_empty() {
            body.cmd = Some(spec.command.clone());
        }
        // One without `=` takes away what the image gives.
        let key = |one: &String| one.split_once('=').map_or(one.clone(), |(key, _)| key.to_owned());
        let mut env = body.env.take().unwrap_or_default();
        env.retain(|one| !spec.env.contains_key(&key(one)));
        env.extend(spec.env.iter().map(|(key, value)| format!("{key}={value}")));
        body.env = Some(env);
        let own = body.labels.get_or_insert_default();
        own.extend(spec.labels.clone());
        own.extend(labels(context));
        let mut host = body.host_config.take().unwrap_or_default();
        if !spec.mounts.is_empty() {
            set_volumes(&mut host, &spec.mounts);
        }
        self.set_mount_options(&mut host).await?;
        if !spec.ports.is_empty() {
            body.exposed_ports = None;
            set_ports(&mut body, &mut host, &self.with_kept(&spec.ports, context).await?)?;
        }
        if !spec.restart.is_empty() {
            host.restart_policy = Some(policy(&spec.restart)?);
        }
        body.host_config = Some(host);
        Ok(body)
    }

    /// The ports with those chosen that are to be, by what all containers have, those included that
    /// do not run. Each attempt begins to look at another place, so that one that somebody else on
    /// the host has is not tried again.
    async fn with_kept(&self, ports: &[String], context: &EffectContext) -> Answer<Vec<String>> {
        if !ports::are_kept(ports) {
            return Ok(ports.to_vec());
        }
        let what = format!("the containers on {}", self.host);
        let options = ListContainersOptionsBuilder::new().all(true).build();
        let all = self.asked(&what, self.client.list_containers(Some(options))).await?;
        let mut theirs = vec![];
        for id in all.into_iter().filter_map(|one| one.id) {
            // One may go away between the list and the look.
            theirs.extend(self.find(&id).await?.iter().flat_map(ports_of));
        }
        let mut from = DefaultHasher::new();
        context.token.0.hash(&mut from);
        let taken = ports::of_host(theirs.iter());
        Ok(ports::with_kept(ports, &taken, from.finish())?)
    }

    /// Whether this is the very image of a model; by default a new container has the one that the
    /// model's reference means here by now.
    async fn is_image_of(&self, image: &str, model: &Model) -> Answer<bool> {
        let reference = if image.is_empty() { image_of(&model.found) } else { image.to_owned() };
        let found = self.find_image(&reference).await?;
        Ok(found.is_some_and(|found| found.id == model.found.image))
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
                return Err(RequestError::no(FailureClass::Precondition, "404", message));
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
        let found = self.inspect(name).await?;
        let id = self.id_in(found.id.clone(), name)?;
        let until = self.clock.now().after(Duration::from_millis(DEVICE_MS_MAX));
        loop {
            let started = self.asked(&what, self.client.start_container(&id, None)).await;
            let quiet =
                |told: RequestError| told.saying(|message| without_command(message, &found));
            match started.map_err(quiet) {
                Ok(()) => return self.shown_after(&id).await,
                Err(told) if !misses_a_device(&told, &self.device_dir) => {
                    return Err(with_port_in_use(told));
                }
                Err(told) if self.clock.now() >= until => return Err(told),
                Err(_) => self.clock.sleep(Duration::from_millis(DEVICE_EVERY_MS)).await,
            }
        }
    }

    /// Stop it. An undo gives a container the time that its own options say, whatever the grace.
    pub(super) async fn stop(
        &self,
        name: &str,
        grace_ms: u64,
        context: &EffectContext,
    ) -> Answer<Value> {
        let found = self.inspect(name).await?;
        let own_s = found.config.and_then(|config| config.stop_timeout).unwrap_or_default();
        let own_s = if context.undo { u64::try_from(own_s).unwrap_or_default() } else { 0 };
        self.stop_within(name, grace_ms.div_ceil(1000).max(own_s)).await?;
        let shown = self.shown_after(name).await?;
        if context.undo && shown["ended"]["exit_code"] == KILLED {
            let what = self.name_of("container", name);
            context.notes.warn(format!("{what} had to be killed: it did not stop by itself"));
        }
        Ok(shown)
    }

    pub(super) async fn stop_within(&self, name: &str, grace_s: u64) -> Answer<()> {
        let what = self.name_of("container", name);
        let options = StopContainerOptionsBuilder::new()
            .t(i32::try_from(grace_s).unwrap_or(i32::MAX))
            .build();
        let limit = Duration::from_secs(grace_s.saturating_add(STOP_EXTRA_S));
        let patient = self.client.clone().with_timeout(limit);
        let id = self.id_of(name).await?;
        self.asked(&what, patient.stop_container(&id, Some(options))).await
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

    /// Remove a stopped container; its volumes stay, but for those that an engine made for it alone
    /// where this operation takes back that it made it.
    pub(super) async fn remove(&self, name: &str, context: &EffectContext) -> Answer<Value> {
        let found = self.inspect(name).await?;
        let label = found.config.and_then(|config| config.labels?.remove(OPERATION_LABEL));
        let is_own = label == Some(context.operation.to_string());
        self.remove_with(name, context.undo && is_own).await
    }

    /// The same, with what has no name of all that it mounts (*ContainerDelete*, `v`).
    pub(super) async fn remove_with(&self, name: &str, anonymous: bool) -> Answer<Value> {
        let what = self.name_of("container", name);
        let options = RemoveContainerOptionsBuilder::new().v(anonymous).force(false).build();
        let id = self.id_of(name).await?;
        self.asked(&what, self.client.remove_container(&id, Some(options))).await?;
        Ok(Value::Null)
    }

    pub(super) async fn tail(&self, name: &str, lines: u32) -> Answer<Value> {
        let id = self.id_of(name).await?;
        Ok(Value::from(self.output(&id, lines).await?))
    }

    /// The last lines that a container printed, as many as an answer may hold.
    pub(super) async fn output(&self, name: &str, lines: u32) -> Answer<Vec<String>> {
        let what = self.name_of("container", name);
        let found = self.inspect(name).await?;
        let (hidden, rotates) = (Hidden::given_to(&found), rotates(&found));
        // One more, by whose end it is seen whether the next one begins a line.
        let tail = lines.saturating_add(1).to_string();
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail(&tail).build();
        let (client, heard) = self.streaming(&what)?;
        let mut chunks = Box::pin(client.logs(name, Some(options)));
        let mut printed = Printed::new(lines as usize, rotates);
        while let Some(chunk) = chunks.next().await {
            printed.take(chunk.map_err(|error| heard.told(error, &what))?);
            heard.taken();
        }
        let mut last = last_lines(&printed.text());
        // A terminal's lines can't be counted before.
        last.drain(..last.len().saturating_sub(lines as usize));
        Ok(last.iter().map(|line| hidden.taken_out_of(line, Text::Printed)).collect())
    }
}

/// Whether the beginning of what it printed may be gone: all but one driver of logs throws old
/// records away unless it is told otherwise, and that one does where it is told to (Docker docs,
/// *Configure logging drivers*).
fn rotates(found: &ContainerInspectResponse) -> bool {
    let config = found.host_config.as_ref().and_then(|host| host.log_config.as_ref());
    config.is_none_or(|log| {
        let keeps_all = log.typ.as_deref() == Some("json-file");
        !keeps_all || log.config.iter().flatten().any(|(name, _)| name == "max-size")
    })
}

/// The lines at the end, as many as an answer holds.
fn last_lines(text: &str) -> Vec<String> {
    let mut left = ANSWER_BYTES_MAX;
    let mut kept: Vec<String> = vec![];
    for line in text.lines().rev() {
        let bytes = answer_bytes(&Value::from(line)) + 2;
        if bytes > left {
            // Of one line that is more than all of it, its end.
            if kept.is_empty() {
                kept.push(cut::end(line, left / 2));
            }
            break;
        }
        left -= bytes;
        kept.push(line.to_owned());
    }
    kept.reverse();
    kept
}

/// Other volumes than those of a model, and all else that it has mounted elsewhere. At the same
/// place they are mounted in the same way (a part of the volume).
fn set_volumes(host: &mut HostConfig, wanted: &[Mount]) {
    let is_wanted =
        |target: &str| wanted.iter().any(|one| is_same_place(Some(target), &one.target));
    let all = host.mounts.take().unwrap_or_default();
    let (old, mut mounts): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|one| one.typ == Some(MountType::VOLUME));
    mounts.retain(|one| !is_wanted(one.target.as_deref().unwrap_or_default()));
    if let Some(binds) = &mut host.binds {
        binds.retain(|bind| !bind.split(':').nth(1).is_some_and(is_wanted));
    }
    if let Some(tmpfs) = &mut host.tmpfs {
        tmpfs.retain(|target, _| !is_wanted(target));
    }
    mounts.extend(wanted.iter().map(|wanted| {
        let is_it = |old: &&DockerMount| is_same_place(old.target.as_deref(), &wanted.target);
        let options = old.iter().find(is_it).and_then(|was| was.volume_options.clone());
        let made = mount(wanted);
        DockerMount { volume_options: options.or(made.volume_options.clone()), ..made }
    }));
    host.mounts = Some(mounts);
}

fn set_ports(
    body: &mut ContainerCreateBody,
    host: &mut HostConfig,
    ports: &[String],
) -> Answer<()> {
    let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    for text in ports {
        let port = Port::parse(text)?;
        let host_ip = port.address.map(|address| address.to_string());
        let binding = PortBinding { host_ip, host_port: Some(port.on_host.to_string()) };
        bindings.entry(port.inside()).or_default().get_or_insert_default().push(binding);
        body.exposed_ports.get_or_insert_default().push(port.inside());
    }
    host.port_bindings = Some(bindings);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the engine's own words (Docker 20.10 was asked), and in the kernel's.
    #[test]
    fn a_port_that_somebody_has_may_be_free_the_next_time() {
        for (why, class) in [
            (
                "driver failed programming external connectivity on endpoint app (0a1b): Bind for \
                 0.0.0.0:20000 failed: port is already allocated",
                FailureClass::Transient,
            ),
            (
                "driver failed programming external connectivity on endpoint app (0a1b): Error \
                 starting userland proxy: listen tcp4 0.0.0.0:20000: bind: address already in use",
                FailureClass::Transient,
            ),
            ("error while creating mount source path", FailureClass::Refused),
        ] {
            let told = RequestError::no(FailureClass::Refused, "500", why.to_owned());
            assert_eq!(with_port_in_use(told).failure.class, class, "{why}");
        }
    }

    /// A directory that is not there comes not by itself, and is no reason to wait.
    #[test]
    fn a_start_waits_for_a_device_alone() {
        let misses = |what: &str, why: &str| {
            let message = format!("failed to mount local volume: mount {what}:/v/_data: {why}");
            let told = RequestError::no(FailureClass::Refused, "500", message);
            misses_a_device(&told, "/box/instances/i-a")
        };
        let gone = "no such file or directory";
        assert!(misses("/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0a1", gone));
        assert!(misses("/box/instances/i-a/nvme-Amazon_Elastic_Block_Store_vol0a1", gone));
        assert!(misses("/dev/sdf", "no such device"));
        assert!(!misses("/srv/data", gone));
        assert!(!misses("//nas/x", "no such device"));
        assert!(!misses("/dev/sdf", "wrong fs type"));
    }
    use stepback_core::calls::bounds::answer_must_fit;

    #[test]
    fn of_a_long_log_the_last_lines_are_an_answer() {
        assert_eq!(last_lines("a\nb\n"), ["a", "b"]);
        let long = format!("first\n{}\nlast", "x".repeat(ANSWER_BYTES_MAX));
        assert_eq!(last_lines(&long), ["last"]);
        let kept = last_lines(&format!("{}end", "é".repeat(ANSWER_BYTES_MAX)));
        assert!(kept[0].starts_with("…é") && kept[0].ends_with("ééend"));
        answer_must_fit("docker.logs", &Value::from(kept)).unwrap();
        let many = "\n".repeat(3 * ANSWER_BYTES_MAX);
        let kept = last_lines(&many);
        assert!(kept.len() > 100_000);
        answer_must_fit("docker.logs", &Value::from(kept)).unwrap();
    }
}
