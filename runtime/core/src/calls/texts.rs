//! The texts of what calls have in them.

use super::{ContainerSpec, Like, Mount, Performance};
use crate::texts::{Change, MapTexts};

impl MapTexts for Performance {
    fn map_texts(&self, _: Change<'_>) -> Self {
        *self
    }
}

impl MapTexts for Mount {
    fn map_texts(&self, change: Change<'_>) -> Self {
        let (volume, target) = (change(&self.volume), change(&self.target));
        Self { volume, target, read_only: self.read_only }
    }
}

impl MapTexts for Like {
    fn map_texts(&self, change: Change<'_>) -> Self {
        Self { host: change(&self.host), container: change(&self.container) }
    }
}

impl MapTexts for ContainerSpec {
    fn map_texts(&self, change: Change<'_>) -> Self {
        let Self { image, command, env, mounts, ports, restart, like } = self;
        Self {
            image: change(image),
            command: command.map_texts(change),
            env: env.map_texts(change),
            mounts: mounts.map_texts(change),
            ports: ports.map_texts(change),
            restart: change(restart),
            like: like.map_texts(change),
        }
    }
}
