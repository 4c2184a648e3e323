//! What a run of records implies for an operation, beside the records themselves.
//!
//! One pure function that every store uses, so that none can disagree with another: it is given
//! what the store knows and the records to append, and says all that is to be kept in the same
//! transaction. A store reads what is known, carries the answer out, and decides nothing. Nothing
//! here does I/O, names a database, or checks that an event is legal, which is the business of
//! the transition table (R2).

use crate::{Ending, Requested, StoreError};
use stepback_core::event::{Event, Record};
use stepback_core::{OperationId, Seq};

/// How far an operation is, as far as a request must know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    #[default]
    Open,
    RollingBack,
    Committed,
}

impl Stage {
    const ALL: [Stage; 3] = [Stage::Open, Stage::RollingBack, Stage::Committed];

    /// Its name on record.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Stage::Open => "open",
            Stage::RollingBack => "rolling-back",
            Stage::Committed => "committed",
        }
    }

    /// The stage of that name, if there is one.
    pub(crate) fn named(name: &str) -> Option<Stage> {
        Stage::ALL.into_iter().find(|stage| stage.name() == name)
    }

    /// The stage that begins with the event.
    fn after(event: &Event) -> Option<Stage> {
        match event {
            Event::RollbackStarted { .. } | Event::RollbackResumed { .. } => {
                Some(Stage::RollingBack)
            }
            Event::Committed => Some(Stage::Committed),
            _ => None,
        }
    }

    /// What becomes of a request for an operation that is so far; one that is
    /// [`Requested::Kept`] is the store's to keep.
    pub(crate) fn answer(self, ending: Option<Ending>, is_run: bool) -> Requested {
        match (ending, self) {
            (Some(ending), _) => Requested::Ended(ending),
            (None, Stage::RollingBack) => Requested::RollingBack,
            (None, Stage::Committed) => Requested::PastCommit,
            (None, Stage::Open) => Requested::Kept { is_run },
        }
    }
}

/// What becomes of the ending that is on record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum EndingChange {
    #[default]
    Same,
    /// The operation goes on, and has no ending any more.
    GoesOn,
    Ends(Ending),
}

/// What becomes of an operation's stage and ending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The stage that began last; `None`, none did.
    pub(crate) stage: Option<Stage>,
    pub(crate) ending: EndingChange,
}

impl Progress {
    /// The same, and what the event changes after it.
    #[must_use]
    pub(crate) fn then(self, event: &Event) -> Self {
        let stage = Stage::after(event);
        let ending = match (Ending::of(event), stage) {
            (Some(ending), _) => EndingChange::Ends(ending),
            (None, Some(_)) => EndingChange::GoesOn,
            (None, None) => self.ending,
        };
        Self { stage: stage.or(self.stage), ending }
    }
}

/// What a store knows of an operation to which records are to be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) id: OperationId,
    /// The number of its last record; 0 if it has none.
    pub(crate) last: Seq,
    /// Whether anything was asked for that is not an event yet.
    pub(crate) has_requests: bool,
}

/// All that a run of records implies; it is kept with the records, in one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Implied {
    /// The number of the last record there is then.
    pub(crate) last: Seq,
    pub(crate) progress: Progress,
    /// What was asked for is an event by now, or nobody is left to honour it.
    pub(crate) drops_requests: bool,
    /// Its place in line for locks is given up.
    pub(crate) leaves_queue: bool,
    /// Its locks are free.
    pub(crate) releases_locks: bool,
}

