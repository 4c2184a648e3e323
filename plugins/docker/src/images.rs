//! Steps on images.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stepback_sdk::{Check, Failure, Step, docker, log, may, precondition};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageInput {
    host: String,
    /// Its name, as `docker pull` takes it.
    image: String,
}

#[derive(Serialize, JsonSchema)]
pub struct Image {
    pub reference: String,
    pub digest: String,
}

impl From<docker::Image> for Image {
    fn from(docker::Image { reference, digest }: docker::Image) -> Self {
        Self { reference, digest }
    }
}

pub struct PullImage;

impl Step for PullImage {
    type Input = ImageInput;
    type Output = Image;
    const NAME: &'static str = "pull-image";
    const DOC: &'static str =
        "Pull an image onto a host; undone, its name means what it did before.";

    fn check(input: &ImageInput) -> Result<Check, Failure> {
        // The engine must answer, and no registry may say no; one that is down may come back.
        if docker::inspect_image(&input.host, &input.image)?.is_none() {
            may(|| docker::pull_image(&input.host, &input.image))?;
        }
        Ok(Check::Ok)
    }

    fn run(input: ImageInput) -> Result<Image, Failure> {
        let Image { reference, digest } = docker::pull_image(&input.host, &input.image)?.into();
        log::info(&format!("{reference} is {digest} on {}", input.host));
        Ok(Image { reference, digest })
    }
}

pub struct InspectImage;

impl Step for InspectImage {
    type Input = ImageInput;
    type Output = Image;
    const NAME: &'static str = "inspect-image";
    const DOC: &'static str = "Look at an image that a host has: its digest.";

    fn check(input: &ImageInput) -> Result<Check, Failure> {
        Ok(match docker::inspect_image(&input.host, &input.image)? {
            Some(_) => Check::Ok,
            None => Check::NotYet(missing(input)),
        })
    }

    fn run(input: ImageInput) -> Result<Image, Failure> {
        let found = docker::inspect_image(&input.host, &input.image)?;
        found.map(Image::from).ok_or_else(|| precondition(missing(&input)))
    }
}

fn missing(input: &ImageInput) -> String {
    format!("there is no image {} on {}", input.image, input.host)
}
