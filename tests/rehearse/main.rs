//! Rehearsals: of the shipped operations, in which nothing is wrong, and of ones with a defect,
//! which must be found and named.

#[path = "../built.rs"]
mod built;
mod down;
mod everyday;
mod for_good;
mod harness;
mod looked;
mod shipped;
mod teeth;
mod told;
