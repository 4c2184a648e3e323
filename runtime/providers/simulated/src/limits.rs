//! What EC2 refuses of a volume or a tag whatever else there is: what is out of its range.
//!
//! Types, sizes and what can be provisioned are those of (Amazon EC2 API Reference,
//! *CreateVolume*), how much of it a size allows those of (Amazon EBS User Guide, *General Purpose
//! SSD volumes*, *Provisioned IOPS SSD volumes*), tags those of (Amazon EC2 User Guide, *Tag
//! restrictions*).

use super::refusals::refused;
use std::ops::RangeInclusive;
use stepback_core::calls::{Performance, Tags};
use stepback_core::{Failure, FailureClass};

/// What a type of volume can be.
struct Kind {
    name: &'static str,
    size_gib: RangeInclusive<u32>,
    /// What can be provisioned, and how much of it a GiB allows; others take none.
    iops: Option<(RangeInclusive<u32>, u32)>,
}

/// A `gp3` volume has these whatever its size.
pub(super) const GP3_IOPS: u32 = 3_000;
pub(super) const GP3_MIBPS: u32 = 125;
const GP3_MIBPS_MAX: u32 = 2_000;
/// So many I/O operations a second allow one MiB a second.
const GP3_IOPS_PER_MIBPS: u32 = 4;

const KINDS: [Kind; 7] = [
    Kind { name: "gp2", size_gib: 1..=16_384, iops: None },
    Kind { name: "gp3", size_gib: 1..=65_536, iops: Some((GP3_IOPS..=80_000, 500)) },
    Kind { name: "io1", size_gib: 4..=16_384, iops: Some((100..=64_000, 50)) },
    Kind { name: "io2", size_gib: 4..=65_536, iops: Some((100..=256_000, 1_000)) },
    Kind { name: "st1", size_gib: 125..=16_384, iops: None },
    Kind { name: "sc1", size_gib: 125..=16_384, iops: None },
    Kind { name: "standard", size_gib: 1..=1_024, iops: None },
];

const TAGS_MAX: usize = 50;
const KEY_CHARS_MAX: usize = 128;
const VALUE_CHARS_MAX: usize = 256;
/// The tags that tell which operation created something, and which of its calls.
const STAMPS: usize = 2;

fn out_of_range(message: String) -> Failure {
    refused("InvalidParameterValue", message)
}

/// Whether a volume can be attached by this name, with or without `/dev/` (Amazon EC2 API
/// Reference, *AttachVolume*; Amazon EC2 User Guide, *Device names for volumes on Amazon EC2
/// instances*); which of them an instance takes depends on its kind.
pub(super) fn must_be_device_name(name: &str) -> Result<(), Failure> {
    let is_one = matches!(
        name.strip_prefix("/dev/").unwrap_or(name).as_bytes(),
        [b's' | b'h', b'd', b'a'..=b'z']
            | [b's' | b'h', b'd', b'a'..=b'z', b'1'..=b'9']
            | [b's' | b'h', b'd', b'a'..=b'z', b'1', b'0'..=b'5']
            | [b'x', b'v', b'd', b'a'..=b'z']
            | [b'x', b'v', b'd', b'a'..=b'd', b'a'..=b'z']
    );
    match is_one {
        true => Ok(()),
        false => {
            let message = format!("`{name}` is no name for a device, such as /dev/sdf");
            Err(out_of_range(message))
        }
    }
}

/// Whether there is such a type, of this size.
fn kind_of(name: &str, size_gib: u32) -> Result<&'static Kind, Failure> {
    let kind = KINDS.iter().find(|kind| kind.name == name);
    let kind = kind
        .ok_or_else(|| refused("UnknownVolumeType", format!("there is no volume type `{name}`")))?;
    match kind.size_gib.contains(&size_gib) {
        true => Ok(kind),
        false => {
            let (least, most) = (kind.size_gib.start(), kind.size_gib.end());
            let message = format!("a {name} volume has {least} to {most} GiB, not {size_gib}");
            Err(out_of_range(message))
        }
    }
}

/// Whether a volume can be of this type, size and speed.
pub(super) fn must_be_a_volume(
    name: &str,
    size_gib: u32,
    performance: Performance,
) -> Result<(), Failure> {
    must_go_together(name, performance)?;
    let kind = kind_of(name, size_gib)?;
    let Some((range, per_gib)) = &kind.iops else { return Ok(()) };
    let iops = performance.iops.unwrap_or(GP3_IOPS);
    if !range.contains(&iops) {
        let (least, most) = (range.start(), range.end());
        let message = format!("a {name} volume has {least} to {most} IOPS, not {iops}");
        return Err(out_of_range(message));
    }
    let allowed = size_gib.saturating_mul(*per_gib);
    let free = if name == "gp3" { GP3_IOPS } else { 0 };
    if iops > allowed.max(free) {
        let message = format!(
            "{iops} IOPS of {size_gib} GiB: the ratio is too high; the maximum is {per_gib}"
        );
        return Err(out_of_range(message));
    }
    let Some(mibps) = performance.throughput_mibps else { return Ok(()) };
    if !(GP3_MIBPS..=GP3_MIBPS_MAX).contains(&mibps) {
        let message = format!("a gp3 volume has {GP3_MIBPS} to {GP3_MIBPS_MAX} MiB/s, not {mibps}");
        return Err(out_of_range(message));
    }
    match mibps.saturating_mul(GP3_IOPS_PER_MIBPS) > iops {
        true => {
            let message = format!("{mibps} MiB/s of {iops} IOPS: the ratio is too high");
            Err(out_of_range(message))
        }
        false => Ok(()),
    }
}

/// *Iops* and *Throughput* are for some types only, and needed by some.
fn must_go_together(name: &str, performance: Performance) -> Result<(), Failure> {
    let why = match (performance, performance.provisioned(name)) {
        (Performance { iops: None, .. }, _) if matches!(name, "io1" | "io2") => {
            format!("the parameter iops must be specified for {name} volumes")
        }
        (asked, taken) if asked.iops != taken.iops => {
            format!("the parameter iops is not supported for {name} volumes")
        }
        (asked, taken) if asked.throughput_mibps != taken.throughput_mibps => {
            format!("the parameter throughput is not supported for {name} volumes")
        }
        _ => return Ok(()),
    };
    Err(refused("InvalidParameterCombination", why))
}

/// Whether a volume of this type can grow to this size.
pub(super) fn must_be_a_size(name: &str, size_gib: u32) -> Result<(), Failure> {
    kind_of(name, size_gib).map(|_| ())
}

/// Whether what carries a stamp can carry these tags as well.
pub(super) fn must_be_tags(tags: &Tags, is_stamped: bool) -> Result<(), Failure> {
    for (key, value) in tags {
        if key.is_empty() {
            let failure = Failure::new(FailureClass::InvalidInput, "a tag's key can't be empty");
            return Err(failure.with_code("InvalidTagKey.Malformed"));
        }
        if key.chars().count() > KEY_CHARS_MAX {
            let message = format!("a tag's key has at most {KEY_CHARS_MAX} characters: `{key}`");
            return Err(out_of_range(message));
        }
        if value.chars().count() > VALUE_CHARS_MAX {
            let message = format!("the tag `{key}` has more than {VALUE_CHARS_MAX} characters");
            return Err(out_of_range(message));
        }
    }
    let stamps = if is_stamped { STAMPS } else { 0 };
    match tags.len().saturating_add(stamps) > TAGS_MAX {
        true => {
            let message = format!("a resource has at most {TAGS_MAX} tags, stamps among them");
            Err(refused("TagLimitExceeded", message))
        }
        false => Ok(()),
    }
}
