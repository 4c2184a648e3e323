//! `stepback.lock`: which bytes of each plugin the configuration's grants are for.
//!
//! It stands beside `stepback.toml`, and has for each table of a plugin the digest, the imports
//! and the steps of the file that was trusted: by the first run, by `plugin build`, or by `plugin
//! trust`. Another file at the same path is refused, with what has changed in it.

use crate::files::{self, TEXT_BYTES_MAX};
use crate::ownership::{self, Choice};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::step::StepInfo;
use stepback_files::lock::{self, Patience};
use stepback_wasm::Plugin;

const FILE: &str = "stepback.lock";
const HEAD: &str = "# The files that the grants of stepback.toml are for; `stepback plugin trust` \
                    changes it.\n\n";
/// Nobody takes so long to write it.
const TURN_MAX: Duration = Duration::from_secs(2);

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

    /// That of some bytes, which do nothing.
    #[cfg(test)]
    pub fn of_bytes(sha256: &str) -> Self {
        let (imports, steps) = Default::default();
        Self { sha256: sha256.to_owned(), imports, steps }
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
        // A link that leads nowhere is no lock file, and one that may not be looked at may be one.
        match self.path.symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Written::default()),
            Ok(_) | Err(_) => {}
        }
        ownership::neighbour_must_be_obeyed(&self.path, self.choice)?;
        let text = files::text(&self.path, TEXT_BYTES_MAX)?;
        toml::from_str(&text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            format!(
                "{}:{}: {}: put it right (of a merge, take one side whole); what is not in it \
                 then, `stepback plugin trust NAME` puts there",
                self.path.display(),
                before.matches('\n').count() + 1,
                error.message()
            )
        })
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
        let _turn = self.turn();
        let mut written = self.read()?;
        written.plugins.insert(table.to_owned(), entry);
        self.write(&written)
    }

    /// Keep what a plugin is that was not seen yet; gives what counts from now on, which another
    /// program may have kept a moment ago.
    ///
    /// # Errors
    /// Why it can't be kept.
    pub fn keep_first(&self, table: &str, entry: &Entry) -> Result<Entry, String> {
        let _turn = self.turn();
        let mut written = self.read()?;
        if let Some(kept) = written.plugins.get(table) {
            return Ok(kept.clone());
        }
        written.plugins.insert(table.to_owned(), entry.clone());
        self.write(&written).map(|()| entry.clone())
    }

    fn write(&self, written: &Written) -> Result<(), String> {
        let unwritten = |why: String| format!("{} can't be written: {why}", self.path.display());
        let text = toml::to_string(written).map_err(|error| unwritten(error.to_string()))?;
        let kept = files::write_whole(&self.path, format!("{HEAD}{text}"), files::FOR_ALL);
        kept.map_err(|error| unwritten(error.to_string()))
    }

    /// This program's turn to read it and write it anew: the lock of its directory. Whoever keeps
    /// that for long is a stranger, and keeps nobody from it; nor does a directory without locks.
    fn turn(&self) -> Option<File> {
        let dir = self.path.parent()?;
        let opened = File::open(dir).ok()?;
        let locked = lock::within(&opened, dir, &Clock::real(), Patience::of(TURN_MAX));
        locked.is_ok().then_some(opened)
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

    fn beside(dir: &Path) -> Trusted {
        Trusted::beside(&dir.join("stepback.toml"), Choice::Named)
    }

    /// "There is none" is what a first run goes by.
    #[test]
    fn a_lock_file_that_can_not_be_read_is_not_taken_for_none() {
        let dir = tempfile::tempdir().unwrap();
        let trusted = beside(dir.path());
        assert_eq!(trusted.entry("a"), Ok(None));
        std::os::unix::fs::symlink("nowhere", dir.path().join(FILE)).unwrap();
        assert!(trusted.entry("a").unwrap_err().contains("can't be read"));
        trusted.keep_first("a", &Entry::of_bytes("one")).unwrap_err();
        // Nor is one whose directory can't be looked into.
        std::fs::write(dir.path().join("file"), "").unwrap();
        let trusted = beside(&dir.path().join("file"));
        assert!(trusted.entry("a").unwrap_err().contains("can't be read"));
    }

    #[test]
    fn two_programs_lose_nothing_of_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let (trusted, other) = (beside(dir.path()), beside(dir.path()));
        let turn = trusted.turn().expect("it is free");
        let (ended, is_ended) = std::sync::mpsc::channel();
        let keeping = std::thread::spawn(move || {
            let kept = other.keep_first("a", &Entry::of_bytes("two"));
            let kept = kept.and_then(|kept| Ok((kept, other.keep("b", Entry::of_bytes("b"))?)));
            // The other one may have given up by then.
            let _ = ended.send(());
            kept
        });
        // Whoever waits for the turn is not through by then.
        let early = is_ended.recv_timeout(Duration::from_millis(100)).is_ok();
        assert!(!early, "it did not wait for its turn");
        let mut written = Written::default();
        written.plugins.insert("a".to_owned(), Entry::of_bytes("one"));
        trusted.write(&written).unwrap();
        drop(turn);
        let (kept, ()) = keeping.join().unwrap().unwrap();
        assert_eq!(kept.sha256, "one", "the first one counts");
        let entry = |table: &str| trusted.entry(table).unwrap().map(|entry| entry.sha256);
        assert_eq!((entry("a"), entry("b")), (Some("one".to_owned()), Some("b".to_owned())));
    }
}
