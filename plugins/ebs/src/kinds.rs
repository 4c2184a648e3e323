//! What a type of volume can be: what EC2 would refuse is told before anything is made.
//!
//! (Amazon EC2 API Reference, *CreateVolume*; the ratios: Amazon EBS User Guide, *General Purpose
//! SSD volumes*, *Provisioned IOPS SSD volumes*.)

use std::ops::RangeInclusive;

struct Kind {
    name: &'static str,
    size_gib: RangeInclusive<u32>,
    iops: Option<Iops>,
}

/// I/O operations a second that can be asked for.
struct Iops {
    range: RangeInclusive<u32>,
    per_gib: u32,
    /// What a volume has without asking, whatever its size.
    free: u32,
}

const GP3_MIBPS: RangeInclusive<u32> = 125..=2_000;
/// So many I/O operations a second allow one MiB a second.
const GP3_IOPS_PER_MIBPS: u32 = 4;

const fn iops(range: RangeInclusive<u32>, per_gib: u32, free: u32) -> Option<Iops> {
    Some(Iops { range, per_gib, free })
}

const KINDS: [Kind; 7] = [
    Kind { name: "gp2", size_gib: 1..=16_384, iops: None },
    Kind { name: "gp3", size_gib: 1..=65_536, iops: iops(3_000..=80_000, 500, 3_000) },
    Kind { name: "io1", size_gib: 4..=16_384, iops: iops(100..=64_000, 50, 0) },
    Kind { name: "io2", size_gib: 4..=65_536, iops: iops(100..=256_000, 1_000, 0) },
    Kind { name: "st1", size_gib: 125..=16_384, iops: None },
    Kind { name: "sc1", size_gib: 125..=16_384, iops: None },
    Kind { name: "standard", size_gib: 1..=1_024, iops: None },
];

fn outside(what: &str, range: &RangeInclusive<u32>, found: u32) -> Option<String> {
    let is_outside = !range.contains(&found);
    is_outside.then(|| format!("{what} is {found}, not from {} to {}", range.start(), range.end()))
}

/// Why a volume of this type can't have this size; a type that is not known here is left to EC2.
pub fn unfit_size(name: &str, size_gib: u32) -> Option<String> {
    let kind = KINDS.iter().find(|kind| kind.name == name)?;
    outside(&format!("`size_gib` of a {name} volume"), &kind.size_gib, size_gib)
}

/// Why there can't be a volume of this type, size and speed.
pub fn unfit(name: &str, size_gib: u32, iops: Option<u32>, mibps: Option<u32>) -> Option<String> {
    let Some(kind) = KINDS.iter().find(|kind| kind.name == name) else {
        let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        return Some(format!("there is no volume type `{name}`, only {}", names.join(", ")));
    };
    if mibps.is_some() && name != "gp3" {
        return Some(format!("a volume of type {name} takes no `throughput_mibps`"));
    }
    let size = || unfit_size(name, size_gib);
    let Some(range) = &kind.iops else {
        let taken = iops.map(|_| format!("a volume of type {name} takes no `iops`"));
        return taken.or_else(size);
    };
    let Some(iops) = iops.or((range.free > 0).then_some(range.free)) else {
        return Some(format!("a volume of type {name} needs its `iops`"));
    };
    size().or_else(|| unfit_speed(range, size_gib, iops, mibps))
}

fn unfit_speed(range: &Iops, size_gib: u32, iops: u32, mibps: Option<u32>) -> Option<String> {
    let per_gib = range.per_gib;
    let allowed = size_gib.saturating_mul(per_gib).max(range.free);
    let too_fast = || {
        let why = format!("`iops` is {iops}, and {size_gib} GiB allow {allowed} ({per_gib} each)");
        (iops > allowed).then_some(why)
    };
    let found = outside("`iops`", &range.range, iops).or_else(too_fast);
    let Some(mibps) = mibps.filter(|_| found.is_none()) else { return found };
    let too_wide = || {
        let least = mibps.saturating_mul(GP3_IOPS_PER_MIBPS);
        let why = format!("`throughput_mibps` is {mibps}, which takes {least} IOPS, not {iops}");
        (least > iops).then_some(why)
    };
    outside("`throughput_mibps`", &GP3_MIBPS, mibps).or_else(too_wide)
}
