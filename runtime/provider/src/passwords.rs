//! What an engine tells that may be a password of somebody else, who declared no secret: it is
//! masked before anybody is told.
//!
//! Options of volumes have them by a name (mount.cifs(8), mount.ceph(8)) or in an address.

use std::sync::Arc;
use stepback_core::expr::MARK_EDGE;
use stepback_core::shown::is_odd;

/// What finds the values of declared secrets in a text, and puts their marks in their places.
pub type Marks = Arc<dyn Fn(&str) -> String + Send + Sync>;

tokio::task_local! {
    static DECLARED: Marks;
}

/// Ask a provider that may cut what it tells: what a mask cuts in two nobody would find afterwards,
/// so that the declared secrets are marked before it.
pub async fn marking<T>(declared: Marks, asked: impl Future<Output = T>) -> T {
    DECLARED.scope(declared, asked).await
}

/// A text with the marks of the declared secrets, as far as somebody knows any.
pub fn marked(text: &str) -> String {
    DECLARED.try_with(|marks| marks(text)).unwrap_or_else(|_| text.to_owned())
}

/// What stands for it.
pub const MASK: &str = "***";
/// What the name of an option has in it whose value is nobody's to read.
const NAMES: [&str; 9] = ["pass", "pwd", "secret", "key", "token", "cred", "auth", "sig", "sas"];

/// Whether what is called so is nobody's to read.
pub fn is_password(name: &str) -> bool {
    let name = name.to_lowercase();
    NAMES.iter().any(|one| name.contains(one))
}

/// A volume's option as it may be shown.
pub fn shown_option(key: &str, value: &str) -> String {
    if is_password(key) {
        return MASK.to_owned();
    }
    let value = &marked(value);
    if key != "o" {
        return shown_value(value);
    }
    let shown = options(value).into_iter().map(|one| match one.split_once('=') {
        Some((name, _)) if is_password(name) => format!("{name}={MASK}"),
        Some((name, value)) => format!("{name}={}", shown_value(value)),
        None => shown_value(one),
    });
    shown.collect::<Vec<_>>().join(",")
}

/// A value as it may be shown: as an address, or not at all where it seems to have more options in
/// it, one of which is a password.
fn shown_value(value: &str) -> String {
    let shown = shown_address(value);
    match names_password(&shown) {
        true => MASK.to_owned(),
        false => shown,
    }
}

/// Whether a text gives a name of a password, and something after it: as an option
/// (`AccountKey=…`), as an argument (`--password …`) or as JSON.
fn names_password(text: &str) -> bool {
    // Where a declared secret was is told already.
    let unmarked: String = text.split(MARK_EDGE).step_by(2).collect();
    let text = unmarked.to_lowercase();
    let is_given = |name: &str, at: usize| {
        let of_name = |c: char| c.is_ascii_alphanumeric() || ['_', '-', '.'].contains(&c);
        let behind = text[at + name.len()..].trim_start_matches(of_name);
        let value = behind.trim_start_matches(['"', '\'', '\\', '=', ':', ' ', '\t']);
        value.len() < behind.len() && !value.is_empty()
    };
    NAMES.iter().any(|name| text.match_indices(name).any(|(at, _)| is_given(name, at)))
}

/// What the commas divide, but for those that a value has, which are doubled (mount.cifs(8)).
fn options(text: &str) -> Vec<&str> {
    let (mut all, mut begins, mut at) = (vec![], 0, 0);
    while let Some(comma) = text[at..].find(',').map(|found| at + found) {
        match text[comma + 1..].starts_with(',') {
            true => at = comma + 2,
            false => {
                all.push(&text[begins..comma]);
                (begins, at) = (comma + 1, comma + 1);
            }
        }
    }
    all.push(&text[begins..]);
    all
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

/// The same without what is asked there, which may be signed: `https://host/path?***`.
fn shown_address(address: &str) -> String {
    match address.find(['?', '#']) {
        Some(at) => format!("{}{}{MASK}", without_login(&address[..at]), &address[at..=at]),
        None => without_login(address),
    }
}

/// A text as Go writes it between quotes (Go docs, *strconv.Quote*).
pub fn quoted_by_go(text: &str) -> String {
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
        c if !c.is_ascii() && is_odd(c) && u32::from(c) > 0xffff => {
            format!("\\U{:08x}", u32::from(c))
        }
        c if !c.is_ascii() && is_odd(c) => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    };
    text.chars().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a mask would cut in two is marked before.
    #[tokio::test]
    async fn a_declared_secret_in_an_option_is_marked_whole() {
        let marks = |text: &str| text.replace("https://s3/LEAK?sig=x", "\u{1}<secret:pw>\u{1}");
        let told = async { shown_option("device", "https://s3/LEAK?sig=x") };
        assert_eq!(marking(Arc::new(marks), told).await, "\u{1}<secret:pw>\u{1}");
    }

    #[test]
    fn go_writes_what_is_odd_in_escapes() {
        let odd = "a\"\\\u{7}\u{b}\n\u{1b}\u{7f}\u{200b}\u{e0041}ä";
        assert_eq!(quoted_by_go(odd), r#"a\"\\\a\v\n\x1b\x7f\u200b\U000e0041ä"#);
    }

    #[test]
    fn the_password_of_a_share_is_not_shown() {
        for (key, value, wanted) in [
            (
                "o",
                "addr=nas,username=u,password=a,vers=3.0",
                "addr=nas,username=u,password=***,vers=3.0",
            ),
            ("o", "name=admin,secret=AQDkey==", "name=admin,secret=***"),
            ("o", "PASSWORD=a,unc=//ann:b@h/x", "PASSWORD=***,unc=//***@h/x"),
            ("o", "bind", "bind"),
            ("device", "//nas/password=x", "***"),
            ("device", "//nas/passwords/x", "//nas/passwords/x"),
            ("cifsopts", "vers=3.0,username=u,password=b", "***"),
            ("o", "rw;password=b", "rw;password=***"),
            ("o", "name=a,secret:b", "name=a,***"),
            ("config", r#"{"user":"u","password":"b"}"#, "***"),
            ("args", "--user u --password b", "***"),
            ("connection", "AccountName=a;AccountKey=b;Suffix=core", "***"),
            ("device", "nas/x&sig=b", "***"),
            ("device", "ann:pw//rest@h:/x", "***@h:/x"),
            ("urls", "https://a/x,https://ann:pw@b/x", "https://***@b/x"),
            ("device", "https://ann:b@h:443/x@y", "https://***@y"),
            ("device", "//ann:pa@b@nas/x", "//***@nas/x"),
            ("device", "https://token@git/x", "https://***@git/x"),
            ("device", "https://h/x#access_token=b", "https://h/x#***"),
            ("o", "password=a,,b,vers=3.0", "password=***,vers=3.0"),
            ("o", "//ann:b@h/x,ro", "//***@h/x,ro"),
            ("device", "ann:b@h:/x", "***@h:/x"),
            ("device", "//ann:pa/b@nas/x", "//***@nas/x"),
            ("device", "https://s3/x?sig=b", "https://s3/x?***"),
            ("device", "/dev/disk/by-id/a", "/dev/disk/by-id/a"),
            ("s3_access_key", "b", "***"),
            ("type", "ceph", "ceph"),
        ] {
            assert_eq!(shown_option(key, value), wanted);
        }
    }
}
