//! A configuration as it may be drawn: with stars for what may be a secret, and for logins in
//! addresses. A mistake in it is shown with its line.

use crate::secrets::is_variable;
use crate::toml_strings::pieces;
use std::ops::Range;
use stepback_core::diagnostic::nearest;
use stepback_core::image::{is_registry_name, odd_in};
use stepback_core::shown::with_stars;
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
    with_stars(document, hidden)
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
        path.push(key.get_ref());
        let is_odd = match path.as_slice() {
            ["environments", _, "registries", name] => !is_registry_name(name),
            _ => key.get_ref().contains('@'),
        };
        if !is_a_name(path) && !may_be_a_key(key.get_ref()) || is_odd {
            hidden.push(key.span());
        }
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
        // What is not written as it is can't be looked through.
        DeValue::String(text)
            if may_be_shown(path, Some(text)) && !document[value.span()].contains('\\') =>
        {
            let written = &document[value.span()];
            let within = secrets_of_address(written).chain(command_of(path, written));
            let begins = value.span().start;
            hidden.extend(within.map(|one| begins + one.start..begins + one.end));
        }
        DeValue::String(_) => hidden.push(value.span()),
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
            if !may_be_shown(path, None) {
                hidden.push(value.span());
            }
        }
    }
}

/// Whether it looks like a key with a slip in it (`step`, `default_enviroment`), and not like a
/// password.
fn may_be_a_key(key: &str) -> bool {
    const LETTERS_MAX: usize = 12;
    // A short one is near to everything.
    const LETTERS_MIN: usize = 6;
    let plain = key.to_lowercase().replace('-', "_");
    key.len() <= LETTERS_MAX && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        || key.len() >= LETTERS_MIN && nearest(&plain, keys()).is_some()
}

/// Whether these are the names of a table of secrets, or of one that somebody took for one.
fn is_of_secrets(path: &[&str]) -> bool {
    path.iter().any(|name| ["secret", "secrets"].contains(&name.to_lowercase().as_str()))
}

/// What a secret may be read from.
const SOURCES: [&str; 3] = ["env:", "file:", "exec:"];

/// How values are written, as a mistake's help has it.
const FORMS: [&str; 5] =
    ["env:NAME", "file:PATH", "exec:COMMAND", "secret:NAME", "docker/create-container"];

/// What a value is that is no secret.
#[derive(Clone, Copy)]
enum Plain {
    /// Whatever is there.
    Anything,
    /// Nothing that is a text.
    NoText,
    /// An address: who logs in there is hidden besides.
    Address,
    /// The path of a file, not what is to be in it.
    File,
    /// An image's name, or a registry's: an address in its place may be signed.
    Image,
    /// The name of a function, and no command.
    Word,
    /// Names of variables, without their values.
    Names,
    /// Steps of plugins.
    Steps,
    /// A name by which somebody logs in.
    Login,
    /// Where a secret is read from.
    Reference,
}

/// Where a configuration has values that are no secrets; `*` stands for a name of the user's own.
const SHOWN: &[(&str, Plain)] = &[
    ("default_environment", Plain::Anything),
    ("secrets_key", Plain::File),
    ("state", Plain::File),
    ("state_group", Plain::Anything),
    ("environments.*.account", Plain::Anything),
    ("environments.*.docker.endpoint", Plain::Address),
    ("environments.*.docker.helper_image", Plain::Image),
    ("environments.*.docker.hosts.*", Plain::Address),
    ("environments.*.docker.insecure", Plain::NoText),
    ("environments.*.docker.stall", Plain::Anything),
    ("environments.*.docker.stays_up", Plain::Anything),
    ("environments.*.docker.tls.ca", Plain::File),
    ("environments.*.docker.tls.cert", Plain::File),
    ("environments.*.docker.tls.key", Plain::File),
    ("environments.*.endpoint", Plain::Address),
    ("environments.*.instances.*.address", Plain::Anything),
    ("environments.*.instances.*.docker", Plain::Address),
    ("environments.*.instances.*.zone", Plain::Anything),
    ("environments.*.pools.*.backend", Plain::Anything),
    ("environments.*.pools.*.insecure", Plain::NoText),
    ("environments.*.pools.*.linger", Plain::Anything),
    ("environments.*.pools.*.master", Plain::Address),
    ("environments.*.pools.*.masters", Plain::Address),
    ("environments.*.pools.*.provider", Plain::Anything),
    ("environments.*.pools.*.saved_by", Plain::Anything),
    ("environments.*.pools.*.sockets", Plain::Address),
    ("environments.*.pools.*.state_file", Plain::File),
    ("environments.*.pools.*.state_files", Plain::File),
    ("environments.*.pools.*.target_group", Plain::Anything),
    ("environments.*.profile", Plain::Anything),
    ("environments.*.provider", Plain::Anything),
    ("environments.*.region", Plain::Anything),
    ("environments.*.registries.*.mirrors", Plain::Image),
    ("environments.*.registries.*.password", Plain::Reference),
    ("environments.*.registries.*.username", Plain::Login),
    ("environments.*.root", Plain::File),
    ("environments.*.world", Plain::File),
    ("plugins.*.path", Plain::File),
    ("plugins.*.sha256", Plain::Anything),
    ("secrets.*.from", Plain::Reference),
    ("secrets.*.steps", Plain::Steps),
    ("secrets.*.variables", Plain::Names),
];

