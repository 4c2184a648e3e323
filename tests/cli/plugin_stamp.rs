//! The stamp that `plugin new` leaves in a crate, in every state that people and Git bring it into:
//! an update says what is wrong, or does the right thing, and no file is lost.

use crate::harness::{Place, Ran};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

struct Plugin {
    place: Place,
    dir: PathBuf,
    /// The stamp's file, and its text as it was laid.
    stamp: PathBuf,
    laid: String,
}

impl Plugin {
    fn new() -> Self {
        let place = Place::new();
        place.run(&["plugin", "new", "mine"]).exits(0);
        let dir = place.path("mine");
        let stamp = dir.join("sdk/version.toml");
        let laid = fs::read_to_string(&stamp).expect("it was laid");
        Self { place, dir, stamp, laid }
    }

    fn update(&self, arguments: &[&str]) -> Ran {
        self.place.run(&[&["plugin", "update", "mine"], arguments].concat())
    }

    fn stamped(&self, text: &str) {
        fs::write(&self.stamp, text).expect("it can be written");
    }

    /// Everything in it, by path.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = vec![];
        let mut left = vec![self.dir.clone()];
        while let Some(next) = left.pop() {
            for entry in fs::read_dir(&next).expect("a directory").flatten() {
                let path = entry.path();
                match path.is_dir() {
                    true => left.push(path),
                    false => {
                        let bytes = fs::read(&path).unwrap_or_default();
                        found.push((path, bytes));
                    }
                }
            }
        }
        found.sort();
        found
    }

    /// An update is refused, says this, and changes nothing.
    #[track_caller]
    fn refuses(&self, arguments: &[&str], said: &str) {
        let before = self.files();
        self.update(arguments).exits(2).says(said).says("nothing was changed");
        assert!(self.files() == before, "something was changed");
    }
}

#[test]
fn a_stamp_that_is_none_is_told_and_laid_anew() {
    let plugin = Plugin::new();
    let all = plugin.files();
    let conflict = plugin.laid.replace("sdk = ", "<<<<<<< mine\nsdk = ");
    for (text, said) in [
        ("", "is no stamp: missing field"),
        ("\u{feff}\n", "is no stamp: missing field"),
        ("sdk = 1\n", "is no stamp: "),
        (conflict.as_str(), "is no stamp: "),
        ("sdk = \"0.1.0\"\ncontract = []\nfiles = []\n", "is no stamp: "),
    ] {
        plugin.stamped(text);
        plugin.refuses(&[], said);
        plugin.update(&["--force"]).exits(0).says("from SDK unknown");
        assert!(plugin.files() == all, "{text}");
    }
    fs::write(&plugin.stamp, b"sdk = \"\xff\"\n").expect("it can be written");
    plugin.refuses(&[], "is not UTF-8");
    fs::write(&plugin.stamp, vec![b'#'; 2 << 20]).expect("it can be written");
    plugin.refuses(&[], "is larger than 1 MiB");
    plugin.update(&["--force"]).exits(0);
    assert!(plugin.files() == all);
}

#[test]
fn what_is_in_the_place_of_a_file_is_not_written_through() {
    let plugin = Plugin::new();
    let all = plugin.files();
    let other = plugin.place.path("other.toml");
    fs::write(&other, &plugin.laid).expect("a file");
    let taken = |path: &Path| {
        fs::remove_file(path).expect("it was there");
        symlink(&other, path).expect("a link");
    };
    taken(&plugin.stamp);
    plugin.refuses(&[], "is no file");
    plugin.update(&["--force"]).exits(0);
    taken(&plugin.dir.join("sdk/src/tags.rs"));
    plugin.refuses(&[], "changed by hand in mine: sdk/src/tags.rs");
    plugin.update(&["--force"]).exits(0);
    assert!(plugin.files() == all, "the links were replaced");
    assert_eq!(
        fs::read_to_string(&other).expect("a file"),
        plugin.laid,
        "what they lead to is not"
    );
    // A link to nothing is a link, too.
    fs::remove_file(&other).expect("a file");
    taken(&plugin.stamp);
    plugin.refuses(&[], "is no file");
    plugin.update(&["--force"]).exits(0);
    assert!(!other.exists());
    for path in [plugin.stamp.clone(), plugin.dir.join("wit/deps/ec2.wit")] {
        let bytes = fs::read(&path).expect("it was laid");
        fs::remove_file(&path).expect("it was there");
        fs::create_dir(&path).expect("a directory");
        fs::write(path.join("mine.txt"), "mine").expect("a file");
        // Not even by force, and not half way.
        fs::write(plugin.dir.join("sdk/src/lib.rs"), "// mine\n").expect("a file");
        plugin.refuses(&["--force"], "is a directory");
        fs::remove_dir_all(&path).expect("a directory");
        fs::write(&path, bytes).expect("it can be written");
        plugin.update(&["--force"]).exits(0);
        assert!(plugin.files() == all);
    }
}

