//! Build the plugins of a directory and print where they are.

use std::path::PathBuf;

fn main() -> anyhow::Result<()> {
    let dir = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| ".".into()));
    for (name, path) in stepback_plugin_build::build(&dir, &dir.join("target"))? {
        println!("{name}\t{}", path.display());
    }
    Ok(())
}
