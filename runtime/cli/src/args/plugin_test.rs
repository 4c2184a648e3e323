//! What `stepback plugin test` is given.

use clap::Args as ClapArgs;
use std::num::NonZeroUsize;
use std::path::PathBuf;

#[derive(Debug, ClapArgs)]
pub struct PluginTest {
    /// A path to a `.wasm`, or a built-in plugin's name
    pub plugin: String,
    /// Only this step; may be given again
    #[arg(long = "step", value_name = "STEP")]
    pub steps: Vec<String>,
    /// What a step is given, as in a manifest: `--with 'label={ volume = "vol-free" }'`
    ///
    /// Without it, the first input of those that the step's schema and the world suggest with which
    /// it comes to its end and does something. `examples` in the schema come first.
    #[arg(long, value_name = "STEP={ … }")]
    pub with: Vec<String>,
    /// The world to begin with (TOML), instead of a small one of its own
    #[arg(long, value_name = "FILE")]
    pub world: Option<PathBuf>,
    /// How many cases are run at once, up to four for each processor; by default one for each
    #[arg(long, value_name = "N")]
    pub jobs: Option<NonZeroUsize>,
    /// Run this one case of the one step, and tell its story
    #[arg(long, value_name = "CASE", requires = "steps")]
    pub case: Option<String>,
    /// What each step was given, and its report, as JSON
    #[arg(long, conflicts_with = "case")]
    pub json: bool,
}
