//! Who appends to an operation: one process, for as long as it lives.

use crate::error::StoreError;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The bound keeps a runner's lock file a legal file name everywhere.
const RUNNER_ID_BYTES_MAX: usize = 64;

/// A runner's identity; one a process, drawn when it starts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunnerId(String);

impl RunnerId {
    /// A new identity nobody else has.
    pub fn random() -> Result<Self, StoreError> {
        Ok(Self(format!("r-{}", random_hex::<8>()?)))
    }

    /// A known identity: letters, digits, `-` and `_`, because it names a file.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for any other text.
    pub fn new(text: &str) -> Result<Self, StoreError> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if text.is_empty() || text.len() > RUNNER_ID_BYTES_MAX || !text.bytes().all(legal) {
            return Err(StoreError::Invalid(format!("{text:?} can't be a runner's id")));
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Lower-case hex of `N` random bytes of the system's.
pub(crate) fn random_hex<const N: usize>() -> Result<String, StoreError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| StoreError::Io(format!("no random bytes: {error}")))?;
    Ok(hex::encode(bytes))
}
