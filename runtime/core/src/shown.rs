//! What a text of somebody else may do where it is shown: nothing.
//!
//! Plugins, containers, providers, names and journals hold whatever somebody wrote. On its way to
//! a person each such text passes these rules, and on its way to a script none of them changes a
//! value: what is written out is written as JSON does it, so that JSON stays the same JSON.
//!
//! Written out text is for reading. It is the same when it passes again, so a text that had
//! `\u001b` in it, in letters, reads like one that had the character: who must tell them apart
//! asks for JSON.

use crate::expr::MARK_EDGE;
use std::borrow::Cow;
use std::fmt::Write;
use std::ops::Range;

/// What stands for a value that may be somebody's password.
pub const MASK: &str = "***";

/// The same text, as long and with the same places, with a star for each byte in these ranges of
/// what is neither a quote nor a line's end.
pub fn with_stars(text: &str, mut hidden: Vec<Range<usize>>) -> String {
    hidden.sort_by_key(|range| range.start);
    let (mut drawn, mut at) = (String::with_capacity(text.len()), 0);
    for range in hidden {
        // One within another is hidden already.
        let (begins, ends) = (range.start.max(at), range.end.max(at));
        drawn.push_str(&text[at..begins]);
        let star = |c: char| match ['"', '\'', '\n', '\r'].contains(&c) {
            true => c.to_string(),
            false => "*".repeat(c.len_utf8()),
        };
        drawn.extend(text[begins..ends].chars().map(star));
        at = ends;
    }
    drawn.push_str(&text[at..]);
    drawn
}

/// What the second and each further line of a text begins with.
const SET_IN: &str = "\n      ";

/// Milliseconds as people say them: `850 ms`, `2.4 s`, `3 min 20 s`.
pub fn duration(ms: u64) -> String {
    match ms {
        0..=999 => format!("{ms} ms"),
        1_000..=59_999 => format!("{:.1} s", ms as f64 / 1000.0),
        60_000..=3_599_999 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1000),
        _ => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

/// Whether a character does something, or can't be seen, where a person reads it: a control
/// character (C0, DEL and C1) but the end of a line and the tab; a mark that turns text around
/// (Unicode, *Bidirectional Algorithm*, explicit formatting characters); what is drawn as nothing,
/// and what ends a line or a paragraph (The Unicode Standard, *Default_Ignorable_Code_Point*, with
/// what is kept free for it, and *Format*, but for the signs of Arabic, Syriac, Kaithi and
/// hieroglyphs, which are drawn). Marks that combine, and what selects a variation, are parts of
/// what is written.
pub fn is_odd(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        // Soft hyphen, Arabic letter mark, Mongolian vowel separator.
        '\u{ad}' | '\u{61c}' | '\u{180e}' => true,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => true,
        // Letters that are not there: of Hangul, and two inherent vowels of Khmer.
        '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{17b4}' | '\u{17b5}' => true,
        // The byte order mark, annotations, and what is kept free for more of the kind.
        '\u{feff}' | '\u{fff0}'..='\u{fffb}' => true,
        // What guides shorthand and musical notes.
        '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' => true,
        // The tags that spell hidden text, and what is kept free beside them and the variations.
        '\u{e0000}'..='\u{e00ff}' | '\u{e01f0}'..='\u{e0fff}' => true,
        c => c.is_control(),
    }
}

/// What a mark of a secret begins with.
const MARK_BEGINS: &str = "\u{1}secret:";

/// What the handle of a secret begins with, which a step has in place of its value.
pub const HANDLE_BEGINS: &str = "stepback-secret-";
/// So many digits are behind that.
const HANDLE_DIGITS: usize = 32;

/// The beginning of a text that was cut, without the part of a mark or a handle that it may end
/// with: a whole one is said in words.
pub fn without_half_a_mark(cut: &str) -> &str {
    let cut = match cut.rsplit_once(HANDLE_BEGINS) {
        Some((before, digits))
            if digits.len() < HANDLE_DIGITS
                && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) =>
        {
            before
        }
        _ => cut,
    };
    let mut rest = cut;
    while let Some(at) = rest.find(MARK_BEGINS) {
        let begins = cut.len() - rest.len() + at;
        match rest[at + MARK_BEGINS.len()..].split_once(MARK_EDGE) {
            Some((_, after)) => rest = after,
            None => return &cut[..begins],
        }
    }
    let half = (1..MARK_BEGINS.len()).find(|bytes| rest.ends_with(&MARK_BEGINS[..*bytes]));
    &cut[..cut.len() - half.unwrap_or_default()]
}

