//! Steps on volumes.

use crate::kinds;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use stepback_sdk::{
    Check, Duration, Failure, FailureClass, NOT_KNOWN_YET, Step, ebs, ebs::VolumeState, ec2,
    ec2::InstanceState, failure, granted, may, may_take_back, no_room_for, pairs, tag_map,
    unfit_tag, unfit_tags,
};

/// How long a volume may take to become available or attached; EC2 mostly needs seconds.
const VOLUME_WAIT: Duration = Duration::seconds(300);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeInput {
    /// The volume's id, `vol-…`.
    volume: String,
}

#[derive(Serialize, JsonSchema)]
pub struct Volume {
    pub id: String,
    pub state: String,
    pub size_gib: u32,
    pub volume_type: String,
    /// I/O operations a second, as far as the type tells any.
    pub iops: Option<u32>,
    /// MiB a second, of `gp3`.
    pub throughput_mibps: Option<u32>,
    pub encrypted: bool,
    pub zone: String,
    /// The instance it is attached to, if any.
    pub instance: Option<String>,
    /// The device it is attached as.
    pub device: Option<String>,
    pub snapshot: Option<String>,
    pub tags: BTreeMap<String, String>,
}

impl From<ebs::Volume> for Volume {
    fn from(volume: ebs::Volume) -> Self {
        let first = volume.attachments.into_iter().next();
        let (instance, device) = first.map(|first| (first.instance, first.device)).unzip();
        Self {
            id: volume.id,
            state: volume.state.to_string(),
            size_gib: volume.size_gib,
            volume_type: volume.volume_type,
            iops: volume.iops,
            throughput_mibps: volume.throughput_mibps,
            encrypted: volume.encrypted,
            zone: volume.zone,
            instance,
            device,
            snapshot: volume.snapshot,
            tags: tag_map(&volume.tags),
        }
    }
}

/// Whether the step may wait for a state.
fn may_wait(volume: &str, state: VolumeState) -> Result<(), Failure> {
    granted(|| ebs::wait_volume(volume, state, VOLUME_WAIT.ms()))
}

pub struct DescribeVolume;

impl Step for DescribeVolume {
    type Input = VolumeInput;
    type Output = Volume;
    const NAME: &'static str = "describe-volume";
    const DOC: &'static str = "Look at a volume: its size, zone and where it is attached.";

    fn check(input: &VolumeInput) -> Result<Check, Failure> {
        granted(|| ebs::describe(&input.volume))?;
        Ok(Check::Ok)
    }

