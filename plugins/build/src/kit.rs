//! What a plugin outside this repository is made of: the SDK, the contract, and the example as
//! something to begin with. The program carries them, and `stepback plugin new` lays them.
//!
//! Their files are found by looking, so that a new one needs no line here. What they have of the
//! workspace (versions, the release profile, the lock file) is written out, because out there is
//! no workspace.

use crate::lock;
use anyhow::{Context, bail, ensure};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The example's name, which a new plugin's stands in place of.
pub const EXAMPLE: &str = "volume-label";

/// What builds leave in a crate's directory.
const LEFT_BY_BUILDS: [&str; 2] = ["target", ".stepback"];

/// A file: its path in the new plugin, with `/`, and its text.
pub type File = (String, String);

/// Everything that a new plugin is made of.
pub struct Kit {
    /// The SDK (`sdk/`) and the contract (`wit/`), which stay Stepback's.
    pub sdk: Vec<File>,
    /// The rest, which is its author's from then on.
    pub example: Vec<File>,
    /// The version that the plugins' workspace has, such as `0.1.0`.
    pub sdk_version: String,
    /// The contract's packages with their versions, such as `stepback:step@0.2.0`.
    pub contract: Vec<String>,
}

/// Gather it from the repository at `root`.
///
/// # Errors
/// A file that can't be read or is no text; a key of the workspace that can't be written out.
pub fn gather(root: &Path) -> anyhow::Result<Kit> {
    let plugins = root.join("plugins");
    let workspace = Workspace::parse(&read(&plugins.join("Cargo.toml"))?);
    let mut sdk = vec![];
    for (path, text) in files(&plugins.join("sdk"))? {
        let text = match path.ends_with("Cargo.toml") {
            true => workspace.written_out(&text)?,
            // There the contract is beside the SDK.
            false => text.replace("\"../../wit", "\"../wit"),
        };
        sdk.push((format!("sdk/{path}"), text));
    }
    let wit = files(&root.join("wit"))?;
    let contract = packages(&wit);
    ensure!(!contract.is_empty(), "{} has no package", root.join("wit").display());
    sdk.extend(wit.into_iter().map(|(path, text)| (format!("wit/{path}"), text)));
    let mut example = vec![];
    for (path, text) in files(&plugins.join("example"))? {
        let text = match path.as_str() {
            "Cargo.toml" => workspace.standing_alone(&text)?,
            _ => text,
        };
        example.push((path, text));
    }
    let lock = lock::part(&read(&plugins.join("Cargo.lock"))?, EXAMPLE)?;
    example.push(("Cargo.lock".to_owned(), lock));
    let sdk_version = workspace.value("version")?.trim_matches('"').to_owned();
    Ok(Kit { sdk, example, sdk_version, contract })
}

/// A file of the example as a plugin called `name` has it.
///
/// # Errors
/// A lock file that does not have the example.
pub fn filled_in(path: &str, text: &str, name: &str) -> anyhow::Result<String> {
    match path {
        "Cargo.lock" => lock::renamed(text, EXAMPLE, name),
        _ => Ok(text.replace(EXAMPLE, name)),
    }
}

/// The crates that a new plugin is built with, by the lock file of the example.
pub fn crates(lock: &str) -> impl Iterator<Item = &str> {
    lock::names(lock).filter(|name| *name != EXAMPLE)
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

/// Every file below a directory, in order, but for what builds leave there.
fn files(dir: &Path) -> anyhow::Result<Vec<File>> {
    let mut paths = vec![];
    collect(dir, &mut paths)?;
    paths.sort();
    ensure!(!paths.is_empty(), "{} is empty", dir.display());
    let file = |path: &PathBuf| -> anyhow::Result<File> {
        let within = path.strip_prefix(dir)?.to_str().context("a name that is not UTF-8")?;
        Ok((within.to_owned(), read(path)?))
    };
    paths.iter().map(file).collect()
}

fn collect(dir: &Path, paths: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        let is_left =
            path.file_name().is_some_and(|name| LEFT_BY_BUILDS.iter().any(|l| name == *l))
                || path.extension().is_some_and(|extension| extension == "wasm");
        match (is_left, path.is_dir()) {
            (true, _) => {}
            (false, true) => collect(&path, paths)?,
            (false, false) => paths.push(path),
        }
    }
    Ok(())
}

/// The packages that the contract's files declare, each once.
fn packages(wit: &[File]) -> Vec<String> {
    let lines = wit.iter().flat_map(|(_, text)| text.lines());
    let names = lines.filter_map(|line| line.trim().strip_prefix("package "));
    let mut names: Vec<String> =
        names.map(|name| name.split([';', '{']).next().unwrap_or_default().trim().into()).collect();
    names.sort();
    names.dedup();
    names
}

