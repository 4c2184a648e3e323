//! What is on the engines, as its provider sees it.

use super::Docker;
use super::connect::Engine;
use super::errors::Answer;
use super::script::is_helper;
use super::shapes::is_pullable;
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListImagesOptions, ListVolumesOptions,
};
use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use stepback_core::calls::ContainerSpec;
use stepback_core::grants::{options_with_powers, powers};
use stepback_core::{Facts, Failure};
use stepback_provider::engines::down;
use stepback_provider::inventory::{
    FoundContainer, FoundEngine, FoundFileSystem, FoundInstance, Inventory,
};
use stepback_provider::passwords::MASK;
use tokio::sync::Semaphore;

/// So many engines are looked at side by side.
const AT_ONCE_MAX: usize = 16;
/// An engine that takes longer is left out.
const ENGINE_MS_MAX: u64 = 120_000;

/// What one engine showed.
#[derive(Default)]
struct FoundOnEngine {
    engine: FoundEngine,
    /// Images that a registry knows by these names: reference and digest.
    pullable: BTreeMap<String, String>,
    /// By volume.
    file_systems: BTreeMap<String, FoundFileSystem>,
    left_out: Vec<String>,
}

/// Look at the engine of every instance that runs.
pub(super) async fn all(docker: &Docker, found: &mut Inventory) -> Vec<String> {
    let is_up = |instance: &FoundInstance| instance.state == "running";
    let running = found.instances.iter().filter(|(_, instance)| is_up(instance));
    let hosts: Vec<String> = running.map(|(id, _)| id.clone()).collect();
    let are_down = found.instances.iter().filter(|(_, instance)| !is_up(instance));
    let mut left_out: Vec<String> =
        are_down.map(|(id, instance)| down(id, &instance.state).message).collect();
    let at_once = Semaphore::new(AT_ONCE_MAX);
    let looks = hosts.iter().map(|host| {
        let volumes = attached_to(found, host);
        let at_once = &at_once;
        async move {
            // It is never closed.
            let _turn = at_once.acquire().await;
            let limit = Duration::from_millis(ENGINE_MS_MAX);
            let late = |_| Err(format!("the Docker Engine of {host} did not answer in {limit:?}"));
            let look = look(docker, host, &volumes);
            docker.clock.timeout(limit, look).await.unwrap_or_else(late)
        }
    });
    let seen: Vec<Result<FoundOnEngine, String>> = join_all(looks).await;
    for (host, seen) in hosts.into_iter().zip(seen) {
        match seen {
            Ok(seen) => left_out.extend(put(found, host, seen)),
            Err(why) => left_out.push(why),
        }
    }
    left_out
}

fn attached_to(found: &Inventory, host: &str) -> Vec<String> {
    let volumes = found.volumes.iter();
    let here = volumes.filter(|(_, volume)| volume.attachments.iter().any(|a| a.instance == host));
    here.map(|(id, _)| id.clone()).collect()
}

/// Put what an engine showed to the rest; gives what has no place there.
fn put(found: &mut Inventory, host: String, seen: FoundOnEngine) -> Vec<String> {
    let mut left_out = seen.left_out;
    for (reference, digest) in seen.pullable {
        let known = found.registry.get(&reference);
        if known.is_some_and(|known| *known != digest) {
            left_out.push(format!(
                "image {reference} of {host} in the registry: another instance has another image \
                 by that name"
            ));
            continue;
        }
        found.registry.insert(reference, digest);
    }
    for (volume, file_system) in seen.file_systems {
        if let Some(volume) = found.volumes.get_mut(&volume) {
            volume.filesystem = Some(file_system);
        }
    }
    found.engines.insert(host, seen.engine);
    left_out
}

async fn look(docker: &Docker, host: &str, volumes: &[String]) -> Result<FoundOnEngine, String> {
    let left_out = |failure: Failure| failure.message;
    let engine = docker.engine(host).await.map_err(left_out)?;
    let mut seen = seen_on(&engine).await.map_err(|told| told.failure.message)?;
    let helper = match docker.helper(&engine) {
        Ok(helper) => helper,
        Err(_) if volumes.is_empty() => return Ok(seen),
        Err(failure) => {
            seen.left_out.push(format!("file systems: {}", failure.message));
            return Ok(seen);
        }
    };
    for volume in volumes {
        match helper.facts(volume).await {
            Ok(Value::Null) => {}
            Ok(facts) => {
                let kind = facts["type"].as_str().map(str::to_owned);
                let size_gib = facts["size_gib"].as_u64().and_then(|gib| u32::try_from(gib).ok());
                let both = kind.zip(size_gib);
                let read = both.map(|(kind, size_gib)| FoundFileSystem { kind, size_gib });
                seen.file_systems.extend(read.map(|facts| (volume.clone(), facts)));
            }
            Err(told) => {
                seen.left_out.push(format!("the file system: {}", told.failure.message));
            }
        }
    }
    Ok(seen)
}

