//! EC2 instances (Amazon EC2 API Reference).

use super::area::Beside;
use super::docker::{DockerCall, runs_as_before};
use super::entry::*;
use super::inverse::{Inverse, Reversal, Undo, nameless, tag, text};
use super::shapes::Tags;
use super::{Call, functions};
use crate::ids::*;
use crate::interface::Interface;
use crate::resource::{Resource, ResourceKind};

/// How long an instance's engine may take to answer after the instance runs: a machine boots.
const ENGINE_MS_MAX: u64 = 300_000;

functions! {
    /// A call to EC2 about instances.
    Ec2Call of Interface::Ec2 {
        Describe "ec2.describe" { instance: InstanceId },
        Find "ec2.find" { tags: Tags },
        RunInstance "ec2.run-instance" {
            image: String, instance_type: String, zone: String, tags: Tags,
        },
        Start "ec2.start" { instance: InstanceId },
        Stop "ec2.stop" { instance: InstanceId },
        Terminate "ec2.terminate" { instance: InstanceId },
        SetInstanceType "ec2.set-instance-type" { instance: InstanceId, instance_type: String },
        WaitState "ec2.wait-state" { instance: InstanceId, state: String, timeout_ms: u64 },
        Tag "ec2.tag" { instance: InstanceId, key: String, value: String },
        Untag "ec2.untag" { instance: InstanceId, key: String },
    }
}

/// The questions of this interface, as a pattern.
#[macro_export]
macro_rules! ec2_reads {
    () => {
        $crate::Ec2Call::Describe { .. } | $crate::Ec2Call::Find { .. }
    };
}

/// Its waits, as a pattern.
#[macro_export]
macro_rules! ec2_waits {
    () => {
        $crate::Ec2Call::WaitState { .. }
    };
}

/// Its effects, as a pattern.
#[macro_export]
macro_rules! ec2_effects {
    () => {
        $crate::Ec2Call::RunInstance { .. }
            | $crate::Ec2Call::Start { .. }
            | $crate::Ec2Call::Stop { .. }
            | $crate::Ec2Call::Terminate { .. }
            | $crate::Ec2Call::SetInstanceType { .. }
            | $crate::Ec2Call::Tag { .. }
            | $crate::Ec2Call::Untag { .. }
    };
}

impl Ec2Call {
    /// What is to be known of it.
    pub(super) fn entry(&self) -> Entry<'_> {
        match self {
            Ec2Call::Describe { .. } | Ec2Call::Find { .. } => Entry::read(None),
            Ec2Call::WaitState { .. } => Entry::wait(None, Takes::UpTo("timeout_ms")),
            Ec2Call::RunInstance { tags, .. } => run_instance(tags),
            Ec2Call::Start { instance } => start(instance),
            Ec2Call::Stop { instance } => stop(instance),
            Ec2Call::Terminate { instance } => terminate(instance),
            Ec2Call::SetInstanceType { instance, instance_type } => {
                set_instance_type(instance, instance_type)
            }
            Ec2Call::Tag { instance, key, value } => tags(instance, key, Some(value)),
            Ec2Call::Untag { instance, key } => tags(instance, key, None),
        }
    }
}

fn run_instance(tags: &Tags) -> Entry<'_> {
    Entry {
        class: Class::Effect,
        touches: Touches::New(ResourceKind::Instance),
        changes: Changes::Whole,
        sets: Sets::Nothing,
        beside: None,
        shares: None,
        before: None,
        settle: Some(SettleMode::ReissueSameToken),
        inverse: Inverse::of_done(|undo| match undo.resource {
            Resource::Instance { id } => {
                Reversal::one(Ec2Call::Terminate { instance: id.as_str().into() })
            }
            _ => nameless(undo),
        }),
        host: None,
        takes: Takes::Moments,
        tags: WrittenTags::All(tags),
        leaves_behind: false,
        sinks: Sinks::None,
    }
}

/// It brings containers up by their own restart policies, and taking it back takes them down with
/// the instance, so nothing beside it needs to be looked at.
fn start(instance: &InstanceId) -> Entry<'_> {
    Entry {
        class: Class::Effect,
        touches: Touches::One(Target::Instance(instance)),
        changes: Changes::Host(instance),
        sets: Sets::Nothing,
        beside: None,
        shares: None,
        before: None,
        settle: Some(SettleMode::DesiredState),
        inverse: Inverse::call(|| Ec2Call::Stop { instance: instance.clone() }),
        host: None,
        takes: Takes::Moments,
        tags: WrittenTags::None,
        leaves_behind: false,
        sinks: Sinks::None,
    }
}

