//! Patterns of images, which are held against a reference part by part.
//!
//! As one text `postgres:*` would be `postgres:5000/other:1` too, of the registry `postgres:5000`.
//! The parts are as Docker has them (distribution/reference, *reference.go* and *normalize.go*).

use super::Glob;
use crate::image::{DEFAULT_REGISTRY, DEFAULT_REGISTRY_TOO, ImageName, is_registry};

/// What an image without a tag and a digest has for a tag.
const LATEST: &str = "latest";
const LATEST_TAG: &str = ":latest";

/// The host that serves the default registry, which is a registry by that name, too.
const REGISTRY_ITSELF: &str = "registry-1.docker.io";

/// Where the default registry has what is named without a path.
const OFFICIAL: &str = "library/";

/// The parts of a reference, or of a pattern of some.
#[derive(Debug, PartialEq)]
struct Parts<'a> {
    /// In small letters; none for the default one.
    registry: Option<String>,
    repository: &'a str,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(reference: &'a str) -> Self {
        let (named, digest) = match reference.split_once('@') {
            Some((named, digest)) => (named, Some(digest)),
            None => (reference, None),
        };
        // A colon before a slash is that of a port.
        let (path, tag) = match named.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
            _ => (named, None),
        };
        let (registry, repository) = match path.split_once('/') {
            Some((first, rest)) if is_registry(first) => (registry_of(first), rest),
            _ => (None, path),
        };
        Self { registry, repository, tag, digest }
    }

    /// What its repository may be called: an image of the default registry by its short name too.
    fn repositories(&self) -> [String; 2] {
        let own = self.repository.to_owned();
        let other = match (&self.registry, self.repository.strip_prefix(OFFICIAL)) {
            (None, Some(short)) if !short.contains('/') => short.to_owned(),
            (None, None) if !own.contains('/') => format!("{OFFICIAL}{own}"),
            _ => own.clone(),
        };
        [own, other]
    }
}

/// A registry's host as everybody may write it; none for the default one, by any of its names
/// (distribution/reference, *normalize.go*; Docker docs, *Docker Hub*).
fn registry_of(host: &str) -> Option<String> {
    let host = host.to_lowercase();
    // What is reached over TLS without a port is reached there.
    let host = host.strip_suffix(":443").unwrap_or(&host);
    let is_default = [DEFAULT_REGISTRY, DEFAULT_REGISTRY_TOO, REGISTRY_ITSELF].contains(&host);
    (!is_default).then(|| host.to_owned())
}

/// What is known of a version that is not the one that a pattern names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    /// A tag and a digest are two things: what may be done is done to what is said.
    AsSaid,
    /// Either may be the other: what is denied is not to be had by another name.
    MayBe,
}

/// Whether an image may be one that the pattern names, whatever its tag stands for.
pub(super) fn may_be_image(pattern: &Glob, name: &str) -> bool {
    // A pattern of the whole text is held against all that a name leaves out.
    let whole = ImageName::of(name);
    let is_of_text = pattern.0.starts_with('*') || pattern.0.starts_with(&whole.registry);
    let (place, version) = (format!("{}/{}", whole.registry, whole.path), whole.version);
    let is_text = || {
        pattern.matches(&format!("{place}{version}"))
            || version == LATEST_TAG && pattern.matches(&place)
    };
    is_one(pattern, name, Version::MayBe) || is_of_text && is_text()
}

/// Whether an image has a name that is as the pattern says.
///
/// A pattern whose last part is a repository that ends with `*` is of all its tags and digests. An
/// engine heeds no tag beside a digest (Docker docs, *docker image pull*), so a pattern of some
/// tags is of none with a digest.
pub(super) fn is_image(pattern: &Glob, name: &str) -> bool {
    is_one(pattern, name, Version::AsSaid)
}

