//! How things look: colour only on a terminal and never against `NO_COLOR`, times for people.

use crate::args::Global;
use jiff::Timestamp;
use std::borrow::Cow;
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use stepback_core::UnixMs;
use stepback_core::shell::word;

/// Whether and how a stream is coloured.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    coloured: bool,
    terminal: bool,
}

impl Style {
    pub fn of_stderr() -> Self {
        Self::of(std::io::stderr().is_terminal())
    }

    pub fn of_stdout() -> Self {
        Self::of(std::io::stdout().is_terminal())
    }

    /// `NO_COLOR` counts when it is set to anything but nothing (no-color.org); a terminal called
    /// `dumb` has no colours (terminfo(5)).
    fn of(terminal: bool) -> Self {
        let is_set = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let forbidden = is_set || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { coloured: terminal && !forbidden, terminal }
    }

    pub fn is_coloured(&self) -> bool {
        self.coloured
    }

    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    fn paint(&self, code: &str, text: &str) -> String {
        match self.coloured {
            true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }

    pub fn red(&self, text: &str) -> String {
        self.paint("31", text)
    }

    pub fn green(&self, text: &str) -> String {
        self.paint("32", text)
    }

    pub fn yellow(&self, text: &str) -> String {
        self.paint("33", text)
    }

    pub fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    pub fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }
}

/// The simulated environment that this was about, if it was about one.
static SIMULATED: OnceLock<String> = OnceLock::new();

/// Say that nothing here is real, first and (see [`tell_simulated_again`]) last: a success in a
/// simulated world looks like one.
pub fn tell_simulated(environment: &str) {
    if SIMULATED.set(environment.to_owned()).is_ok() {
        tell_simulated_again();
    }
}

/// Whatever was said in between, it was about a simulated world.
pub fn tell_simulated_again() {
    if let Some(environment) = SIMULATED.get() {
        let mark = Style::of_stderr().bold("SIMULATED");
        tell!("{mark}: the environment `{environment}` is a simulation; nothing in it is real");
    }
}

/// The options that the commands told here need beside their own.
static OPTIONS: OnceLock<String> = OnceLock::new();

/// Take note of where this command was told to look: one that is told here looks there too, or it
/// would act on another operation of the same number. What a variable says is said to both.
pub fn note_options(global: &Global) {
    let said = |name: &str, path: &Path| {
        std::env::var_os(name).is_some_and(|value| Path::new(&value) == path)
    };
    let mut options = String::new();
    let given = [
        ("--config", "STEPBACK_CONFIG", &global.config),
        ("--state", "STEPBACK_STATE", &global.state),
    ];
    for (option, variable, path) in given {
        if let Some(path) = path.as_deref().filter(|path| !said(variable, path)) {
            options.push_str(&format!(" {option} {}", word(&path.display().to_string())));
        }
    }
    // It is taken note of once.
    let _ = OPTIONS.set(options);
}

/// What a person is told, each command to paste with the options that this one was given.
fn with_options(text: &str) -> Cow<'_, str> {
    match OPTIONS.get() {
        Some(options) if !options.is_empty() && text.contains(COMMAND) => {
            Cow::Owned(put_in(text, options))
        }
        _ => Cow::Borrowed(text),
    }
}

/// A line for stderr: with the options that commands need, and nothing in it does anything to the
/// terminal.
pub fn for_stderr(text: &str) -> String {
    one_line(&for_people(text), Style::of_stderr())
}

/// What a command to paste begins with.
const COMMAND: &str = "`stepback ";

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

/// Whether a result could not be written.
static IS_LOST: AtomicBool = AtomicBool::new(false);

/// Whether anything that was to be printed could not be written.
pub fn is_lost() -> bool {
    IS_LOST.load(Ordering::Relaxed)
}

/// Print a result for a person; a reader that has gone away is not an error.
pub fn print(text: &str) {
    print_data(&for_people(text));
}

/// Print a result for a script, as it is.
pub fn print_data(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let written =
        stdout.write_all(clean(text, Style::of_stdout()).as_bytes()).and_then(|()| stdout.flush());
    if let Err(error) = written.or_else(|error| match error.kind() {
        ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    }) {
        IS_LOST.store(true, Ordering::Relaxed);
        tell!("error: the result could not be written: {error}");
    }
}

/// Text that may go on over several lines, none of which looks like one of the program's.
pub fn set_in(text: &str) -> String {
    text.replace('\n', "\n      ")
}

/// Foreign text, in which no command is the program's own.
pub fn foreign(text: &str) -> Cow<'_, str> {
    match text.contains(COMMAND) {
        true => Cow::Owned(text.replace(COMMAND, &format!("`{FOREIGN}stepback "))),
        false => Cow::Borrowed(text),
    }
}

/// Stands in foreign text where a command would begin, until it is shown.
const FOREIGN: char = '\u{2}';

