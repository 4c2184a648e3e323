//! The program, run as a process: what a person at a terminal or a CI job sees.
//!
//! One file a subject. State is in a directory of its own for each test, the world is the
//! shipped demo world, and what is asserted is exit codes, outputs and the world itself.

mod ahead;
mod bad_input;
mod bombs;
mod broken_plugins;
mod closed;
mod commands;
mod configured_secrets;
mod copies;
mod denied;
mod edges;
mod faults;
mod features;
mod files_owned;
mod first_hour;
mod forged;
mod given_anew;
mod golden;
mod granted;
mod harness;
mod hazards;
mod inside;
mod interrupts;
mod kills;
mod leaks;
mod links;
mod misbehaviour;
mod narrowed;
mod new_plugin;
mod oracle;
mod others;
mod parted;
mod pausing;
mod pinned;
mod plugin_build;
mod plugin_stamp;
mod policy;
mod practice;
mod refusals;
mod rehearse;
mod rules_and_secrets;
mod run;
mod sealed;
mod secrets;
mod shown;
mod snapshot;
mod state_dir;
mod states;
mod store;
mod story;
mod unsaid;
mod window;
mod windows;
mod world_locks;
