//! Patterns of images, which are held against a reference part by part.
//!
//! As one text `postgres:*` would be `postgres:5000/other:1` too, of the registry `postgres:5000`.
//! The parts are as Docker has them (distribution/reference, *reference.go* and *normalize.go*).

use super::Glob;
use crate::image::{DEFAULT_REGISTRY, DEFAULT_REGISTRY_TOO, is_registry};

/// What an image without a tag and a digest has for a tag.
const LATEST: &str = "latest";

/// Where the default registry has what is named without a path.
const OFFICIAL: &str = "library/";

/// The parts of a reference, or of a pattern of some.
#[derive(Debug, PartialEq)]
struct Parts<'a> {
    registry: Option<&'a str>,
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
            // Both are what a name without a registry means.
            Some((DEFAULT_REGISTRY | DEFAULT_REGISTRY_TOO, rest)) => (None, rest),
            Some((first, rest)) if is_registry(first) => (Some(first), rest),
            _ => (None, path),
        };
        Self { registry, repository, tag, digest }
    }

    /// What its repository may be called: an image of the default registry by its short name too.
    fn repositories(&self) -> [String; 2] {
        let own = self.repository.to_owned();
        let other = match (self.registry, self.repository.strip_prefix(OFFICIAL)) {
            (None, Some(short)) if !short.contains('/') => short.to_owned(),
            (None, None) if !own.contains('/') => format!("{OFFICIAL}{own}"),
            _ => own.clone(),
        };
        [own, other]
    }
}

/// Whether an image has a name that is as the pattern says.
///
/// A pattern whose last part is a repository that ends with `*` is of all its tags and digests. An
/// engine heeds no tag beside a digest (Docker docs, *docker image pull*), so a pattern of some
/// tags is of none with a digest.
pub(super) fn is_image(pattern: &Glob, name: &str) -> bool {
    if pattern.is_any() {
        return true;
    }
    let (wanted, is) = (Parts::of(&pattern.0), Parts::of(name));
    let fits = |wanted: &str, is: &str| Glob(wanted.to_owned()).matches(is);
    let is_place = match (wanted.registry, is.registry) {
        (Some(wanted), is) => fits(wanted, is.unwrap_or(DEFAULT_REGISTRY)),
        (None, None) => true,
        (None, Some(_)) => false,
    };
    let is_open =
        wanted.tag.is_none() && wanted.digest.is_none() && wanted.repository.ends_with('*');
    let is_version = match (wanted.digest, is.digest) {
        _ if is_open => true,
        (Some(digest), Some(is_digest)) => {
            let is_tag = |tag: &str| is.tag.is_some_and(|is| fits(tag, is));
            fits(digest, is_digest) && wanted.tag.is_none_or(is_tag)
        }
        (Some(_), None) => false,
        (None, Some(_)) => wanted.tag.is_some_and(|tag| Glob(tag.to_owned()).is_any()),
        (None, None) => fits(wanted.tag.unwrap_or(LATEST), is.tag.unwrap_or(LATEST)),
    };
    let is_it = is.repositories().iter().any(|name| fits(wanted.repository, name));
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
            ("*:16", "evil.example/postgres:16", false),
        ] {
            assert_eq!(is_image(&Glob(pattern.to_owned()), name), wanted, "{pattern} {name}");
        }
    }
}
