//! The AWS provider on moto's server.
//!
//! moto speaks EC2's wire and keeps a world, but it is laxer than EC2: it ignores client tokens,
//! lets an attached volume be attached again and a running instance change its type, knows no
//! cool-down of modifications, and is never between two states; its target groups know a target
//! by its id alone, call it healthy at once, and let go of it at once. Where a case needs more, a
//! proxy answers in AWS's place, or the case says what is left out.

mod balancers;
mod bench;
mod conformance;
mod keys;
mod moto;
mod permitted;
#[allow(dead_code, reason = "the conformance suite asks engines through it, too")]
mod proxy;
mod refusals;
mod states;
mod target_groups;
