//! What `stepback rehearse` is given.

use super::Operation;
use clap::{Args as ClapArgs, ValueEnum};
use serde::Serialize;
use std::num::NonZeroUsize;
use std::path::PathBuf;

#[derive(Debug, ClapArgs)]
pub struct Rehearse {
    #[command(flatten)]
    pub operation: Operation,
    /// The world to begin with (TOML), instead of the environment as it is
    #[arg(long, value_name = "FILE")]
    pub world: Option<PathBuf>,
    /// How many faults befall one case
    #[arg(long, value_enum, default_value_t = FaultsArg::Single)]
    pub faults: FaultsArg,
    /// How many cases are run at once, up to four for each processor; by default one for each
    #[arg(long, value_name = "N")]
    pub jobs: Option<NonZeroUsize>,
    /// Run this one case, and tell its story
    #[arg(long, value_name = "CASE", conflicts_with = "faults")]
    pub case: Option<String>,
    /// Write the report as a page of its own, too
    #[arg(long, value_name = "FILE", conflicts_with = "case")]
    pub html: Option<PathBuf>,
    /// What ends with exit code 7
    #[arg(long, value_enum, default_value_t = FailOn::Wrong, conflicts_with = "case")]
    pub fail_on: FailOn,
    /// The report, or the case with its journal, as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailOn {
    /// A last word that is not true, a world that is not as it must be
    Wrong,
    /// That, and a service that is still down at the end of a case
    Down,
    /// That, and every weak point
    Weak,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FaultsArg {
    /// One
    Single,
    /// A second one too, wherever the operation went after the first
    Double,
}
