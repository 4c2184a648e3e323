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
    /// The very image, whatever the name means by now: it is taken by its digest then, and so it
    /// is called in the output's `reference`.
    #[serde(default)]
    digest: Option<String>,
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
        let mut pulled = Image::from(docker::pull_image(&input.host, &input.image)?);
        if let Some(wanted) = input.digest.as_ref().filter(|wanted| **wanted != pulled.digest) {
            let (image, means) = (&input.image, &pulled.digest);
            let moved = format!("{image} means {means} by now");
            let told = format!("{moved}; pulling the very image, {wanted}");
            log::line(log::Level::Warn, &told);
            let very = docker::pull_image(&input.host, &by_digest(image, wanted));
            pulled = very.map(Image::from).map_err(|mut failure| {
                failure.message = format!("{moved}, and by its digest: {}", failure.message);
                failure
            })?;
        }
        let Image { reference, digest } = &pulled;
        log::info(&format!("{reference} is {digest} on {}", input.host));
        Ok(pulled)
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
        // A name that moved leaves the image that it meant where it is.
        if let Some(wanted) = &input.digest
            && found.as_ref().is_none_or(|found| found.digest != *wanted)
            && let Some(very) =
                docker::inspect_image(&input.host, &by_digest(&input.image, wanted))?
        {
            return Ok(very.into());
        }
        found.map(Image::from).ok_or_else(|| precondition(missing(&input)))
    }
}

/// The image's repository with this digest: `postgres:16` and `sha256:…` are `postgres@sha256:…`.
pub(crate) fn by_digest(image: &str, digest: &str) -> String {
    let name = image.split('@').next().unwrap_or(image);
    let repository = match name.rsplit_once(':') {
        // What comes after the last colon may be a registry's port, and the path.
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    };
    format!("{repository}@{digest}")
}

fn missing(input: &ImageInput) -> String {
    format!("there is no image {} on {}", input.image, input.host)
}
