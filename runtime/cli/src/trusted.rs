//! `stepback.lock`: which bytes of each plugin the configuration's grants are for.
//!
//! It stands beside `stepback.toml`, and has for each table of a plugin the digest, the imports
//! and the steps of the file that was trusted: by the first run, by `plugin build`, or by `plugin
//! trust`. Another file at the same path is refused, with what has changed in it.

use crate::files::{self, TEXT_BYTES_MAX};
use crate::ownership::{self, Choice};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use stepback_core::step::StepInfo;
use stepback_wasm::Plugin;

const FILE: &str = "stepback.lock";
const HEAD: &str = "# The files that the grants of stepback.toml are for; `stepback plugin trust` \
                    changes it.\n\n";

/// What is kept of one plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub sha256: String,
    imports: BTreeSet<String>,
    /// By name; one that can't be undone says so.
    steps: BTreeSet<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    plugins: BTreeMap<String, Entry>,
}

/// Where the file is, and how the configuration beside it came to be used.
#[derive(Clone, Debug)]
pub struct Trusted {
    path: PathBuf,
    choice: Choice,
}

impl Entry {
    pub fn of(plugin: &Plugin, steps: &[StepInfo]) -> Self {
        let step = |info: &StepInfo| match info.reversible {
            true => info.name.clone(),
            false => format!("{} (can't be undone)", info.name),
        };
        Self {
            sha256: plugin.digest().to_string(),
            imports: plugin.imports().iter().map(|one| one.name().to_owned()).collect(),
            steps: steps.iter().map(step).collect(),
        }
    }

    /// What is another in a newer one, in words.
    pub fn changes(&self, newer: &Entry) -> String {
        let of = |what: &str, old: &BTreeSet<String>, new: &BTreeSet<String>| -> Vec<String> {
            let came = new.difference(old).map(|one| format!("+ {what} {one}"));
            let gone = old.difference(new).map(|one| format!("- {what} {one}"));
            came.chain(gone).collect()
        };
        let mut told = of("import", &self.imports, &newer.imports);
        told.extend(of("step", &self.steps, &newer.steps));
        match told.is_empty() {
            true => "its imports and steps are the same".to_owned(),
            false => told.join(", "),
        }
    }
}

impl Trusted {
    /// The one beside a configuration.
    pub fn beside(config: &Path, choice: Choice) -> Self {
        Self { path: config.with_file_name(FILE), choice }
    }

    fn read(&self) -> Result<Written, String> {
        if !self.path.exists() {
            return Ok(Written::default());
        }
        ownership::neighbour_must_be_obeyed(&self.path, self.choice)?;
        let text = files::text(&self.path, TEXT_BYTES_MAX)?;
        toml::from_str(&text)
            .map_err(|error| format!("{}: {}", self.path.display(), error.message()))
    }

    /// What is kept of a plugin, by the name of its table.
    ///
    /// # Errors
    /// Why nobody can say.
    pub fn entry(&self, table: &str) -> Result<Option<Entry>, String> {
        Ok(self.read()?.plugins.remove(table))
    }

    /// Keep what a plugin is from now on.
    ///
    /// # Errors
    /// Why it can't be kept.
    pub fn keep(&self, table: &str, entry: Entry) -> Result<(), String> {
        let mut written = self.read()?;
        written.plugins.insert(table.to_owned(), entry);
        let unwritten = |why: String| format!("{} can't be written: {why}", self.path.display());
        let text = toml::to_string(&written).map_err(|error| unwritten(error.to_string()))?;
        let kept = files::write_whole(&self.path, format!("{HEAD}{text}"), files::FOR_ALL);
        kept.map_err(|error| unwritten(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_changed_is_told() {
        let entry = |imports: &[&str], steps: &[&str]| Entry {
            sha256: String::new(),
            imports: imports.iter().map(|&one| one.to_owned()).collect(),
            steps: steps.iter().map(|&one| one.to_owned()).collect(),
        };
        let old = entry(&["ebs", "log"], &["label"]);
        assert_eq!(old.changes(&old), "its imports and steps are the same");
        let new = entry(&["docker", "ebs"], &["label (can't be undone)"]);
        let wanted = "+ import docker, - import log, + step label (can't be undone), - step label";
        assert_eq!(old.changes(&new), wanted);
    }
}
