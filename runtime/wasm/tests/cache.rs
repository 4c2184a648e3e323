//! The cache holds machine code: each way to get somebody else's into it is an attack here.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use support::{Text, runtime};

/// Nobody has this number.
const OTHER: u32 = 54_321;

struct Place {
    dir: tempfile::TempDir,
    bytes: Vec<u8>,
}

/// A cache with one plugin in it.
fn place() -> Place {
    let dir = tempfile::TempDir::new().expect("a directory");
    let place = Place { dir, bytes: Text::default().component() };
    assert_eq!(place.compiled(), 1);
    assert_eq!(place.compiled(), 0, "it is kept");
    place
}

impl Place {
    fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    /// How many times a new program compiles the plugin: not at all where it believes the cache.
    fn compiled(&self) -> u64 {
        let runtime = runtime(Some(self.cache()));
        runtime.load("p", &self.bytes).expect("it loads all the same");
        runtime.compilations()
    }

    fn code(&self) -> PathBuf {
        code_in(&self.cache()).remove(0)
    }
}

fn code_in(cache: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(cache).expect("the cache is there").flatten();
    let mut found: Vec<PathBuf> = all.map(|entry| entry.path()).collect();
    found.retain(|path| path.extension().is_some_and(|end| end == "cwasm"));
    found.sort();
    found
}

fn set(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("its mode can be set");
}

#[test]
fn what_is_kept_is_for_its_owner_alone() {
    let place = place();
    assert_eq!(fs::metadata(place.cache()).expect("it is there").mode() & 0o777, 0o700);
    for entry in fs::read_dir(place.cache()).expect("the cache").flatten() {
        assert_eq!(entry.metadata().expect("it is there").mode() & 0o777, 0o600, "{entry:?}");
    }
}

#[test]
fn a_cache_that_others_may_write_to_is_not_used() {
    let dir = tempfile::TempDir::new().expect("a directory");
    fs::write(dir.path().join("theirs"), "").expect("a file");
    for mode in [0o777, 0o1777] {
        set(dir.path(), mode);
        let bytes = Text::default().component();
        runtime(Some(dir.path().to_owned())).load("p", &bytes).expect("it loads all the same");
        assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 1);
    }
}

#[test]
fn a_link_is_not_followed() {
    let place = place();
    let (code, aside) = (place.code(), place.dir.path().join("aside"));
    fs::rename(&code, &aside).expect("it can be moved");
    symlink(&aside, &code).expect("a link");
    assert_eq!(place.compiled(), 1, "through a symbolic link");
    assert!(fs::symlink_metadata(&code).expect("it is there").is_file(), "it is made anew");
    fs::hard_link(&code, place.dir.path().join("second")).expect("a link");
    assert_eq!(place.compiled(), 1, "with a second name");
    assert_eq!(place.compiled(), 0);
    // The directory itself.
    fs::rename(place.cache(), place.dir.path().join("moved")).expect("it can be moved");
    symlink("moved", place.cache()).expect("a link");
    assert_eq!(place.compiled(), 1, "through a link to a cache");
}

#[test]
fn another_plugins_code_under_the_name_is_not_run() {
    let place = place();
    let other = Text::run("unreachable").component();
    let first = place.code();
    runtime(Some(place.cache())).load("other", &other).expect("it loads");
    let all = code_in(&place.cache());
    let second = all.iter().find(|path| **path != first).expect("another one");
    let theirs = fs::read(second).expect("a file");
    fs::write(&first, theirs).expect("it can be written");
    assert_eq!(place.compiled(), 1);
    assert_eq!(place.compiled(), 0, "it is itself again");
}

/// Whoever owns a directory above put another in the place of the one that was looked at.
#[test]
fn what_takes_the_directorys_place_is_not_used() {
    let place = place();
    let late = runtime(Some(place.cache()));
    let moved = place.dir.path().join("moved");
    fs::rename(place.cache(), &moved).expect("it can be moved");
    fs::create_dir(place.cache()).expect("a directory");
    let other = Text::run("unreachable").component();
    late.load("p", &place.bytes).expect("it loads");
    assert_eq!(late.compilations(), 0, "from the directory that was opened");
    late.load("other", &other).expect("it loads");
    assert_eq!(fs::read_dir(place.cache()).expect("the other one").count(), 0);
    assert_eq!(code_in(&moved).len(), 2);
}

#[test]
fn a_key_that_others_may_read_is_none() {
    let place = place();
    let key = place.cache().join("key");
    let before = fs::read(&key).expect("a key");
    assert_eq!(before.len(), 32);
    set(&key, 0o644);
    assert_eq!(place.compiled(), 1, "whoever knew the key could seal");
    assert_eq!(place.compiled(), 0);
    assert_ne!(fs::read(&key).expect("a key"), before);
    fs::write(&key, "short").expect("it can be written");
    assert_eq!((place.compiled(), place.compiled()), (1, 0));
    fs::remove_file(&key).expect("it can be removed");
    symlink("/dev/zero", &key).expect("a link");
    assert_eq!((place.compiled(), place.compiled()), (1, 0));
}

#[test]
fn what_belongs_to_another_user_is_not_used() {
    let place = place();
    if lchown(place.code(), Some(OTHER), None).is_err() {
        return println!("SKIPPED: only root gives files away");
    }
    assert_eq!((place.compiled(), place.compiled()), (1, 0), "their file");
    lchown(place.cache().join("key"), Some(OTHER), None).expect("it can be given away");
    assert_eq!((place.compiled(), place.compiled()), (1, 0), "their key");
    lchown(place.cache(), Some(OTHER), None).expect("it can be given away");
    assert_eq!((place.compiled(), place.compiled()), (1, 1), "their directory");
    lchown(place.cache(), Some(0), None).expect("it can be given back");
    assert_eq!(place.compiled(), 0);
    lchown(place.dir.path(), Some(OTHER), None).expect("it can be given away");
    assert_eq!((place.compiled(), place.compiled()), (1, 1), "a directory above it");
}
