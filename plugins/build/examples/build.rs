//! Build the plugins of a directory and print where they are.

use std::path::PathBuf;
use stepback_plugin_build::{LockFile, Stack, build};

fn main() -> anyhow::Result<()> {
    let dir = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| ".".into()));
    for (name, path) in build(&dir, &dir.join("target"), LockFile::AsItIs, Stack::Small)? {
        println!("{name}\t{}", path.display());
    }
    Ok(())
}
