//! What a text says that a program wrote into an address, a form, JSON, a quoted word or a page.
//!
//! Programs escape what they like of a text: each its own characters, in either case of the digits,
//! and one after the other what another has escaped already. Whoever looks for a value in what they
//! wrote looks for it in what that comes to, whichever way it was written.

use std::collections::BTreeSet;

/// So often may a text be written into another one.
const DEPTH_MAX: usize = 3;
/// So many ways to read a text are followed.
const WAYS_MAX: usize = 40;
/// What is longer is read in one way after another only where it is short.
const LONG_BYTES: usize = 1 << 20;

/// A text as it is read in one way, and where each of its bytes stands in what was written.
#[derive(Clone, Debug)]
pub struct Decoded {
    bytes: Vec<u8>,
    /// Where each begins, and after them where the last one ends.
    at: Vec<usize>,
}

/// How something is written.
#[derive(Clone, Copy)]
enum Way {
    /// `%2F` (RFC 3986, *2.1*).
    Address,
    /// The same, and `+` for a blank (WHATWG URL Standard, *application/x-www-form-urlencoded*).
    Form,
    /// `\"`, `\u002f` (RFC 8259, *Strings*), and what Go, shells and C have beside that: `\x2f`,
    /// `\U0000002f`, `\057`.
    Quoted,
    /// `&amp;`, `&#38;`, `&#x26;` (HTML Standard, *Character references*).
    Page,
}

impl Decoded {
    fn of(text: &[u8]) -> Self {
        Self { bytes: text.to_vec(), at: (0..=text.len()).collect() }
    }

    /// What it comes to.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where a part of it stands in what was written.
    pub fn written(&self, start: usize, end: usize) -> (usize, usize) {
        (self.at[start], self.at[end])
    }

    /// The same read in a way; `None` where that changes nothing.
    fn read(&self, way: Way) -> Option<Self> {
        let is_written = |byte: &u8| match way {
            Way::Address => *byte == b'%',
            Way::Form => matches!(byte, b'%' | b'+'),
            Way::Quoted => *byte == b'\\',
            Way::Page => *byte == b'&',
        };
        let first = self.bytes.iter().position(is_written)?;
        let mut bytes = self.bytes[..first].to_vec();
        let mut at = self.at[..first].to_vec();
        let (mut from, mut is_another) = (first, false);
        while let Some(byte) = self.bytes.get(from) {
            let rest = &self.bytes[from..];
            let (stands_for, taken) = match is_written(byte).then(|| way.at(rest)).flatten() {
                Some(found) => {
                    is_another = true;
                    found
                }
                None => (Bytes::One(*byte), 1),
            };
            for byte in stands_for.as_slice() {
                bytes.push(*byte);
                at.push(self.at[from]);
            }
            from += taken;
        }
        at.push(self.at.last().copied().unwrap_or_default());
        is_another.then_some(Self { bytes, at })
    }
}

/// What an escape stands for.
enum Bytes {
    One(u8),
    Char([u8; 4], usize),
}

impl Bytes {
    fn of(c: char) -> Self {
        let mut all = [0; 4];
        let len = c.encode_utf8(&mut all).len();
        Self::Char(all, len)
    }

    fn as_slice(&self) -> &[u8] {
        match self {
            Self::One(byte) => std::slice::from_ref(byte),
            Self::Char(all, len) => &all[..*len],
        }
    }
}

impl Way {
    const ALL: [Self; 4] = [Self::Address, Self::Form, Self::Quoted, Self::Page];

    /// What the escape stands for that a text begins with, and how long it is.
    fn at(self, rest: &[u8]) -> Option<(Bytes, usize)> {
        match (self, rest.first()?) {
            (Self::Address | Self::Form, b'%') => {
                Some((Bytes::One(u8::try_from(number(rest.get(1..3)?, 16)?).ok()?), 3))
            }
            (Self::Form, b'+') => Some((Bytes::One(b' '), 1)),
            (Self::Quoted, b'\\') => quoted(rest),
            (Self::Page, b'&') => reference(rest),
            _ => None,
        }
    }
}

