//! Whether the ledger says what is on the disk: the last word is about the volumes themselves.

use super::disk::{Disk, GIB, entries};
use serde_json::Value;
use std::fs::{self, Metadata};
use std::path::PathBuf;
use stepback_core::{Facts, Failure, FailureClass, Resource};
use stepback_simulated::world::World;

impl Disk {
    /// What a resource is called, and the file that it is here, if it could be one.
    pub(super) fn file_of(&self, resource: &Resource) -> Option<(&'static str, PathBuf)> {
        match resource {
            Resource::Volume { id } if is_a_name(id) => Some(("volume", self.volume(id))),
            Resource::Snapshot { id } if is_a_name(id) => Some(("snapshot", self.snapshot(id))),
            _ => None,
        }
    }

    /// Whether what the ledger has has its file, of its size, and what it has not has none: it may
    /// have been put back from a backup, or somebody removed a file, or cut it off.
    ///
    /// # Errors
    /// They do not agree: nothing can be said of the resource.
    pub(super) fn must_agree(&self, resource: &Resource, facts: &Facts) -> Result<(), Failure> {
        let Some((kind, file)) = self.file_of(resource) else { return Ok(()) };
        let bytes = fs::metadata(&file).ok().filter(Metadata::is_file).map(|found| found.len());
        let told = facts.get("size_gib").and_then(Value::as_u64);
        let message = match (facts.is_absent(), bytes) {
            (true, None) => return Ok(()),
            (false, Some(bytes)) => match told.filter(|gib| gib.saturating_mul(GIB) != bytes) {
                None => return Ok(()),
                Some(gib) => format!(
                    "{resource}: the ledger says that it has {gib} GiB, and its file {} has \
                     {bytes} bytes: put the newest of both back",
                    file.display()
                ),
            },
            (true, Some(_)) => format!(
                "{resource}: the ledger knows no such {kind}, and its file {} is there: put the \
                 newest ledger back, or remove the file",
                file.display()
            ),
            (false, None) => format!(
                "{resource}: the ledger has it, and its file {} is gone: put it back",
                file.display()
            ),
        };
        Err(Failure::new(FailureClass::Precondition, message).with_code("ledger"))
    }

    /// Whether the ledger knows every file: one that was put back from a backup does not know what
    /// was made since, and can't say that it never was.
    ///
    /// # Errors
    /// The first file that it does not know.
    pub(super) fn must_know_all(&self, world: &World) -> Result<(), Failure> {
        let is_known =
            |id: &str| world.volumes.contains_key(id) || world.snapshots.contains_key(id);
        for dir in ["volumes", "snapshots"] {
            for path in entries(&self.root().join(dir))? {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                if name.strip_suffix(".img").is_some_and(|id| is_a_name(id) && !is_known(id)) {
                    let message = format!(
                        "the ledger does not know {}: put the newest ledger back, or remove the \
                         file",
                        path.display()
                    );
                    let failure = Failure::new(FailureClass::Precondition, message);
                    return Err(failure.with_code("ledger"));
                }
            }
        }
        Ok(())
    }

    /// Whether every id in the ledger is the name of a file here, and of none elsewhere.
    pub(super) fn must_stay_here(&self, world: &World) -> Result<(), Failure> {
        let mut ids = world.volumes.keys().chain(world.snapshots.keys());
        match ids.find(|id| !is_a_name(id)) {
            None => Ok(()),
            Some(odd) => Err(Failure::new(
                FailureClass::Precondition,
                format!(
                    "the ledger of {} has the id `{}`, which is no name of a file there: put back \
                     the ledger that Stepback wrote",
                    self.root().display(),
                    odd.escape_debug()
                ),
            )),
        }
    }
}

/// What could be an id of a onebox; nothing else is a file there.
fn is_a_name(id: &str) -> bool {
    !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepback_clock::Clock;

    #[test]
    fn a_ledger_and_its_disk_that_differ_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let Ok(disk) = Disk::open(dir.path(), Clock::real()) else {
            return println!("SKIPPED: no onebox here");
        };
        let volume = |id: &str| Resource::Volume { id: id.to_owned() };
        std::fs::write(dir.path().join("volumes/vol-1.img"), "bytes").unwrap();
        let image = std::fs::File::options().write(true).open(dir.path().join("volumes/vol-1.img"));
        image.unwrap().set_len(GIB).unwrap();
        let of = |gib: u64| Facts::from_json(serde_json::json!({ "size_gib": gib }));
        let told = |id: &str, facts: &Facts| disk.must_agree(&volume(id), facts);
        let absent = Facts::Absent;
        assert_eq!((told("vol-1", &of(1)), told("vol-2", &absent)), (Ok(()), Ok(())));
        assert!(told("vol-1", &absent).unwrap_err().message.contains("knows no such volume"));
        assert!(told("vol-2", &of(1)).unwrap_err().message.contains("is gone"));
        assert!(told("vol-1", &of(3)).unwrap_err().message.contains("has 3 GiB"));
        // What is no name of a file there is nobody's, and is looked for nowhere else.
        assert_eq!(told("../volumes/vol-1", &absent), Ok(()));
        let mut world = World::default();
        let unknown = disk.must_know_all(&world).unwrap_err();
        assert!(unknown.message.contains("vol-1.img"), "{unknown:?}");
        let known = serde_json::json!({ "size_gib": 1, "type": "gp3", "zone": "a" });
        world.volumes.insert("vol-1".to_owned(), serde_json::from_value(known).unwrap());
        disk.must_know_all(&world).unwrap();
    }
}
