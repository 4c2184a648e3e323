//! Values of secrets that nobody knows any more, found where they stand.
//!
//! A secret is gone, or was given anew with another value, and what a step reads of the world may
//! hold the old one: a tag that somebody wrote. The journal has its fingerprint; each part of a
//! short text is tried against that before the text goes anywhere.

use super::seals::{Fits, Seals};
use super::{Found, Secrets, met};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So many parts of texts are tried by one runner.
const TRIES_MAX: usize = 2_000_000;

/// The secrets whose value is not known, and those that were found since.
#[derive(Default)]
pub(super) struct Unmet {
    /// By name, the fingerprints of what it was.
    known: BTreeMap<String, Vec<String>>,
    /// Those that can't be had at all: their mark is that of the secret.
    missing: BTreeSet<String>,
    seals: Option<Seals>,
    met: Mutex<Met>,
}

/// What was found.
struct Met {
    /// By name, what takes it out.
    by: BTreeMap<String, Arc<Secrets>>,
    tries: usize,
}

impl Default for Met {
    fn default() -> Self {
        Self { by: BTreeMap::new(), tries: TRIES_MAX }
    }
}

impl Unmet {
    /// Of these nothing is known.
    pub(super) fn named<'a>(names: impl Iterator<Item = &'a String>) -> Self {
        let known = names.map(|name| (name.clone(), vec![])).collect();
        Self { known, ..Self::default() }
    }

    pub(super) fn of(
        known: BTreeMap<String, Vec<String>>,
        missing: &BTreeMap<String, String>,
        seals: &Seals,
    ) -> Self {
        let missing = missing.keys().cloned().collect();
        Self { known, missing, seals: Some(seals.clone()), met: Mutex::default() }
    }

    pub(super) fn are_none(&self) -> bool {
        self.known.is_empty()
    }

    /// These are known by now.
    pub(super) fn are_met<'a>(&mut self, names: impl Iterator<Item = &'a String>) {
        names.for_each(|name| drop(self.known.remove(name)));
    }

    /// Those that were not found yet.
    pub(super) fn names(&self) -> Vec<String> {
        let met = self.met();
        self.known.keys().filter(|name| !met.by.contains_key(*name)).cloned().collect()
    }

    /// A text without what is found in it.
    pub(super) fn taken_out_of(&self, text: String) -> String {
        self.met_by(&text).iter().fold(text, |text, one| one.redact_written(text))
    }

    /// Those that were found by now, this text's with them.
    pub(super) fn met_by(&self, text: &str) -> Vec<Arc<Secrets>> {
        let Some(seals) = self.seals.as_ref().filter(|_| !self.known.is_empty()) else {
            return vec![];
        };
        let mut met = self.met();
        let unmet = self.known.keys().filter(|name| !met.by.contains_key(*name));
        let unmet: Vec<&String> = unmet.collect();
        let fits = |name: &str, value: &str| {
            let known = self.known.get(name).into_iter().flatten();
            known.into_iter().any(|known| seals.fits(name, value, known) == Fits::Yes)
        };
        for (name, value) in met::parts(text, &unmet, &fits, &mut met.tries) {
            let shown = match self.missing.contains(&name) {
                true => name.clone(),
                // The mark without more is its new value's.
                false => format!("{name}#before"),
            };
            let found = Found::from([(shown, Ok(value))]);
            let found = Secrets::of(found, vec![], seals.clone());
            met.by.insert(name, Arc::new(found));
        }
        met.by.values().cloned().collect()
    }

    /// What a mark stands for that was made here.
    pub(super) fn stands_for(&self, mark: &str) -> Option<String> {
        let by: Vec<Arc<Secrets>> = self.met().by.values().cloned().collect();
        by.iter().find_map(|one| one.stands_for(mark).map(str::to_owned))
    }

    fn met(&self) -> MutexGuard<'_, Met> {
        self.met.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepback_core::StoreId;
    use stepback_core::expr::secret_placeholder;
    use stepback_files::key::{KEY_BYTES, Key};

    #[test]
    fn what_a_secret_was_is_taken_out_wherever_it_stands() {
        let key = Key::of_bytes(&[7; KEY_BYTES]).expect("a key");
        let seals = Seals::by_key(&key, StoreId("store".into()));
        let print = seals.fingerprint("pw", "p@ss-Secret77");
        let known = BTreeMap::from([("pw".to_owned(), vec![print])]);
        let now = Found::from([("pw".to_owned(), Ok("Other-Secret88".to_owned()))]);
        let secrets = Secrets::of(now, vec![], seals.clone()).having_had(known.clone());
        let told = secrets.redact_written("u:p@ss-Secret77 Other-Secret88".to_owned());
        let before = secret_placeholder("pw#before");
        assert_eq!(told, format!("u:{before} {}", secret_placeholder("pw")));
        assert_eq!(secrets.reveal_text(&told), "u:p@ss-Secret77 Other-Secret88");
        // It is known from then on, in a longer text and in any form.
        let long = format!("{} p%40ss%2DSecret77", "x".repeat(3000));
        assert!(!secrets.redact_written(long).contains("Secret77"));

        let gone = Found::from([("pw".to_owned(), Err("it is gone".to_owned()))]);
        let secrets = Secrets::of(gone, vec![], seals.clone()).having_had(known.clone());
        let told = secrets.redact_written("dTpwQHNzLVNlY3JldDc3".to_owned());
        assert!(told.contains("secret:pw#base64"), "{told}");
        assert_eq!(secrets.unmet.names(), [""; 0]);
        // The one that it has is no old one.
        let same = Found::from([("pw".to_owned(), Ok("p@ss-Secret77".to_owned()))]);
        assert!(Secrets::of(same, vec![], seals).having_had(known).unmet.are_none());
    }
}
