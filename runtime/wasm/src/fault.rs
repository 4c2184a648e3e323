//! What goes wrong with a plugin before it runs, and how a guest's run can end badly.
//!
//! A guest's own failure, a trap, a passed limit and a stop stay different things; none of them
//! is ever told from a text.

use stepback_core::{Failure, FailureClass};

/// Why a plugin can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PluginError {
    /// The bytes do not begin as WebAssembly does.
    #[error("`{name}` is not WebAssembly")]
    NotWasm {
        /// The plugin, by its name or path.
        name: String,
    },
    /// It is WebAssembly, but no component was made of it.
    #[error(
        "`{name}` is a core WebAssembly module, not a component; \
         `stepback plugin build` makes a component of it"
    )]
    CoreModule {
        /// The plugin, by its name or path.
        name: String,
    },
    /// It does not compile, or the version of its format is not known.
    #[error("`{name}` is not a valid component: {why}")]
    Invalid {
        /// The plugin, by its name or path.
        name: String,
        /// What the compiler says; the end of a long text is cut off.
        why: String,
    },
    /// Compiling it came to no end: it took too much, or its process could not be run.
    #[error("`{name}` can't be compiled: {why}")]
    Compiler {
        /// The plugin, by its name or path.
        name: String,
        /// What it took, or how its process ended.
        why: String,
    },
    /// It is a component, but does not export the steps of this contract.
    #[error("`{name}` exports no `{wanted}`: it is no Stepback plugin{hint}")]
    NotAPlugin {
        /// The plugin, by its name or path.
        name: String,
        /// The export that is missing, with its version.
        wanted: String,
        /// What it exports instead, and what to do; it ends the message, and may be empty.
        hint: String,
    },
    /// It imports something that is not there for plugins.
    #[error(
        "`{name}` imports `{import}`, which Stepback does not offer: its own interfaces are in \
         `wit/`, and of WASI 0.2 there is all but http{hint}"
    )]
    UnknownImport {
        /// The plugin, by its name or path.
        name: String,
        /// The first such import, as the component names it.
        import: String,
        /// What to do, if it is of another version; it ends the message, and may be empty.
        hint: String,
    },
    /// The names of its imports and exports are right, but not their functions and types.
    #[error("`{name}` does not fit the plugin contract: {why}")]
    WrongInterface {
        /// The plugin, by its name or path.
        name: String,
        /// What does not fit, and what to do.
        why: String,
    },
    /// Asked for its steps, it ended without an answer.
    #[error("`{name}` can't describe its steps: {fault}")]
    Describe {
        /// The plugin, by its name or path.
        name: String,
        /// How it ended.
        fault: GuestFault,
    },
    /// What a step's input or output is like can't be read.
    #[error("`{name}` describes its step `{step}` with a schema that {why}")]
    Schema {
        /// The plugin, by its name or path.
        name: String,
        /// The step's name within the plugin.
        step: String,
        /// What is wrong with it, and where, as the end of that sentence.
        why: String,
    },
    /// No plugin can be used: the sandbox itself did not start.
    #[error("the WebAssembly engine can't start: {0}")]
    Engine(String),
}

/// How a guest ended, when not with an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuestFault {
    /// The guest's own failure.
    #[error("{0}")]
    Failed(Failure),
    /// It trapped, as a panic does, or failed in the engine; the text is the cause.
    #[error("the plugin crashed: {0}")]
    Trap(String),
    /// Its memory would grow past the limit; it is ended there.
    #[error(
        "the plugin asked for more memory than it may use ({limit_mib} MiB): let the step hold \
         less at once"
    )]
    OutOfMemory {
        /// [`crate::Limits::memory_bytes_max`], in MiB.
        limit_mib: usize,
    },
    /// Its memory would grow past what all guests of its operation have together; it is ended
    /// there.
    #[error(
        "the plugin asked for more memory than is left of what all steps of the operation may \
         use together ({limit_mib} MiB): let the step hold less at once, or fewer of them run at \
         once"
    )]
    OutOfMemoryTogether {
        /// [`crate::Limits::operation_memory_bytes_max`], in MiB.
        limit_mib: usize,
    },
    /// Its tables would grow past the limit; it is ended there.
    #[error("the plugin asked for tables of more entries than it may use ({limit})")]
    TableTooLarge {
        /// [`crate::Limits::table_entries_max`].
        limit: usize,
    },
    /// It computed for too long, host calls not counted.
    #[error(
        "the plugin computed for {limit_ms} ms, the most it may, without coming to an end: it \
         loops, or does too much at once"
    )]
    OutOfTime {
        /// The limit of its mode: a check has another one than a run or an undo.
        limit_ms: u64,
    },
    /// One call or answer of it had too much text in it.
    #[error(
        "the plugin handed over more than {limit_mib} MiB at once, the most it may: let it answer \
         with less, or in parts"
    )]
    TooMuchOutput {
        /// [`crate::Limits::output_bytes_max`], in MiB.
        limit_mib: usize,
    },
    /// Its calls went too deep; endless recursion does that.
    #[error("the plugin called itself too deeply: its stack is full")]
    StackOverflow,
    /// It was told to stop before it began, or did not end within its grace.
    #[error("the plugin was stopped")]
    Stopped,
    /// It imports an interface that it may not use; it did not run.
    #[error("the plugin uses `{0}`, which it was not granted")]
    NotGranted(String),
}

impl GuestFault {
    /// The failure of the attempt: a guest's own as it is, a limit or a crash as `internal`.
    pub fn to_failure(&self) -> Failure {
        let class = match self {
            Self::Failed(failure) => return failure.clone(),
            Self::Trap(_)
            | Self::OutOfMemory { .. }
            | Self::OutOfMemoryTogether { .. }
            | Self::TableTooLarge { .. }
            | Self::OutOfTime { .. }
            | Self::TooMuchOutput { .. }
            | Self::StackOverflow => FailureClass::Internal,
            Self::Stopped => FailureClass::Cancelled,
            Self::NotGranted(_) => FailureClass::Denied,
        };
        Failure::new(class, self.to_string())
    }
}
