//! Steps that only look: what stands at the start of an operation for what comes later in it.

use crate::containers::{Like, whole_device};
use schemars::JsonSchema;
use serde::Deserialize;
use stepback_sdk::{Check, Failure, Step, docker, may, tag_map};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PortsInput {
    host: String,
    /// The container that the new one is to be like; all that it needs of the host is asked for.
    #[serde(default)]
    like: Option<Like>,
    /// Ports of its own, `[ADDRESS:][HOST-PORT]:CONTAINER-PORT[/PROTOCOL]`.
    #[serde(default)]
    ports: Vec<String>,
    /// Its name, which no container may have yet.
    #[serde(default)]
    container: Option<String>,
}

pub struct CheckPorts;

impl Step for CheckPorts {
    type Input = PortsInput;
    type Output = ();
    const NAME: &'static str = "check-ports";
    const DOC: &'static str = "See that a host has the ports, the name and all else that a new \
                               container needs; for the start.";

    fn check(input: &PortsInput) -> Result<Check, Failure> {
        let PortsInput { host, like, ports, container } = input;
        if let Some(container) = container
            && docker::inspect_container(host, container)?.is_some()
        {
            let why = format!("there is a container `{container}` on {host} already");
            return Ok(Check::Refused(why));
        }
        let like = like.as_ref().map(|like| docker::Like {
            host: like.host.clone(),
            container: like.container.clone(),
        });
        let named = like.as_ref().map(|like| like.container.clone());
        let name = container.clone().or(named).unwrap_or_else(|| "new".to_owned());
        let spec = docker::ContainerSpec {
            image: String::new(),
            command: vec![],
            env: vec![],
            mounts: vec![],
            ports: ports.clone(),
            restart: None,
            labels: vec![],
            like,
        };
        may(|| docker::create_container(host, &name, &spec))?;
        Ok(Check::Ok)
    }

    /// Its check has said it all.
    fn run(_: PortsInput) -> Result<(), Failure> {
        Ok(())
    }
}

/// What becomes of the files that a container has outside of its volumes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OwnFiles {
    /// Where there are any it is refused.
    #[default]
    Kept,
    Lost,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplaceInput {
    host: String,
    container: String,
    #[serde(default)]
    own_files: OwnFiles,
}

pub struct CheckReplace;

impl Step for CheckReplace {
    type Input = ReplaceInput;
    type Output = ();
    const NAME: &'static str = "check-replace";
    const DOC: &'static str = "See that a container can make way for a new one: nothing of its own \
                               is lost, nobody else needs it or its volumes; for the start.";

    fn check(input: &ReplaceInput) -> Result<Check, Failure> {
        let ReplaceInput { host, container, own_files } = input;
        let Some(found) = docker::inspect_container(host, container)? else {
            let why = format!("there is no container `{container}` on {host}");
            return Ok(Check::Refused(why));
        };
        match may(|| docker::remove_container(host, container)) {
            Err(failure)
                if failure.code.as_deref() == Some("own-files") && *own_files == OwnFiles::Lost => {
            }
            answer => answer?,
        }
        let others = docker::list_containers(host)?;
        let others = others.iter().filter(|other| other.is_running() && other.name != *container);
        let own: Vec<&str> = found.mounts.iter().map(|mount| mount.volume.as_str()).collect();
        let device = |volume: &str| -> Result<Option<String>, Failure> {
            let volume = docker::inspect_volume(host, volume)?;
            let options = volume.map(|volume| tag_map(&volume.options)).unwrap_or_default();
            Ok(options.get("device").map(|device| whole_device(device)))
        };
        let own_devices = own.iter().map(|volume| device(volume)).collect::<Result<Vec<_>, _>>()?;
        for other in others {
            let mut shared = None;
            for mount in &other.mounts {
                // By another Docker volume it may be the same device.
                let is_own = own.contains(&mount.volume.as_str());
                let is_same = || -> Result<bool, Failure> {
                    let device = device(&mount.volume)?;
                    Ok(device.is_some() && own_devices.contains(&device))
                };
                if is_own || is_same()? {
                    shared = Some(mount);
                }
            }
            if let Some(shared) = shared {
                return Ok(Check::Refused(format!(
                    "container `{}` on {host} has Docker volume `{}` mounted too, or its device, \
                     which could not be unmounted: stop it first",
                    other.name, shared.volume
                )));
            }
        }
        Ok(Check::Ok)
    }

    /// Its check has said it all.
    fn run(_: ReplaceInput) -> Result<(), Failure> {
        Ok(())
    }
}
