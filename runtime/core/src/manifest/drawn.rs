//! A manifest as it is drawn under its mistakes: with stars for what somebody wrote into it in the
//! place of a secret's reference, and where no manifest has anything.

use super::{InputKind, JSON_SCHEMA};
use crate::diagnostic::nearest;
use crate::shown::with_stars;
use serde_json::Value as Schema;
use std::ops::Range;
use toml_span::Value;
use toml_span::value::ValueInner;

/// What an input has that is no value of its own.
const PLAIN: [&str; 2] = ["type", "description"];

/// The tables that a manifest has beside its inputs.
const TABLES: [&str; 5] = ["downtime", "invariants", "operation", "outputs", "steps"];

/// The same text, as long and with the same places, with stars for what the schema of manifests has
/// no place for, for what an input has beside its type and its description, unless it is of a plain
/// type, and for comments on inputs.
pub(super) fn without_secrets(text: &str, value: &Value<'_>) -> String {
    let schema: Schema = serde_json::from_str(JSON_SCHEMA).unwrap_or_default();
    let mut hidden = vec![];
    hide_unknown(value, &schema, &schema, &mut hidden);
    let inputs = value.as_table().into_iter().flatten().find(|(key, _)| key.name == "inputs");
    match inputs.map(|(_, inputs)| (inputs, inputs.as_table())) {
        Some((_, Some(all))) => {
            all.iter().for_each(|(name, input)| hide_in_input(&name.name, input, &mut hidden));
        }
        Some((inputs, None)) => hide(inputs, &mut hidden),
        None => {}
    }
    with_stars(text, hidden)
}

/// What is told of a mistake whose place is drawn as stars: without what it quotes.
pub(super) fn without_quotes(message: &str) -> String {
    let mark = |c: char| ['"', '`'].contains(&c);
    match (message.find(mark), message.rfind(mark)) {
        (Some(begins), Some(ends)) if begins < ends => {
            format!("{}…{}", &message[..begins], &message[ends + 1..])
        }
        _ => message.to_owned(),
    }
}

/// Hide what a schema has no place for: keys that it does not know, and tables and lists of what is
/// none.
fn hide_unknown(value: &Value<'_>, schema: &Schema, root: &Schema, hidden: &mut Vec<Range<usize>>) {
    let schema = match schema["$ref"].as_str().and_then(|place| place.strip_prefix('#')) {
        Some(place) => root.pointer(place).unwrap_or(schema),
        None => schema,
    };
    let kind = schema["type"].as_str();
    match (value.as_ref(), kind) {
        (ValueInner::Table(table), Some("object")) => {
            for (key, value) in table {
                let known = schema["properties"].get(&*key.name);
                match known.unwrap_or(&schema["additionalProperties"]) {
                    Schema::Bool(false) if is_plain(&key.name, value, schema) => {}
                    Schema::Bool(false) => hide(value, hidden),
                    inner => hide_unknown(value, inner, root, hidden),
                }
            }
        }
        (ValueInner::Array(list), Some("array")) => {
            list.iter().for_each(|value| hide_unknown(value, &schema["items"], root, hidden));
        }
        (ValueInner::Table(_) | ValueInner::Array(_), Some(_)) => hide(value, hidden),
        _ => {}
    }
}

/// What is in the name of a secret.
const SECRETS: [&str; 10] =
    ["secret", "pass", "pw", "psw", "token", "key", "credential", "env", "auth", "login"];

fn is_of_secrets(name: &str) -> bool {
    let name = name.to_lowercase();
    SECRETS.iter().any(|word| name.contains(word))
}

/// Whether a key that no manifest has is a slip of somebody's for one that it has there, and no
/// place for a secret.
fn is_plain(key: &str, value: &Value<'_>, schema: &Schema) -> bool {
    let known = schema["properties"].as_object();
    let known = known.into_iter().flat_map(|all| all.keys().map(String::as_str));
    // What is no text is no secret.
    let is_near = || value.as_str().is_none() || nearest(key, known).is_some();
    value.as_table().is_none() && value.as_array().is_none() && !is_of_secrets(key) && is_near()
}

