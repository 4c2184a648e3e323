//! Steps that only look: what stands at the start of an operation for what comes later in it.

use crate::volumes::{CreateInput, CreateVolume};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use stepback_sdk::{Check, Failure, Step, ebs, pairs, precondition};

/// The same as a new volume's, of which only what it begins as is not there yet.
pub struct CheckVolume;

impl Step for CheckVolume {
    type Input = CreateInput;
    type Output = ();
    const NAME: &'static str = "check-volume";
    const DOC: &'static str =
        "See that such a volume can be created; for the start of what makes it from a snapshot.";

    fn check(input: &CreateInput) -> Result<Check, Failure> {
        // What it will be made from has a key of its own; an account's default key, which may be
        // of no use, would be asked for of a new volume that is encrypted.
        CreateVolume::check_as(input, input.encrypted)
    }

    /// Its check has said it all.
    fn run(_: CreateInput) -> Result<(), Failure> {
        Ok(())
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoneInput {
    tags: BTreeMap<String, String>,
}

pub struct NoVolume;

impl Step for NoVolume {
    type Input = NoneInput;
    type Output = ();
    const NAME: &'static str = "no-volume";
    const DOC: &'static str = "See that no volume carries these tags.";

    fn check(input: &NoneInput) -> Result<Check, Failure> {
        let found = ebs::find(&pairs(&input.tags))?;
        Ok(match found.first() {
            None => Check::Ok,
            Some(found) => Check::Refused(format!("{} carries {:?} already", found.id, input.tags)),
        })
    }

    fn run(input: NoneInput) -> Result<(), Failure> {
        match Self::check(&input)? {
            Check::Refused(why) => Err(precondition(why)),
            Check::Ok | Check::NotYet(_) => Ok(()),
        }
    }
}
