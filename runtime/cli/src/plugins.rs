//! Where plugins come from: the ones in the program, the configuration's, and paths.

use crate::builtins;
use crate::config::{Config, PluginConfig, is_one_file};
use crate::files;
use crate::trusted::{Entry, Trusted};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use stepback_core::PluginDigest;
use stepback_core::grants::{Grant, Grants, Policy};
use stepback_core::manifest::Uses;
use stepback_core::step::StepInfo;
use stepback_engine::{PluginBytes, PluginSource, Unaccepted};
use stepback_wasm::Plugin;

/// A component this large is a mistake; compiling it would take minutes.
const PLUGIN_BYTES_MAX: u64 = 64 << 20;

/// The program's own plugins and the user's.
pub struct Plugins {
    configured: BTreeMap<String, PluginConfig>,
    granted_here: BTreeMap<String, Vec<Grant>>,
    policy: Policy,
    trusted: Option<Trusted>,
    trusts_new: bool,
    /// What was told of grants on the command line: once, however often a plugin is read.
    told: Mutex<BTreeSet<String>>,
}

impl Plugins {
    /// Those of an environment; of none, where nothing is run.
    pub fn new(config: &Config, environment: Option<&str>) -> Self {
        let (configured, granted_here) = (config.plugins.clone(), config.granted_here.clone());
        let policy = environment.and_then(|name| config.policies.get(name));
        let policy = policy.cloned().unwrap_or_default();
        let (trusted, trusts_new) = (config.trusted.clone(), config.trusts_new);
        let told = Mutex::default();
        Self { configured, granted_here, policy, trusted, trusts_new, told }
    }

    /// The tables of this name, or of such a path, which are for these very bytes: the project may
    /// be another checkout by now, or stand elsewhere.
    fn tables_of(&self, name: &str, digest: &str) -> Vec<&PluginConfig> {
        let written = name.strip_prefix("./").unwrap_or(name);
        let is_named = |(table, one): &(&String, &PluginConfig)| {
            is_one_file(table, name) || one.file.ends_with(written)
        };
        let tables = self.granting(self.configured.iter().filter(is_named), name, digest);
        tables.into_iter().filter(|one| one.has_bytes(digest)).collect()
    }

    /// Those of these tables that grant to these bytes: a plugin that is used by its table's name
    /// has that one alone; of others none does, as for a new operation, if one of them refuses.
    fn granting<'a>(
        &self,
        tables: impl Iterator<Item = (&'a String, &'a PluginConfig)>,
        name: &str,
        digest: &str,
    ) -> Vec<&'a PluginConfig> {
        let (own, others): (Vec<_>, Vec<_>) = tables.partition(|(table, _)| *table == name);
        let tables = if own.is_empty() { others } else { own };
        let refuses = |(_, one): &(&String, &PluginConfig)| {
            one.sha256.as_ref().is_some_and(|wanted| wanted != digest)
        };
        if tables.iter().any(refuses) {
            return vec![];
        }
        let trusts = |(table, one): &(&String, &PluginConfig)| self.trusts(table, one, digest);
        tables.into_iter().filter(trusts).map(|(_, one)| one).collect()
    }

    /// Whether a table grants to these bytes, as far as it says to which.
    fn trusts(&self, table: &str, one: &PluginConfig, digest: &str) -> bool {
        let kept = || self.trusted.as_ref().map(|trusted| trusted.entry(table));
        match &one.sha256 {
            Some(wanted) => wanted == digest,
            None => match kept() {
                // Nobody said which bytes are meant: those that are there.
                None | Some(Ok(None)) => one.has_bytes(digest),
                Some(Ok(Some(entry))) => entry.sha256 == digest,
                Some(Err(_)) => false,
            },
        }
    }

    /// What the command line grants to the path that the manifest has.
    fn here(&self, written: &str) -> Grants {
        let here = self.granted_here.iter().filter(|(named, _)| is_one_file(named, written));
        here.flat_map(|(_, grants)| grants).cloned().collect()
    }

    /// That these bytes are the ones that each of these tables grants to.
    fn must_be_trusted(&self, granted_by: &[String], entry: &Entry) -> Result<(), Unaccepted> {
        let Some(trusted) = &self.trusted else { return Ok(()) };
        let tables = self.configured.iter().filter(|(name, _)| granted_by.contains(name));
        for (name, _) in tables.filter(|(_, one)| one.sha256.is_none() && !one.grants.is_empty()) {
            let unreadable = |why: String| Unaccepted { why, help: None };
            let kept = match trusted.entry(name).map_err(unreadable)? {
                None if self.trusts_new => kept_first(trusted, name, entry)?,
                kept => kept,
            };
            if let Some(old) = kept.filter(|old| old.sha256 != entry.sha256) {
                let why = format!(
                    "plugin `{name}` is another file than the one that was trusted, with sha-256 \
                     {} and not {}: {}",
                    entry.sha256,
                    old.sha256,
                    old.changes(entry)
                );
                let help = Some(format!("if it is meant: `stepback plugin trust '{name}'`"));
                return Err(Unaccepted { why, help });
            }
        }
        Ok(())
    }
}

