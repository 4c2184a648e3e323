//! Effects on containers, images and Docker volumes, with the Engine API's own status codes
//! (Docker docs, *Docker Engine API*).

use super::ec2::{grow, make};
use super::pausing;
use super::read::{
    attached, container, container_json, engine, image_of, keeps_dying, volume_answer,
};
use super::refusals::{misplaced, missing, refused};
use super::world::{Container, DockerVolume, Engine, World};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use stepback_core::calls::{ContainerSpec, DockerCall, run_once_name};
use stepback_core::{Call, ContainerName, Failure, FailureClass, InstanceId, Token};
use stepback_core::{docker_reads, docker_waits};
use stepback_provider::engines;
use stepback_provider::ports::{self, Port, Published};
use stepback_provider::restart::Policy;

type Answer = Result<Value, Failure>;

/// How a container exits whose process is killed (Docker docs, *docker container run*, *Exit
/// status*).
const KILLED: i32 = 137;

pub(super) fn engine_mut<'a>(
    world: &'a mut World,
    host: &InstanceId,
) -> Result<&'a mut Engine, Failure> {
    engine(world, host.as_str())?;
    Ok(world.engines.entry(host.0.clone()).or_default())
}

fn container_mut<'a>(
    world: &'a mut World,
    host: &InstanceId,
    name: &str,
) -> Result<&'a mut Container, Failure> {
    let engine = engine_mut(world, host)?;
    let name = engine.container(name).map_or(name.to_owned(), |(named, _)| named.clone());
    let found = engine.containers.get_mut(&name);
    found.ok_or_else(|| missing("404", &format!("container `{name}` on {host}")))
}

/// Make the effect; `is_cut_off` says that nobody waits for a command any more.
pub(super) fn apply(world: &mut World, call: &Call, token: &Token, is_cut_off: bool) -> Answer {
    let host = call.host().ok_or_else(|| misplaced(call))?;
    // Whatever is asked for, the engine has to answer first.
    engine(world, host.as_str())?;
    stepback_provider::rules::must_make_sense(call)?;
    match call {
        Call::Docker(DockerCall::PullImage { host, image }) => pull(world, host, image.as_str()),
        Call::Docker(DockerCall::TagImage { host, image, digest }) => {
            tag_image(world, host, image.as_str(), digest)
        }
        Call::Docker(DockerCall::RemoveImage { host, image }) => {
            remove_image(world, host, image.as_str())
        }
        Call::Docker(DockerCall::CreateContainer { host, container, spec }) => {
            create(world, host, container.as_str(), spec, token)
        }
        Call::Docker(DockerCall::StartContainer { host, container }) => {
            start(world, host, container.as_str())
        }
        Call::Docker(DockerCall::StopContainer { host, container, .. }) => {
            stop(world, host, container.as_str())
        }
        Call::Docker(DockerCall::PauseContainer { host, container }) => {
            pausing::pause(container_mut(world, host, container.as_str())?)?;
            shown(world, host, container.as_str())
        }
        Call::Docker(DockerCall::UnpauseContainer { host, container }) => {
            pausing::unpause(container_mut(world, host, container.as_str())?)?;
            shown(world, host, container.as_str())
        }
        Call::Docker(DockerCall::RenameContainer { host, container, to }) => {
            rename(world, host, container, to)
        }
        Call::Docker(DockerCall::UpdateContainer { host, container, restart }) => {
            container_mut(world, host, container.as_str())?.spec.restart = as_shown(restart);
            Ok(Value::Null)
        }
        Call::Docker(DockerCall::RemoveContainer { host, container }) => {
            remove(world, host, container.as_str())
        }
        Call::Docker(DockerCall::RunOnce { host, spec, .. }) => {
            run_once(world, host, spec, token, is_cut_off)
        }
        Call::Docker(DockerCall::Exec { host, container, command, .. }) => {
            exec(world, host, container.as_str(), command)
        }
        Call::Docker(DockerCall::CreateVolume { host, volume, options }) => {
            create_volume(world, host, volume.as_str(), options, token)
        }
        Call::Docker(DockerCall::RemoveVolume { host, volume }) => {
            remove_volume(world, host, volume.as_str())
        }
        Call::Docker(DockerCall::MakeFileSystem { host, volume, filesystem_type }) => {
            attached(world, host, volume)?;
            make(world, volume, filesystem_type)
        }
        Call::Docker(DockerCall::GrowFileSystem { host, volume }) => {
            attached(world, host, volume)?;
            grow(world, volume)
        }
        Call::Ec2(_)
        | Call::Ebs(_)
        | Call::Docker(docker_reads!() | docker_waits!())
        | Call::LoadBalancer(_)
        | Call::Effects(_)
        | Call::Clock(_) => Err(misplaced(call)),
    }
}

