//! Docker Engines (Docker docs, *Engine API*); each call names the host that its engine runs on.

use super::entry::*;
use super::inverse::{Inverse, Other, Reversal, Undo, nameless, text};
use super::shapes::{ContainerSpec, Tags};
use super::{Call, functions};
use crate::ids::*;
use crate::interface::Interface;
use crate::resource::{Facts, Resource};
use serde_json::Value;
use std::collections::BTreeMap;

/// How long a container gets to stop by itself when an undo stops it.
const UNDO_GRACE_MS: u64 = 30_000;

functions! {
    /// A call to a Docker Engine.
    DockerCall of Interface::Docker {
        InspectContainer "docker.inspect-container" { host: InstanceId, container: ContainerName },
        ListContainers "docker.list-containers" { host: InstanceId },
        FindContainers "docker.find-containers" { host: InstanceId, labels: Tags },
        InspectImage "docker.inspect-image" { host: InstanceId, image: ImageRef },
        InspectVolume "docker.inspect-volume" { host: InstanceId, volume: DockerVolumeName },
        FileSystem "docker.filesystem" { host: InstanceId, volume: VolumeId },
        CheckHelper "docker.check-helper" { host: InstanceId },
        PullImage "docker.pull-image" { host: InstanceId, image: ImageRef },
        CreateContainer "docker.create-container" {
            host: InstanceId, container: ContainerName, spec: ContainerSpec,
        },
        StartContainer "docker.start-container" { host: InstanceId, container: ContainerName },
        StopContainer "docker.stop-container" {
            host: InstanceId, container: ContainerName, grace_ms: u64,
        },
        PauseContainer "docker.pause-container" { host: InstanceId, container: ContainerName },
        UnpauseContainer "docker.unpause-container" {
            host: InstanceId, container: ContainerName,
        },
        RenameContainer "docker.rename-container" {
            host: InstanceId, container: ContainerName, to: ContainerName,
        },
        UpdateContainer "docker.update-container" {
            host: InstanceId, container: ContainerName, restart: String,
        },
        RemoveContainer "docker.remove-container" { host: InstanceId, container: ContainerName },
        TagImage "docker.tag-image" { host: InstanceId, image: ImageRef, digest: String },
        RemoveImage "docker.remove-image" { host: InstanceId, image: ImageRef },
        WaitHealthy "docker.wait-healthy" {
            host: InstanceId, container: ContainerName, timeout_ms: u64,
        },
        WaitEngine "docker.wait-engine" { host: InstanceId, timeout_ms: u64 },
        WaitDevice "docker.wait-device" { host: InstanceId, volume: VolumeId, timeout_ms: u64 },
        WaitUnmounted "docker.wait-unmounted" {
            host: InstanceId, volume: VolumeId, timeout_ms: u64,
        },
        Logs "docker.logs" { host: InstanceId, container: ContainerName, tail_lines: u32 },
        RunOnce "docker.run-once" { host: InstanceId, spec: ContainerSpec, timeout_ms: u64 },
        Exec "docker.exec" {
            host: InstanceId, container: ContainerName, command: Vec<String>, timeout_ms: u64,
        },
        CreateVolume "docker.create-volume" {
            host: InstanceId, volume: DockerVolumeName, options: BTreeMap<String, String>,
        },
        RemoveVolume "docker.remove-volume" { host: InstanceId, volume: DockerVolumeName },
        MakeFileSystem "docker.make-filesystem" {
            host: InstanceId, volume: VolumeId, filesystem_type: String,
        },
        GrowFileSystem "docker.grow-filesystem" { host: InstanceId, volume: VolumeId },
    }
}

/// The questions of this interface, as a pattern.
#[macro_export]
macro_rules! docker_reads {
    () => {
        $crate::DockerCall::InspectContainer { .. }
            | $crate::DockerCall::ListContainers { .. }
            | $crate::DockerCall::FindContainers { .. }
            | $crate::DockerCall::InspectImage { .. }
            | $crate::DockerCall::InspectVolume { .. }
            | $crate::DockerCall::FileSystem { .. }
            | $crate::DockerCall::CheckHelper { .. }
            | $crate::DockerCall::Logs { .. }
    };
}

