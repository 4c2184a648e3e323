//! What is to go wrong in one case, and what was passed on the way.
//!
//! It outlives the runners of its case, as the store and the world do.

use crate::place::{Fault, Kind, Place, Planned};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use stepback_clock::Clock;
use stepback_core::event::{Event, Record};
use stepback_core::{OperationId, Resource, Token, UnixMs};
use stepback_engine::Asker;
use stepback_journal::{Memory, Request, Store};
use tokio::sync::Notify;

/// The one operation of a case.
pub(crate) const OPERATION: OperationId = OperationId(1);
/// Who cancels in a case.
const SOMEBODY: &str = "somebody";

/// What was done at a place, for whoever names it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum About {
    /// A read or a wait; `None`: the engine's own.
    Asked(Option<Asker>),
    /// An effect, by its token.
    Made(Token),
    Looked(Resource),
    /// The events that were written.
    Wrote(Vec<Record>),
    Nothing,
}

/// A place that the operation passed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Passed {
    pub place: Place,
    pub about: About,
    pub at: UnixMs,
    /// Whether it was on its way back by then.
    pub is_back: bool,
    /// Whether the service was down by then, by the journal.
    pub is_down: bool,
    /// How many records were durable by then.
    pub after: usize,
}

/// What was as it must never be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    /// By its place in the manifest; `None`: the world itself could not be looked at.
    pub invariant: Option<usize>,
    /// In a sentence.
    pub told: String,
    /// Whether nobody can say if it holds.
    pub is_unknown: bool,
}

impl Broken {
    pub fn of_world(told: String) -> Self {
        Self { invariant: None, told, is_unknown: true }
    }
}

#[derive(Default)]
struct Inner {
    counts: BTreeMap<Kind, u32>,
    fired: Vec<bool>,
    passed: Vec<Passed>,
    now: Now,
    broken: Vec<Broken>,
    held: BTreeSet<usize>,
    asked: Asked,
    /// Whoever runs the operation was killed, and is not gone yet.
    is_dead: bool,
}

/// Each question of each invariant, and whether what it is about was there once.
pub(crate) type Asked = BTreeMap<(usize, String), bool>;

/// What a script holds at an instant, but for what was passed by then, which is only ever added to.
#[derive(Clone, PartialEq)]
pub(crate) struct Kept {
    counts: BTreeMap<Kind, u32>,
    fired: Vec<bool>,
    /// How many places were passed.
    pub passed: usize,
    now: Now,
    broken: Vec<Broken>,
    held: BTreeSet<usize>,
    asked: Asked,
}

impl Kept {
    /// How many records were durable.
    pub fn records(&self) -> usize {
        self.now.records
    }

    /// How often it was passed.
    pub fn count(&self, kind: Kind) -> u32 {
        self.counts.get(&kind).copied().unwrap_or_default()
    }

    /// Whether what comes after one is the same as after the other, but for the numbers of places.
    pub fn goes_on_as(&self, other: &Self) -> bool {
        let rest = |one: &Self| Self { counts: BTreeMap::new(), passed: 0, ..one.clone() };
        rest(self) == rest(other)
    }
}

/// A place, and what goes wrong there.
pub(crate) struct Met {
    pub place: Place,
    pub fault: Option<Fault>,
}

/// How the operation stands, by what is durable.
#[derive(Clone, Copy, Default, PartialEq)]
struct Now {
    is_back: bool,
    is_down: bool,
    records: usize,
}

/// What became of a case, by those who watched it.
pub(crate) struct Told {
    pub passed: Vec<Passed>,
    /// Of each fault, whether it came about.
    pub fired: Vec<bool>,
    /// What was as it must never be.
    pub broken: Vec<Broken>,
    /// The invariants that held once at least, by their places in the manifest.
    pub held: BTreeSet<usize>,
    /// What they asked of the world.
    pub asked: Asked,
}

/// The script of one case.
pub(crate) struct Script {
    planned: Vec<Planned>,
    inner: Mutex<Inner>,
    /// Told when the runner is killed.
    pub died: Notify,
}

impl Script {
    pub fn new(planned: &[Planned]) -> Arc<Self> {
        let inner = Inner { fired: vec![false; planned.len()], ..Inner::default() };
        Arc::new(Self { planned: planned.to_vec(), inner: Mutex::new(inner), died: Notify::new() })
    }

