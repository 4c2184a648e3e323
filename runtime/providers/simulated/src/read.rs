//! Answering reads and waits from the world as it is.

use super::refusals::{misplaced, missing};
use super::world::{Container, DockerVolume, Instance, RegistryImage, Snapshot, Volume, World};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use stepback_core::calls::{DockerCall, EbsCall, Ec2Call, LoadBalancerCall, Performance, Tags};
use stepback_core::{Call, Failure, FailureClass, InstanceId, SnapshotId, UnixMs, VolumeId};
use stepback_core::{
    docker_effects, docker_reads, docker_waits, ebs_effects, ebs_reads, ec2_effects, ec2_reads,
};
use stepback_provider::ports;
use stepback_provider::volume_options::shown_option;

pub(super) fn instance<'a>(world: &'a World, id: &str) -> Result<&'a Instance, Failure> {
    let found = world.instances.get(id);
    found.ok_or_else(|| missing("InvalidInstanceID.NotFound", &format!("instance `{id}`")))
}

pub(super) fn volume<'a>(world: &'a World, id: &VolumeId) -> Result<&'a Volume, Failure> {
    let found = world.volumes.get(id.as_str());
    found.ok_or_else(|| missing("InvalidVolume.NotFound", &format!("volume `{id}`")))
}

fn snapshot(world: &World, id: &SnapshotId) -> Result<Value, Failure> {
    let found = world.snapshots.get(id.as_str()).map(|s| snapshot_json(id.as_str(), s));
    found.ok_or_else(|| missing("InvalidSnapshot.NotFound", &format!("snapshot `{id}`")))
}

pub(super) fn instance_json(world: &World, id: &str, instance: &Instance) -> Value {
    let attached = world.volumes.iter().flat_map(|(volume, found)| {
        let here = found.attachments.iter().filter(|at| at.instance == id);
        here.map(move |at| json!({ "device": at.device, "volume": volume }))
    });
    let mut devices: Vec<Value> = attached.collect();
    devices.sort_by_key(|one| one["device"].as_str().map(str::to_owned));
    json!({
        "id": id, "state": instance.state, "instance_type": instance.instance_type,
        "zone": instance.zone, "private_ip": instance.private_ip, "tags": instance.tags,
        "devices": devices,
    })
}

pub(super) fn volume_json(id: &str, volume: &Volume) -> Value {
    let state = if volume.attachments.is_empty() { "available" } else { "in-use" };
    let Performance { iops, throughput_mibps } = volume.performance();
    json!({
        "id": id, "state": state, "size_gib": volume.size_gib, "volume_type": volume.volume_type,
        "iops": iops, "throughput_mibps": throughput_mibps, "encrypted": volume.encrypted,
        "zone": volume.zone, "attachments": volume.attachments, "snapshot": volume.snapshot,
        "tags": volume.tags,
    })
}

pub(super) fn snapshot_json(id: &str, snapshot: &Snapshot) -> Value {
    json!({
        "id": id, "volume": snapshot.volume, "state": "completed",
        "size_gib": snapshot.size_gib, "tags": snapshot.tags,
    })
}

pub(super) fn container_json(world: &World, name: &str, container: &Container) -> Value {
    json!({
        "name": name, "image": container.spec.image, "digest": container.digest,
        "state": state(container), "health": health(world, container), "ended": ended(container),
        "restart_count": 0, "restart": policy(container), "mounts": container.spec.mounts,
        "ports": ports::all_shown(&container.spec.ports), "labels": container.spec.labels,
    })
}

/// Its restart policy; a world file need not name one.
pub(super) fn policy(container: &Container) -> &str {
    match container.spec.restart.as_str() {
        "" => "no",
        given => given,
    }
}

fn state(container: &Container) -> &'static str {
    match (container.running, container.exit_code) {
        (true, _) if container.paused => "paused",
        (true, _) => "running",
        (false, Some(_)) => "exited",
        (false, None) => "created",
    }
}

