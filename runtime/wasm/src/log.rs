//! A guest's way to the log: bounded per line and per attempt, and harmless on a terminal.
//!
//! No watch counts what the host does here, so that is bounded as well: a blank line costs what any
//! line costs, a line is cut before anything else is done with it, and once the budget is used up
//! a text is not looked at.

use crate::limits::Limits;
use crate::port::{HostPort, LogLevel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use stepback_core::cut::CUT;
use stepback_core::shown::{marks_in_words, without_half_a_mark};

/// What a line costs beside its text, so that short lines are bounded too.
const LINE_OVERHEAD_BYTES: usize = 32;

/// The log of one guest; all clones share its budget.
#[derive(Clone)]
pub(crate) struct GuestLog {
    port: Arc<dyn HostPort>,
    line_bytes_max: usize,
    budget: Arc<Mutex<Budget>>,
}

struct Budget {
    bytes_max: usize,
    bytes_left: usize,
    noticed: bool,
}

impl GuestLog {
    pub(crate) fn new(port: Arc<dyn HostPort>, limits: &Limits) -> Self {
        let bytes_max = limits.log_bytes_max;
        let budget = Budget { bytes_max, bytes_left: bytes_max, noticed: false };
        Self {
            port,
            line_bytes_max: limits.log_line_bytes_max,
            budget: Arc::new(Mutex::new(budget)),
        }
    }

    /// Passes on what the guest says, each line of it by itself.
    pub(crate) fn say(&self, level: LogLevel, text: &str) {
        if self.is_used_up() {
            return;
        }
        for line in text.lines() {
            match self.admit(line) {
                Some(line) if line.trim().is_empty() => {}
                Some(line) => self.port.log(level, line),
                None => return,
            }
        }
    }

    /// Passes on how far something is.
    pub(crate) fn progress(&self, text: &str, done: u64, total: Option<u64>) {
        if self.is_used_up() {
            return;
        }
        let line = text.lines().next().unwrap_or_default();
        if let Some(line) = self.admit(line) {
            self.port.progress(line, done, total);
        }
    }

    /// Whether nothing more passes.
    pub(crate) fn is_used_up(&self) -> bool {
        self.budget().noticed
    }

    fn budget(&self) -> MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The line as it may pass, if the budget lets it.
    fn admit(&self, line: &str) -> Option<String> {
        let line = cut(line, self.line_bytes_max);
        let mut budget = self.budget();
        let cost = line.len() + LINE_OVERHEAD_BYTES;
        if !budget.noticed && cost <= budget.bytes_left {
            budget.bytes_left -= cost;
            return Some(line);
        }
        if !std::mem::replace(&mut budget.noticed, true) {
            let limit_kib = budget.bytes_max >> 10;
            drop(budget);
            let notice = format!(
                "the plugin logs too much: what it says after {limit_kib} KiB is dropped until \
                 this attempt ends"
            );
            self.port.log(LogLevel::Warn, notice);
        }
        None
    }
}

/// A guest's text as it may be kept and shown: at most `bytes_max` bytes and an ellipsis, and no
/// character that would move a terminal's cursor or change its colours.
pub(crate) fn cut(text: &str, bytes_max: usize) -> String {
    let is_cut = text.len() > bytes_max;
    let text = match is_cut {
        true => without_half_a_mark(&text[..text.floor_char_boundary(bytes_max)]),
        false => text,
    };
    // A guest has a mark from an answer, and no call takes it: its name is all that is of use.
    let text =
        marks_in_words(text, |mark| mark.split(['#', '<', '>', '~']).next().unwrap_or_default());
    text.chars().map(harmless).chain(is_cut.then_some(CUT)).collect()
}

/// Control characters but the end of a line become a space or the mark of what can't be shown;
/// so do the ones that turn the direction of writing, which make a text read as another.
fn harmless(character: char) -> char {
    match character {
        '\n' => '\n',
        '\t' | '\r' => ' ',
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
        control if control.is_control() => char::REPLACEMENT_CHARACTER,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_is_cut_between_characters_and_says_so() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "abc…");
        assert_eq!(cut("aéé", 2), "a…");
    }

    #[test]
    fn what_stands_for_a_secret_is_said() {
        let text = "a\u{1}secret:pw\u{1}b\u{1}secret:key#1<9#ab\u{1}\u{1}c";
        assert_eq!(cut(text, 99), "a<secret pw>b<secret key>\u{fffd}c");
        assert_eq!(cut("\u{1}secret:pw", 99), "\u{fffd}secret:pw");
    }

    /// A mark takes longer to read than to skip, and a guest may say millions of them. Of one that
    /// is cut nothing is left.
    #[test]
    fn what_is_cut_off_is_not_read() {
        let two = "\u{1}secret:pw\u{1}\u{1}secret:pw\u{1}";
        assert_eq!(cut(two, two.len() - 1), "<secret pw>…");
    }

    #[test]
    fn nothing_moves_the_terminals_cursor() {
        let shown = cut("a\u{1b}[2Jb\rc\td\u{202e}e\nf\u{9b}g", 99);
        assert_eq!(shown, "a\u{fffd}[2Jb c d\u{fffd}e\nf\u{fffd}g");
    }
}