fn is_one(pattern: &Glob, name: &str, version: Version) -> bool {
    if pattern.is_any() {
        return true;
    }
    let (wanted, is) = (Parts::of(&pattern.0), Parts::of(name));
    let fits = |wanted: &str, is: &str| Glob(wanted.to_owned()).matches(is);
    let is_it = is.repositories().iter().any(|name| fits(wanted.repository, name));
    let is_place = match (wanted.registry, is.registry) {
        (Some(wanted), is) => fits(&wanted, is.as_deref().unwrap_or(DEFAULT_REGISTRY)),
        (None, None) => true,
        (None, Some(_)) => false,
    };
    let is_open =
        wanted.tag.is_none() && wanted.digest.is_none() && wanted.repository.ends_with('*');
    let is_version = match (wanted.digest, is.digest) {
        _ if is_open => true,
        (Some(_), None) | (None, Some(_)) if version == Version::MayBe => true,
        (Some(digest), Some(is_digest)) => {
            let is_tag = |tag: &str| is.tag.is_some_and(|is| fits(tag, is));
            fits(digest, is_digest) && wanted.tag.is_none_or(is_tag)
        }
        (Some(_), None) => false,
        (None, Some(_)) => wanted.tag.is_some_and(|tag| Glob(tag.to_owned()).is_any()),
        (None, None) => fits(wanted.tag.unwrap_or(LATEST), is.tag.unwrap_or(LATEST)),
    };
    is_place && is_it && is_version
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_held_against_an_image_part_by_part() {
        for (pattern, name, wanted) in [
            ("postgres:*", "postgres:16", true),
            ("postgres:*", "postgres", true),
            ("postgres:*", "postgres:16@sha256:1", true),
            ("postgres:*", "postgres@sha256:1", true),
            ("postgres:*", "postgres:5000/evil:1", false),
            ("postgres:*", "postgres:5000/evil", false),
            ("postgres:*", "evil/postgres:16", false),
            ("postgres:*", "evil.example/postgres:16", false),
            ("postgres:1*", "postgres:16", true),
            ("postgres:1*", "postgres:16@sha256:1", false),
            ("postgres:16", "postgres:16@sha256:1", false),
            ("postgres", "postgres:latest", true),
            ("postgres", "postgres:16", false),
            ("postgres", "postgres@sha256:1", false),
            ("postgres*", "postgres:16", true),
            ("postgres*", "postgres.evil.example/x:1", false),
            ("postgres*", "postgres:5000/evil:1", false),
            ("postgres@sha256:1", "postgres@sha256:1", true),
            ("postgres@sha256:1", "postgres:16@sha256:1", true),
            ("postgres:16@sha256:1", "postgres@sha256:1", false),
            ("postgres@sha256:1", "postgres:16", false),
            ("postgres@sha256:1", "postgres@sha256:2", false),
            ("ghcr.io/acme/*", "ghcr.io/acme/app:1", true),
            ("ghcr.io/acme/*", "ghcr.io/acme/app@sha256:1", true),
            ("ghcr.io/acme/*", "ghcr.io/acmes/app:1", false),
            ("ghcr.io/*", "ghcr.io.evil.example/app:1", false),
            ("*.example.com/app:1", "eu.example.com/app:1", true),
            ("*.example.com/app:1", "evil/x.example.com/app:1", false),
            ("acme/*", "acme/app:1", true),
            ("acme/*", "localhost/acme/app:1", false),
            ("localhost:5000/*", "localhost:5000/app:1", true),
            ("localhost:*", "localhost:5000/app:1", false),
            ("acme*", "Acme/app:1", false),
            ("*", "evil.example:5000/x@sha256:1", true),
            ("*:16", "postgres:16", true),
            // One image by its other names.
            ("docker.io/library/postgres:*", "postgres:16", true),
            ("docker.io/postgres:*", "postgres:16", true),
            ("index.docker.io/library/postgres:16", "postgres:16", true),
            ("library/postgres:*", "postgres:16", true),
            ("library/*", "postgres:16", true),
            ("docker.io/library/*", "acme/app:1", false),
            ("docker.io/*", "acme/app:1", true),
            ("postgres:*", "docker.io/library/postgres:16", true),
            ("postgres:*", "docker.io/postgres:16", true),
            ("postgres:*", "index.docker.io/library/postgres:16", true),
            ("postgres:*", "library/postgres:16", true),
            ("postgres:*", "ghcr.io/library/postgres:16", false),
            ("acme/*", "docker.io/acme/app:1", true),
            ("docker.io/acme/*", "acme/app:1", true),
            ("docker.io/acme/*", "ghcr.io/acme/app:1", false),
            ("*.io/acme/app:1", "acme/app:1", true),
            ("postgres:*", "registry-1.docker.io/library/postgres:16", true),
            ("postgres:*", "DOCKER.io/library/postgres:16", true),
            ("ghcr.io/*", "GHCR.io/acme/app:1", true),
            ("ghcr.io/*", "ghcr.io:443/acme/app:1", true),
            ("GHCR.io:443/*", "ghcr.io/acme/app:1", true),
            ("ghcr.io/*", "ghcr.io:4430/acme/app:1", false),
            ("*:16", "evil.example/postgres:16", false),
        ] {
            assert_eq!(is_image(&Glob(pattern.to_owned()), name), wanted, "{pattern} {name}");
        }
    }

    #[test]
    fn what_is_denied_is_not_had_by_another_name() {
        for (pattern, name, wanted) in [
            ("postgres:16", "postgres@sha256:1", true),
            ("postgres:16", "postgres:16@sha256:1", true),
            ("*:16", "postgres:16@sha256:1", true),
            ("postgres:16*", "postgres@sha256:1", true),
            ("postgres@sha256:1", "postgres:16", true),
            ("postgres:16", "postgres:17", false),
            ("postgres@sha256:1", "postgres@sha256:2", false),
            ("postgres:16", "redis@sha256:1", false),
            ("*:latest", "ghcr.io/acme/app", true),
            ("*/app:*", "ghcr.io/acme/app", true),
            ("*/app", "ghcr.io/acme/app:latest", true),
            ("*evil:*", "ghcr.io/x/evil", true),
            ("docker.io*", "postgres:16", true),
        ] {
            assert_eq!(may_be_image(&Glob(pattern.to_owned()), name), wanted, "{pattern} {name}");
        }
    }
}
