//! The texts by which a secret may turn up in what comes back.
//!
//! As it is; line by line, because what prints a key prints it so; and as programs write it into
//! JSON, into an address or a form, and in base64, also as a piece of something longer, and broken
//! into lines. What a program makes of it otherwise (reversed, hashed, in another base) nobody can
//! look for.

use super::{EDGE, SECRET_BYTES_MIN};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use std::collections::BTreeMap;
use stepback_core::expr::secret_placeholder;
use stepback_provider::decoded;
use stepback_provider::passwords::{letters_before, own_in_base64, quoted_by_go};

/// Less of a line of base64 turns up by chance, as it is looked for in many pieces.
pub(super) const BASE64_BYTES_MIN: usize = 8;
/// Less of what a whole value comes to, as a piece of something longer.
const BASE64_OWN_BYTES_MIN: usize = 5;
/// Where programs break base64 into lines: PEM (RFC 7468, *2*) and MIME (RFC 2045, *6.8*), as which
/// `base64` of GNU does it.
pub(super) const COLUMNS: [usize; 2] = [64, 76];

/// Every text by which a secret may turn up, each with its mark.
pub(super) fn texts_of(name: &str, value: &str) -> Vec<(String, String)> {
    let mut forms: BTreeMap<String, String> = BTreeMap::new();
    let mut add = |text: String, form: &str| {
        if text.len() >= SECRET_BYTES_MIN {
            forms.entry(text).or_insert_with(|| secret_placeholder(&format!("{name}{form}")));
        }
    };
    add(value.to_owned(), "");
    add(value.chars().map(|c| if c == '\t' { ' ' } else { c }).collect(), "#shown");
    add(value.trim().to_owned(), "#trimmed");
    for (number, line) in value.split('\r').enumerate() {
        add(line.to_owned(), &format!("#cr-{number}"));
    }
    if value.contains(['\n', '\r']) {
        for (number, line) in value.lines().enumerate() {
            for (kind, line) in [("", line), ("-trimmed", line.trim())] {
                add(line.to_owned(), &format!("#{}{kind}", number + 1));
            }
        }
        // Whichever of the two ends a line; and as a log of JSON has each.
        for (number, line) in value.split(['\n', '\r']).enumerate() {
            add(line.to_owned(), &format!("#cr-{number}-line"));
            for (form, json) in JSON_FORMS.iter().enumerate() {
                add(json.of(line), &format!("#cr-{number}-json-{form}"));
            }
        }
    }
    // Who reads a line for it takes no blank at its end.
    let trimmed = Some(("trimmed-", value.trim())).filter(|(_, trimmed)| *trimmed != value);
    let both = || [("", value)].into_iter().chain(trimmed);
    for (kind, value) in both() {
        for (number, text) in JSON_FORMS.iter().map(|json| json.of(value)).enumerate() {
            add(text, &format!("#{kind}json-{number}"));
        }
        for (number, text) in in_urls(value).into_iter().enumerate() {
            add(text, &format!("#{kind}url-{number}"));
        }
    }
    quoted_by_go(value).into_iter().for_each(|text| add(text, "#go"));
    // What a program logs in JSON may have been JSON before.
    for (number, json) in JSON_FORMS.iter().enumerate() {
        let inner = json.of(value);
        add(PLAIN.of(&inner), &format!("#json-{number}-in-json"));
        add(json.of(&inner), &format!("#json-{number}-in-its-own"));
    }
    for (kind, value) in both() {
        for (number, text) in in_base64(value).into_iter().enumerate() {
            add(text, &format!("#{kind}base64-{number}"));
        }
    }
    // Who escapes other characters leaves what looks like an escape: read, both come to the same.
    for (number, read) in decoded::ways(value).iter().enumerate() {
        if let Ok(text) = std::str::from_utf8(read.bytes()) {
            add(text.to_owned(), &format!("#read-{number}"));
        }
    }
    for (number, text) in in_base64_lines(value).into_iter().enumerate() {
        add(text, &format!("#base64-line-{number}"));
    }
    forms.into_iter().collect()
}

/// Whether a mark stands for a part of a secret: one line of it, or of its base64. Whether a text
/// that somebody thought up is such a part would tell him the secret part by part.
pub(super) fn is_of_a_part(mark: &str) -> bool {
    let form = mark.trim_matches(EDGE).rsplit_once('#').map_or("", |(_, form)| form);
    form.starts_with(|c: char| c.is_ascii_digit())
        || form.starts_with("cr-")
        || form.starts_with("base64-line-")
}

/// How a program writes the inside of a JSON string (RFC 8259, *Strings*).
struct Json {
    /// What it escapes beside what must be.
    also: &'static str,
    /// Whether it escapes all that is not ASCII.
    in_ascii: bool,
    /// Of which escapes the digits are large.
    upper: Upper,
    /// Whether it writes `\/`.
    slash: bool,
}