impl PluginSource for Plugins {
    fn plugin(&self, uses: &Uses, base_dir: &Path) -> Result<PluginBytes, Option<String>> {
        let (file, named, here): (PathBuf, Option<&str>, Grants) = match uses {
            Uses::Named { plugin, .. } => {
                if let Some(bytes) = builtins::bytes(plugin) {
                    return Ok(PluginBytes::built_in(bytes));
                }
                let configured = self.configured.get(plugin).ok_or(None)?;
                let path = configured.path.clone().ok_or(None)?;
                (path, Some(plugin), configured.granted_here.iter().cloned().collect())
            }
            Uses::Path { path, .. } => (base_dir.join(path), None, self.here(path)),
        };
        // What was read is what is granted to: the path may lead elsewhere by now.
        let opened = files::opened(&file, PLUGIN_BYTES_MAX);
        let (bytes, found) = opened.map_err(|why| match is_to_be_built(&file) {
            true => format!("{why}: `stepback plugin build` makes it"),
            false => why,
        })?;
        let is_for_it = |(name, table): &(&String, &PluginConfig)| match named {
            Some(named) => named == name.as_str(),
            None => table.is_it(&found),
        };
        let (granted_by, tables): (Vec<String>, Vec<&PluginConfig>) =
            self.configured.iter().filter(is_for_it).map(|(name, one)| (name.clone(), one)).unzip();
        let bytes: Arc<[u8]> = bytes.into();
        let digest = hex::encode(Sha256::digest(&bytes));
        for wanted in tables.iter().filter_map(|table| table.sha256.as_ref()) {
            if *wanted != digest {
                return Err(Some(format!(
                    "plugin `{}` is not the file that it is granted for: its sha-256 is {digest}, \
                     and stepback.toml says {wanted}",
                    uses.plugin()
                )));
            }
        }
        for grant in here.iter() {
            let told = format!("{} {digest} {grant}", uses.plugin());
            if self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(told) {
                tell!("granted to {} (sha256:{}): {}", uses.plugin(), digest, grant);
            }
        }
        let configured = tables.iter().flat_map(|table| &table.grants);
        let grants = configured.chain(here.iter()).cloned().collect();
        let file = std::fs::canonicalize(&file).unwrap_or(file);
        let file = Some(file.display().to_string());
        Ok(PluginBytes { bytes, grants, granted_here: here, file, granted_by })
    }

    fn names(&self) -> Vec<String> {
        let configured = self.configured.iter().filter(|(_, plugin)| plugin.path.is_some());
        let configured = configured.map(|(name, _)| name.clone());
        builtins::names().map(str::to_owned).chain(configured).collect()
    }

