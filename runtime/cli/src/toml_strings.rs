//! TOML whose strings do nothing where they are shown: each in one line, in double quotes, with
//! what a person or a job must not meet written out (TOML, *String*).

use serde::Deserialize;
use std::fmt::Write;
use stepback_core::shown::is_odd;

/// The ways to begin a string, the longer ones first; one ends as it begins.
const QUOTES: [&str; 4] = ["\"\"\"", "'''", "\"", "'"];

/// The same document, each of its strings in one line and in double quotes. Of what is no TOML
/// nothing is said.
pub fn in_one_line(document: &str) -> String {
    let mut written = String::with_capacity(document.len());
    for (before, token) in pieces(document) {
        written.push_str(before);
        match value(token) {
            Some(text) => basic(&text, &mut written),
            // A comment.
            None => written.push_str(token),
        }
    }
    written
}

/// A document in pieces: what is neither string nor comment, and the string or comment behind it.
pub fn pieces(document: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = document;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (before, token) = rest.split_at(rest.find(['#', '"', '\'']).unwrap_or(rest.len()));
        let length = match token.starts_with('#') {
            true => token.find('\n').unwrap_or(token.len()),
            false => length_of_string(token),
        };
        let (token, behind) = token.split_at(length);
        rest = behind;
        Some((before, token))
    })
}

/// How long the string is that a text begins with.
fn length_of_string(text: &str) -> usize {
    let quote = QUOTES.into_iter().find(|quote| text.starts_with(quote)).unwrap_or_default();
    let mut at = quote.len();
    while let Some(c) = text[at..].chars().next() {
        if text[at..].starts_with(quote) {
            at += quote.len();
            // Of five quotes at the end of a long string two are in it.
            let is_more = |c: &char| quote.len() == 3 && quote.starts_with(*c);
            return at + text[at..].chars().take(2).take_while(is_more).count();
        }
        at += c.len_utf8();
        if c == '\\' && quote.starts_with('"') {
            at += text[at..].chars().next().map_or(0, char::len_utf8);
        }
    }
    text.len()
}

fn value(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct One {
        one: String,
    }
    toml::from_str::<One>(&format!("one = {token}")).ok().map(|one| one.one)
}

fn basic(text: &str, to: &mut String) {
    to.push('"');
    let mut before = None;
    for c in text.chars() {
        // Writing to a string can't fail.
        let _ = match c {
            '"' | '\\' => write!(to, "\\{c}"),
            '\n' => to.write_str("\\n"),
            '\t' => to.write_str("\\t"),
            // What a job obeys begins with two.
            '#' if before == Some('#') => to.write_str("\\u0023"),
            c if is_odd(c) && (c as u32) <= 0xffff => write!(to, "\\u{:04x}", c as u32),
            c if is_odd(c) => write!(to, "\\U{:08x}", c as u32),
            c => to.write_char(c),
        };
        before = Some(c);
    }
    to.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_same(document: &str) -> String {
        let written = in_one_line(document);
        let value = |text: &str| toml::from_str::<toml::Table>(text).expect("TOML");
        assert_eq!(value(&written), value(document), "{document}\n{written}");
        written
    }

    #[test]
    fn each_way_to_write_a_string_is_the_same_string() {
        let document = "# it's \"not\" one\na = 'C:\\x' # '\n'k \\u{202e}' = 1\n\
                        b = \"a \\\" b # c\"\nc = \"\"\"\n::error::x\n\"two\"\"\"\"\"\n\
                        d = '''a''''\ne = [\"\", '', \"\"\"\"\"\", '##[error]', \"###vso[\"]\n\
                        f = ''\n[t.'\u{e0041}']\n";
        let written = is_same(document);
        assert!(written.lines().all(|line| !line.starts_with("::")), "{written}");
        assert!(!written.contains("##") && !written.contains(is_odd), "{written}");
    }

    proptest! {
        #[test]
        fn whatever_is_in_it(
            texts in prop::collection::vec(".{0,12}|[\"'#\\\\:\n\t\u{202e}a\\[]{0,9}", 1..5),
        ) {
            let name = |(at, text): (usize, String)| (format!("{at} {text}"), text);
            let table: std::collections::BTreeMap<_, _> =
                texts.into_iter().enumerate().map(name).collect();
            let written = is_same(&toml::to_string_pretty(&table).expect("TOML"));
            prop_assert!(!written.contains("##[") && !written.contains(is_odd));
        }
    }
}
