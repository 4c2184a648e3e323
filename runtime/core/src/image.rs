//! Images' names in their parts, as an engine understands them.

use std::fmt;

/// The registry of names that name none (Docker docs, *docker image tag*).
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// Another name of it (distribution/reference, *normalize.go*).
pub(crate) const DEFAULT_REGISTRY_TOO: &str = "index.docker.io";

/// The parts of a reference, or of a pattern of some, as they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    /// None where it names none.
    pub registry: Option<&'a str>,
    pub repository: &'a str,
    pub tag: Option<&'a str>,
    pub digest: Option<&'a str>,
}

impl<'a> Parts<'a> {
    pub fn of(reference: &'a str) -> Self {
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
            Some((first, rest)) if is_registry(first) => (Some(first), rest),
            _ => (None, path),
        };
        Self { registry, repository, tag, digest }
    }
}

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
        let Parts { registry, repository, tag, digest } = Parts::of(reference);
        let version = match digest {
            Some(digest) => format!("@{digest}"),
            None => format!(":{}", tag.unwrap_or("latest")),
        };
        let (registry, path) = (registry.unwrap_or(DEFAULT_REGISTRY), repository.to_owned());
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

/// The digests that engines take, and how many digits they have (opencontainers/go-digest,
/// *algorithm.go*).
const DIGESTS: [(&str, usize); 3] = [("sha256", 64), ("sha384", 96), ("sha512", 128)];

/// What a name, or a pattern of names in which `*` stands for any text and `?` for one character,
/// can never have, in words; none where there is or may be an image of that name
/// (distribution/reference, *regexp.go*).
pub fn odd_in(reference: &str, is_pattern: bool) -> Option<&'static str> {
    let is_open = |c: char| is_pattern && ['*', '?'].contains(&c);
    let Parts { registry, repository, tag, digest } = Parts::of(reference);
    if registry.is_some_and(|registry| !is_host(registry, is_open)) {
        return Some("what is before the first `/` is no registry's host");
    }
    let is_of_name =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-_".contains(c) || is_open(c);
    let is_between = |c: char| ['.', '-', '_'].contains(&c);
    let ends = |part: &str| part.starts_with(is_between) || part.ends_with(is_between);
    // Between two of the others: one of `.` and `_`, two `_`, or any number of `-`.
    let separators = |part: &str| {
        let mut all = part.split(|c: char| !is_between(c)).filter(|one| !one.is_empty());
        all.all(|one| matches!(one, "." | "_" | "__") || one.chars().all(|c| c == '-'))
    };
    let is_part = |part: &str| {
        !part.is_empty() && !ends(part) && separators(part) && part.chars().all(is_of_name)
    };
    if !repository.split('/').all(is_part) {
        return Some("a repository has small letters, digits, and `.`, `-`, `_` between them");
    }
    let is_of_tag = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c) || is_open(c);
    let is_tag =
        |tag: &str| !tag.is_empty() && !tag.starts_with(['.', '-']) && tag.chars().all(is_of_tag);
    if tag.is_some_and(|tag| !is_tag(tag) || tag.len() > 128) {
        return Some("a tag has letters, digits, `_`, `.` and `-`, and no more than 128");
    }
    let is_any = |text: &str| !text.is_empty() && text.chars().all(|c| is_pattern && c == '*');
    let is_digest = |digest: &str| {
        let Some((kind, sum)) = digest.split_once(':') else { return is_any(digest) };
        let is_of_sum = |c: char| matches!(c, '0'..='9' | 'a'..='f') || is_open(c);
        let length = DIGESTS.iter().find(|(name, _)| *name == kind).map(|(_, length)| *length);
        let longest = length.or_else(|| is_any(kind).then_some(128));
        let is_long = longest.is_some_and(|longest| match is_pattern && sum.contains('*') {
            true => sum.len() <= longest,
            false => length.is_none_or(|length| sum.len() == length),
        });
        is_long && !sum.is_empty() && sum.chars().all(is_of_sum)
    };
    let odd = digest.is_some_and(|digest| !is_digest(digest));
    odd.then_some("a digest is `sha256:` and 64 of `0-9a-f`, or `sha512:` and 128")
}

/// Whether this names a registry as an image's name does: a host, with its port if it has one.
pub fn is_registry_name(text: &str) -> bool {
    is_registry(text) && is_host(text, |_| false)
}

fn is_host(text: &str, is_open: impl Fn(char) -> bool + Copy) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            let is_address = address.chars().all(|c| c.is_ascii_hexdigit() || c == ':');
            match (is_address && !address.is_empty(), rest.strip_prefix(':')) {
                (true, port) if port.is_some() || rest.is_empty() => ("v6", port),
                _ => return false,
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_of_label = |c: char| c.is_ascii_alphanumeric() || c == '-' || is_open(c);
    let is_label = |label: &str| {
        let ends = label.starts_with('-') || label.ends_with('-');
        !label.is_empty() && !ends && label.chars().all(is_of_label)
    };
    let is_of_port = |c: char| c.is_ascii_digit() || is_open(c);
    host.split('.').all(is_label)
        && port.is_none_or(|port| !port.is_empty() && port.chars().all(is_of_port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_image_can_be_called_is_odd() {
        let sum = "0123456789abcdef".repeat(4);
        let digest = format!("quay.io/a/b@sha256:{sum}");
        let pinned = format!("a:1@sha256:{sum}");
        let longer = format!("a@sha512:{sum}{sum}");
        for good in ["postgres:16", "a", "127.0.0.1:5000/a/b--c__d.e:V1", "Evil/x", "[::1]:5000/x"]
            .into_iter()
            .chain([&*digest, &*pinned, &*longer])
        {
            assert_eq!(odd_in(good, false), None, "{good}");
            assert_eq!(odd_in(good, true), None, "{good}");
        }
        for pattern in [
            "*",
            "postgres*",
            "*:16",
            "a@*",
            "*@sha256:*",
            "a@sha256:00*",
            "a@sha512:*",
            "*.io/a/*:?",
        ] {
            assert_eq!(odd_in(pattern, true), None, "{pattern}");
            assert!(odd_in(pattern, false).is_some(), "{pattern}");
        }
        for odd in [
            "",
            "a:b:c",
            "Evil:1",
            "x@sha256:12",
            "x@md5:00",
            "a//b",
            "a:",
            "a@",
            "::",
            "-a",
            "a-",
            "a b",
            "ann:pw@r.example/x",
            "https://r.example/x",
            "r.example:/x",
            "r.example:http/x",
            "a:-1",
            "x@sha256:gg*",
            "r_x.example/a",
            "a?b=c",
        ] {
            assert!(odd_in(odd, false).is_some(), "{odd}");
            let is_pattern = odd == "a?b=c";
            assert!(odd_in(odd, true).is_some() || is_pattern, "{odd}");
        }
    }

    #[test]
    fn a_registry_goes_by_its_host() {
        for good in ["docker.io", "localhost", "localhost:5000", "10.0.0.1:5000", "[::1]:5000"] {
            assert!(is_registry_name(good), "{good}");
        }
        for odd in ["", "harbor", "ann@r.example", "r.example/x", "r.example?t=1", "https://r.io"] {
            assert!(!is_registry_name(odd), "{odd}");
        }
    }

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
