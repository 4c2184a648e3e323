//! Instants from which another case can go on.
//!
//! Whoever is killed takes everything along but the store and the world: so a case that ends with a
//! kill need not be run from the start. What there was at that instant is kept while the case
//! without the kill is run, and the next runner takes it up. Of any other fault the runner's own
//! memory, and that of its guests, is part of what goes on, and nobody can copy that of a guest: so
//! such a case goes on from the last instant before its fault at which nothing was under way.

use crate::place::{Fault, Kind, Place};
use crate::script::{Kept, Passed, Script};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use stepback_clock::Clock;
use stepback_core::{Call, Class, UnixMs};
use stepback_engine::Still;
use stepback_journal::{Instant, Memory};
use stepback_simulated::Simulated;
use stepback_simulated::world::World;

/// What there was at one instant.
pub(crate) struct Kill {
    pub at: UnixMs,
    pub store: Instant,
    pub world: Arc<World>,
    pub script: Kept,
    /// The kill before this one at which everything was the same, if there is one: what comes after
    /// them is the same, but for the numbers of places.
    pub same_as: Option<(Place, Fault)>,
}

/// An instant at which nothing was under way.
pub(crate) struct Quiet {
    pub at: UnixMs,
    pub store: Instant,
    pub world: Arc<World>,
    pub script: Kept,
    pub still: Still,
}

/// The kills that one case can end with, each by its place and its side, and where nothing was
/// under way.
#[derive(Default)]
pub(crate) struct Kills {
    all: BTreeMap<(Place, Fault), Kill>,
    /// In their order.
    quiet: Vec<Quiet>,
    /// The last one that is the same as none before it.
    last: Option<(Place, Fault)>,
}

impl Kills {
    pub fn get(&self, place: Place, fault: Fault) -> Option<&Kill> {
        self.all.get(&(place, fault))
    }

    /// The last instant at which nothing was under way and no more than so many places were passed.
    pub fn quiet_before(&self, passed: usize) -> Option<&Quiet> {
        let after = self.quiet.partition_point(|quiet| quiet.script.passed <= passed);
        self.quiet.get(after.checked_sub(1)?)
    }

    fn add(&mut self, named: (Place, Fault), kill: Kill) {
        let before = self.last.and_then(|last| Some((last, self.all.get(&last)?)));
        let same_as = before.filter(|(_, other)| other.is_as(&kill)).map(|(last, _)| last);
        if same_as.is_none() {
            self.last = Some(named);
        }
        self.all.insert(named, Kill { same_as, ..kill });
    }
}

impl Kill {
    fn is_as(&self, other: &Self) -> bool {
        self.at == other.at
            && Arc::ptr_eq(&self.world, &other.world)
            && self.script.goes_on_as(&other.script)
            && self.store == other.store
    }
}

/// The kills seen so far, and the world at the last of them.
pub(crate) type Watching = Arc<Mutex<(Kills, Option<Arc<World>>)>>;

/// Who sees what a kill would leave, while a case is run without it.
pub(crate) struct Witness {
    pub store: Arc<Memory>,
    pub world: Arc<Simulated>,
    pub clock: Clock,
    /// None where nobody asks for it.
    pub kills: Option<Watching>,
}

impl Witness {
    /// Whoever runs the operation could be killed here.
    pub fn sees(&self, script: &Script, place: Place, fault: Fault) {
        self.keep(|kills, world| {
            let (store, at, script) = (self.store.instant(), self.clock.unix(), script.kept());
            kills.add((place, fault), Kill { at, store, world, script, same_as: None });
        });
    }

    /// Nothing is under way here.
    pub fn rests(&self, script: &Script, still: &dyn Fn() -> Still) {
        self.keep(|kills, world| {
            let (store, at, script) = (self.store.instant(), self.clock.unix(), script.kept());
            kills.quiet.push(Quiet { at, store, world, script, still: still() });
        });
    }

    fn keep(&self, keep: impl FnOnce(&mut Kills, Arc<World>)) {
        let Some(kills) = &self.kills else { return };
        // Without a world there is nothing to go on with; then the case is run from the start.
        let Ok(world) = self.world.load() else { return };
        let mut kills = kills.lock().unwrap_or_else(PoisonError::into_inner);
        let world = match kills.1.as_ref().filter(|last| ***last == world) {
            Some(last) => Arc::clone(last),
            None => Arc::new(world),
        };
        kills.1 = Some(Arc::clone(&world));
        keep(&mut kills.0, world);
    }
}

/// Whether a kill before this question is a case.
pub(crate) fn is_killed_before(kind: Kind) -> bool {
    match kind {
        Kind::Call { function, .. } => Call::class_of(function) == Some(Class::Wait),
        Kind::Look | Kind::Settle | Kind::Search | Kind::Commit => false,
    }
}

/// What was passed after a kill, as it is numbered after another one that is the same.
pub(crate) fn renumbered(passed: &[Passed], from: &Kept, to: &Kept) -> Vec<Passed> {
    let shifted = |one: &Passed| {
        let (was, is) = (from.count(one.place.kind), to.count(one.place.kind));
        let nth = one.place.nth.saturating_sub(was).saturating_add(is);
        Passed { place: Place { nth, ..one.place }, ..one.clone() }
    };
    passed.iter().map(shifted).collect()
}