/// A number that is digits and nothing else.
fn number(digits: &[u8], radix: u32) -> Option<u32> {
    let text = std::str::from_utf8(digits).ok().filter(|text| !text.starts_with('+'))?;
    u32::from_str_radix(text, radix).ok()
}

fn quoted(rest: &[u8]) -> Option<(Bytes, usize)> {
    let hex = |digits: usize| number(rest.get(2..2 + digits)?, 16);
    let one = |byte: u8| Some((Bytes::One(byte), 2));
    match rest.get(1)? {
        byte @ (b'"' | b'\\' | b'/' | b'\'' | b'`' | b'$') => one(*byte),
        b'a' => one(7),
        b'b' => one(8),
        b't' => one(b'\t'),
        b'n' => one(b'\n'),
        b'v' => one(11),
        b'f' => one(12),
        b'r' => one(b'\r'),
        b'e' => one(27),
        b'x' => Some((Bytes::One(u8::try_from(hex(2)?).ok()?), 4)),
        b'U' => Some((Bytes::of(char::from_u32(hex(8)?)?), 10)),
        b'u' => {
            let unit = hex(4)?;
            if let Some(c) = char::from_u32(unit) {
                return Some((Bytes::of(c), 6));
            }
            // The other half of it follows.
            let low = rest.get(6..8).filter(|begins| *begins == b"\\u").and(rest.get(8..12))?;
            let units = [u16::try_from(unit).ok()?, u16::try_from(number(low, 16)?).ok()?];
            let c = char::decode_utf16(units).next()?.ok()?;
            Some((Bytes::of(c), 12))
        }
        b'0'..=b'3' => Some((Bytes::One(u8::try_from(number(rest.get(1..4)?, 8)?).ok()?), 4)),
        _ => None,
    }
}

fn reference(rest: &[u8]) -> Option<(Bytes, usize)> {
    const NAMED: [(&str, char); 6] =
        [("amp", '&'), ("lt", '<'), ("gt", '>'), ("quot", '"'), ("apos", '\''), ("nbsp", '\u{a0}')];
    let end = rest.iter().take(12).position(|byte| *byte == b';')?;
    let name = std::str::from_utf8(&rest[1..end]).ok()?;
    let c = match name.strip_prefix('#') {
        Some(digits) => {
            let number = match digits.strip_prefix(['x', 'X']) {
                Some(digits) => number(digits.as_bytes(), 16),
                None => number(digits.as_bytes(), 10),
            };
            char::from_u32(number?)?
        }
        None => NAMED.iter().find(|(known, _)| *known == name)?.1,
    };
    Some((Bytes::of(c), end + 1))
}