/// Escapes by what they are of.
#[derive(PartialEq)]
enum Upper {
    None,
    /// Those of what need not be escaped.
    Also,
    All,
}

const PLAIN: Json = Json { also: "", in_ascii: false, upper: Upper::None, slash: false };
/// Journals have marks by the place in here: what is new comes last.
const JSON_FORMS: [Json; 13] = [
    // Python.
    Json { in_ascii: true, ..PLAIN },
    Json { slash: true, ..PLAIN },
    PLAIN,
    // Go, and so Docker; Gson, in Java; PHP; .NET.
    Json { also: "&<>\u{2028}\u{2029}", ..PLAIN },
    Json { also: "&<>='\u{2028}\u{2029}", ..PLAIN },
    Json { in_ascii: true, slash: true, ..PLAIN },
    Json { also: "&<>'+`\"", in_ascii: true, upper: Upper::All, ..PLAIN },
    // Python, which escapes a delete, too.
    Json { also: "\u{7f}", in_ascii: true, ..PLAIN },
    Json { in_ascii: true, upper: Upper::All, ..PLAIN },
    // Into a page: PHP with `JSON_HEX_*`, as its frameworks do; Flask; Django; and
    // `serialize-javascript`.
    Json { also: "&<>'\"", in_ascii: true, upper: Upper::Also, slash: true },
    Json { also: "&<>'", in_ascii: true, ..PLAIN },
    Json { also: "&<>", in_ascii: true, upper: Upper::Also, ..PLAIN },
    Json { also: "<>/\u{2028}\u{2029}", upper: Upper::Also, ..PLAIN },
];

impl Json {
    fn of(&self, value: &str) -> String {
        let mut written = String::with_capacity(value.len());
        for c in value.chars() {
            match c {
                c if self.also.contains(c) || self.in_ascii && !c.is_ascii() => {
                    self.escape(c, &mut written);
                }
                '/' if self.slash => written.push_str("\\/"),
                '"' | '\\' => written.extend(['\\', c]),
                '\u{8}' => written.push_str("\\b"),
                '\t' => written.push_str("\\t"),
                '\n' => written.push_str("\\n"),
                '\u{c}' => written.push_str("\\f"),
                '\r' => written.push_str("\\r"),
                c if c < ' ' => self.escape(c, &mut written),
                c => written.push(c),
            }
        }
        written
    }

    fn escape(&self, c: char, to: &mut String) {
        let is_upper = match self.upper {
            Upper::None => false,
            Upper::Also => self.also.contains(c),
            Upper::All => true,
        };
        for unit in c.encode_utf16(&mut [0; 2]) {
            to.push_str(&match is_upper {
                true => format!("\\u{unit:04X}"),
                false => format!("\\u{unit:04x}"),
            });
        }
    }
}

/// What is left as it is beside letters and digits, and what a blank becomes. Journals have marks
/// by the place in here: what is new comes last.
const KEPT_IN_URLS: [(&str, &str); 18] = [
    // By the strictest, by JavaScript's `encodeURIComponent`, in a form, and in a path.
    ("-._~", "%20"),
    ("-._~!*'()", "%20"),
    ("-._*", "+"),
    ("-._~/", "%20"),
    // Python's `quote_plus` and Go's `url.QueryEscape`.
    ("-._~", "+"),
    // Go's `url.PathEscape`, its `url.UserPassword`, and both as older ones have them.
    ("-._~$&+=:@", "%20"),
    ("-._~$&+,;=", "%20"),
    ("-._~$&+,/:;=@", "%20"),
    // JavaScript's `encodeURI`.
    ("-._~;/?:@&=+$,#!*'()", "%20"),
    // Who logs in, by the URL Standard: what is escaped already stays so.
    ("-._~!$%&'()*+,", "%20"),
    // As by RFC 1738, *2.2*: programs that are older than RFC 3986 escape the tilde, too.
    ("-._", "%20"),
    ("-._*", "%20"),
    ("-._", "+"),
    // Python's `requests`, GNU Wget, and the URL Standard's queries, paths and fragments.
    ("-._~!#$%&'()*+,/:;=?@[]", "%20"),
    ("-._~!$&'()*+,/:;=?@[]", "%20"),
    ("-._~!$%&()*+,/:;=?@[\\]^`{|}", "%20"),
    ("-._~!$%&'()*+,/:;=@[\\]|", "%20"),
    ("-._~!#$%&'()*+,/:;=?@[\\]^{|}", "%20"),
];

/// In an address and in a form (WHATWG URL Standard, *percent-encoding* and
/// *application/x-www-form-urlencoded*), in either case of the digits.
fn in_urls(value: &str) -> Vec<String> {
    let mut texts = vec![];
    for (kept, space) in KEPT_IN_URLS {
        for is_upper in [true, false] {
            let byte = |byte: u8| match byte {
                b' ' => space.to_owned(),
                byte if byte.is_ascii_alphanumeric() || kept.as_bytes().contains(&byte) => {
                    char::from(byte).to_string()
                }
                byte if is_upper => format!("%{byte:02X}"),
                byte => format!("%{byte:02x}"),
            };
            texts.push(value.bytes().map(byte).collect());
        }
    }
    texts
}

