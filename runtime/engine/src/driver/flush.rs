//! Making what was decided durable: one flush at a time, in order, while the driver goes on.

use super::*;
use crate::locks;

/// What nobody waits for is written at multiples of this: operations side by side share commits.
const WRITTEN_EVERY_MS: u64 = 25;

/// Records on their way to the disk.
pub(super) struct Flush {
    pub(super) records: Vec<Record>,
    pub(super) written: Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>,
}

impl Driver {
    /// Begin to make what is pending durable, unless a flush is under way.
    pub(super) fn start_flush(&mut self) {
        if self.flush.is_some() || !self.pending_urgent || self.pending.is_empty() {
            return;
        }
        let mut records = std::mem::take(&mut self.pending);
        (self.pending_since, self.pending_urgent) = (None, false);
        // A commit point may be refused, with all that is written with it (R2), and what is known
        // by then must not be lost with it; what ends the operation, its verdict with it, comes
        // after what is below.
        let ends = |record: &Record| matches!(record.event, Event::Finished { .. });
        let parts = |record: &Record| {
            ends(record) || matches!(record.event, Event::Committed | Event::Verified { .. })
        };
        let is_outcome = |record: &Record| matches!(record.event, Event::CallFinished { .. });
        if let Some(at) = records.iter().position(parts)
            && records[..at].iter().any(is_outcome)
        {
            self.pending = records.split_off(at);
            (self.pending_since, self.pending_urgent) = (Some(self.clock.now()), true);
        }
        // Nobody takes up what has ended: what is cleared away behind its effects goes before.
        let forgotten = records.iter().any(ends).then(|| self.all_forgotten());
        let (deps, lease, last) = (Arc::clone(&self.deps), self.lease.clone(), self.durable);
        let (to_write, key, clock) = (records.clone(), self.store(), self.clock.clone());
        let written = Box::pin(async move {
            let newest = to_write.last().map_or(last, |record| record.seq);
            let is_told = to_write.iter().any(|record| must_be_known(&record.event));
            if let Some(forgotten) = forgotten {
                forgotten.await;
            }
            deps.store.append(&lease, last, to_write).await?;
            if !is_told {
                return Ok(());
            }
            // Before anything that waits for it is done.
            let id = lease.operation;
            let (store, provider) = (&*deps.store, &*deps.provider);
            locks::tell_how_far(store, provider, &clock, &key, id, newest).await;
            Ok(())
        });
        self.flush = Some(Flush { records, written });
    }

    /// What was flushed is durable: tell the reporter, and make the effects that waited for it.
    pub(super) fn on_flushed(&mut self, written: Result<(), StoreError>) -> Result<(), RunError> {
        let Some(flush) = self.flush.take() else { return Ok(()) };
        match written {
            Ok(()) => {}
            Err(StoreError::Requested(_)) => return Err(RunError::Requested),
            Err(error) => return Err(self.left_by(error)),
        }
        for record in &flush.records {
            self.durable = record.seq;
            self.deps.reporter.on_record(self.lease.operation, record);
            if let Event::CallFinished { id, .. } = &record.event {
                self.forget(id);
            }
        }
        while let Some((seq, ..)) = self.intents.front()
            && *seq <= self.durable
            && let Some((_, id, reply)) = self.intents.pop_front()
        {
            self.make_or_drop(id, reply)?;
        }
        Ok(())
    }

    /// Wait until everything decided is durable.
    pub(super) async fn await_durable(&mut self) -> Result<(), RunError> {
        self.pending_urgent = true;
        loop {
            self.start_flush();
            if self.flush.is_none() {
                return Ok(());
            }
            let written = written(&mut self.flush).await;
            self.pending_urgent = true;
            self.on_flushed(written)?;
        }
    }
}

/// Whether the world is to know that the journal has it: whoever went on with an older copy would
/// do, or leave, something else than was done. What is decided or looked at once more is not that.
fn must_be_known(event: &Event) -> bool {
    match event {
        Event::Started
        | Event::StepExpanded { .. }
        | Event::StepSkipped { .. }
        | Event::StepStarted { .. }
        | Event::AttemptStarted { .. }
        | Event::CallAnswered { .. }
        | Event::WaitBegun { .. }
        | Event::EffectWaits { .. }
        | Event::AttemptFinished { .. }
        | Event::RetryScheduled { .. } => false,
        Event::Created(_)
        | Event::Refused { .. }
        | Event::TakenUp { .. }
        | Event::CancelRequested { .. }
        | Event::CallStarted { .. }
        | Event::CallFinished { .. }
        | Event::DowntimeStarted
        | Event::DowntimeEnded { .. }
        | Event::Committed
        | Event::RollbackStarted { .. }
        | Event::UndoStarted { .. }
        | Event::UndoEnded { .. }
        | Event::Verified { .. }
        | Event::Finished { .. }
        | Event::RollbackResumed { .. }
        | Event::Accepted { .. }
        | Event::Abandoned { .. } => true,
    }
}

/// When what is pending since then is written at the latest.
pub(super) fn flush_due(since: Moment) -> Moment {
    let latest = since.after(Duration::from_millis(PENDING_MS_MAX)).as_ms();
    Moment::from_ms(latest - latest % WRITTEN_EVERY_MS)
}

/// Resolves when the flush that is under way, if there is one, has been written.
pub(super) async fn written(flush: &mut Option<Flush>) -> Result<(), StoreError> {
    match flush {
        Some(flush) => (&mut flush.written).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_waits_for_is_written_in_time_and_together() {
        let due = |since_ms| flush_due(Moment::from_ms(since_ms)).as_ms();
        for (since_ms, wanted) in [(0, 100), (1, 100), (24, 100), (25, 125), (1_026, 1_125)] {
            assert_eq!(due(since_ms), wanted, "{since_ms}");
        }
        let late = Moment::default().after(Duration::MAX);
        assert!(flush_due(late) <= late);
    }
}
