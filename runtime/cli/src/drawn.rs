//! A configuration as it may be drawn: with stars for what may be a secret, and for logins in
//! addresses. A mistake in it is shown with its line.

use crate::toml_strings::pieces;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The same document, as long and with the same places, with stars for what stands where a
/// reference to a secret belongs and is none, for logins in addresses, and for comments.
///
/// Of what is no TOML nobody knows what is a value: there, only keys are shown.
pub fn without_secrets(document: &str) -> String {
    let Ok(table) = DeTable::parse(document) else { return keys_alone(document) };
    let mut hidden = vec![];
    hide_in_table(table.get_ref(), &mut vec![], document, &mut hidden);
    hidden.extend(comments(document));
    hidden.sort_by_key(|range| range.start);
    let (mut written, mut at) = (String::with_capacity(document.len()), 0);
    for range in hidden.into_iter().filter(|range| !range.is_empty()) {
        // One within another is hidden already.
        let (begins, ends) = (range.start.max(at), range.end.max(at));
        written.push_str(&document[at..begins]);
        written.push_str(&stars(&document[begins..ends]));
        at = ends;
    }
    written.push_str(&document[at..]);
    written
}

fn comments(document: &str) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    pieces(document).filter_map(move |(before, token)| {
        let begins = at + before.len();
        at = begins + token.len();
        token.starts_with('#').then_some(begins + 1..at)
    })
}

fn hide_in_table<'a>(
    table: &'a DeTable<'_>,
    path: &mut Vec<&'a str>,
    document: &str,
    hidden: &mut Vec<Range<usize>>,
) {
    for (key, value) in table.iter() {
        // What somebody wrote in the place of a key, or a login in one.
        let is_of_secret = path.len() == 2 && is_of_secrets(path);
        if is_of_secret && !may_be_a_key(key.get_ref()) || key.get_ref().contains('@') {
            hidden.push(key.span());
        }
        path.push(key.get_ref());
        hide_in(value, path, document, hidden);
        path.pop();
    }
}

fn hide_in<'a>(
    value: &'a Spanned<DeValue<'_>>,
    path: &mut Vec<&'a str>,
    document: &str,
    hidden: &mut Vec<Range<usize>>,
) {
    match value.get_ref() {
        DeValue::Table(table) => hide_in_table(table, path, document, hidden),
        DeValue::Array(list) => {
            for item in list.iter() {
                hide_in(item, path, document, hidden);
            }
        }
        DeValue::String(text) if may_be_shown(path, Some(text)) => {
            let written = &document[value.span()];
            hidden.extend(
                secrets_of_address(written)
                    .map(|one| value.span().start + one.start..value.span().start + one.end),
            );
        }
        DeValue::String(_) => hidden.push(value.span()),
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
            if !may_be_shown(path, None) {
                hidden.push(value.span());
            }
        }
    }
}

/// Whether it looks like a key with a slip in it (`step`, `form`), and not like a password.
fn may_be_a_key(key: &str) -> bool {
    const LETTERS_MAX: usize = 12;
    key.len() <= LETTERS_MAX && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

/// Whether these are the names of a table of secrets, or of one that somebody took for one.
fn is_of_secrets(path: &[&str]) -> bool {
    path.iter().any(|name| ["secret", "secrets"].contains(&name.to_lowercase().as_str()))
}

/// What a secret may be read from.
const SOURCES: [&str; 3] = ["env:", "file:", "exec:"];

/// Whether a value is no secret, by where it stands: a text, or what has none.
fn may_be_shown(path: &[&str], text: Option<&str>) -> bool {
    let last = path.last().copied().unwrap_or_default();
    let begins =
        |all: &[&str]| text.is_some_and(|text| all.iter().any(|one| text.starts_with(one)));
    let is_name = |more: &[char]| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || more.contains(&c);
        text.is_some_and(|text| !text.is_empty() && text.chars().all(is_part))
    };
    if is_of_secrets(path) {
        return path.len() == 3
            && path[0] == "secrets"
            && match last {
                "from" => begins(&SOURCES),
                "steps" => is_name(&['/', '-', '.']) && text.is_some_and(|text| text.contains('/')),
                "variables" => is_name(&[]),
                _ => false,
            };
    }
    if let Some(at) = path.iter().position(|one| *one == "registries") {
        let is_inner = path.len() == at + 3;
        return is_inner
            && match last {
                "username" => text.is_some_and(|text| !text.contains(':')),
                "mirrors" => true,
                "insecure" => text.is_none(),
                "password" => begins(&SOURCES) || begins(&["secret:"]),
                _ => false,
            };
    }
    let is_file = last == "secrets_key" || path.contains(&"tls");
    let is_in = |table: &str| path.len() > 1 && path[..path.len() - 1].contains(&table);
    let is_known = KEYS.contains(&last) || OF_GRANTS.contains(&last);
    let is_pair = last == "env" && text.is_some_and(|text| text.contains('='));
    is_file
        || is_in("tags")
        || is_in("hosts")
        || is_known && !is_pair && !["from", "password"].contains(&last)
}

