//! Freezing a container and letting it go on (Docker docs, *Engine API*, *ContainerPause*,
//! *ContainerUnpause*).

use super::refusals::refused;
use super::world::Container;
use stepback_core::Failure;

/// Freeze one that runs.
pub(super) fn pause(found: &mut Container) -> Result<(), Failure> {
    match (found.running, found.paused) {
        (false, _) => Err(refused("409", "the container is not running".to_owned())),
        (true, true) => Err(refused("409", "the container is paused already".to_owned())),
        (true, false) => {
            found.paused = true;
            Ok(())
        }
    }
}

/// Let it go on; one that is not frozen does so already.
pub(super) fn unpause(found: &mut Container) -> Result<(), Failure> {
    if !found.running {
        return Err(refused("500", "the container is not paused".to_owned()));
    }
    found.paused = false;
    Ok(())
}
