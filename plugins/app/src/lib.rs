//! Steps on apps: containers in several copies, on several hosts, behind a load balancer.
//!
//! An app is whatever has the label `app` with its name. A release is one set of its containers,
//! `NAME-rN-K`; what is there when a deploy begins, of whatever release and whether it gets traffic
//! or not, is old to it, so that what an interrupted one has left goes with the next.

mod found;
mod running;
mod survey;

pub use found::{Old, OldTarget, There};
pub use running::*;
pub use survey::*;

stepback_sdk::export_steps!(Survey, SurveyRunning);

#[cfg(test)]
mod tests;
