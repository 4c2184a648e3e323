//! What an engine refuses whatever there is on it: names, restart policies, ports, mounts, options.
//!
//! All of it is answered with 400 (Docker docs, *Docker Engine API*, *Bad parameter*), and the
//! provider for Docker tells it as invalid input.

use crate::ports::Port;
use crate::restart::Policy;
use stepback_core::calls::{ContainerSpec, DockerCall};
use stepback_core::image::odd_in;
use stepback_core::{Call, Failure, FailureClass};

/// What the `local` driver takes (Docker docs, *docker volume create*, *--opt*).
const VOLUME_OPTIONS: [&str; 4] = ["type", "device", "o", "size"];

fn bad(message: String) -> Failure {
    Failure::new(FailureClass::InvalidInput, message).with_code("400")
}

/// Whether an engine would take the call at all.
pub fn must_make_sense(call: &Call) -> Result<(), Failure> {
    match call {
        Call::Docker(DockerCall::CreateContainer { container, spec, .. }) => {
            name(container.as_str())?;
            specified(spec)
        }
        Call::Docker(DockerCall::RunOnce { spec, .. }) => specified(spec),
        Call::Docker(DockerCall::RenameContainer { container, to, .. }) => {
            name(to.as_str())?;
            match container == to {
                true => Err(bad(format!("container `{container}` has that name already"))),
                false => Ok(()),
            }
        }
        Call::Docker(DockerCall::UpdateContainer { restart, .. }) => policy(restart),
        Call::Docker(DockerCall::CreateVolume { volume, options, .. }) => {
            name(volume.as_str())?;
            match options.keys().find(|key| !VOLUME_OPTIONS.contains(&key.as_str())) {
                Some(odd) => Err(bad(format!("Docker volume `{volume}`: invalid option `{odd}`"))),
                None => Ok(()),
            }
        }
        Call::Docker(DockerCall::PullImage { image, .. }) => reference(image.as_str()),
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

/// Whether a container gets no label that is a mark of Stepback's, by which lost answers are
/// settled and helpers are known. An engine itself takes any.
///
/// # Errors
/// `invalid-input`, with the label.
pub fn labels_must_be_free(spec: &ContainerSpec) -> Result<(), Failure> {
    let is_mark = |key: &&String| key.is_empty() || key.to_lowercase().starts_with("stepback.");
    match spec.labels.keys().find(is_mark) {
        Some(key) => {
            Err(bad(format!("the label `{key}` can't be given: it is empty, or Stepback's own")))
        }
        None => Ok(()),
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
    spec.ports.iter().try_for_each(|port| Port::parse(port).map(drop))?;
    labels_must_be_free(spec)?;
    for (at, mount) in spec.mounts.iter().enumerate() {
        let target = mount.target.trim_end_matches('/');
        if target.is_empty() || !target.starts_with('/') {
            let message =
                format!("the mount `{}`: its place is an absolute path below `/`", target);
            return Err(bad(message));
        }
        let others = spec.mounts.iter().take(at);
        if others.into_iter().any(|other| other.target.trim_end_matches('/') == target) {
            return Err(bad(format!("two mounts at `{target}`: duplicate mount point")));
        }
    }
    Ok(())
}

/// But for the digest: worlds name images by short ones.
fn reference(image: &str) -> Result<(), Failure> {
    match odd_in(image.split('@').next().unwrap_or(image), false) {
        Some(_) => Err(bad(format!("`{image}`: invalid reference format"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepback_core::calls::Mount;

    #[test]
    fn what_docker_takes_is_taken_and_nothing_else() {
        for good in ["db", "a1", "0.x", "main_2-old"] {
            assert!(name(good).is_ok(), "{good}");
        }
        for odd in ["", "a", ".a", "a/b", "ä2", "a b"] {
            assert!(name(odd).is_err(), "{odd}");
        }
        let published = |port: &str| {
            specified(&ContainerSpec { ports: vec![port.to_owned()], ..ContainerSpec::default() })
        };
        assert!(published("127.0.0.1::80").is_ok() && published("80:").is_err());
        let mounted = |targets: &[&str]| {
            let mount = |target: &&str| Mount {
                volume: "data".to_owned(),
                target: (*target).to_owned(),
                read_only: false,
            };
            let mounts = targets.iter().map(mount).collect();
            specified(&ContainerSpec { mounts, ..ContainerSpec::default() })
        };
        assert!(mounted(&["/data", "/log/"]).is_ok());
        for odd in [&["data"][..], &["/"], &[""], &["/data", "/data/"]] {
            assert!(mounted(odd).is_err(), "{odd:?}");
        }
        for good in ["postgres:16", "127.0.0.1:5000/a/b", "Quay.IO/a@sha256:00"] {
            assert!(reference(good).is_ok(), "{good}");
        }
        for odd in ["", "Not A Name", "Postgres:16", "postgres:1 6", "a:b:c", "a//b", "a:"] {
            assert!(reference(odd).is_err(), "{odd}");
        }
        for odd in ["", "sometimes", "on-failure:x", "No"] {
            assert!(policy(odd).is_err(), "{odd}");
        }
    }
}
