//! Steps on what a container is: looking at it, making it, renaming it, taking it away.

use crate::images::{must_have, the_very};
use crate::sensible;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use stepback_sdk::{
    Check, Failure, FailureClass, NOT_KNOWN_YET, Step, UnknownWord, docker, docker::RestartPolicy,
    failure, granted, may, pairs, precondition, tag_map,
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContainerInput {
    pub(crate) host: String,
    pub(crate) container: String,
}

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// The Docker volume's name.
    volume: String,
    /// The path in the container.
    target: String,
    #[serde(default)]
    read_only: bool,
}

impl From<Mount> for docker::Mount {
    fn from(mount: Mount) -> Self {
        let Mount { volume, target, read_only } = mount;
        Self { volume, target, read_only }
    }
}

#[derive(Serialize, JsonSchema)]
pub struct Container {
    pub name: String,
    pub image: String,
    /// The digest of the image it was made from.
    pub digest: String,
    pub running: bool,
    /// created, running, paused, restarting, removing, exited or dead.
    pub state: String,
    /// none, starting, healthy or unhealthy.
    pub health: String,
    /// How it ended; none while it runs, and before it ever ran.
    pub exit_code: Option<i32>,
    /// It was killed because memory ran out.
    pub out_of_memory: bool,
    /// How often the engine started it again by itself.
    pub restart_count: u32,
    pub restart: String,
    /// `[address:]host-port:container-port/protocol`.
    pub ports: Vec<String>,
    /// The port of its host by the container's own (tcp), such as `published['8080']`.
    pub published: BTreeMap<String, u16>,
    /// Values are sealed: a seal tells whether a value is another one, and nothing else.
    pub labels: BTreeMap<String, String>,
    pub mounts: Vec<Mount>,
}

impl From<docker::Container> for Container {
    fn from(container: docker::Container) -> Self {
        let running = container.is_running();
        let tcp = container.ports.iter().filter(|port| port.protocol == docker::Protocol::Tcp);
        let published =
            tcp.filter_map(|port| Some((port.container_port.to_string(), port.host_port?)));
        let published = published.collect();
        let mounts = container.mounts.into_iter().map(|mount| {
            let docker::Mount { volume, target, read_only } = mount;
            Mount { volume, target, read_only }
        });
        Self {
            name: container.name,
            image: container.image,
            digest: container.digest,
            running,
            state: container.state.to_string(),
            health: container.health.to_string(),
            exit_code: container.ended.as_ref().map(|ended| ended.exit_code),
            out_of_memory: container.ended.is_some_and(|ended| ended.out_of_memory),
            restart_count: container.restart_count,
            restart: container.restart.to_string(),
            ports: container.ports.iter().map(ToString::to_string).collect(),
            published,
            labels: tag_map(&container.labels),
            mounts: mounts.collect(),
        }
    }
}

pub(crate) fn policy(text: &str) -> Result<RestartPolicy, Failure> {
    text.parse()
        .map_err(|error: UnknownWord| failure(FailureClass::InvalidInput, error.to_string()))
}

/// The container, or why the step can't go on without it.
pub(crate) fn existing(host: &str, container: &str) -> Result<docker::Container, Failure> {
    let found = docker::inspect_container(host, container)?;
    found.ok_or_else(|| precondition(format!("there is no container `{container}` on {host}")))
}

pub(crate) fn check_exists(host: &str, container: &str) -> Result<Check, Failure> {
    Ok(match docker::inspect_container(host, container)? {
        Some(_) => Check::Ok,
        None => Check::NotYet(no_container(host, container)),
    })
}

/// With those that there are: mostly it is a name that was misspelt.
pub(crate) fn no_container(host: &str, container: &str) -> String {
    const TOLD: usize = 20;
    let none = format!("there is no container `{container}` on {host}");
    // That they can't be told changes nothing.
    let all = docker::list_containers(host).unwrap_or_default();
    let names: Vec<String> = all.into_iter().take(TOLD).map(|one| one.name).collect();
    match names.is_empty() {
        true => none,
        false => format!("{none}; there are {}", names.join(", ")),
    }
}

pub struct InspectContainer;

#[derive(Serialize, JsonSchema)]
pub struct Inspected {
    #[serde(flatten)]
    pub container: Container,
    /// The device of each mount's Docker volume, in the order of `mounts`, without the namespace
    /// that some names of a device end with; empty for a volume that is a directory of the host.
    pub devices: Vec<String>,
    /// What is on each of these devices: ext4, xfs.
    pub filesystems: Vec<String>,
    /// How each is mounted: the volume's option `o`, such as `noatime`.
    pub mount_options: Vec<String>,
}

