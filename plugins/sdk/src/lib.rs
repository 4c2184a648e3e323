//! Write a step of Stepback in Rust: typed input and output, a check, a run, and an undo.
//!
//! Implement [`Step`] and name it in [`export_steps!`]. Schemas come from the types. The default
//! undo takes back each effect of the step, newest first, to the state that effect found, so most
//! steps write none. The world is reached through [`ec2`], [`ebs`], [`docker`],
//! [`load_balancer`] and [`clock`];
//! a component imports only what it uses, and what it imports must be granted to it.
//!
//! ```
//! use stepback_sdk::{Failure, Step, ebs, export_steps};
//!
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Input {
//!     volume: String,
//! }
//!
//! struct MarkForAudit;
//!
//! impl Step for MarkForAudit {
//!     type Input = Input;
//!     type Output = ();
//!     const NAME: &'static str = "mark-for-audit";
//!     const DOC: &'static str = "Tag a volume so that the auditors find it.";
//!
//!     fn run(input: Input) -> Result<(), Failure> {
//!         ebs::tag(&input.volume, "audit", "pending")
//!     }
//! }
//!
//! export_steps!(MarkForAudit);
//! # fn main() {}
//! ```

mod duration;
pub mod host;
mod step;
mod tags;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod words;

#[doc(hidden)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "plugin",
        generate_all,
        pub_export_macro: true,
        default_bindings_module: "stepback_sdk::bindings",
        additional_derives: [serde::Serialize, serde::Deserialize, PartialEq],
    });
}

#[doc(hidden)]
pub mod entry;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use host::functions;

pub use bindings::exports::stepback::step::steps::{Change, Past, PastEffect};
pub use bindings::stepback::types::types::{Failure, FailureClass, Pair};
pub use duration::Duration;
pub use host::{clock, docker, ebs, ec2, effects, load_balancer, log};
pub use step::{
    Check, NOT_KNOWN_YET, Step, Undo, failure, granted, may, may_take_back, pairs, precondition,
    reverse_effects, tag_map,
};
pub use tags::{no_room_for, unfit_tag, unfit_tags};
pub use words::UnknownWord;
