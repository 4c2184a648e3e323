//! A living environment as a world, and a world as what there is in it.

use super::read::engine;
use super::world::{
    Attachment, Container, DockerVolume, Engine, FileSystem, Instance, Pool, PoolTarget,
    RegistryImage, Snapshot, Volume, World,
};
use crate::read::options_shown;
use stepback_core::{Failure, Shared};
use stepback_provider::Provider;
use stepback_provider::inventory::{
    FoundAttachment, FoundContainer, FoundEngine, FoundFileSystem, FoundInstance, FoundPool,
    FoundPoolTarget, FoundSnapshot, FoundVolume, Inventory,
};

/// A world, and what of the environment is not in it.
#[derive(Clone, Debug, Default)]
pub struct Imported {
    /// What was found, as a simulated environment can begin with it.
    pub world: World,
    /// What could not be looked at, or has no place in a world; one line each.
    pub left_out: Vec<String>,
}

/// Read everything that there is.
///
/// The values of containers' environment variables are masked, and each in another way: by equal
/// ones a guess that somebody gave a container could be told. A snapshot is taken to hold the file
/// system of its volume, which no API tells.
///
/// # Errors
/// A cloud that can't be read. An engine that can't is left out, and named.
pub async fn import(provider: &dyn Provider) -> Result<Imported, Failure> {
    let mut found = Inventory::default();
    provider.import(&mut found).await?;
    let left_out = std::mem::take(&mut found.left_out);
    Ok(Imported::new(World::from(found), left_out))
}

impl Imported {
    /// What is found in a world, made fit to be shown.
    pub fn new(mut world: World, left_out: Vec<String>) -> Self {
        fill_snapshots(&mut world);
        world.mask_environments();
        let volumes = world.engines.values_mut().flat_map(|engine| engine.volumes.values_mut());
        volumes.for_each(|volume| volume.options = options_shown(&volume.options));
        Self { world, left_out }
    }
}

fn fill_snapshots(world: &mut World) {
    for snapshot in world.snapshots.values_mut().filter(|snapshot| snapshot.filesystem.is_none()) {
        let volume = world.volumes.get(&snapshot.volume);
        let on_volume = volume.and_then(|volume| volume.filesystem.as_ref());
        snapshot.filesystem = on_volume.map(|found| FileSystem {
            kind: found.kind.clone(),
            size_gib: found.size_gib.min(snapshot.size_gib),
        });
    }
}

impl World {
    /// Mask the values of containers' environment variables, each in another way.
    pub fn mask_environments(&mut self) {
        let engines = self.engines.values_mut();
        let containers = engines.flat_map(|engine| engine.containers.values_mut());
        let values = containers.flat_map(|container| container.spec.env.values_mut());
        for (number, value) in values.enumerate() {
            *value = format!("masked-{}", number + 1);
        }
    }
}

/// Each as it is there.
fn all<A, B: From<A>>(
    from: impl IntoIterator<Item = (String, A)>,
) -> impl Iterator<Item = (String, B)> {
    from.into_iter().map(|(id, one)| (id, one.into()))
}

impl From<Inventory> for World {
    fn from(found: Inventory) -> Self {
        let image = |digest| RegistryImage {
            digest,
            healthy: true,
            dies: false,
            is_killed: false,
            exit_code: 0,
        };
        let registry = found.registry.into_iter();
        Self {
            instances: all(found.instances).collect(),
            volumes: all(found.volumes).collect(),
            snapshots: all(found.snapshots).collect(),
            engines: all::<_, Engine>(found.engines).map(|(id, one)| (id, one.into())).collect(),
            pools: all(found.pools).collect(),
            registry: registry.map(|(name, digest)| (name, image(digest))).collect(),
            modification_cooldown_s: found.modification_cooldown_s,
            ..Self::default()
        }
    }
}

impl From<FoundPool> for Pool {
    fn from(seen: FoundPool) -> Self {
        let targets = seen.targets.into_iter().map(|(name, one)| {
            let FoundPoolTarget { enabled, weight } = one;
            (name, PoolTarget { enabled, weight, ..PoolTarget::default() })
        });
        let FoundPool { add_enables, is_used, .. } = seen;
        Self { targets: targets.collect(), add_enables, is_used, ..Self::default() }
    }
}

impl From<FoundInstance> for Instance {
    fn from(seen: FoundInstance) -> Self {
        Self {
            state: seen.state,
            instance_type: seen.instance_type,
            zone: seen.zone,
            private_ip: seen.private_ip,
            tags: seen.tags,
            stamp: None,
            max_attachments: None,
            own_disks: vec![],
            listed_from_ms: 0,
        }
    }
}

impl From<FoundVolume> for Volume {
    fn from(seen: FoundVolume) -> Self {
        let attachment =
            |at: FoundAttachment| Attachment { instance: at.instance, device: at.device };
        Self {
            size_gib: seen.size_gib,
            volume_type: seen.volume_type,
            iops: seen.iops,
            throughput_mibps: seen.throughput_mibps,
            encrypted: seen.encrypted,
            key_state: None,
            zone: seen.zone,
            attachments: seen.attachments.into_iter().map(attachment).collect(),
            snapshot: seen.snapshot,
            filesystem: seen.filesystem.map(FileSystem::from),
            tags: seen.tags,
            modified_at_s: None,
            stamp: None,
            listed_from_ms: 0,
        }
    }
}

impl From<FoundFileSystem> for FileSystem {
    fn from(FoundFileSystem { kind, size_gib }: FoundFileSystem) -> Self {
        Self { kind, size_gib }
    }
}