    fn granted_now(
        &self,
        name: &str,
        file: Option<&str>,
        digest: Option<&PluginDigest>,
    ) -> Option<Grants> {
        // What has a file is none of the program's own, whatever it is called.
        if let Some(file) = file {
            let there = self.configured.iter().filter(|(_, one)| one.is_for(Path::new(file)));
            let there: Vec<(&String, &PluginConfig)> = there.collect();
            let tables = match digest.map(PluginDigest::to_string) {
                Some(digest) if there.is_empty() => self.tables_of(name, &digest),
                // The file may have other bytes by now; what counts is which ones are trusted.
                Some(digest) => self.granting(there.into_iter(), name, &digest),
                None => there.into_iter().map(|(_, one)| one).collect(),
            };
            return Some(tables.into_iter().flat_map(|table| &table.grants).cloned().collect());
        }
        if builtins::bytes(name).is_some() {
            return Some(Grants::all());
        }
        // Older journals do not tell the file. A table that is gone grants nothing.
        let table = self.configured.get(name);
        Some(table.into_iter().flat_map(|table| &table.grants).cloned().collect())
    }

    fn accept(
        &self,
        granted_by: &[String],
        plugin: &Plugin,
        steps: &[StepInfo],
    ) -> Result<(), Unaccepted> {
        self.must_be_trusted(granted_by, &Entry::of(plugin, steps))
    }

    fn policy(&self) -> Policy {
        self.policy.clone()
    }
}

impl PluginConfig {
    /// Whether these bytes are the ones that its grants are for.
    fn has_bytes(&self, digest: &str) -> bool {
        match &self.sha256 {
            Some(wanted) => wanted == digest,
            None => {
                read(&self.file).is_ok_and(|bytes| hex::encode(Sha256::digest(&bytes)) == digest)
            }
        }
    }
}

/// What a table grants to from now on; this is its first plugin. What can't be kept would be
/// trusted anew each time, whatever it is.
fn kept_first(trusted: &Trusted, table: &str, entry: &Entry) -> Result<Option<Entry>, Unaccepted> {
    match trusted.keep_first(table, entry) {
        Ok(kept) => {
            if kept.sha256 == entry.sha256 {
                tell!("plugin `{}` is trusted as sha256:{} from now on", table, entry.sha256);
            }
            Ok(Some(kept))
        }
        Err(error) => {
            let why = format!("plugin `{table}` can't be trusted: {error}");
            let digest = &entry.sha256;
            let help = format!(
                "run it once where that can be written, and commit it; or write \
                 `sha256 = \"{digest}\"` into `[plugins.{table}]`"
            );
            Err(Unaccepted { why, help: Some(help) })
        }
    }
}

/// Whether it is not there yet, beside the crate that makes it.
fn is_to_be_built(file: &Path) -> bool {
    !file.exists() && file.with_file_name("Cargo.toml").exists()
}

