//! Steps on images.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stepback_sdk::{Check, Failure, FailureClass, Step, docker, granted, log, may, precondition};

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
        let ImageInput { host, image, digest } = input;
        if digest.is_none() {
            granted(|| docker::pull_image(host, image))?;
        }
        if the_very(host, image, digest.as_deref())?.is_some() {
            return Ok(Check::Ok);
        }
        // A tag that is served no more does not matter where its digest is.
        match (may(|| docker::pull_image(host, image)), digest) {
            (Err(failure), Some(digest)) if failure.class == FailureClass::Precondition => {
                may(|| docker::pull_image(host, &by_digest(image, digest)))?;
            }
            (answer, _) => answer?,
        }
        Ok(Check::Ok)
    }

    fn run(input: ImageInput) -> Result<Image, Failure> {
        let pulled = match &input.digest {
            None => docker::pull_image(&input.host, &input.image)?,
            Some(digest) => pull_the_very(&input.host, &input.image, digest)?,
        };
        let pulled = Image::from(pulled);
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
        Ok(match found(input)? {
            Some(_) => Check::Ok,
            None => Check::NotYet(missing(input)),
        })
    }

    fn run(input: ImageInput) -> Result<Image, Failure> {
        found(&input)?.map(Image::from).ok_or_else(|| precondition(missing(&input)))
    }
}

/// The very image if the host has it, else what its name means there.
fn found(input: &ImageInput) -> Result<Option<docker::Image>, Failure> {
    match the_very(&input.host, &input.image, input.digest.as_deref())? {
        Some(very) => Ok(Some(very)),
        None => docker::inspect_image(&input.host, &input.image),
    }
}

/// The image of this name, if the host has it; with a digest it is that one, by whatever name.
pub(crate) fn the_very(
    host: &str,
    image: &str,
    digest: Option<&str>,
) -> Result<Option<docker::Image>, Failure> {
    let found = docker::inspect_image(host, image)?;
    match digest {
        // A name that moved leaves the image that it meant where it is.
        Some(digest) if found.as_ref().is_none_or(|found| found.digest != digest) => {
            docker::inspect_image(host, &by_digest(image, digest))
        }
        _ => Ok(found),
    }
}

/// The very image, that a host has by now.
pub(crate) fn must_have(host: &str, image: &str, digest: &str) -> Result<docker::Image, Failure> {
    let found = the_very(host, image, Some(digest))?;
    found.ok_or_else(|| precondition(format!("{host} has no image {image} that is {digest}")))
}

/// Have the very image on a host. A name that means another one there goes on to mean that: who
/// else uses it on this host wants nothing of this.
fn pull_the_very(host: &str, image: &str, digest: &str) -> Result<docker::Image, Failure> {
    if let Some(very) = the_very(host, image, Some(digest))? {
        return Ok(very);
    }
    let mut why = format!("{image} means another image on {host}");
    if docker::inspect_image(host, image)?.is_none() {
        match docker::pull_image(host, image) {
            Ok(pulled) if pulled.digest == digest => return Ok(pulled),
            Ok(pulled) => why = format!("{image} means {} by now", pulled.digest),
            // The tag is not served any more.
            Err(failure) if failure.class == FailureClass::Precondition => why = failure.message,
            Err(failure) => return Err(failure),
        }
    }
    log::line(log::Level::Warn, &format!("{why}; pulling the very image, {digest}"));
    docker::pull_image(host, &by_digest(image, digest)).map_err(|mut failure| {
        failure.message = format!("{why}, and by its digest: {}", failure.message);
        failure
    })
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