/// What the keys of a grant are called whose values are no secrets: a command may have one in it.
const OF_GRANTS: [&str; 11] = [
    "ebs",
    "ec2",
    "docker",
    "log",
    "clock",
    "effects",
    "hosts",
    "containers",
    "docker_volumes",
    "images",
    "env",
];

/// Who logs in at the addresses of a text, and what is asked there, which may be signed.
fn secrets_of_address(written: &str) -> impl Iterator<Item = Range<usize>> {
    let scheme = written.find("://").map(|at| at + 3);
    // A digest is no host.
    let whole = written.find("@sha256:").map_or(written, |at| &written[..at]);
    let ends = whole.rfind('@');
    let login = ends.map(|end| {
        let begins = scheme.filter(|at| *at <= end);
        begins.unwrap_or_else(|| written.len() - written.trim_start_matches(['"', '\'']).len())..end
    });
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ['_', '-', '.'].contains(&c);
    // A name alone logs in by ssh with a key; anywhere else it is a token.
    let by_name = |range: &Range<usize>| {
        scheme.is_some_and(|at| written[..at].ends_with("ssh://"))
            && written[range.clone()].chars().all(is_plain)
    };
    let login = login.filter(|range| !by_name(range));
    let asked = scheme.and_then(|at| Some(at + written[at..].find(['?', '#'])? + 1..written.len()));
    login.into_iter().chain(asked)
}

/// The keys that a configuration has, and nothing else of it.
fn keys_alone(document: &str) -> String {
    const TABLES: [&str; 3] = ["environments", "plugins", "secrets"];
    let is_name = |text: &str| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "_-. ".contains(c);
        !text.is_empty() && text.chars().all(is_part)
    };
    let is_header = |line: &str| {
        let name = line.trim().strip_prefix('[').and_then(|line| line.strip_suffix(']'));
        let name = name.map(|name| name.trim_matches(['[', ']']).trim());
        name.is_some_and(|name| {
            is_name(name) && TABLES.contains(&name.split('.').next().unwrap_or_default().trim())
        })
    };
    let shown = |line: &str| {
        let sign = line.find('=').filter(|sign| {
            let mut parts = line[..*sign].trim().split('.').map(str::trim);
            parts.all(|part| KEYS.contains(&part))
        });
        match sign {
            _ if is_header(line) => line.to_owned(),
            Some(sign) => format!("{}{}", &line[..=sign], stars(&line[sign + 1..])),
            None => stars(line),
        }
    };
    document.split_inclusive('\n').map(shown).collect()
}

/// What the keys of a configuration are called.
const KEYS: &[&str] = &[
    "account",
    "allow",
    "ca",
    "cert",
    "default_environment",
    "deny",
    "docker",
    "endpoint",
    "from",
    "grants",
    "helper_image",
    "hosts",
    "insecure",
    "instances",
    "mirrors",
    "password",
    "path",
    "profile",
    "provider",
    "region",
    "registries",
    "root",
    "secrets_key",
    "sha256",
    "stall",
    "state",
    "state_group",
    "stays_up",
    "steps",
    "username",
    "variables",
    "world",
    "zone",
];

/// Whether something in this place is stars as it is drawn.
pub fn is_hidden(document: &str, drawn: &str, place: &Range<usize>) -> bool {
    let (document, drawn) = (document.as_bytes(), drawn.as_bytes());
    document.get(place.clone()) != drawn.get(place.clone())
}

