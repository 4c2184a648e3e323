//! The words and the rules of Stepback, with no I/O.
//!
//! Everything here is a function of its arguments: no clock, no file, no random source, no
//! runtime. A manifest becomes a plan, a journal becomes a state, a state and an input become
//! events and commands. What the world says comes in as inputs; what should be done to it goes
//! out as commands, and the driver in `runtime/engine` is the only one who carries them out.

pub mod actor;
pub mod calls;
pub mod cut;
pub mod diagnostic;
pub mod evaluate;
pub mod event;
pub mod expr;
pub mod failure;
pub mod grants;
pub mod ids;
pub mod image;
pub mod inputs;
pub mod interface;
pub mod machine;
pub mod manifest;
pub mod nesting;
pub mod plan;
pub mod resource;
pub mod reverse;
mod shared;
pub mod shell;
pub mod shown;
pub mod state;
pub mod step;
pub mod texts;

pub use actor::Actor;
pub use calls::{
    Call, Class, ClockCall, DockerCall, EbsCall, Ec2Call, EffectsCall, LoadBalancerCall, SettleMode,
};
pub use event::Event;
pub use failure::{Failure, FailureClass};
pub use ids::*;
pub use interface::Interface;
pub use resource::{Facts, Resource, ResourceKind};
pub use shared::{FactMap, Shared};