async fn seen_on(engine: &Engine) -> Answer<FoundOnEngine> {
    let mut seen = FoundOnEngine::default();
    let what = format!("the containers on {}", engine.host);
    let options = ListContainersOptionsBuilder::new().all(true).build();
    let all = engine.asked(&what, engine.client.list_containers(Some(options))).await?;
    for listed in all {
        if is_helper(&listed) {
            continue;
        }
        let Some(id) = listed.id else { continue };
        // One may go away between the list and the look.
        let Some(shown) = engine.container(&id).await? else { continue };
        let facts = engine.container_facts(&id).await?;
        let name = shown["name"].as_str().unwrap_or_default().to_owned();
        seen.engine.containers.insert(name, container_of(&shown, facts));
    }
    let what = format!("the images on {}", engine.host);
    let images = engine.client.list_images(None::<ListImagesOptions>);
    for listed in engine.asked(&what, images).await? {
        for reference in listed.repo_tags {
            // What has lost its name is an image of nobody (`docker images`, dangling).
            if reference.contains("<none>") {
                continue;
            }
            let Some(image) = engine.find_image(&reference).await? else { continue };
            let digest = super::shapes::digest_of(&image, &reference);
            if is_pullable(&image, &reference) {
                seen.pullable.insert(reference.clone(), digest.clone());
            }
            seen.engine.images.insert(reference, digest);
        }
    }
    let what = format!("the Docker volumes on {}", engine.host);
    let volumes = engine.client.list_volumes(None::<ListVolumesOptions>);
    for volume in engine.asked(&what, volumes).await?.volumes.unwrap_or_default() {
        if volume.driver != "local" {
            let (name, host, driver) = (&volume.name, &engine.host, &volume.driver);
            seen.left_out.push(format!("Docker volume {name} on {host} is of driver {driver}"));
            continue;
        }
        let options = engine.options_of(&volume);
        seen.engine.volumes.insert(volume.name, options);
    }
    Ok(seen)
}

/// A container from what inspecting it shows, and from its facts.
fn container_of(shown: &Value, facts: Value) -> FoundContainer {
    let field = |name: &str| facts[name].clone();
    let text = |name: &str| facts[name].as_str().unwrap_or_default().to_owned();
    // Facts are made here, in these shapes.
    let spec = ContainerSpec {
        image: text("image"),
        command: serde_json::from_value(field("command")).unwrap_or_default(),
        env: serde_json::from_value(field("env")).unwrap_or_default(),
        mounts: serde_json::from_value(field("mounts")).unwrap_or_default(),
        ports: serde_json::from_value(field("ports")).unwrap_or_default(),
        restart: text("restart"),
        // A snapshot leaves out what may be secret, and labels hold whatever people like.
        labels: BTreeMap::new(),
        like: None,
    };
    let exit_code = shown["ended"]["exit_code"].as_i64().and_then(|code| i32::try_from(code).ok());
    let running = facts["running"].as_bool().unwrap_or_default();
    let paused = facts["paused"].as_bool().unwrap_or_default();
    let digest = shown["digest"].as_str().unwrap_or_default().to_owned();
    let auto_remove = facts["config"]["AutoRemove"] == true;
    let config = ways_to_the_host(&facts["config"]);
    FoundContainer { spec, digest, running, paused, exit_code, auto_remove, config }
}

/// The options by which a container reaches its host: what a grant without root does not cover must
/// not be covered in a copy. What they may hold of somebody's secrets is left out.
fn ways_to_the_host(config: &Value) -> BTreeMap<String, Value> {
    let shown = |name: &str, value: &Value| match (name, value) {
        ("Annotations", Value::Object(map)) => {
            map.keys().map(|key| (key.clone(), MASK.into())).collect::<Map<_, _>>().into()
        }
        ("Mounts", Value::Array(all)) => all.iter().map(mount_shown).collect(),
        (_, value) => value.clone(),
    };
    let ways = options_with_powers().filter_map(|name| {
        let value = shown(name, config.get(name)?);
        let alone = json!({ "config": { (name): value } });
        (!powers(&Facts::from_json(alone)).is_empty()).then(|| (name.to_owned(), value))
    });
    ways.collect()
}

fn mount_shown(mount: &Value) -> Value {
    let mut shown = mount.clone();
    if let Some(labels) = shown.pointer_mut("/VolumeOptions/Labels") {
        *labels = json!({});
    }
    // That there are some is what reaches the host.
    if let Some(options) = shown.pointer_mut("/VolumeOptions/DriverConfig/Options") {
        *options = json!({ (MASK): MASK });
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A copy has what reaches its host, and nobody's passwords.
    #[test]
    fn a_container_is_copied_with_its_ways_to_the_host_and_nothing_else() {
        let config = json!({
            "Privileged": true, "Memory": 7, "NetworkMode": "bridge", "PidMode": "host",
            "Binds": ["/etc:/e"], "Annotations": { "k": "PW" }, "Labels": { "k": "PW" },
            "Mounts": [{ "Type": "volume", "Source": "a", "Target": "/a", "VolumeOptions": {
                "Labels": { "k": "PW" }, "DriverConfig": { "Options": { "o": "password=PW" } },
            } }],
        });
        let copied = ways_to_the_host(&config);
        let names: Vec<&str> = copied.keys().map(String::as_str).collect();
        assert_eq!(names, ["Annotations", "Binds", "Mounts", "PidMode", "Privileged"]);
        assert!(!json!(copied).to_string().contains("PW"), "{copied:?}");
        let facts = |config: Value| Facts::from_json(json!({ "config": config }));
        assert_eq!(powers(&facts(json!(copied))).len(), powers(&facts(config)).len());
        assert!(ways_to_the_host(&json!({ "Memory": 7, "Binds": ["data:/d"] })).is_empty());
    }
}
