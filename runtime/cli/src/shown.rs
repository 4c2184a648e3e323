//! The one type of text that is shown to people: what others wrote passes it and does nothing.
//!
//! The program's own words are the literals of [`shown!`]. Everything that is put into them is
//! taken for somebody else's (`stepback_core::shown` has the rules), but for text that is [`Shown`]
//! already. A `Shown` comes from nowhere else, can't be displayed, and is all that `tell!`,
//! `print` and the tables take: so a place that would show a raw text does not compile.
//!
//! A command to paste, where it stands in the program's own words, has the options put in that
//! this one was given; in somebody else's it stays as it is.

use std::borrow::Cow;
use std::fmt::{self, Display, Write};
use stepback_core::expr::MARK_EDGE;
use stepback_core::shown::{
    COMMAND, in_row, marks_in_words, set_in, without_commands, written_out,
};

/// Text that does nothing where it is shown but have lines and the program's own colours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown(String);

/// Text of the program's own, `shown!("operation {} of {}", id, name)`: a literal, in which no name
/// is captured, and what stands in it.
macro_rules! shown {
    ($form:literal $(, $said:expr)* $(,)?) => {{
        #[allow(unused_imports, reason = "where nothing stands in it")]
        use $crate::shown::Said as _;
        // A literal that another macro makes captures no names.
        $crate::shown::Shown::of(format_args!(
            concat!($form) $(, $crate::shown::Inside(($said).said()))*
        ))
    }};
}

/// Something that can stand in the program's own text.
pub trait Said {
    /// As it stands there.
    fn said(&self) -> Shown;
}

/// Whatever can be displayed is somebody else's: it does nothing, and further lines are set in.
impl<T: Display + ?Sized> Said for T {
    fn said(&self) -> Shown {
        Shown(theirs(&set_in(&without_marks(&self.to_string()))))
    }
}

impl Said for Shown {
    fn said(&self) -> Shown {
        self.clone()
    }
}

/// What stands in a text, for [`shown!`] alone.
pub struct Inside(pub Shown);

impl Display for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.0)
    }
}

/// Somebody else's text as a part of one row.
pub fn row(text: impl Display) -> Shown {
    Shown(theirs(&in_row(&without_marks(&text.to_string()))))
}

/// Stands where a command would begin that is not the program's own, until it is shown.
const THEIRS: char = '\u{2}';

/// Somebody else's text, in which no command is the program's own, nor with what stands before it.
fn theirs(text: &str) -> String {
    let begins = COMMAND.trim_start_matches('`');
    let marked = text.replace(COMMAND, &format!("`{THEIRS}{begins}"));
    match text.starts_with(begins) {
        true => format!("{THEIRS}{marked}"),
        false => marked,
    }
}

/// What stands for a secret, as people read it.
fn without_marks(text: &str) -> Cow<'_, str> {
    // As JSON writes what a mark begins and ends with.
    const EDGE_IN_JSON: &str = "\\u0001";
    match text.contains(&format!("{EDGE_IN_JSON}secret:")) {
        true => {
            let text = text.replace(EDGE_IN_JSON, &MARK_EDGE.to_string());
            Cow::Owned(marks_in_words(&text, |mark| mark).into_owned())
        }
        false => marks_in_words(text, |mark| mark),
    }
}

impl Shown {
    /// For [`shown!`] alone.
    pub fn of(text: fmt::Arguments<'_>) -> Self {
        let mut shown = String::new();
        // Writing to a string can't fail, and nothing in it refuses to be displayed.
        let _ = shown.write_fmt(text);
        Self(shown)
    }

    /// A sentence of the engine's, in which a command to paste is the program's own: what others
    /// wrote in it has passed `stepback_core::shown::in_sentence`.
    pub fn advice(text: &str) -> Self {
        Self(set_in(&without_marks(text)))
    }

    /// With this behind it.
    pub fn push(&mut self, more: &Shown) {
        self.0.push_str(&more.0);
    }