/// How it ended, where it ran.
fn ended(container: &Container) -> Value {
    match container.exit_code.filter(|_| !container.running) {
        Some(code) => json!({ "exit_code": code, "out_of_memory": false, "error": null }),
        None => Value::Null,
    }
}

/// What a host does not show: nothing on it knows of volumes that are attached elsewhere.
pub(super) fn no_device(host: &str, id: &VolumeId) -> Failure {
    let message = format!("volume `{id}` does not show up on {host}: is it attached?");
    Failure::new(FailureClass::Precondition, message).with_code("ENOENT")
}

pub(super) fn shows(world: &World, host: &str, id: &VolumeId) -> bool {
    let found = world.volumes.get(id.as_str());
    found.is_some_and(|volume| volume.attachments.iter().any(|at| at.instance == host))
}

/// The image of a container, with how its containers behave.
pub(super) fn image_of<'a>(world: &'a World, container: &Container) -> Option<&'a RegistryImage> {
    world.registry.values().find(|image| image.digest == container.digest)
}

/// Whether its restart policy starts it again and again; to a look it is up.
pub(super) fn keeps_dying(world: &World, container: &Container) -> bool {
    image_of(world, container).is_some_and(|image| image.dies)
}

/// A container is healthy when it runs and its image's containers ever are.
fn health(world: &World, container: &Container) -> &'static str {
    match (container.running, image_of(world, container)) {
        (false, _) => "none",
        (true, Some(image)) if !image.healthy => "unhealthy",
        (true, _) => "healthy",
    }
}

pub(super) fn container<'a>(
    world: &'a World,
    host: &str,
    name: &str,
) -> Result<&'a Container, Failure> {
    let found = engine(world, host)?.container(name).map(|(_, found)| found);
    found.ok_or_else(|| missing("404", &format!("container `{name}` on {host}")))
}

/// The engine of a host; it answers only while its instance runs.
pub(super) fn engine<'a>(
    world: &'a World,
    host: &str,
) -> Result<&'a super::world::Engine, Failure> {
    let instance = instance(world, host)?;
    match instance.state.as_str() {
        "running" => {}
        "terminated" => return Err(stepback_provider::engines::gone(host)),
        state => return Err(stepback_provider::engines::down(host, state)),
    }
    let found = world.engines.get(host);
    // Nobody can tell it from one that is not up yet.
    found
        .map(|one| &**one)
        .ok_or_else(|| stepback_provider::engines::down(host, "running without one"))
}

fn carries(tags: &Tags, wanted: &Tags) -> bool {
    wanted.iter().all(|(key, value)| tags.get(key) == Some(value))
}

/// Answer a read; what was created after `now` less the lag of lists is found by its id only.
pub fn answer(world: &World, call: &Call, now: UnixMs) -> Result<Value, Failure> {
    let is_listed = |from_ms: u64| from_ms <= now.0;
    match call {
        Call::Ec2(Ec2Call::Describe { instance: id }) => {
            instance(world, id.as_str()).map(|found| instance_json(world, id.as_str(), found))
        }
        Call::Ec2(Ec2Call::Find { tags }) => {
            let alive = world.instances.iter().filter(|(_, i)| i.state != "terminated");
            let found =
                alive.filter(|(_, i)| is_listed(i.listed_from_ms) && carries(&i.tags, tags));
            Ok(found.map(|(id, i)| instance_json(world, id, i)).collect())
        }
        Call::Ebs(EbsCall::Describe { volume: id }) => {
            volume(world, id).map(|found| volume_json(id.as_str(), found))
        }
        Call::Ebs(EbsCall::Find { tags }) => {
            let listed = world.volumes.iter().filter(|(_, v)| is_listed(v.listed_from_ms));
            let found = listed.filter(|(_, v)| carries(&v.tags, tags));
            Ok(found.map(|(id, v)| volume_json(id, v)).collect())
        }
        Call::Ebs(EbsCall::DescribeSnapshot { snapshot: id }) => snapshot(world, id),
        Call::Ebs(EbsCall::FindSnapshots { tags }) => {
            let listed = world.snapshots.iter().filter(|(_, s)| is_listed(s.listed_from_ms));
            let found = listed.filter(|(_, s)| carries(&s.tags, tags));
            Ok(found.map(|(id, s)| snapshot_json(id, s)).collect())
        }
        _ => docker(world, call),
    }
}

