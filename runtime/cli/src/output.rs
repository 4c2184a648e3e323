//! How things look: colour only on a terminal and never against `NO_COLOR`, times for people.

use jiff::Timestamp;
use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use stepback_core::UnixMs;

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

    /// `NO_COLOR` counts when it is set to anything but nothing (no-color.org).
    fn of(terminal: bool) -> Self {
        let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
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

/// Whether a result could not be written.
static IS_LOST: AtomicBool = AtomicBool::new(false);

/// Whether anything that was to be printed could not be written.
pub fn is_lost() -> bool {
    IS_LOST.load(Ordering::Relaxed)
}

/// Print a result; a reader that has gone away is not an error.
pub fn print(text: &str) {
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

/// Foreign text that can't draw a row of its own, nor turn one around (Unicode, *Bidirectional
/// Algorithm*, explicit formatting characters).
pub fn in_row(text: &str) -> String {
    let is_odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let shown = |c: char| match is_odd(c) {
        true => format!("\\u{:04x}", c as u32),
        false => c.to_string(),
    };
    text.chars().map(shown).collect()
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
    clean(&text.replace('\n', "\n      "), style)
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