/// A file's other name is the same file: it would be written, and then removed as an old one.
#[test]
fn a_file_is_not_lost_by_another_way_to_write_its_path() {
    let plugin = Plugin::new();
    let all = plugin.files();
    let odd = ["sdk//src/tags.rs", "sdk/./src/tags.rs", "sdk/src/../src/tags.rs", "sdk", "wit/"];
    for path in odd.into_iter().chain(["sdk/version.toml", "src/lib.rs", "/etc/passwd", ""]) {
        let text = plugin.laid.replace("\"sdk/src/tags.rs\"", &format!("{path:?}"));
        assert_ne!(text, plugin.laid);
        plugin.stamped(&text);
        plugin.refuses(&[], "which is no file in sdk/ or wit/");
        plugin.update(&["--force"]).exits(0);
        assert!(plugin.files() == all, "{path}");
    }
}

#[test]
fn a_newer_stamp_is_told_as_newer_whatever_it_has() {
    let plugin = Plugin::new();
    let version = plugin.laid.lines().find(|line| line.starts_with("sdk = ")).expect("a version");
    let newer = plugin.laid.replace(version, "sdk = \"99.0.0\"\nlicense = \"of its own\"");
    plugin.stamped(&newer);
    plugin.refuses(&[], "has SDK 99.0.0");
    plugin.update(&["--force"]).exits(0).says("from SDK 99.0.0");
    // One that is older may have had what there is no more.
    let older = plugin.laid.replace(version, "sdk = \"0.0.9\"");
    plugin.stamped(&older.replace("contract = [", "contract = [\"stepback:old@9.0.0\", "));
    plugin.update(&[]).exits(0).says("from SDK 0.0.9");
}

/// Git and editors may write the ends of lines in their own way.
#[test]
fn how_lines_end_is_no_change_by_hand() {
    let plugin = Plugin::new();
    let all = plugin.files();
    for (path, bytes) in &all {
        let text = String::from_utf8(bytes.clone()).expect("a text");
        fs::write(path, text.replace('\n', "\r\n")).expect("it can be written");
    }
    plugin.update(&[]).exits(0).says("nothing to do");
    let version = plugin.laid.lines().find(|line| line.starts_with("sdk = ")).expect("a version");
    let older = plugin.laid.replace(version, "sdk = \"0.0.9\"");
    plugin.stamped(&older.replace('\n', "\r\n"));
    plugin.update(&[]).exits(0).says("from SDK 0.0.9");
    let tags = plugin.dir.join("sdk/src/tags.rs");
    assert!(!fs::read_to_string(&tags).expect("a file").contains('\r'), "as it is laid");
    fs::write(&tags, "// mine\r\n").expect("it can be written");
    plugin.refuses(&[], "changed by hand in mine: sdk/src/tags.rs");
}

#[test]
fn a_new_plugin_is_not_laid_through_a_link_to_nothing() {
    let place = Place::new();
    symlink(place.path("nowhere"), place.path("mine")).expect("a link");
    place.run(&["plugin", "new", "mine"]).exits(2).says("mine can't be written");
    let left: Vec<_> = fs::read_dir(place.path("")).expect("the place").flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}