fn docker(world: &World, call: &Call) -> Result<Value, Failure> {
    match call {
        Call::Docker(DockerCall::InspectContainer { host, container: name }) => {
            let found = engine(world, host.as_str())?.containers.get(name.as_str());
            Ok(found.map_or(Value::Null, |c| container_json(world, name.as_str(), c)))
        }
        Call::Docker(DockerCall::ListContainers { host }) => {
            let all = engine(world, host.as_str())?.containers.iter();
            Ok(all.map(|(name, c)| container_json(world, name, c)).collect())
        }
        Call::Docker(DockerCall::FindContainers { host, labels }) => {
            let all = engine(world, host.as_str())?.containers.iter();
            let has = |container: &Container| {
                let own = &container.spec.labels;
                labels.iter().all(|(key, value)| own.get(key) == Some(value))
            };
            let found = all.filter(|(_, container)| has(container));
            Ok(found.map(|(name, c)| container_json(world, name, c)).collect())
        }
        Call::Docker(DockerCall::InspectImage { host, image }) => {
            let found = engine(world, host.as_str())?.image(image.as_str());
            let image = |digest| json!({ "reference": image, "digest": digest });
            Ok(found.map_or(Value::Null, image))
        }
        Call::Docker(DockerCall::InspectVolume { host, volume: name }) => {
            let found = engine(world, host.as_str())?.volumes.get(name.as_str());
            let shown = |one: &DockerVolume| volume_answer(name.as_str(), &one.options);
            Ok(found.map_or(Value::Null, shown))
        }
        Call::Docker(DockerCall::FileSystem { host, volume }) => {
            file_system(world, host.as_str(), volume)
        }
        // A simulated host has its tools, and a simulated registry is open to everybody.
        Call::Docker(DockerCall::CheckHelper { host }) => {
            engine(world, host.as_str()).map(|_| Value::Null)
        }
        Call::Docker(DockerCall::Logs { host, container: name, .. }) => {
            let found = container(world, host.as_str(), name.as_str())?;
            let state = if found.running { "running" } else { "stopped" };
            Ok(json!([format!("simulated container {name} is {state}")]))
        }
        Call::Ec2(_)
        | Call::Ebs(_)
        | Call::Docker(docker_waits!() | docker_effects!())
        | Call::LoadBalancer(_)
        | Call::Effects(_)
        | Call::Clock(_) => Err(misplaced(call)),
    }
}

/// A host's tools see only the devices that it shows.
pub(super) fn attached(world: &World, host: &InstanceId, volume: &VolumeId) -> Result<(), Failure> {
    engine(world, host.as_str())?;
    match shows(world, host.as_str(), volume) {
        true => Ok(()),
        false => Err(no_device(host.as_str(), volume)),
    }
}

fn file_system(world: &World, host: &str, id: &VolumeId) -> Result<Value, Failure> {
    attached(world, &host.into(), id)?;
    let found = volume(world, id)?;
    Ok(json!(found.filesystem.as_ref().map_or("none", |fs| fs.kind.as_str())))
}

