//! `log`: lines and progress, bounded.

use crate::bindings::stepback::log::log::{Host, Level};
use crate::guest::Guest;
use crate::port::LogLevel;

impl Host for Guest {
    async fn line(&mut self, level: Level, text: String) {
        let level = match level {
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
        };
        self.log.say(level, &text);
    }

    async fn progress(&mut self, text: String, done: u64, total: Option<u64>) {
        self.log.progress(&text, done, total);
    }
}