    /// All of them, with this between each two.
    pub fn join(all: impl IntoIterator<Item = Shown>, between: &'static str) -> Self {
        let all: Vec<String> = all.into_iter().map(|one| one.0).collect();
        Self(all.join(between))
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In a colour, by the code of its ANSI sequence.
    pub(crate) fn painted(&self, code: &'static str) -> Self {
        Self(format!("\u{1b}[{code}m{}\u{1b}[0m", self.0))
    }

    /// In one row, as the first cells of a table are.
    pub fn in_row(&self) -> Self {
        Self(self.0.replace('\n', "\\u000a").replace('\t', "\\u0009"))
    }

    /// As a table takes it.
    pub fn into_cell(self) -> String {
        self.0
    }

    /// A table, whose cells were all [`Shown`].
    pub fn of_cells(table: &comfy_table::Table) -> Self {
        Self(table.to_string())
    }

    /// For a stream: with these options in its own commands, and colours where it has any.
    pub fn finished(&self, options: &str, is_coloured: bool) -> String {
        let whole = match options.is_empty() || !self.0.contains(COMMAND) {
            true => Cow::Borrowed(&self.0),
            false => Cow::Owned(put_in(&self.0, options)),
        };
        let whole = whole.replace(THEIRS, "");
        without_commands(&clean(&whole, is_coloured)).into_owned()
    }
}

/// The program's own words.
impl From<&'static str> for Shown {
    fn from(own: &'static str) -> Self {
        Self(own.to_owned())
    }
}

/// Somebody else's.
impl From<String> for Shown {
    fn from(text: String) -> Self {
        text.said()
    }
}

impl FromIterator<Shown> for Shown {
    fn from_iter<I: IntoIterator<Item = Shown>>(all: I) -> Self {
        Self::join(all, "")
    }
}

fn put_in(text: &str, options: &str) -> String {
    let mut parts = text.split(COMMAND);
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        whole.push_str(COMMAND.trim_end());
        // One that has a state directory of its own is for another one.
        match part.starts_with("--state") {
            true => whole.push_str(options.split(" --state").next().unwrap_or_default()),
            false => whole.push_str(options),
        }
        whole.push(' ');
        whole.push_str(part);
    }
    whole
}

