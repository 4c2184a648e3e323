//! Seals: what tells whether something is another one, and nothing else.
//!
//! They are made by a key that is in no journal (HMAC), so that who reads the journal can't try out
//! guesses. An operation that began before there was a key goes on with the seals that it began
//! with: a fast hash, salted with the store's identity.

use serde_json::Value;
use sha2::{Digest, Sha256};
use stepback_core::StoreId;
use stepback_core::resource::{SEALED, SEALED_BY_KEY};
use stepback_files::key::Key;

/// How a fingerprint begins that was made by a key, whose id follows.
const BY_KEY: &str = "2:";
/// So much of a seal is kept: it tells one value from another.
const KEPT_BYTES: usize = 16;
/// The same of the salted hashes of before.
const HASH_BYTES: usize = 12;

/// By what the seals of one operation are made.
#[derive(Clone)]
pub(crate) struct Seals {
    key: Key,
    id: String,
    salt: StoreId,
    is_by_key: bool,
}

/// Whether a secret is the one that a fingerprint was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fits {
    Yes,
    No,
    /// It was made by another key.
    CantTell,
}

impl Seals {
    /// Of an operation that begins now, or began with a key.
    pub(crate) fn by_key(key: &Key, salt: StoreId) -> Self {
        Self { key: key.clone(), id: key.id(), salt, is_by_key: true }
    }

    /// Of an operation that is pinned to a key, or began when there was none.
    pub(crate) fn pinned(key: &Key, salt: StoreId, pinned: Option<&str>) -> Self {
        Self { is_by_key: pinned.is_some(), ..Self::by_key(key, salt) }
    }

    /// What the key is known by.
    pub(crate) fn key_id(&self) -> &str {
        &self.id
    }

    /// Whether commands are sealed, too; those of operations from before there was a key are not.
    pub(super) fn covers_commands(&self) -> bool {
        self.is_by_key
    }

    /// The seal of a fact's value.
    pub(super) fn of_fact(&self, value: &Value) -> String {
        let value = value.to_string();
        match self.is_by_key {
            true => format!("{SEALED_BY_KEY}{}:{}", self.id, self.mac("fact", &value)),
            false => format!("{SEALED}{}", self.hash(&value)),
        }
    }

    /// What a secret is known by again.
    pub(super) fn fingerprint(&self, name: &str, value: &str) -> String {
        format!("{BY_KEY}{}:{}", self.id, self.mac("secret", &format!("{name}={value}")))
    }

    /// Whether a secret is known by this fingerprint.
    pub(super) fn fits(&self, name: &str, value: &str, fingerprint: &str) -> Fits {
        let fits = match fingerprint.strip_prefix(BY_KEY) {
            Some(rest) if rest.split(':').next() != Some(&self.id) => return Fits::CantTell,
            Some(_) => self.fingerprint(name, value) == fingerprint,
            None => self.hash(&format!("{name}={value}")) == fingerprint,
        };
        if fits { Fits::Yes } else { Fits::No }
    }

    /// That a mark of a secret's beginning was made here, of a text that had that beginning.
    pub(super) fn proof(&self, cut: &str, beginning: &str) -> String {
        self.mac("beginning", &format!("{cut}={beginning}"))
    }

    /// Whether it is that proof; one from before there was a key proves as much.
    pub(super) fn proves(&self, cut: &str, beginning: &str, proof: &str) -> bool {
        let of_before = || self.hash(&format!("{cut}={beginning}"));
        self.proof(cut, beginning) == proof || of_before() == proof
    }

    fn mac(&self, of: &str, text: &str) -> String {
        // No store's identity has a zero byte in it.
        let seal = self.key.seal(of, format!("{}\0{text}", self.salt).as_bytes());
        hex::encode(&seal[..KEPT_BYTES])
    }

    fn hash(&self, text: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(self.salt.as_str().as_bytes());
        hash.update([0]);
        hash.update(text.as_bytes());
        hex::encode(&hash.finalize()[..HASH_BYTES])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use stepback_core::resource::Facts;
    use stepback_files::key::KEY_BYTES;

    fn key(byte: u8) -> Key {
        Key::of_bytes(&[byte; KEY_BYTES]).expect("a key")
    }

    fn seals(byte: u8) -> Seals {
        Seals::by_key(&key(byte), StoreId("store".into()))
    }

    #[test]
    fn a_seal_is_compared_by_the_key_that_made_it() {
        let facts = |seal: String| Facts::from_json(json!({ "env": { "PW": seal } }));
        let sealed = |by: &Seals, value: &str| facts(by.of_fact(&json!(value)));
        let (one, other) = (seals(1), seals(2));
        let begun = Seals::pinned(&key(1), StoreId("store".into()), None);
        for by in [&one, &begun] {
            assert!(sealed(by, "a").is_as(&sealed(by, "a")));
            assert_eq!(sealed(by, "a").differing(&sealed(by, "b")), ["env.PW"]);
            assert!(sealed(by, "a").not_comparable(&sealed(by, "b")).is_empty());
        }
        let (was, is) = (sealed(&one, "a"), sealed(&other, "a"));
        assert!(was.is_as(&is), "nobody can say that it differs");
        assert_eq!(was.not_comparable(&is), ["env.PW"]);
        assert!(!was.to_string().contains("\"a\""), "{was}");
        // The seals of before were made of the same text, and tell what they told.
        assert_eq!(begun.of_fact(&json!("a")), format!("sealed:{}", begun.hash("\"a\"")));
    }

    #[test]
    fn a_secret_is_known_by_the_key_that_it_began_with() {
        let print = seals(1).fingerprint("pw", "hunter22");
        assert_eq!(seals(1).fits("pw", "hunter22", &print), Fits::Yes);
        assert_eq!(seals(1).fits("pw", "hunter23", &print), Fits::No);
        assert_eq!(seals(1).fits("pv", "hunter22", &print), Fits::No);
        assert_eq!(seals(2).fits("pw", "hunter22", &print), Fits::CantTell);
        let of_before = seals(1).hash("pw=hunter22");
        assert_eq!(seals(2).fits("pw", "hunter22", &of_before), Fits::Yes);
        assert_eq!(seals(2).fits("pw", "hunter23", &of_before), Fits::No);
    }
}
