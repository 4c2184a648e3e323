//! How deep values may be nested, and how large they may be.

use serde_json::Value;

/// A value that is nested deeper could not be read back from the journal, where it stands within
/// other records: serde_json reads 128 levels (its documentation, *Deserializer*,
/// `disable_recursion_limit`).
pub const LEVELS_MAX: usize = 64;

/// Together, the items of a `for_each`, what a step is given, or an operation's outputs have no
/// more: each is one record of the journal, and a store takes none of any size (SQLite docs,
/// *Implementation Limits*: 1 GB).
pub const VALUE_BYTES_MAX: usize = 16 << 20;

/// Whether values are as deep and, together, as large as they may be.
///
/// # Errors
/// What is wrong with them, as the end of a sentence about them.
pub fn must_fit<'a>(values: impl IntoIterator<Item = &'a Value>) -> Result<(), String> {
    let mut left = VALUE_BYTES_MAX;
    for value in values {
        if is_too_deep(value) {
            return Err(format!("is nested deeper than {LEVELS_MAX} levels"));
        }
        left = left.checked_sub(bytes_of(value)).ok_or_else(|| {
            format!("has more than {} MiB, which no journal takes", VALUE_BYTES_MAX >> 20)
        })?;
    }
    Ok(())
}

/// How much a value is, roughly as JSON.
fn bytes_of(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(list) => 2 + list.iter().map(|item| 1 + bytes_of(item)).sum::<usize>(),
        Value::Object(map) => {
            2 + map.iter().map(|(key, item)| key.len() + 4 + bytes_of(item)).sum::<usize>()
        }
    }
}

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