/// Whatever it came by, only the colours that are put on here pass, where any are.
fn clean(text: &str, is_coloured: bool) -> String {
    const COLOURS: [&str; 6] =
        ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[2m", "\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m"];
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\u{1b}').filter(|_| is_coloured) {
        let (before, behind) = rest.split_at(at);
        shown.push_str(&written_out(before));
        let colour = COLOURS.iter().find(|colour| behind.starts_with(**colour));
        let passes = colour.map_or(0, |colour| colour.len());
        shown.push_str(&behind[..passes]);
        rest = &behind[passes..];
        if passes == 0 {
            shown.push_str(&written_out("\u{1b}"));
            rest = &rest[1..];
        }
    }
    shown.push_str(&written_out(rest));
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use stepback_core::shown::is_odd;

    fn plain(shown: &Shown) -> String {
        shown.finished("", false)
    }

    #[test]
    fn a_mark_is_in_words_within_json_too() {
        let value = serde_json::json!({ "told": "x \u{1}secret:pw#url-1\u{1} y" });
        let told = plain(&shown!("out = {}", value));
        assert!(told.contains("x <secret pw") && !told.contains("u0001"), "{told}");
    }

    #[test]
    fn what_people_read_is_told_in_their_words() {
        let table = [
            ("i-1 is \u{1}secret:pw\u{1}", "i-1 is <secret pw>"),
            ("\u{1}secret:a\u{1}\u{1}secret:b\u{1}x", "<secret a><secret b>x"),
            ("\u{1}secret:cut", "\\u0001secret:cut"),
            ("a\u{202e}b", "a\\u202eb"),
            ("a\u{2}b", "a\\u0002b"),
            ("a\noperation 1 succeeded\n", "a\n      operation 1 succeeded"),
            ("::error::x", "\\u003a:error::x"),
            ("\u{1b}[31mred", "\\u001b[31mred"),
        ];
        for (text, wanted) in table {
            assert_eq!(plain(&shown!("{}", text)), wanted);
            assert_eq!(
                shown!("{}", text).finished("", true),
                wanted,
                "nor where there are colours"
            );
        }
        assert_eq!(plain(&row("a\nb")), "a\\u000ab");
        let red = shown!("{} {}", Shown::from("a").painted("31"), "\u{1b}[32mb");
        assert_eq!(red.finished("", true), "\u{1b}[31ma\u{1b}[0m \\u001b[32mb");
        assert_eq!(plain(&shown!("{:<4}|", "a")), "a   |");
    }

    #[test]
    fn a_command_to_paste_has_the_options_that_this_one_was_given() {
        let of = |shown: Shown| shown.finished(" --state /s", false);
        assert_eq!(of(shown!("no command")), "no command");
        let both = shown!("`stepback resume {}` goes on, `stepback cancel {}` rolls it back", 1, 1);
        let wanted = "`stepback --state /s resume 1` goes on, `stepback --state /s cancel 1` rolls \
                      it back";
        assert_eq!(of(both), wanted);
        let other = shown!("`stepback --state /other resume 1`");
        assert_eq!(of(other.clone()), "`stepback --state /other resume 1`");
        assert_eq!(of(shown!("the `stepback` program")), "the `stepback` program");
        let both = other.finished(" --config c --state /s", false);
        assert_eq!(both, "`stepback --config c --state /other resume 1`");
    }

    proptest! {
        #[test]
        fn whatever_others_wrote_does_nothing(parts in prop::collection::vec(parts(), 0..16)) {
            let text = parts.concat();
            let (name, said) = (row(&text), shown!("ours: {}\nours `stepback show 1`\n", text));
            let cell = said.in_row().finished(" --option", false);
            prop_assert!(!cell.contains('\n') && !cell.contains(is_odd));
            prop_assert!(!name.finished("", true).contains('\n'));
            let said = said.finished(" --option", true);
            prop_assert!(!said.contains(is_odd), "{said:?}");
            prop_assert_eq!(said.matches("--option").count(), 1, "{}", said);
            let lines: Vec<&str> = said.trim_end_matches('\n').split('\n').collect();
            let (first, last) = (lines[0], lines[lines.len() - 1]);
            prop_assert!(first.starts_with("ours: "), "{first}");
            prop_assert!(last.starts_with("ours `stepback --option"), "{last}");
            let theirs = &lines[1..lines.len() - 1];
            prop_assert!(theirs.iter().all(|line| line.starts_with("      ")));
            for line in lines {
                prop_assert!(!line.trim_start().starts_with("::") && !line.contains("##["));
            }
        }
    }

    fn parts() -> impl Strategy<Value = String> {
        let odd = prop::sample::select(vec![
            "`stepback ",
            "`",
            "stepback ",
            "show 1`",
            "\n",
            "::error::",
            "##[",
            "\u{1b}[31m",
            "\u{1b}[2J",
            "\u{202e}",
            "\u{200b}",
            "\u{2}",
            "\u{1}secret:",
            "\u{1}",
            "\u{3000}",
            "ours: ",
            "é",
        ]);
        prop_oneof![odd.prop_map(str::to_owned), any::<char>().prop_map(String::from)]
    }

    #[test]
    fn what_somebody_else_said_stays_as_it_was_said() {
        let of = |shown: Shown| shown.finished(" --state /s", false);
        let said = "as `stepback show 9` said";
        assert_eq!(of(shown!("{}", said)), said);
        assert_eq!(of(row(said)), said);
        assert_eq!(of(Shown::from(said.to_owned())), said);
        assert_eq!(of(shown!("`{}`", "stepback show 9")), "`stepback show 9`");
        assert_eq!(of(shown!("{} {}", "`", "stepback show 9")), "` stepback show 9");
        assert_eq!(of(shown!("{}{}", "`", "stepback show 9")), "`stepback show 9");
        assert_eq!(of(Shown::advice("`stepback show 9`")), "`stepback --state /s show 9`");
    }
}