/// Its waits, as a pattern.
#[macro_export]
macro_rules! docker_waits {
    () => {
        $crate::DockerCall::WaitHealthy { .. }
            | $crate::DockerCall::WaitEngine { .. }
            | $crate::DockerCall::WaitDevice { .. }
            | $crate::DockerCall::WaitUnmounted { .. }
    };
}

/// Its effects, as a pattern.
#[macro_export]
macro_rules! docker_effects {
    () => {
        $crate::DockerCall::PullImage { .. }
            | $crate::DockerCall::CreateContainer { .. }
            | $crate::DockerCall::StartContainer { .. }
            | $crate::DockerCall::StopContainer { .. }
            | $crate::DockerCall::PauseContainer { .. }
            | $crate::DockerCall::UnpauseContainer { .. }
            | $crate::DockerCall::RenameContainer { .. }
            | $crate::DockerCall::UpdateContainer { .. }
            | $crate::DockerCall::RemoveContainer { .. }
            | $crate::DockerCall::TagImage { .. }
            | $crate::DockerCall::RemoveImage { .. }
            | $crate::DockerCall::RunOnce { .. }
            | $crate::DockerCall::Exec { .. }
            | $crate::DockerCall::CreateVolume { .. }
            | $crate::DockerCall::RemoveVolume { .. }
            | $crate::DockerCall::MakeFileSystem { .. }
            | $crate::DockerCall::GrowFileSystem { .. }
    };
}

impl DockerCall {
    /// What is to be known of it.
    pub(super) fn entry(&self) -> Entry<'_> {
        match self {
            DockerCall::InspectContainer { host, .. }
            | DockerCall::ListContainers { host }
            | DockerCall::FindContainers { host, .. }
            | DockerCall::InspectImage { host, .. }
            | DockerCall::InspectVolume { host, .. }
            | DockerCall::FileSystem { host, .. }
            | DockerCall::CheckHelper { host }
            | DockerCall::Logs { host, .. } => Entry::read(Some(host)),
            DockerCall::WaitHealthy { host, .. }
            | DockerCall::WaitEngine { host, .. }
            | DockerCall::WaitDevice { host, .. }
            | DockerCall::WaitUnmounted { host, .. } => {
                Entry::wait(Some(host), Takes::UpTo("timeout_ms"))
            }
            DockerCall::PullImage { host, image } => pull_image(host, image),
            DockerCall::TagImage { host, image, .. } => tag_image(host, image),
            DockerCall::RemoveImage { host, image } => {
                irreversible(host, Target::Image(host, image), Changes::Whole)
            }
            DockerCall::CreateContainer { host, container, .. } => {
                create_container(host, container)
            }
            DockerCall::StartContainer { host, container } => start_container(host, container),
            DockerCall::StopContainer { host, container, .. } => {
                stop_container(self, host, container)
            }
            DockerCall::PauseContainer { host, container } => pause(host, container, true),
            DockerCall::UnpauseContainer { host, container } => pause(host, container, false),
            DockerCall::RenameContainer { host, container, to } => {
                rename_container(host, container, to)
            }
            DockerCall::UpdateContainer { host, container, restart } => {
                update_container(host, container, restart)
            }
            DockerCall::RemoveContainer { host, container } => {
                irreversible(host, Target::Container(host, container), Changes::Whole)
            }
            DockerCall::RunOnce { host, .. } => Entry {
                settle: Some(SettleMode::FindByStamp),
                takes: Takes::UpTo("timeout_ms"),
                leaves_behind: true,
                sinks: Sinks::Container,
                ..irreversible(host, Target::RunOnce(host), Changes::Whole)
            },
            // What a command did inside a container is none of its facts.
            DockerCall::Exec { host, container, .. } => Entry {
                settle: Some(SettleMode::Unknowable),
                takes: Takes::UpTo("timeout_ms"),
                sinks: Sinks::Command,
                ..irreversible(host, Target::Container(host, container), Changes::Nothing)
            },
            DockerCall::CreateVolume { host, volume, .. } => create_volume(host, volume),
            DockerCall::RemoveVolume { host, volume } => {
                irreversible(host, Target::DockerVolume(host, volume), Changes::Whole)
            }
            DockerCall::MakeFileSystem { host, volume, .. } => {
                irreversible(host, Target::FileSystem(host, volume), Changes::Whole)
            }
            DockerCall::GrowFileSystem { host, volume } => {
                irreversible(host, Target::FileSystem(host, volume), Changes::Facts(&["size_gib"]))
            }
        }
    }
}

