//! What each host function is: its class, what it touches, how a lost answer of it is settled.

use super::{Call, Class, SettleMode, run_once_name};
use crate::ids::*;
use crate::resource::{Resource, ResourceKind};

/// How long a last look at the world may take, in milliseconds.
const LAST_LOOK_MS: u64 = 5_000;

impl Call {
    /// Whether the function reads, waits or changes the world.
    pub fn class(&self) -> Class {
        use Call::*;
        match self {
            Ec2Describe { .. }
            | Ec2Find { .. }
            | EbsDescribe { .. }
            | EbsFind { .. }
            | EbsDescribeSnapshot { .. }
            | EbsFindSnapshots { .. }
            | DockerInspectContainer { .. }
            | DockerListContainers { .. }
            | DockerInspectImage { .. }
            | DockerInspectVolume { .. }
            | DockerFileSystem { .. }
            | DockerCheckHelper { .. }
            | DockerLogs { .. }
            | EffectsReverse { .. }
            | ClockNow {} => Class::Read,
            Ec2WaitState { .. }
            | EbsWaitVolume { .. }
            | EbsWaitSnapshot { .. }
            | DockerWaitHealthy { .. }
            | DockerWaitEngine { .. }
            | DockerWaitDevice { .. }
            | DockerWaitUnmounted { .. }
            | ClockSleep { .. } => Class::Wait,
            Ec2RunInstance { .. }
            | Ec2Start { .. }
            | Ec2Stop { .. }
            | Ec2SetInstanceType { .. }
            | Ec2Tag { .. }
            | Ec2Untag { .. }
            | EbsCreateVolume { .. }
            | EbsAttach { .. }
            | EbsDetach { .. }
            | EbsCreateSnapshot { .. }
            | EbsTag { .. }
            | EbsUntag { .. }
            | DockerPullImage { .. }
            | DockerTagImage { .. }
            | DockerCreateContainer { .. }
            | DockerStartContainer { .. }
            | DockerStopContainer { .. }
            | DockerRenameContainer { .. }
            | DockerUpdateContainer { .. }
            | DockerCreateVolume { .. } => Class::Effect,
            Ec2Terminate { .. }
            | EbsDeleteVolume { .. }
            | EbsModifyVolume { .. }
            | EbsDeleteSnapshot { .. }
            | DockerRemoveContainer { .. }
            | DockerRemoveImage { .. }
            | DockerRunOnce { .. }
            | DockerExec { .. }
            | DockerRemoveVolume { .. }
            | DockerMakeFileSystem { .. }
            | DockerGrowFileSystem { .. } => Class::Irreversible,
        }
    }

    /// Every resource the call touches, what it mainly changes first; none for reads and waits.
    ///
    /// `token` names what is created until the result tells its own name.
    pub fn resources(&self, token: &Token) -> Vec<Resource> {
        use Call::*;
        let created = |kind| vec![Resource::Created { kind, host: None, token: token.0.clone() }];
        match self {
            Ec2RunInstance { .. } => created(ResourceKind::Instance),
            EbsCreateVolume { .. } => created(ResourceKind::Volume),
            EbsCreateSnapshot { .. } => created(ResourceKind::Snapshot),
            Ec2Start { instance }
            | Ec2Stop { instance }
            | Ec2Terminate { instance }
            | Ec2SetInstanceType { instance, .. }
            | Ec2Tag { instance, .. }
            | Ec2Untag { instance, .. } => vec![Resource::Instance { id: instance.0.clone() }],
            EbsAttach { volume, instance, .. } | EbsDetach { volume, instance } => vec![
                Resource::Volume { id: volume.0.clone() },
                Resource::Instance { id: instance.0.clone() },
            ],
            EbsDeleteVolume { volume }
            | EbsModifyVolume { volume, .. }
            | EbsTag { volume, .. }
            | EbsUntag { volume, .. } => vec![Resource::Volume { id: volume.0.clone() }],
            EbsDeleteSnapshot { snapshot: id } => vec![Resource::Snapshot { id: id.0.clone() }],
            DockerPullImage { host, image }
            | DockerTagImage { host, image, .. }
            | DockerRemoveImage { host, image } => {
                vec![Resource::Image { host: host.0.clone(), image: image.0.clone() }]
            }
            DockerCreateContainer { host, container, .. }
            | DockerStartContainer { host, container }
            | DockerStopContainer { host, container, .. }
            | DockerUpdateContainer { host, container, .. }
            | DockerRemoveContainer { host, container }
            | DockerExec { host, container, .. } => vec![container_of(host, container)],
            DockerRenameContainer { host, container, to } => {
                vec![container_of(host, container), container_of(host, to)]
            }
            DockerCreateVolume { host, volume, .. } | DockerRemoveVolume { host, volume } => {
                vec![Resource::DockerVolume { host: host.0.clone(), name: volume.0.clone() }]
            }
            DockerMakeFileSystem { host, volume, .. } | DockerGrowFileSystem { host, volume } => {
                vec![Resource::FileSystem { host: host.0.clone(), volume: volume.0.clone() }]
            }
            // An ephemeral container: named by its token, gone when the call is settled.
            DockerRunOnce { host, .. } => vec![container_of(host, &run_once_name(token).into())],
            Ec2Describe { .. }
            | Ec2Find { .. }
            | EbsDescribe { .. }
            | EbsFind { .. }
            | EbsDescribeSnapshot { .. }
            | EbsFindSnapshots { .. }
            | DockerInspectContainer { .. }
            | DockerListContainers { .. }
            | DockerInspectImage { .. }
            | DockerInspectVolume { .. }
            | DockerFileSystem { .. }
            | DockerCheckHelper { .. }
            | DockerLogs { .. }
            | EffectsReverse { .. }
            | ClockNow {}
            | Ec2WaitState { .. }
            | EbsWaitVolume { .. }
            | EbsWaitSnapshot { .. }
            | DockerWaitHealthy { .. }
            | DockerWaitEngine { .. }
            | DockerWaitDevice { .. }
            | DockerWaitUnmounted { .. }
            | ClockSleep { .. } => vec![],
        }
    }

