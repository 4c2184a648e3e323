//! Tags that no call can write: Stepback's own stamps, and AWS's.

use stepback_core::{Call, Failure, FailureClass};

/// Stepback's stamps, and AWS's own, which nobody else can write, in whatever case (Amazon EC2 User
/// Guide, *Tag restrictions*).
const RESERVED: [&str; 2] = ["stepback:", "aws:"];

/// Whether a tag's key is one that calls can't write.
pub fn is_reserved(key: &str) -> bool {
    let key = key.to_lowercase();
    RESERVED.iter().any(|prefix| key.starts_with(prefix))
}

/// Whether the call writes no tag that is reserved.
pub fn must_be_free(call: &Call) -> Result<(), Failure> {
    match call.entry().tags.keys().into_iter().find(|key| is_reserved(key)) {
        Some(key) => {
            let message = format!("a tag named `{key}` can't be written: its prefix is reserved");
            Err(Failure::new(FailureClass::InvalidInput, message))
        }
        None => Ok(()),
    }
}
