//! A plugin of one's own, begun outside the repository with the program alone: made, built, tested,
//! run, failed and undone; and brought to a newer SDK.

use crate::harness::{Place, Ran, root};
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every file below a directory, by its path in it.
fn files(dir: &Path) -> Vec<String> {
    let mut found = vec![];
    let mut left = vec![dir.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(&next).expect("a directory").flatten() {
            match entry.path() {
                path if path.is_dir() => left.push(path),
                path => {
                    let within = path.strip_prefix(dir).expect("it is below");
                    found.push(within.display().to_string());
                }
            }
        }
    }
    found.sort();
    found
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A place with a new plugin `mine` in it.
fn with_plugin() -> Place {
    let place = Place::new();
    place.run(&["plugin", "new", "mine"]).exits(0).says("made mine (SDK ").says("cd mine");
    place
}

#[test]
fn a_new_plugin_has_all_that_it_needs() {
    let place = with_plugin();
    let mine = place.path("mine");
    let laid = files(&mine);
    for (from, to) in [("plugins/sdk", "sdk"), ("wit", "wit")] {
        for file in files(&root().join(from)) {
            assert!(laid.contains(&format!("{to}/{file}")), "{to}/{file} is not in {laid:?}");
        }
    }
    for file in files(&root().join("wit")) {
        assert_eq!(text(&mine.join("wit").join(&file)), text(&root().join("wit").join(&file)));
    }
    for name in ["src/lib.rs", "src/tests.rs", ".gitignore", "sdk/version.toml", "Cargo.lock"] {
        assert!(laid.iter().any(|file| file == name), "{name} is not in {laid:?}");
    }
    for file in &laid {
        let text = text(&mine.join(file));
        assert!(!text.contains("volume-label"), "{file} names another plugin:\n{text}");
        assert!(!text.contains("workspace = true"), "{file} leans on a workspace:\n{text}");
    }
    let named = [
        ("Cargo.toml", "name = \"mine\""),
        ("Cargo.lock", "name = \"mine\""),
        ("operation.toml", "uses = \"mine/label-volume\""),
        ("stepback.toml", "[plugins.mine]"),
        ("README.md", "stepback plugin inspect mine.wasm"),
    ];
    for (file, name) in named {
        assert!(text(&mine.join(file)).contains(name), "{file}");
    }
    assert_eq!(files(&place.path("")).len(), laid.len(), "nothing is left beside it");
}

#[test]
fn a_name_or_a_place_that_can_not_be_is_refused() {
    let place = with_plugin();
    let before = files(&place.path(""));
    for (name, why) in [
        ("My_Plugin", "small letters"),
        ("../mine", "small letters"),
        ("ebs", "the program has one of that name"),
        ("match", "something else in Rust"),
        ("serde", "it depends on a crate of that name"),
        ("stepback-plugin-mine", "`mine` is enough"),
    ] {
        let refused = place.run(&["plugin", "new", name]).exits(2);
        refused.says(&format!("a plugin can't be called `{name}`")).says(why);
    }
    place.run(&["plugin", "new", "mine"]).exits(2).says("mine is not empty").says("--dir DIR");
    place.write("file", "");
    let refused = place.run(&["plugin", "new", "other", "--dir", "file"]).exits(2);
    refused.says("file is there, and no directory");
    // Nothing can be made below a file; and nothing is left of the attempt.
    place.run(&["plugin", "new", "other", "--dir", "file/other"]).exits(2);
    fs::remove_file(place.path("file")).expect("it was there");
    assert_eq!(files(&place.path("")), before);
}

/// A shell that is in the directory stays in it.
#[test]
fn an_empty_directory_is_taken_as_it_is() {
    let place = with_plugin();
    let dir = place.path("elsewhere");
    fs::create_dir(&dir).expect("a directory");
    let which = || fs::metadata(&dir).expect("it is there").ino();
    let before = which();
    let mut command = place.command(&["plugin", "new", "mine", "--dir", "."]);
    Ran::of(command.current_dir(&dir)).exits(0).lacks("cd .");
    assert_eq!(which(), before);
    // It is not built yet.
    let mut command = place.command(&["run", "operation.toml"]);
    let unbuilt = Ran::of(command.current_dir(&dir)).exits(2);
    unbuilt.says("No such file").says("`stepback plugin build` makes it");
    assert_eq!(files(&dir), files(&place.path("mine")));
    place.run(&["plugin", "new", "mine", "--dir", "deep/er"]).exits(0);
    assert_eq!(files(&place.path("deep/er")), files(&place.path("mine")));
}

#[test]
fn an_update_keeps_what_was_changed_by_hand() {
    let place = with_plugin();
    let mine = place.path("mine");
    let update =
        |arguments: &[&str]| place.run(&[&["plugin", "update", "mine"], arguments].concat());
    update(&[]).exits(0).says("nothing to do");
    let laid = |file: &str| text(&mine.join(file));
    let (changed, before) = (mine.join("sdk/src/lib.rs"), laid("sdk/src/lib.rs"));
    fs::write(&changed, format!("{before}// mine\n")).expect("it can be written");
    fs::remove_file(mine.join("sdk/src/tags.rs")).expect("it was there");
    fs::write(mine.join("src/lib.rs"), "// mine\n").expect("it can be written");
    let refused = update(&[]).exits(2).says("sdk/src/lib.rs").says("sdk/src/tags.rs (gone)");
    refused.says("`--force`").says("nothing was changed");
    assert!(text(&changed).ends_with("// mine\n"));
    update(&["--force"]).exits(0);
    assert_eq!(text(&changed), before);
    assert!(mine.join("sdk/src/tags.rs").exists());
    assert_eq!(laid("src/lib.rs"), "// mine\n", "the author's own is not touched");
    update(&[]).exits(0).says("nothing to do");
}

#[test]
fn an_update_goes_from_one_version_to_another() {
    let place = with_plugin();
    let mine = place.path("mine");
    let update = || place.run(&["plugin", "update", "mine"]);
    let stamp = mine.join("sdk/version.toml");
    let now = text(&stamp);
    let version = now.lines().find(|line| line.starts_with("sdk = ")).expect("a version");
    let contract = now.lines().find(|line| line.starts_with("contract = ")).expect("a version");
    // As an older program laid it: another contract, and a file that there is no more.
    let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let older = now
        .replace(version, "sdk = \"0.0.9\"")
        .replace(contract, "contract = [\"stepback:step@0.0.1\"]")
        + &format!("\"wit/old.wit\" = \"{digest}\"\n");
    fs::write(&stamp, &older).expect("it can be written");
    fs::write(mine.join("wit/old.wit"), "").expect("it can be written");
    update().exits(0).says("from SDK 0.0.9, contract stepback:step@0.0.1\nto   SDK ");
    assert_eq!(text(&stamp), now);
    assert!(!mine.join("wit/old.wit").exists());
    // One that was cut off before its stamp goes on.
    fs::write(&stamp, &older).expect("it can be written");
    update().exits(0);
    // A file of the author's is not Stepback's because it has the name of one.
    let line = now.lines().find(|line| line.contains("sdk/src/tags.rs")).expect("it was laid");
    fs::write(&stamp, now.replace(line, "")).expect("it can be written");
    fs::write(mine.join("sdk/src/tags.rs"), "// mine\n").expect("it can be written");
    update().exits(2).says("sdk/src/tags.rs (not Stepback's)");
    fs::write(&stamp, now.replace(version, "sdk = \"99.0.0\"")).expect("it can be written");
    update().exits(2).says("has SDK 99.0.0, contract ").says("newer than this program's");
    fs::write(&stamp, now.replace("stepback:ebs@0.2.0", "stepback:ebs@0.3.0")).expect("a file");
    update().exits(2).says("stepback:ebs@0.3.0").says("newer than this program's");
    let outside = older.replace("wit/old.wit", "wit/../src/lib.rs");
    fs::write(&stamp, outside).expect("it can be written");
    update().exits(2).says("is no file in sdk/ or wit/");
    assert!(mine.join("src/lib.rs").exists());
    // What leads elsewhere is not written through.
    fs::write(&stamp, &now).expect("a file");
    let elsewhere = place.path("elsewhere");
    fs::rename(mine.join("wit/deps"), &elsewhere).expect("it can be moved");
    std::os::unix::fs::symlink(&elsewhere, mine.join("wit/deps")).expect("a link");
    fs::remove_file(elsewhere.join("ec2.wit")).expect("it was there");
    place.run(&["plugin", "update", "mine", "--force"]).exits(2).says("wit/deps is no directory");
    assert!(!elsewhere.join("ec2.wit").exists(), "nothing is written there");
    fs::remove_file(mine.join("wit/deps")).expect("a link");
    fs::rename(&elsewhere, mine.join("wit/deps")).expect("it can be moved");
    // Lost, or with a merge's marks in it, it does not keep anybody from a new one.
    fs::remove_file(&stamp).expect("it was there");
    update().exits(2).says("`--force` lays sdk/ and wit/ down anew");
    place.run(&["plugin", "update", "mine", "--force"]).exits(0).says("from SDK unknown");
    assert_eq!(text(&stamp), now);
    fs::remove_file(&stamp).expect("it was there");
    fs::remove_file(mine.join("sdk/Cargo.toml")).expect("it was there");
    update().exits(2).says("`stepback plugin new NAME`");
}

/// Where an author works: outside the repository, and in the same place each time, because cargo
/// compiles anew what is elsewhere.
struct Author {
    place: Place,
    dir: PathBuf,
    /// One at a time.
    _lock: fs::File,
}

impl Author {
    fn new() -> Self {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let mut hasher = DefaultHasher::new();
        kept.hash(&mut hasher);
        let lock = fs::File::create(kept.join("author.lock")).expect("a file");
        lock.lock().expect("the lock");
        // A path may have a space in it.
        let name = format!("stepback author {:016x}", hasher.finish());
        let dir = std::env::temp_dir().join(name);
        // One may be left by a test that was killed.
        let _ = fs::remove_dir_all(&dir);
        Self { place: Place::new(), dir, _lock: lock }
    }

    /// The crates that the repository's plugins were built with are compiled already, and those
    /// that are in the cache are all that there may be.
    fn prepare(&self, mut command: Command) -> Ran {
        command
            .current_dir(&self.dir)
            .env("CARGO_TARGET_DIR", root().join("plugins/target"))
            .env("CARGO_NET_OFFLINE", "true");
        Ran::of(&mut command)
    }

    fn stepback(&self, arguments: &[&str]) -> Ran {
        self.prepare(self.place.command(arguments))
    }

    fn cargo(&self, arguments: &[&str]) -> Ran {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(arguments);
        self.prepare(command)
    }
}

/// Nothing is left outside the repository.
impl Drop for Author {
    fn drop(&mut self) {
        // What can't be removed is removed by the next one.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Of all the repository's plugins two forget to say what they do, for the tests.
#[test]
fn a_build_says_what_nobody_declared() {
    let place = Place::new();
    let plugins = root().join("plugins").display().to_string();
    let mut command = place.command(&["plugin", "build", &plugins, "--locked", "--output", "out"]);
    command.env("CARGO_TARGET_DIR", root().join("plugins/target"));
    let built = Ran::of(command.env("CARGO_NET_OFFLINE", "true")).exits(0);
    let told: Vec<&str> =
        built.stderr.lines().filter(|line| line.contains("is declared irreversible")).collect();
    assert_eq!(told.len(), 2, "{}", built.stderr);
    assert!(told[0].contains("`forging` can call docker.exec"), "{}", told[0]);
    assert!(told[1].contains("`testing` can call ebs.delete-snapshot"), "{}", told[1]);
}

#[test]
fn a_new_plugin_builds_is_tested_runs_fails_and_is_undone() {
    let author = Author::new();
    let dir = author.dir.display().to_string();
    author.place.run(&["plugin", "new", "bucket-label", "--dir", &dir]).exits(0);
    let lock = text(&author.dir.join("Cargo.lock"));
    author.stepback(&["plugin", "build", "--locked"]).exits(0).says("label-volume");
    author.cargo(&["test"]).exits(0).says("3 passed");
    assert!(text(&author.dir.join("Cargo.lock")) == lock, "it is not as cargo would write it");

    let inspected = author.stepback(&["plugin", "inspect", "bucket-label.wasm", "--json"]).exits(0);
    let imports = &inspected.json()["imports"];
    assert_eq!(imports, &serde_json::json!(["log", "effects", "ebs"]), "what it uses alone");

    let component = fs::read(author.dir.join("bucket-label.wasm")).expect("it was built");
    for path in [author.dir.clone(), root().canonicalize().expect("the repository")] {
        let path = path.display().to_string();
        let is_in = component.windows(path.len()).any(|bytes| bytes == path.as_bytes());
        assert!(!is_in, "{path} is in the component");
    }

    author.stepback(&["run", "operation.toml"]).exits(0).says("operation 1 succeeded");
    let label = || author.place.world().volumes["vol-db-main"].tags["label"].clone();
    assert_eq!(label(), "blue");
    let before = author.place.facts();
    let fails = ["--inject", "ebs.create-snapshot=refuse", "-i", "label=green"];
    let failed = author.stepback(&[&["run", "operation.toml"], &fails[..]].concat()).exits(3);
    failed.says("✓ label").says("↶ label").says("verdict: restored");
    assert_eq!(author.place.facts(), before);
    assert_eq!(label(), "blue");
    for command in ["stepback plugin build", "cargo test", &format!("{} {}", fails[0], fails[1])] {
        assert!(text(&author.dir.join("README.md")).contains(command), "as its README has it");
    }

    fs::remove_file(author.dir.join("Cargo.lock")).expect("it was there");
    author.stepback(&["plugin", "build", "--locked"]).exits(2).says("--locked");
    assert!(!author.dir.join("Cargo.lock").exists(), "nothing is resolved anew");
    fs::write(author.dir.join("Cargo.lock"), lock).expect("it can be written");
    fs::write(author.dir.join("src/lib.rs"), "no Rust").expect("it can be written");
    let broken = author.stepback(&["plugin", "build"]).exits(2).says("src/lib.rs:1");
    broken.says("build --release --target wasm32-unknown-unknown").says("--remap-path-prefix");
}
