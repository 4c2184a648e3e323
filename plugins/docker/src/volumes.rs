//! Steps on Docker volumes and the file systems in them.

use crate::sensible;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use stepback_sdk::{
    Check, Duration, Failure, FailureClass, NOT_KNOWN_YET, Step, docker, granted, may, pairs,
    precondition,
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeInput {
    host: String,
    volume: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateInput {
    host: String,
    /// The Docker volume's name; one for an EBS volume is named after its id.
    volume: String,
    /// The file system on the device: ext4 or xfs. With it the volume is a block device's.
    #[serde(default)]
    filesystem: Option<String>,
    /// The device; by default the one an EBS volume of this name has on Nitro instances.
    #[serde(default)]
    device: Option<String>,
    /// Further options of Docker's `local` driver.
    #[serde(default)]
    options: BTreeMap<String, String>,
}

impl CreateInput {
    fn options(&self) -> BTreeMap<String, String> {
        let mut options = self.options.clone();
        if let Some(filesystem) = &self.filesystem {
            options.insert("type".to_owned(), filesystem.clone());
            let device = self.device.clone().unwrap_or_else(|| nitro_device(&self.volume));
            options.insert("device".to_owned(), device);
        }
        options
    }
}

/// The options that a volume has otherwise than is asked for. What is masked of one may be a
/// password, and is compared by the engine's provider when the volume is made.
fn differing(there: &BTreeMap<String, String>, asked: &BTreeMap<String, String>) -> Vec<String> {
    // A mask, and the edge of what stands for a secret.
    let is_hidden = |text: &str| text.contains("***") || text.contains('\u{1}');
    let words = |text: &str| -> Vec<String> { text.split(',').map(str::to_owned).collect() };
    let is_as = |one: &String, other: &String| {
        let asked = words(other);
        let mut shown = words(one).into_iter().filter(|word| !is_hidden(word));
        one == other || is_hidden(one) && shown.all(|word| asked.contains(&word))
    };
    let names = there.keys().chain(asked.keys()).collect::<BTreeSet<_>>().into_iter();
    let differs = |name: &&String| match (there.get(*name), asked.get(*name)) {
        (Some(one), Some(other)) => !is_as(one, other),
        (one, other) => one.is_some() || other.is_some(),
    };
    names.filter(differs).map(|name| format!("`{name}`")).collect()
}

/// Where a Nitro instance shows an EBS volume (Amazon EBS User Guide, *Amazon EBS volumes and
/// NVMe*): by the volume id without its dash.
fn nitro_device(volume: &str) -> String {
    let id = volume.replace('-', "");
    format!("/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_{id}")
}

#[derive(Serialize, JsonSchema)]
pub struct DockerVolume {
    pub name: String,
    pub driver: String,
    pub options: BTreeMap<String, String>,
}

pub struct CreateVolume;

impl Step for CreateVolume {
    type Input = CreateInput;
    type Output = DockerVolume;
    const NAME: &'static str = "create-volume";
    const DOC: &'static str = "Create a Docker volume, plain or for a block device.";

    fn check(input: &CreateInput) -> Result<Check, Failure> {
        if input.device.is_some() && input.filesystem.is_none() {
            let why = "a device needs `filesystem`: Docker hands it to mount(2)".to_owned();
            return Ok(Check::Refused(why));
        }
        let is_ebs = input.volume.starts_with("vol-") || input.volume == NOT_KNOWN_YET;
        if input.filesystem.is_some() && input.device.is_none() && !is_ebs {
            let why = format!("give `device`: `{}` is no EBS volume's id", input.volume);
            return Ok(Check::Refused(why));
        }
        let options = input.options();
        sensible(|| docker::create_volume(&input.host, &input.volume, &pairs(&options)))?;
        let Some(old) = docker::inspect_volume(&input.host, &input.volume)? else {
            return Ok(Check::Ok);
        };
        // Docker would answer success and keep the old device.
        let other = differing(&stepback_sdk::tag_map(&old.options), &options);
        Ok(match other.is_empty() {
            true => Check::Ok,
            false => Check::NotYet(format!(
                "Docker volume `{}` on {} is there with other options ({}): give those, or another \
                 name",
                input.volume,
                input.host,
                other.join(", ")
            )),
        })
    }

    fn run(input: CreateInput) -> Result<DockerVolume, Failure> {
        let options = pairs(&input.options());
        let made = docker::create_volume(&input.host, &input.volume, &options)?;
        let docker::DockerVolume { name, driver, options } = made;
        Ok(DockerVolume { name, driver, options: stepback_sdk::tag_map(&options) })
    }
}

pub struct RemoveVolume;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveInput {
    host: String,
    volume: String,
    /// Remove a volume without a device, too: its bytes are gone with it.
    #[serde(default)]
    plain: bool,
}

impl RemoveInput {
    /// Why the volume is not to be removed.
    fn refusal(&self, found: &docker::DockerVolume) -> Option<String> {
        let has_device = found.options.iter().any(|option| option.key == "device");
        (!has_device && !self.plain).then(|| {
            format!(
                "Docker volume `{}` on {} is no device: its bytes would be gone with it; say \
                 `plain = true` if they are to go",
                self.volume, self.host
            )
        })
    }
}

impl Step for RemoveVolume {
    type Input = RemoveInput;
    type Output = ();
    const NAME: &'static str = "remove-volume";
    const DOC: &'static str = "Remove a Docker volume for good; a device's bytes stay.";
    const REVERSIBLE: bool = false;

    fn check(input: &RemoveInput) -> Result<Check, Failure> {
        granted(|| docker::remove_volume(&input.host, &input.volume))?;
        Ok(match docker::inspect_volume(&input.host, &input.volume)? {
            Some(found) => input.refusal(&found).map_or(Check::Ok, Check::Refused),
            None => Check::NotYet(format!(
                "there is no Docker volume `{}` on {}",
                input.volume, input.host
            )),
        })
    }

    fn run(input: RemoveInput) -> Result<(), Failure> {
        docker::remove_volume(&input.host, &input.volume)
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitInput {
    host: String,
    /// The EBS volume's id.
    volume: String,
    #[serde(default = "two_minutes")]
    timeout: Duration,
}

fn two_minutes() -> Duration {
    Duration::seconds(120)
}

/// Whether the host's helper is there; a host that does not answer may do so later.
fn has_helper(host: &str) -> Result<Check, Failure> {
    match docker::check_helper(host) {
        Ok(()) => Ok(Check::Ok),
        Err(why) if why.class == FailureClass::Transient => Ok(Check::NotYet(why.message)),
        Err(why) => Err(why),
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HelperInput {
    host: String,
    /// The EBS volume whose file system it will have to grow, or a like one.
    #[serde(default)]
    grows: Option<String>,
}

pub struct CheckHelper;

impl Step for CheckHelper {
    type Input = HelperInput;
    type Output = ();
    const NAME: &'static str = "check-helper";
    const DOC: &'static str =
        "See that a host has what looks into volumes; for the start of what will need it.";

    fn check(input: &HelperInput) -> Result<Check, Failure> {
        let has = has_helper(&input.host)?;
        if let (Check::Ok, Some(volume)) = (&has, &input.grows) {
            may(|| docker::grow_filesystem(&input.host, volume))?;
        }
        Ok(has)
    }

    fn run(input: HelperInput) -> Result<(), Failure> {
        docker::check_helper(&input.host)
    }
}

#[derive(Serialize, JsonSchema)]
pub struct Device {
    /// The file system on it, `none` if it is blank.
    pub filesystem: String,
}

pub struct WaitDevice;

impl Step for WaitDevice {
    type Input = WaitInput;
    type Output = Device;
    const NAME: &'static str = "wait-device";
    const DOC: &'static str = "Wait until an attached volume's device is there.";

    fn check(input: &WaitInput) -> Result<Check, Failure> {
        granted(|| docker::wait_device(&input.host, &input.volume, input.timeout.ms()))?;
        has_helper(&input.host)
    }

    fn run(input: WaitInput) -> Result<Device, Failure> {
        let filesystem = docker::wait_device(&input.host, &input.volume, input.timeout.ms())?;
        Ok(Device { filesystem })
    }
}

pub struct WaitUnmounted;

impl Step for WaitUnmounted {
    type Input = WaitInput;
    type Output = ();
    const NAME: &'static str = "wait-unmounted";
    const DOC: &'static str = "Wait until nothing on the host has a volume mounted.";

    fn check(input: &WaitInput) -> Result<Check, Failure> {
        granted(|| docker::wait_unmounted(&input.host, &input.volume, input.timeout.ms()))?;
        has_helper(&input.host)
    }

    fn run(input: WaitInput) -> Result<(), Failure> {
        docker::wait_unmounted(&input.host, &input.volume, input.timeout.ms())
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MakeInput {
    host: String,
    /// The EBS volume's id; it must be blank.
    volume: String,
    #[serde(default = "ext4")]
    filesystem: String,
}

fn ext4() -> String {
    "ext4".to_owned()
}

pub struct MakeFilesystem;

impl Step for MakeFilesystem {
    type Input = MakeInput;
    type Output = ();
    const NAME: &'static str = "make-filesystem";
    const DOC: &'static str = "Make a file system on a blank volume this operation created.";

    fn check(input: &MakeInput) -> Result<Check, Failure> {
        let MakeInput { host, volume, filesystem } = input;
        granted(|| docker::filesystem(host, NOT_KNOWN_YET))?;
        granted(|| docker::make_filesystem(host, volume, filesystem))?;
        has_helper(host)
    }

    fn run(input: MakeInput) -> Result<(), Failure> {
        let found = docker::filesystem(&input.host, &input.volume)?;
        if found != "none" {
            return Err(precondition(format!("{} holds {found} already", input.volume)));
        }
        docker::make_filesystem(&input.host, &input.volume, &input.filesystem)
    }
}

pub struct GrowFilesystem;

impl Step for GrowFilesystem {
    type Input = VolumeInput;
    type Output = ();
    const NAME: &'static str = "grow-filesystem";
    const DOC: &'static str =
        "Grow the file system of a volume this operation created to its size.";

    fn check(input: &VolumeInput) -> Result<Check, Failure> {
        granted(|| docker::grow_filesystem(&input.host, &input.volume))?;
        has_helper(&input.host)
    }

    fn run(input: VolumeInput) -> Result<(), Failure> {
        docker::grow_filesystem(&input.host, &input.volume)
    }
}
