//! Steps on EBS volumes and snapshots.
//!
//! Each step waits until the volume or snapshot is what it was asked to become; checks tell apart
//! what an earlier step may still bring about (*not yet*) from what none could (*refused*).

mod checks;
mod finding;
mod kinds;
mod snapshots;
mod volumes;

pub use checks::{CheckVolume, NoVolume};
pub use finding::FindVolume;
pub use snapshots::{CreateSnapshot, DeleteSnapshot, FindSnapshot, WaitSnapshot};
pub use volumes::{
    AttachVolume, CreateVolume, DeleteVolume, DescribeVolume, DetachVolume, ModifyVolume,
    TagVolume, UntagVolume,
};

stepback_sdk::export_steps!(
    DescribeVolume,
    FindVolume,
    NoVolume,
    CheckVolume,
    CreateVolume,
    DeleteVolume,
    AttachVolume,
    DetachVolume,
    ModifyVolume,
    TagVolume,
    UntagVolume,
    CreateSnapshot,
    DeleteSnapshot,
    WaitSnapshot,
    FindSnapshot,
);

#[cfg(test)]
mod tests;
