//! Defects on purpose: each shows that the tests find it. None is in a program that is built.

use crate::deps::Deps;
use stepback_clock::Clock;
use stepback_core::Facts;
use stepback_core::machine::Machine;
use stepback_core::resource::IDENTITY;
use stepback_core::reverse::Seen;

/// A defect on purpose, to show that the tests find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A replay makes an effect again whose outcome is in the journal.
    ReplayMakesEffects,
    /// An undo answers `undone` and its code is never run.
    UndoSkipped,
    /// A resume issues an effect that was in flight again without settling it.
    ReissuesUnsettled,
    /// An effect does not wait for a running step that changed the same.
    WaitsForNobody,
    /// An undo takes back whatever has the name of what was made.
    TakesStrangers,
    /// A thing whose name holds a secret is looked for by the name that the journal has.
    ObservesMarks,
    /// Time goes on from where the system's clock stands, and not from the journal's last event.
    TrustsTheSystemsClock,
    /// A provider that panics has no answer, and nobody hears of it.
    PanicsAreLost,
    /// What was just created is looked for once.
    LooksOnce,
    /// What was undone is taken for restored, and not looked at.
    BelievesUndos,
    /// One of the machine's own.
    Machine(stepback_core::machine::Mutant),
}

/// What was seen, without what tells it from another of its name.
pub(crate) fn unrecognized(mut seen: Seen) -> Seen {
    if let Facts::Present(facts) = &mut seen.facts {
        facts.remove(IDENTITY);
    }
    seen.is_stamped = seen.is_stamped.map(|_| true);
    seen
}

/// By which clock an operation that is taken up goes on.
pub(crate) fn clock_at_take_up(deps: &Deps, clock: Clock) -> Clock {
    match deps.limits.mutant {
        Some(Mutant::TrustsTheSystemsClock) => deps.clock.clone(),
        _ => clock,
    }
}

/// What the driver goes by.
pub(crate) fn misbehaving(deps: &Deps, clock: Clock, mut machine: Machine) -> (Clock, Machine) {
    match deps.limits.mutant {
        Some(Mutant::TrustsTheSystemsClock) => (deps.clock.clone(), machine),
        Some(Mutant::Machine(mutant)) => {
            machine.misbehave(mutant);
            (clock, machine)
        }
        _ => (clock, machine),
    }
}
