//! Rehearsals: of the shipped operations, in which nothing is wrong, and of ones with a defect,
//! which must be found and named.

#[path = "../built.rs"]
mod built;
mod everyday;
mod harness;
mod shipped;
mod teeth;
mod told;