/// The text with what stands for a secret in words, `<secret pw>`: each is called as `called` says
/// of what the mark has of it.
pub fn marks_in_words<'a>(text: &'a str, called: impl Fn(&str) -> &str) -> Cow<'a, str> {
    if !text.contains(MARK_BEGINS) {
        return Cow::Borrowed(text);
    }
    let (mut said, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find(MARK_BEGINS) {
        let Some((mark, after)) = rest[at + MARK_BEGINS.len()..].split_once(MARK_EDGE) else {
            break;
        };
        said.push_str(&format!("{}<secret {}>", &rest[..at], called(mark)));
        rest = after;
    }
    said.push_str(rest);
    Cow::Owned(said)
}

/// The text with each odd character as JSON has it: `\u202e`.
pub fn written_out(text: &str) -> Cow<'_, str> {
    each_as_json(text, is_odd)
}

/// The text as a part of one row: the ends of its lines, and tabs, are written out, too.
pub fn in_row(text: &str) -> Cow<'_, str> {
    each_as_json(text, |c| matches!(c, '\n' | '\t') || is_odd(c))
}

fn each_as_json(text: &str, is_odd: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_odd) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match is_odd(c) {
            true => as_json(c, &mut shown),
            false => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// Beyond U+FFFF that is two of them (RFC 8259, *Strings*).
fn as_json(c: char, to: &mut String) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        // Writing to a string can't fail.
        let _ = write!(to, "\\u{unit:04x}");
    }
}

/// The text, whose first line may stand behind something, with each further line set in, so that
/// none begins like one of the program's. What ends it is left out.
pub fn set_in(text: &str) -> String {
    let text = text.trim_end_matches(['\n', '\r']).replace("\r\n", "\n");
    written_out(&text).replace('\n', SET_IN)
}

/// The text with a mark for each byte that does something, so that places in it stay where they
/// are: what is drawn with marks below it.
pub fn in_place(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match is_odd(c) {
            true if c == '\r' => shown.push(' '),
            true => shown.push_str(&"?".repeat(c.len_utf8())),
            false => shown.push(c),
        }
    }
    let mut whole = String::with_capacity(shown.len());
    behind_hashes(&shown, "?", &mut whole);
    whole
}

/// The words that a job of GitHub, Azure Pipelines or TeamCity obeys behind `##`, in any place of
/// a line (actions/runner, `ActionCommand.TryParse`; Azure Pipelines docs, *Logging commands*;
/// TeamCity docs, *Service messages*).
const OBEYED: [&str; 3] = ["[", "vso[", "teamcity["];

/// Whole lines in which no job finds a command: `::` at the beginning of one, with any space
/// before it, is GitHub's (actions/runner, `ActionCommand.TryParseV2`), and `##[` is anywhere.
pub fn without_commands(lines: &str) -> Cow<'_, str> {
    let begins = |line: &str| line.trim_start().starts_with("::");
    if !lines.contains("##") && !lines.split('\n').any(begins) {
        return Cow::Borrowed(lines);
    }
    let mut shown = String::with_capacity(lines.len() + 16);
    for (index, line) in lines.split('\n').enumerate() {
        if index > 0 {
            shown.push('\n');
        }
        match line.trim_start().strip_prefix(':').filter(|rest| rest.starts_with(':')) {
            Some(rest) => {
                let space = &line[..line.len() - rest.len() - 1];
                shown.push_str(space);
                as_json(':', &mut shown);
                behind_hashes(rest, HASH, &mut shown);
            }
            None => behind_hashes(line, HASH, &mut shown),
        }
    }
    Cow::Owned(shown)
}

/// `#`, written out.
const HASH: &str = "\\u0023";

/// A text, with another sign for the second `#` before such a word.
fn behind_hashes(line: &str, sign: &str, to: &mut String) {
    let mut rest = line;
    while let Some(at) = rest.find("##") {
        let (before, behind) = rest.split_at(at + 1);
        to.push_str(before);
        let is_obeyed = OBEYED.iter().any(|word| begins_with(&behind[1..], word));
        match is_obeyed {
            true => {
                to.push_str(sign);
                rest = &behind[1..];
            }
            false => rest = behind,
        }
    }
    to.push_str(rest);
}

/// Whatever its letters' size.
fn begins_with(text: &str, word: &str) -> bool {
    text.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word))
}

