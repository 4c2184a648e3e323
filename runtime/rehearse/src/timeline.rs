//! When what happened in a case, from its beginning on.

use crate::stage::Played;
use serde::Serialize;
use std::collections::BTreeMap;
use stepback_core::event::{AttemptResult, Event};
use stepback_core::{AttemptId, Direction, UnixMs};

/// A case by the clock, in milliseconds since its first event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Timeline {
    /// Each attempt at a step's run or undo, in the order in which they began.
    pub attempts: Vec<Stretch>,
    /// When the service was down, each time from when to when.
    pub down: Vec<(u64, u64)>,
    /// When something went wrong.
    pub faults_ms: Vec<u64>,
    /// When another runner went on.
    pub taken_up_ms: Vec<u64>,
    /// When the commit point was, if it was passed.
    pub committed_ms: Option<u64>,
    /// When it was over.
    pub ended_ms: u64,
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stretch {
    /// The step, with its key if it has one.
    pub step: String,
    /// Whether it is an undo's.
    pub undo: bool,
    /// When it began.
    pub from_ms: u64,
    /// When it ended.
    pub to_ms: u64,
    /// Whether it ended well.
    pub is_well: bool,
}

impl Timeline {
    pub(crate) fn of(played: &Played, faults: &[crate::place::Planned]) -> Self {
        let begins = played.records.first().map_or(UnixMs(0), |record| record.at);
        let since = |at: UnixMs| at.since_ms(begins);
        let mut line = Self::default();
        let mut open: BTreeMap<AttemptId, usize> = BTreeMap::new();
        let mut down_since = None;
        for record in &played.records {
            let now_ms = since(record.at);
            line.ended_ms = line.ended_ms.max(now_ms);
            match &record.event {
                Event::AttemptStarted { of } => {
                    open.insert(of.clone(), line.attempts.len());
                    line.attempts.push(Stretch {
                        step: of.step.to_string(),
                        undo: of.direction == Direction::Undo,
                        from_ms: now_ms,
                        to_ms: now_ms,
                        is_well: false,
                    });
                }
                Event::AttemptFinished { of, result } => {
                    if let Some(at) = open.remove(of) {
                        line.attempts[at].to_ms = now_ms;
                        line.attempts[at].is_well = !matches!(result, AttemptResult::Failed(_));
                    }
                }
                Event::DowntimeStarted => down_since = Some(now_ms),
                Event::DowntimeEnded { .. } => {
                    line.down.extend(down_since.take().map(|from| (from, now_ms)));
                }
                Event::TakenUp { .. } => line.taken_up_ms.push(now_ms),
                Event::Committed => line.committed_ms = Some(now_ms),
                _ => {}
            }
        }
        open.values().for_each(|at| line.attempts[*at].to_ms = line.ended_ms);
        line.down.extend(down_since.map(|from| (from, line.ended_ms)));
        let places = played
            .passed
            .iter()
            .filter(|passed| faults.iter().any(|planned| planned.at == passed.place));
        line.faults_ms = places.map(|passed| since(passed.at)).collect();
        line
    }
}
