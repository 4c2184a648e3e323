//! `docker`: the Docker Engines of the hosts.

use super::map_of;
use crate::bindings::stepback::docker::engine::{
    CommandResult, Container, ContainerSpec, DockerVolume, Failure, Host, Image, Like, Mount, Pair,
    RestartPolicy,
};
use crate::guest::Guest;
use stepback_core::Call;
use stepback_core::calls;
use stepback_core::calls::DockerCall;

impl Host for Guest {
    async fn inspect_container(
        &mut self,
        host: String,
        container: String,
    ) -> Result<Option<Container>, Failure> {
        self.ask(Call::Docker(DockerCall::InspectContainer {
            host: host.into(),
            container: container.into(),
        }))
        .await
    }

    async fn list_containers(&mut self, host: String) -> Result<Vec<Container>, Failure> {
        self.ask(Call::Docker(DockerCall::ListContainers { host: host.into() })).await
    }

    async fn find_containers(
        &mut self,
        host: String,
        labels: Vec<Pair>,
    ) -> Result<Vec<Container>, Failure> {
        let (host, labels) = (host.into(), map_of("labels", labels)?);
        self.ask(Call::Docker(DockerCall::FindContainers { host, labels })).await
    }

    async fn inspect_image(
        &mut self,
        host: String,
        image: String,
    ) -> Result<Option<Image>, Failure> {
        self.ask(Call::Docker(DockerCall::InspectImage { host: host.into(), image: image.into() }))
            .await
    }

    async fn inspect_volume(
        &mut self,
        host: String,
        volume: String,
    ) -> Result<Option<DockerVolume>, Failure> {
        self.ask(Call::Docker(DockerCall::InspectVolume {
            host: host.into(),
            volume: volume.into(),
        }))
        .await
    }

    async fn filesystem(&mut self, host: String, volume: String) -> Result<String, Failure> {
        self.ask(Call::Docker(DockerCall::FileSystem { host: host.into(), volume: volume.into() }))
            .await
    }

    async fn check_helper(&mut self, host: String) -> Result<(), Failure> {
        self.tell(Call::Docker(DockerCall::CheckHelper { host: host.into() })).await
    }

    async fn pull_image(&mut self, host: String, image: String) -> Result<Image, Failure> {
        self.ask(Call::Docker(DockerCall::PullImage { host: host.into(), image: image.into() }))
            .await
    }

    async fn create_container(
        &mut self,
        host: String,
        container: String,
        spec: ContainerSpec,
    ) -> Result<Container, Failure> {
        self.ask(Call::Docker(DockerCall::CreateContainer {
            host: host.into(),
            container: container.into(),
            spec: spec_of(spec)?,
        }))
        .await
    }

    async fn start_container(
        &mut self,
        host: String,
        container: String,
    ) -> Result<Container, Failure> {
        self.ask(Call::Docker(DockerCall::StartContainer {
            host: host.into(),
            container: container.into(),
        }))
        .await
    }

    async fn stop_container(
        &mut self,
        host: String,
        container: String,
        grace_ms: u64,
    ) -> Result<Container, Failure> {
        self.ask(Call::Docker(DockerCall::StopContainer {
            host: host.into(),
            container: container.into(),
            grace_ms,
        }))
        .await
    }

    async fn pause_container(
        &mut self,
        host: String,
        container: String,
    ) -> Result<Container, Failure> {
        self.ask(Call::Docker(DockerCall::PauseContainer {
            host: host.into(),
            container: container.into(),
        }))
        .await
    }

    async fn unpause_container(
        &mut self,
        host: String,
        container: String,
    ) -> Result<Container, Failure> {
        self.ask(Call::Docker(DockerCall::UnpauseContainer {
            host: host.into(),
            container: container.into(),
        }))
        .await
    }

    async fn rename_container(
        &mut self,
        host: String,
        container: String,
        to: String,
    ) -> Result<(), Failure> {
        self.tell(Call::Docker(DockerCall::RenameContainer {
            host: host.into(),
            container: container.into(),
            to: to.into(),
        }))
        .await
    }

    async fn update_container(
        &mut self,
        host: String,
        container: String,
        restart: RestartPolicy,
    ) -> Result<(), Failure> {
        self.tell(Call::Docker(DockerCall::UpdateContainer {
            host: host.into(),
            container: container.into(),
            restart: policy(restart),
        }))
        .await
    }

    async fn remove_container(&mut self, host: String, container: String) -> Result<(), Failure> {
        self.tell(Call::Docker(DockerCall::RemoveContainer {
            host: host.into(),
            container: container.into(),
        }))
        .await
    }

    async fn tag_image(
        &mut self,
        host: String,
        image: String,
        digest: String,
    ) -> Result<(), Failure> {
        self.tell(Call::Docker(DockerCall::TagImage {
            host: host.into(),
            image: image.into(),
            digest,
        }))
        .await
    }

