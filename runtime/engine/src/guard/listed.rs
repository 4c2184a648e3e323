//! What of an answer is a list of things, and what each of these is.

use serde_json::Value;
use stepback_core::calls::{DockerCall, EbsCall, Ec2Call};
use stepback_core::{Call, Resource, ResourceKind};

/// Whether a call asks what there is of a kind, by tags or labels: that there is none, or one
/// alone, is what somebody goes by.
pub(super) fn is_search(call: &Call) -> bool {
    matches!(
        call,
        Call::Ec2(Ec2Call::Find { .. })
            | Call::Ebs(EbsCall::Find { .. } | EbsCall::FindSnapshots { .. })
            | Call::Docker(DockerCall::FindContainers { .. })
    )
}

/// What of an answer is a list of things: all of it, or a pool's targets.
pub(super) fn list_in(answer: &mut Value) -> Option<&mut Vec<Value>> {
    match answer {
        Value::Array(list) => Some(list),
        Value::Object(record) => record.get_mut("targets")?.as_array_mut(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// What an element of a list is.
pub(super) fn resource_of(kind: ResourceKind, call: &Call, item: &Value) -> Option<Resource> {
    let text = |name: &str| item.get(name).and_then(Value::as_str).map(str::to_owned);
    match kind {
        ResourceKind::Instance => {
            // A target of a pool is told by where it is.
            Some(Resource::Instance { id: text("id").or_else(|| text("host"))? })
        }
        ResourceKind::Volume => Some(Resource::Volume { id: text("id")? }),
        ResourceKind::Snapshot => Some(Resource::Snapshot { id: text("id")? }),
        ResourceKind::Container => {
            Some(Resource::Container { host: call.host()?.0.clone(), name: text("name")? })
        }
        ResourceKind::Image
        | ResourceKind::DockerVolume
        | ResourceKind::FileSystem
        | ResourceKind::Containers
        | ResourceKind::Pool
        | ResourceKind::PoolTarget => None,
    }
}