fn pull(world: &mut World, host: &InstanceId, image: &str) -> Answer {
    let digest = world.served(image).map(|image| image.digest.clone());
    let digest = digest.ok_or_else(|| missing("404", &format!("manifest for `{image}`")))?;
    set_image(engine_mut(world, host)?, image, &digest);
    Ok(json!({ "reference": image, "digest": digest }))
}

fn remove(world: &mut World, host: &InstanceId, name: &str) -> Answer {
    if container_mut(world, host, name)?.running {
        return Err(refused("409", format!("container `{name}` is running")));
    }
    engine_mut(world, host)?.containers.remove(name);
    Ok(Value::Null)
}

fn tag_image(world: &mut World, host: &InstanceId, image: &str, digest: &str) -> Answer {
    let engine = engine_mut(world, host)?;
    if !engine.images.values().any(|known| known == digest) {
        return Err(missing("404", &format!("image {digest} on {host}")));
    }
    set_image(engine, image, digest);
    Ok(Value::Null)
}

/// Make a name mean an image; the one that it meant before is still known by its digest.
fn set_image(engine: &mut Engine, image: &str, digest: &str) {
    let name = match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    };
    if let Some(old) = engine.images.insert(image.to_owned(), digest.to_owned())
        && old != digest
    {
        engine.images.insert(format!("{name}@{old}"), old);
        engine.images.remove(&format!("{name}@{digest}"));
    }
}

fn remove_image(world: &mut World, host: &InstanceId, image: &str) -> Answer {
    let engine = engine_mut(world, host)?;
    let uses = |container: &Container| container.spec.image == image;
    if let Some((user, _)) = engine.containers.iter().find(|(_, one)| uses(one)) {
        let message = format!("image `{image}` is in use by container `{user}`");
        return Err(refused("409", message));
    }
    match engine.images.remove(image) {
        Some(_) => Ok(Value::Null),
        None => Err(missing("404", &format!("image `{image}` on {host}"))),
    }
}

pub(super) fn shown(world: &World, host: &InstanceId, name: &str) -> Answer {
    let found = container(world, host.as_str(), name)?;
    Ok(container_json(world, name, found))
}

/// A restart policy as an engine shows it.
fn as_shown(restart: &str) -> String {
    Policy::parse(restart).map_or_else(|| restart.to_owned(), |policy| policy.to_string())
}

/// Fill what was not given from the container it is like.
fn complete(world: &World, spec: &ContainerSpec) -> Result<ContainerSpec, Failure> {
    let mut whole = spec.clone();
    let Some(like) = whole.like.take() else {
        if whole.restart.is_empty() {
            whole.restart = "no".into();
        }
        return Ok(whole);
    };
    let model = container(world, &like.host, &like.container)?.spec.clone();
    if whole.image.is_empty() {
        whole.image = model.image;
    }
    if whole.command.is_empty() {
        whole.command = model.command;
    }
    if whole.mounts.is_empty() {
        whole.mounts = model.mounts;
    }
    if whole.ports.is_empty() {
        whole.ports = model.ports;
    }
    if whole.restart.is_empty() {
        whole.restart = model.restart;
    }
    for (key, value) in model.env {
        whole.env.entry(key).or_insert(value);
    }
    for (key, value) in model.labels {
        whole.labels.entry(key).or_insert(value);
    }
    Ok(whole)
}