/// The lists of grants.
const GRANTS: [&str; 3] = ["environments.*.allow", "environments.*.deny", "plugins.*.grants"];

/// What a grant has that is no secret; its commands may have a password in them.
const OF_GRANTS: &[(&str, Plain)] = &[
    ("clock", Plain::Word),
    ("containers", Plain::Anything),
    ("docker", Plain::Word),
    ("docker_volumes", Plain::Anything),
    ("ebs", Plain::Word),
    ("ec2", Plain::Word),
    ("effects", Plain::Word),
    ("env", Plain::Names),
    ("hosts", Plain::Anything),
    ("hosts.*", Plain::Anything),
    ("images", Plain::Anything),
    ("load-balancer", Plain::Word),
    ("log", Plain::Word),
    ("pools", Plain::Anything),
    ("where.tags.*", Plain::Anything),
];

/// What a path has behind a pattern; none if it does not begin with it.
fn behind<'a, 'b>(pattern: &str, path: &'a [&'b str]) -> Option<&'a [&'b str]> {
    let mut left = path;
    for part in pattern.split('.') {
        let (name, rest) = left.split_first()?;
        if part != "*" && part != *name {
            return None;
        }
        left = rest;
    }
    Some(left)
}

/// Whether a path is where a pattern leads, or on the way there.
fn leads_to(path: &[&str], pattern: &str) -> bool {
    let mut parts = pattern.split('.');
    path.iter().all(|name| parts.next().is_some_and(|part| part == "*" || part == *name))
}

/// Whether the last of these is a key of a configuration, or a name of the user's own in the place
/// of one.
fn is_a_name(path: &[&str]) -> bool {
    let of_grants = |list: &&str| match behind(list, path) {
        Some(grant) => OF_GRANTS.iter().any(|(pattern, _)| leads_to(grant, pattern)),
        None => leads_to(path, list),
    };
    SHOWN.iter().any(|(pattern, _)| leads_to(path, pattern)) || GRANTS.iter().any(of_grants)
}

/// What the values of a place are, where they are known to be no secrets.
fn plain_at(path: &[&str]) -> Option<Plain> {
    let find = |all: &[(&str, Plain)], path: &[&str]| {
        let is_it =
            |(pattern, _): &&(&str, Plain)| behind(pattern, path).is_some_and(<[_]>::is_empty);
        all.iter().find(is_it).map(|(_, plain)| *plain)
    };
    find(SHOWN, path).or_else(|| match GRANTS.iter().find_map(|list| behind(list, path))? {
        // The name of an interface alone.
        [] => Some(Plain::Anything),
        grant => find(OF_GRANTS, grant),
    })
}

/// Whether a value is no secret, by where it stands: a text, or what has none.
fn may_be_shown(path: &[&str], text: Option<&str>) -> bool {
    let Some(plain) = plain_at(path) else { return false };
    let Some(text) = text else { return !matches!(plain, Plain::Reference) };
    let is_of = |more: &[char]| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || more.contains(&c);
        !text.is_empty() && text.chars().all(is_part)
    };
    match plain {
        Plain::Anything => true,
        Plain::NoText => false,
        Plain::Address => is_plain_address(text),
        Plain::File => is_path(text),
        Plain::Image => is_registry_name(text) || odd_in(text, false).is_none(),
        Plain::Word => !text.contains(char::is_whitespace),
        Plain::Names => is_of(&['_', '-', '.', '*', '?']),
        Plain::Steps => is_of(&['_', '/', '-', '.']) && text.contains('/'),
        Plain::Login => !text.contains(':'),
        Plain::Reference => match text.split_once(':') {
            Some(("env", name)) => is_variable(name),
            Some(("file", path)) => is_path(path),
            Some(("exec", _)) => true,
            _ => false,
        },
    }
}

/// Whether it is the path of a file, and not what is to be in it.
fn is_path(text: &str) -> bool {
    !text.contains("-----") && !text.contains('\n')
}

/// Whether nothing is in an address but a scheme, a place and perhaps who logs in there. A template
/// has `{…}` in it.
fn is_plain_address(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-_.:[]{} ".contains(c);
    scheme == "unix" || place.trim_end_matches('/').chars().all(is_part)
}