impl From<FileSystem> for FoundFileSystem {
    fn from(FileSystem { kind, size_gib }: FileSystem) -> Self {
        Self { kind, size_gib }
    }
}

impl From<FoundSnapshot> for Snapshot {
    fn from(seen: FoundSnapshot) -> Self {
        Self {
            volume: seen.volume,
            size_gib: seen.size_gib,
            encrypted: seen.encrypted,
            key_state: None,
            filesystem: seen.filesystem.map(FileSystem::from),
            tags: seen.tags,
            stamp: None,
            listed_from_ms: 0,
        }
    }
}

impl From<FoundEngine> for Engine {
    fn from(seen: FoundEngine) -> Self {
        let volume = |options| DockerVolume { id: String::new(), options, stamp: None };
        let volumes = seen.volumes.into_iter();
        Self {
            containers: all(seen.containers).collect(),
            images: seen.images,
            volumes: volumes.map(|(name, options)| (name, volume(options))).collect(),
            listening: vec![],
        }
    }
}

impl From<FoundContainer> for Container {
    fn from(seen: FoundContainer) -> Self {
        Self {
            id: String::new(),
            spec: seen.spec,
            digest: seen.digest,
            running: seen.running,
            paused: seen.paused,
            exit_code: seen.exit_code,
            went_down: false,
            auto_remove: seen.auto_remove,
            config: seen.config,
            stamp: None,
        }
    }
}

impl World {
    /// The world as somebody finds it who comes now: without what the simulator keeps for itself,
    /// without instances that are gone, and without engines that do not answer, which are named.
    pub fn into_found(mut self) -> (Self, Vec<String>) {
        self.instances.retain(|_, instance| instance.state != "terminated");
        let hosts: Vec<String> = self.engines.keys().cloned().collect();
        let mut left_out = vec![];
        for host in hosts {
            if let Err(failure) = engine(&self, &host) {
                self.engines.remove(&host);
                left_out.push(failure.message);
            }
        }
        for instance in self.instances.values_mut() {
            (instance.stamp, instance.listed_from_ms) = (None, 0);
        }
        for volume in self.volumes.values_mut() {
            (volume.stamp, volume.listed_from_ms) = (None, 0);
        }
        for snapshot in self.snapshots.values_mut() {
            (snapshot.stamp, snapshot.listed_from_ms) = (None, 0);
        }
        for engine in self.engines.values_mut() {
            for container in engine.containers.values_mut() {
                (container.id, container.stamp) = (String::new(), None);
            }
            for volume in engine.volumes.values_mut() {
                (volume.id, volume.stamp) = (String::new(), None);
            }
        }
        let (effects, epochs) = (Shared::default(), Shared::default());
        let found = Self { id: String::new(), effects, epochs, created: 0, ..self };
        (found, left_out)
    }

    /// What there is in it, without what only a world has.
    pub(super) fn show(self, found: &mut Inventory) {
        let (world, left_out) = self.into_found();
        found.left_out.extend(left_out);
        found.modification_cooldown_s = world.modification_cooldown_s;
        found.instances.extend(all(world.instances));
        found.volumes.extend(all(world.volumes));
        found.snapshots.extend(all(world.snapshots));
        let engines = world.engines.into_iter();
        found.engines.extend(engines.map(|(id, one)| (id, Engine::clone(&one).into())));
        found.pools.extend(all(world.pools));
        let registry = world.registry.into_iter();
        found.registry.extend(registry.map(|(name, image)| (name, image.digest)));
    }
}

impl From<Pool> for FoundPool {
    fn from(one: Pool) -> Self {
        let Pool { targets, add_enables, is_used, .. } = one;
        let targets = targets.into_iter().map(|(name, one)| {
            (name, FoundPoolTarget { enabled: one.enabled, weight: one.weight })
        });
        Self { targets: targets.collect(), add_enables, is_used }
    }
}

impl From<Instance> for FoundInstance {
    fn from(one: Instance) -> Self {
        let Instance { state, instance_type, zone, private_ip, tags, .. } = one;
        Self { state, instance_type, zone, private_ip, tags }
    }
}

impl From<Volume> for FoundVolume {
    fn from(one: Volume) -> Self {
        let attachment =
            |at: Attachment| FoundAttachment { instance: at.instance, device: at.device };
        Self {
            size_gib: one.size_gib,
            volume_type: one.volume_type,
            iops: one.iops,
            throughput_mibps: one.throughput_mibps,
            encrypted: one.encrypted,
            zone: one.zone,
            attachments: one.attachments.into_iter().map(attachment).collect(),
            snapshot: one.snapshot,
            filesystem: one.filesystem.map(FoundFileSystem::from),
            tags: one.tags,
        }
    }
}

impl From<Snapshot> for FoundSnapshot {
    fn from(one: Snapshot) -> Self {
        let Snapshot { volume, size_gib, encrypted, filesystem, tags, .. } = one;
        let filesystem = filesystem.map(FoundFileSystem::from);
        Self { volume, size_gib, encrypted, filesystem, tags }
    }
}

impl From<Engine> for FoundEngine {
    fn from(one: Engine) -> Self {
        let volumes = one.volumes.into_iter().map(|(name, volume)| (name, volume.options));
        Self {
            containers: all(one.containers).collect(),
            images: one.images,
            volumes: volumes.collect(),
        }
    }
}

impl From<Container> for FoundContainer {
    fn from(one: Container) -> Self {
        let Container { spec, digest, running, paused, exit_code, auto_remove, config, .. } = one;
        Self { spec, digest, running, paused, exit_code, auto_remove, config }
    }
}