fn irreversible<'a>(host: &'a InstanceId, target: Target<'a>, changes: Changes<'a>) -> Entry<'a> {
    Entry {
        class: Class::Irreversible,
        touches: Touches::One(target),
        changes,
        sets: Sets::Nothing,
        beside: None,
        shares: None,
        before: None,
        settle: Some(SettleMode::DesiredState),
        inverse: Inverse::None,
        host: Some(host),
        takes: Takes::Moments,
        tags: WrittenTags::None,
        leaves_behind: false,
        sinks: Sinks::None,
    }
}

fn pull_image<'a>(host: &'a InstanceId, image: &'a ImageRef) -> Entry<'a> {
    Entry {
        class: Class::Effect,
        touches: Touches::One(Target::Image(host, image)),
        changes: Changes::Whole,
        sets: Sets::Nothing,
        beside: None,
        shares: None,
        before: None,
        settle: Some(SettleMode::DesiredState),
        inverse: Inverse::of_done(|undo| name_again(host, image, undo)),
        host: Some(host),
        takes: Takes::Moments,
        tags: WrittenTags::None,
        leaves_behind: false,
        sinks: Sinks::None,
    }
}

fn tag_image<'a>(host: &'a InstanceId, image: &'a ImageRef) -> Entry<'a> {
    Entry {
        class: Class::Effect,
        touches: Touches::One(Target::Image(host, image)),
        changes: Changes::Whole,
        sets: Sets::Nothing,
        beside: None,
        shares: None,
        before: None,
        settle: Some(SettleMode::DesiredState),
        inverse: Inverse::of_done(|undo| match undo.before.is_absent() {
            // A name that meant nothing is taken away again.
            true => {
                Reversal::one(DockerCall::RemoveImage { host: host.clone(), image: image.clone() })
            }
            false => name_again(host, image, undo),
        }),
        host: Some(host),
        takes: Takes::Moments,
        tags: WrittenTags::None,
        leaves_behind: false,
        sinks: Sinks::None,
    }
}

/// What the name meant before: whoever starts a container by it would start another image.
fn name_again(host: &InstanceId, image: &ImageRef, undo: &Undo<'_>) -> Reversal {
    let Some(digest) = text(undo.before, "digest") else {
        return Reversal::Kept("an image in a host's cache changes nothing".into());
    };
    let (host, image, digest) = (host.clone(), image.clone(), digest.to_owned());
    Reversal::one(DockerCall::TagImage { host, image, digest })
}

fn create_container<'a>(host: &'a InstanceId, container: &'a ContainerName) -> Entry<'a> {
    Entry {
        class: Class::Effect,
        touches: Touches::One(Target::Container(host, container)),
        changes: Changes::Whole,
        sets: Sets::Nothing,
        beside: None,
        shares: None,
        before: None,
        settle: Some(SettleMode::FindByStamp),
        inverse: Inverse::of_done(remove_container),
        host: Some(host),
        takes: Takes::Moments,
        tags: WrittenTags::None,
        leaves_behind: false,
        sinks: Sinks::Container,
    }
}

