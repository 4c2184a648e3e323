//! The instances of a onebox: Docker Engines of this machine, which its configuration names.
//!
//! None of them is made, stopped or resized by a call.

use async_trait::async_trait;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use stepback_core::calls::Ec2Call;
use stepback_core::{Call, Failure, FailureClass};
use stepback_docker::Hosts;
use stepback_provider::endpoint::Endpoint;
use stepback_simulated::world::{Instance, World};

/// The zone of instances that name none.
pub(super) const ZONE: &str = "onebox";

/// What a onebox is made of.
#[derive(Clone, Debug)]
pub struct OneboxConfig {
    /// Where volumes, snapshots and the ledger are.
    pub root: PathBuf,
    /// By the id that manifests name them by.
    pub instances: BTreeMap<String, OneboxInstance>,
}

/// An instance: a Docker Engine of this machine.
#[derive(Clone, Debug)]
pub struct OneboxInstance {
    /// Where its engine listens.
    pub docker: Endpoint,
    /// Only volumes of the same zone can be attached to it; `None` is the zone `onebox`.
    pub zone: Option<String>,
    /// What the ports of its containers are reached by.
    pub address: IpAddr,
}

/// Where the engines of a onebox are, and where each sees the devices attached to it.
pub struct OneboxHosts {
    config: OneboxConfig,
}

/// Instances are what the configuration says; their tags are kept.
pub(super) fn set_instances(
    world: &mut World,
    wanted: &BTreeMap<String, OneboxInstance>,
) -> Result<(), Failure> {
    for (id, instance) in wanted {
        let zone = instance.zone.clone().unwrap_or_else(|| ZONE.to_owned());
        let kept = world.instances.remove(id);
        let now = Instance {
            state: "running".to_owned(),
            instance_type: "onebox".to_owned(),
            zone,
            private_ip: Some(instance.address.to_string()),
            tags: kept.map(|kept| kept.tags).unwrap_or_default(),
            stamp: None,
            max_attachments: None,
            own_disks: vec![],
            listed_from_ms: 0,
        };
        world.instances.insert(id.clone(), now);
    }
    let attached = world.volumes.iter().flat_map(|(id, volume)| {
        volume.attachments.iter().map(move |at| (at.instance.as_str(), id.as_str()))
    });
    let lost = attached.into_iter().find(|(instance, _)| !wanted.contains_key(*instance));
    if let Some((instance, volume)) = lost {
        let message = format!(
            "instance `{instance}` is gone from the environment, and volume `{volume}` is still \
             attached to it: put it back, and detach the volume first"
        );
        return Err(Failure::new(FailureClass::Precondition, message));
    }
    world.instances.retain(|id, _| wanted.contains_key(id));
    Ok(())
}

/// This machine is one instance or several, and none of them is made, stopped or resized by it.
pub(super) fn refuse_what_it_can_not(call: &Call) -> Result<(), Failure> {
    match call {
        Call::Ec2(Ec2Call::RunInstance { .. })
        | Call::Ec2(Ec2Call::Start { .. })
        | Call::Ec2(Ec2Call::Stop { .. })
        | Call::Ec2(Ec2Call::Terminate { .. })
        | Call::Ec2(Ec2Call::SetInstanceType { .. }) => {
            let message = format!(
                "{}: the instances of a onebox are Docker Engines of this machine; they are \
                 added to and taken from its environment in stepback.toml",
                call.function()
            );
            Err(Failure::new(FailureClass::Refused, message).with_code("UnsupportedOperation"))
        }
        _ => Ok(()),
    }
}

impl OneboxHosts {
    /// The engines that this configuration names; nothing is connected to yet.
    pub fn new(config: OneboxConfig) -> Self {
        Self { config }
    }
}

/// Where the devices of an instance show up.
pub(super) fn device_dir(root: &Path, instance: &str) -> PathBuf {
    root.join("instances").join(instance)
}

#[async_trait]
impl Hosts for OneboxHosts {
    async fn endpoint(&self, instance: &str) -> Result<Endpoint, Failure> {
        let found = self.config.instances.get(instance).map(|found| found.docker.clone());
        found.ok_or_else(|| {
            let message = format!("there is no instance `{instance}`");
            Failure::new(FailureClass::Precondition, message)
                .with_code("InvalidInstanceID.NotFound")
        })
    }

    fn fixed(&self) -> Vec<String> {
        self.config.instances.keys().cloned().collect()
    }

    fn device_dir(&self, instance: &str) -> String {
        device_dir(&self.config.root, instance).display().to_string()
    }
}
