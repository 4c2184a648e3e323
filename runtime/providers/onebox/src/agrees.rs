//! Whether the ledger says what is on the disk: the last word is about the volumes themselves.

use super::disk::Disk;
use stepback_core::{Failure, FailureClass, Resource};
use stepback_simulated::world::World;

impl Disk {
    /// Whether what the ledger has has its file, and what it has not has none: it may have been put
    /// back from a backup, or somebody removed a file.
    ///
    /// # Errors
    /// They do not agree: nothing can be said of the resource.
    pub(super) fn must_agree(&self, resource: &Resource, is_absent: bool) -> Result<(), Failure> {
        let (kind, file) = match resource {
            Resource::Volume { id } if is_a_name(id) => ("volume", self.volume(id)),
            Resource::Snapshot { id } if is_a_name(id) => ("snapshot", self.snapshot(id)),
            _ => return Ok(()),
        };
        let message = match (is_absent, file.is_file()) {
            (true, false) | (false, true) => return Ok(()),
            (true, true) => format!(
                "{resource}: the ledger knows no such {kind}, and its file {} is there: put the \
                 newest ledger back, or remove the file",
                file.display()
            ),
            (false, false) => format!(
                "{resource}: the ledger has it, and its file {} is gone: put it back",
                file.display()
            ),
        };
        Err(Failure::new(FailureClass::Precondition, message).with_code("ledger"))
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
        let told = |id: &str, is_absent: bool| disk.must_agree(&volume(id), is_absent);
        assert_eq!((told("vol-1", false), told("vol-2", true)), (Ok(()), Ok(())));
        assert!(told("vol-1", true).unwrap_err().message.contains("knows no such volume"));
        assert!(told("vol-2", false).unwrap_err().message.contains("is gone"));
        // What is no name of a file there is nobody's, and is looked for nowhere else.
        assert_eq!(told("../volumes/vol-1", true), Ok(()));
    }
}