/// A plugin's file.
pub fn read(path: &Path) -> Result<Arc<[u8]>, String> {
    files::bytes(path, PLUGIN_BYTES_MAX).map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ownership::Choice;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_no_table_grants_any_more_is_granted_to_nobody() {
        let (configured, granted_here) = <(BTreeMap<_, _>, BTreeMap<_, _>)>::default();
        let (policy, trusted) = (Policy::default(), None);
        let plugins = Plugins {
            configured,
            granted_here,
            policy,
            trusted,
            trusts_new: false,
            told: Mutex::default(),
        };
        for (name, file, wanted) in [
            ("ebs", None, Grants::all()),
            // A user's, of before the program had one of this name.
            ("ebs", Some("/nowhere/ebs.wasm"), Grants::none()),
            ("label", Some("/nowhere/label.wasm"), Grants::none()),
            // Of before journals told the file.
            ("label", None, Grants::none()),
        ] {
            assert_eq!(plugins.granted_now(name, file, None), Some(wanted), "{name} {file:?}");
        }
    }

    fn granted_to(file: PathBuf) -> PluginConfig {
        let grants = Grants::all().iter().take(1).cloned().collect();
        PluginConfig { path: None, file, sha256: None, grants, granted_here: vec![] }
    }

    /// A project that stands elsewhere by now grants to the bytes that are trusted, and not to
    /// those that somebody put back.
    #[test]
    fn a_table_of_a_project_that_was_moved_is_for_what_its_lock_says() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("p.wasm");
        fs::write(&file, "first").unwrap();
        let trusted = Trusted::beside(&dir.path().join("stepback.toml"), Choice::Named);
        let of = |bytes: &str| PluginDigest(hex::encode(Sha256::digest(bytes)));
        let plugins = |trusted: Option<Trusted>| Plugins {
            configured: BTreeMap::from([("p".to_owned(), granted_to(file.clone()))]),
            granted_here: BTreeMap::new(),
            policy: Policy::default(),
            trusted,
            trusts_new: true,
            told: Mutex::default(),
        };
        let granted = |trusted: Option<Trusted>| {
            let (plugins, first) = (plugins(trusted), of("first"));
            let now = plugins.granted_now("p", Some("/elsewhere/p.wasm"), Some(&first));
            now.expect("a table").iter().count()
        };
        assert_eq!(granted(None), 1);
        trusted.keep_first("p", &Entry::of_bytes(&of("second").to_string())).unwrap();
        assert_eq!(granted(Some(trusted)), 0);
        // Where nobody said which bytes are meant, those that are there.
        fs::write(&file, "third").unwrap();
        assert_eq!(granted(None), 0);
    }

    /// As for a new operation: a digest that is another one's refuses, whatever else is granted.
    #[test]
    fn what_one_table_refuses_no_other_one_grants() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("p.wasm");
        fs::write(&file, "first").unwrap();
        let digest = PluginDigest(hex::encode(Sha256::digest("first")));
        let granted = |name: &str, sha256: Option<String>| {
            let pinned = PluginConfig { sha256, ..granted_to(file.clone()) };
            let plugins = Plugins {
                configured: BTreeMap::from([
                    ("p".to_owned(), granted_to(file.clone())),
                    ("q".to_owned(), pinned),
                ]),
                granted_here: BTreeMap::new(),
                policy: Policy::default(),
                trusted: None,
                trusts_new: true,
                told: Mutex::default(),
            };
            let now = plugins.granted_now(name, file.to_str(), Some(&digest));
            now.expect("a table").iter().count()
        };
        for name in ["p", "./p.wasm"] {
            assert!(granted(name, None) > 0 && granted(name, Some(digest.to_string())) > 0);
        }
        assert_eq!(granted("./p.wasm", Some("another".to_owned())), 0);
        // What is used by its own table's name has nothing to do with other tables.
        assert!(granted("p", Some("another".to_owned())) > 0);
    }

    /// Whoever turns a link between two looks gets no grants of a file that nobody asks for.
    #[test]
    fn bytes_are_held_to_the_tables_that_granted_to_them_wherever_their_path_leads_by_now() {
        let dir = tempfile::tempdir().unwrap();
        let [good, other, link] = ["good", "other", "p"].map(|name| dir.path().join(name));
        fs::write(&good, "good").unwrap();
        fs::write(&other, "other").unwrap();
        symlink(&good, &link).unwrap();
        let plugins = Plugins {
            configured: BTreeMap::from([("good".to_owned(), granted_to(good.clone()))]),
            granted_here: BTreeMap::new(),
            policy: Policy::default(),
            trusted: Some(Trusted::beside(&dir.path().join("stepback.toml"), Choice::Named)),
            trusts_new: true,
            told: Mutex::default(),
        };
        let uses = Uses::Path { path: "p".into(), step: "x".into() };
        let given = plugins.plugin(&uses, dir.path()).unwrap();
        assert_eq!(
            (given.grants.iter().count(), &*given.granted_by),
            (1, &["good".to_owned()][..])
        );
        plugins.must_be_trusted(&given.granted_by, &Entry::of_bytes("first")).unwrap();
        fs::remove_file(&link).unwrap();
        symlink(&other, &link).unwrap();
        let told = plugins.must_be_trusted(&given.granted_by, &Entry::of_bytes("second"));
        assert!(told.unwrap_err().why.contains("is another file than the one"));
    }
}
