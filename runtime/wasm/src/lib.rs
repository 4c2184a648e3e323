//! The sandbox: compiles, caches and runs the components that steps are made of.
//!
//! A guest reaches the world through one path only ([`HostPort`]), after its grant and the mode
//! it runs in were checked; everything else is denied. What a guest may use is bounded: memory,
//! stack, its own time, what it answers and what it logs, and a guest that passes a bound ends
//! with a [`GuestFault`] that says which.
//!
//! Deliberately absent: what stands behind the port. Journaling, providers and the meaning of an
//! effect belong to `runtime/engine` and `runtime/provider`.

mod apart;
mod bindings;
mod cache;
mod engine;
mod fault;
mod guest;
mod host;
mod invocation;
mod limits;
mod load;
mod log;
mod plugin;
mod port;
mod quota;
mod runtime;
mod shared;
mod wasi;
mod watch;

pub use apart::{Compiler, compile_stdin};
pub use fault::{GuestFault, PluginError};
pub use invocation::{Grants, Interface, Invocation, Mode, StopSignal};
pub use limits::Limits;
pub use plugin::{Plugin, Ran};
pub use port::{HostPort, LogLevel, Reversed};
pub use quota::MemoryQuota;
pub use runtime::{Runtime, RuntimeConfig};
pub use shared::Turns;
