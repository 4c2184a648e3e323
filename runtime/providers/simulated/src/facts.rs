//! What whoever looks at a world is shown of it: the facts that count, and what carries a stamp.
//!
//! Of an engine whose instance does not run nothing is shown, and nothing is taken for absent
//! there: it does not answer.

use super::pools;
use super::read::{engine, options_shown, policy, shows};
use super::world::{Container, DockerVolume, Engine, Instance, Snapshot, Volume, World};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use stepback_core::calls::Performance;
use stepback_core::resource::IDENTITY;
use stepback_core::{Facts, Failure, Resource, ResourceKind, Token, UnixMs};
use stepback_provider::Stamped;
use stepback_provider::engines::{ONE_BY_ONE, is_gone};

impl World {
    /// The facts of a resource, as whoever looks sees it.
    ///
    /// # Errors
    /// An engine that does not answer.
    pub fn seen(&self, resource: &Resource, now: UnixMs) -> Result<Facts, Failure> {
        match resource {
            Resource::Volume { .. } | Resource::Snapshot { .. } | Resource::Instance { .. } => {
                Ok(self.facts(resource))
            }
            Resource::Container { host, .. }
            | Resource::Image { host, .. }
            | Resource::DockerVolume { host, .. } => self.on_engine(host, || self.facts(resource)),
            // What is not attached there does not show up there.
            Resource::FileSystem { host, volume } => {
                self.on_engine(host, || match shows(self, host, &volume.as_str().into()) {
                    true => self.facts(resource),
                    false => Facts::Absent,
                })
            }
            Resource::Containers { .. } => Ok(Facts::Unknown(ONE_BY_ONE.to_owned())),
            Resource::Pool { .. } => Ok(Facts::Absent),
            Resource::PoolTarget { pool, host, port } => {
                Ok(self.target(pool, &host.as_str().into(), *port, now)?.facts())
            }
            Resource::Created { kind, host, token } => {
                let found = self.carrying(&[Token(token.clone())], host.as_deref(), now);
                match found.only(*kind)? {
                    Some(named) => self.seen(&named, now),
                    None => Ok(Facts::Absent),
                }
            }
        }
    }

    fn on_engine(&self, host: &str, facts: impl FnOnce() -> Facts) -> Result<Facts, Failure> {
        match engine(self, host) {
            Ok(_) => Ok(facts()),
            Err(failure) if is_gone(&failure) => Ok(Facts::Absent),
            Err(failure) => Err(failure),
        }
    }

    /// What carries one of these stamps and is listed by now: everywhere, or on one host only.
    pub fn carrying(&self, tokens: &[Token], only_on: Option<&str>, now: UnixMs) -> Stamped {
        let mut told = Stamped::default();
        if tokens.is_empty() {
            return told;
        }
        if only_on.is_none() {
            told.found = tokens.iter().flat_map(|token| self.of_the_cloud(token, now)).collect();
        }
        let hosts = match only_on {
            Some(only) => vec![only],
            None => self.engines.keys().map(String::as_str).collect(),
        };
        for host in hosts {
            match engine(self, host) {
                Ok(engine) => {
                    told.found.extend(tokens.iter().flat_map(|token| on_host(host, engine, token)));
                }
                Err(failure) if is_gone(&failure) => {}
                Err(failure) => told.not_asked.push((host.to_owned(), failure.message)),
            }
        }
        told
    }

    fn of_the_cloud(&self, token: &Token, now: UnixMs) -> Vec<(Token, Resource)> {
        let is = |stamp: &Option<String>, listed_from_ms: u64| {
            stamp.as_ref() == Some(&token.0) && listed_from_ms <= now.0
        };
        let mut found = vec![];
        for (id, _) in self.volumes.iter().filter(|(_, v)| is(&v.stamp, v.listed_from_ms)) {
            found.push(Resource::Volume { id: id.clone() });
        }
        for (id, _) in self.snapshots.iter().filter(|(_, s)| is(&s.stamp, s.listed_from_ms)) {
            found.push(Resource::Snapshot { id: id.clone() });
        }
        let is_it = |i: &Instance| i.state != "terminated" && is(&i.stamp, i.listed_from_ms);
        for (id, _) in self.instances.iter().filter(|(_, i)| is_it(i)) {
            found.push(Resource::Instance { id: id.clone() });
        }
        found.into_iter().map(|resource| (token.clone(), resource)).collect()
    }

    /// The facts, whether anybody could be asked for them or not.
    pub fn facts(&self, resource: &Resource) -> Facts {
        let all = match resource {
            Resource::Volume { id } => self.volumes.get(id).map(volume_facts),
            Resource::Snapshot { id } => self.snapshots.get(id).map(snapshot_facts),
            Resource::Instance { id } => self
                .instances
                .get(id)
                .filter(|instance| instance.state != "terminated")
                .map(instance_facts),
            Resource::Container { host, name } => {
                let found = self.engines.get(host).and_then(|engine| engine.container(name));
                found.map(|(_, found)| container_facts(found))
            }
            Resource::Image { host, image } => {
                let engine = self.engines.get(host);
                engine.and_then(|e| e.image(image)).map(|digest| json!({ "digest": digest }))
            }
            Resource::DockerVolume { host, name } => {
                let volume = self.engines.get(host).and_then(|e| e.volumes.get(name));
                volume.map(volume_on_engine_facts)
            }
            Resource::FileSystem { volume, .. } => {
                let on = self.volumes.get(volume).and_then(|v| v.filesystem.as_ref());
                on.map(|fs| json!({ "type": fs.kind, "size_gib": fs.size_gib }))
            }
            Resource::PoolTarget { pool, host, port } => {
                self.pools.get(pool).map(|pool| match pool.targets.get(&format!("{host}:{port}")) {
                    Some(one) => pool_target_facts(true, one.enabled, Some(one.weight)),
                    None => pool_target_facts(false, false, None),
                })
            }
            Resource::Containers { .. } | Resource::Pool { .. } | Resource::Created { .. } => None,
        };
        Facts::from_json(all.unwrap_or(Value::Null))
    }

