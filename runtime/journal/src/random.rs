//! Random names, so that no two stores have the same.

use crate::StoreError;

/// 128 random bits, in hexadecimal digits.
///
/// # Errors
/// [`StoreError::Unusable`] if the system gives no random numbers.
pub(crate) fn random_name() -> Result<String, StoreError> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| StoreError::Unusable { path: "random".into(), why: error.to_string() })?;
    Ok(hex::encode(bytes))
}
