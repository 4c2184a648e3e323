//! The labels by which what an operation made is known.

use super::{OPERATION_LABEL, TOKEN_LABEL};
use std::collections::HashMap;
use stepback_provider::EffectContext;

/// The labels of what an operation creates.
pub(super) fn labels(context: &EffectContext) -> HashMap<String, String> {
    HashMap::from([
        (TOKEN_LABEL.to_owned(), context.token.0.clone()),
        (OPERATION_LABEL.to_owned(), context.operation.to_string()),
    ])
}

/// Whether a label is one of [`labels`].
pub(super) fn is_stamp(label: &str) -> bool {
    [TOKEN_LABEL, OPERATION_LABEL].contains(&label)
}

/// The token on its label.
pub(super) fn token_of(labels: Option<&HashMap<String, String>>) -> Option<&str> {
    labels?.get(TOKEN_LABEL).map(String::as_str)
}
