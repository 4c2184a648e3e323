//! How far the journal of each operation is that changed a world, as that world knows it.
//!
//! A journal may be put back from a backup, or be a copy: what the operation did since is in none
//! then, and would be done again, or left and called undone. One small file an operation, in
//! `journaled` below the world's directory, is written before effects are made, once for all that
//! the journal took in together. It is not synced: it outlives its program, and a power cut may
//! lose it; then only an older copy of the journal is not known as one.

use super::open::{is_named, made_ours, open_or_make, opened, unusable};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::{Failure, Seq, StoreId};
use stepback_files::lock::{self, Patience};

const DIR: &str = "journaled";
const BYTES_MAX: u64 = 16 << 10;
/// Of so many it is known; beyond that those are forgotten that ended.
const KEPT_MAX: usize = 10_000;
/// Nobody takes so long to write one.
const TURN_MAX: Duration = Duration::from_secs(5);

/// How far an operation's journal was, and where that was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journaled {
    /// The last event that the world knows to be in it.
    pub last_seq: Seq,
    /// The state directory, if it has one that can be written down.
    pub place: Option<String>,
    /// Whether the operation has ended: what is known of it may be forgotten, after a while.
    #[serde(default)]
    pub has_ended: bool,
}

impl Journaled {
    fn covers(&self, other: &Self) -> bool {
        (self.last_seq, self.has_ended) >= (other.last_seq, other.has_ended)
    }
}

/// What one world knows.
#[derive(Clone)]
pub(super) enum Known {
    /// In this directory; one turn at a time at what is known of an operation.
    Dir(PathBuf, Clock),
    Memory(Arc<Mutex<BTreeMap<StoreId, Journaled>>>),
}

impl Known {
    pub(super) fn in_dir(world: &Path, clock: Clock) -> Self {
        Self::Dir(world.join(DIR), clock)
    }

    pub(super) fn in_memory() -> Self {
        Self::Memory(Arc::default())
    }

