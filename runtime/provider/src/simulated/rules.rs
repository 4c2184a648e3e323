//! What an engine refuses whatever there is on it: names, restart policies, ports, options.
//!
//! All of it is answered with 400 (Docker docs, *Docker Engine API*, *Bad parameter*), and the
//! provider for Docker tells it as invalid input.

use crate::restart::Policy;
use stepback_core::call::ContainerSpec;
use stepback_core::{Call, Failure, FailureClass};

/// What the `local` driver takes (Docker docs, *docker volume create*, *--opt*).
const VOLUME_OPTIONS: [&str; 4] = ["type", "device", "o", "size"];
const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

fn bad(message: String) -> Failure {
    Failure::new(FailureClass::InvalidInput, message).with_code("400")
}

/// Whether an engine would take the call at all.
pub(super) fn must_make_sense(call: &Call) -> Result<(), Failure> {
    match call {
        Call::DockerCreateContainer { container, spec, .. } => {
            name(container.as_str())?;
            specified(spec)
        }
        Call::DockerRunOnce { spec, .. } => specified(spec),
        Call::DockerRenameContainer { container, to, .. } => {
            name(to.as_str())?;
            match container == to {
                true => Err(bad(format!("container `{container}` has that name already"))),
                false => Ok(()),
            }
        }
        Call::DockerUpdateContainer { restart, .. } => policy(restart),
        Call::DockerCreateVolume { volume, options, .. } => {
            name(volume.as_str())?;
            match options.keys().find(|key| !VOLUME_OPTIONS.contains(&key.as_str())) {
                Some(odd) => Err(bad(format!("Docker volume `{volume}`: invalid option `{odd}`"))),
                None => Ok(()),
            }
        }
        Call::DockerPullImage { image, .. } => reference(image.as_str()),
        _ => Ok(()),
    }
}

/// A letter or digit, and then at least one more of these, `_`, `.` and `-`.
fn name(name: &str) -> Result<(), Failure> {
    let mut chars = name.chars();
    let begins = chars.next().is_some_and(|first| first.is_ascii_alphanumeric());
    let goes_on = |c: char| c.is_ascii_alphanumeric() || ['_', '.', '-'].contains(&c);
    match begins && name.len() > 1 && chars.all(goes_on) {
        true => Ok(()),
        false => Err(bad(format!("invalid name `{name}`, only [a-zA-Z0-9][a-zA-Z0-9_.-]"))),
    }
}

fn policy(restart: &str) -> Result<(), Failure> {
    match Policy::parse(restart) {
        Some(_) => Ok(()),
        None => Err(bad(format!("`{restart}` is no restart policy"))),
    }
}

fn specified(spec: &ContainerSpec) -> Result<(), Failure> {
    // An empty one is the usual one.
    if !spec.restart.is_empty() {
        policy(&spec.restart)?;
    }
    match spec.ports.iter().find(|port| !is_port(port)) {
        Some(odd) => Err(bad(format!("the port `{odd}` is not HOST-PORT:CONTAINER-PORT"))),
        None => Ok(()),
    }
}

/// `[address:]host-port:container-port[/protocol]`.
fn is_port(text: &str) -> bool {
    let Some((outside, inside)) = text.rsplit_once(':') else { return false };
    let (inside, protocol) = inside.split_once('/').unwrap_or((inside, "tcp"));
    let outside = outside.rsplit_once(':').map_or(outside, |(_, port)| port);
    let is_number = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    is_number(inside) && is_number(outside) && PROTOCOLS.contains(&protocol)
}

/// A repository's name has small letters only (Docker docs, *docker image tag*).
fn reference(image: &str) -> Result<(), Failure> {
    let name = image.split('@').next().unwrap_or(image);
    let name = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    };
    let odd = |c: char| c.is_whitespace() || c.is_ascii_uppercase();
    match name.is_empty() || name.contains(odd) || image.contains(char::is_whitespace) {
        true => Err(bad(format!("`{image}`: invalid reference format"))),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_takes_is_taken_and_nothing_else() {
        for good in ["db", "a1", "0.x", "main_2-old"] {
            assert!(name(good).is_ok(), "{good}");
        }
        for odd in ["", "a", ".a", "a/b", "ä2", "a b"] {
            assert!(name(odd).is_err(), "{odd}");
        }
        for good in ["5432:5432", "127.0.0.1:80:8080/udp"] {
            assert!(is_port(good), "{good}");
        }
        for odd in ["80", "x:y", "80:80/icmp", "0:80", "80:70000"] {
            assert!(!is_port(odd), "{odd}");
        }
        for good in ["postgres:16", "127.0.0.1:5000/a/b", "quay.io/a@sha256:00"] {
            assert!(reference(good).is_ok(), "{good}");
        }
        for odd in ["", "Not A Name", "Postgres:16", "postgres:1 6"] {
            assert!(reference(odd).is_err(), "{odd}");
        }
        for odd in ["", "sometimes", "on-failure:x", "No"] {
            assert!(policy(odd).is_err(), "{odd}");
        }
    }
}
