//! TOML whose strings do nothing where they are shown: each in one line, in double quotes, with
//! what a person or a job must not meet written out (TOML, *String*); or with stars for secrets.

use serde::Deserialize;
use std::fmt::Write;
use stepback_core::shown::is_odd;
use stepback_provider::passwords::is_password;

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

/// The same document, as long and with the same places, with stars for what stands where a
/// reference to a secret belongs and is none, and for logins in addresses: a mistake is shown with
/// its line.
///
/// Of what is no TOML it is told line by line: whatever is behind a key that has a secret, or
/// stands in a table that has, is one.
pub fn without_secrets(document: &str) -> String {
    let mut written = String::with_capacity(document.len());
    let mut is_among = Among::Others;
    // A value goes on in the next lines until its brackets and its quotes are closed.
    let mut hides_on = false;
    for line in document.split_inclusive('\n') {
        let text = line.trim_start();
        if !hides_on && text.starts_with('[') && !text.contains('=') {
            is_among = Among::of(text);
            written.push_str(line);
            continue;
        }
        let at = match hides_on {
            true => Some(0),
            false => is_among.secret_in(line),
        };
        match at {
            Some(at) => {
                let (shown, hidden) = line.split_at(at);
                hides_on = is_open(hidden, hides_on);
                written.push_str(&without_logins(shown));
                written.push_str(&stars(hidden));
            }
            None => written.push_str(&without_logins(line)),
        }
    }
    written
}

/// What of a document is stars in it as it is drawn.
pub fn hidden<'a>(document: &'a str, drawn: &str) -> impl Iterator<Item = &'a str> {
    let drawn = drawn.as_bytes();
    let is_star = |at: usize, c: char| c != '*' && drawn.get(at) == Some(&b'*');
    let mut begins = None;
    let mut found = vec![];
    for (at, c) in document.char_indices().chain([(document.len(), '*')]) {
        match (is_star(at, c), begins) {
            (true, None) => begins = Some(at),
            (false, Some(from)) => {
                found.push(document[from..at].trim());
                begins = None;
            }
            _ => {}
        }
    }
    found.into_iter().filter(|text| !text.is_empty())
}

/// The tables whose keys may have secrets.
#[derive(Clone, Copy, PartialEq)]
enum Among {
    Secrets,
    Registries,
    Others,
}

/// What the keys of a secret's table are called that have none.
const NO_SECRETS: [&str; 2] = ["steps", "variables"];
/// And those of a registry's.
const OF_REGISTRIES: [&str; 3] = ["username", "mirrors", "insecure"];

impl Among {
    fn of(header: &str) -> Self {
        let name: String = header.chars().filter(|c| !"[]\"' \t\r\n".contains(*c)).collect();
        match name.split('.').collect::<Vec<_>>().as_slice() {
            ["secrets", ..] => Self::Secrets,
            names if names.contains(&"registries") => Self::Registries,
            _ => Self::Others,
        }
    }

    /// Where in a line a secret begins that is no reference.
    fn secret_in(self, line: &str) -> Option<usize> {
        let begins = line.trim_start();
        if begins.starts_with('#') || begins.trim_end().is_empty() {
            return None;
        }
        let Some(sign) = line.find(['=', ':']) else {
            return (self != Self::Others).then_some(0);
        };
        let key = line[..sign].trim().to_lowercase();
        let last = key.rsplit(['.', ' ', ',', '{']).next().unwrap_or_default();
        let last = last.trim_matches(['"', '\'']);
        let is_one = match self {
            Self::Secrets => !NO_SECRETS.contains(&last) || !line[sign + 1..].contains('['),
            Self::Registries => !OF_REGISTRIES.contains(&last),
            Self::Others => key.starts_with("secrets") || is_password(last) || last == "from",
        };
        // Inline tables have more keys.
        let inner = ["password", "from", "value", "token"];
        let within = inner.iter().filter_map(|name| {
            let at = sign + 1 + line[sign + 1..].find(name)?;
            Some(at + name.len() + line[at + name.len()..].find(['=', ':'])?)
        });
        let value = match within.min() {
            Some(at) => at,
            None if is_one => sign,
            None => return None,
        };
        let rest = line[value + 1..].trim_start_matches([' ', '\t', '"', '\'']);
        let is_reference = REFERENCES.iter().any(|kind| rest.starts_with(kind));
        let blank =
            line[value + 1..].len() - line[value + 1..].trim_start_matches([' ', '\t']).len();
        (!is_reference).then_some(value + 1 + blank)
    }
}