    /// Note how far it is; what is known already is never less afterwards.
    pub(super) fn note(&self, key: &StoreId, journaled: &Journaled) -> Result<(), Failure> {
        match self {
            Self::Memory(all) => {
                let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                if !all.get(key).is_some_and(|known| known.covers(journaled)) {
                    all.insert(key.clone(), journaled.clone());
                }
                Ok(())
            }
            Self::Dir(dir, clock) => {
                made_ours(dir, is_ours).map_err(|error| unusable("used", dir, &error))?;
                note_in(dir, &name_of(key), journaled, clock)
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
        // What a power cut kept from the disk has a name, and nothing in it.
        if text.trim_matches('\0').is_empty() {
            return Ok(None);
        }
        serde_json::from_str(&text).map(Some).map_err(std::io::Error::other)
    };
    match read() {
        Ok(found) => Ok(found),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let mut failure = unusable("read", path, &error);
            failure.message.push_str(
                "; look at it, and remove it where it is none of Stepback's: then only an older \
                 copy of the journal is not known as one",
            );
            Err(failure)
        }
    }
}

fn note_in(dir: &Path, name: &str, journaled: &Journaled, clock: &Clock) -> Result<(), Failure> {
    let path = dir.join(name);
    let part = path.with_extension("part");
    let unwritable = |error: std::io::Error| unusable("written", &path, &error);
    let file = turn(&part, clock).map_err(unwritable)?;
    let known = read(&path);
    if matches!(&known, Ok(Some(known)) if known.covers(journaled)) || known.is_err() {
        // Nothing becomes of it.
        remove(&part).map_err(unwritable)?;
        return known.map(drop);
    }
    if let Ok(None) = known {
        make_room(dir);
    }
    // It is let go once it is what is known.
    write(&file, journaled).and_then(|()| fs::rename(&part, &path)).map_err(unwritable)
}

fn write(mut file: &File, journaled: &Journaled) -> std::io::Result<()> {
    file.set_len(0)?;
    file.write_all(&serde_json::to_vec(journaled)?)
}

/// The turn at what is known of an operation, among all programs: the file that becomes it, empty
/// or as a program left it that was killed, and locked.
fn turn(part: &Path, clock: &Clock) -> std::io::Result<File> {
    let is_one_of_ours = |found: &fs::Metadata| found.is_file() && found.nlink() == 1;
    loop {
        if fs::symlink_metadata(part).is_ok_and(|found| !is_one_of_ours(&found)) {
            // A link to what somebody else has, or what one would wait for.
            remove(part)?;
        }
        let file = open_or_make(part)?;
        lock::within(&file, part, clock, Patience::of(TURN_MAX))?;
        // Whoever had the turn before has made the file that was waited for what is known.
        let own = file.metadata()?;
        let is_it = |found: fs::Metadata| {
            is_one_of_ours(&found) && (found.dev(), found.ino()) == (own.dev(), own.ino())
        };
        if fs::symlink_metadata(part).is_ok_and(is_it) {
            return Ok(file);
        }
    }
}

fn remove(part: &Path) -> std::io::Result<()> {
    match fs::remove_file(part) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether this is what is written here: [`name_of`] something.
fn is_ours(path: &Path) -> bool {
    is_named(path, 32, &["json"])
}

/// Make room for one more: of what ended, what was written longest ago goes.
fn make_room(dir: &Path) {
    let all: Vec<_> = fs::read_dir(dir).into_iter().flatten().flatten().collect();
    let all: Vec<_> = all.into_iter().filter(|file| is_ours(&file.path())).collect();
    if all.len() < KEPT_MAX {
        return;
    }
    let written = |file: &fs::DirEntry| file.metadata().map(|found| found.mtime());
    let mut dated: Vec<(i64, PathBuf)> =
        all.iter().filter_map(|file| Some((written(file).ok()?, file.path()))).collect();
    dated.sort();
    let has_ended = |path: &Path| matches!(read(path), Ok(Some(Journaled { has_ended: true, .. })));
    let old = dated.iter().filter(|(_, path)| has_ended(path));
    for (_, path) in old.take(KEPT_MAX / 10) {
        // What can't be removed is one too many.
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn in_dir(world: &Path) -> Known {
        Known::in_dir(world, Clock::real())
    }

    fn at(last_seq: u64, place: &str) -> Journaled {
        Journaled { last_seq: Seq(last_seq), place: Some(place.to_owned()), has_ended: false }
    }

    #[test]
    fn what_is_known_is_never_less_afterwards() {
        let world = tempfile::tempdir().unwrap();
        for known in [in_dir(world.path()), Known::in_memory()] {
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

    /// Neither writes over what the other is writing, nor takes back what the other has noted.
    #[test]
    fn two_programs_take_turns_at_what_is_known() {
        let world = tempfile::tempdir().unwrap();
        let (known, key) = (in_dir(world.path()), StoreId("a".into()));
        known.note(&key, &at(7, "x")).unwrap();
        let path = world.path().join(DIR).join(name_of(&key));
        let part = path.with_extension("part");
        let mut theirs = turn(&part, &Clock::real()).unwrap();
        theirs.write_all(b"{").unwrap();
        let (ended, is_ended) = mpsc::channel();
        let (other, of) = (known.clone(), key.clone());
        let noting = std::thread::spawn(move || {
            let noted = other.note(&of, &at(8, "y"));
            ended.send(()).unwrap();
            noted
        });
        // Whoever waits for the turn is not through by then.
        let early = is_ended.recv_timeout(Duration::from_millis(100)).is_ok();
        assert!(!early, "it did not wait for its turn");
        theirs.set_len(0).unwrap();
        fs::write(&part, serde_json::to_vec(&at(9, "x")).unwrap()).unwrap();
        fs::rename(&part, &path).unwrap();
        drop(theirs);
        noting.join().unwrap().unwrap();
        assert_eq!(known.of(&key), Ok(Some(at(9, "x"))));
        assert!(!part.exists());
        // What one left that was killed is no more than its turn.
        fs::write(&part, "{\"last_seq\": 99, ").unwrap();
        known.note(&key, &at(10, "y")).unwrap();
        assert_eq!(known.of(&key), Ok(Some(at(10, "y"))));
    }

    /// However many come later.
    #[test]
    fn only_what_has_ended_is_forgotten() {
        let world = tempfile::tempdir().unwrap();
        let known = in_dir(world.path());
        let key = |number: usize| StoreId(format!("s-{number}"));
        let dir = world.path().join(DIR);
        fs::create_dir(&dir).unwrap();
        let json = |journaled: &Journaled| serde_json::to_vec(journaled).unwrap();
        let ended = Journaled { has_ended: true, ..at(9, "x") };
        fs::write(dir.join("theirs.json"), json(&ended)).unwrap();
        for number in 0..KEPT_MAX {
            let journaled = if number % 2 == 0 { at(9, "x") } else { ended.clone() };
            fs::write(dir.join(name_of(&key(number))), json(&journaled)).unwrap();
        }
        known.note(&key(KEPT_MAX), &at(1, "x")).unwrap();
        let count = fs::read_dir(&dir).unwrap().count();
        assert_eq!(count, KEPT_MAX + 2 - KEPT_MAX / 10);
        for number in (0..KEPT_MAX).step_by(2) {
            assert_eq!(known.of(&key(number)), Ok(Some(at(9, "x"))));
        }
        assert!(dir.join("theirs.json").exists());
    }

    #[test]
    fn a_link_to_a_directory_of_others_is_not_written_to() {
        let (world, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(theirs.path(), world.path().join(DIR)).unwrap();
        let told = in_dir(world.path()).note(&StoreId("a".into()), &at(1, "x"));
        assert!(told.unwrap_err().message.contains("it is a link"));
        assert_eq!(fs::read_dir(theirs.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_power_cut_kept_from_the_disk_is_not_known() {
        let world = tempfile::tempdir().unwrap();
        let (known, key) = (in_dir(world.path()), StoreId("a".into()));
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
        let (known, key) = (in_dir(world.path()), StoreId("a".into()));
        known.note(&key, &at(1, "x")).unwrap();
        let path = world.path().join(DIR).join(name_of(&key));
        std::os::unix::fs::symlink(&victim, path.with_extension("part")).unwrap();
        known.note(&key, &at(2, "x")).unwrap();
        fs::hard_link(&victim, path.with_extension("part")).unwrap();
        known.note(&key, &at(3, "x")).unwrap();
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        known.note(&key, &at(4, "x")).unwrap_err();
        let told = known.of(&key).unwrap_err();
        assert!(told.message.contains(&path.display().to_string()), "{told:?}");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "kept");
    }
}
