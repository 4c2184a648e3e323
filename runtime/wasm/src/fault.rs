//! What goes wrong with a plugin before it runs, and how a guest's run can end badly.
//!
//! A guest's own failure, a trap, a passed limit and a stop stay different things; none of them
//! is ever told from a text.

use stepback_core::{Failure, FailureClass};

/// Why a plugin can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PluginError {
    #[error("`{name}` is not WebAssembly")]
    NotWasm { name: String },
    #[error(
        "`{name}` is a core WebAssembly module, not a component; \
         `stepback plugin build` makes a component of it"
    )]
    CoreModule { name: String },
    #[error("`{name}` is not a valid component: {why}")]
    Invalid { name: String, why: String },
    #[error("`{name}` exports no `{wanted}`: it is no Stepback plugin{hint}")]
    NotAPlugin { name: String, wanted: String, hint: String },
    #[error(
        "`{name}` imports `{import}`, which Stepback does not offer: its own interfaces are in \
         `wit/`, and of WASI 0.2 there is all but http{hint}"
    )]
    UnknownImport { name: String, import: String, hint: String },
    #[error("`{name}` does not fit the plugin contract: {why}")]
    WrongInterface { name: String, why: String },
    #[error("`{name}` can't describe its steps: {fault}")]
    Describe { name: String, fault: GuestFault },
    #[error("`{name}` describes its step `{step}` with a schema that is not JSON: {why}")]
    Schema { name: String, step: String, why: String },
    #[error("the WebAssembly engine can't start: {0}")]
    Engine(String),
}

/// How a guest ended, when not with an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuestFault {
    /// The guest's own failure.
    #[error("{0}")]
    Failed(Failure),
    #[error("the plugin crashed: {0}")]
    Trap(String),
    #[error(
        "the plugin asked for more memory than it may use ({limit_mib} MiB): let the step hold \
         less at once"
    )]
    OutOfMemory { limit_mib: usize },
    #[error("the plugin asked for tables of more entries than it may use ({limit})")]
    TableTooLarge { limit: usize },
    #[error(
        "the plugin computed for {limit_ms} ms, the most it may, without coming to an end: it \
         loops, or does too much at once"
    )]
    OutOfTime { limit_ms: u64 },
    #[error(
        "the plugin handed over more than {limit_mib} MiB at once, the most it may: let it answer \
         with less, or in parts"
    )]
    TooMuchOutput { limit_mib: usize },
    #[error("the plugin called itself too deeply: its stack is full")]
    StackOverflow,
    #[error("the plugin was stopped")]
    Stopped,
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
