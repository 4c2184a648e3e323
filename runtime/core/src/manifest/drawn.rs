//! A manifest as it is drawn under its mistakes: with stars for what somebody wrote into it in the
//! place of a secret's reference.

use super::InputKind;
use crate::shown::with_stars;
use std::ops::Range;
use toml_span::Value;
use toml_span::value::{Key, ValueInner};

/// The keys that a manifest has.
const KEYS: [&str; 7] =
    ["downtime", "inputs", "invariants", "operation", "outputs", "schema", "steps"];
/// The keys of an input.
const OF_INPUTS: [&str; 4] = ["default", "description", "pattern", "type"];

/// What an input has that is no value of its own.
const PLAIN: [&str; 2] = ["type", "description"];

/// The same text, as long and with the same places, with stars for what an input has beside its
/// type and its description, unless it is of a plain type; and for what is in tables that no
/// manifest has.
pub(super) fn without_secrets(text: &str, value: &Value<'_>) -> String {
    let mut hidden = vec![];
    for (key, value) in value.as_table().into_iter().flatten() {
        match (&*key.name, value.as_ref()) {
            ("inputs", ValueInner::Table(inputs)) => {
                inputs.values().for_each(|input| hide_in_input(input, &mut hidden));
            }
            ("operation", ValueInner::Table(operation)) => {
                let tables = operation.values().filter(|value| value.as_table().is_some());
                tables.for_each(|table| hide(table, &mut hidden));
            }
            (name, _) if KEYS.contains(&name) && name != "inputs" => {}
            _ => hide(value, &mut hidden),
        }
    }
    with_stars(text, hidden)
}

fn hide_in_input(input: &Value<'_>, hidden: &mut Vec<Range<usize>>) {
    let Some(table) = input.as_table() else { return hide(input, hidden) };
    let kind = table.iter().find(|(key, _)| key.name == "type");
    let kind = kind.and_then(|(_, kind)| kind.as_str());
    let is_plain =
        InputKind::NAMES.iter().any(|(name, of)| Some(*name) == kind && *of != InputKind::Secret);
    let is_known = |key: &Key<'_>| OF_INPUTS.contains(&&*key.name);
    if is_plain && table.keys().all(is_known) {
        return;
    }
    let values = table.iter().filter(|(key, _)| !PLAIN.contains(&&*key.name));
    values.for_each(|(_, value)| hide(value, hidden));
}

/// Hide all that is in a value, but for the names in it.
fn hide(value: &Value<'_>, hidden: &mut Vec<Range<usize>>) {
    match value.as_ref() {
        ValueInner::Table(table) => table.values().for_each(|value| hide(value, hidden)),
        ValueInner::Array(list) => list.iter().for_each(|value| hide(value, hidden)),
        _ => hidden.push(value.span.start..value.span.end),
    }
}

/// The same of what is no TOML, where nobody knows what is whose: of its inputs, keys alone.
pub(super) fn without_values_of_inputs(text: &str) -> String {
    let mut hidden = vec![];
    let (mut at, mut is_of_inputs) = (0, false);
    for line in text.split_inclusive('\n') {
        let word = line.trim_start();
        let name = word.trim_start_matches(['[', ' ', '"', '\'']);
        let is_inputs = name.starts_with("input");
        let is_header = word.starts_with('[') && word.trim_end().ends_with(']');
        if is_header {
            is_of_inputs = is_inputs;
        } else if is_of_inputs || is_inputs || word.to_lowercase().contains("secret") {
            let value = line.find('=').map_or(0, |sign| sign + 1);
            hidden.push(at + value..at + line.len());
        }
        at += line.len();
    }
    with_stars(text, hidden)
}

#[cfg(test)]
mod tests {
    use super::{KEYS, OF_INPUTS};
    use crate::manifest::{JSON_SCHEMA, parse};
    use serde_json::Value;

    #[test]
    fn no_key_is_taken_for_somebodys_secret() {
        let schema: Value = serde_json::from_str(JSON_SCHEMA).expect("JSON");
        let top = &schema["properties"];
        let of_inputs = &top["inputs"]["additionalProperties"]["properties"];
        for (keys, properties) in [(&KEYS[..], top), (&OF_INPUTS[..], of_inputs)] {
            let mut all: Vec<&String> = properties.as_object().expect("a table").keys().collect();
            all.sort();
            assert_eq!(all, keys);
        }
    }

    #[test]
    fn what_is_written_where_a_secrets_value_would_be_is_not_drawn() {
        for inputs in [
            "pw = { type = \"secret\", default = \"SEC\" }",
            "pw = { type = \"secret\", default = \"\u{e4}SEC\", description = \"d\" }",
            "pw = { type = \"secret\", enum = [\"SEC\"] }",
            "pw = { type = \"secrets\", default = \"SEC\" }",
            "[inputs.pw]\ntype = \"secret\"\ndefault = \"\"\"\nSEC\n\"\"\"",
            "pw = { type = \"secret\", default = \"SEC }",
            "pw = { type = \"secret\", default = SEC }",
            "pw = { type = \"password\", default = \"SEC\" }",
            "pw = { type = \"secert\", default = \"SEC\" }",
            "pw = { typ = \"secret\", default = \"SEC\" }",
            "pw = { type = \"string\", secret = true, default = \"SEC\" }",
            "pw = { default = \"SEC\" }",
            "pw = \"SEC\"",
            "pw = { type = [\"secret\"], default = \"SEC\" }",
            "[inputs.group.pw]\ntype = \"secret\"\ndefault = \"SEC\"",
            "[input]\npw = { type = \"secret\", default = \"SEC\" }",
            "[secrets]\npw = \"SEC\"",
            "[operation.inputs]\npw = \"SEC\"",
            "pw = { type = \"secret\", default \"SEC\" }",
            "pw = { type = \"secret\", default: \"SEC\" }",
            "pw = { type = \"secret\", enum = [\"SEC\"]",
            "[inputs.pw]\ntype = \"secret\"\ndefault = \"\"\"\nSEC\n\"\"",
            "[inputs.pw]\ntype = \"password\"\ndefault = \"SEC\nSEC",
        ] {
            let text = format!("schema = 1\n[operation]\nname = \"x\"\n[inputs]\n{inputs}\n");
            let told = parse("x.toml", &text).expect_err(inputs);
            assert!(!told.text.contains("SEC"), "{}", told.text);
            assert_eq!(told.text.len(), text.len());
            let messages = told.list.iter().map(|one| format!("{} {:?}", one.message, one.help));
            assert!(messages.into_iter().all(|one| !one.contains("SEC")), "{:?}", told.list);
        }
        let plain = "schema = 1\n[inputs]\nn = { type = \"integer\", default = \"SEEN\" }\n";
        assert_eq!(parse("x.toml", plain).expect_err("no integer").text, plain);
    }
}
