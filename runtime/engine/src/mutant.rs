//! The defects on purpose, by name.

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
