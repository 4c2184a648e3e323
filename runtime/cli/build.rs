//! Builds the plugins and embeds them in the program.

use std::fmt::Write;
use std::path::PathBuf;
use stepback_plugin_build::{LockFile, build};

fn main() -> anyhow::Result<()> {
    let here = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let root = here.join("../..");
    for watched in ["plugins/sdk", "plugins/ec2", "plugins/ebs", "plugins/docker", "plugins/core"] {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }
    for watched in ["plugins/Cargo.toml", "plugins/Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }
    println!("cargo::rerun-if-changed={}", root.join("wit").display());
    let plugins = root.join("plugins");
    let built = build(&plugins, &plugins.join("target"), LockFile::AsItIs)?;
    let mut table = String::from("pub const BUILTINS: &[(&str, &[u8])] = &[\n");
    for name in ["core", "docker", "ebs", "ec2"] {
        let component = built.iter().find(|(built, _)| built == name);
        let (_, path) =
            component.ok_or_else(|| anyhow::anyhow!("plugin `{name}` was not built"))?;
        let copy = out.join(format!("{name}.wasm"));
        std::fs::copy(path, &copy)?;
        writeln!(table, "    ({name:?}, include_bytes!({copy:?})),")?;
    }
    table.push_str("];\n");
    std::fs::write(out.join("builtins.rs"), table)?;
    Ok(())
}
