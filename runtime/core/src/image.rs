//! Images' names in their parts, as an engine understands them.

use std::fmt;

/// The registry of names that name none (Docker docs, *docker image tag*).
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// Another name of it (distribution/reference, *normalize.go*).
pub(crate) const DEFAULT_REGISTRY_TOO: &str = "index.docker.io";

/// `[registry/]path[:tag|@digest]` with all that it leaves out: `postgres` is
/// `docker.io/library/postgres:latest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageName {
    /// The host of its registry, with a port if that has one.
    pub registry: String,
    /// The repository there.
    pub path: String,
    /// `:tag` or `@digest`; a tag beside a digest counts for nothing.
    pub version: String,
}

impl ImageName {
    /// The parts of a name; the first is a registry if it looks like a host.
    pub fn of(reference: &str) -> Self {
        let (name, digest) = match reference.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (reference, None),
        };
        // A colon before a slash is that of a port.
        let (name, tag) = match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, tag),
            _ => (name, "latest"),
        };
        let version = match digest {
            Some(digest) => format!("@{digest}"),
            None => format!(":{tag}"),
        };
        let (registry, path) = match name.split_once('/') {
            Some((first, rest)) if is_registry(first) => (first, rest.to_owned()),
            _ => (DEFAULT_REGISTRY, name.to_owned()),
        };
        let (registry, path) = match registry {
            DEFAULT_REGISTRY | DEFAULT_REGISTRY_TOO if !path.contains('/') => {
                (DEFAULT_REGISTRY, format!("library/{path}"))
            }
            DEFAULT_REGISTRY_TOO => (DEFAULT_REGISTRY, path),
            other => (other, path),
        };
        Self { registry: registry.to_owned(), path, version }
    }

    /// Whether another one is of the same repository.
    pub fn same_repo(&self, other: &Self) -> bool {
        self.registry == other.registry && self.path == other.path
    }

    /// The same of another registry.
    pub fn at(&self, registry: &str) -> String {
        format!("{registry}/{}{}", self.path, self.version)
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.at(&self.registry))
    }
}

/// Whether what is before the first slash is a registry, and not the beginning of a repository
/// (distribution/reference, *normalize.go*).
pub fn is_registry(first: &str) -> bool {
    first.contains(['.', ':'])
        || first == "localhost"
        || first.chars().any(|one| one.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_images_name_has_its_registry() {
        for (text, registry, path, version) in [
            ("postgres:16", "docker.io", "library/postgres", ":16"),
            ("postgres", "docker.io", "library/postgres", ":latest"),
            ("docker.io/postgres", "docker.io", "library/postgres", ":latest"),
            ("index.docker.io/library/postgres:16", "docker.io", "library/postgres", ":16"),
            ("bitnami/redis:7", "docker.io", "bitnami/redis", ":7"),
            ("127.0.0.1:5000/db", "127.0.0.1:5000", "db", ":latest"),
            ("Local/db:1", "Local", "db", ":1"),
            ("quay.io/a/b@sha256:00", "quay.io", "a/b", "@sha256:00"),
            ("quay.io/a/b:1@sha256:00", "quay.io", "a/b", "@sha256:00"),
        ] {
            let found = ImageName::of(text);
            let parts = (found.registry.as_str(), found.path.as_str(), found.version.as_str());
            assert_eq!(parts, (registry, path, version), "{text}");
        }
    }
}