    fn run(input: VolumeInput) -> Result<Volume, Failure> {
        ebs::describe(&input.volume).map(Volume::from)
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateInput {
    /// The availability zone; the other volume's with `like`.
    #[serde(default)]
    zone: Option<String>,
    size_gib: u32,
    /// `gp3` if nothing tells.
    #[serde(default)]
    volume_type: Option<String>,
    /// I/O operations a second, of `gp3`, `io1` and `io2`.
    #[serde(default)]
    iops: Option<u32>,
    /// MiB a second, of `gp3`.
    #[serde(default)]
    throughput_mibps: Option<u32>,
    /// One made from an encrypted snapshot is encrypted either way.
    #[serde(default)]
    pub(crate) encrypted: bool,
    /// The snapshot it begins as; blank without.
    #[serde(default)]
    snapshot: Option<String>,
    /// Tags of its own; with `like`, before the other volume's.
    #[serde(default)]
    tags: BTreeMap<String, String>,
    /// Take what is not given here from this volume: zone, type, speed, whether it is encrypted,
    /// and tags. An encryption key comes with the snapshot alone.
    #[serde(default)]
    like: Option<LikeInput>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LikeInput {
    volume: String,
    /// Keys of tags to leave out.
    #[serde(default)]
    without_tags: Vec<String>,
}

impl CreateInput {
    fn spec(&self) -> Result<ebs::VolumeSpec, Failure> {
        let model = self.like.as_ref().map(|like| ebs::describe(&like.volume)).transpose()?;
        let zone = self.zone.clone().or_else(|| model.as_ref().map(|model| model.zone.clone()));
        let zone = zone.ok_or_else(|| {
            failure(FailureClass::InvalidInput, "give its `zone`, or a volume to be `like`")
        })?;
        let own_type = self.volume_type.clone();
        let volume_type =
            own_type.or_else(|| model.as_ref().map(|model| model.volume_type.clone()));
        let volume_type = volume_type.unwrap_or_else(|| "gp3".to_owned());
        // What EC2 shows of another type follows from its size, and can't be asked for
        // (Amazon EC2 API Reference, *CreateVolume*).
        let same = model.as_ref().filter(|model| model.volume_type == volume_type);
        let takes_iops = matches!(volume_type.as_str(), "gp3" | "io1" | "io2");
        let iops = same.and_then(|model| model.iops).filter(|_| takes_iops);
        let mibps = same.and_then(|model| model.throughput_mibps);
        let mibps = mibps.filter(|_| volume_type == "gp3");
        let mut tags = model.as_ref().map(|model| tag_map(&model.tags)).unwrap_or_default();
        let left_out = self.like.iter().flat_map(|like| &like.without_tags);
        left_out.for_each(|key| drop(tags.remove(key)));
        tags.extend(self.tags.clone());
        Ok(ebs::VolumeSpec {
            zone,
            size_gib: self.size_gib,
            iops: self.iops.or(iops),
            throughput_mibps: self.throughput_mibps.or(mibps),
            encrypted: self.encrypted || model.is_some_and(|model| model.encrypted),
            volume_type,
            snapshot: self.snapshot.clone(),
            tags: pairs(&tags),
        })
    }
}

/// Why there can't be such a volume.
fn unfit(spec: &ebs::VolumeSpec) -> Option<String> {
    let ebs::VolumeSpec { volume_type, size_gib, iops, throughput_mibps, .. } = spec;
    let kind = kinds::unfit(volume_type, *size_gib, *iops, *throughput_mibps);
    kind.or_else(|| unfit_tags(&tag_map(&spec.tags)))
}

pub struct CreateVolume;

impl Step for CreateVolume {
    type Input = CreateInput;
    type Output = Volume;
    const NAME: &'static str = "create-volume";
    const DOC: &'static str = "Create a volume and wait until it is available.";

    fn check(input: &CreateInput) -> Result<Check, Failure> {
        may_wait(NOT_KNOWN_YET, VolumeState::Available)?;
        Self::check_as(input, input.spec()?.encrypted)
    }

    fn run(input: CreateInput) -> Result<Volume, Failure> {
        let made = ebs::create_volume(&input.spec()?)?;
        ebs::wait_volume(&made.id, VolumeState::Available, VOLUME_WAIT.ms()).map(Volume::from)
    }
}

impl CreateVolume {
    pub(crate) fn check_as(input: &CreateInput, encrypted: bool) -> Result<Check, Failure> {
        let spec = ebs::VolumeSpec { encrypted, ..input.spec()? };
        if let Some(why) = unfit(&spec) {
            return Ok(Check::Refused(why));
        }
        may(|| ebs::create_volume(&spec))?;
        let Some(snapshot) = &input.snapshot else { return Ok(Check::Ok) };
        let found = ebs::describe_snapshot(snapshot)?;
        Ok(match input.size_gib < found.size_gib {
            true => Check::Refused(format!(
                "{} GiB is less than snapshot {snapshot} holds ({} GiB)",
                input.size_gib, found.size_gib
            )),
            false => Check::Ok,
        })
    }
}

pub struct DeleteVolume;

impl Step for DeleteVolume {
    type Input = VolumeInput;
    type Output = ();
    const NAME: &'static str = "delete-volume";
    const DOC: &'static str = "Delete a detached volume for good.";
    const REVERSIBLE: bool = false;

    fn check(input: &VolumeInput) -> Result<Check, Failure> {
        may(|| ebs::delete_volume(&input.volume))?;
        let found = ebs::describe(&input.volume)?;
        Ok(match found.attachments.first() {
            None => Check::Ok,
            Some(at) => Check::NotYet(format!("{} is attached to {}", found.id, at.instance)),
        })
    }

    fn run(input: VolumeInput) -> Result<(), Failure> {
        ebs::delete_volume(&input.volume)
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AttachInput {
    volume: String,
    instance: String,
    #[serde(default = "sdf")]
    device: String,
}

fn sdf() -> String {
    "/dev/sdf".to_owned()
}

/// What an instance shows of its devices can be older than what its volumes show
/// (Amazon EC2 Developer Guide, *Eventual consistency*).
fn is_attached(volume: &str, instance: &str) -> Result<bool, Failure> {
    match ebs::describe(volume) {
        Ok(found) => Ok(found.attachments.iter().any(|at| at.instance == instance)),
        Err(failure) if failure.class == FailureClass::Precondition => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// Whether EC2 attaches a volume by this name, with or without `/dev/` (Amazon EC2 API Reference,
/// *AttachVolume*; Amazon EC2 User Guide, *Device names for volumes on Amazon EC2 instances*).
fn is_device_name(name: &str) -> bool {
    match name.strip_prefix("/dev/").unwrap_or(name).as_bytes() {
        [b's' | b'h', b'd', b'a'..=b'z', number @ ..] => {
            let number = std::str::from_utf8(number).unwrap_or_default();
            number.is_empty()
                || !number.starts_with(['0', '+']) && matches!(number.parse(), Ok(1..=15))
        }
        [b'x', b'v', b'd', b'a'..=b'z'] | [b'x', b'v', b'd', b'a'..=b'd', b'a'..=b'z'] => true,
        _ => false,
    }
}

pub struct AttachVolume;

impl Step for AttachVolume {
    type Input = AttachInput;
    type Output = Volume;
    const NAME: &'static str = "attach-volume";
    const DOC: &'static str = "Attach a volume to an instance of its zone and wait for it.";

    fn check(input: &AttachInput) -> Result<Check, Failure> {
        if !is_device_name(&input.device) {
            return Ok(Check::Refused(format!(
                "`{}` is no device name that EC2 takes, such as /dev/sdf; what the instance itself \
                 calls the device is another name",
                input.device
            )));
        }
        may(|| ebs::attach(&input.volume, &input.instance, &input.device))?;
        may_wait(&input.volume, VolumeState::InUse)?;
        // The instance first: a volume that is still to be made ends the check here.
        let instance = ec2::describe(&input.instance)?;
        let volume = ebs::describe(&input.volume)?;
        if volume.state == VolumeState::Error {
            return Ok(Check::Refused(format!("{} went to state error", volume.id)));
        }
        if volume.zone != instance.zone {
            return Ok(Check::Refused(format!(
                "{} is in {} and {} in {}; a volume can't leave its zone",
                volume.id, volume.zone, instance.id, instance.zone
            )));
        }
        match instance.state {
            InstanceState::Running | InstanceState::Stopped => {}
            InstanceState::Terminated | InstanceState::ShuttingDown => {
                let why = format!("instance {} is {}", instance.id, instance.state);
                return Ok(Check::Refused(why));
            }
            state @ (InstanceState::Pending | InstanceState::Stopping) => {
                return Ok(Check::NotYet(format!("instance {} is {state}", instance.id)));
            }
        }
        may_take_back(|| ebs::detach(&input.volume, &input.instance))?;
        let taken = instance.devices.iter().find(|one| one.device == input.device);
        if let Some(other) = taken.filter(|one| one.volume != volume.id)
            && is_attached(&other.volume, &instance.id)?
        {
            return Ok(Check::NotYet(format!(
                "{} of {} is {}; give another `device`, or detach that one",
                input.device, instance.id, other.volume
            )));
        }
        Ok(match volume.attachments.first() {
            None => Check::Ok,
            Some(at) => Check::NotYet(format!("{} is attached to {}", volume.id, at.instance)),
        })
    }

    fn run(input: AttachInput) -> Result<Volume, Failure> {
        ebs::attach(&input.volume, &input.instance, &input.device)?;
        ebs::wait_volume(&input.volume, VolumeState::InUse, VOLUME_WAIT.ms()).map(Volume::from)
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DetachInput {
    volume: String,
    instance: String,
}

pub struct DetachVolume;

impl Step for DetachVolume {
    type Input = DetachInput;
    type Output = Volume;
    const NAME: &'static str = "detach-volume";
    const DOC: &'static str = "Detach a volume and wait until it is available.";

    fn check(input: &DetachInput) -> Result<Check, Failure> {
        may(|| ebs::detach(&input.volume, &input.instance))?;
        may_wait(&input.volume, VolumeState::Available)?;
        let volume = ebs::describe(&input.volume)?;
        let here = volume.attachments.iter().find(|at| at.instance == input.instance);
        let Some(at) = here else {
            let why = format!("{} is not attached to {}", volume.id, input.instance);
            return Ok(Check::NotYet(why));
        };
        if volume.attachments.len() > 1 {
            let others = volume.attachments.iter().map(|at| at.instance.as_str());
            let others = others.filter(|other| *other != input.instance).collect::<Vec<_>>();
            return Ok(Check::Refused(format!(
                "{} is attached to {} too (Multi-Attach): it would not be free, and what is on it \
                 is written from there; detach it there first",
                volume.id,
                others.join(", ")
            )));
        }
        if !is_device_name(&at.device) {
            return Ok(Check::Refused(format!(
                "{} is attached to {} as `{}`, by which it could not be attached again",
                volume.id, input.instance, at.device
            )));
        }
        may_take_back(|| ebs::attach(&input.volume, &input.instance, &at.device))?;
        Ok(Check::Ok)
    }

    fn run(input: DetachInput) -> Result<Volume, Failure> {
        ebs::detach(&input.volume, &input.instance)?;
        ebs::wait_volume(&input.volume, VolumeState::Available, VOLUME_WAIT.ms()).map(Volume::from)
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModifyInput {
    volume: String,
    /// The new size; a volume only grows.
    size_gib: u32,
}

pub struct ModifyVolume;

impl Step for ModifyVolume {
    type Input = ModifyInput;
    type Output = Volume;
    const NAME: &'static str = "modify-volume";
    const DOC: &'static str = "Grow a volume online; its file system is grown by another step.";
    const REVERSIBLE: bool = false;

    fn check(input: &ModifyInput) -> Result<Check, Failure> {
        may(|| ebs::modify_volume(&input.volume, input.size_gib))?;
        let volume = ebs::describe(&input.volume)?;
        if let Some(why) = kinds::unfit_size(&volume.volume_type, input.size_gib) {
            return Ok(Check::Refused(why));
        }
        Ok(match input.size_gib > volume.size_gib {
            true => Check::Ok,
            false => Check::Refused(format!(
                "{} has {} GiB and only grows; {} GiB is not more",
                volume.id, volume.size_gib, input.size_gib
            )),
        })
    }

    fn run(input: ModifyInput) -> Result<Volume, Failure> {
        ebs::modify_volume(&input.volume, input.size_gib).map(Volume::from)
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TagInput {
    volume: String,
    key: String,
    value: String,
}

pub struct TagVolume;

impl Step for TagVolume {
    type Input = TagInput;
    type Output = ();
    const NAME: &'static str = "tag-volume";
    const DOC: &'static str = "Put a tag on a volume; one of this key is replaced.";

    fn check(input: &TagInput) -> Result<Check, Failure> {
        if let Some(why) = unfit_tag(&input.key, &input.value) {
            return Ok(Check::Refused(why));
        }
        may(|| ebs::tag(&input.volume, &input.key, &input.value))?;
        let found = ebs::describe(&input.volume)?;
        if let Some(why) = no_room_for(&input.key, &tag_map(&found.tags)) {
            return Ok(Check::Refused(why));
        }
        if !found.tags.iter().any(|tag| tag.key == input.key) {
            may_take_back(|| ebs::untag(&input.volume, &input.key))?;
        }
        Ok(Check::Ok)
    }

    fn run(input: TagInput) -> Result<(), Failure> {
        ebs::tag(&input.volume, &input.key, &input.value)
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UntagInput {
    volume: String,
    key: String,
}

pub struct UntagVolume;

impl Step for UntagVolume {
    type Input = UntagInput;
    type Output = ();
    const NAME: &'static str = "untag-volume";
    const DOC: &'static str = "Take a tag off a volume.";

    fn check(input: &UntagInput) -> Result<Check, Failure> {
        may(|| ebs::untag(&input.volume, &input.key))?;
        let found = ebs::describe(&input.volume)?;
        if let Some(tag) = found.tags.iter().find(|tag| tag.key == input.key) {
            may_take_back(|| ebs::tag(&input.volume, &input.key, &tag.value))?;
        }
        Ok(Check::Ok)
    }

    fn run(input: UntagInput) -> Result<(), Failure> {
        ebs::untag(&input.volume, &input.key)
    }
}
