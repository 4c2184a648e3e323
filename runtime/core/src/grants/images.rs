//! Patterns of images, which are held against a reference part by part.
//!
//! As one text `postgres:*` would be `postgres:5000/other:1` too, of the registry `postgres:5000`.
//! The parts are as Docker has them (distribution/reference, *reference.go* and *normalize.go*).

use super::Glob;
use crate::image::{self, DEFAULT_REGISTRY, DEFAULT_REGISTRY_TOO};

/// What an image without a tag and a digest has for a tag.
const LATEST: &str = "latest";

/// What the default registry is called in names (distribution/reference, *normalize.go*).
const DEFAULT_NAMES: [&str; 2] = [DEFAULT_REGISTRY, DEFAULT_REGISTRY_TOO];

/// Other hosts that serve the default registry (docker/hub-feedback#2113).
const DEFAULT_HOSTS: [&str; 2] = ["registry-1.docker.io", "registry.hub.docker.com"];

/// Where the default registry has what is named without a path.
const OFFICIAL: &str = "library/";

/// The ports at which an engine looks for a registry that is named without one: over TLS, and in
/// the clear where it may (Docker docs, *dockerd*, *Insecure registries*).
const USUAL_PORTS: [&str; 2] = ["443", "80"];

/// The parts of a reference, or of a pattern of some.
#[derive(Debug, PartialEq)]
struct Parts<'a> {
    /// In small letters, its port without zeros in front; none for the default one.
    registry: Option<String>,
    repository: &'a str,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(reference: &'a str) -> Self {
        let image::Parts { registry, repository, tag, digest } = image::Parts::of(reference);
        Self { registry: registry.and_then(registry_of), repository, tag, digest }
    }

    /// What its repository may be called: an image of the default registry by its short name too.
    fn repositories(&self) -> [String; 2] {
        let own = self.repository.to_owned();
        let other = match self.registry {
            None => by_default(self.repository),
            Some(_) => own.clone(),
        };
        [own, other]
    }

    /// Where it is, in one way of writing it.
    fn place(&self) -> String {
        match &self.registry {
            Some(registry) => format!("{registry}/{}", self.repository),
            None => self.repository.to_owned(),
        }
    }

    /// Every way of writing where it is that a pattern may mean: the default registry, which no
    /// name needs, is meant by a pattern that names it, or that begins with any text.
    fn places(&self, pattern: &str) -> Vec<String> {
        let at = |host: &str, repository: &str| -> Vec<String> {
            hosts_of(host).iter().map(|host| format!("{host}/{repository}")).collect()
        };
        let hosts = self.registry.as_ref().map(|registry| hosts_of(registry));
        let bare = hosts.as_ref().and_then(|hosts| hosts.first());
        match &self.registry {
            Some(registry) if !bare.is_some_and(|bare| is_default(bare)) => {
                at(registry, self.repository)
            }
            _ => {
                let names = [self.repository.to_owned(), by_default(self.repository)];
                let hosts = || DEFAULT_NAMES.into_iter().chain(DEFAULT_HOSTS);
                let named = parted(pattern.split('/').next().unwrap_or_default()).0;
                let may_be_host = named.contains('.') || pattern.contains('/');
                let is_meant = |host: &&str| {
                    pattern.starts_with(['*', '?'])
                        || pattern.starts_with(host)
                        || may_be_host && Glob(named.to_owned()).matches(host)
                };
                let below = |name: &String| {
                    hosts().filter(is_meant).flat_map(|host| at(host, name)).collect()
                };
                let below: Vec<Vec<String>> = names.iter().map(below).collect();
                names.into_iter().chain(below.into_iter().flatten()).collect()
            }
        }
    }
}

/// The other name of a repository of the default registry, if it has one.
fn by_default(repository: &str) -> String {
    match repository.strip_prefix(OFFICIAL) {
        Some(short) if !short.contains('/') => short.to_owned(),
        None if !repository.contains('/') => format!("{OFFICIAL}{repository}"),
        _ => repository.to_owned(),
    }
}

fn is_default(host: &str) -> bool {
    DEFAULT_NAMES.contains(&host) || DEFAULT_HOSTS.contains(&host)
}

/// A registry's host as everybody may write it; none for the default one, by any of its names.
fn registry_of(host: &str) -> Option<String> {
    let host = in_one_way(host);
    (!is_default(&host)).then_some(host)
}

/// In small letters, as hosts have no others, a port without zeros in front, and an address in the
/// one way of writing it.
fn in_one_way(host: &str) -> String {
    let host = host.to_lowercase();
    let (name, port) = parted(&host);
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = address.and_then(|text| text.parse::<core::net::Ipv6Addr>().ok());
    let name = address.map_or(name.to_owned(), |address| format!("[{address}]"));
    let bare = |port: &str| match port.trim_start_matches('0') {
        "" => "0".to_owned(),
        rest => rest.to_owned(),
    };
    port.map_or(name.clone(), |port| format!("{name}:{}", bare(port)))
}