/// Whether a character turns text around (Unicode, *Bidirectional Algorithm*, explicit formatting
/// characters).
fn turns(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Foreign text that can't draw a row of its own, nor turn one around.
pub fn in_row(text: &str) -> String {
    foreign(&written_out(text, |c| c.is_control() || turns(c))).into_owned()
}

/// The text with such characters as JSON has them.
fn written_out(text: &str, is_odd: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match is_odd(c) {
            true => shown.push_str(&format!("\\u{:04x}", c as u32)),
            false => shown.push(c),
        }
    }
    shown
}

/// A text whose places stay where they are, with nothing in it that a terminal acts on.
pub fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => shown.push(c),
            '\r' => shown.push(' '),
            c if c.is_control() || turns(c) => shown.push_str(&"?".repeat(c.len_utf8())),
            c => shown.push(c),
        }
    }
    shown
}

/// What stands for a secret, as people read it, and nothing that turns their text around.
fn for_people(text: &str) -> String {
    const MARK: &str = "\u{1}secret:";
    let mut parts = text.split(MARK);
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once('\u{1}') {
            Some((name, rest)) => shown.push_str(&format!("<secret {name}>{rest}")),
            None => shown.push_str(&format!("{MARK}{part}")),
        }
    }
    with_options(&written_out(&shown, turns)).replace(FOREIGN, "")
}

/// What a person is shown does nothing to the terminal: a control character of a name or of what a
/// command printed is written out, and only the colours that are put on here pass, where any are.
fn clean(text: &str, style: Style) -> String {
    const COLOURS: [&str; 6] = ["[0m", "[1m", "[2m", "[31m", "[32m", "[33m"];
    let mut shown = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let is_colour =
            || style.coloured && COLOURS.iter().any(|colour| rest.as_str().starts_with(colour));
        match c {
            '\n' | '\t' => shown.push(c),
            '\u{1b}' if is_colour() => shown.push(c),
            // As JSON has it, which may be what is printed.
            c if c.is_control() => shown.push_str(&format!("\\u{:04x}", c as u32)),
            c => shown.push(c),
        }
    }
    shown
}

/// One line for the terminal: what goes on over several is set in, so that none of it looks like a
/// line of the program's own.
pub fn one_line(text: &str, style: Style) -> String {
    clean(&set_in(text), style)
}

/// Milliseconds as people say them: `850 ms`, `2.4 s`, `3 min 20 s`.
pub fn duration(ms: u64) -> String {
    match ms {
        0..=999 => format!("{ms} ms"),
        1_000..=59_999 => format!("{:.1} s", ms as f64 / 1000.0),
        60_000..=3_599_999 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1000),
        _ => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

/// A time as RFC 3339 in UTC, to the millisecond.
pub fn timestamp(at: UnixMs) -> String {
    match Timestamp::from_millisecond(at.0 as i64) {
        Ok(at) => format!("{at:.3}"),
        Err(_) => at.0.to_string(),
    }
}

/// A table without lines, as terminals and greps like it.
pub fn table(header: &[&str]) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING).set_header(header.to_vec());
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_read_is_told_in_their_words() {
        let table = [
            ("i-1 is \u{1}secret:pw\u{1}", "i-1 is <secret pw>"),
            ("\u{1}secret:a\u{1}\u{1}secret:b\u{1}x", "<secret a><secret b>x"),
            ("\u{1}secret:cut", "\u{1}secret:cut"),
            ("a\u{202e}b", "a\\u202eb"),
        ];
        for (text, wanted) in table {
            assert_eq!(for_people(text), wanted);
        }
        let odd = "a\u{1b}[2J\u{9b}b\u{202e}\r\n";
        assert_eq!(harmless(odd), "a?[2J??b??? \n");
        assert_eq!(harmless(odd).len(), odd.len());
    }

    #[test]
    fn a_command_to_paste_has_the_options_that_this_one_was_given() {
        let table = [
            ("no command", "no command"),
            (
                "`stepback resume 1` goes on, `stepback cancel 1` rolls it back",
                "`stepback --state /s resume 1` goes on, `stepback --state /s cancel 1` rolls it \
                 back",
            ),
            ("`stepback --state /other resume 1`", "`stepback --state /other resume 1`"),
            ("the `stepback` program", "the `stepback` program"),
        ];
        for (text, wanted) in table {
            assert_eq!(put_in(text, " --state /s"), wanted);
        }
        let other = put_in("`stepback --state /other resume 1`", " --config c --state /s");
        assert_eq!(other, "`stepback --config c --state /other resume 1`");
        // What somebody else said stays as it was said.
        let said = "as `stepback show 9` said";
        assert_eq!(put_in(&in_row(said), " --state /s").replace(FOREIGN, ""), said);
    }
}
