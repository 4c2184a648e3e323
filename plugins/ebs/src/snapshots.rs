//! Steps on snapshots.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use stepback_sdk::{
    Check, Duration, Failure, NOT_KNOWN_YET, Step, ebs, ebs::VolumeState, granted, may, pairs,
    precondition, tag_map, unfit_tags,
};

/// A first snapshot copies the whole volume, which takes hours for a large one.
const SNAPSHOT_WAIT: Duration = Duration::seconds(4 * 3600);

fn snapshot_wait() -> Duration {
    SNAPSHOT_WAIT
}

#[derive(Serialize, JsonSchema)]
pub struct Snapshot {
    pub id: String,
    pub volume: String,
    pub state: String,
    pub size_gib: u32,
    pub tags: BTreeMap<String, String>,
}

impl From<ebs::Snapshot> for Snapshot {
    fn from(snapshot: ebs::Snapshot) -> Self {
        let ebs::Snapshot { id, volume, state, size_gib, tags } = snapshot;
        Self { id, volume, state: state.to_string(), size_gib, tags: tag_map(&tags) }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateInput {
    volume: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default = "snapshot_wait")]
    timeout: Duration,
}

const DESCRIPTION_CHARS_MAX: usize = 255;

pub struct CreateSnapshot;

impl Step for CreateSnapshot {
    type Input = CreateInput;
    type Output = Snapshot;
    const NAME: &'static str = "create-snapshot";
    const DOC: &'static str = "Take a snapshot of a volume and wait until it is complete.";

    fn check(input: &CreateInput) -> Result<Check, Failure> {
        // (Amazon EC2 API Reference, *CreateSnapshot*).
        if input.description.chars().count() > DESCRIPTION_CHARS_MAX {
            let why = format!("a description has at most {DESCRIPTION_CHARS_MAX} characters");
            return Ok(Check::Refused(why));
        }
        if let Some(why) = unfit_tags(&input.tags) {
            return Ok(Check::Refused(why));
        }
        may(|| ebs::create_snapshot(&input.volume, &input.description, &pairs(&input.tags)))?;
        granted(|| ebs::wait_snapshot(NOT_KNOWN_YET, input.timeout.ms()))?;
        let volume = ebs::describe(&input.volume)?;
        Ok(match volume.state {
            VolumeState::Error => Check::Refused(format!("{} went to state error", volume.id)),
            _ => Check::Ok,
        })
    }

    fn run(input: CreateInput) -> Result<Snapshot, Failure> {
        let tags = pairs(&input.tags);
        let made = ebs::create_snapshot(&input.volume, &input.description, &tags)?;
        ebs::wait_snapshot(&made.id, input.timeout.ms()).map(Snapshot::from)
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteInput {
    snapshot: String,
}

pub struct DeleteSnapshot;

impl Step for DeleteSnapshot {
    type Input = DeleteInput;
    type Output = ();
    const NAME: &'static str = "delete-snapshot";
    const DOC: &'static str = "Delete a snapshot for good.";
    const REVERSIBLE: bool = false;

    fn check(input: &DeleteInput) -> Result<Check, Failure> {
        may(|| ebs::delete_snapshot(&input.snapshot))?;
        ebs::describe_snapshot(&input.snapshot)?;
        Ok(Check::Ok)
    }

    fn run(input: DeleteInput) -> Result<(), Failure> {
        ebs::delete_snapshot(&input.snapshot)
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitInput {
    snapshot: String,
    #[serde(default = "snapshot_wait")]
    timeout: Duration,
}

pub struct WaitSnapshot;

impl Step for WaitSnapshot {
    type Input = WaitInput;
    type Output = Snapshot;
    const NAME: &'static str = "wait-snapshot";
    const DOC: &'static str = "Wait until a snapshot is complete.";

    fn check(input: &WaitInput) -> Result<Check, Failure> {
        granted(|| ebs::wait_snapshot(&input.snapshot, input.timeout.ms()))?;
        Ok(Check::Ok)
    }

    fn run(input: WaitInput) -> Result<Snapshot, Failure> {
        ebs::wait_snapshot(&input.snapshot, input.timeout.ms()).map(Snapshot::from)
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FindInput {
    /// Every tag it must carry.
    tags: BTreeMap<String, String>,
}

pub struct FindSnapshot;

impl Step for FindSnapshot {
    type Input = FindInput;
    type Output = Snapshot;
    const NAME: &'static str = "find-snapshot";
    const DOC: &'static str = "Find the one snapshot that carries these tags.";

    fn check(input: &FindInput) -> Result<Check, Failure> {
        granted(|| ebs::find_snapshots(&pairs(&input.tags)))?;
        Ok(Check::Ok)
    }

    fn run(input: FindInput) -> Result<Snapshot, Failure> {
        let mut found = ebs::find_snapshots(&pairs(&input.tags))?;
        match found.len() {
            1 => Ok(found.remove(0).into()),
            0 => Err(precondition(format!("no snapshot carries {:?}", input.tags))),
            count => {
                let ids: Vec<&str> = found.iter().map(|one| one.id.as_str()).collect();
                let ids = ids.join(", ");
                Err(precondition(format!("{count} snapshots carry {:?}: {ids}", input.tags)))
            }
        }
    }
}
