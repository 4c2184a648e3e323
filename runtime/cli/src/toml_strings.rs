//! TOML whose strings do nothing where they are shown: each in one line, in double quotes, with
//! what a person or a job must not meet written out (TOML, *String*); or with stars for secrets.

use serde::Deserialize;
use std::fmt::Write;
use std::ops::Range;
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

/// The same document, as long and with the same places, with stars for what stands where a reference
/// to a secret belongs and is none, and for logins in addresses: a mistake is shown with its line.
pub fn without_secrets(document: &str) -> String {
    let mut written = String::with_capacity(document.len());
    for (before, token) in pieces(document) {
        written.push_str(before);
        let hidden = match token.starts_with('#') {
            true => 0..0,
            false if is_for_a_secret(&written) && !is_reference(token) => 0..token.len(),
            false => login_in(token),
        };
        written.push_str(&token[..hidden.start]);
        for c in token[hidden.clone()].chars() {
            match ['"', '\'', '\n'].contains(&c) {
                true => written.push(c),
                false => written.push_str(&"*".repeat(c.len_utf8())),
            }
        }
        written.push_str(&token[hidden.end..]);
    }
    written
}

/// Whether what follows is the value of a key that has a reference to a secret, or of one among
/// secrets that is none of theirs.
fn is_for_a_secret(before: &str) -> bool {
    let Some(assigned) = before.trim_end().strip_suffix('=') else { return false };
    let of_key = |c: char| c.is_alphanumeric() || ['_', '-'].contains(&c);
    let key = assigned.trim_end_matches([' ', '\t', '"', '\'']);
    let key = key.rsplit(|c| !of_key(c)).next().unwrap_or_default();
    let table = before.lines().rev().find(|line| line.trim_start().starts_with('['));
    let is_among = table.is_some_and(|line| line.trim_start().starts_with("[secrets"));
    ["from", "password"].contains(&key) || is_among && !["steps", "variables"].contains(&key)
}

fn is_reference(token: &str) -> bool {
    let text = token.trim_start_matches(['"', '\'']);
    ["env:", "file:", "exec:", "secret:"].iter().any(|kind| text.starts_with(kind))
}

/// Where a token has the login of an address: before the last `@` of who is asked there.
fn login_in(token: &str) -> Range<usize> {
    let Some(begin) = token.find("://").map(|at| at + 3) else { return 0..0 };
    let whom = token[begin..].split('/').next().unwrap_or_default();
    whom.rfind('@').map_or(0..0, |at| begin..begin + at)
}

/// A document in pieces: what is neither string nor comment, and the string or comment behind it.
fn pieces(document: &str) -> impl Iterator<Item = (&str, &str)> {
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

    #[test]
    fn what_is_written_where_a_reference_belongs_is_not_shown() {
        let document = "[environments.box.registries.\"r.example\"]\nusername = \"ann\"\n\
                        password = \"hunt\u{e4}r # 2\" # the \"password\"\n\
                        mirrors = ['https://ann:pw@m.example/x@y']\n\
                        [secrets.a]\nfrom = 'it\\s'\nvalue = \"x\"\nsteps = [\"docker/exec\"]\n\
                        [secrets.b]\nfrom = \"env:PW\"\n[plugins.c]\n\
                        path = \"oci://r.example:5000/x@sha256:00\"\n";
        let wanted = "[environments.box.registries.\"r.example\"]\nusername = \"ann\"\n\
                      password = \"***********\" # the \"password\"\n\
                      mirrors = ['https://******@m.example/x@y']\n\
                      [secrets.a]\nfrom = '****'\nvalue = \"*\"\nsteps = [\"docker/exec\"]\n\
                      [secrets.b]\nfrom = \"env:PW\"\n[plugins.c]\n\
                      path = \"oci://r.example:5000/x@sha256:00\"\n";
        assert_eq!(without_secrets(document), wanted);
        // What is not closed is a string to the end.
        assert_eq!(
            without_secrets("[secrets.a]\nfrom = \"ab\nc = 1"),
            "[secrets.a]\nfrom = \"**\n*****"
        );
    }

    proptest! {
        #[test]
        fn what_hides_moves_nothing(document in "(?s)[a=\\[\"'#\\\\: /@*\u{e4}\n]{0,40}") {
            prop_assert_eq!(without_secrets(&document).len(), document.len());
        }

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