/// What the plugins' workspace says for its members.
struct Workspace {
    /// `[workspace.package]` and `[workspace.dependencies]`, each value as it is written.
    values: BTreeMap<String, String>,
    /// `[profile.release]`, whole.
    profile: String,
}

impl Workspace {
    fn parse(text: &str) -> Self {
        let mut workspace = Self { values: BTreeMap::new(), profile: String::new() };
        let mut table = "";
        for line in text.lines() {
            table = if line.starts_with('[') { line } else { table };
            match table {
                "[workspace.package]" | "[workspace.dependencies]" => {
                    if let Some((key, value)) = line.split_once(" = ") {
                        workspace.values.insert(key.trim().to_owned(), value.to_owned());
                    }
                }
                "[profile.release]" => workspace.profile.push_str(&format!("{line}\n")),
                _ => {}
            }
        }
        workspace
    }

    fn value(&self, key: &str) -> anyhow::Result<&str> {
        let value = self.values.get(key).map(String::as_str);
        value.with_context(|| format!("the workspace of the plugins has no `{key}`"))
    }

    /// A member's `Cargo.toml` with the values in place of `key.workspace = true`.
    fn resolved(&self, manifest: &str) -> anyhow::Result<String> {
        let mut whole = String::new();
        for line in manifest.lines() {
            match line.strip_suffix(".workspace = true") {
                Some(key) => whole.push_str(&format!("{key} = {}\n", self.value(key)?)),
                None if line.contains("workspace") => bail!("this can't be written out: {line}"),
                None => whole.push_str(&format!("{line}\n")),
            }
        }
        Ok(whole)
    }

    /// The same, of a crate that may not lean on another one here: its path would lead elsewhere.
    fn written_out(&self, manifest: &str) -> anyhow::Result<String> {
        let whole = self.resolved(manifest)?;
        ensure!(!whole.contains("path = "), "the SDK depends on a crate beside it:\n{whole}");
        Ok(whole)
    }

    /// The same, of the example, as a workspace of its own.
    fn standing_alone(&self, manifest: &str) -> anyhow::Result<String> {
        let whole = self.resolved(manifest)?;
        let profile = self.profile.trim_end();
        Ok(format!(
            "{whole}\n# A workspace of its own, wherever it is.\n[workspace]\n\n{profile}\n"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    fn text<'a>(files: &'a [File], path: &str) -> &'a str {
        let found = files.iter().find(|(found, _)| found == path);
        found.map(|(_, text)| text.as_str()).unwrap_or_else(|| panic!("no {path}"))
    }

    #[test]
    fn the_kit_leans_on_nothing_outside_it() {
        let kit = gather(&repository()).expect("everything is there");
        for (path, text) in kit.sdk.iter().chain(&kit.example) {
            assert!(!text.contains("workspace = true"), "{path}:\n{text}");
            assert!(!text.contains("\"../../wit"), "{path}:\n{text}");
        }
        let manifest = text(&kit.example, "Cargo.toml");
        assert!(manifest.contains("\n[workspace]\n"), "{manifest}");
        assert!(manifest.contains("\nstepback-sdk = { path = \"sdk\" }\n"), "{manifest}");
        assert!(manifest.contains("\noverflow-checks = true\n"), "{manifest}");
        assert!(text(&kit.sdk, "sdk/src/lib.rs").contains("\"../wit\""), "where the contract is");
        assert!(!text(&kit.sdk, "sdk/Cargo.toml").is_empty());
        assert!(kit.sdk.iter().any(|(path, _)| path.ends_with(".wit")));
        assert!(kit.contract.iter().all(|package| package.contains('@')), "{:?}", kit.contract);
    }

    #[test]
    fn what_can_not_be_written_out_is_told() {
        let workspace = Workspace::parse(
            "[workspace.package]\nversion = \"1.2.3\"\n\n[workspace.dependencies]\n\
             near = { path = \"near\" }\n\n[profile.release]\nlto = true\n",
        );
        let manifest = |line: &str| format!("[package]\n{line}\n");
        let whole = workspace.written_out(&manifest("version.workspace = true"));
        assert_eq!(whole.expect("it is there"), "[package]\nversion = \"1.2.3\"\n");
        for line in
            ["edition.workspace = true", "a = { workspace = true }", "near.workspace = true"]
        {
            assert!(workspace.written_out(&manifest(line)).is_err(), "{line}");
        }
        let alone = workspace.standing_alone(&manifest("near.workspace = true"));
        assert!(alone.expect("the example may").ends_with("[profile.release]\nlto = true\n"));
    }
}
