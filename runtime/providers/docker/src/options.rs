//! Options of a container as the Engine API has them (Docker docs, *Docker Engine API*,
//! *ContainerCreate*).

use super::errors::{Answer, RequestError};
use bollard::models::{
    Mount as DockerMount, MountType, MountVolumeOptions, RestartPolicy, RestartPolicyNameEnum,
};
use stepback_core::FailureClass;
use stepback_core::calls::Mount;
use stepback_provider::restart::Policy;

pub(super) fn mount(mount: &Mount) -> DockerMount {
    DockerMount {
        typ: Some(MountType::VOLUME),
        source: Some(mount.volume.clone()),
        target: Some(mount.target.clone()),
        read_only: Some(mount.read_only),
        volume_options: Some(MountVolumeOptions::default()),
        ..Default::default()
    }
}

pub(super) fn policy(restart: &str) -> Answer<RestartPolicy> {
    let (name, count) = match Policy::parse(restart) {
        Some(Policy::No) => (RestartPolicyNameEnum::NO, None),
        Some(Policy::Always) => (RestartPolicyNameEnum::ALWAYS, None),
        Some(Policy::UnlessStopped) => (RestartPolicyNameEnum::UNLESS_STOPPED, None),
        Some(Policy::OnFailure(count)) => (RestartPolicyNameEnum::ON_FAILURE, Some(count)),
        None => {
            let message = format!("`{restart}` is no restart policy");
            return Err(RequestError::no(FailureClass::InvalidInput, "400", message));
        }
    };
    Ok(RestartPolicy { name: Some(name), maximum_retry_count: count.map(i64::from) })
}
