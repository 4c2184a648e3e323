//! Cutting a text that is too long, so that it can be seen where.
//!
//! Whoever takes secrets out of texts gets many of them cut. A piece of a secret is known by the
//! mark beside it, so nothing from outside is cut in another way than by these.

/// What stands where a text was cut.
pub const CUT: char = '…';

/// The beginning of a text: so many bytes at most, and the mark if that is not all of it.
///
/// ```
/// use stepback_core::cut::beginning;
/// assert_eq!(beginning("aéé", 5), "aéé");
/// assert_eq!(beginning("aéé", 4), "aé…");
/// ```
pub fn beginning(text: &str, bytes_max: usize) -> String {
    match text.len() > bytes_max {
        true => format!("{}{CUT}", &text[..text.floor_char_boundary(bytes_max)]),
        false => text.to_owned(),
    }
}

/// The beginning of what was read of a text that is longer; nothing is left of a character that
/// was not read to its end.
pub fn beginning_of_bytes(bytes: &[u8], bytes_max: usize) -> String {
    // A byte that is none of a character becomes three, so a text that is too long stays so.
    beginning(&String::from_utf8_lossy(bytes), bytes_max)
}

/// The end of a text: so many bytes at most, after the mark if that is not all of it.
///
/// ```
/// use stepback_core::cut::end;
/// assert_eq!(end("éé", 3), "…é");
/// ```
pub fn end(text: &str, bytes_max: usize) -> String {
    match text.len() > bytes_max {
        true => format!("{CUT}{}", &text[text.ceil_char_boundary(text.len() - bytes_max)..]),
        false => text.to_owned(),
    }
}

/// The end of a text whose beginning was not kept: of the first character only its last bytes may
/// be left.
pub fn end_of_bytes(bytes: &[u8]) -> String {
    let goes_on = |byte: &&u8| **byte & 0b1100_0000 == 0b1000_0000;
    let broken = bytes.iter().take(3).take_while(goes_on).count();
    format!("{CUT}{}", String::from_utf8_lossy(&bytes[broken..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_between_characters_and_marked() {
        for at in 0..9 {
            let text = "aé€🦀";
            let (kept, bytes) = (beginning(text, at), &text.as_bytes()[..=at]);
            assert_eq!(beginning_of_bytes(bytes, at), kept);
            assert!(text.starts_with(kept.strip_suffix(CUT).expect("a mark")));
            let kept = end_of_bytes(&text.as_bytes()[at..]);
            assert!(text.ends_with(kept.strip_prefix(CUT).expect("a mark")));
        }
    }
}
