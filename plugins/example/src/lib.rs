//! A plugin with one step: it writes a label on a volume, and its undo puts the old one back.

use stepback_sdk::{Check, Failure, Past, Step, Undo, ebs, export_steps, may, reverse_effects};

/// The step's `with` in a manifest; the comments are shown by `stepback plugin inspect`.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The volume's id
    volume: String,
    /// What its tag `label` is to say
    label: String,
}

pub struct LabelVolume;

impl Step for LabelVolume {
    type Input = Input;
    type Output = ();
    const NAME: &'static str = "label-volume";
    const DOC: &'static str = "Write a label on a volume, as its tag `label`.";

    /// Before anything runs: whether the step could. It only looks; `may` asks for permission.
    fn check(input: &Input) -> Result<Check, Failure> {
        may(|| ebs::tag(&input.volume, "label", &input.label))?;
        ebs::describe(&input.volume)?;
        Ok(Check::Ok)
    }

    fn run(input: Input) -> Result<(), Failure> {
        ebs::tag(&input.volume, "label", &input.label)
    }

    /// Every effect of the step is taken back, newest first, to what that effect found: the old
    /// label, or none. A step without an `undo` of its own has this one.
    fn undo(_: &Input, past: &Past) -> Result<Undo, Failure> {
        reverse_effects(past)
    }
}

export_steps!(LabelVolume);

#[cfg(test)]
mod tests;
