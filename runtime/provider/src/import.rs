//! A living environment as a world of the simulator: read, written down, and nothing changed.

use crate::Provider;
use crate::simulated::world::{FileSystem, World};
use std::collections::BTreeMap;
use stepback_core::Failure;

/// A world, and what of the environment is not in it.
#[derive(Clone, Debug, Default)]
pub struct Imported {
    pub world: World,
    /// What could not be looked at, or has no place in a world; one line each.
    pub left_out: Vec<String>,
}

/// Read everything that there is.
///
/// The values of containers' environment variables are masked: equal ones alike, and none of them
/// can be found out. A snapshot is taken to hold the file system of its volume, which no API tells.
///
/// # Errors
/// A cloud that can't be read. An engine that can't is left out, and named.
pub async fn import(provider: &dyn Provider) -> Result<Imported, Failure> {
    let mut world = World::default();
    let left_out = provider.import(&mut world).await?;
    fill_snapshots(&mut world);
    mask_environments(&mut world);
    Ok(Imported { world, left_out })
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

fn mask_environments(world: &mut World) {
    let mut masks: BTreeMap<String, String> = BTreeMap::new();
    let engines = world.engines.values_mut();
    for container in engines.flat_map(|engine| engine.containers.values_mut()) {
        for value in container.spec.env.values_mut() {
            let next = format!("masked-{}", masks.len() + 1);
            *value = masks.entry(std::mem::take(value)).or_insert(next).clone();
        }
    }
}
