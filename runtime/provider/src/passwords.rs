//! What an engine tells that may be a password of somebody else, who declared no secret: it is
//! masked before anybody is told.
//!
//! They have a name that tells, or stand in an address.

use base64::Engine as _;
use base64::engine::general_purpose::GeneralPurpose;
use std::ops::Range;
use std::sync::Arc;
pub use stepback_core::shown::MASK;
use stepback_core::shown::is_odd;

/// What knows the values of the declared secrets.
pub trait Declared: Send + Sync {
    /// A text with their marks in their places.
    fn marked(&self, text: &str) -> String;
    /// Where they stand in a text, as it is looked for in such a text.
    fn places(&self, text: &str, what: Text) -> Vec<Range<usize>>;
}

/// Others than the program cut off no text that is shorter, as far as is known: in such a one
/// nothing is looked for that a cut may have left.
pub const CUT_BYTES_MIN: usize = 1024;

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// What a command printed: secrets are found whole, in parts or as what a cut left of them.
    Printed,
    /// Why a call failed: they are found whole.
    Failure,
}

tokio::task_local! {
    static DECLARED: Arc<dyn Declared>;
}

/// Ask a provider that may cut what it tells: what a mask cuts in two nobody would find afterwards,
/// so that it knows where declared secrets are.
pub async fn marking<T>(declared: Arc<dyn Declared>, asked: impl Future<Output = T>) -> T {
    DECLARED.scope(declared, asked).await
}

/// A text with the marks of the declared secrets, as far as somebody knows any.
pub fn marked(text: &str) -> String {
    DECLARED.try_with(|known| known.marked(text)).unwrap_or_else(|_| text.to_owned())
}

/// Where declared secrets stand that are taken out of such a text, as far as somebody knows any.
pub fn places(text: &str, what: Text) -> Vec<Range<usize>> {
    DECLARED.try_with(|known| known.places(text, what)).unwrap_or_default()
}

/// What the name of an option has in it whose value is nobody's to read.
pub const NAMES_OF_SECRETS: [&str; 9] =
    ["pass", "pwd", "secret", "key", "token", "cred", "auth", "sig", "sas"];

/// Whether what is called so is nobody's to read.
pub fn is_password(name: &str) -> bool {
    let name = name.to_lowercase();
    NAMES_OF_SECRETS.iter().any(|one| name.contains(one))
}

/// An address without who logs in there, if that has a password: `//***@host/path`. A password may
/// have a slash in it, and an at sign; a token may be all there is of a login.
pub fn without_login(address: &str) -> String {
    let is_scheme = |text: &str| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || ['+', '-', '.'].contains(&c);
        text.is_empty() || text.strip_suffix(':').is_some_and(|name| name.chars().all(is_part))
    };
    let (scheme, rest) = match address.split_once("//") {
        Some((scheme, rest)) if is_scheme(scheme) => (format!("{scheme}//"), rest),
        _ => (String::new(), address),
    };
    match rest.rsplit_once('@') {
        Some((login, host)) if login.contains(':') || scheme.contains("://") => {
            format!("{scheme}{MASK}@{host}")
        }
        _ => address.to_owned(),
    }
}

/// So long is a login that is a token, and not a name.
const TOKEN_BYTES_MIN: usize = 16;

