//! Finding a volume by its tags.

use crate::volumes::Volume;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use stepback_sdk::{Check, Failure, Step, ebs, pairs, precondition, tag_map};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FindInput {
    /// Every tag it must carry.
    tags: BTreeMap<String, String>,
}

pub struct FindVolume;

impl Step for FindVolume {
    type Input = FindInput;
    type Output = Volume;
    const NAME: &'static str = "find-volume";
    const DOC: &'static str = "Find the one volume that carries these tags, and where it is.";

    fn check(input: &FindInput) -> Result<Check, Failure> {
        let found = ebs::find(&pairs(&input.tags))?;
        Ok(match found.len() {
            1 => Check::Ok,
            0 => Check::NotYet(none_carries(&input.tags)),
            _ => Check::Refused(too_many(&found, &input.tags)),
        })
    }

    fn run(input: FindInput) -> Result<Volume, Failure> {
        let mut found = ebs::find(&pairs(&input.tags))?;
        match found.len() {
            1 => Ok(found.remove(0).into()),
            0 => Err(precondition(none_carries(&input.tags))),
            _ => Err(precondition(too_many(&found, &input.tags))),
        }
    }
}

/// With what there is instead: mostly it is a name that was misspelt.
fn none_carries(tags: &BTreeMap<String, String>) -> String {
    const TOLD: usize = 20;
    let wanted: Vec<String> = tags.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    let none = format!("no volume carries {}", wanted.join(", "));
    // That they can't be told changes nothing.
    let all = ebs::find(&[]).unwrap_or_default();
    let mut there = BTreeSet::new();
    for volume in all {
        let its = tag_map(&volume.tags);
        let its: Vec<String> = tags
            .keys()
            .filter_map(|key| its.get(key).map(|value| format!("{key} = {value}")))
            .collect();
        if its.len() == tags.len() {
            there.insert(its.join(", "));
        }
    }
    let told: Vec<String> = there.iter().take(TOLD).cloned().collect();
    match (told.is_empty(), there.len() > TOLD) {
        (true, _) => format!("{none}, and none carries another value of it"),
        (false, false) => format!("{none}; there are {}", told.join("; ")),
        (false, true) => format!("{none}; there are {} and others", told.join("; ")),
    }
}

fn too_many(found: &[ebs::Volume], tags: &BTreeMap<String, String>) -> String {
    let ids: Vec<&str> = found.iter().map(|one| one.id.as_str()).collect();
    format!("{} all carry {tags:?}; only one may", ids.join(", "))
}
