//! Changing every text that is data, and none that is a name of ours.
//!
//! Secrets are put into calls and taken out of answers by text. In JSON the two kinds of text look
//! alike, so a secret that happens to be `image` would break every call that has an `image`. Typed
//! values know which of their texts came from outside.

use crate::ids::*;
use crate::resource::{Facts, Resource};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// What to make of a text.
pub type Change<'a> = &'a dyn Fn(&str) -> String;

/// Something that holds texts from outside.
pub trait MapTexts: Sized {
    /// The same with each of its texts changed, keys of maps included.
    fn map_texts(&self, change: Change<'_>) -> Self;

    /// Each of its texts, keys of maps included.
    fn texts(&self) -> Vec<String> {
        let all = RefCell::new(vec![]);
        self.map_texts(&|text| {
            all.borrow_mut().push(text.to_owned());
            String::new()
        });
        all.into_inner()
    }
}

impl MapTexts for String {
    fn map_texts(&self, change: Change<'_>) -> Self {
        change(self)
    }
}

macro_rules! of_ids {
    ($($id:ident),+) => {$(
        impl MapTexts for $id {
            fn map_texts(&self, change: Change<'_>) -> Self {
                Self(change(&self.0))
            }
        }
    )+};
}

of_ids!(InstanceId, VolumeId, SnapshotId, ContainerName, ImageRef, DockerVolumeName, PoolName);

macro_rules! without_texts {
    ($($plain:ty),+) => {$(
        impl MapTexts for $plain {
            fn map_texts(&self, _: Change<'_>) -> Self {
                *self
            }
        }
    )+};
}

without_texts!(bool, u16, u32, u64);

impl<T: MapTexts> MapTexts for Vec<T> {
    fn map_texts(&self, change: Change<'_>) -> Self {
        self.iter().map(|one| one.map_texts(change)).collect()
    }
}

impl<T: MapTexts> MapTexts for Option<T> {
    fn map_texts(&self, change: Change<'_>) -> Self {
        self.as_ref().map(|one| one.map_texts(change))
    }
}

impl<T: MapTexts> MapTexts for BTreeMap<String, T> {
    fn map_texts(&self, change: Change<'_>) -> Self {
        self.iter().map(|(key, value)| (change(key), value.map_texts(change))).collect()
    }
}

impl MapTexts for Resource {
    fn map_texts(&self, change: Change<'_>) -> Self {
        match self {
            Resource::Volume { id } => Resource::Volume { id: change(id) },
            Resource::Snapshot { id } => Resource::Snapshot { id: change(id) },
            Resource::Instance { id } => Resource::Instance { id: change(id) },
            Resource::Container { host, name } => {
                Resource::Container { host: change(host), name: change(name) }
            }
            Resource::Image { host, image } => {
                Resource::Image { host: change(host), image: change(image) }
            }
            Resource::DockerVolume { host, name } => {
                Resource::DockerVolume { host: change(host), name: change(name) }
            }
            Resource::FileSystem { host, volume } => {
                Resource::FileSystem { host: change(host), volume: change(volume) }
            }
            Resource::Containers { host } => Resource::Containers { host: change(host) },
            Resource::Pool { pool } => Resource::Pool { pool: change(pool) },
            Resource::PoolTarget { pool, host, port } => {
                Resource::PoolTarget { pool: change(pool), host: change(host), port: *port }
            }
            // A token is a hash, and must stay what it is.
            Resource::Created { kind, host, token } => Resource::Created {
                kind: *kind,
                host: host.map_texts(change),
                token: token.clone(),
            },
        }
    }
}

impl MapTexts for Facts {
    /// The names of facts are ours, and stay.
    fn map_texts(&self, change: Change<'_>) -> Self {
        match self {
            Facts::Absent => Facts::Absent,
            Facts::Unknown(why) => Facts::Unknown(change(why)),
            Facts::Present(map) => {
                let mapped =
                    |(name, value): (&String, &Value)| (name.clone(), value.map_texts(change));
                Facts::Present(map.iter().map(mapped).collect())
            }
        }
    }
}

/// Every text of it, keys included: nothing tells which are names of ours.
impl MapTexts for Value {
    fn map_texts(&self, change: Change<'_>) -> Self {
        match self {
            Value::String(text) => Value::String(change(text)),
            Value::Array(list) => list.iter().map(|item| item.map_texts(change)).collect(),
            Value::Object(object) => {
                let mapped = object.iter().map(|(key, item)| (change(key), item.map_texts(change)));
                Value::Object(mapped.collect())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => self.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::{Call, DockerCall};

    #[test]
    fn names_of_ours_are_left_alone() {
        let image = |text: &str| text.replace("image", "X");
        let call =
            Call::Docker(DockerCall::PullImage { host: "i-1".into(), image: "my-image".into() });
        let mapped = call.map_texts(&image);
        assert_eq!(
            mapped,
            Call::Docker(DockerCall::PullImage { host: "i-1".into(), image: "my-X".into() })
        );
        let facts = serde_json::json!({ "image": "image:1", "tags": { "image": "image" } });
        let wanted = serde_json::json!({ "image": "X:1", "tags": { "X": "X" } });
        assert_eq!(Facts::from_json(facts).map_texts(&image), Facts::from_json(wanted));
    }
}
