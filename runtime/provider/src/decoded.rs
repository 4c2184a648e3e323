//! What a text says that a program wrote into an address, a form, JSON, a quoted word or a page.
//!
//! Programs escape what they like of a text: each its own characters, in either case of the digits,
//! and one after the other what another has escaped already. Whoever looks for a value in what they
//! wrote looks for it in what that comes to, whichever way it was written.

use std::collections::BTreeSet;

/// So often may a text be written into another one.
const DEPTH_MAX: usize = 3;
/// So many ways to read a text are followed.
const WAYS_MAX: usize = 120;
/// The escapes of one character are no longer.
const ESCAPE_MAX: usize = 24;
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
    /// `%2F` (RFC 3986, *2.1*), and `%u20AC` (ECMAScript, *escape*).
    Address,
    /// The same of a text that is one byte a character, `%E4`.
    Latin,
    /// The same, and `+` for a blank (WHATWG URL Standard, *application/x-www-form-urlencoded*).
    Form,
    /// `\"`, `\u002f` (RFC 8259, *Strings*), and what Go, shells and C have beside that: `\x2f`,
    /// `\U0000002f`, `\u{2f}`, `\057`, `\ `.
    Quoted,
    /// The same where `\xe4` is a character and no byte, as in Python and JavaScript.
    QuotedLatin,
    /// `it''s` (SQL, YAML), `"a""b"` (RFC 4180, *2*).
    Doubled,
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
            Way::Address | Way::Latin => *byte == b'%',
            Way::Form => matches!(byte, b'%' | b'+'),
            Way::Quoted => matches!(byte, b'\\' | b'\''),
            Way::QuotedLatin => *byte == b'\\',
            Way::Doubled => matches!(byte, b'\'' | b'"'),
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
    const ALL: [Self; 7] = [
        Self::Address,
        Self::Form,
        Self::Quoted,
        Self::Page,
        Self::Latin,
        Self::QuotedLatin,
        Self::Doubled,
    ];

    /// What the escape stands for that a text begins with, and how long it is.
    fn at(self, rest: &[u8]) -> Option<(Bytes, usize)> {
        match (self, rest.first()?) {
            (Self::Address | Self::Latin, b'%') if rest.get(1) == Some(&b'u') => {
                Some((Bytes::of(char::from_u32(number(rest.get(2..6)?, 16)?)?), 6))
            }
            (Self::Address | Self::Form, b'%') => {
                Some((Bytes::One(u8::try_from(number(rest.get(1..3)?, 16)?).ok()?), 3))
            }
            (Self::Latin, b'%') => {
                Some((Bytes::of(char::from_u32(number(rest.get(1..3)?, 16)?)?), 3))
            }
            (Self::Form, b'+') => Some((Bytes::One(b' '), 1)),
            // How a shell ends a quoted text, says a quote, and goes on.
            (Self::Quoted, b'\'') if rest.starts_with(b"'\\''") => Some((Bytes::One(b'\''), 4)),
            (Self::Quoted, b'\'') if rest.starts_with(b"'\"'\"'") => Some((Bytes::One(b'\''), 5)),
            (Self::Doubled, quote @ (b'\'' | b'"')) if rest.get(1) == Some(quote) => {
                Some((Bytes::One(*quote), 2))
            }
            (Self::Quoted, b'\\') => quoted(rest, Bytes::One),
            (Self::QuotedLatin, b'\\') => quoted(rest, |byte| Bytes::of(char::from(byte))),
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

/// `of_hex` is what `\xNN` stands for.
fn quoted(rest: &[u8], of_hex: impl Fn(u8) -> Bytes) -> Option<(Bytes, usize)> {
    let hex = |digits: usize| number(rest.get(2..2 + digits)?, 16);
    let one = |byte: u8| Some((Bytes::One(byte), 2));
    match rest.get(1)? {
        byte if byte.is_ascii_punctuation() || *byte == b' ' => one(*byte),
        b'a' => one(7),
        b'b' => one(8),
        b't' => one(b'\t'),
        b'n' => one(b'\n'),
        b'v' => one(11),
        b'f' => one(12),
        b'r' => one(b'\r'),
        b'e' => one(27),
        b'x' => Some((of_hex(u8::try_from(hex(2)?).ok()?), 4)),
        b'U' => Some((Bytes::of(char::from_u32(hex(8)?)?), 10)),
        b'u' if rest.get(2) == Some(&b'{') => {
            let digits = rest.iter().take(12).position(|byte| *byte == b'}')?;
            Some((Bytes::of(char::from_u32(number(rest.get(3..digits)?, 16)?)?), digits + 1))
        }
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
        None => named(name)?,
    };
    Some((Bytes::of(c), end + 1))
}

/// The characters of a page by name (HTML Standard, *Named character references*), as far as a
/// secret's may be written by it.
fn named(name: &str) -> Option<char> {
    const OF_ASCII: &str = "excl! quot\" num# dollar$ percnt% amp& apos' lpar( rpar) ast* plus+ \
        comma, period. sol/ colon: semi; lt< equals= gt> quest? commat@ lsqb[ lbrack[ bsol\\ rsqb] \
        rbrack] Hat^ lowbar_ grave` lcub{ lbrace{ verbar| vert| rcub} rbrace}";
    // From U+00A0 on.
    const OF_LATIN: &str = "nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not \
        shy reg macr deg plusmn sup2 sup3 acute micro para middot cedil sup1 ordm raquo frac14 \
        frac12 frac34 iquest Agrave Aacute Acirc Atilde Auml Aring AElig Ccedil Egrave Eacute \
        Ecirc Euml Igrave Iacute Icirc Iuml ETH Ntilde Ograve Oacute Ocirc Otilde Ouml times \
        Oslash Ugrave Uacute Ucirc Uuml Yacute THORN szlig agrave aacute acirc atilde auml aring \
        aelig ccedil egrave eacute ecirc euml igrave iacute icirc iuml eth ntilde ograve oacute \
        ocirc otilde ouml divide oslash ugrave uacute ucirc uuml yacute thorn yuml";
    let of_ascii = OF_ASCII.split(' ').filter_map(|one| one.split_at_checked(one.len() - 1));
    let of_ascii = of_ascii.filter(|(known, _)| *known == name).find_map(|(_, c)| c.chars().next());
    let of_latin = || OF_LATIN.split_whitespace().zip('\u{a0}'..).find(|(known, _)| *known == name);
    of_ascii.or_else(|| of_latin().map(|(_, c)| c)).or((name == "euro").then_some('\u{20ac}'))
}

/// A text without the ends of its lines, as which base64 is broken; `None` where it has none.
pub fn in_one_line(text: &str) -> Option<Decoded> {
    let breaks = |byte: &u8| matches!(byte, b'\r' | b'\n');
    text.bytes().any(|byte| breaks(&byte)).then(|| {
        let kept = text.bytes().enumerate().filter(|(_, byte)| !breaks(byte));
        let (mut at, bytes): (Vec<usize>, Vec<u8>) = kept.unzip();
        at.push(text.len());
        Decoded { bytes, at }
    })
}

/// How long what a text begins with may be that a cut left of escapes: of one character, which may
/// be several of them.
pub fn half_at_the_beginning(text: &[u8]) -> usize {
    let is_of_one = |byte: &&u8| byte.is_ascii_alphanumeric() || b"#{}%\\&'\";".contains(byte);
    match text.first() {
        Some(b'%' | b'\\' | b'&' | b'\'' | b'"') => {
            text.iter().take(ESCAPE_MAX).take_while(is_of_one).count()
        }
        _ => 0,
    }
}

/// The same of what is cut off before it.
pub fn half_at_the_end(text: &[u8]) -> usize {
    let is_of_one = |byte: &&u8| byte.is_ascii_alphanumeric() || b"#{}%\\&'\";".contains(byte);
    text.iter().rev().take(ESCAPE_MAX).take_while(is_of_one).count()
}

/// A text in each way in which it can be read, but for as it is.
pub fn ways(text: &str) -> Vec<Decoded> {
    let may_be_of_one = |byte| matches!(byte, b'%' | b'+' | b'\\' | b'&' | b'\'' | b'"');
    if !text.bytes().any(may_be_of_one) {
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
            // Python's `ascii`, JavaScript's `escape`, PHP's `htmlentities`, Rust, and a shell.
            ("p\u{e4}sse-9", r"p\xe4sse-9", r"p\xe4sse-9"),
            ("p\u{e4}sse-9", "p%E4sse-9", "p%E4sse-9"),
            ("x\u{20ac}y z", "x%u20ACy%20z", "x%u20ACy%20z"),
            ("p\u{e4}sse-9", "p&auml;sse-9", "p&auml;sse-9"),
            ("a/b+c", "a&sol;b&plus;c", "a&sol;b&plus;c"),
            ("se\u{a0}same", r"se\u{a0}same", r"se\u{a0}same"),
            ("correct horse!9", r"correct\ horse\!9", r"correct\ horse\!9"),
            ("it's-Secret", "PW='it'\"'\"'s-Secret'", "it'\"'\"'s-Secret"),
            ("it's-Secret", "PASSWORD 'it''s-Secret'", "it''s-Secret"),
            ("Kq7\"Secret,9", "a,\"Kq7\"\"Secret,9\"", "Kq7\"\"Secret,9"),
            ("it's-Secret", r"+ echo 'it'\''s-Secret'", r"it'\''s-Secret"),
        ] {
            assert_eq!(is_in(value, text).as_deref(), Some(written), "{value} in {text}");
        }
        for text in ["100%", "%", "%2", "\\", "\\u12", "&", "&lt", "a%zz", "\\u+123", "%+1"] {
            ways(text);
        }
        assert_eq!(half_at_the_beginning(b"&am\xe2\x80\xa6"), 3);
        assert_eq!((half_at_the_beginning(b"\\x2"), half_at_the_beginning(b"am")), (3, 0));
        assert_eq!(half_at_the_end("\u{2026}mp;".as_bytes()), 3);
        let joined = in_one_line("YWJj\r\nZGVm").expect("it has two");
        assert_eq!((joined.bytes(), joined.written(2, 6)), (&b"YWJjZGVm"[..], (2, 8)));
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
