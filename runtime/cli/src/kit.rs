//! The SDK and the contract that the program carries for plugins, and the stamp beside those that a
//! plugin has: which versions they are, and each file's digest, by which a change is noticed.

use crate::files::{self, TEXT_BYTES_MAX};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::Path;

// `SDK`, `EXAMPLE`, `SDK_VERSION` and `CONTRACT`.
include!(concat!(env!("OUT_DIR"), "/kit.rs"));

/// Where the stamp is in a plugin.
pub const STAMP: &str = "sdk/version.toml";
const HEAD: &str = "\
# Written by `stepback plugin new` and `stepback plugin update`: what they laid into `sdk/` and
# `wit/`, so that a newer one is not laid over what was changed by hand.

";

/// What was laid into a plugin. A newer program may say more in it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
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
            Some(odd) => {
                Err(format!("{} names {odd:?}, which is no file in sdk/ or wit/", path.display()))
            }
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
        match numbers(&self.sdk).cmp(&numbers(&other.sdk)) {
            // A package that is not known may be one that there is no more.
            Ordering::Less => false,
            Ordering::Greater => true,
            Ordering::Equal => self.contract.iter().filter_map(|one| package(one)).any(is_newer),
        }
    }
}

/// Whether a path leads to a file of the SDK or of the contract, and nowhere else, and is written
/// as it is laid: another way to write it would be taken for another file.
fn is_of_kit(path: &str) -> bool {
    let mut parts = path.split('/');
    let is_in = parts.next().is_some_and(|dir| dir == "sdk" || dir == "wit");
    let rest: Vec<&str> = parts.collect();
    let is_plain = |part: &&str| !matches!(*part, "" | "." | "..");
    is_in && !rest.is_empty() && rest.iter().all(is_plain) && path != STAMP
}

/// The sha-256 of a file's bytes.
pub fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The same of a text whose lines end as they were laid, whatever Git or an editor made of them.
pub fn digest_of_lines(bytes: &[u8]) -> String {
    let mut laid = Vec::with_capacity(bytes.len());
    for (at, byte) in bytes.iter().enumerate() {
        if *byte != b'\r' || bytes.get(at + 1) != Some(&b'\n') {
            laid.push(*byte);
        }
    }
    digest(&laid)
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
            ("sdk//src/lib.rs", false),
            ("sdk/./src/lib.rs", false),
            ("sdk/src/", false),
            ("sdk", false),
            ("sdk/version.toml", false),
            ("", false),
        ] {
            assert_eq!(is_of_kit(path), is_good, "{path}");
        }
    }

    #[test]
    fn how_lines_end_is_no_change() {
        assert_eq!(digest_of_lines(b"a\r\nb\r\n"), digest(b"a\nb\n"));
        assert_eq!(digest_of_lines(b"a\rb\n\r"), digest(b"a\rb\n\r"));
    }

    #[test]
    fn versions_are_numbers() {
        let of = |sdk: &str| Stamp { sdk: sdk.to_owned(), ..Stamp::carried() };
        assert!(of("0.10.0").is_newer_than(&of("0.9.9")));
        assert!(!of("0.9.9").is_newer_than(&of("0.10.0")));
        assert!(!of("1.0.0").is_newer_than(&of("1.0.0")));
        // An older one may have had a package that was given up since.
        let with = |sdk: &str| Stamp { contract: vec!["stepback:old@9.0.0".into()], ..of(sdk) };
        assert!(!with("0.9.9").is_newer_than(&of("1.0.0")));
        assert!(with("1.0.0").is_newer_than(&of("1.0.0")));
    }
}