fn hide_in_input(name: &str, input: &Value<'_>, hidden: &mut Vec<Range<usize>>) {
    let Some(table) = input.as_table() else { return hide(input, hidden) };
    let kind = table.iter().find(|(key, _)| key.name == "type");
    let kind = kind.and_then(|(_, kind)| kind.as_str());
    let is_plain = |(name, of): &(&str, InputKind)| Some(*name) == kind && *of != InputKind::Secret;
    let is_slip = |name: &str| name.to_lowercase().contains("secret") || name == "sensitive";
    let is_named = InputKind::NAMES.iter().any(is_plain);
    if is_named && !table.keys().any(|key| is_slip(&key.name)) && !is_of_secrets(name) {
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

/// The same of what is no TOML, where nobody knows what is whose: of its inputs, and of tables that
/// no manifest has, names alone.
pub(super) fn without_values_of_inputs(text: &str) -> String {
    let mut hidden = vec![];
    let (mut at, mut is_known) = (0, true);
    for line in text.split_inclusive('\n') {
        let word = line.trim_start();
        let is_header = word.starts_with('[') && word.contains(']');
        let name = word.trim_start_matches(['[', ' ', '"', '\'']);
        let table = name.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next();
        let begins = if is_header { name.contains("input") } else { name.starts_with("input") };
        let is_of_inputs = begins || word.to_lowercase().contains("secret");
        if is_header {
            let is_nested = name.trim_start_matches("steps.with").starts_with("operation.");
            is_known = !is_nested && table.is_some_and(|table| TABLES.contains(&table));
            is_known &= !is_of_inputs;
            hidden.extend(word.find('#').map(|comment| {
                let begins = at + line.len() - word.len() + comment;
                begins..at + line.len()
            }));
        } else if !is_known || is_of_inputs {
            hidden.push(at + name_of(line)..at + line.len());
        }
        at += line.len();
    }
    with_stars(text, hidden)
}

/// Where a line's name ends, with the sign behind it; its begin, if it has none.
fn name_of(line: &str) -> usize {
    let Some(sign) = line.find('=') else { return 0 };
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-. ".contains(c);
    if line[..sign].chars().all(is_part) { sign + 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use crate::manifest::parse;

    #[test]
    fn what_is_written_where_a_secrets_value_would_be_is_not_drawn() {
        for inputs in [
            "pw = { type = \"secret\", default = \"SEC\" }",
            "pw = { type = \"secret\", default = \"\u{e4}SEC\", description = \"d\" }",
            "pw = { type = \"secret\", enum = [\"SEC\"] }",
            "pw = { type = \"secrets\", default = \"SEC\" }",
            "[inputs.pw]\ntype = \"secret\"\ndefault = \"\"\"\nSEC\n\"\"\"",
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
            "[[steps]]\nid = \"a\"\nsecret = \"SEC\"",
            "[[steps]]\nid = \"a\"\nsecrets = { a = \"SEC\" }",
            "[outputs.pw]\nsecret = \"SEC\"",
            "password = { type = \"string\", enum = [\"a\"], default = \"SEC\" }",
            "password = { type = \"integer\", default = \"SEC\" }",
            "api_token = { type = \"string\", pattern = \"a\", default = \"SEC\" }",
            "[[steps]]\nid = \"a\"\ndsn = \"postgres://ann:SEC@h/db\"",
            "[[steps]]\nid = \"a\"\nauth = \"SEC\"",
            "[[steps]]\nid = \"a\"\nAWS_SESSION = \"SEC\"",
            // No TOML.
            "pw = { type = \"secret\", default = \"SEC }",
            "pw = { type = \"secret\", default = SEC }",
            "pw = { type = \"secret\", default \"SEC\" }",
            "pw = { type = \"secret\", default: \"SEC\" }",
            "pw = { type = \"secret\", enum = [\"SEC\"]",
            "[inputs.pw]\ntype = \"secret\"\ndefault = \"\"\"\nSEC\n\"\"",
            "[inputs.pw]\ntype = \"secret\"\ndefault = \"\"\"\nSEC=\n\"\"",
            "[inputs.pw]\ntype = \"password\"\ndefault = \"SEC\nSEC",
            "[inputs.pw] # SEC\ndefault = \"SEC",
            "[secrets]\npw = \"SEC",
            "[operation.inputs]\npw = \"SEC",
            "[variables]\npw = \"SEC",
            "pw: SEC=",
        ] {
            let text = format!("schema = 1\n[operation]\nname = \"x\"\n[inputs]\n{inputs}\n");
            let told = parse("x.toml", &text).expect_err(inputs);
            assert!(!told.text.contains("SEC"), "{}", told.text);
            assert_eq!(told.text.len(), text.len());
            let messages = told.list.iter().map(|one| format!("{} {:?}", one.message, one.help));
            assert!(messages.into_iter().all(|one| !one.contains("SEC")), "{:?}", told.list);
        }
    }

    #[test]
    fn what_a_manifest_has_is_drawn() {
        for plain in [
            "schema = 1\n[inputs]\nn = { type = \"integer\", default = \"SEEN\" }\n",
            "schema = 1\n[[steps]]\nid = \"a\"\nuses = \"p/s\"\nwith = { a = [{ b = 1 }] }\n\
             retry = { on = [\"refused\"] }\ntimeout = \"SEEN\"\n[outputs]\nx = \"{{ SEEN }}\"\n",
            "schema = 1\n[operation]\nname = \"SEEN\n[[steps]]\nid = \"SEEN\"\n",
        ] {
            assert_eq!(parse("x.toml", plain).expect_err(plain).text, plain);
        }
    }
}
