//! What an engine shows, in the contract's shapes.

use super::config::config_of;
use super::connect::Engine;
use super::errors::{Answer, RequestError};
use super::passwords::{without_command, without_options};
use super::script::is_helper;
use super::stamps::{is_stamp, token_of};
use super::{OPERATION_LABEL, TOKEN_LABEL};
use bollard::ClientVersion;
use bollard::models::{
    ContainerInspectResponse, ContainerSummary, EndpointIpamConfig, EndpointSettings, ImageInspect,
    MountPoint, PortMap, Volume,
};
use bollard::query_parameters::{ListContainersOptionsBuilder, ListVolumesOptionsBuilder};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use stepback_core::calls::Tags;
use stepback_core::image::ImageName;
use stepback_core::resource::IDENTITY;
use stepback_core::{FailureClass, Resource, Token};
use stepback_provider::ports;
use stepback_provider::volume_options::shown_option;

impl Engine {
    /// The container of this name, or with this whole id. An engine also takes the beginning of
    /// an id for a name (Docker docs, *Container identification*): that is another container.
    pub(super) async fn inspect(&self, name: &str) -> Answer<ContainerInspectResponse> {
        let what = self.name_of("container", name);
        let found = self.looked(&what, self.client.inspect_container(name, None)).await?;
        if name_of(&found) == name || found.id.as_deref() == Some(name) {
            return self.with_named_network(found).await;
        }
        Err(RequestError::no(FailureClass::Precondition, "404", format!("there is no {what}")))
    }

    /// The whole id of the container of this name, by which no other is ever meant.
    pub(super) async fn id_of(&self, name: &str) -> Answer<String> {
        self.id_in(self.inspect(name).await?.id, name)
    }

    pub(super) fn id_in(&self, id: Option<String>, name: &str) -> Answer<String> {
        let nameless =
            || RequestError::unknown(format!("{} has no id", self.name_of("container", name)));
        id.ok_or_else(nameless)
    }

    pub(super) async fn find(&self, name: &str) -> Answer<Option<ContainerInspectResponse>> {
        match self.inspect(name).await {
            Ok(found) => Ok(Some(found)),
            Err(told) if told.is_missing() => Ok(None),
            Err(told) => Err(told),
        }
    }

    pub(super) async fn container(&self, name: &str) -> Answer<Option<Value>> {
        match self.find(name).await? {
            Some(found) => Ok(Some(self.shown(&found).await?)),
            None => Ok(None),
        }
    }

