//! What `stepback rehearse` is given.

use super::Operation;
use clap::{Args as ClapArgs, ValueEnum};
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
    /// How many cases are run at once; by default as many as there are processors
    #[arg(long, value_name = "N")]
    pub jobs: Option<NonZeroUsize>,
    /// Run this one case, and tell its story
    #[arg(long, value_name = "CASE", conflicts_with = "faults")]
    pub case: Option<String>,
    /// Write the report as a page of its own, too
    #[arg(long, value_name = "FILE", conflicts_with = "case")]
    pub html: Option<PathBuf>,
    /// The report, or the case with its journal, as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FaultsArg {
    /// One
    Single,
    /// A second one too, wherever the operation went after the first
    Double,
}