/// The name of an EBS volume's device without its namespace, of which there is one: udev has it as
/// `…_1`, and Amazon Linux as `…-ns-1` too (Amazon EBS User Guide, *Map Amazon EBS volumes to NVMe
/// device names*).
pub(crate) fn whole_device(device: &str) -> String {
    let whole = device.strip_suffix("_1").or_else(|| device.strip_suffix("-ns-1"));
    let is_ebs = device.contains("/nvme-Amazon_Elastic_Block_Store_vol");
    whole.filter(|_| is_ebs).unwrap_or(device).to_owned()
}

impl Step for InspectContainer {
    type Input = ContainerInput;
    type Output = Inspected;
    const NAME: &'static str = "inspect-container";
    const DOC: &'static str = "Look at a container: its image, digest, health and mounts.";

    fn check(input: &ContainerInput) -> Result<Check, Failure> {
        let ContainerInput { host, container } = input;
        let found = docker::inspect_container(host, container)?;
        if found.as_ref().is_none_or(|found| !found.mounts.is_empty()) {
            granted(|| docker::inspect_volume(host, NOT_KNOWN_YET))?;
        }
        Ok(match found {
            Some(_) => Check::Ok,
            None => Check::NotYet(no_container(host, container)),
        })
    }

    fn run(input: ContainerInput) -> Result<Inspected, Failure> {
        let container = Container::from(existing(&input.host, &input.container)?);
        let (mut devices, mut filesystems, mut mount_options) = (vec![], vec![], vec![]);
        for mount in &container.mounts {
            let volume = docker::inspect_volume(&input.host, &mount.volume)?;
            let options = volume.map(|volume| tag_map(&volume.options)).unwrap_or_default();
            let option = |name: &str| options.get(name).cloned().unwrap_or_default();
            devices.push(whole_device(&option("device")));
            filesystems.push(option("type"));
            mount_options.push(option("o"));
        }
        Ok(Inspected { container, devices, filesystems, mount_options })
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FindInput {
    host: String,
    /// Those that have all of them.
    labels: BTreeMap<String, String>,
}

#[derive(Serialize, JsonSchema)]
pub struct Found {
    /// Running or not, by name.
    pub containers: Vec<Container>,
}

pub struct FindContainers;

impl Step for FindContainers {
    type Input = FindInput;
    type Output = Found;
    const NAME: &'static str = "find-containers";
    const DOC: &'static str = "Find the containers that have these labels.";

    fn check(input: &FindInput) -> Result<Check, Failure> {
        docker::find_containers(&input.host, &pairs(&input.labels))?;
        Ok(Check::Ok)
    }

    fn run(input: FindInput) -> Result<Found, Failure> {
        let found = docker::find_containers(&input.host, &pairs(&input.labels))?;
        Ok(Found { containers: found.into_iter().map(Container::from).collect() })
    }
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Like {
    pub host: String,
    pub container: String,
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateInput {
    host: String,
    container: String,
    /// May be left out with `like`.
    #[serde(default)]
    image: Option<String>,
    /// The very image, whatever the name means by now; it is called by its digest then.
    #[serde(default)]
    digest: Option<String>,
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    mounts: Vec<Mount>,
    /// `[address:][host-port]:container-port[/protocol]`, as `docker run --publish` has it; `auto`
    /// for the host's port is one that is free, and that the container keeps.
    #[serde(default)]
    ports: Vec<String>,
    /// no, always, unless-stopped or on-failure; by default unless-stopped, or as `like` has it.
    #[serde(default)]
    restart: Option<String>,
    /// Beside those of its image and of the container that it is like.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// Take every option not given here from this container.
    #[serde(default)]
    like: Option<Like>,
}

impl CreateInput {
    /// The image that it is made from, by its own name or by that of the one it is like.
    fn image(&self) -> Result<Option<String>, Failure> {
        Ok(match (&self.image, &self.like) {
            (Some(image), _) => Some(image.clone()),
            (None, Some(like)) => Some(existing(&like.host, &like.container)?.image),
            (None, None) => None,
        })
    }

    /// What can be asked about before it is made: without what it is to be like where that is not
    /// there, which it may be by then; how far that reaches is asked about where it is. One that
    /// may not be looked at is there, or may be: whether a container may be like it is asked.
    fn asked(&self) -> Result<docker::ContainerSpec, Failure> {
        let like = self.like.as_ref().filter(|like| {
            let found = docker::inspect_container(&like.host, &like.container);
            !matches!(found, Ok(None))
        });
        let restart = self.restart.clone().filter(|restart| restart != NOT_KNOWN_YET);
        Self { restart, like: like.cloned(), ..self.clone() }.spec()
    }

    fn spec(self) -> Result<docker::ContainerSpec, Failure> {
        let restart = match (&self.restart, &self.like) {
            (Some(restart), _) => Some(policy(restart)?),
            (None, Some(_)) => None,
            (None, None) => Some(RestartPolicy::UnlessStopped),
        };
        let like = self.like.map(|Like { host, container }| docker::Like { host, container });
        Ok(docker::ContainerSpec {
            image: self.image.unwrap_or_default(),
            command: self.command,
            env: pairs(&self.env),
            mounts: self.mounts.into_iter().map(docker::Mount::from).collect(),
            ports: self.ports,
            restart,
            labels: pairs(&self.labels),
            like,
        })
    }
}

pub struct CreateContainer;

impl Step for CreateContainer {
    type Input = CreateInput;
    type Output = Container;
    const NAME: &'static str = "create-container";
    const DOC: &'static str = "Create a container, new or like another one; it is not started.";

    fn check(input: &CreateInput) -> Result<Check, Failure> {
        let CreateInput { host, container, .. } = input;
        granted(|| docker::create_container(host, container, &input.asked()?))?;
        granted(|| docker::inspect_image(host, NOT_KNOWN_YET))?;
        if docker::inspect_container(host, container)?.is_some() {
            let why = format!("there is a container `{container}` on {host} already");
            return Ok(Check::NotYet(why));
        }
        let Some(image) = input.image()? else {
            return Ok(Check::Refused("give `image` or `like`".to_owned()));
        };
        // What it is to be like may be something else by then.
        let all = input.clone().spec()?;
        let spec = docker::ContainerSpec { image: image.clone(), like: None, ..all };
        may(|| docker::create_container(host, container, &spec))?;
        if let Some(volume) = spec.mounts.iter().find(|mount| is_missing(host, &mount.volume)) {
            let why = format!("there is no Docker volume `{}` on {host}", volume.volume);
            return Ok(Check::NotYet(why));
        }
        Ok(match the_very(host, &image, input.digest.as_deref())? {
            Some(_) => Check::Ok,
            None => Check::NotYet(format!("image {image} is not on {host}")),
        })
    }

    fn run(mut input: CreateInput) -> Result<Container, Failure> {
        let (host, container) = (input.host.clone(), input.container.clone());
        if let (Some(digest), Some(image)) = (&input.digest, input.image()?) {
            input.image = Some(must_have(&host, &image, digest)?.reference);
        }
        docker::create_container(&host, &container, &input.spec()?).map(Container::from)
    }
}

pub struct RunContainer;

impl Step for RunContainer {
    type Input = CreateInput;
    type Output = Container;
    const NAME: &'static str = "run-container";
    const DOC: &'static str = "Create a container and start it, in one step: a port that somebody \
                               else has taken meanwhile is another one in the next attempt.";

    fn check(input: &CreateInput) -> Result<Check, Failure> {
        granted(|| docker::start_container(&input.host, &input.container))?;
        CreateContainer::check(input)
    }

    fn run(input: CreateInput) -> Result<Container, Failure> {
        let (host, container) = (input.host.clone(), input.container.clone());
        CreateContainer::run(input)?;
        docker::start_container(&host, &container).map(Container::from)
    }
}

/// Whether a Docker volume is surely not there; who may not look at it can't say.
fn is_missing(host: &str, volume: &str) -> bool {
    volume != NOT_KNOWN_YET && matches!(docker::inspect_volume(host, volume), Ok(None))
}

pub struct RemoveContainer;

impl Step for RemoveContainer {
    type Input = ContainerInput;
    type Output = ();
    const NAME: &'static str = "remove-container";
    const DOC: &'static str = "Remove a stopped container for good; its volumes stay.";
    const REVERSIBLE: bool = false;

    fn check(input: &ContainerInput) -> Result<Check, Failure> {
        let ContainerInput { host, container } = input;
        granted(|| docker::remove_container(host, container))?;
        Ok(match docker::inspect_container(host, container)? {
            Some(found) if found.is_running() => Check::NotYet(format!("`{container}` is running")),
            Some(_) => Check::Ok,
            None => Check::NotYet(format!("there is no container `{container}` on {host}")),
        })
    }

    fn run(input: ContainerInput) -> Result<(), Failure> {
        docker::remove_container(&input.host, &input.container)
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameInput {
    host: String,
    container: String,
    to: String,
}

pub struct RenameContainer;

impl Step for RenameContainer {
    type Input = RenameInput;
    type Output = ();
    const NAME: &'static str = "rename-container";
    const DOC: &'static str = "Give a container another name.";

    fn check(input: &RenameInput) -> Result<Check, Failure> {
        sensible(|| docker::rename_container(&input.host, &input.container, &input.to))?;
        if docker::inspect_container(&input.host, &input.to)?.is_some() {
            let why = format!("the name `{}` is in use on {}", input.to, input.host);
            return Ok(Check::NotYet(why));
        }
        check_exists(&input.host, &input.container)
    }

    fn run(input: RenameInput) -> Result<(), Failure> {
        docker::rename_container(&input.host, &input.container, &input.to)
    }
}
