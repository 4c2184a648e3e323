//! How things look: colour only on a terminal and never against `NO_COLOR`, times for people.

use crate::args::Global;
use crate::shown::{Said, Shown};
use crate::toml_strings;
use jiff::Timestamp;
use serde::Serialize;
use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use stepback_core::UnixMs;
use stepback_core::shell::word;
use stepback_core::shown;
pub use stepback_core::shown::duration;

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

    fn paint(&self, code: &'static str, text: &(impl Said + ?Sized)) -> Shown {
        match self.coloured {
            true => text.said().painted(code),
            false => text.said(),
        }
    }

    pub fn red(&self, text: &(impl Said + ?Sized)) -> Shown {
        self.paint("31", text)
    }

    pub fn green(&self, text: &(impl Said + ?Sized)) -> Shown {
        self.paint("32", text)
    }

    pub fn yellow(&self, text: &(impl Said + ?Sized)) -> Shown {
        self.paint("33", text)
    }

    pub fn dim(&self, text: &(impl Said + ?Sized)) -> Shown {
        self.paint("2", text)
    }

    pub fn bold(&self, text: &(impl Said + ?Sized)) -> Shown {
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
        tell!("{}: the environment `{}` is a simulation; nothing in it is real", mark, environment);
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

fn options() -> &'static str {
    OPTIONS.get().map_or("", String::as_str)
}

/// Write one line to stderr, as `tell!` does. One that can't be written is lost, and nothing else
/// with it: whoever closed the pipe, or filled the disk, does not want the operation to end in its
/// middle.
pub fn tell(line: &Shown) {
    let line = line.finished(options(), Style::of_stderr().coloured);
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Write a line over the last such line, on a terminal; an empty one takes it away.
pub fn progress(line: &Shown) {
    if Style::of_stderr().terminal {
        // A terminal's *erase in line* (ECMA-48, *EL*).
        let line = line.finished(options(), false);
        let _ = write!(std::io::stderr(), "\r\u{1b}[K{line}");
    }
}

/// Write to stderr what miette drew, with colours of its own, of text that others wrote in place.
pub fn draw(text: &str) {
    // As everything that is told.
    let _ = writeln!(std::io::stderr(), "{}", shown::without_commands(text));
}

/// Whether a result could not be written.
static IS_LOST: AtomicBool = AtomicBool::new(false);

/// Whether anything that was to be printed could not be written.
pub fn is_lost() -> bool {
    IS_LOST.load(Ordering::Relaxed)
}

/// Print a result for a person; a reader that has gone away is not an error.
pub fn print(text: &Shown) {
    write(text.finished(options(), Style::of_stdout().coloured).as_bytes());
}

/// Print JSON for a script, a value in many lines. It is the same JSON, whatever in it is written
/// out (RFC 8259, *Strings*), so that it does nothing to a person, or a job, that only looks at it.
pub fn print_json(value: &impl Serialize) {
    write_json(serde_json::to_string_pretty(value));
}

/// The same in one line.
pub fn print_json_line(value: &impl Serialize) {
    write_json(serde_json::to_string(value));
}

fn write_json(json: serde_json::Result<String>) {
    match json {
        Ok(json) => {
            let json = format!("{}\n", shown::written_out(&json));
            write(shown::without_commands(&json).as_bytes());
        }
        Err(error) => lost(&error),
    }
}

/// Print a table of values (RFC 4180), in which no cell does anything, nor is a formula.
pub fn print_csv<const CELLS: usize>(
    header: [&'static str; CELLS],
    rows: impl IntoIterator<Item = [String; CELLS]>,
) {
    let how = &mut csv::WriterBuilder::new();
    let mut writer = how.quote_style(csv::QuoteStyle::Never).from_writer(vec![]);
    let mut written = writer.write_record(header);
    for row in rows {
        let row = row.map(|cell| quoted(&shown::in_cell(&cell)));
        written = written.and_then(|()| writer.write_record(row));
    }
    let bytes = written.map_err(|error| error.to_string());
    match bytes.and_then(|()| writer.into_inner().map_err(|error| error.to_string())) {
        Ok(bytes) => write(shown::without_commands(&String::from_utf8_lossy(&bytes)).as_bytes()),
        Err(error) => lost(&error),
    }
}

/// A cell in quotes where a reader may split it, also one that splits at `;`.
fn quoted(cell: &str) -> String {
    match cell.contains([',', ';', '"']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.to_owned(),
    }
}

/// Print a file of the program's own, as it is.
pub fn print_file(text: &str) {
    write(text.as_bytes());
}

/// Print TOML for a script, or for a job that has commands in what it prints. What is written out
/// stands in its strings as TOML has it; where it would be another value there, each string is
/// written in one line and in double quotes.
pub fn print_toml(text: &str) {
    let shown = |text: &str| shown::without_commands(&shown::written_out(text)).into_owned();
    let value = |text: &str| toml::from_str::<toml::Table>(text).ok();
    let mut written = shown(text);
    if value(&written) != value(text) {
        written = shown(&toml_strings::in_one_line(text));
    }
    write(written.as_bytes());
}

fn write(bytes: &[u8]) {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
    if let Err(error) = written.or_else(|error| match error.kind() {
        ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    }) {
        lost(&error);
    }
}

fn lost(error: &dyn Display) {
    IS_LOST.store(true, Ordering::Relaxed);
    tell!("error: the result could not be written: {}", error);
}

/// A time as RFC 3339 in UTC, to the millisecond.
pub fn timestamp(at: UnixMs) -> String {
    match Timestamp::from_millisecond(at.0 as i64) {
        Ok(at) => format!("{at:.3}"),
        Err(_) => at.0.to_string(),
    }
}

/// A table without lines, as terminals and greps like it.
pub struct Table(comfy_table::Table);

/// A table with these columns.
pub fn table(header: &[&'static str]) -> Table {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING).set_header(header.to_vec());
    Table(table)
}

impl Table {
    /// Only the last cell of a row may have more lines than one: what is beside it is blank then,
    /// and draws no row.
    pub fn add<const CELLS: usize>(&mut self, cells: [Shown; CELLS]) {
        let last = CELLS.saturating_sub(1);
        let cells = cells.into_iter().enumerate().map(|(index, cell)| match index < last {
            true => cell.in_row().into_cell(),
            false => cell.into_cell(),
        });
        self.0.add_row(cells.collect::<Vec<String>>());
    }

    /// As it is printed, without the end of its last line.
    pub fn shown(&self) -> Shown {
        Shown::of_cells(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_one_cell_wherever_rows_are_split() {
        let table = [("a b", "a b"), ("a;=b", "\"a;'=b\""), ("a,\"b\"", "\"a,\"\"b\"\"\"")];
        for (cell, wanted) in table {
            assert_eq!(quoted(&shown::in_cell(cell)), wanted);
        }
    }
}