const REFERENCES: [&str; 4] = ["env:", "file:", "exec:", "secret:"];

/// Whether a value that begins here, or went on, goes on in the next line.
fn is_open(hidden: &str, was_open: bool) -> bool {
    let count = |text: &str| hidden.matches(text).count();
    let is_long = (count("\"\"\"") + count("'''")) % 2 == 1;
    is_long != was_open
}

/// As long, with a star for each byte of what is neither a quote nor a line's end.
fn stars(text: &str) -> String {
    let star = |c: char| match ['"', '\'', '\n', '\r'].contains(&c) {
        true => c.to_string(),
        false => "*".repeat(c.len_utf8()),
    };
    text.chars().map(star).collect()
}

/// As long, without who logs in at the address that is in a line: before the last `@` of who is
/// asked there.
fn without_logins(line: &str) -> String {
    let Some(begin) = line.find("://").map(|at| at + 3) else { return line.to_owned() };
    let whom = line[begin..].split('/').next().unwrap_or_default();
    let Some(end) = whom.rfind('@').map(|at| begin + at) else { return line.to_owned() };
    format!("{}{}{}", &line[..begin], stars(&line[begin..end]), &line[end..])
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
        let hidden = |lines: &str| {
            let told = without_secrets(lines);
            assert_eq!(told.len(), lines.len());
            assert!(!told.contains("SEC"), "{told}");
            told
        };
        for lines in [
            "password = \"SEC\u{e4} # 2\" # why",
            "password = SECret",
            "password = [\"SEC\"]",
            "password:\"SEC\"",
            "[secrets.a]\nfrom = 'it\\SEC'\n",
            "[secrets.a]\nfrom = SECret\n",
            "[secrets.a]\nfrom = [\"SEC\"]\n",
            "[ secrets.a ]\nvalue = \"SEC\"\n",
            "[\"secrets\".a]\nvalue = \"SEC\"\n",
            "[secrets]\na = \"SEC\"\n",
            "[secrets.a]\nsteps = \"SEC\"\n",
            "[secrets.a]\n\"SEC\"\n",
            "[secrets.a]\nfrom = \"SEC\nmore = 1\n",
            "[secrets.a]\nfrom = \"\"\"\nSEC\nSEC\"\"\"\nsteps = []\n",
            "secrets.a = \"SEC\"",
            "secrets.a.from = \"SEC\"",
            "secrets = { a = { from = \"SEC\" } }",
            "[environments.box.registries.\"r.example\"]\npasswd = \"SEC\"\n",
            "[environments.box.registries.\"r.example\"]\ntoken = \"SEC\"\n",
            "registries = { \"r.example\" = { username = \"ann\", password = \"SEC\" } }",
            "mirrors = ['https://ann:SEC@m.example/x@y']",
            "docker = \"tcp://ann:SEC@h:1\"",
        ] {
            hidden(lines);
        }
        let plain = "[environments.box.registries.\"r.example\"]\nusername = \"ann\"\n\
                     password = \"env:PW\"\n[secrets.b]\nfrom = \"exec:op read x\"\n\
                     steps = [\"docker/exec\"]\n[plugins.c]\n\
                     path = \"oci://r.example:5000/x@sha256:00\"\nsha256 = \"00\"\n";
        assert_eq!(without_secrets(plain), plain);
        let document = "[secrets.a]\nfrom = \"SEC x\"\nvalue = [1]\n";
        let drawn = without_secrets(document);
        assert_eq!(super::hidden(document, &drawn).collect::<Vec<_>>(), ["SEC x", "[1]"]);
        let told = hidden("[secrets.a]\nfrom = \"SEC\"\nsteps = [\"a/b\"]\n");
        assert_eq!(told, "[secrets.a]\nfrom = \"***\"\nsteps = [\"a/b\"]\n");
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
