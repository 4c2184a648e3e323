//! Steps on Docker Engines: images, containers, volumes and the file systems in them.
//!
//! `host` is always the instance whose engine is meant.

mod checks;
mod commands;
mod containers;
mod engines;
mod images;
mod running;
mod volumes;

use stepback_sdk::{Failure, FailureClass, may};

pub use checks::{CheckPorts, CheckReplace};
pub use commands::{Exec, RunOnce};
pub use containers::{
    CreateContainer, FindContainers, InspectContainer, RemoveContainer, RenameContainer,
    RunContainer,
};
pub use engines::WaitEngine;
pub use images::{InspectImage, PullImage};
pub use running::{
    PauseContainer, SetRestartPolicy, StartContainer, StopContainer, UnpauseContainer, WaitHealthy,
};
pub use volumes::{
    CheckHelper, CreateVolume, GrowFilesystem, MakeFilesystem, RemoveVolume, WaitDevice,
    WaitUnmounted,
};

/// In a check: whether a call is granted, and whether an engine would take it at all; what else
/// speaks against it may be over by then.
///
/// # Errors
/// A `denied`, or the `invalid-input` of a name or an option that no engine takes.
fn sensible<T>(call: impl FnOnce() -> Result<T, Failure>) -> Result<(), Failure> {
    match may(call) {
        Err(answer)
            if matches!(answer.class, FailureClass::Denied | FailureClass::InvalidInput) =>
        {
            Err(answer)
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

stepback_sdk::export_steps!(
    PullImage,
    InspectImage,
    InspectContainer,
    FindContainers,
    CreateContainer,
    RunContainer,
    StartContainer,
    StopContainer,
    PauseContainer,
    UnpauseContainer,
    SetRestartPolicy,
    RemoveContainer,
    RenameContainer,
    WaitHealthy,
    WaitEngine,
    RunOnce,
    Exec,
    CheckHelper,
    CheckPorts,
    CheckReplace,
    CreateVolume,
    RemoveVolume,
    WaitDevice,
    WaitUnmounted,
    MakeFilesystem,
    GrowFilesystem,
);

#[cfg(test)]
mod tests;