    /// Whether what it makes carries its stamp, so that it can be told from anything of that name.
    pub fn leaves_a_stamp(&self) -> bool {
        matches!(self.settle_mode(), Some(SettleMode::FindByStamp | SettleMode::ReissueSameToken))
    }

    /// How a lost answer is settled (R3); `None` for reads and waits, which are just asked again.
    pub fn settle_mode(&self) -> Option<SettleMode> {
        use Call::*;
        match self {
            Ec2RunInstance { .. } | EbsCreateVolume { .. } => Some(SettleMode::ReissueSameToken),
            EbsCreateSnapshot { .. }
            | DockerCreateContainer { .. }
            | DockerCreateVolume { .. }
            | DockerRunOnce { .. } => Some(SettleMode::FindByStamp),
            DockerExec { .. } => Some(SettleMode::Unknowable),
            Ec2Start { .. }
            | Ec2Stop { .. }
            | Ec2Terminate { .. }
            | Ec2SetInstanceType { .. }
            | Ec2Tag { .. }
            | Ec2Untag { .. }
            | EbsDeleteVolume { .. }
            | EbsAttach { .. }
            | EbsDetach { .. }
            | EbsModifyVolume { .. }
            | EbsDeleteSnapshot { .. }
            | EbsTag { .. }
            | EbsUntag { .. }
            | DockerPullImage { .. }
            | DockerTagImage { .. }
            | DockerStartContainer { .. }
            | DockerStopContainer { .. }
            | DockerRenameContainer { .. }
            | DockerUpdateContainer { .. }
            | DockerRemoveContainer { .. }
            | DockerRemoveImage { .. }
            | DockerRemoveVolume { .. }
            | DockerMakeFileSystem { .. }
            | DockerGrowFileSystem { .. } => Some(SettleMode::DesiredState),
            Ec2Describe { .. }
            | Ec2Find { .. }
            | EbsDescribe { .. }
            | EbsFind { .. }
            | EbsDescribeSnapshot { .. }
            | EbsFindSnapshots { .. }
            | DockerInspectContainer { .. }
            | DockerListContainers { .. }
            | DockerInspectImage { .. }
            | DockerInspectVolume { .. }
            | DockerFileSystem { .. }
            | DockerCheckHelper { .. }
            | DockerLogs { .. }
            | EffectsReverse { .. }
            | ClockNow {}
            | Ec2WaitState { .. }
            | EbsWaitVolume { .. }
            | EbsWaitSnapshot { .. }
            | DockerWaitHealthy { .. }
            | DockerWaitEngine { .. }
            | DockerWaitDevice { .. }
            | DockerWaitUnmounted { .. }
            | ClockSleep { .. } => None,
        }
    }

