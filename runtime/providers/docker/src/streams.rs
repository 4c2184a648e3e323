//! The two streams of a command's output, each with lines of its own.
//!
//! An engine sends what is written to them in frames that end anywhere (Docker docs, *Docker Engine
//! API*, *Attach to a container*, *Stream format*). A line of one, with a frame of the other in its
//! middle, would be a text that nobody wrote, in which no secret is known again.

use bollard::container::LogOutput;

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