    /// The script of a case that goes on where another one was; `fired`: after its last fault,
    /// which was a kill, or before that.
    pub fn going_on(planned: &[Planned], kept: &Kept, passed: &[Passed], fired: bool) -> Arc<Self> {
        let Kept { counts, now, broken, held, asked, .. } = kept.clone();
        let is_fired = fired;
        let mut fired = kept.fired.clone();
        fired.resize(planned.len(), is_fired);
        let passed = passed[..kept.passed].to_vec();
        let inner = Inner { counts, fired, passed, now, broken, held, asked, is_dead: false };
        Arc::new(Self { planned: planned.to_vec(), inner: Mutex::new(inner), died: Notify::new() })
    }

    /// Goes on only where nobody was killed: whoever was does nothing more.
    pub async fn lives(&self) {
        if self.inner().is_dead {
            std::future::pending::<()>().await;
        }
    }

    /// Somebody takes the operation up.
    pub fn is_taken_up(&self) {
        self.inner().is_dead = false;
    }

    /// What it holds now.
    pub fn kept(&self) -> Kept {
        let inner = self.inner();
        Kept {
            counts: inner.counts.clone(),
            fired: inner.fired.clone(),
            passed: inner.passed.len(),
            now: inner.now,
            broken: inner.broken.clone(),
            held: inner.held.clone(),
            asked: inner.asked.clone(),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place is passed; gives what goes wrong there. Who was killed passes none.
    pub async fn pass(&self, kind: Kind, about: About, clock: &Clock) -> Met {
        self.lives().await;
        let mut inner = self.inner();
        let nth = inner.counts.entry(kind).or_default();
        *nth = nth.saturating_add(1);
        let place = Place { kind, nth: *nth };
        let Now { is_back, is_down, records: after } = inner.now;
        inner.passed.push(Passed { place, about, at: clock.unix(), is_back, is_down, after });
        let fires = |one: &Planned| match one.fault {
            Fault::RefuseAlways => one.at.kind == kind && one.at.nth <= place.nth,
            _ => one.at == place,
        };
        let which = self.planned.iter().position(fires);
        let fault = which.map(|which| {
            inner.fired[which] = true;
            self.planned[which].fault
        });
        Met { place, fault }
    }

    /// What was written is durable.
    pub fn wrote(&self, records: &[Record]) {
        let now = &mut self.inner().now;
        now.records += records.len();
        for record in records {
            match &record.event {
                Event::RollbackStarted { .. } => now.is_back = true,
                Event::DowntimeStarted => now.is_down = true,
                Event::DowntimeEnded { .. } => now.is_down = false,
                _ => {}
            }
        }
    }

    /// Whoever runs the operation is killed here: nothing comes after it.
    pub async fn die(&self) {
        self.inner().is_dead = true;
        self.died.notify_one();
        std::future::pending::<()>().await;
    }

    /// Somebody asks for the operation to be cancelled.
    pub async fn cancel(&self, store: &Memory) {
        let asked = Request::Cancel { actor: SOMEBODY.into(), reason: None };
        // Before there is an operation, there is nothing to cancel.
        let _ = store.request(OPERATION, asked).await;
    }

    /// Something is as it must never be; of an invariant, the first time tells where.
    pub fn broke(&self, what: Broken) {
        let broken = &mut self.inner().broken;
        let is_it = |one: &Broken| one.invariant.is_some() && one.invariant == what.invariant;
        if !broken.iter().any(is_it) {
            broken.push(what);
        }
    }

    /// An invariant holds.
    pub fn held(&self, nth: usize) {
        self.inner().held.insert(nth);
    }

    /// What an invariant asked, and whether that is there.
    pub fn asked(&self, nth: usize, is_there: &BTreeMap<String, bool>) {
        let asked = &mut self.inner().asked;
        for (question, is_there) in is_there {
            *asked.entry((nth, question.clone())).or_default() |= is_there;
        }
    }

    /// What became of the case.
    pub fn told(&self) -> Told {
        let inner = std::mem::take(&mut *self.inner());
        let Inner { passed, fired, broken, held, asked, .. } = inner;
        Told { passed, fired, broken, held, asked }
    }
}
