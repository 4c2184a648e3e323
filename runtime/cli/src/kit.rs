//! The SDK and the contract that the program carries for plugins, and the stamp beside those that a
//! plugin has: which versions they are, and each file's digest, by which a change is noticed.

use crate::files::{self, TEXT_BYTES_MAX};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Component, Path};

// `SDK`, `EXAMPLE`, `SDK_VERSION` and `CONTRACT`.
include!(concat!(env!("OUT_DIR"), "/kit.rs"));

/// Where the stamp is in a plugin.
pub const STAMP: &str = "sdk/version.toml";
const HEAD: &str = "\
# Written by `stepback plugin new` and `stepback plugin update`: what they laid into `sdk/` and
# `wit/`, so that a newer one is not laid over what was changed by hand.

";

/// What was laid into a plugin.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stamp {
    pub sdk: String,
    pub contract: Vec<String>,
    /// The sha-256 of each file, by its path in the plugin.
    pub files: BTreeMap<String, String>,
}

impl Stamp {
    /// What this program lays.
    pub fn carried() -> Self {
        let files = SDK.iter().map(|(path, text)| ((*path).to_owned(), digest(text.as_bytes())));
        let contract = CONTRACT.iter().map(|package| (*package).to_owned());
        Self { sdk: SDK_VERSION.to_owned(), contract: contract.collect(), files: files.collect() }
    }

    /// Where none can be read: nothing is known of what was laid.
    pub fn lost() -> Self {
        Self { sdk: "unknown".to_owned(), contract: vec![], files: BTreeMap::new() }
    }

    /// The stamp of the plugin in this directory.
    ///
    /// # Errors
    /// Why it can't be read, or that it is none.
    pub fn read(dir: &Path) -> Result<Self, String> {
        let path = dir.join(STAMP);
        if std::fs::symlink_metadata(&path).is_ok_and(|found| !found.is_file()) {
            return Err(format!("{} is no file", path.display()));
        }
        let text = files::text(&path, TEXT_BYTES_MAX)?;
        let stamp: Self = toml::from_str(&text)
            .map_err(|error| format!("{} is no stamp: {}", path.display(), error.message()))?;
        // What it names is written over and removed.
        match stamp.files.keys().find(|path| !is_of_kit(path)) {
            Some(odd) => Err(format!("{} names {odd:?}, outside sdk/ and wit/", path.display())),
            None => Ok(stamp),
        }
    }

    /// Its file.
    pub fn text(&self) -> String {
        let body = toml::to_string(self).unwrap_or_default();
        format!("{HEAD}{body}")
    }

    /// The versions in words.
    pub fn versions(&self) -> String {
        format!("SDK {}, contract {}", self.sdk, self.contract.join(", "))
    }

    /// Whether this SDK came after another.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        let numbers = |version: &str| -> Vec<u64> {
            version.split('.').map_while(|number| number.parse().ok()).collect()
        };
        let package = |one: &str| -> Option<(String, Vec<u64>)> {
            let (name, version) = one.split_once('@')?;
            Some((name.to_owned(), numbers(version)))
        };
        let known: BTreeMap<_, _> = other.contract.iter().filter_map(|one| package(one)).collect();
        let is_newer = |(name, version)| known.get(&name).is_none_or(|known| version > *known);
        numbers(&self.sdk) > numbers(&other.sdk)
            || self.contract.iter().filter_map(|one| package(one)).any(is_newer)
    }
}

/// Whether a path leads to a file of the SDK or of the contract, and nowhere else.
fn is_of_kit(path: &str) -> bool {
    let mut parts = Path::new(path).components();
    let first = parts.next();
    let is_in = ["sdk", "wit"].iter().any(|dir| first == Some(Component::Normal(dir.as_ref())));
    is_in && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// The sha-256 of a file's bytes.
pub fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_leads_to_nothing_else() {
        for (path, is_good) in [
            ("sdk/src/lib.rs", true),
            ("wit/a/b.wit", true),
            ("src/lib.rs", false),
            ("sdk/../src/lib.rs", false),
            ("/sdk/src/lib.rs", false),
            ("", false),
        ] {
            assert_eq!(is_of_kit(path), is_good, "{path}");
        }
    }

    #[test]
    fn versions_are_numbers() {
        let of = |sdk: &str| Stamp { sdk: sdk.to_owned(), ..Stamp::carried() };
        assert!(of("0.10.0").is_newer_than(&of("0.9.9")));
        assert!(!of("0.9.9").is_newer_than(&of("0.10.0")));
        assert!(!of("1.0.0").is_newer_than(&of("1.0.0")));
    }
}