    /// Every resource that is there, with the facts that count; images in caches are left out,
    /// and a file system is on no host.
    pub fn all_facts(&self) -> BTreeMap<Resource, Facts> {
        let mut all: Vec<Resource> = vec![];
        all.extend(self.volumes.keys().map(|id| Resource::Volume { id: id.clone() }));
        all.extend(self.snapshots.keys().map(|id| Resource::Snapshot { id: id.clone() }));
        all.extend(self.instances.keys().map(|id| Resource::Instance { id: id.clone() }));
        for (host, engine) in &self.engines {
            let (h, c) = (host.clone(), engine.containers.keys());
            all.extend(c.map(|name| Resource::Container { host: h.clone(), name: name.clone() }));
            let v = engine.volumes.keys();
            all.extend(v.map(|n| Resource::DockerVolume { host: h.clone(), name: n.clone() }));
        }
        for (pool, found) in &self.pools {
            all.extend(found.targets.keys().filter_map(|name| pools::resource(pool, name)));
        }
        for id in self.volumes.keys() {
            all.push(Resource::FileSystem { host: String::new(), volume: id.clone() });
        }
        let with_facts = all.into_iter().map(|resource| {
            let facts = self.facts(&resource);
            (resource, facts)
        });
        with_facts.filter(|(_, facts)| !facts.is_absent()).collect()
    }

    /// The same as a text: two worlds with the same one are the same to a rollback.
    pub fn restorable(&self) -> String {
        let all = self.all_facts();
        let mut lines: Vec<String> =
            all.iter().map(|(resource, facts)| format!("{resource} {facts}")).collect();
        lines.sort();
        lines.join("\n")
    }
}

fn on_host(host: &str, engine: &Engine, token: &Token) -> Vec<(Token, Resource)> {
    let is = |stamp: &Option<String>| stamp.as_ref() == Some(&token.0);
    let mut found = vec![];
    for (name, _) in engine.containers.iter().filter(|(_, c)| is(&c.stamp)) {
        found.push(Resource::Container { host: host.to_owned(), name: name.clone() });
    }
    for (name, _) in engine.volumes.iter().filter(|(_, v)| is(&v.stamp)) {
        found.push(Resource::DockerVolume { host: host.to_owned(), name: name.clone() });
    }
    found.into_iter().map(|resource| (token.clone(), resource)).collect()
}

fn counted(kind: ResourceKind, all: Value) -> Value {
    let counts = |name: &String| {
        kind.counted().contains(&name.as_str()) || kind.has_identity() && name == IDENTITY
    };
    debug_assert!(all.as_object().is_some_and(|map| map.keys().all(counts)));
    all
}

fn volume_facts(volume: &Volume) -> Value {
    let Performance { iops, throughput_mibps } = volume.performance();
    counted(
        ResourceKind::Volume,
        json!({
            "size_gib": volume.size_gib, "type": volume.volume_type, "iops": iops,
            "throughput_mibps": throughput_mibps, "encrypted": volume.encrypted,
            "zone": volume.zone,
            "attachments": volume.attachments, "tags": volume.tags, "snapshot": volume.snapshot,
        }),
    )
}

fn snapshot_facts(snapshot: &Snapshot) -> Value {
    counted(
        ResourceKind::Snapshot,
        json!({ "volume": snapshot.volume, "size_gib": snapshot.size_gib, "tags": snapshot.tags }),
    )
}

fn instance_facts(instance: &Instance) -> Value {
    counted(
        ResourceKind::Instance,
        json!({
            "state": instance.state, "type": instance.instance_type, "zone": instance.zone,
            "tags": instance.tags,
        }),
    )
}

fn pool_target_facts(present: bool, enabled: bool, weight: Option<u32>) -> Value {
    let mut facts = json!({ "present": present, "enabled": enabled });
    if let Some(weight) = weight {
        facts["weight"] = weight.into();
    }
    counted(ResourceKind::PoolTarget, facts)
}

fn volume_on_engine_facts(volume: &DockerVolume) -> Value {
    counted(
        ResourceKind::DockerVolume,
        json!({ "id": volume.id, "driver": "local", "options": options_shown(&volume.options) }),
    )
}

fn container_facts(container: &Container) -> Value {
    let spec = &container.spec;
    counted(
        ResourceKind::Container,
        json!({
            "id": container.id, "image": spec.image, "digest": container.digest, "env": spec.env,
            "mounts": spec.mounts, "ports": spec.ports, "command": spec.command,
            "restart": policy(container), "running": container.running,
            "paused": container.paused, "networks": {}, "config": container.config,
        }),
    )
}
