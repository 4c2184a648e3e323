//! How deep values may be nested.

use serde_json::Value;

/// A value that is nested deeper could not be read back from the journal, where it stands within
/// other records: serde_json reads 128 levels (its documentation, *Deserializer*,
/// `disable_recursion_limit`).
pub const LEVELS_MAX: usize = 64;

/// Whether a value is nested deeper than it may be.
pub fn is_too_deep(value: &Value) -> bool {
    is_deeper_than(LEVELS_MAX, value)
}

fn is_deeper_than(levels: usize, value: &Value) -> bool {
    let deeper = |item: &Value| is_deeper_than(levels - 1, item);
    match value {
        Value::Array(_) | Value::Object(_) if levels == 0 => true,
        Value::Array(list) => list.iter().any(deeper),
        Value::Object(map) => map.values().any(deeper),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
