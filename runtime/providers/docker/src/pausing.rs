//! Freezing a container and letting it go on (Docker docs, *Engine API*, *ContainerPause*,
//! *ContainerUnpause*).

use super::connect::Engine;
use super::errors::Answer;
use super::shapes::{is_paused, is_running};
use serde_json::Value;
use stepback_core::calls::DockerCall;
use stepback_core::{Call, ContainerName};

/// The container, and whether it is to be frozen.
fn wanted(call: &Call) -> Answer<(&ContainerName, bool)> {
    match call {
        Call::Docker(DockerCall::PauseContainer { container, .. }) => Ok((container, true)),
        Call::Docker(DockerCall::UnpauseContainer { container, .. }) => Ok((container, false)),
        other => Err(super::misplaced(other).into()),
    }
}

impl Engine {
    /// Freeze every process of a container, or let them go on.
    pub(super) async fn set_paused(&self, call: &Call) -> Answer<Value> {
        let (name, is_wanted) = wanted(call)?;
        let what = self.name_of("container", name.as_str());
        let id = self.id_of(name.as_str()).await?;
        match is_wanted {
            true => self.asked(&what, self.client.pause_container(&id)).await?,
            false => self.asked(&what, self.client.unpause_container(&id)).await?,
        }
        self.shown_after(&id).await
    }

    /// The container, if it runs and is frozen, or is not, as it is wanted.
    pub(super) async fn settle_pause(&self, call: &Call) -> Answer<Option<Value>> {
        let (name, is_wanted) = wanted(call)?;
        let found = self.find(name.as_str()).await?;
        match found.filter(|found| is_running(found) && is_paused(found) == is_wanted) {
            Some(found) => Ok(Some(self.shown(&found).await?)),
            None => Ok(None),
        }
    }
}