    /// Those that have these labels (Docker docs, *Engine API*, *ContainerList*, `filters`),
    /// running or not.
    pub(super) async fn containers(&self, labels: &Tags) -> Answer<Value> {
        let what = format!("the containers on {}", self.host);
        let wanted: Vec<String> =
            labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let filters = HashMap::from([("label".to_owned(), wanted)]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let all = self.looked(&what, self.client.list_containers(Some(options))).await?;
        let mut shown = vec![];
        // A filter can't tell `a=b` that is `c` from `a` that is `b=c`.
        let has_them = |one: &ContainerSummary| {
            let own = one.labels.as_ref();
            labels.iter().all(|(key, value)| own.and_then(|own| own.get(key)) == Some(value))
        };
        let all = all.into_iter().filter(|one| !is_helper(one) && has_them(one));
        for id in all.filter_map(|container| container.id) {
            // One may go away between the list and the look.
            shown.extend(self.container(&id).await?);
        }
        shown.sort_by_key(|container| container["name"].as_str().map(str::to_owned));
        Ok(Value::from(shown))
    }

    pub(super) async fn shown(&self, found: &ContainerInspectResponse) -> Answer<Value> {
        let running = is_running(found);
        // One that never ran has 0 there (*ContainerInspect*).
        let exited = found.state.as_ref().and_then(|state| state.exit_code);
        let exited = exited.filter(|_| !running && has_run(found));
        Ok(json!({
            "name": name_of(found), "image": image_of(found), "digest": self.digest(found).await?,
            "state": state_of(found), "health": health_of(found),
            "ended": exited.map(|code| ended(found, code)),
            "restart_count": found.restart_count.unwrap_or_default(), "restart": restart_of(found),
            "mounts": mounts_of(found), "ports": published(found), "labels": labels_of(found),
        }))
    }

    /// The digest is the image's own id, which stays; a registry's can become another when the same
    /// image is pulled under one more.
    pub(super) async fn container_facts(&self, name: &str) -> Answer<Value> {
        let Some(found) = self.find(name).await? else { return Ok(Value::Null) };
        let config = found.config.clone().unwrap_or_default();
        Ok(json!({
            "id": found.id, "image": image_of(&found), "digest": found.image,
            "env": env_of(&config.env.unwrap_or_default()), "mounts": mounts_of(&found),
            "ports": ports_of(&found), "command": config.cmd.unwrap_or_default(),
            "restart": restart_of(&found), "running": is_running(&found),
            "paused": is_paused(&found), "networks": networks_of(&found),
            "config": config_of(&found, self.shares_cgroups(&found).await?),
        }))
    }

    /// The digest of the image that a container was made from.
    async fn digest(&self, found: &ContainerInspectResponse) -> Answer<String> {
        let id = found.image.clone().unwrap_or_default();
        match self.find_image(&id).await? {
            Some(image) => Ok(digest_of(&image, &image_of(found))),
            // An image can be gone from under its container.
            None => Ok(id),
        }
    }

    pub(super) async fn find_image(&self, reference: &str) -> Answer<Option<ImageInspect>> {
        let what = self.name_of("image", reference);
        match self.looked(&what, self.client.inspect_image(reference)).await {
            Ok(image) => Ok(Some(image)),
            Err(told) if told.is_missing() => Ok(None),
            Err(told) => Err(told),
        }
    }

    pub(super) async fn image(&self, reference: &str) -> Answer<Option<Value>> {
        let found = self.find_image(reference).await?;
        Ok(found
            .map(|image| json!({ "reference": reference, "digest": digest_of(&image, reference) })))
    }

    pub(super) async fn find_volume(&self, name: &str) -> Answer<Option<Volume>> {
        let what = self.name_of("Docker volume", name);
        match self.looked(&what, self.client.inspect_volume(name)).await {
            Ok(volume) => Ok(Some(volume)),
            Err(told) if told.is_missing() => Ok(None),
            Err(told) => Err(told),
        }
    }

    pub(super) async fn volume(&self, name: &str) -> Answer<Option<Value>> {
        Ok(self.find_volume(name).await?.map(|volume| self.volume_shown(&volume)))
    }

    pub(super) fn volume_shown(&self, volume: &Volume) -> Value {
        json!({ "name": volume.name, "driver": volume.driver, "options": self.options_of(volume) })
    }

    pub(super) async fn volume_facts(&self, name: &str) -> Answer<Value> {
        let Some(found) = self.find_volume(name).await? else { return Ok(Value::Null) };
        let mut facts = json!({ "driver": found.driver, "options": self.options_of(&found) });
        if let Some(id) = identity_of(&found, self.client.client_version()) {
            facts[IDENTITY] = id.into();
        }
        Ok(facts)
    }

    pub(super) fn options_of(&self, volume: &Volume) -> BTreeMap<String, String> {
        let raw = self.raw_options_of(volume).into_iter();
        raw.map(|(key, value)| (key.clone(), shown_option(&key, &value))).collect()
    }

    /// Its options with whatever is in them: to be compared, and not to be shown.
    pub(super) fn raw_options_of(&self, volume: &Volume) -> BTreeMap<String, String> {
        let named = volume.options.iter().map(|(key, value)| match key.as_str() {
            "device" => (key.clone(), self.as_named(value)),
            _ => (key.clone(), value.clone()),
        });
        named.collect()
    }

    /// What carries one of these tokens on its label.
    pub(super) async fn stamped(&self, tokens: &[Token]) -> Answer<Vec<(Token, Resource)>> {
        let what = format!("what Stepback made on {}", self.host);
        let filters = HashMap::from([("label", vec![OPERATION_LABEL])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let containers = self.looked(&what, self.client.list_containers(Some(options))).await?;
        let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
        let volumes = self.looked(&what, self.client.list_volumes(Some(options))).await?;
        let mut found = vec![];
        for container in containers {
            let names = container.names.unwrap_or_default();
            let name = names.first().map(|name| name.trim_start_matches('/').to_owned());
            let labels = container.labels.unwrap_or_default();
            if let (Some(token), Some(name)) = (wanted(&labels, tokens), name) {
                found.push((token, Resource::Container { host: self.host.clone(), name }));
            }
        }
        for volume in volumes.volumes.unwrap_or_default() {
            if let Some(token) = wanted(&volume.labels, tokens) {
                let (host, name) = (self.host.clone(), volume.name);
                found.push((token, Resource::DockerVolume { host, name }));
            }
        }
        Ok(found)
    }
}

/// What tells a Docker volume from another of its name: an engine gives it no id.
///
/// The token of the call that made it is on no other. One that somebody else made has the time of
/// that; engines before 23.0, which speaks API 1.42, tell when something was last put into its root
/// instead, as any container does, so theirs can't be told apart (moby/moby, pull request 44719,
/// *Fix volume CreatedAt being altered on initialization*).
fn identity_of(volume: &Volume, version: ClientVersion) -> Option<String> {
    const TELLS_WHEN: (usize, usize) = (1, 42);
    let token = token_of(Some(&volume.labels)).map(str::to_owned);
    let tells_when = (version.major_version, version.minor_version) >= TELLS_WHEN;
    token.or_else(|| volume.created_at.clone().filter(|_| tells_when))
}

fn wanted(labels: &HashMap<String, String>, tokens: &[Token]) -> Option<Token> {
    let token = labels.get(TOKEN_LABEL)?;
    tokens.iter().find(|wanted| wanted.0 == *token).cloned()
}

pub(super) fn name_of(found: &ContainerInspectResponse) -> String {
    found.name.as_deref().unwrap_or_default().trim_start_matches('/').to_owned()
}

pub(super) fn image_of(found: &ContainerInspectResponse) -> String {
    found.config.as_ref().and_then(|config| config.image.clone()).unwrap_or_default()
}

/// Its state in the engine's own word.
fn state_of(found: &ContainerInspectResponse) -> String {
    let state = found.state.as_ref();
    let status = state.and_then(|state| state.status).map(|status| status.to_string());
    let by_itself = if is_running(found) { "running" } else { "exited" };
    status.filter(|status| !status.is_empty()).unwrap_or_else(|| by_itself.to_owned())
}

fn ended(found: &ContainerInspectResponse, code: i64) -> Value {
    let state = found.state.clone().unwrap_or_default();
    let error = error_of(found);
    json!({
        "exit_code": code, "out_of_memory": state.oom_killed.unwrap_or_default(), "error": error,
    })
}

/// Why its process could not be started, if it could not.
pub(super) fn error_of(found: &ContainerInspectResponse) -> Option<String> {
    let error = found.state.as_ref()?.error.as_deref().filter(|error| !error.is_empty())?;
    Some(without_options(&without_command(error, found)))
}

/// The labels that people gave it, and its image's; Stepback's own are for Stepback.
fn labels_of(found: &ContainerInspectResponse) -> BTreeMap<String, String> {
    let labels = found.config.as_ref().and_then(|config| config.labels.clone());
    let given = labels.unwrap_or_default().into_iter();
    given.filter(|(key, _)| !is_stamp(key)).collect()
}

/// The ports that its host forwards, with those that the engine chose.
fn published(found: &ContainerInspectResponse) -> Vec<Value> {
    let settings = found.network_settings.as_ref();
    let now: Option<&PortMap> = settings.and_then(|settings| settings.ports.as_ref());
    let chosen = |inside: &str| {
        let bindings = now?.get(inside).or_else(|| now?.get(&format!("{inside}/tcp")))?.as_ref()?;
        bindings.first()?.host_port.as_deref()?.parse().ok()
    };
    let all = ports_of(found).into_iter();
    all.filter_map(|port| {
        let inside = port.rsplit_once(':').map_or(port.as_str(), |(_, inside)| inside).to_owned();
        ports::shown(&port, chosen(&inside))
    })
    .collect()
}

pub(super) fn is_running(found: &ContainerInspectResponse) -> bool {
    found.state.as_ref().and_then(|state| state.running).unwrap_or_default()
}

/// Whether its processes are frozen; it counts as running then (*ContainerInspect*).
pub(super) fn is_paused(found: &ContainerInspectResponse) -> bool {
    found.state.as_ref().and_then(|state| state.paused).unwrap_or_default()
}

/// What its health check says; `none` if it has none.
pub(super) fn health_of(found: &ContainerInspectResponse) -> String {
    let health = found.state.as_ref().and_then(|state| state.health.as_ref());
    let status = health.and_then(|health| health.status).map(|status| status.to_string());
    status.filter(|status| !status.is_empty()).unwrap_or_else(|| "none".to_owned())
}

pub(super) fn restart_of(found: &ContainerInspectResponse) -> String {
    let host = found.host_config.as_ref();
    let policy = host.and_then(|host| host.restart_policy.as_ref());
    let Some(policy) = policy else { return "no".to_owned() };
    let name = policy.name.map(|name| name.to_string()).unwrap_or_default();
    match (name.as_str(), policy.maximum_retry_count) {
        ("", _) => "no".to_owned(),
        ("on-failure", Some(count)) if count > 0 => format!("on-failure:{count}"),
        _ => name,
    }
}

/// Its Docker volumes; directories of the host that are bound into it are not volumes.
pub(super) fn mounts_of(found: &ContainerInspectResponse) -> Value {
    let volumes = found.mounts.iter().flatten().filter(|mount| is_volume(mount));
    let mut mounts: Vec<Value> = volumes
        .map(|mount| {
            json!({
                "volume": mount.name, "target": mount.destination,
                "read_only": !mount.rw.unwrap_or(true),
            })
        })
        .collect();
    mounts.sort_by_key(|mount| mount["target"].as_str().map(str::to_owned));
    Value::from(mounts)
}

fn is_volume(mount: &MountPoint) -> bool {
    mount.typ.as_deref() == Some("volume")
}

pub(super) fn env_of(env: &[String]) -> BTreeMap<String, String> {
    let pair = |text: &String| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (key.to_owned(), value.to_owned())
    };
    env.iter().map(pair).collect()
}

/// `host-port:container-port[/protocol]`, tcp left out.
pub(super) fn ports_of(found: &ContainerInspectResponse) -> Vec<String> {
    let host = found.host_config.as_ref();
    let bindings: Option<&PortMap> = host.and_then(|host| host.port_bindings.as_ref());
    let mut ports = vec![];
    for (inside, outside) in bindings.into_iter().flatten() {
        for binding in outside.iter().flatten() {
            let port = binding.host_port.as_deref().unwrap_or_default();
            let at = match binding.host_ip.as_deref().unwrap_or_default() {
                "" => String::new(),
                ip if ip.contains(':') => format!("[{ip}]:"),
                ip => format!("{ip}:"),
            };
            ports.push(format!("{at}{port}:{}", inside.trim_end_matches("/tcp")));
        }
    }
    ports.sort();
    ports
}

/// The addresses that people gave a container on a network (Docker docs, *docker container run*,
/// *--ip*); one that the engine chose is not among them.
pub(super) fn given_address(endpoint: &EndpointSettings) -> Option<&EndpointIpamConfig> {
    let is_given = |address: &Option<String>| address.as_ref().is_some_and(|ip| !ip.is_empty());
    let given = endpoint.ipam_config.as_ref();
    given.filter(|given| is_given(&given.ipv4_address) || is_given(&given.ipv6_address))
}

/// The networks it is on, each with the names and addresses that people gave it there; not those
/// that the engine adds at a start.
fn networks_of(found: &ContainerInspectResponse) -> BTreeMap<String, Value> {
    let host_name = found.config.as_ref().and_then(|config| config.hostname.clone());
    let own = [own_name_of(found), host_name];
    let networks = found.network_settings.as_ref().and_then(|set| set.networks.as_ref());
    let one = |(name, endpoint): (&String, &EndpointSettings)| {
        let mut aliases = endpoint.aliases.clone().unwrap_or_default();
        aliases.retain(|alias| !own.iter().flatten().any(|own| own == alias));
        aliases.sort();
        let mut shown = json!({ "aliases": aliases });
        if let Some(given) = given_address(endpoint) {
            shown["address"] = json!([given.ipv4_address, given.ipv6_address]);
        }
        (name.clone(), shown)
    };
    networks.into_iter().flatten().map(one).collect()
}

/// By default a container's name for itself is the beginning of its id, and so is an alias.
pub(super) fn own_name_of(found: &ContainerInspectResponse) -> Option<String> {
    found.id.as_ref().map(|id| id.chars().take(12).collect())
}

/// The digest by which registries know the image; without any, its own id.
pub(super) fn digest_of(image: &ImageInspect, reference: &str) -> String {
    let name = ImageName::of(reference);
    let digests: Vec<(&str, &str)> =
        image.repo_digests.iter().flatten().filter_map(|text| text.split_once('@')).collect();
    let own = digests.iter().find(|(repo, _)| ImageName::of(repo).same_repo(&name));
    let known = own.or(digests.first()).map(|(_, digest)| (*digest).to_owned());
    known.or_else(|| image.id.clone()).unwrap_or_default()
}

/// Whether a registry knows the image by this name: it was pulled from there, or pushed.
pub(super) fn is_pullable(image: &ImageInspect, reference: &str) -> bool {
    let name = ImageName::of(reference);
    let digests = image.repo_digests.iter().flatten().filter_map(|text| text.split_once('@'));
    digests.into_iter().any(|(repo, _)| ImageName::of(repo).same_repo(&name))
}

/// Whether a container ever ran; one that was only created has no start (*ContainerInspect*).
pub(super) fn has_run(found: &ContainerInspectResponse) -> bool {
    let started = found.state.as_ref().and_then(|state| state.started_at.as_deref());
    started.is_some_and(|at| !at.is_empty() && !at.starts_with("0001-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_docker_volume_is_known_by_who_made_it_or_when() {
        let volume = |token: Option<&str>, at: &str| Volume {
            labels: token
                .map(|token| (TOKEN_LABEL.to_owned(), token.to_owned()))
                .into_iter()
                .collect(),
            created_at: Some(at.to_owned()),
            ..Volume::default()
        };
        let version = |minor_version| ClientVersion { major_version: 1, minor_version };
        let (first, later) = ("2026-11-26T02:26:49Z", "2026-11-26T02:26:52Z");
        let of = |token, at, minor| identity_of(&volume(token, at), version(minor));
        assert_ne!(of(None, first, 42), of(None, later, 42), "made anew");
        assert_eq!(of(None, first, 41), None, "it changes while the volume is the same");
        assert_eq!(of(Some("one"), first, 41), of(Some("one"), later, 41));
        assert_ne!(of(Some("one"), first, 41), of(Some("other"), first, 41));
    }
}
