//! One line about an operation, kept up to date in the transaction of the event that changes it.
//!
//! It is what a list needs without reading every journal; the journal itself stays the truth.

use serde::{Deserialize, Serialize};
use stepback_core::event::{Cause, Event, FinalStatus, Pinned, Record, Verdict};
use stepback_core::state::Status;
use stepback_core::{EnvironmentName, OperationId, Seq, UnixMs};

/// An operation as a list shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub id: OperationId,
    /// The manifest's path or name, as it was given.
    pub name: String,
    pub environment: EnvironmentName,
    pub actor: String,
    pub status: Status,
    pub cause: Option<Cause>,
    pub verdict: Option<Verdict>,
    /// When it was created.
    pub started_at: UnixMs,
    /// When it ended or was refused.
    pub finished_at: Option<UnixMs>,
    pub downtime_ms: Option<u64>,
    pub last_seq: Seq,
}

impl Summary {
    /// The summary of an operation of which only `Created` is written.
    pub(crate) fn new(id: OperationId, pinned: &Pinned, at: UnixMs) -> Self {
        Self {
            id,
            name: pinned.manifest_name.clone(),
            environment: pinned.environment.clone(),
            actor: pinned.actor.clone(),
            status: Status::Queued,
            cause: None,
            verdict: None,
            started_at: at,
            finished_at: None,
            downtime_ms: None,
            last_seq: Seq(1),
        }
    }

    /// Takes one more record in; true if anything but `last_seq` changed.
    pub(crate) fn apply(&mut self, record: &Record) -> bool {
        self.last_seq = record.seq;
        match &record.event {
            Event::Refused { .. } => {
                self.status = Status::Refused;
                self.finished_at = Some(record.at);
            }
            Event::Started => self.status = Status::Running,
            Event::RollbackStarted { cause, .. } => {
                self.status = Status::RollingBack;
                self.cause = Some(*cause);
                self.finished_at = None;
            }
            Event::DowntimeEnded { downtime_ms } => self.downtime_ms = Some(*downtime_ms),
            Event::Verified { verdict, .. } => self.verdict = Some(*verdict),
            Event::Finished { status, .. } => {
                self.status = final_status(*status);
                self.finished_at = Some(record.at);
            }
            Event::Created(_)
            | Event::CancelRequested { .. }
            | Event::StepExpanded { .. }
            | Event::StepSkipped { .. }
            | Event::StepStarted { .. }
            | Event::AttemptStarted { .. }
            | Event::CallAnswered { .. }
            | Event::CallStarted { .. }
            | Event::CallFinished { .. }
            | Event::AttemptFinished { .. }
            | Event::RetryScheduled { .. }
            | Event::DowntimeStarted
            | Event::Committed
            | Event::UndoStarted { .. }
            | Event::UndoEnded { .. } => return false,
        }
        true
    }
}

/// Whether this event ends the operation's locks (R13): a failed rollback keeps them.
pub(crate) fn releases_locks(event: &Event) -> bool {
    match event {
        Event::Refused { .. } => true,
        Event::Finished { status, .. } => match status {
            FinalStatus::Succeeded | FinalStatus::RolledBack => true,
            FinalStatus::RollbackFailed => false,
        },
        _ => false,
    }
}

fn final_status(status: FinalStatus) -> Status {
    match status {
        FinalStatus::Succeeded => Status::Succeeded,
        FinalStatus::RolledBack => Status::RolledBack,
        FinalStatus::RollbackFailed => Status::RollbackFailed,
    }
}
