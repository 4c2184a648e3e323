//! What a guest prints becomes lines of its log.

use crate::log::GuestLog;
use crate::port::LogLevel;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

/// What a guest may print in one call of its stream.
const PRINT_BYTES_MAX: usize = 64 << 10;

/// Standard output or standard error.
#[derive(Clone)]
pub(super) struct Printer {
    log: GuestLog,
    level: LogLevel,
}

impl Printer {
    pub(super) fn new(log: GuestLog, level: LogLevel) -> Self {
        Self { log, level }
    }
}

impl IsTerminal for Printer {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Printer {
    /// Only WASI 0.3 asks for this one, which is not linked.
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Printer {
    async fn ready(&mut self) {}
}

impl OutputStream for Printer {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        if bytes.len() > PRINT_BYTES_MAX {
            // wasi:io/streams, `write`: more than `check-write` allowed is a trap.
            return Err(StreamError::trap("it prints more at once than its stream takes"));
        }
        if !self.log.is_used_up() {
            self.log.say(self.level, &String::from_utf8_lossy(&bytes));
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PRINT_BYTES_MAX)
    }
}