/// The command that tells a secret: it may be given one, too.
fn command_of(path: &[&str], written: &str) -> Option<Range<usize>> {
    let is_reference = matches!(plain_at(path), Some(Plain::Reference));
    let begins = written.find("exec:").filter(|_| is_reference)? + "exec:".len();
    Some(begins..written.len())
}

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
            parts.all(|part| keys().any(|key| key == part))
        });
        match sign {
            _ if is_header(line) => match line.split_once('.') {
                // What somebody wrote in the place of a name.
                Some((table, name)) if is_of_secrets(&[table.trim_matches(['[', ' '])]) => {
                    format!("{table}.{}", stars(name))
                }
                _ => line.to_owned(),
            },
            Some(sign) => format!("{}{}", &line[..=sign], stars(&line[sign + 1..])),
            None => stars(line),
        }
    };
    document.split_inclusive('\n').map(shown).collect()
}

/// What the keys of a configuration are called.
fn keys() -> impl Iterator<Item = &'static str> {
    let patterns = SHOWN.iter().chain(OF_GRANTS).map(|(pattern, _)| *pattern);
    let patterns = patterns.chain(GRANTS).chain(["commands"]);
    patterns.flat_map(|pattern| pattern.split('.')).filter(|part| *part != "*")
}

/// Whether a word is one that a configuration has itself.
pub fn is_known(word: &str) -> bool {
    SOURCES.contains(&word) || FORMS.contains(&word) || keys().any(|key| key == word)
}

/// Whether something in this place is stars as it is drawn.
pub fn is_hidden(document: &str, drawn: &str, place: &Range<usize>) -> bool {
    let (document, drawn) = (document.as_bytes(), drawn.as_bytes());
    document.get(place.clone()) != drawn.get(place.clone())
}

/// The same with nothing of it shown.
fn stars(text: &str) -> String {
    with_stars(text, std::iter::once(0..text.len()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Configurations with a secret somewhere.
    const WITH_SECRETS: &[&str] = &[
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
        "[environments.p.docker]\ntls = { key = \"k\", password = \"SEC\" }",
        "[environments.p.docker]\ntls = { key = \"-----BEGIN SEC\" }",
        "[environments.p.docker.tls]\nkey = \"\"\"\nSEC\n\"\"\"",
        "[environments.p.docker.hosts]\npassword = \"SEC\"",
        "[environments.p.registries.\"r\"]\n\"SEC\" = true",
        "[environments.p.registries.\"r\"]\npassword.SEC = true",
        "[environments.p.registries.\"r\"]\npassword = \"secret:SEC\"",
        "[secrets.a]\nfrom.SEC = 1",
        "[secrets.a]\nfrom = \"exec:PW=SEC op read\"",
        "[secrets.a]\nfrom = \"exe\\u0063:op SEC\"",
        "[secrets.a]\nfrom = \"exec:op\\tSEC\"",
        "[environments.p]\nendpoint = \"tcp://ann:SEC\\u0040h:1\"",
        "[secrets.a]\nfrom = \"exec:echo SEC\"",
        "[plugins.q]\ngrants = [{ docker = \"all\", env = [\"PGPASSWORD:SEC\"] }]",
        "[plugins.q]\ngrants = [{ docker = \"all\", password = \"SEC\" }]",
        "[passwords]\npath = \"SEC\"",
        "[password]\nstate = \"SEC\"",
        "[secretsx]\npath = \"SEC\"",
        "[secrets.SEC]\nfrom = x",
        "[environments.p.instances.a]\ndocker = \"tcp://h:1/SEC\"",
        "[environments.p.instances.a]\ndocker = \"tcp://h:1;x=SEC\"",
        "[environments.p.instances.a]\ndocker = \"tcp://ann:SEC%40h:1\"",
        "[environments.p.registries.\"r.io\"]\nmirrors = [\"m.io/x?t=SEC\"]",
        "[environments.p.registries.\"r.io/x?t=SEC\"]",
        "[environments.p.docker]\nhelper_image = \"r.io/x?t=SEC\"",
        "[environments.p.docker]\nhelper_image = \"ann:SEC@r.io/x@sha256:12\"",
        "[plugins.q]\ngrants = [{ docker = [\"exec mysql -pSEC\"] }]",
        "[environments.p.registries.\"r.io\"]\nusername = \"a\"\npassword = \"env:PW=SEC\"",
        "[secrets.a]\nfrom = \"file:-----BEGIN SEC\"",
        "world = \"x # SEC",
        "SEC",
    ];

    #[test]
    fn what_is_written_where_a_reference_belongs_is_not_shown() {
        for lines in WITH_SECRETS.iter().copied() {
            let told = without_secrets(lines);
            assert_eq!(told.len(), lines.len());
            assert!(!told.contains("SEC"), "{told}");
        }
    }

    #[test]
    fn what_is_no_secret_is_shown() {
        let plain = "[environments.box.registries.\"r.example\"]\nusername = \"ann\"\n\
                     password = \"env:PW\"\n[secrets.b]\nfrom = \"file:x\"\n\
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
