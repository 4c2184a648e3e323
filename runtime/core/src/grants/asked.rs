//! What a call names, each thing that a grant must cover.
//!
//! Every function is here: what a new one names is said, or nothing compiles.

use super::glob::ANY_ONE;
use crate::calls::{
    Call, ClockCall, ContainerSpec, DockerCall, EbsCall, Ec2Call, EffectsCall, LoadBalancerCall,
    Tags, is_not_known_yet, run_once_name,
};
use crate::ids::*;
use crate::resource::{Resource, ResourceKind};
use std::collections::BTreeMap;

/// A call, and what it is about.
pub struct Asked<'a> {
    /// The call.
    pub call: &'a Call,
    /// What it names: instances (the host of a Docker Engine too), volumes, snapshots, containers,
    /// Docker volumes, images and pools, whether it reads or changes them.
    pub things: Vec<Resource>,
    /// What it makes that has tags, with those that it gets.
    pub made: Option<(ResourceKind, &'a Tags)>,
    /// The thing whose tag it writes or takes away, the tag's key, and what it is afterwards.
    pub retags: Option<(Resource, &'a str, Option<&'a str>)>,
    /// The container that gets another name, and that name.
    pub renames: Option<(&'a str, &'a str)>,
    /// What its answer is a list of; each of these is held against the grant by itself.
    pub lists: Option<ResourceKind>,
    /// What it would have a Docker Engine run, or reach of its host.
    pub engine: OnEngine<'a>,
    /// Whether it names a Docker volume that is not known yet, so that it is not among the things.
    pub names_some_volume: bool,
}