/// What may be a password in a value that has addresses or options in it, as it is written there:
/// of whoever logs in, `//NAME:PASSWORD@`, in each way in which it may end, and
/// `password=PASSWORD`.
pub fn passwords_in(value: &str) -> Vec<&str> {
    let mut found = vec![];
    for (nth, (at, slashes)) in value.match_indices("://").enumerate() {
        let rest = &value[at + slashes.len()..];
        // Where one of several ends, and where the host of one does.
        let own = rest.split("://").next().unwrap_or_default();
        let one = own.split([',', ' ', ';', '|', '\n']).next().unwrap_or_default();
        let host = one.split(['/', '?', '#']).next().unwrap_or_default();
        // One that is alone may have anything in its password.
        let all = Some(rest).filter(|_| nth == 0);
        let logins = [all, Some(own), Some(one), Some(host)];
        let login = |part: &str| part.rsplit_once('@').map(|(login, _)| login.len());
        let lengths = logins.into_iter().flatten().filter_map(login);
        for login in lengths.map(|length| &rest[..length]) {
            match login.split_once(':') {
                Some((_, password)) => found.push(password),
                None if login.len() >= TOKEN_BYTES_MIN => found.push(login),
                None => {}
            }
        }
    }
    for option in value.split(|c: char| c.is_whitespace() || ['?', '&', ';', ','].contains(&c)) {
        let quotes = ['"', '\''];
        match option.split_once('=') {
            Some((name, text)) if is_password(name) => found.push(text.trim_matches(quotes)),
            Some(_) | None => {}
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// What a parser says without the value that it found (`invalid type: string "…", expected …`).
pub fn without_values(message: &str) -> String {
    const KINDS: [&str; 7] = [
        "string",
        "character",
        "integer",
        "floating point",
        "boolean",
        "unknown variant",
        "unknown field",
    ];
    for kind in KINDS {
        for quote in ['"', '`'] {
            let begins = format!("{kind} {quote}");
            let Some(at) = message.find(&begins).map(|at| at + begins.len()) else { continue };
            // A value may have such a mark in it, and what is expected then has some of its own.
            let behind = match message[at..].rfind(", expected") {
                Some(expected) => at + expected,
                None => message.len(),
            };
            let ends = message[at..behind].rfind(quote).map_or(behind, |end| at + end + 1);
            return format!("{}{}", &message[..at - 2], &message[ends..]);
        }
    }
    message.to_owned()
}

/// A parser's message with a table in the place of what a program calls it.
pub fn without_types(message: &str) -> String {
    const KIND: &str = "expected struct ";
    match message.split_once(KIND) {
        Some((before, rest)) => {
            let rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
            format!("{before}expected a table{rest}")
        }
        None => message.to_owned(),
    }
}

/// A text as Go writes it between quotes (Go docs, *strconv.Quote*): each way in which its versions
/// do so. What is no letter, mark, number, sign or blank of ASCII is escaped; which characters
/// there are they take from one Unicode or another.
pub fn quoted_by_go(text: &str) -> [String; 4] {
    let by_rust = |c: char| !c.is_ascii() && (is_odd(c) || c.escape_debug().count() > 1);
    // New ones have come with large numbers for years.
    let is_large = |c: char| u32::from(c) > 0xffff;
    [
        quoted_where(text, |c| !c.is_ascii() && is_odd(c)),
        quoted_where(text, by_rust),
        quoted_where(text, |c| by_rust(c) || is_large(c)),
        quoted_where(text, |c| !c.is_ascii()),
    ]
}

fn quoted_where(text: &str, is_escaped: impl Fn(char) -> bool) -> String {
    let of = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        '\x07' => "\\a".to_owned(),
        '\x08' => "\\b".to_owned(),
        '\x0c' => "\\f".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        '\x0b' => "\\v".to_owned(),
        c if c.is_ascii_control() => format!("\\x{:02x}", u32::from(c)),
        c if is_escaped(c) && u32::from(c) > 0xffff => format!("\\U{:08x}", u32::from(c)),
        c if is_escaped(c) => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    };
    text.chars().map(of).collect()
}

/// What is a value's own of the base64 of something longer, where so many bytes before it share
/// its first three: what its neighbours decide as well is left out.
pub fn own_in_base64(engine: &GeneralPurpose, value: &str, before: usize) -> String {
    let encoded = engine.encode([&vec![0; before][..], value.as_bytes()].concat());
    let end = (before + value.len()) * 8 / 6;
    encoded.get(letters_before(before)..end).unwrap_or_default().to_owned()
}

/// How many letters of base64 so many bytes have a part in.
pub fn letters_before(bytes: usize) -> usize {
    (bytes * 8).div_ceil(6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parsers_words_tell_no_value() {
        for (message, wanted) in [
            (
                "invalid type: string \"a\\\", expected b\", expected a map",
                "invalid type: string, expected a map",
            ),
            (
                "invalid type: integer `12`, expected a string",
                "invalid type: integer, expected a string",
            ),
            (
                "unknown variant `pw`, expected `aws` or `onebox`",
                "unknown variant, expected `aws` or `onebox`",
            ),
            ("invalid value: string \"pw\"", "invalid value: string"),
            ("unknown field `pw`, expected `a`", "unknown field, expected `a`"),
        ] {
            assert_eq!(without_values(message), wanted);
        }
    }

    #[test]
    fn the_passwords_of_addresses_are_found_wherever_these_stand() {
        for (value, wanted) in [
            ("postgres://app:p%40ss/w@db:5432/main", vec!["p%40ss/w"]),
            ("amqp://app:PW@mq1,amqp://app:QW@mq2", vec!["PW", "QW"]),
            ("https://es1:9200,https://app:PW@es2", vec!["PW"]),
            ("https://ghp_0123456789abcdef@github.com/x", vec!["ghp_0123456789abcdef"]),
            ("https://ubuntu@host/x", vec![]),
            ("jdbc:postgresql://db/main?user=app&password=PW", vec!["PW"]),
            ("-Xmx1g -Ddb.password='PW' -Dmail=ops@example.com", vec!["PW"]),
            ("Server=db;Uid=app;Pwd=PW;", vec!["PW"]),
            ("/var/lib/postgresql/data", vec![]),
        ] {
            let found = passwords_in(value);
            let missing: Vec<_> = wanted.iter().filter(|one| !found.contains(one)).collect();
            assert!(missing.is_empty(), "{value}: {found:?}");
            assert_eq!(found.is_empty(), wanted.is_empty(), "{value}: {found:?}");
        }
        let at = "postgres://app:PW@db/main?options=ops@example.com";
        assert!(passwords_in(at).contains(&"PW"));
        // However many there are, they are no longer than the value, but for the first.
        let many = "amqp://app:PW@mq,".repeat(1_000);
        let bytes: usize = passwords_in(&many).iter().map(|one| one.len()).sum();
        assert!(bytes < 2 * many.len(), "{bytes}");
    }

    #[test]
    fn a_program_s_own_words_are_no_user_s() {
        for (message, wanted) in [
            (
                "invalid type: string, expected struct AuthoredDocker",
                "invalid type: string, expected a table",
            ),
            (
                "invalid type: map, expected struct A_1 at line 1",
                "invalid type: map, expected a table at line 1",
            ),
            ("invalid type: map, expected a string", "invalid type: map, expected a string"),
        ] {
            assert_eq!(without_types(message), wanted);
        }
    }

    #[test]
    fn go_writes_what_is_odd_in_escapes() {
        let odd = "a\"\\\u{7}\u{b}\n\u{1b}\u{7f}\u{200b}\u{e0041}ä";
        assert_eq!(quoted_by_go(odd)[0], r#"a\"\\\a\v\n\x1b\x7f\u200b\U000e0041ä"#);
    }
}