/// What is in a call's way and stays there: a port that somebody has where a container like another
/// one goes, a container that would be gone when it is stopped.
pub(super) fn nothing_is_in_its_way(world: &World, call: &Call) -> Result<(), Failure> {
    match call {
        Call::Docker(DockerCall::CreateContainer { host, spec, .. })
            if let Some(like) = &spec.like =>
        {
            // What it is to be like is looked for when it is made.
            let Ok(whole) = complete(world, spec) else { return Ok(()) };
            let except = (like.host == host.0).then_some(like.container.as_str());
            ports_must_be_free(world, host, &whole.ports, except)
        }
        Call::Docker(DockerCall::PullImage { image, .. })
            if world.served(image.as_str()).is_none() =>
        {
            Err(missing("404", &format!("image {image} in its registry")))
        }
        // Without an image it is the ports alone that are asked for.
        Call::Docker(DockerCall::CreateContainer { host, spec, .. }) if spec.image.is_empty() => {
            ports_must_be_free(world, host, &spec.ports, None)
        }
        Call::Docker(DockerCall::StopContainer { host, container: name, .. }) => {
            match container(world, host.as_str(), name.as_str()) {
                Ok(found) if found.paused => Err(ports::is_paused(host.as_str(), name.as_str())),
                Ok(found) if found.running && found.auto_remove => {
                    Err(ports::removes_itself(host.as_str(), name.as_str()))
                }
                Ok(_) | Err(_) => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

fn ports_must_be_free(
    world: &World,
    host: &InstanceId,
    wanted: &[String],
    except: Option<&str>,
) -> Result<(), Failure> {
    let Ok(engine) = engine(world, host.as_str()) else { return Ok(()) };
    let published = |ports: &[String]| -> Vec<Published> {
        ports.iter().filter_map(|port| Published::parse(port)).collect()
    };
    let running = engine.containers.iter().filter(|(_, one)| one.running);
    let others = running.filter(|(name, _)| Some(name.as_str()) != except);
    let others: Vec<_> =
        others.map(|(name, one)| (name.clone(), published(&one.spec.ports))).collect();
    let wanted = published(wanted);
    ports::must_be_free(host.as_str(), &wanted, &others)?;
    let held = engine.listening.iter().filter_map(|port| Published::listening(port));
    ports::must_not_be_held(host.as_str(), &wanted, &held.collect::<Vec<_>>())
}

fn rename(
    world: &mut World,
    host: &InstanceId,
    container: &ContainerName,
    to: &ContainerName,
) -> Answer {
    let engine = engine_mut(world, host)?;
    if engine.containers.contains_key(to.as_str()) {
        return Err(refused("409", format!("the name `{to}` is in use on {host}")));
    }
    let named = engine.container(container.as_str()).map(|(named, _)| named.clone());
    let found = named.and_then(|named| engine.containers.remove(&named));
    let found =
        found.ok_or_else(|| missing("404", &format!("container `{container}` on {host}")))?;
    engine.containers.insert(to.0.clone(), found);
    Ok(Value::Null)
}

fn create(
    world: &mut World,
    host: &InstanceId,
    name: &str,
    spec: &ContainerSpec,
    token: &Token,
) -> Answer {
    let model = spec.like.as_ref().map(|like| container(world, &like.host, &like.container));
    let config = model.transpose()?.map(|model| model.config.clone()).unwrap_or_default();
    let mut spec = complete(world, spec)?;
    spec.restart = as_shown(&spec.restart);
    for port in &mut spec.ports {
        // A world's file may have what no engine would take; it stays as it is.
        *port = Port::parse(port).map_or_else(|_| port.clone(), |read| read.to_string());
    }
    if !is_name(name) {
        let message = format!("invalid container name ({name})");
        return Err(Failure::new(FailureClass::InvalidInput, message).with_code("400"));
    }
    let id = world.new_id("container");
    let engine = engine_mut(world, host)?;
    let theirs = engine.containers.values().flat_map(|one| &one.spec.ports);
    spec.ports = ports::with_kept(&spec.ports, &ports::of_host(theirs), 0)?;
    if let Some(other) = engine.containers.get(name) {
        // The same request again, after its first answer was lost.
        return match other.stamp.as_ref() == Some(&token.0) {
            true => shown(world, host, name),
            false => Err(refused("409", format!("the name `{name}` is in use on {host}"))),
        };
    }
    let digest = engine.image(&spec.image).cloned();
    let digest =
        digest.ok_or_else(|| missing("404", &format!("image {} on {host}", spec.image)))?;
    // Docker would make an empty one by the way; the provider for Docker refuses that too.
    if let Some(mount) = spec.mounts.iter().find(|one| !engine.volumes.contains_key(&one.volume)) {
        return Err(missing("404", &format!("Docker volume `{}` on {host}", mount.volume)));
    }
    let stamp = Some(token.0.clone());
    let made = Container {
        id,
        spec,
        digest,
        running: false,
        paused: false,
        exit_code: None,
        went_down: false,
        auto_remove: false,
        config,
        stamp,
    };
    engine.containers.insert(name.to_owned(), made);
    shown(world, host, name)
}

/// Two characters at least, the first a letter or digit (Docker docs, *Engine API*,
/// *ContainerCreate*).
fn is_name(name: &str) -> bool {
    let mut all = name.chars();
    let begins = all.next().is_some_and(|first| first.is_ascii_alphanumeric());
    let fits = |one: char| one.is_ascii_alphanumeric() || "_.-".contains(one);
    begins && name.len() > 1 && all.all(fits)
}

/// A start mounts the container's volumes, so each device must be there and used by nobody else.
pub(super) fn start(world: &mut World, host: &InstanceId, name: &str) -> Answer {
    let found = container(world, host.as_str(), name)?;
    if found.paused {
        return Err(refused("409", format!("container `{name}` on {host} is paused: unpause it")));
    }
    if found.running {
        return shown(world, host, name);
    }
    for mount in found.spec.mounts.clone() {
        let engine = engine(world, host.as_str())?;
        let named = engine.volumes.get(&mount.volume);
        let Some(device) = named.and_then(|volume| volume.options.get("device")).cloned() else {
            continue;
        };
        let on = named.and_then(|volume| world.device_of(volume));
        let here = on.is_some_and(|(_, v)| v.attachments.iter().any(|a| a.instance == host.0));
        let (true, Some((_, volume))) = (here, on) else {
            let message =
                format!("error while mounting volume `{}`: no such device {device}", mount.volume);
            return Err(refused("500", message));
        };
        let kind = volume.filesystem.as_ref().map_or("none", |fs| fs.kind.as_str());
        let wanted = named.and_then(|v| v.options.get("type")).map_or("", String::as_str);
        if kind != wanted {
            let message = format!("mounting {device} as {wanted} failed: it holds {kind}");
            return Err(refused("500", message));
        }
    }
    let ports = found.spec.ports.clone();
    if let Err(failure) = ports_must_be_free(world, host, &ports, Some(name)) {
        return Err(Failure { class: FailureClass::Transient, ..failure });
    }
    let dies = keeps_dying(world, container(world, host.as_str(), name)?);
    let found = container_mut(world, host, name)?;
    // What dies is started again by its policy, and seen up.
    let stays = !dies || found.spec.restart != "no";
    let exit_code = (!stays).then_some(1);
    (found.running, found.exit_code, found.went_down) = (stays, exit_code, false);
    shown(world, host, name)
}

fn stop(world: &mut World, host: &InstanceId, name: &str) -> Answer {
    let image = image_of(world, container(world, host.as_str(), name)?);
    let exit_code = if image.is_some_and(|image| image.is_killed) { KILLED } else { 0 };
    let found = container_mut(world, host, name)?;
    let is_gone = found.running && found.auto_remove;
    if found.running {
        (found.running, found.paused, found.exit_code) = (false, false, Some(exit_code));
    }
    let answer = shown(world, host, name);
    if is_gone {
        engine_mut(world, host)?.containers.remove(name);
    }
    answer
}

fn run_once(
    world: &mut World,
    host: &InstanceId,
    spec: &ContainerSpec,
    token: &Token,
    is_cut_off: bool,
) -> Answer {
    let name = run_once_name(token);
    create(world, host, &name, spec, token)?;
    // One that ran under the same token does not run again.
    if let Some(exit_code) = container(world, host.as_str(), &name)?.exit_code {
        return Ok(command_answer(exit_code, &spec.command));
    }
    let started = start(world, host, &name);
    if let Err(failure) = started {
        engine_mut(world, host)?.containers.remove(&name);
        return Err(failure);
    }
    // The exited container stays until its outcome is durable: it is what a lost answer is
    // settled by.
    let exit_code = match is_cut_off {
        true => KILLED,
        false => world.registry.get(&spec.image).map_or(0, |image| image.exit_code),
    };
    let ran = container_mut(world, host, &name)?;
    (ran.running, ran.exit_code, ran.went_down) = (false, Some(exit_code), true);
    match is_cut_off {
        true => {
            Ok(engines::command_result(engines::CUT_OFF, engines::STOPPED_BY_CANCEL.to_owned()))
        }
        false => Ok(command_answer(exit_code, &spec.command)),
    }
}

/// A command in a container that runs; one that does not is a conflict (Docker docs, *Docker
/// Engine API*, *ContainerExec*).
fn exec(world: &mut World, host: &InstanceId, name: &str, command: &[String]) -> Answer {
    let found = container(world, host.as_str(), name)?;
    if !found.running || found.paused {
        let state = if found.paused { "paused" } else { "not running" };
        return Err(refused("409", format!("container `{name}` on {host} is {state}")));
    }
    let image = world.registry.values().find(|image| image.digest == found.digest);
    Ok(command_answer(image.map_or(0, |image| image.exit_code), command))
}

pub(super) fn command_answer(exit_code: i32, command: &[String]) -> Value {
    json!({ "exit_code": exit_code, "output": format!("simulated: {}", command.join(" ")) })
}

/// As Docker does, a name that exists keeps its old options; other ones are refused here,
/// because whoever asked would mount another device than it meant.
fn create_volume(
    world: &mut World,
    host: &InstanceId,
    name: &str,
    options: &BTreeMap<String, String>,
    token: &Token,
) -> Answer {
    let id = world.new_id("volume");
    let engine = engine_mut(world, host)?;
    match engine.volumes.get(name) {
        Some(old) if old.options != *options => {
            let message = format!("Docker volume `{name}` on {host} has other options");
            return Err(refused("409", message));
        }
        Some(_) => {}
        None => {
            let stamp = Some(token.0.clone());
            let made = DockerVolume { id, options: options.clone(), stamp };
            engine.volumes.insert(name.to_owned(), made);
        }
    }
    Ok(volume_answer(name, options))
}

fn remove_volume(world: &mut World, host: &InstanceId, name: &str) -> Answer {
    let engine = engine_mut(world, host)?;
    let uses = |c: &Container| c.spec.mounts.iter().any(|mount| mount.volume == name);
    if let Some((user, _)) = engine.containers.iter().find(|(_, c)| uses(c)) {
        let message = format!("Docker volume `{name}` is in use by container `{user}`");
        return Err(refused("409", message));
    }
    match engine.volumes.remove(name) {
        Some(_) => Ok(Value::Null),
        None => Err(missing("404", &format!("Docker volume `{name}` on {host}"))),
    }
}