/// Take away a container that was made, whatever it is called by now.
fn remove_container(undo: &Undo<'_>) -> Reversal {
    let Resource::Container { host, name } = undo.resource else { return nameless(undo) };
    let (host, container) = (InstanceId::from(host.as_str()), ContainerName::from(name.as_str()));
    let mut calls: Vec<Call> = vec![];
    if undo.now.get("running") == Some(&Value::Bool(true)) {
        calls.push(stopping(&host, &container).into());
    }
    calls.push(DockerCall::RemoveContainer { host, container }.into());
    Reversal::Calls(calls)
}

fn stopping(host: &InstanceId, container: &ContainerName) -> DockerCall {
    let (host, container) = (host.clone(), container.clone());
    DockerCall::StopContainer { host, container, grace_ms: UNDO_GRACE_MS }
}

fn starting(host: &InstanceId, container: &ContainerName) -> DockerCall {
    DockerCall::StartContainer { host: host.clone(), container: container.clone() }
}

fn start_container<'a>(host: &'a InstanceId, container: &'a ContainerName) -> Entry<'a> {
    Entry {
        class: Class::Effect,
        touches: Touches::One(Target::Container(host, container)),
        changes: Changes::Facts(&["running"]),
        sets: Sets::Flag("running", true),
        beside: None,
        shares: None,
        before: None,
        settle: Some(SettleMode::DesiredState),
        inverse: Inverse::call(|| stopping(host, container)),
        host: Some(host),
        takes: Takes::Moments,
        tags: WrittenTags::None,
        leaves_behind: false,
        sinks: Sinks::None,
    }
}

fn stop_container<'a>(
    stop: &'a DockerCall,
    host: &'a InstanceId,
    container: &'a ContainerName,
) -> Entry<'a> {
    Entry {
        class: Class::Effect,
        touches: Touches::One(Target::Container(host, container)),
        // What is frozen goes on, and then ends.
        changes: Changes::Facts(&["running", "paused"]),
        sets: Sets::Flag("running", false),
        beside: None,
        shares: None,
        before: None,
        settle: Some(SettleMode::DesiredState),
        inverse: Inverse::of_any(move |undo| {
            let start = starting(host, container);
            let ran = undo.before.get("running") == Some(&Value::Bool(true));
            let mut calls: Vec<Call> = vec![start.into()];
            if undo.before.get("paused") == Some(&Value::Bool(true)) {
                calls.push(pausing(host, container, true).into());
            }
            match undo.is_done {
                true => Reversal::Calls(calls),
                // It may still be on its way: only one that is waited for has ended.
                false if undo.is_unknown && ran => {
                    calls.insert(0, stop.clone().into());
                    Reversal::Calls(calls)
                }
                false => Reversal::NothingToDo,
            }
        }),
        host: Some(host),
        takes: Takes::UpTo("grace_ms"),
        tags: WrittenTags::None,
        leaves_behind: false,
        sinks: Sinks::None,
    }
}

fn pausing(host: &InstanceId, container: &ContainerName, is_paused: bool) -> DockerCall {
    let (host, container) = (host.clone(), container.clone());
    match is_paused {
        true => DockerCall::PauseContainer { host, container },
        false => DockerCall::UnpauseContainer { host, container },
    }
}

/// The entry of a call that freezes a container, or lets it go on.
fn pause<'a>(host: &'a InstanceId, container: &'a ContainerName, is_paused: bool) -> Entry<'a> {
    Entry {
        class: Class::Effect,
        touches: Touches::One(Target::Container(host, container)),
        changes: Changes::Facts(&["paused"]),
        sets: Sets::Flag("paused", is_paused),
        beside: None,
        shares: None,
        before: None,
        settle: Some(SettleMode::DesiredState),
        inverse: Inverse::call(move || pausing(host, container, !is_paused)),
        host: Some(host),
        takes: Takes::Moments,
        tags: WrittenTags::None,
        leaves_behind: false,
        sinks: Sinks::None,
    }
}