/// In base64, of itself and as a piece of something longer.
fn in_base64(value: &str) -> Vec<String> {
    let mut texts = vec![];
    for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
        texts.push(engine.encode(value));
        for before in 0..3 {
            let own = own_in_base64(engine, value, before);
            texts.extend(Some(own).filter(|own| own.len() >= BASE64_OWN_BYTES_MIN));
        }
    }
    texts
}

/// The lines that base64 is broken into, each by itself, as a log has them: where nothing is
/// before the value, and as a piece of something longer where it is short enough that a line ends
/// in it once at most. Where lines end in a longer one, its neighbours decide, so that each of its
/// letters may begin one: so many texts nobody looks for.
fn in_base64_lines(value: &str) -> Vec<String> {
    let mut texts = vec![];
    for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
        // Its last letter is another one where something follows.
        for whole in [engine.encode(value), own_in_base64(engine, value, 0)] {
            for columns in COLUMNS {
                let lines = whole.as_bytes().chunks(columns);
                texts.extend(lines.map(|line| String::from_utf8_lossy(line).into_owned()));
            }
        }
        for before in 0..3 {
            let own = own_in_base64(engine, value, before);
            if own.len() > COLUMNS[0] {
                continue;
            }
            // Every line is of whole groups of four letters.
            let first_end = (4 - letters_before(before) % 4) % 4;
            for end in (first_end..own.len()).step_by(4) {
                texts.extend([own[..end].to_owned(), own[end..].to_owned()]);
            }
        }
    }
    texts.retain(|text| text.len() >= BASE64_BYTES_MIN);
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As each program prints it: Node's `URL`, PHP's `rawurlencode` of before 5.3 and Perl's
    /// `uri_escape`; `json.dumps` with large digits, PHP's `json_encode` with `JSON_HEX_TAG`,
    /// `JSON_HEX_APOS` and `JSON_HEX_QUOT`, Flask's and Django's filters, `serialize-javascript`.
    #[test]
    fn a_secret_is_known_in_an_address_and_in_json_of_every_kind() {
        let all = |value: &str| -> Vec<String> {
            texts_of("pw", value).into_iter().map(|(text, _)| text).collect()
        };
        for (value, text) in [
            ("S3cret$w=rd/1", "S3cret$w%3Drd%2F1"),
            ("a%b|c;d", "a%b%7Cc%3Bd"),
            ("a~b c*d", "a%7Eb%20c%2Ad"),
            ("Kq[7 c-Secret]", "Kq[7%20c-Secret]"),
            ("p|w[1 x-Secret", "p|w[1%20x-Secret"),
            ("Kq7-p\u{e4}sse\u{a0}mot", "Kq7-p\u{e4}sse\\u00a0mot"),
            ("Kq7-\u{5bc6}\u{3000}x1", "Kq7-\u{5bc6}\\u3000x1"),
            ("Kq7-\u{1fae8}-Zz9x", "Kq7-\\U0001fae8-Zz9x"),
            ("Kq\"7c\\S", r#"Kq\\\"7c\\\\S"#),
            ("Kw&Le<S3>", r"Kw\\u0026Le\\u003cS3\\u003e"),
            ("p\"k\u{e9}", r#"p\\\"k\\u00e9"#),
            ("a~b c*d", "a%7Eb%20c*d"),
            ("a~b c*d", "a%7Eb+c%2Ad"),
            ("caf\u{e9}1", "caf\\u00E91"),
            ("\u{e9}/'<\"1", r"\u00e9\/\u0027\u003C\u00221"),
            ("\u{e9}/'<=1", r"\u00e9/\u0027\u003c=1"),
            ("\u{e9}/'<=1", r"\u00e9/'\u003C=1"),
            ("a/b<c=1", r"a\u002Fb\u003Cc=1"),
            ("a/b c=1\n", "a%2Fb%20c%3D1"),
            (" a\"b\\c1\n", r#"a\"b\\c1"#),
            ("secret-of-it\n", "c2VjcmV0LW9mLWl0"),
            // Of `user:` and six bytes.
            ("Zq9xK!", "acTl4Sy"),
            ("first\nseco\rthird\n", "seco"),
            ("first\nthe \"2nd\"\n", r#"the \"2nd\""#),
        ] {
            assert!(all(value).iter().any(|one| one == text), "{value} {text}");
        }
    }

    #[test]
    fn plain_json_is_as_serde_writes_it() {
        let all: String = (0..0x300).filter_map(char::from_u32).collect();
        assert_eq!(format!("\"{}\"", PLAIN.of(&all)), serde_json::Value::from(all).to_string());
    }
}