/// A text in each way in which it can be read, but for as it is.
pub fn ways(text: &str) -> Vec<Decoded> {
    if !text.bytes().any(|byte| matches!(byte, b'%' | b'+' | b'\\' | b'&')) {
        return vec![];
    }
    let depth = if text.len() > LONG_BYTES { 1 } else { DEPTH_MAX };
    let mut known: BTreeSet<Vec<u8>> = BTreeSet::from([text.as_bytes().to_vec()]);
    let (mut all, mut last) = (vec![], vec![Decoded::of(text.as_bytes())]);
    for _ in 0..depth {
        let mut next = vec![];
        for one in &last {
            for read in Way::ALL.into_iter().filter_map(|way| one.read(way)) {
                if all.len() + next.len() < WAYS_MAX && known.insert(read.bytes.clone()) {
                    next.push(read);
                }
            }
        }
        all.append(&mut last.drain(..).filter(|one| one.bytes != text.as_bytes()).collect());
        last = next;
    }
    all.append(&mut last);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_in(value: &str, text: &str) -> Option<String> {
        ways(text).into_iter().find_map(|way| {
            let mut windows = way.bytes().windows(value.len());
            let start = windows.position(|window| window == value.as_bytes())?;
            let (start, end) = way.written(start, start + value.len());
            Some(text[start..end].to_owned())
        })
    }

    /// As axios, .NET, Java, Spring, Python of before 3.7, Rust and Lua write it; JSON in JSON, an
    /// engine's quotes around a registry's JSON, base64 in an address, and what is escaped twice.
    #[test]
    fn a_value_is_found_however_it_was_written() {
        for (value, text, written) in [
            ("correct horse!", "u=correct+horse!&x", "correct+horse!"),
            ("kq pass!word/x", "kq+pass!word%2fx", "kq+pass!word%2fx"),
            ("Kq$7:x=1/9", "Kq$7:x%3D1%2F9", "Kq$7:x%3D1%2F9"),
            ("S3cret-pass_word", "S3cret%2Dpass%5Fword", "S3cret%2Dpass%5Fword"),
            ("p\u{e4}sse wort-9", "p\u{e4}sse%20wort-9", "p\u{e4}sse%20wort-9"),
            ("Kq7/pass word", "Kq7%252Fpass%2520word", "Kq7%252Fpass%2520word"),
            ("Pz8/Pz8/P2Fi", r"is Pz8\/Pz8\/P2Fi.", r"Pz8\/Pz8\/P2Fi"),
            ("Pz5+Pz5+", "Pz5%2BPz5%2B", "Pz5%2BPz5%2B"),
            ("Pz5+YWI", r"Pz5\u002BYWI", r"Pz5\u002BYWI"),
            ("a\"b-c", r#"\\\"a\\\\\\\"b-c"#, r#"a\\\\\\\"b-c"#),
            ("pa\u{308}sse\u{a0}mot", "\"pa\u{308}sse\\u00a0mot\"", "pa\u{308}sse\\u00a0mot"),
            ("x\u{1fae8}y", r"x\ud83e\udee8y", r"x\ud83e\udee8y"),
            ("a&b<c", "a&amp;b&#x3c;c", "a&amp;b&#x3c;c"),
            ("Reg\"LEAK", r#""{\"detail\": \"ann:Reg\\\"LEAK\"}""#, r#"Reg\\\"LEAK"#),
            ("tab\there", r"tab\there", r"tab\there"),
            ("caf\u{e9}", r"caf\303\251", r"caf\303\251"),
        ] {
            assert_eq!(is_in(value, text).as_deref(), Some(written), "{value} in {text}");
        }
        for text in ["100%", "%", "%2", "\\", "\\u12", "&", "&lt", "a%zz", "\\u+123", "%+1"] {
            ways(text);
        }
        assert!(ways("plain text").is_empty());
        assert!(ways("100% of it").is_empty(), "nothing is escaped there");
    }

    proptest! {
        /// Whatever is escaped, and in which case: it comes to the same, and is where it is.
        #[test]
        fn what_is_escaped_of_a_value_is_anybodys_choice(
            value in "[ -~äé/+%&\"\\\\]{4,20}",
            how in proptest::collection::vec(0..4_u8, 80),
            before in "[a-z ]{0,5}",
        ) {
            let mut how = how.into_iter().cycle();
            let mut written = String::new();
            for byte in value.bytes() {
                let is_plain = byte.is_ascii() && byte != b'%' && byte != b'+' && byte != b' ';
                match how.next().unwrap_or_default() {
                    0 | 1 if is_plain => written.push(char::from(byte)),
                    0 if byte == b' ' => written.push('+'),
                    2 => written.push_str(&format!("%{byte:02x}")),
                    _ => written.push_str(&format!("%{byte:02X}")),
                }
            }
            let text = format!("{before}{written}");
            let found = is_in(&value, &text);
            prop_assert!(found.is_some() || text.contains(&value), "{} in {}", value, text);
        }
    }
}
