//! A manifest as it is drawn under its mistakes: with stars for what somebody wrote into it in the
//! place of a secret's reference.

use std::ops::Range;
use toml_span::Value;
use toml_span::value::ValueInner;

/// What an input has that is no value of its own.
const PLAIN: [&str; 2] = ["type", "description"];

/// The same text, as long and with the same places, with stars for what a secret input has beside
/// its type and its description.
pub(super) fn without_secrets(text: &str, value: &Value<'_>) -> String {
    let ValueInner::Table(table) = value.as_ref() else { return text.to_owned() };
    let inputs = table.iter().filter(|(name, _)| name.name == "inputs");
    let inputs = inputs.filter_map(|(_, inputs)| inputs.as_table()).flatten();
    let mut hidden = vec![];
    for (_, input) in inputs {
        let Some(input) = input.as_table() else { continue };
        let is_secret = |(name, value): (&toml_span::value::Key<'_>, &Value<'_>)| {
            name.name == "type"
                && value.as_str().is_some_and(|kind| kind.to_lowercase().contains("secret"))
        };
        if !input.iter().any(is_secret) {
            continue;
        }
        let values = input.iter().filter(|(name, _)| !PLAIN.contains(&&*name.name));
        hidden.extend(values.map(|(_, value)| value.span.start..value.span.end));
    }
    with_stars(text, hidden)
}

/// The same of what is no TOML: nobody knows what is whose.
pub(super) fn without_defaults(text: &str) -> String {
    if !text.to_lowercase().contains("secret") {
        return text.to_owned();
    }
    let mut hidden = vec![];
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let value = line.find("default").and_then(|key| Some(key + line[key..].find('=')? + 1));
        hidden.extend(value.map(|value| at + value..at + line.len()));
        at += line.len();
    }
    with_stars(text, hidden)
}

fn with_stars(text: &str, mut hidden: Vec<Range<usize>>) -> String {
    hidden.sort_by_key(|range| range.start);
    let (mut drawn, mut at) = (String::with_capacity(text.len()), 0);
    for range in hidden {
        let (begins, ends) = (range.start.max(at), range.end.max(at));
        drawn.push_str(&text[at..begins]);
        let star = |c: char| match ['"', '\'', '\n', '\r'].contains(&c) {
            true => c.to_string(),
            false => "*".repeat(c.len_utf8()),
        };
        drawn.extend(text[begins..ends].chars().map(star));
        at = ends;
    }
    drawn.push_str(&text[at..]);
    drawn
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
            "pw = { type = \"secret\", default = \"SEC }",
            "pw = { type = \"secret\", default = SEC }",
        ] {
            let text = format!("schema = 1\n[operation]\nname = \"x\"\n[inputs]\n{inputs}\n");
            let told = parse("x.toml", &text).expect_err(inputs);
            assert!(!told.text.contains("SEC"), "{}", told.text);
            assert_eq!(told.text.len(), text.len());
            let messages = told.list.iter().map(|one| format!("{} {:?}", one.message, one.help));
            assert!(messages.into_iter().all(|one| !one.contains("SEC")), "{:?}", told.list);
        }
        let plain = "schema = 1\n[inputs]\nn = { type = \"strng\", default = \"SEEN\" }\n";
        assert_eq!(parse("x.toml", plain).expect_err("no type").text, plain);
    }
}
