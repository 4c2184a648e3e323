//! The log of an operation: reported as it comes, kept in batches beside the journal.
//!
//! Log lines are not events: losing the last few of a killed program loses no truth, so nobody
//! waits for them.

use crate::deps::Reporter;
use std::sync::Arc;
use stepback_core::{OperationId, StepKey, UnixMs};
use stepback_journal::{LogLine, Store};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// As many lines go into one write as have come by then, up to this.
const BATCH_LINES_MAX: usize = 512;

/// Where the lines of one operation go.
#[derive(Clone)]
pub(crate) struct Logs {
    id: OperationId,
    reporter: Arc<dyn Reporter>,
    /// It needs no bound of its own: an attempt logs 1 MiB at most (see the sandbox's limits).
    lines: mpsc::UnboundedSender<LogLine>,
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
        let (lines, mut incoming) = mpsc::unbounded_channel();
        let keeper = tokio::spawn(async move {
            let mut batch = vec![];
            while incoming.recv_many(&mut batch, BATCH_LINES_MAX).await > 0 {
                // A store that can't take lines can't take events either, and that is told there.
                let _ = store.append_logs(id, std::mem::take(&mut batch)).await;
            }
        });
        (Self { id, reporter, lines }, LogKeeper(keeper))
    }

    /// For whoever may outlive the operation.
    pub(crate) fn downgrade(&self) -> WeakLogs {
        let (id, reporter) = (self.id, Arc::clone(&self.reporter));
        WeakLogs { id, reporter, lines: self.lines.downgrade() }
    }

    /// One line of a step.
    pub(crate) fn line(&self, at: UnixMs, step: &StepKey, level: &str, text: String) {
        let line = LogLine { at, step: Some(step.clone()), level: level.to_owned(), text };
        self.reporter.on_log(self.id, &line);
        // The keeper ends only after the last sender.
        let _ = self.lines.send(line);
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
    lines: mpsc::WeakUnboundedSender<LogLine>,
}

impl WeakLogs {
    /// The log itself, as long as the operation is run here.
    pub(crate) fn upgrade(&self) -> Option<Logs> {
        let lines = self.lines.upgrade()?;
        Some(Logs { id: self.id, reporter: Arc::clone(&self.reporter), lines })
    }
}

impl LogKeeper {
    /// Wait until every line is kept.
    pub(crate) async fn finish(self) {
        // It never panics, and if it did the lines would be lost, not the operation.
        let _ = self.0.await;
    }
}
