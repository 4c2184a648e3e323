//! The two streams of a command's output, each with lines of its own.
//!
//! An engine sends what is written to them in frames that end anywhere (Docker docs, *Docker Engine
//! API*, *Attach to a container*, *Stream format*). A line of one, with a frame of the other in its
//! middle, would be a text that nobody wrote, in which no secret is known again.

use bollard::container::LogOutput;
use std::collections::VecDeque;
use stepback_core::calls::bounds::ANSWER_BYTES_MAX;
use stepback_core::cut::CUT;

/// An engine breaks a longer line into records of so much (moby/moby, *daemon/logger/copier.go*).
const RECORD_BYTES: usize = 16 << 10;

/// Which of them; what a terminal prints is one stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Stream {
    Out,
    Err,
}

/// The line of each that has not ended yet.
#[derive(Debug, Default)]
pub(super) struct Lines {
    out: Vec<u8>,
    err: Vec<u8>,
}

impl Lines {
    /// The stream that a frame is of.
    pub(super) fn stream_of(frame: &LogOutput) -> Stream {
        match frame {
            LogOutput::StdErr { .. } => Stream::Err,
            LogOutput::StdOut { .. } | LogOutput::StdIn { .. } | LogOutput::Console { .. } => {
                Stream::Out
            }
        }
    }

    /// The line of a stream so far.
    pub(super) fn of(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        }
    }

    /// What has begun and not ended, where nothing more comes.
    pub(super) fn unended(self) -> impl Iterator<Item = Vec<u8>> {
        [self.out, self.err].into_iter().filter(|line| !line.is_empty())
    }
}

/// What a container printed last, of which an engine tells so many records: a line may be several
/// of them, so that the first of a stream may be the end of a line.
pub(super) struct Printed {
    records_max: usize,
    /// Whether what came before may be gone.
    rotates: bool,
    records: VecDeque<(Stream, Vec<u8>)>,
    bytes: usize,
    told: usize,
    is_terminal: bool,
    /// By stream, whether what comes next begins a line, as far as anybody knows.
    out_begins: Option<bool>,
    err_begins: Option<bool>,
}

impl Printed {
    /// Of one record more than these.
    pub(super) fn new(records_max: usize, rotates: bool) -> Self {
        Self {
            records_max,
            rotates,
            records: VecDeque::new(),
            bytes: 0,
            told: 0,
            is_terminal: false,
            out_begins: None,
            err_begins: None,
        }
    }

    /// The next record; of what is more than an answer holds the last ones are kept.
    pub(super) fn take(&mut self, record: LogOutput) {
        self.is_terminal |= matches!(record, LogOutput::Console { .. });
        let (stream, text) = (Lines::stream_of(&record), record.into_bytes().to_vec());
        self.bytes += text.len();
        self.told += 1;
        self.records.push_back((stream, text));
        while self.bytes > 2 * ANSWER_BYTES_MAX && self.records.len() > 1 {
            self.leave_out_first();
        }
    }

    fn leave_out_first(&mut self) {
        let Some((stream, text)) = self.records.pop_front() else { return };
        self.bytes -= text.len();
        let begins = Some(text.ends_with(b"\n"));
        match stream {
            Stream::Out => self.out_begins = begins,
            Stream::Err => self.err_begins = begins,
        }
    }

    /// Whether it is all that was printed. A terminal's records can't be told apart.
    fn is_all(&self) -> bool {
        let ended = || self.records.iter().flat_map(|(_, text)| text);
        let is_whole = match self.is_terminal {
            true => {
                let lines = ended().filter(|byte| **byte == b'\n').count();
                lines <= self.records_max && self.bytes < RECORD_BYTES
            }
            false => self.told <= self.records_max,
        };
        is_whole && !self.rotates
    }

    /// Whether the first record is the one that was asked for beside the others.
    fn has_one_more(&self) -> bool {
        let is_first = self.out_begins.is_none() && self.err_begins.is_none();
        !self.is_terminal && is_first && self.told > self.records_max
    }

    /// All lines, in the order in which they ended; one whose beginning may be missing says so.
    pub(super) fn text(mut self) -> String {
        if self.is_all() {
            (self.out_begins, self.err_begins) = (Some(true), Some(true));
        } else if self.has_one_more() {
            self.leave_out_first();
        }
        let (mut lines, mut text) = (Lines::default(), vec![]);
        for (stream, record) in std::mem::take(&mut self.records) {
            let begins = match stream {
                Stream::Out => &mut self.out_begins,
                Stream::Err => &mut self.err_begins,
            };
            let line = lines.of(stream);
            if !begins.unwrap_or(false) {
                line.extend_from_slice(CUT.encode_utf8(&mut [0; 4]).as_bytes());
            }
            *begins = Some(true);
            line.extend(record);
            if let Some(end) = line.iter().rposition(|byte| *byte == b'\n') {
                text.extend(line.drain(..=end));
            }
        }
        for line in lines.unended() {
            if !text.is_empty() && !text.ends_with(b"\n") {
                text.push(b'\n');
            }
            text.extend(line);
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(text: &str) -> LogOutput {
        LogOutput::StdOut { message: text.to_owned().into() }
    }

    fn err(text: &str) -> LogOutput {
        LogOutput::StdErr { message: text.to_owned().into() }
    }

    #[test]
    fn a_line_whose_beginning_may_be_missing_says_so() {
        for (records_max, rotates, records, wanted) in [
            (3, false, vec![out("a\n"), out("b\n")], "a\nb\n"),
            (3, true, vec![out("a\n"), err("b\n"), out("c\n")], "…a\n…b\nc\n"),
            // The one more ends a line, or does not.
            (1, false, vec![out("a\n"), out("b\n")], "b\n"),
            (1, false, vec![out("a"), out("cret\n")], "…cret\n"),
            // Nobody knows how the other stream's last record ended.
            (2, false, vec![out("a\n"), out("b\n"), err("cret\n")], "b\n…cret\n"),
            (2, false, vec![out("a\n"), out("b"), err("c\n")], "…c\nb"),
        ] {
            let mut printed = Printed::new(records_max, rotates);
            records.iter().for_each(|record| printed.take(record.clone()));
            assert_eq!(printed.text(), wanted, "{records_max} {rotates} {records:?}");
        }
    }

    #[test]
    fn a_terminals_records_can_t_be_told_apart() {
        let text = |lines: usize, length: usize| {
            let mut printed = Printed::new(3, false);
            let message = format!("{}\n", "x".repeat(length)).repeat(lines).into();
            printed.take(LogOutput::Console { message });
            printed.text()
        };
        assert_eq!(text(2, 1), "x\nx\n");
        assert!(text(4, 1).starts_with(CUT));
        assert!(text(1, RECORD_BYTES).starts_with(CUT));
    }
}
