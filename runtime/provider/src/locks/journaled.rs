//! How far the journal of each operation is that changed a world, as that world knows it.
//!
//! A journal may be put back from a backup, or be a copy: what the operation did since is in none
//! then, and would be done again, or left and called undone. One small file an operation, in
//! `journaled` below the world's directory, is written before each of its effects. It is not
//! synced: what ends a program leaves it, and what ends the machine leaves at most the guard
//! behind.

use super::open::{opened, unusable};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use stepback_core::{Failure, Seq, StoreId};
use stepback_files::private;

const DIR: &str = "journaled";
const BYTES_MAX: u64 = 16 << 10;
/// Of so many operations it is known.
const KEPT_MAX: usize = 10_000;

/// How far an operation's journal was, and where that was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journaled {
    /// The last event that the world knows to be in it.
    pub last_seq: Seq,
    /// The state directory, if it has one that can be written down.
    pub place: Option<String>,
}

/// What one world knows.
#[derive(Clone)]
pub(super) enum Known {
    /// In this directory; one turn at a time.
    Dir(PathBuf, Arc<Mutex<()>>),
    Memory(Arc<Mutex<BTreeMap<StoreId, Journaled>>>),
}

impl Known {
    pub(super) fn in_dir(world: &Path) -> Self {
        Self::Dir(world.join(DIR), Arc::default())
    }

    pub(super) fn in_memory() -> Self {
        Self::Memory(Arc::default())
    }

    /// Note how far it is; what is known already is never less afterwards.
    pub(super) fn note(&self, key: &StoreId, journaled: &Journaled) -> Result<(), Failure> {
        let is_more = |known: &Journaled| known.last_seq >= journaled.last_seq;
        match self {
            Self::Memory(all) => {
                let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                if !all.get(key).is_some_and(is_more) {
                    all.insert(key.clone(), journaled.clone());
                }
                Ok(())
            }
            Self::Dir(dir, turn) => {
                let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
                let path = dir.join(name_of(key));
                match read(&path)? {
                    Some(known) if is_more(&known) => return Ok(()),
                    Some(_) => {}
                    None => make_room(dir),
                }
                write(&path, journaled).map_err(|error| unusable("written", &path, &error))
            }
        }
    }

    /// How far it is known to be.
    pub(super) fn of(&self, key: &StoreId) -> Result<Option<Journaled>, Failure> {
        match self {
            Self::Memory(all) => {
                Ok(all.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
            }
            Self::Dir(dir, _) => read(&dir.join(name_of(key))),
        }
    }
}

/// A key may have anything in it.
fn name_of(key: &StoreId) -> String {
    let digest = Sha256::digest(key.as_str().as_bytes());
    format!("{}.json", hex::encode(&digest[..16]))
}

fn read(path: &Path) -> Result<Option<Journaled>, Failure> {
    let read = || {
        let mut text = String::new();
        opened(path, File::options().read(true))?.take(BYTES_MAX).read_to_string(&mut text)?;
        // What lost its power before it was on the disk has a name, and nothing in it.
        if text.trim_matches('\0').is_empty() {
            return Ok(None);
        }
        serde_json::from_str(&text).map(Some).map_err(std::io::Error::other)
    };
    match read() {
        Ok(found) => Ok(found),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable("read", path, &error)),
    }
}

fn write(path: &Path, journaled: &Journaled) -> std::io::Result<()> {
    let part = path.with_extension("part");
    let mut file = private::create(&part)?;
    file.write_all(&serde_json::to_vec(journaled)?)?;
    fs::rename(&part, path)
}

/// The directory, with room for one more: what was written longest ago goes.
fn make_room(dir: &Path) {
    // What can't be made is told by what is to be written there.
    let _ = private::dir(dir, &[]);
    let all: Vec<_> = fs::read_dir(dir).into_iter().flatten().flatten().collect();
    if all.len() < KEPT_MAX {
        return;
    }
    let written = |file: &fs::DirEntry| file.metadata().map(|found| found.mtime());
    let mut dated: Vec<(i64, PathBuf)> =
        all.iter().filter_map(|file| Some((written(file).ok()?, file.path()))).collect();
    dated.sort();
    for (_, path) in dated.iter().take(KEPT_MAX / 10) {
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(last_seq: u64, place: &str) -> Journaled {
        Journaled { last_seq: Seq(last_seq), place: Some(place.to_owned()) }
    }

    #[test]
    fn what_is_known_is_never_less_afterwards() {
        let world = tempfile::tempdir().unwrap();
        for known in [Known::in_dir(world.path()), Known::in_memory()] {
            let (one, two) = (StoreId("a/../b".into()), StoreId("c".into()));
            assert_eq!(known.of(&one), Ok(None));
            known.note(&one, &at(7, "x")).unwrap();
            known.note(&one, &at(3, "y")).unwrap();
            assert_eq!(known.of(&one), Ok(Some(at(7, "x"))));
            known.note(&one, &at(8, "y")).unwrap();
            assert_eq!(known.of(&one), Ok(Some(at(8, "y"))));
            assert_eq!(known.of(&two), Ok(None));
        }
    }

    #[test]
    fn a_file_that_lost_its_power_knows_nothing() {
        let world = tempfile::tempdir().unwrap();
        let (known, key) = (Known::in_dir(world.path()), StoreId("a".into()));
        known.note(&key, &at(7, "x")).unwrap();
        let path = world.path().join(DIR).join(name_of(&key));
        for lost in ["", "\0\0\0"] {
            fs::write(&path, lost).unwrap();
            assert_eq!(known.of(&key), Ok(None));
        }
        known.note(&key, &at(8, "x")).unwrap();
        assert_eq!(known.of(&key), Ok(Some(at(8, "x"))));
        fs::write(&path, "{").unwrap();
        known.of(&key).unwrap_err();
    }

    #[test]
    fn what_others_put_there_is_told_and_not_written_through() {
        let world = tempfile::tempdir().unwrap();
        let victim = world.path().join("victim");
        fs::write(&victim, "kept").unwrap();
        let (known, key) = (Known::in_dir(world.path()), StoreId("a".into()));
        known.note(&key, &at(1, "x")).unwrap();
        let path = world.path().join(DIR).join(name_of(&key));
        std::os::unix::fs::symlink(&victim, path.with_extension("part")).unwrap();
        known.note(&key, &at(2, "x")).unwrap();
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        known.note(&key, &at(3, "x")).unwrap_err();
        let told = known.of(&key).unwrap_err();
        assert!(told.message.contains(&path.display().to_string()), "{told:?}");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "kept");
    }
}
