//! Grants in words, for `plan`, `plugin inspect` and whoever is refused something.

use super::{DockerVolumes, Functions, Grant, HostPattern};
use crate::calls::Tags;
use std::fmt;

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.interface, self.functions)?;
        if self.root {
            f.write_str(", as root of the host")?;
        }
        if !self.tags.is_empty() {
            write!(f, "; on what has the tags {}", tags(&self.tags))?;
        }
        list(f, "on the hosts", &self.hosts)?;
        list(f, "for the containers", &self.containers)?;
        if let DockerVolumes::Named(globs) = &self.docker_volumes {
            list(f, "with the Docker volumes", globs)?;
        }
        list(f, "of the images", &self.images)?;
        list(f, "with the commands", &self.commands)?;
        list(f, "with the variables", &self.env)?;
        list(f, "of the pools", &self.pools)
    }
}

fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, what: &str, all: &[T]) -> fmt::Result {
    if all.is_empty() {
        return Ok(());
    }
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    write!(f, "; {what} {}", all.join(", "))
}

fn tags(all: &Tags) -> String {
    let all: Vec<String> = all.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    all.join(", ")
}

impl fmt::Display for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Functions::Some { reads, named } = self else { return f.write_str("everything") };
        let looks = reads.then(|| "looking and waiting".to_owned());
        let all: Vec<String> =
            looks.into_iter().chain(named.iter().map(ToString::to_string)).collect();
        f.write_str(&all.join(", "))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Named(glob) => write!(f, "{glob}"),
            HostPattern::Tagged(wanted) => write!(f, "with the tags {}", tags(wanted)),
        }
    }
}
