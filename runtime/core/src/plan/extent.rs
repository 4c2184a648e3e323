//! How much there is of a value.

use serde_json::Value;

/// How many bytes the texts of a value have, names included.
pub(super) fn bytes_of(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.len() as u64,
        Value::Array(list) => list.iter().map(bytes_of).sum(),
        Value::Object(map) => {
            map.iter().map(|(name, item)| name.len() as u64 + bytes_of(item)).sum()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// How many parts a value has, and how deep the deepest is.
pub(super) fn extent(value: &Value) -> (u64, u32) {
    let within: Vec<&Value> = match value {
        Value::Array(list) => list.iter().collect(),
        Value::Object(map) => map.values().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => vec![],
    };
    within
        .into_iter()
        .map(extent)
        .fold((1, 1), |(all, deepest), (parts, deep)| (all + parts, deepest.max(deep + 1)))
}
