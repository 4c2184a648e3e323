//! Defects on purpose: each shows that the tests find it. None is in a program that is built.

pub use crate::mutant::Mutant;

use crate::deps::Deps;
use stepback_clock::Clock;
use stepback_core::Facts;
use stepback_core::machine::Machine;
use stepback_core::resource::IDENTITY;
use stepback_core::reverse::Seen;

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
