//! The texts by which a secret may turn up in what comes back.
//!
//! As it is; line by line, because what prints a key prints it so; and as programs write it into
//! JSON, into an address or a form, and in base64, also as a piece of something longer. What a
//! program makes of it otherwise (reversed, hashed, in another base) nobody can look for.

use super::SECRET_BYTES_MIN;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use std::collections::BTreeMap;
use stepback_core::expr::secret_placeholder;

/// Less of a base64 text turns up by chance.
const BASE64_BYTES_MIN: usize = 8;

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
    if value.contains(['\n', '\r']) {
        for (number, line) in value.lines().enumerate() {
            for (kind, line) in [("", line), ("-trimmed", line.trim())] {
                add(line.to_owned(), &format!("#{}{kind}", number + 1));
            }
        }
    }
    for (number, text) in in_json(value).into_iter().enumerate() {
        add(text, &format!("#json-{number}"));
    }
    for (number, text) in in_urls(value).into_iter().enumerate() {
        add(text, &format!("#url-{number}"));
    }
    for (number, text) in in_base64(value).into_iter().enumerate() {
        add(text, &format!("#base64-{number}"));
    }
    forms.into_iter().collect()
}

/// Inside the quotes of JSON: with what must be escaped, and with all that may be.
fn in_json(value: &str) -> [String; 3] {
    let quoted = serde_json::Value::from(value).to_string();
    let least = quoted[1..quoted.len() - 1].to_owned();
    let ascii = |text: &str| {
        let mut units = [0; 2];
        let mut escaped = String::new();
        for c in text.chars() {
            match c.is_ascii() {
                true => escaped.push(c),
                false => {
                    for unit in c.encode_utf16(&mut units) {
                        escaped.push_str(&format!("\\u{unit:04x}"));
                    }
                }
            }
        }
        escaped
    };
    [ascii(&least), least.replace('/', "\\/"), least]
}

/// In an address and in a form (WHATWG URL Standard, *percent-encoding* and
/// *application/x-www-form-urlencoded*), in either case of the digits.
fn in_urls(value: &str) -> Vec<String> {
    let mut texts = vec![];
    // What is left as it is beside letters and digits: by the strictest, by JavaScript's
    // `encodeURIComponent`, and in a form.
    for (kept, space) in [("-._~", "%20"), ("-._~!*'()", "%20"), ("-._*", "+"), ("-._~/", "%20")] {
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

/// In base64, of itself and as a piece of something longer, where it begins at any of three
/// places of four letters: what its neighbours decide as well is left out.
fn in_base64(value: &str) -> Vec<String> {
    let mut texts = vec![];
    for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
        texts.push(engine.encode(value));
        for before in 0..3_usize {
            let encoded = engine.encode([&vec![0; before][..], value.as_bytes()].concat());
            let begin = (before * 8).div_ceil(6);
            let end = (before + value.len()) * 8 / 6;
            let own = encoded.get(begin..end).unwrap_or_default();
            if own.len() >= BASE64_BYTES_MIN {
                texts.push(own.to_owned());
            }
        }
    }
    texts
}
