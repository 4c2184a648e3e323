//! The program on real parts: Docker Engines, registries, loop devices, a real database.
//!
//! Where a machine has none (no root, no loop devices), each test says so in a line.

mod answers;
mod apps_document;
mod aws;
mod aws_refused;
mod bad_input;
mod commands;
mod credentials;
mod deploys;
mod documents;
mod endings;
#[allow(dead_code, reason = "HAProxy's own tests need the rest")]
mod haproxy;
mod hazards;
mod helpers;
mod kills;
#[path = "../cli/leaks.rs"]
#[allow(dead_code, reason = "the tests of the program alone need the rest")]
mod leaks;
mod left;
#[allow(dead_code, reason = "HAProxy's own tests need the rest")]
mod liar;
mod like;
mod load;
mod onebox;
mod parts;
mod place;
mod policies;
mod reboot;
mod registries;
mod rehearsed;
mod shop;
mod snapshot;
mod ssh;
mod target_groups;
mod tls;
mod turn;