fn rename_container<'a>(
    host: &'a InstanceId,
    container: &'a ContainerName,
    to: &'a ContainerName,
) -> Entry<'a> {
    let [from, into] = [container, to].map(|name| Target::Container(host, name));
    Entry {
        class: Class::Effect,
        touches: Touches::Renamed(from, into),
        changes: Changes::Whole,
        sets: Sets::Nothing,
        beside: None,
        shares: None,
        before: None,
        settle: Some(SettleMode::DesiredState),
        inverse: Inverse::call(|| DockerCall::RenameContainer {
            host: host.clone(),
            container: to.clone(),
            to: container.clone(),
        }),
        host: Some(host),
        takes: Takes::Moments,
        tags: WrittenTags::None,
        leaves_behind: false,
        sinks: Sinks::None,
    }
}

fn update_container<'a>(
    host: &'a InstanceId,
    container: &'a ContainerName,
    restart: &'a str,
) -> Entry<'a> {
    Entry {
        class: Class::Effect,
        touches: Touches::One(Target::Container(host, container)),
        changes: Changes::Facts(&["restart"]),
        // It holds its count.
        sets: Sets::RestartPolicy(restart),
        beside: None,
        shares: None,
        before: None,
        settle: Some(SettleMode::DesiredState),
        inverse: Inverse::of_done(|undo| match text(undo.before, "restart") {
            Some(restart) => Reversal::one(DockerCall::UpdateContainer {
                host: host.clone(),
                container: container.clone(),
                restart: restart.to_owned(),
            }),
            None => Reversal::unread(undo, "restart"),
        }),
        host: Some(host),
        takes: Takes::Moments,
        tags: WrittenTags::None,
        leaves_behind: false,
        sinks: Sinks::None,
    }
}

fn create_volume<'a>(host: &'a InstanceId, volume: &'a DockerVolumeName) -> Entry<'a> {
    Entry {
        class: Class::Effect,
        touches: Touches::One(Target::DockerVolume(host, volume)),
        changes: Changes::Whole,
        sets: Sets::Nothing,
        beside: None,
        shares: None,
        before: None,
        settle: Some(SettleMode::FindByStamp),
        inverse: Inverse::of_done(|undo| match undo.resource {
            Resource::DockerVolume { host, name } => Reversal::one(DockerCall::RemoveVolume {
                host: host.as_str().into(),
                volume: name.as_str().into(),
            }),
            _ => nameless(undo),
        }),
        host: Some(host),
        takes: Takes::Moments,
        tags: WrittenTags::None,
        leaves_behind: false,
        sinks: Sinks::None,
    }
}

/// The calls that let a container run, or not run, as it did before its host went down.
pub(super) fn runs_as_before(other: &Other<'_>) -> Vec<Call> {
    let Resource::Container { host, name } = other.resource else { return vec![] };
    let flag = |facts: &Facts, name: &str| facts.get(name).and_then(Value::as_bool);
    let (Some(ran), found) = (flag(other.before, "running"), other.now) else { return vec![] };
    if found.is_some_and(|found| found.is_absent() || found.is_another(other.before)) {
        return vec![];
    }
    let runs = found.and_then(|found| flag(found, "running"));
    let comes_by_itself = !matches!(text(other.before, "restart"), Some("no"));
    let (host, container) = (InstanceId::from(host.as_str()), ContainerName::from(name.as_str()));
    let mut calls: Vec<Call> = vec![];
    match (ran, runs) {
        (true, None | Some(false)) => calls.push(starting(&host, &container).into()),
        (false, Some(true)) => calls.push(stopping(&host, &container).into()),
        (false, None) if comes_by_itself => calls.push(stopping(&host, &container).into()),
        (true, Some(true)) | (false, None | Some(false)) => {}
    }
    // What comes up anew is not frozen; one that is not looked at was ended with its host.
    let is_frozen =
        runs == Some(true) && found.and_then(|found| flag(found, "paused")) == Some(true);
    if ran && flag(other.before, "paused") == Some(true) && !is_frozen {
        calls.push(pausing(&host, &container, true).into());
    }
    calls
}
