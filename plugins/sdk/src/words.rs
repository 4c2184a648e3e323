//! The contract's enumerations in words, as manifests and outputs have them.

use crate::docker::{Container, ContainerState, Health, Protocol, PublishedPort, RestartPolicy};
use crate::ebs::{SnapshotState, VolumeState};
use crate::ec2::InstanceState;
use crate::load_balancer::{OnTimeout, TargetHealth};
use std::fmt;
use std::str::FromStr;

/// A word that is none of an enumeration's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownWord(String);

impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! words {
    ($($kind:ident $what:literal { $($case:ident $word:literal),+ $(,)? })+) => { $(
        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $($kind::$case => $word),+ })
            }
        }

        impl FromStr for $kind {
            type Err = UnknownWord;

            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                match word {
                    $($word => Ok($kind::$case),)+
                    other => Err(UnknownWord(format!(
                        "`{other}` is no {}: write one of {}", $what, [$($word),+].join(", "),
                    ))),
                }
            }
        }
    )+ };
}

words! {
    InstanceState "state of an instance" {
        Pending "pending", Running "running", ShuttingDown "shutting-down",
        Terminated "terminated", Stopping "stopping", Stopped "stopped",
    }
    VolumeState "state of a volume" {
        Creating "creating", Available "available", InUse "in-use", Deleting "deleting",
        Deleted "deleted", Error "error",
    }
    SnapshotState "state of a snapshot" {
        Pending "pending", Completed "completed", Error "error", Recoverable "recoverable",
        Recovering "recovering",
    }
    ContainerState "state of a container" {
        Created "created", Running "running", Paused "paused", Restarting "restarting",
        Removing "removing", Exited "exited", Dead "dead",
    }
    TargetHealth "health of a target" {
        Unused "unused", Checking "checking", Healthy "healthy", Unhealthy "unhealthy",
    }
    OnTimeout "end of a wait" { Fail "fail", GoOn "go-on" }
    Health "health" {
        None "none", Starting "starting", Healthy "healthy", Unhealthy "unhealthy",
    }
    Protocol "protocol" { Tcp "tcp", Udp "udp", Sctp "sctp" }
}

/// As `docker run --restart` takes it.
impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RestartPolicy::No => f.write_str("no"),
            RestartPolicy::Always => f.write_str("always"),
            RestartPolicy::UnlessStopped => f.write_str("unless-stopped"),
            RestartPolicy::OnFailure(None) => f.write_str("on-failure"),
            RestartPolicy::OnFailure(Some(times)) => write!(f, "on-failure:{times}"),
        }
    }
}

impl FromStr for RestartPolicy {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        let unknown = || {
            UnknownWord(format!(
                "`{word}` is no restart policy: write one of no, always, unless-stopped, \
                 on-failure or on-failure:TIMES"
            ))
        };
        match word.split_once(':') {
            Some(("on-failure", times)) => {
                let times = times.parse::<u32>().map_err(|_| unknown())?;
                Ok(RestartPolicy::OnFailure(Some(times)))
            }
            Some(_) => Err(unknown()),
            None => match word {
                "no" => Ok(RestartPolicy::No),
                "always" => Ok(RestartPolicy::Always),
                "unless-stopped" => Ok(RestartPolicy::UnlessStopped),
                "on-failure" => Ok(RestartPolicy::OnFailure(None)),
                _ => Err(unknown()),
            },
        }
    }
}

/// As `docker ps` shows it.
impl fmt::Display for PublishedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host_ip {
            Some(ip) if ip.contains(':') => write!(f, "[{ip}]:")?,
            Some(ip) => write!(f, "{ip}:")?,
            None => {}
        }
        if let Some(port) = self.host_port {
            write!(f, "{port}")?;
        }
        write!(f, ":{}/{}", self.container_port, self.protocol)
    }
}

impl Container {
    /// Whether its process is there: one that is paused, or about to be started again, counts.
    pub fn is_running(&self) -> bool {
        match self.state {
            ContainerState::Running | ContainerState::Paused | ContainerState::Restarting => true,
            ContainerState::Created
            | ContainerState::Removing
            | ContainerState::Exited
            | ContainerState::Dead => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for word in ["no", "always", "unless-stopped", "on-failure", "on-failure:3"] {
            assert_eq!(word.parse::<RestartPolicy>().expect(word).to_string(), word);
        }
        for word in ["", "sometimes", "on-failure:", "on-failure:x", "always:3"] {
            let told = word.parse::<RestartPolicy>().expect_err(word).to_string();
            assert!(told.contains("write one of"), "{told}");
        }
        for word in ["pending", "shutting-down", "stopped"] {
            assert_eq!(word.parse::<InstanceState>().expect(word).to_string(), word);
        }
        let told = "gone".parse::<InstanceState>().expect_err("no state").to_string();
        assert!(told.starts_with("`gone` is no state of an instance: write one of pending,"));
    }
}