/// A host and its port; an IPv6 address has colons of its own.
fn parted(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    }
}

/// A registry without and with the ports at which it is looked for if it is named without one.
fn hosts_of(registry: &str) -> Vec<String> {
    let bare = match parted(registry) {
        (bare, Some(port)) if USUAL_PORTS.contains(&port) => bare,
        (_, Some(_)) => return vec![registry.to_owned()],
        (bare, None) => bare,
    };
    let ports = USUAL_PORTS.iter().map(|port| format!("{bare}:{port}"));
    [bare.to_owned()].into_iter().chain(ports).collect()
}

/// Whether an image may be one that the pattern names, by any way of writing either, and whatever
/// its tag stands for.
///
/// A tag and a digest may be one image, as two digests of two kinds may. A pattern's `*` may stand
/// for a registry and a part of what is there.
pub(super) fn may_be_image(pattern: &Glob, name: &str) -> bool {
    if pattern.is_any() {
        return true;
    }
    let (wanted, is) = (Parts::of(&pattern.0), Parts::of(name));
    let place = Glob(wanted.place());
    let is_place = is.places(&place.0).iter().any(|text| place.may_match(text));
    let fits = |wanted: &str, is: &str| Glob(wanted.to_owned()).may_match(is);
    let kind = |digest: &str| digest.split_once(':').map(|(kind, _)| kind.to_owned());
    let is_version = match (wanted.tag, wanted.digest, is.digest) {
        (None, None, _) if wanted.repository.ends_with('*') => true,
        (_, Some(digest), Some(is)) => kind(digest) != kind(is) || fits(digest, is),
        (_, Some(_), None) | (_, None, Some(_)) => true,
        (tag, None, None) => fits(tag.unwrap_or(LATEST), is.tag.unwrap_or(LATEST)),
    };
    is_place && is_version
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
            // Without a port it may be another server, in the clear.
            ("ghcr.io/*", "ghcr.io:443/acme/app:1", false),
            ("GHCR.io:443/*", "ghcr.io/acme/app:1", false),
            ("GHCR.io:443/*", "ghcr.io:0443/acme/app:1", true),
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
            ("docker.io/*", "postgres:16", true),
            ("d*", "postgres:16", false),
            ("docker?io/library/*", "postgres:16", true),
            ("docker?io/acme/*", "acme/app:1", true),
            ("ghcr?io/acme/*", "ghcr.io/acme/app:1", true),
            ("registry-*.docker.io/library/postgres:*", "postgres:16", true),
            ("index.docker.*/library/postgres:*", "docker.io/postgres:16", true),
            ("registry.hub.*/library/postgres:*", "postgres:16", true),
            ("127.0.0.1:0500?/*", "127.0.0.1:5001/x:1", true),
            ("[::1]:80/*", "[::1]/x:1", true),
            ("[::1]:5000/*", "[0::1]:5000/x:1", true),
            ("[::1]:5000/*", "[::1]:5001/x:1", false),
            ("docker.io*", "DOCKER.io/library/postgres:16", true),
            ("docker.io*", "registry-1.docker.io/library/postgres:16", true),
            ("postgres:*", "registry.hub.docker.com/library/postgres:16", true),
            ("postgres:*", "docker.io:0443/library/postgres:16", true),
            ("ghcr.io/*", "ghcr.io:0443/acme/app:1", true),
            ("ghcr.io/*", "ghcr.io:80/acme/app:1", true),
            ("127.0.0.1:80/*", "127.0.0.1/acme/app:1", true),
            ("127.0.0.1:05000/*", "127.0.0.1:5000/x:1", true),
            ("127.0.0.1:5000/*", "127.0.0.1:05000/x:1", true),
            ("127.0.0.1:5000/*", "127.0.0.1:5001/x:1", false),
            ("ghcr.io*", "GHCR.io/acme/app:1", true),
            ("*ghcr.io*", "GHCR.io/acme/app:1", true),
            ("*/acme/app:1", "ghcr.io/acme/app:1@sha256:1", true),
            ("*/acme/app:1", "ghcr.io/acme/app@sha256:1", true),
            ("*/acme/app:1", "ghcr.io/acme/app:2", false),
            ("*acme/app:*", "ghcr.io/acme/app@sha256:1", true),
            ("gh*:1", "ghcr.io/acme/app@sha256:1", true),
            ("*@sha256:1", "ghcr.io/acme/app:2", true),
            ("*@sha256:1", "ghcr.io/acme/app@sha256:2", false),
            ("postgres@sha256:1", "postgres@sha512:2", true),
            ("postgres:*", "ghcr.io/acme/app:1", false),
            ("postgres:*", "evil/postgres:1", false),
            ("library/*", "postgres:16", true),
        ] {
            assert_eq!(may_be_image(&Glob(pattern.to_owned()), name), wanted, "{pattern} {name}");
        }
    }
}