    async fn remove_image(&mut self, host: String, image: String) -> Result<(), Failure> {
        self.tell(Call::Docker(DockerCall::RemoveImage { host: host.into(), image: image.into() }))
            .await
    }

    async fn wait_engine(&mut self, host: String, timeout_ms: u64) -> Result<(), Failure> {
        self.tell(Call::Docker(DockerCall::WaitEngine { host: host.into(), timeout_ms })).await
    }

    async fn wait_healthy(
        &mut self,
        host: String,
        container: String,
        timeout_ms: u64,
    ) -> Result<Container, Failure> {
        self.ask(Call::Docker(DockerCall::WaitHealthy {
            host: host.into(),
            container: container.into(),
            timeout_ms,
        }))
        .await
    }

    async fn wait_device(
        &mut self,
        host: String,
        volume: String,
        timeout_ms: u64,
    ) -> Result<String, Failure> {
        self.ask(Call::Docker(DockerCall::WaitDevice {
            host: host.into(),
            volume: volume.into(),
            timeout_ms,
        }))
        .await
    }

    async fn wait_unmounted(
        &mut self,
        host: String,
        volume: String,
        timeout_ms: u64,
    ) -> Result<(), Failure> {
        self.tell(Call::Docker(DockerCall::WaitUnmounted {
            host: host.into(),
            volume: volume.into(),
            timeout_ms,
        }))
        .await
    }

    async fn logs(
        &mut self,
        host: String,
        container: String,
        tail_lines: u32,
    ) -> Result<Vec<String>, Failure> {
        self.ask(Call::Docker(DockerCall::Logs {
            host: host.into(),
            container: container.into(),
            tail_lines,
        }))
        .await
    }

    async fn run_once(
        &mut self,
        host: String,
        spec: ContainerSpec,
        timeout_ms: u64,
    ) -> Result<CommandResult, Failure> {
        self.ask(Call::Docker(DockerCall::RunOnce {
            host: host.into(),
            spec: spec_of(spec)?,
            timeout_ms,
        }))
        .await
    }

    async fn exec(
        &mut self,
        host: String,
        container: String,
        command: Vec<String>,
        timeout_ms: u64,
    ) -> Result<CommandResult, Failure> {
        let (host, container) = (host.into(), container.into());
        self.ask(Call::Docker(DockerCall::Exec { host, container, command, timeout_ms })).await
    }

    async fn create_volume(
        &mut self,
        host: String,
        volume: String,
        options: Vec<Pair>,
    ) -> Result<DockerVolume, Failure> {
        self.ask(Call::Docker(DockerCall::CreateVolume {
            host: host.into(),
            volume: volume.into(),
            options: map_of("options", options)?,
        }))
        .await
    }

    async fn remove_volume(&mut self, host: String, volume: String) -> Result<(), Failure> {
        self.tell(Call::Docker(DockerCall::RemoveVolume {
            host: host.into(),
            volume: volume.into(),
        }))
        .await
    }

    async fn make_filesystem(
        &mut self,
        host: String,
        volume: String,
        filesystem_type: String,
    ) -> Result<(), Failure> {
        self.tell(Call::Docker(DockerCall::MakeFileSystem {
            host: host.into(),
            volume: volume.into(),
            filesystem_type,
        }))
        .await
    }

    async fn grow_filesystem(&mut self, host: String, volume: String) -> Result<(), Failure> {
        self.tell(Call::Docker(DockerCall::GrowFileSystem {
            host: host.into(),
            volume: volume.into(),
        }))
        .await
    }
}

fn spec_of(spec: ContainerSpec) -> Result<calls::ContainerSpec, Failure> {
    let ContainerSpec { image, command, env, mounts, ports, restart, labels, like } = spec;
    let mount_of = |Mount { volume, target, read_only }| calls::Mount { volume, target, read_only };
    Ok(calls::ContainerSpec {
        image,
        command,
        env: map_of("env", env)?,
        mounts: mounts.into_iter().map(mount_of).collect(),
        ports,
        restart: restart.map(policy).unwrap_or_default(),
        labels: map_of("labels", labels)?,
        like: like.map(|Like { host, container }| calls::Like { host, container }),
    })
}

/// A restart policy as `docker run --restart` takes it.
fn policy(policy: RestartPolicy) -> String {
    match policy {
        RestartPolicy::No => "no".to_owned(),
        RestartPolicy::Always => "always".to_owned(),
        RestartPolicy::UnlessStopped => "unless-stopped".to_owned(),
        RestartPolicy::OnFailure(None) => "on-failure".to_owned(),
        RestartPolicy::OnFailure(Some(times)) => format!("on-failure:{times}"),
    }
}