/// What the records imply when they are appended after `after`.
///
/// # Errors
/// [`StoreError::WrongSequence`] if they do not follow what is known without a gap;
/// [`StoreError::Requested`] for a `Committed` while a request waits, unless a record before it
/// makes that an event. Nothing is to be written then.
pub(crate) fn implied(known: Known, after: Seq, records: &[Record]) -> Result<Implied, StoreError> {
    let Known { id, last, has_requests } = known;
    let wrong = StoreError::WrongSequence { id, last };
    if after != last {
        return Err(wrong);
    }
    let mut implied = Implied {
        last,
        progress: Progress::default(),
        drops_requests: false,
        leaves_queue: false,
        releases_locks: false,
    };
    for record in records {
        if implied.last.0.checked_add(1) != Some(record.seq.0) {
            return Err(wrong);
        }
        let (event, ending) = (&record.event, Ending::of(&record.event));
        if matches!(event, Event::Committed) && has_requests && !implied.drops_requests {
            return Err(StoreError::Requested(id));
        }
        let is_cancel = matches!(event, Event::CancelRequested { .. });
        implied.last = record.seq;
        implied.progress = implied.progress.then(event);
        implied.drops_requests |= is_cancel || ending.is_some();
        implied.leaves_queue |= ending.is_some();
        implied.releases_locks |= ending.is_some_and(Ending::releases_locks);
    }
    Ok(implied)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use stepback_core::event::{Cause, FinalStatus};
    use stepback_core::{Epoch, UnixMs};

    const ID: OperationId = OperationId(7);

    fn known(last: u64, has_requests: bool) -> Known {
        Known { id: ID, last: Seq(last), has_requests }
    }

    fn run(first: u64, events: &[Event]) -> Vec<Record> {
        let record = |(seq, event): (u64, &Event)| Record {
            seq: Seq(seq),
            at: UnixMs(seq),
            epoch: Epoch(1),
            event: event.clone(),
        };
        (first..).zip(events).map(record).collect()
    }

    fn finished(status: FinalStatus) -> Event {
        Event::Finished { status, outputs: BTreeMap::new(), unknown_outputs: BTreeMap::new() }
    }

    fn cancelled() -> Event {
        Event::CancelRequested { actor: "ann".into(), reason: None }
    }

    fn resumed() -> Event {
        Event::RollbackResumed { actor: "ann".into() }
    }

    fn rolls_back() -> Event {
        Event::RollbackStarted { cause: Cause::Failed, why: "a step".into() }
    }

    /// Every event that implies something, one that does not, and what each does.
    fn table() -> Vec<(Event, Option<Stage>, EndingChange, [bool; 3])> {
        use EndingChange::{Ends, GoesOn, Same};
        let (actor, reason) = (|| "ann".into(), || "known".to_owned());
        let accepted = Event::Accepted { actor: actor(), reason: reason() };
        let abandoned =
            Event::Abandoned { actor: actor(), reason: reason(), unknown: vec![], elsewhere: None };
        let refused = Event::Refused { reasons: vec![] };
        // What it drops: requests, its place in line, its locks.
        let (nothing, all) = ([false; 3], [true; 3]);
        vec![
            (Event::Started, None, Same, nothing),
            (cancelled(), None, Same, [true, false, false]),
            (Event::Committed, Some(Stage::Committed), GoesOn, nothing),
            (rolls_back(), Some(Stage::RollingBack), GoesOn, nothing),
            (resumed(), Some(Stage::RollingBack), GoesOn, nothing),
            (refused, None, Ends(Ending::Refused), all),
            (finished(FinalStatus::Succeeded), None, Ends(Ending::Succeeded), all),
            (finished(FinalStatus::RolledBack), None, Ends(Ending::RolledBack), all),
            (
                finished(FinalStatus::RollbackFailed),
                None,
                Ends(Ending::RollbackFailed),
                [true, true, false],
            ),
            (accepted, None, Ends(Ending::Accepted), all),
            (abandoned, None, Ends(Ending::Abandoned), all),
        ]
    }

    #[test]
    fn each_event_implies_what_the_table_says() {
        for (event, stage, ending, [drops_requests, leaves_queue, releases_locks]) in table() {
            let progress = Progress { stage, ending };
            let wanted =
                Implied { last: Seq(4), progress, drops_requests, leaves_queue, releases_locks };
            let found = implied(known(3, false), Seq(3), &run(4, std::slice::from_ref(&event)));
            assert_eq!(found.unwrap(), wanted, "{event:?}");
        }
    }

    #[test]
    fn what_does_not_follow_implies_nothing() {
        let gap = || [run(4, &[Event::Started]), run(6, &[Event::Started])].concat();
        let table = [
            (Seq(2), run(3, &[Event::Started])),
            (Seq(4), run(5, &[Event::Started])),
            (Seq(3), run(5, &[Event::Started])),
            (Seq(3), run(3, &[Event::Started])),
            (Seq(3), gap()),
            (Seq(2), vec![]),
        ];
        for (after, records) in table {
            let found = implied(known(3, false), after, &records);
            let is_told = matches!(&found, Err(StoreError::WrongSequence { id: ID, last: Seq(3) }));
            assert!(is_told, "{after:?} {records:?}: {found:?}");
        }
        let nothing = implied(known(3, true), Seq(3), &[]).unwrap();
        assert_eq!((nothing.last, nothing.progress), (Seq(3), Progress::default()));
        let last = u64::MAX;
        assert!(implied(known(last, false), Seq(last), &run(0, &[Event::Started])).is_err());
    }

    #[test]
    fn no_commit_passes_a_request_that_waits() {
        let commit = || vec![Event::Committed];
        let table = [
            (true, commit(), true),
            (false, commit(), false),
            (true, vec![Event::Started, Event::Committed], true),
            (true, vec![cancelled(), Event::Committed], false),
            (true, vec![Event::Committed, cancelled()], true),
            (true, vec![Event::Started], false),
        ];
        for (has_requests, events, is_refused) in table {
            let found = implied(known(3, has_requests), Seq(3), &run(4, &events));
            let refused = matches!(found, Err(StoreError::Requested(ID)));
            assert_eq!((refused, found.is_err()), (is_refused, is_refused), "{events:?}");
        }
    }

    /// What a store keeps of an operation, in the smallest.
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Kept {
        last: u64,
        stage: Stage,
        ending: Option<Ending>,
        has_requests: bool,
        waits: bool,
        holds: bool,
    }

    impl Kept {
        fn with(self, events: &[Event]) -> Option<Kept> {
            let known = known(self.last, self.has_requests);
            let implied = implied(known, Seq(self.last), &run(self.last + 1, events)).ok()?;
            let ending = match implied.progress.ending {
                EndingChange::Same => self.ending,
                EndingChange::GoesOn => None,
                EndingChange::Ends(ending) => Some(ending),
            };
            Some(Kept {
                last: implied.last.0,
                stage: implied.progress.stage.unwrap_or(self.stage),
                ending,
                has_requests: self.has_requests && !implied.drops_requests,
                waits: self.waits && !implied.leaves_queue,
                holds: self.holds && !implied.releases_locks,
            })
        }
    }

    /// However records are packed into appends, they imply the same.
    #[test]
    fn a_run_implies_what_its_records_imply_one_by_one() {
        let events: Vec<Event> = table().into_iter().map(|(event, ..)| event).collect();
        let mut tried = 0;
        for has_requests in [false, true] {
            let (stage, ending, waits, holds) = (Stage::Open, None, true, true);
            let before = Kept { last: 1, stage, ending, has_requests, waits, holds };
            for (a, b, c) in events.iter().flat_map(|a| {
                let pairs = events.iter().flat_map(|b| events.iter().map(move |c| (b, c)));
                pairs.map(move |(b, c)| (a, b, c))
            }) {
                let run = [a.clone(), b.clone(), c.clone()];
                let one_by_one = run.chunks(1).try_fold(before, |kept, event| kept.with(event));
                assert_eq!(before.with(&run), one_by_one, "{run:?}");
                tried += 1;
            }
        }
        assert_eq!(tried, 2 * events.len().pow(3));
    }

    #[test]
    fn a_request_is_answered_by_the_ending_then_the_stage() {
        let ended = Some(Ending::RollbackFailed);
        for stage in Stage::ALL {
            assert_eq!(Stage::named(stage.name()), Some(stage));
            assert_eq!(stage.answer(ended, true), Requested::Ended(Ending::RollbackFailed));
        }
        assert_eq!(Stage::named("odd"), None);
        assert_eq!(Stage::RollingBack.answer(None, true), Requested::RollingBack);
        assert_eq!(Stage::Committed.answer(None, true), Requested::PastCommit);
        for is_run in [true, false] {
            assert_eq!(Stage::Open.answer(None, is_run), Requested::Kept { is_run });
        }
    }
}