/// What a call would have a Docker Engine run, or reach of its host.
pub enum OnEngine<'a> {
    /// Nothing that is not there already.
    Nothing,
    /// A container made anew.
    Container(&'a InstanceId, &'a ContainerSpec),
    /// A command in a container that is there.
    Command(&'a InstanceId, &'a ContainerName, &'a [String]),
    /// A Docker volume made anew, with its driver's options.
    Volume(&'a BTreeMap<String, String>),
}

impl<'a> Asked<'a> {
    /// What a call is about.
    pub fn of(call: &'a Call) -> Self {
        let nothing = Asked {
            call,
            things: vec![],
            made: None,
            retags: None,
            renames: None,
            lists: None,
            engine: OnEngine::Nothing,
            names_some_volume: false,
        };
        match call {
            Call::Ec2(of) => nothing.of_ec2(of),
            Call::Ebs(of) => nothing.of_ebs(of),
            Call::Docker(of) => nothing.of_docker(of),
            Call::LoadBalancer(of) => nothing.of_load_balancer(of),
            Call::Effects(EffectsCall::Reverse { .. })
            | Call::Clock(ClockCall::Now {} | ClockCall::Sleep { .. }) => nothing,
        }
    }

    /// What a call is about as far as that is known: of a call's [`Call::known_part`].
    pub fn of_known(call: &'a Call) -> Self {
        let mut asked = Self::of(call);
        let is_known = |text: &String| !is_not_known_yet(text);
        let are_known =
            |pairs: &Tags| pairs.iter().all(|(key, value)| is_known(key) && is_known(value));
        let is_volume = |thing: &Resource| thing.kind() == ResourceKind::DockerVolume;
        let mut unknown = asked.things.iter().filter(|thing| !is_known(&thing.to_string()));
        asked.names_some_volume = unknown.any(is_volume);
        asked.things.retain(|thing| is_known(&thing.to_string()));
        asked.made = asked.made.filter(|(_, tags)| are_known(tags));
        asked.retags = asked.retags.filter(|(thing, key, value)| {
            let texts = [thing.to_string().as_str(), *key, value.unwrap_or_default()].concat();
            is_known(&texts)
        });
        let is_clear = match &asked.engine {
            OnEngine::Nothing => true,
            OnEngine::Container(host, spec) => {
                is_known(&host.0) && spec.command.iter().all(is_known)
            }
            OnEngine::Command(host, container, command) => {
                is_known(&host.0) && is_known(&container.0) && command.iter().all(is_known)
            }
            OnEngine::Volume(options) => are_known(options),
        };
        if !is_clear {
            asked.engine = OnEngine::Nothing;
        }
        asked
    }

    /// The same for one element of its answer.
    pub fn with_item(call: &'a Call, item: Resource) -> Self {
        let mut asked = Self::of(call);
        asked.things.push(item);
        asked.lists = None;
        asked
    }

    /// The Docker volumes that it names and that are there before it, with their hosts.
    pub fn named_docker_volumes(&self) -> impl Iterator<Item = (String, String)> {
        let are_there = !matches!(self.engine, OnEngine::Volume(_));
        self.things.iter().filter(move |_| are_there).filter_map(|thing| match thing {
            Resource::DockerVolume { host, name } => Some((host.clone(), name.clone())),
            _ => None,
        })
    }

    /// Whether it changes what grants know a thing by.
    pub fn changes_a_name(&self) -> bool {
        self.retags.is_some() || self.renames.is_some()
    }

    fn names(mut self, things: impl IntoIterator<Item = Resource>) -> Self {
        self.things.extend(things);
        self
    }

    fn of_ec2(self, call: &'a Ec2Call) -> Self {
        match call {
            Ec2Call::Describe { instance }
            | Ec2Call::Start { instance }
            | Ec2Call::Stop { instance }
            | Ec2Call::Terminate { instance }
            | Ec2Call::SetInstanceType { instance, .. }
            | Ec2Call::WaitState { instance, .. } => self.names([of_instance(instance)]),
            Ec2Call::Find { .. } => Asked { lists: Some(ResourceKind::Instance), ..self },
            Ec2Call::RunInstance { tags, .. } => {
                Asked { made: Some((ResourceKind::Instance, tags)), ..self }
            }
            Ec2Call::Tag { instance, key, value } => {
                let retags = Some((of_instance(instance), key.as_str(), Some(value.as_str())));
                Asked { retags, ..self.names([of_instance(instance)]) }
            }
            Ec2Call::Untag { instance, key } => {
                let retags = Some((of_instance(instance), key.as_str(), None));
                Asked { retags, ..self.names([of_instance(instance)]) }
            }
        }
    }

    fn of_ebs(self, call: &'a EbsCall) -> Self {
        match call {
            EbsCall::Describe { volume }
            | EbsCall::DeleteVolume { volume }
            | EbsCall::ModifyVolume { volume, .. }
            | EbsCall::WaitVolume { volume, .. } => self.names([of_volume(volume)]),
            EbsCall::Find { .. } => Asked { lists: Some(ResourceKind::Volume), ..self },
            EbsCall::FindSnapshots { .. } => Asked { lists: Some(ResourceKind::Snapshot), ..self },
            EbsCall::CreateVolume { snapshot, tags, .. } => {
                let made = Some((ResourceKind::Volume, tags));
                Asked { made, ..self.names(snapshot.as_ref().map(of_snapshot)) }
            }
            EbsCall::Attach { volume, instance, .. } | EbsCall::Detach { volume, instance } => {
                self.names([of_volume(volume), of_instance(instance)])
            }
            EbsCall::CreateSnapshot { volume, tags, .. } => {
                let made = Some((ResourceKind::Snapshot, tags));
                Asked { made, ..self.names([of_volume(volume)]) }
            }
            EbsCall::DescribeSnapshot { snapshot }
            | EbsCall::DeleteSnapshot { snapshot }
            | EbsCall::WaitSnapshot { snapshot, .. } => self.names([of_snapshot(snapshot)]),
            EbsCall::Tag { volume, key, value } => {
                let retags = Some((of_volume(volume), key.as_str(), Some(value.as_str())));
                Asked { retags, ..self.names([of_volume(volume)]) }
            }
            EbsCall::Untag { volume, key } => {
                let retags = Some((of_volume(volume), key.as_str(), None));
                Asked { retags, ..self.names([of_volume(volume)]) }
            }
        }
    }

    fn of_docker(self, call: &'a DockerCall) -> Self {
        match call {
            DockerCall::InspectContainer { host, container }
            | DockerCall::StartContainer { host, container }
            | DockerCall::StopContainer { host, container, .. }
            | DockerCall::PauseContainer { host, container }
            | DockerCall::UnpauseContainer { host, container }
            | DockerCall::UpdateContainer { host, container, .. }
            | DockerCall::RemoveContainer { host, container }
            | DockerCall::WaitHealthy { host, container, .. }
            | DockerCall::Logs { host, container, .. } => {
                self.names([of_instance(host), of_container(host, container.as_str())])
            }
            DockerCall::RenameContainer { host, container, to } => {
                let (from, to) = (container.as_str(), to.as_str());
                let things = [of_instance(host), of_container(host, from), of_container(host, to)];
                Asked { renames: Some((from, to)), ..self.names(things) }
            }
            DockerCall::ListContainers { host } | DockerCall::FindContainers { host, .. } => {
                Asked { lists: Some(ResourceKind::Container), ..self.names([of_instance(host)]) }
            }
            DockerCall::InspectImage { host, image }
            | DockerCall::PullImage { host, image }
            | DockerCall::RemoveImage { host, image } => {
                self.names([of_instance(host), of_image(host, image.as_str())])
            }
            // The name is from then on that of the image which has the digest now.
            DockerCall::TagImage { host, image, digest } => {
                let images = [of_image(host, image.as_str()), of_image(host, digest)];
                self.names([of_instance(host)].into_iter().chain(images))
            }
            DockerCall::CheckHelper { host } | DockerCall::WaitEngine { host, .. } => {
                self.names([of_instance(host)])
            }
            DockerCall::InspectVolume { host, volume }
            | DockerCall::RemoveVolume { host, volume } => {
                self.names([of_instance(host), of_docker_volume(host, volume)])
            }
            DockerCall::FileSystem { host, volume }
            | DockerCall::WaitDevice { host, volume, .. }
            | DockerCall::WaitUnmounted { host, volume, .. }
            | DockerCall::MakeFileSystem { host, volume, .. }
            | DockerCall::GrowFileSystem { host, volume } => {
                self.names([of_instance(host), of_volume(volume)])
            }
            DockerCall::CreateContainer { host, container, spec } => {
                let named = self.names([of_container(host, container.as_str())]);
                named.makes_container(host, spec)
            }
            // Its name is told by its token, which is not known here.
            DockerCall::RunOnce { host, spec, .. } => {
                let name = run_once_name(&Token(ANY_ONE.to_string().repeat(64)));
                self.names([of_container(host, &name)]).makes_container(host, spec)
            }
            DockerCall::Exec { host, container, command, .. } => Asked {
                engine: OnEngine::Command(host, container, command),
                ..self.names([of_instance(host), of_container(host, container.as_str())])
            },
            DockerCall::CreateVolume { host, volume, options } => {
                let things = [of_instance(host), of_docker_volume(host, volume)];
                Asked { engine: OnEngine::Volume(options), ..self.names(things) }
            }
        }
    }

    fn of_load_balancer(self, call: &'a LoadBalancerCall) -> Self {
        match call {
            LoadBalancerCall::DescribePool { pool } => {
                Asked { lists: Some(ResourceKind::Instance), ..self.names([of_pool(pool)]) }
            }
            // What is behind a target is named for the order of undos alone.
            LoadBalancerCall::Add { pool, host, .. }
            | LoadBalancerCall::WaitHealthy { pool, host, .. }
            | LoadBalancerCall::Enable { pool, host, .. }
            | LoadBalancerCall::Drain { pool, host, .. }
            | LoadBalancerCall::WaitDrained { pool, host, .. }
            | LoadBalancerCall::Remove { pool, host, .. } => {
                self.names([of_instance(host), of_pool(pool)])
            }
        }
    }

    fn makes_container(self, host: &'a InstanceId, spec: &'a ContainerSpec) -> Self {
        let image = (!spec.image.is_empty()).then(|| of_image(host, &spec.image));
        let like = spec.like.iter().flat_map(|like| {
            let on = InstanceId(like.host.clone());
            [of_instance(&on), of_container(&on, &like.container)]
        });
        let things = [of_instance(host)].into_iter().chain(image).chain(like);
        Asked { engine: OnEngine::Container(host, spec), ..self.names(things) }
    }
}

fn of_instance(id: &InstanceId) -> Resource {
    Resource::Instance { id: id.0.clone() }
}

fn of_pool(name: &PoolName) -> Resource {
    Resource::Pool { pool: name.0.clone() }
}

fn of_volume(id: &VolumeId) -> Resource {
    Resource::Volume { id: id.0.clone() }
}

fn of_snapshot(id: &SnapshotId) -> Resource {
    Resource::Snapshot { id: id.0.clone() }
}

fn of_container(host: &InstanceId, name: &str) -> Resource {
    Resource::Container { host: host.0.clone(), name: name.to_owned() }
}

fn of_docker_volume(host: &InstanceId, name: &DockerVolumeName) -> Resource {
    Resource::DockerVolume { host: host.0.clone(), name: name.0.clone() }
}

fn of_image(host: &InstanceId, image: &str) -> Resource {
    Resource::Image { host: host.0.clone(), image: image.to_owned() }
}
