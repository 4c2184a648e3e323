use stepback_sdk::{Check, Failure, Step, ebs, export_steps};

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    volume: String,
    label: String,
}

pub struct LabelVolume;

impl Step for LabelVolume {
    type Input = Input;
    type Output = ();
    const NAME: &'static str = "label-volume";
    const DOC: &'static str = "Write a label on a volume, as its tag `label`.";

    fn check(input: &Input) -> Result<Check, Failure> {
        ebs::describe(&input.volume).map(|_| Check::Ok)
    }

    fn run(input: Input) -> Result<(), Failure> {
        ebs::tag(&input.volume, "label", &input.label)
    }
    // No undo here: by default every effect is taken back, the old label included.
}

export_steps!(LabelVolume);
