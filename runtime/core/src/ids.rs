//! Newtypes for every name and unit that crosses a room's wall.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! string_id {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(
            Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// The text as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }
    )+};
}

string_id! {
    /// An EC2 instance, `i-…`; also how a Docker host is named in calls and manifests.
    InstanceId,
    /// An EBS volume, `vol-…`.
    VolumeId,
    /// An EBS snapshot, `snap-…`.
    SnapshotId,
    /// A container's name on its host.
    ContainerName,
    /// An image reference, `repository[:tag][@sha256:…]`.
    ImageRef,
    /// A Docker volume's name on its host.
    DockerVolumeName,
    /// A pool of a load balancer, as its environment names it.
    PoolName,
    /// The id of a step in its manifest.
    StepId,
    /// A `for_each` key of a step's instance.
    EachKey,
    /// The name of an environment in `stepback.toml`.
    EnvironmentName,
    /// What an operation holds exclusively, `database/main`; keyed by environment in the store.
    LockName,
    /// The sha-256 of a plugin's bytes, lower-case hex.
    PluginDigest,
    /// The idempotence token of one effect; see [`Token::derive`].
    Token,
    /// A journal's own random identity, drawn once when the store is made.
    StoreId,
}

/// An operation's small integer id, unique in its store, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperationId(pub u64);

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The sequence number of an event in its operation, from 1 with no gaps.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Seq(pub u64);

/// How often an operation's lease has changed hands; appends of an older epoch are refused.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// Milliseconds since the Unix epoch, as the driver's clock told them.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct UnixMs(pub u64);

impl UnixMs {
    /// Milliseconds from `earlier` to `self`; zero if the clock went back.
    pub fn since_ms(self, earlier: UnixMs) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The number of an attempt at a step's run or undo, from 1.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Attempt(pub u32);

/// The number of a host call within its attempt, from 1.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct CallNumber(pub u32);

/// One instance of a step: the step, and its key if the step has `for_each`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepKey {
    /// The step in the manifest.
    pub step: StepId,
    /// The `for_each` key; `None` for a plain step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<EachKey>,
}

impl StepKey {
    /// The key of a plain step.
    pub fn plain(step: &str) -> Self {
        Self { step: step.into(), key: None }
    }
}

impl fmt::Display for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            None => write!(f, "{}", self.step),
            Some(key) => write!(f, "{}[{}]", self.step, key),
        }
    }
}

/// Whether an attempt carries a step out or takes it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// The plugin's `run`.
    Do,
    /// The plugin's `undo`, in a rollback or before a retry.
    Undo,
}

/// Which attempt of which step: the address of everything a guest does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId {
    /// The step's instance.
    pub step: StepKey,
    /// Runs and undos of a step are numbered apart.
    pub direction: Direction,
    /// Its number in this direction, from 1.
    pub attempt: Attempt,
}

/// Which call of which attempt.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CallId {
    /// The attempt that makes the call.
    pub of: AttemptId,
    /// The call's place in it; a replay numbers its calls alike.
    pub number: CallNumber,
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.of.direction {
            Direction::Do => "do",
            Direction::Undo => "undo",
        };
        let CallId { of, number } = self;
        write!(f, "{}/{direction}/{}/{}", of.step, of.attempt.0, number.0)
    }
}

impl Token {
    /// The token of one call: the same call replayed derives the same token (R3).
    ///
    /// 64 hex characters, which fits EC2's `ClientToken` limit of 64 ASCII characters
    /// (Amazon EC2 API Reference, *Ensuring idempotency*).
    pub fn derive(store: &StoreId, operation: OperationId, call: &CallId) -> Self {
        use sha2::{Digest, Sha256};
        let mut hash = Sha256::new();
        hash.update(store.as_str().as_bytes());
        hash.update([0]);
        hash.update(operation.0.to_le_bytes());
        hash.update(call.to_string().as_bytes());
        Token(hex::encode(hash.finalize()))
    }
}
