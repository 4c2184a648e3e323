//! The log of an operation: reported as it comes, kept in batches beside the journal.
//!
//! Log lines are not events: losing the last few of a killed program loses no truth, so nobody
//! waits for them.

use crate::deps::Reporter;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use stepback_core::{AttemptId, OperationId, StepKey, UnixMs};
use stepback_journal::{LogLine, Store};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// As many lines go into one write as have come by then, up to this.
const BATCH_LINES_MAX: usize = 512;
/// What one attempt may log, its guest and its effects together: as much as a guest by itself (see
/// the sandbox's limits), and what is said of that.
const LOG_BYTES_MAX: usize = (1 << 20) + (4 << 10);
/// What a line costs beside its text, so that short lines are bounded too.
const LINE_OVERHEAD_BYTES: usize = 32;

/// Where the lines of one operation go.
#[derive(Clone)]
pub(crate) struct Logs {
    id: OperationId,
    reporter: Arc<dyn Reporter>,
    /// It needs no bound of its own: an attempt logs [`LOG_BYTES_MAX`] at most. Boxed, because a
    /// queue has room for many lines also while it is empty.
    lines: mpsc::UnboundedSender<Box<LogLine>>,
    /// What each attempt has logged here so far.
    logged: Arc<Mutex<BTreeMap<AttemptId, usize>>>,
}

/// The task that keeps the lines; it ends when the last [`Logs`] is dropped.
pub(crate) struct LogKeeper(JoinHandle<()>);

impl Logs {
    /// Begin to keep lines.
    pub(crate) fn start(
        id: OperationId,
        reporter: Arc<dyn Reporter>,
        store: Arc<dyn Store>,
    ) -> (Self, LogKeeper) {
        let (lines, mut incoming) = mpsc::unbounded_channel::<Box<LogLine>>();
        let keeper = tokio::spawn(async move {
            let mut batch = vec![];
            while incoming.recv_many(&mut batch, BATCH_LINES_MAX).await > 0 {
                let lines = batch.drain(..).map(|line| *line).collect();
                // A store that can't take lines can't take events either, and that is told there.
                let _ = store.append_logs(id, lines).await;
            }
        });
        (Self { id, reporter, lines, logged: Arc::default() }, LogKeeper(keeper))
    }

    /// For whoever may outlive the operation.
    pub(crate) fn downgrade(&self) -> WeakLogs {
        let (id, reporter) = (self.id, Arc::clone(&self.reporter));
        let (lines, logged) = (self.lines.downgrade(), Arc::clone(&self.logged));
        WeakLogs { id, reporter, lines, logged }
    }

    /// One line of an attempt. What is too much is dropped, and that is said once.
    pub(crate) fn line(&self, at: UnixMs, of: &AttemptId, level: &str, text: String) {
        let cost = text.len().saturating_add(LINE_OVERHEAD_BYTES);
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let all = logged.entry(of.clone()).or_default();
        let before = *all;
        *all = before.saturating_add(cost).min(LOG_BYTES_MAX + 1);
        let (is_over, was_over) = (*all > LOG_BYTES_MAX, before > LOG_BYTES_MAX);
        drop(logged);
        match (is_over, was_over) {
            (false, _) => self.keep(at, &of.step, level, text),
            (true, false) => {
                let limit_kib = LOG_BYTES_MAX >> 10;
                let notice = format!(
                    "too much is logged: what comes after {limit_kib} KiB is dropped until this \
                     attempt ends"
                );
                self.keep(at, &of.step, "warn", notice);
            }
            (true, true) => {}
        }
    }

    fn keep(&self, at: UnixMs, step: &StepKey, level: &str, text: String) {
        let line = LogLine { at, step: Some(step.clone()), level: level.to_owned(), text };
        self.reporter.on_log(self.id, &line);
        // The keeper ends only after the last sender.
        let _ = self.lines.send(Box::new(line));
    }

    /// How far something long is; shown, not kept.
    pub(crate) fn progress(&self, step: &StepKey, text: &str, done: u64, total: Option<u64>) {
        self.reporter.on_progress(self.id, step, text, done, total);
    }
}

/// The same for a task that may outlive the operation: it keeps no log open.
#[derive(Clone)]
pub(crate) struct WeakLogs {
    id: OperationId,
    reporter: Arc<dyn Reporter>,
    lines: mpsc::WeakUnboundedSender<Box<LogLine>>,
    logged: Arc<Mutex<BTreeMap<AttemptId, usize>>>,
}

impl WeakLogs {
    /// The log itself, as long as the operation is run here.
    pub(crate) fn upgrade(&self) -> Option<Logs> {
        let (lines, logged) = (self.lines.upgrade()?, Arc::clone(&self.logged));
        Some(Logs { id: self.id, reporter: Arc::clone(&self.reporter), lines, logged })
    }
}

impl LogKeeper {
    /// Wait until every line is kept.
    pub(crate) async fn finish(self) {
        // It never panics, and if it did the lines would be lost, not the operation.
        let _ = self.0.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepback_core::event::Record;
    use stepback_core::{Attempt, Direction};

    struct Quiet;

    impl Reporter for Quiet {
        fn on_record(&self, _: OperationId, _: &Record) {}
        fn on_log(&self, _: OperationId, _: &LogLine) {}
        fn on_progress(&self, _: OperationId, _: &StepKey, _: &str, _: u64, _: Option<u64>) {}
    }

    /// However many effects say it: each has notes of its own.
    #[test]
    fn what_one_attempt_logs_too_much_is_dropped_and_that_is_said_once() {
        let (lines, mut kept) = mpsc::unbounded_channel();
        let (reporter, logged) = (Arc::new(Quiet), Arc::default());
        let logs = Logs { id: OperationId(1), reporter, lines, logged };
        let of = |attempt| AttemptId {
            step: StepKey::plain("a"),
            direction: Direction::Do,
            attempt: Attempt(attempt),
        };
        for _ in 0..40 {
            let weak = logs.downgrade();
            let note = weak.upgrade().expect("it is open");
            (0..64).for_each(|_| note.line(UnixMs(0), &of(1), "info", "x".repeat(4096)));
        }
        logs.line(UnixMs(0), &of(2), "info", "another one".to_owned());
        let mut texts = vec![];
        while let Ok(line) = kept.try_recv() {
            texts.push(line.text);
        }
        let bytes: usize = texts.iter().map(String::len).sum();
        assert!((1_000_000..LOG_BYTES_MAX + 1024).contains(&bytes), "{bytes}");
        assert_eq!(texts.iter().filter(|text| text.starts_with("too much")).count(), 1);
        assert_eq!(texts.last().map(String::as_str), Some("another one"));
    }
}
