//! The engine's rules held against everything that can go wrong, in one process and in memory:
//! kills at every instant, cancels at every boundary, random manifests with random faults.
//!
//! Real plugins run in the real sandbox under the real driver. A kill drops the runner's whole
//! runtime where it stands; only the store and the world are left, as after `kill -9`.

mod befall;
#[path = "../built.rs"]
mod built;
mod cases;
mod disk;
mod life;
mod mortal;
mod mutants;
mod parking;
mod quotas;
mod random;
mod sweep;
mod truth;
