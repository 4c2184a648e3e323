//! Access control lists: who may write a file beside its owner, its group and everybody.
//!
//! Where there is one, the mode's bits of the group are the most that it gives anybody (acl(5)).

use std::path::Path;

/// Where the kernel tells it (xattr(7)).
const ATTRIBUTE: &str = "system.posix_acl_access";
/// Its version, and behind it an entry of eight bytes each (Linux, *posix_acl_xattr.h*).
const HEADER: [u8; 4] = [2, 0, 0, 0];
/// What an entry is of: a user, or a group, by its id; and the most that these may do.
const USER: u16 = 0x02;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const WRITE: u16 = 0o2;

/// Whether users or groups by their ids may write what is at a path.
pub(crate) fn lets_others_write(path: &Path) -> bool {
    let mut list = vec![0; 64 << 10];
    match rustix::fs::getxattr(path, ATTRIBUTE, &mut list[..]) {
        Ok(bytes) => lets_write(list.get(..bytes).unwrap_or_default()),
        // It has none, or its file system knows none.
        Err(_) => false,
    }
}

/// The same of a list; one that can't be read may say so.
fn lets_write(list: &[u8]) -> bool {
    let Some(entries) = list.strip_prefix(&HEADER) else { return !list.is_empty() };
    let entry = |entry: &[u8]| {
        let number = |at: usize| u16::from_le_bytes([entry[at], entry[at + 1]]);
        (number(0), number(2) & WRITE != 0)
    };
    let entries: Vec<(u16, bool)> = entries.chunks_exact(8).map(entry).collect();
    let most = entries.iter().all(|(of, may_write)| *of != MASK || *may_write);
    most && entries.iter().any(|(of, may_write)| matches!(*of, USER | GROUP) && *may_write)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(u16, u16)]) -> Vec<u8> {
        let entry = |(of, may): &(u16, u16)| {
            [&of.to_le_bytes()[..], &may.to_le_bytes(), &[0xfe, 0xff, 0, 0]].concat()
        };
        [HEADER.to_vec(), entries.iter().flat_map(entry).collect()].concat()
    }

    #[test]
    fn whoever_is_named_and_may_write_counts() {
        let (owner, everybody) = ((0x01, 6), (0x20, 4));
        for (between, wanted) in [
            (vec![], false),
            (vec![(USER, 6), (0x04, 4), (MASK, 6)], true),
            (vec![(USER, 6), (0x04, 4), (MASK, 4)], false),
            (vec![(USER, 4), (0x04, 6), (MASK, 6)], false),
            (vec![(0x04, 4), (GROUP, 2), (MASK, 7)], true),
        ] {
            let all: Vec<_> = [owner].into_iter().chain(between).chain([everybody]).collect();
            assert_eq!(lets_write(&list(&all)), wanted, "{all:?}");
        }
        assert!(!lets_write(&[]));
        assert!(lets_write(&[9, 0, 0, 0]));
    }

    /// As the kernel tells it.
    #[test]
    fn a_files_list_is_read() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        assert!(!lets_others_write(file.path()));
        let all = [(0x01, 6), (USER, 6), (0x04, 4), (MASK, 6), (0x20, 4)];
        let flags = rustix::fs::XattrFlags::empty();
        match rustix::fs::setxattr(file.path(), ATTRIBUTE, &list(&all), flags) {
            Ok(()) => assert!(lets_others_write(file.path())),
            // Its file system knows none.
            Err(error) => assert_eq!(error, rustix::io::Errno::NOTSUP),
        }
    }
}