/// How long a wait may take.
pub fn timeout_ms(call: &Call) -> u64 {
    match call {
        Call::Ec2(Ec2Call::WaitState { timeout_ms, .. })
        | Call::Ebs(EbsCall::WaitVolume { timeout_ms, .. })
        | Call::Ebs(EbsCall::WaitSnapshot { timeout_ms, .. })
        | Call::Docker(DockerCall::WaitHealthy { timeout_ms, .. })
        | Call::Docker(DockerCall::WaitEngine { timeout_ms, .. })
        | Call::Docker(DockerCall::WaitDevice { timeout_ms, .. })
        | Call::Docker(DockerCall::WaitUnmounted { timeout_ms, .. })
        | Call::LoadBalancer(LoadBalancerCall::WaitHealthy { timeout_ms, .. })
        | Call::LoadBalancer(LoadBalancerCall::WaitDrained { timeout_ms, .. }) => *timeout_ms,
        _ => 0,
    }
}

/// The wait's answer, if what it waits for is so by now.
///
/// # Errors
/// What can't become so any more, unless it is transient: an engine may answer later.
pub fn wait_over(world: &World, call: &Call) -> Result<Option<Value>, Failure> {
    match call {
        Call::Ec2(Ec2Call::WaitState { instance: id, state, .. }) => {
            let found = instance(world, id.as_str())?;
            if found.state == "terminated" && state != "terminated" {
                let message = format!("instance `{id}` is terminated");
                return Err(Failure::new(FailureClass::Precondition, message));
            }
            Ok((found.state == *state).then(|| instance_json(world, id.as_str(), found)))
        }
        Call::Ebs(EbsCall::WaitVolume { volume: id, state, .. }) => {
            let found = volume_json(id.as_str(), volume(world, id)?);
            Ok((found["state"] == state.as_str()).then_some(found))
        }
        Call::Ebs(EbsCall::WaitSnapshot { snapshot: id, .. }) => snapshot(world, id).map(Some),
        Call::Docker(DockerCall::WaitEngine { host, .. }) => {
            engine(world, host.as_str()).map(|_| Some(Value::Null))
        }
        Call::Docker(DockerCall::WaitHealthy { host, container: name, .. }) => {
            let found = container(world, host.as_str(), name.as_str())?;
            if found.running && keeps_dying(world, found) {
                let why = format!(
                    "container `{name}` on {host} does not stay up: it ended, and was started again"
                );
                return Err(Failure::new(FailureClass::Precondition, why).with_code("not-running"));
            }
            // It answers nobody until it goes on, whatever its last check said.
            if found.paused {
                return Ok(None);
            }
            match health(world, found) {
                "healthy" => Ok(Some(container_json(world, name.as_str(), found))),
                "none" => {
                    let message = format!("container `{name}` on {host} is not running");
                    Err(Failure::new(FailureClass::Precondition, message).with_code("not-running"))
                }
                _ => {
                    let message = format!("container `{name}` on {host} is unhealthy");
                    Err(Failure::new(FailureClass::Precondition, message).with_code("unhealthy"))
                }
            }
        }
        Call::Docker(DockerCall::WaitDevice { host, volume: id, .. }) => {
            engine(world, host.as_str())?;
            let is_there = shows(world, host.as_str(), id);
            is_there.then(|| file_system(world, host.as_str(), id)).transpose()
        }
        Call::Docker(DockerCall::WaitUnmounted { host, volume: id, .. }) => {
            engine(world, host.as_str())?;
            // Of a device that does not show up nothing can be told.
            let is_over = shows(world, host.as_str(), id)
                && world.mounted_by(host.as_str(), id.as_str()).is_empty();
            Ok(is_over.then_some(Value::Null))
        }
        Call::Ec2(ec2_reads!() | ec2_effects!())
        | Call::Ebs(ebs_reads!() | ebs_effects!())
        | Call::Docker(docker_reads!() | docker_effects!())
        | Call::LoadBalancer(_)
        | Call::Effects(_)
        | Call::Clock(_) => Err(misplaced(call)),
    }
}

pub(super) fn volume_answer(name: &str, options: &BTreeMap<String, String>) -> Value {
    json!({ "name": name, "driver": "local", "options": options_shown(options) })
}

/// As they may be shown.
pub(super) fn options_shown(options: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    options.iter().map(|(key, value)| (key.clone(), shown_option(key, value))).collect()
}