/// A cell of a table of values: in one row, and no formula to a program that opens it (OWASP, *CSV
/// Injection*), also where that one splits rows at `;`: then quotes that do not begin the row
/// keep nothing together.
pub fn in_cell(text: &str) -> String {
    let plain = |text: &str| {
        let begin = text.trim_start_matches([' ', '"']);
        let is_formula = begin.starts_with(['=', '+', '-', '@', '\t', '\r']);
        let quote = if is_formula { "'" } else { "" };
        format!("{quote}{}", in_row(text))
    };
    text.split(';').map(plain).collect::<Vec<_>>().join(";")
}

/// What a command to paste begins with, which the program puts its own options into.
pub const COMMAND: &str = "`stepback ";

/// What somebody else said, within a sentence of the program's that may have a command to paste:
/// none begins in it, nor with what stands before it.
pub fn in_sentence(said: &str) -> Cow<'_, str> {
    let begins = COMMAND.trim_start_matches('`');
    if !said.contains(COMMAND) && !said.starts_with(begins) {
        return Cow::Borrowed(said);
    }
    let marked = said.replace(COMMAND, &format!("\\u0060{begins}"));
    Cow::Owned(match marked.strip_prefix('s') {
        Some(rest) if marked.starts_with(begins) => format!("\\u0073{rest}"),
        _ => marked,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "déjà, e\u{301}, 東京, שלום, किताब, 🦀, ❤\u{fe0f}, a\tb, 3 # 4 ## 5, a::b";

    #[test]
    fn what_people_write_stays_as_it_is() {
        assert_eq!(written_out(GOOD), GOOD);
        assert_eq!(set_in(GOOD), GOOD);
        assert_eq!(in_place(GOOD), GOOD);
        assert_eq!(without_commands(GOOD), GOOD);
        assert_eq!(in_cell("a = b"), "a = b");
        assert_eq!(in_cell("a; b;c-d"), "a; b;c-d");
    }

    #[test]
    fn what_does_something_is_written_out() {
        let table = [
            ("\u{1b}[2J\u{9b}m\u{7f}\0", "\\u001b[2J\\u009bm\\u007f\\u0000"),
            ("\u{202e}\u{2066}\u{61c}", "\\u202e\\u2066\\u061c"),
            ("a\u{200b}b\u{2060}\u{feff}", "a\\u200bb\\u2060\\ufeff"),
            ("\u{2028}\u{2029}\r", "\\u2028\\u2029\\u000d"),
            ("\u{e0041}", "\\udb40\\udc41"),
            ("\u{115f}\u{1160}\u{3164}\u{ffa0}", "\\u115f\\u1160\\u3164\\uffa0"),
            ("\u{17b4}\u{fff0}", "\\u17b4\\ufff0"),
            ("\u{1bca0}\u{1d173}", "\\ud82f\\udca0\\ud834\\udd73"),
            ("\u{e0080}\u{e0fff}", "\\udb40\\udc80\\udb43\\udfff"),
        ];
        for (text, wanted) in table {
            assert_eq!(written_out(text), wanted);
            let json: String = serde_json::from_str(&format!("\"{wanted}\"")).expect("JSON");
            assert_eq!(json, text, "a script reads the very text");
        }
    }

    #[test]
    fn further_lines_are_set_in() {
        let table = [
            ("a\nb", "a\n      b"),
            ("a\r\nb\r\n\n", "a\n      b"),
            ("\noperation 1 succeeded", "\n      operation 1 succeeded"),
            ("a\rb", "a\\u000db"),
        ];
        for (text, wanted) in table {
            assert_eq!(set_in(text), wanted);
        }
        assert_eq!(in_row("a\tb\nc"), "a\\u0009b\\u000ac");
    }

    #[test]
    fn no_job_finds_a_command() {
        let table = [
            ("::error::x", "\\u003a:error::x"),
            ("a\n \u{3000}::error::x", "a\n \u{3000}\\u003a:error::x"),
            ("::::x", "\\u003a:::x"),
            ("a ##[error]x", "a #\\u0023[error]x"),
            ("##vso[a]##[b]", "#\\u0023vso[a]#\\u0023[b]"),
            ("###[a]", "##\\u0023[a]"),
            ("##VSO[a]", "#\\u0023VSO[a]"),
            ("##teamcity[a]", "#\\u0023teamcity[a]"),
            ("## a [b]", "## a [b]"),
            ("at ::1, a::b", "at ::1, a::b"),
        ];
        for (text, wanted) in table {
            assert_eq!(without_commands(text), wanted);
            assert_eq!(without_commands(wanted), wanted);
        }
    }

    #[test]
    fn a_cell_is_no_formula() {
        let table = [
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@a", "'@a"),
            ("\t=1", "'\\u0009=1"),
            ("\r=1", "'\\u000d=1"),
            (" =1", "' =1"),
            ("a=1", "a=1"),
            ("a\n=1", "a\\u000a=1"),
        ];
        for (text, wanted) in table {
            assert_eq!(in_cell(text), wanted);
        }
    }

    #[test]
    fn no_command_begins_in_what_somebody_else_said() {
        let table = [
            ("as `stepback show 1` said", "as \\u0060stepback show 1` said"),
            ("stepback show 1", "\\u0073tepback show 1"),
            ("a `b` of stepback 1", "a `b` of stepback 1"),
        ];
        for (said, wanted) in table {
            assert_eq!(in_sentence(said), wanted);
            assert!(!format!("`{}", in_sentence(said)).contains(COMMAND));
        }
    }

    /// What ends a mark may stand before letters like those that begin one.
    #[test]
    fn marks_are_said_and_halves_are_left_out() {
        const MARK: &str = "\u{1}secret:pw#1\u{1}";
        fn name(mark: &str) -> &str {
            mark.split('#').next().unwrap_or_default()
        }
        let text = "a\u{1}secret:pw#1\u{1}secret:b\u{1}secret:c";
        assert_eq!(marks_in_words(text, name), "a<secret pw>secret:b\u{1}secret:c");
        let text = format!("{MARK}secret:{MARK}b");
        for bytes in 0..=text.len() {
            let kept = without_half_a_mark(&text[..bytes]);
            let said = marks_in_words(kept, name);
            assert!(!said.contains([MARK_EDGE, '#']), "{bytes}: {said:?}");
        }
    }

    #[test]
    fn of_a_handle_that_was_cut_no_digit_is_left() {
        let whole = format!("a {HANDLE_BEGINS}{}", "0f".repeat(16));
        assert_eq!(without_half_a_mark(&whole), whole);
        assert_eq!(without_half_a_mark(&whole[..whole.len() - 1]), "a ");
        assert_eq!(
            without_half_a_mark("a stepback-secret-of-the-week"),
            "a stepback-secret-of-the-week"
        );
    }

    #[test]
    fn places_stay_where_they_are() {
        let odd = "a\u{1b}[2J\u{9b}b\u{202e}\u{200b}\r\n";
        assert_eq!(in_place(odd), "a?[2J??b?????? \n");
        assert_eq!(in_place(odd).len(), odd.len());
        assert_eq!(in_place("a ##[error]b"), "a #?[error]b");
    }

    /// Any text, rich in what does something.
    fn texts() -> impl Strategy<Value = String> {
        let odd = prop::sample::select(vec![
            "::",
            "##[",
            "##vso[",
            "#",
            ":",
            "\n",
            "\r\n",
            "\r",
            "\t",
            " ",
            "\u{1b}[2J",
            "\u{9b}",
            "\u{202e}",
            "\u{61c}",
            "\u{200b}",
            "\u{2028}",
            "\u{feff}",
            "\u{3000}",
            "\\u001b",
            "é",
            "🦀",
            "operation 1 succeeded",
            "=",
        ]);
        let any = prop_oneof![odd.prop_map(str::to_owned), any::<char>().prop_map(String::from)];
        prop::collection::vec(any, 0..24).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn nothing_odd_is_left(text in texts()) {
            for shown in [set_in(&text), in_place(&text), in_row(&text).into_owned()] {
                prop_assert!(!shown.contains(is_odd), "{shown:?}");
            }
            prop_assert!(set_in(&text).split('\n').skip(1).all(|line| line.starts_with("      ")));
            prop_assert!(!in_row(&text).contains(['\n', '\t']));
            prop_assert_eq!(in_place(&text).len(), text.len());
            let whole = without_commands(&text).into_owned();
            for line in whole.split('\n') {
                prop_assert!(!line.trim_start().starts_with("::") && !line.contains("##["));
                prop_assert!(!line.to_lowercase().contains("##vso["), "{line:?}");
            }
        }

        #[test]
        fn what_passed_passes_again_as_it_is(text in texts()) {
            let pass = |text: &str| without_commands(&written_out(text)).into_owned();
            let once = pass(&text);
            prop_assert_eq!(pass(&once), once.clone());
            let row = in_row(&text).into_owned();
            prop_assert_eq!(in_row(&row), row.clone());
        }

        #[test]
        fn a_script_reads_the_very_text(text in texts()) {
            let json = serde_json::to_string(&text).expect("a string");
            let shown = without_commands(&written_out(&json)).into_owned();
            prop_assert_eq!(serde_json::from_str::<String>(&shown).expect("JSON"), text);
        }
    }
}