/// As long, with a star for each byte of what is neither a quote nor a line's end.
fn stars(text: &str) -> String {
    let star = |c: char| match ['"', '\'', '\n', '\r'].contains(&c) {
        true => c.to_string(),
        false => "*".repeat(c.len_utf8()),
    };
    text.chars().map(star).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_where_a_reference_belongs_is_not_shown() {
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
            "[secrets.a]\nvariables = [\"A=SEC\"]\n",
            "[plugins.q]\nenv = { A = \"SEC\" }\n",
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
            "[secrets.pw] # from = vault\nvalue = \"SEC\"\n",
            "[secrets.\"a=b\"]\nvalue = \"SEC\"\n",
            "[secrets.pw]\nfrom = [\n[\"SEC\"],\n]\n",
            "secrets.pw.from = [\n\"SEC\"\n]",
            "secrets = {\n db = \"SEC\" }",
            "[secrets.pw]\nfrom=[\n\"SEC=abc\"]",
            "[secrets.pw]\nfrom=[\n\"SEC:abc\"",
            "secrets = { a = { from = \"env:X\" }, b = { from = \"SEC\" } }",
            "secrets = { a = { from = \"env:X\", value = \"SEC\" } }",
            "\"secrets\".db = \"SEC\"",
            "'secrets'.db.value = 'SEC'",
            "registries = { \"r\" = { username = \"ann\", passwd = \"SEC\" } }",
            "registries.\"r\" = \"SEC\"",
            "[secrets.pw]\nfrom=\"\"\"\na'''\n[b\nSEC\"\"\"\n",
            "mirrors = \"ann:SEC@host\"",
            "docker = \"ssh:ann:SEC@h\"",
            "docker = \"ssh://ann:a/SEC@h\"",
            "docker = \"ssh://h:1,ssh://ann:SEC@h\"",
            "mirrors = [\"https://h/?token=SEC\"]",
            "[secrets.pw]\nfrom = \"secret:SEC\"",
            "[secrets.pw]\nsteps = [\"SEC\"]",
            "path = \"oci://ann:SEC@r.example/x@sha256:00\"",
            "mirrors = [\"https://SEC@m\"]",
            "docker = \"tcp://SEC@h:1\"",
            "[environments.local.secrets]\ndb = \"SEC\"",
            "[environments.local.secrets.db]\nvalue = \"SEC\"",
            "[Secret.db]\nfrom = \"SEC\"",
            "session = \"SEC\"",
            "[secrets.db]\n\"SEC\" = true",
            "[environments.box.registries.\"ann:SEC@r\"]",
            "[environments.box.registries.\"r\"]\nusername = \"ann:SEC\"",
            "grants = [{ docker = \"all\", commands = [\"mysql -pSEC *\"] }]",
            "SEC.from = x",
            "world = \"x\" # SEC",
            "world = \"x # SEC",
            "SEC",
        ] {
            let told = without_secrets(lines);
            assert_eq!(told.len(), lines.len());
            assert!(!told.contains("SEC"), "{told}");
        }
    }

    #[test]
    fn what_is_no_secret_is_shown() {
        let plain = "[environments.box.registries.\"r.example\"]\nusername = \"ann\"\n\
                     password = \"env:PW\"\n[secrets.b]\nfrom = \"exec:op read x\"\n\
                     steps = [\"docker/exec\"]\n[plugins.c]\n\
                     path = \"oci://r.example:5000/x@sha256:00\"\nsha256 = \"00\"\n";
        assert_eq!(without_secrets(plain), plain);
        let document = "[secrets.a]\nfrom = \"SEC x\"\nsteps = [\"a/b\"]\n";
        let drawn = without_secrets(document);
        let place = |text: &str| document.find(text).map(|at| at..at + text.len()).expect("there");
        assert!(is_hidden(document, &drawn, &place("SEC x")));
        assert!(!is_hidden(document, &drawn, &place("a/b")));
        let told = without_secrets("[secrets.a]\nfrom = \"SEC\"\nsteps = [\"a/b\"]\n");
        assert_eq!(told, "[secrets.a]\nfrom = \"***\"\nsteps = [\"a/b\"]\n");
    }

    proptest! {
        #[test]
        fn what_hides_moves_nothing(document in "(?s)[a=\\[\"'#\\\\: /@*\u{e4}\n]{0,40}") {
            prop_assert_eq!(without_secrets(&document).len(), document.len());
        }
    }
}
