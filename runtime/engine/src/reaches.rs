//! Which containers that are made anew would reach their host: told in a plan.
//!
//! The program's own steps make what a manifest says, so a plan says how far that goes: a container
//! like a privileged one is privileged too, and one on a Docker volume of the host's files sees
//! them.

use crate::access::WorldAccess;
use crate::guard::reach_of;
use crate::preflight::StepCheck;
use serde_json::Value;
use stepback_core::calls::{ContainerSpec, DockerCall, Like, Mount};
use stepback_core::{Call, StepKey};

/// A step whose new container would reach its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reaches {
    /// The step that makes it.
    pub step: StepKey,
    /// What it may do there, a sentence each.
    pub what: Vec<String>,
}

/// Those of the steps whose inputs are known.
pub(crate) async fn reaches(access: &WorldAccess, checks: &[StepCheck]) -> Vec<Reaches> {
    let mut all = vec![];
    for check in checks {
        let Some(call) = check.with.as_ref().and_then(made) else { continue };
        // That it can't be looked at is no reason against a plan.
        let what = reach_of(access, &call).await.unwrap_or_else(|why| vec![why.message]);
        if !what.is_empty() {
            all.push(Reaches { step: check.step.clone(), what });
        }
    }
    all
}

/// The container that a step's `with` describes, as far as it counts here.
fn made(with: &Value) -> Option<Call> {
    let like: Option<Like> =
        with.get("like").and_then(|like| serde_json::from_value(like.clone()).ok());
    let mounts: Vec<Mount> = with
        .get("mounts")
        .and_then(|mounts| serde_json::from_value(mounts.clone()).ok())
        .unwrap_or_default();
    if like.is_none() && mounts.is_empty() {
        return None;
    }
    let host = with.get("host")?.as_str()?.into();
    let name = with.get("container").and_then(Value::as_str).unwrap_or("new").into();
    let spec = ContainerSpec { like, mounts, ..ContainerSpec::default() };
    Some(Call::Docker(DockerCall::CreateContainer { host, container: name, spec }))
}
