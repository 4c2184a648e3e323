//! What a guest may use, and the reason for each number.

use std::time::Duration;

/// The bounds of one guest.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Linear memory of all of the guest's modules together. A step handles a few records.
    pub memory_bytes_max: usize,
    /// Entries of all of its tables together, each a pointer of the host's; address space for
    /// them is set aside for every guest. A language's runtime has some ten thousand functions.
    pub table_entries_max: usize,
    /// The Wasm stack; deep recursion in a step is a defect.
    pub stack_bytes_max: usize,
    /// Text and lists that pass from the guest to the host in one call or answer.
    pub output_bytes_max: usize,
    /// Lines and progress of one attempt; what comes after is dropped with one notice.
    pub log_bytes_max: usize,
    /// One line of the log; longer ones are cut.
    pub log_line_bytes_max: usize,
    /// The guest's own time in a whole `describe` or `check`, host calls not counted.
    pub check_time_max: Duration,
    /// The guest's own time between two host calls of a `run` or `undo`.
    pub run_time_max: Duration,
    /// Host calls of one attempt. Each is journaled and kept for a replay; a step that looks once
    /// a second may go on for a day.
    pub calls_max: u32,
    /// How long a guest may go on after its stop signal, host calls not counted.
    pub stop_grace: Duration,
    /// How long that may take by the clock, where many guests share a few processors. Whoever
    /// still computes then is stopped; one that a host call keeps has a last moment after it.
    pub stop_by_clock: Duration,
    /// How many guests live at once; more wait in line.
    pub guests_max: u32,
    /// Linear memory of all guests of one operation together. A thousand of a small plugin have
    /// as much, two hundred of one with an interpreter in it; more wait in line.
    pub operation_memory_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes_max: 64 << 20,
            table_entries_max: 20_000,
            stack_bytes_max: 512 << 10,
            output_bytes_max: 8 << 20,
            log_bytes_max: 1 << 20,
            log_line_bytes_max: 16 << 10,
            check_time_max: Duration::from_secs(2),
            run_time_max: Duration::from_secs(10),
            calls_max: 100_000,
            stop_grace: Duration::from_secs(2),
            stop_by_clock: Duration::from_secs(10),
            guests_max: 1000,
            operation_memory_bytes_max: 4 << 30,
        }
    }
}