    /// The same call after so much of its waiting; what is no wait is as it was.
    ///
    /// What waits for the world has the time left for one more look at least.
    pub fn after_waiting(mut self, waited_ms: u64) -> Call {
        use Call::*;
        match &mut self {
            Ec2WaitState { timeout_ms, .. }
            | EbsWaitVolume { timeout_ms, .. }
            | EbsWaitSnapshot { timeout_ms, .. }
            | DockerWaitHealthy { timeout_ms, .. }
            | DockerWaitEngine { timeout_ms, .. }
            | DockerWaitDevice { timeout_ms, .. }
            | DockerWaitUnmounted { timeout_ms, .. } => {
                let left_ms = timeout_ms.saturating_sub(waited_ms);
                *timeout_ms = left_ms.max(LAST_LOOK_MS.min(*timeout_ms));
            }
            ClockSleep { duration_ms } => *duration_ms = duration_ms.saturating_sub(waited_ms),
            Ec2Describe { .. }
            | Ec2Find { .. }
            | Ec2RunInstance { .. }
            | Ec2Start { .. }
            | Ec2Stop { .. }
            | Ec2Terminate { .. }
            | Ec2SetInstanceType { .. }
            | Ec2Tag { .. }
            | Ec2Untag { .. }
            | EbsDescribe { .. }
            | EbsFind { .. }
            | EbsCreateVolume { .. }
            | EbsDeleteVolume { .. }
            | EbsAttach { .. }
            | EbsDetach { .. }
            | EbsModifyVolume { .. }
            | EbsCreateSnapshot { .. }
            | EbsDescribeSnapshot { .. }
            | EbsFindSnapshots { .. }
            | EbsDeleteSnapshot { .. }
            | EbsTag { .. }
            | EbsUntag { .. }
            | DockerInspectContainer { .. }
            | DockerListContainers { .. }
            | DockerInspectImage { .. }
            | DockerInspectVolume { .. }
            | DockerFileSystem { .. }
            | DockerCheckHelper { .. }
            | DockerPullImage { .. }
            | DockerTagImage { .. }
            | DockerCreateContainer { .. }
            | DockerStartContainer { .. }
            | DockerStopContainer { .. }
            | DockerRenameContainer { .. }
            | DockerUpdateContainer { .. }
            | DockerRemoveContainer { .. }
            | DockerRemoveImage { .. }
            | DockerLogs { .. }
            | DockerRunOnce { .. }
            | DockerExec { .. }
            | DockerCreateVolume { .. }
            | DockerRemoveVolume { .. }
            | DockerMakeFileSystem { .. }
            | DockerGrowFileSystem { .. }
            | EffectsReverse { .. }
            | ClockNow {} => {}
        }
        self
    }

    /// How long, in milliseconds, the call itself says that it may take; 0 if it says nothing.
    pub fn own_ms(&self) -> u64 {
        use Call::*;
        match self {
            Ec2WaitState { timeout_ms, .. }
            | EbsWaitVolume { timeout_ms, .. }
            | EbsWaitSnapshot { timeout_ms, .. }
            | DockerWaitHealthy { timeout_ms, .. }
            | DockerWaitEngine { timeout_ms, .. }
            | DockerWaitDevice { timeout_ms, .. }
            | DockerWaitUnmounted { timeout_ms, .. }
            | DockerRunOnce { timeout_ms, .. }
            | DockerExec { timeout_ms, .. } => *timeout_ms,
            DockerStopContainer { grace_ms, .. } => *grace_ms,
            ClockSleep { duration_ms } => *duration_ms,
            Ec2Describe { .. }
            | Ec2Find { .. }
            | Ec2RunInstance { .. }
            | Ec2Start { .. }
            | Ec2Stop { .. }
            | Ec2Terminate { .. }
            | Ec2SetInstanceType { .. }
            | Ec2Tag { .. }
            | Ec2Untag { .. }
            | EbsDescribe { .. }
            | EbsFind { .. }
            | EbsCreateVolume { .. }
            | EbsDeleteVolume { .. }
            | EbsAttach { .. }
            | EbsDetach { .. }
            | EbsModifyVolume { .. }
            | EbsCreateSnapshot { .. }
            | EbsDescribeSnapshot { .. }
            | EbsFindSnapshots { .. }
            | EbsDeleteSnapshot { .. }
            | EbsTag { .. }
            | EbsUntag { .. }
            | DockerInspectContainer { .. }
            | DockerListContainers { .. }
            | DockerInspectImage { .. }
            | DockerInspectVolume { .. }
            | DockerFileSystem { .. }
            | DockerCheckHelper { .. }
            | DockerPullImage { .. }
            | DockerTagImage { .. }
            | DockerCreateContainer { .. }
            | DockerStartContainer { .. }
            | DockerRenameContainer { .. }
            | DockerUpdateContainer { .. }
            | DockerRemoveContainer { .. }
            | DockerRemoveImage { .. }
            | DockerLogs { .. }
            | DockerCreateVolume { .. }
            | DockerRemoveVolume { .. }
            | DockerMakeFileSystem { .. }
            | DockerGrowFileSystem { .. }
            | EffectsReverse { .. }
            | ClockNow {} => 0,
        }
    }

    /// Whether the call changes the world at all.
    pub fn is_effect(&self) -> bool {
        matches!(self.class(), Class::Effect | Class::Irreversible)
    }
}

fn container_of(host: &InstanceId, container: &ContainerName) -> Resource {
    Resource::Container { host: host.0.clone(), name: container.0.clone() }
}
