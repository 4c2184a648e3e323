//! Images' names.

/// The registry of names that name none (Docker docs, *docker image tag*).
pub(super) const DEFAULT_REGISTRY: &str = "docker.io";

/// An image's name in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) registry: String,
    path: String,
    /// `:tag` or `@digest`.
    pub(super) version: String,
}

impl Name {
    /// `[registry/]path[:tag|@digest]`; the first part is a registry if it looks like a host.
    pub(super) fn parse(reference: &str) -> Self {
        let (name, version) = match reference.split_once('@') {
            Some((name, digest)) => (name, format!("@{digest}")),
            None => match reference.rsplit_once(':') {
                Some((name, tag)) if !tag.contains('/') => (name, format!(":{tag}")),
                _ => (reference, ":latest".to_owned()),
            },
        };
        let is_host = |part: &str| part.contains(['.', ':']) || part == "localhost";
        let (registry, path) = match name.split_once('/') {
            Some((first, rest)) if is_host(first) => (first, rest.to_owned()),
            Some(_) => (DEFAULT_REGISTRY, name.to_owned()),
            None => (DEFAULT_REGISTRY, format!("library/{name}")),
        };
        Self { registry: registry.to_owned(), path, version }
    }

    pub(super) fn same_repo(&self, other: &Name) -> bool {
        self.registry == other.registry && self.path == other.path
    }

    pub(super) fn at(&self, registry: &str) -> String {
        format!("{registry}/{}{}", self.path, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_images_name_has_its_registry() {
        let table = [
            ("postgres:16", "docker.io", "library/postgres", ":16"),
            ("postgres", "docker.io", "library/postgres", ":latest"),
            ("bitnami/redis:7", "docker.io", "bitnami/redis", ":7"),
            ("127.0.0.1:5000/db", "127.0.0.1:5000", "db", ":latest"),
            ("quay.io/a/b@sha256:00", "quay.io", "a/b", "@sha256:00"),
        ];
        for (text, registry, path, version) in table {
            let found = Name::parse(text);
            let parts = (found.registry.as_str(), found.path.as_str(), found.version.as_str());
            assert_eq!(parts, (registry, path, version), "{text}");
        }
    }
}
