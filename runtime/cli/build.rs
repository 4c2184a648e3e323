//! Builds the plugins and embeds them in the program, and with them what a new plugin is made of.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use stepback_plugin_build::{LockFile, Stack, build, kit};

fn main() -> anyhow::Result<()> {
    let here = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let root = here.join("../..");
    for watched in [
        "sdk",
        "ec2",
        "ebs",
        "docker",
        "load-balancer",
        "app",
        "core",
        "testing",
        "attack",
        "forging",
        "example",
        "Cargo.toml",
        "Cargo.lock",
    ] {
        println!("cargo::rerun-if-changed={}", root.join("plugins").join(watched).display());
    }
    println!("cargo::rerun-if-changed={}", root.join("wit").display());
    let plugins = root.join("plugins");
    let built = build(&plugins, &plugins.join("target"), LockFile::AsItIs, Stack::Small)?;
    let mut table = String::from("pub const BUILTINS: &[(&str, &[u8])] = &[\n");
    for name in ["app", "core", "docker", "ebs", "ec2", "load-balancer"] {
        let component = built.iter().find(|(built, _)| built == name);
        let (_, path) =
            component.ok_or_else(|| anyhow::anyhow!("plugin `{name}` was not built"))?;
        let copy = out.join(format!("{name}.wasm"));
        std::fs::copy(path, &copy)?;
        writeln!(table, "    ({name:?}, include_bytes!({copy:?})),")?;
    }
    table.push_str("];\n");
    std::fs::write(out.join("builtins.rs"), table)?;
    std::fs::write(out.join("kit.rs"), embedded_kit(&root)?)?;
    Ok(())
}

/// The constants that `stepback plugin new` lays a crate from.
fn embedded_kit(root: &Path) -> anyhow::Result<String> {
    let kit::Kit { sdk, example, sdk_version, contract } = kit::gather(root)?;
    let mut text = String::new();
    for (name, files) in [("SDK", sdk), ("EXAMPLE", example)] {
        writeln!(text, "pub const {name}: &[(&str, &str)] = &{files:?};")?;
    }
    writeln!(text, "pub const SDK_VERSION: &str = {sdk_version:?};")?;
    writeln!(text, "pub const CONTRACT: &[&str] = &{contract:?};")?;
    Ok(text)
}