fn stop(instance: &InstanceId) -> Entry<'_> {
    Entry {
        class: Class::Effect,
        touches: Touches::One(Target::Instance(instance)),
        changes: Changes::Host(instance),
        sets: Sets::Nothing,
        beside: Some(Beside::Containers(instance.clone())),
        shares: None,
        before: None,
        settle: Some(SettleMode::DesiredState),
        // What ran on it may be down, though the instance itself runs again.
        inverse: Inverse::of_any(|undo| start_again(instance, undo)),
        host: None,
        takes: Takes::Moments,
        tags: WrittenTags::None,
        leaves_behind: false,
        sinks: Sinks::None,
    }
}

fn terminate(instance: &InstanceId) -> Entry<'_> {
    Entry {
        class: Class::Irreversible,
        touches: Touches::One(Target::Instance(instance)),
        changes: Changes::Host(instance),
        sets: Sets::Nothing,
        beside: Some(Beside::ContainersAndVolumes(instance.clone())),
        shares: None,
        before: None,
        settle: Some(SettleMode::DesiredState),
        inverse: Inverse::None,
        host: None,
        takes: Takes::Moments,
        tags: WrittenTags::None,
        leaves_behind: false,
        sinks: Sinks::None,
    }
}

fn set_instance_type<'a>(instance: &'a InstanceId, instance_type: &'a str) -> Entry<'a> {
    Entry {
        class: Class::Effect,
        touches: Touches::One(Target::Instance(instance)),
        changes: Changes::Facts(&["type"]),
        sets: Sets::Text("type", instance_type),
        beside: None,
        shares: None,
        before: None,
        settle: Some(SettleMode::DesiredState),
        inverse: Inverse::of_done(|undo| match text(undo.before, "type") {
            Some(before) => Reversal::one(Ec2Call::SetInstanceType {
                instance: instance.clone(),
                instance_type: before.to_owned(),
            }),
            None => Reversal::unread(undo, "type"),
        }),
        host: None,
        takes: Takes::Moments,
        tags: WrittenTags::None,
        leaves_behind: false,
        sinks: Sinks::None,
    }
}

/// The entry of a call that sets a tag, or takes it away.
fn tags<'a>(instance: &'a InstanceId, key: &'a str, value: Option<&'a str>) -> Entry<'a> {
    Entry {
        class: Class::Effect,
        touches: Touches::One(Target::Instance(instance)),
        changes: Changes::Tag(key),
        sets: Sets::Tag(key, value),
        beside: None,
        shares: None,
        before: None,
        settle: Some(SettleMode::DesiredState),
        inverse: Inverse::of_done(move |undo| {
            let (instance, key) = (instance.clone(), key.to_owned());
            Reversal::one(match tag(undo.before, &key) {
                Some(value) => Ec2Call::Tag { instance, key, value },
                None => Ec2Call::Untag { instance, key },
            })
        }),
        host: None,
        takes: Takes::Moments,
        tags: WrittenTags::One(key),
        leaves_behind: false,
        sinks: Sinks::None,
    }
}

/// Start an instance again, and with it what ran on it; what did not run there is stopped again,
/// should its restart policy bring it up (Docker docs, *Start containers automatically*).
///
/// An engine that can't be asked now, because its instance is down, is asked when it is up: a
/// container that runs already is not started twice.
fn start_again(instance: &InstanceId, undo: &Undo<'_>) -> Reversal {
    // Undos of other steps may need the engine next, whatever this one has to do there.
    let is_container = |resource: &Resource| matches!(resource, Resource::Container { .. });
    let has_engine = undo.others.iter().any(|other| is_container(other.resource));
    let on_engine: Vec<Call> = undo.others.iter().flat_map(runs_as_before).collect();
    let mut calls: Vec<Call> = vec![];
    if undo.is_done {
        calls.push(Ec2Call::Start { instance: instance.clone() }.into());
    }
    if !on_engine.is_empty() || undo.is_done && has_engine {
        let (host, timeout_ms) = (instance.clone(), ENGINE_MS_MAX);
        calls.push(DockerCall::WaitEngine { host, timeout_ms }.into());
        calls.extend(on_engine);
    }
    if calls.is_empty() { Reversal::NothingToDo } else { Reversal::Calls(calls) }
}
