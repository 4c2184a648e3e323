//! A search for secrets through all that the program writes and says, in every test that gives one.
//!
//! Which secrets a run is given is seen from its arguments and its configuration. What it says is
//! searched at its end, and every file in its place when that goes: the journal, worlds, keys, the
//! logs and whatever else there is by then. Searched for is the value, and what base64, a URL and
//! JSON make of it; and a handle, which is as good as the value for whoever has the step's guest.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// A shorter one turns up by chance.
const BYTES_MIN: usize = 8;
/// Nothing of the program's is as large.
const LARGE: u64 = 64 << 20;
/// What the simulated world is in.
const WORLD: &str = "world.json";
/// What a handle begins with; 32 hexadecimal digits follow.
const HANDLE: &str = "stepback-secret-";

/// The secrets that runs in a directory were given.
static GIVEN: Mutex<BTreeMap<PathBuf, BTreeSet<String>>> = Mutex::new(BTreeMap::new());

/// Places in whose world a test itself has put what is searched for.
static PLANTED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Leave the world of a place out: the test has put a secret there.
pub fn is_planted(place: &Path) {
    PLANTED.lock().unwrap_or_else(PoisonError::into_inner).insert(place.to_owned());
}

/// Note the secrets that a run is given, and search what it said.
#[track_caller]
pub fn search_said(command: &Command, said: &[&str]) {
    let Some(dir) = command.get_current_dir() else { return };
    let mut references = BTreeSet::new();
    let texts = command.get_args().filter_map(OsStr::to_str);
    references.extend(texts.filter_map(|text| Some(text.split_once('=')?.1.to_owned())));
    let config = std::fs::read_to_string(dir.join("stepback.toml")).unwrap_or_default();
    references.extend(config.split('"').map(str::to_owned));
    let values = references.iter().filter_map(|one| value_of(one, command, dir));
    let values: Vec<String> = values.filter(|value| value.len() >= BYTES_MIN).collect();
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let given = given.entry(dir.to_owned()).or_default();
    given.extend(values);
    let by_chance = manifests(dir);
    for form in given.iter().filter(|value| !by_chance.contains(*value)).flat_map(forms) {
        for said in said {
            assert!(!said.contains(&form), "`{form}` was said:\n{said}");
        }
    }
    for said in said {
        assert!(!has_handle(said), "a handle was said:\n{said}");
    }
}

/// Search every file of a place that is about to go.
#[track_caller]
pub fn search_files(place: &Path) {
    search_below(place, place);
}

/// Search every file in a directory for the secrets that runs in a place were given.
#[track_caller]
pub fn search_below(within: &Path, place: &Path) {
    let given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let given = given.iter().filter(|(dir, _)| dir.starts_with(place));
    let values: BTreeSet<&String> = given.flat_map(|(_, values)| values).collect();
    if values.is_empty() || std::thread::panicking() {
        return;
    }
    let by_chance = manifests(place);
    let values = values.into_iter().filter(|value| !by_chance.contains(*value));
    let values: Vec<(&String, Vec<String>)> = values.map(|value| (value, forms(value))).collect();
    let planted = PLANTED.lock().unwrap_or_else(PoisonError::into_inner).contains(place);
    let is_searched = |path: &Path| !(planted && path.file_name() == Some(OsStr::new(WORLD)));
    for (path, text) in files(within, &is_searched) {
        for (value, forms) in &values {
            // One that the test has put there to be given.
            let is_states = path.components().any(|part| part.as_os_str() == "state");
            if !is_states && text.trim_end() == value.trim_end() {
                continue;
            }
            for form in forms {
                assert!(!text.contains(form), "`{form}` is in {}", path.display());
            }
        }
        let is_program = path.extension().is_some_and(|extension| extension == "wasm");
        assert!(is_program || !has_handle(&text), "a handle is in {}", path.display());
    }
}

fn value_of(reference: &str, command: &Command, dir: &Path) -> Option<String> {
    let (kind, rest) = reference.split_once(':')?;
    let value = match kind {
        // A pipe is for the program to read.
        "file" if dir.join(rest).is_file() => std::fs::read_to_string(dir.join(rest)).ok()?,
        "env" => {
            let of_it = command.get_envs().find(|(name, _)| *name == OsStr::new(rest));
            of_it.and_then(|(_, value)| Some(value?.to_str()?.to_owned()))?
        }
        _ => return None,
    };
    Some(value.strip_suffix('\n').unwrap_or(&value).to_owned())
}

fn forms(value: &String) -> Vec<String> {
    let json = Value::from(value.as_str()).to_string();
    let url = |byte: u8| match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    let base64 = [STANDARD.encode(value), URL_SAFE_NO_PAD.encode(value)];
    let mut forms: Vec<String> = base64.map(|text| text.trim_end_matches('=').to_owned()).into();
    forms.extend([
        value.clone(),
        json[1..json.len() - 1].to_owned(),
        value.bytes().map(url).collect(),
    ]);
    forms
}

fn has_handle(text: &str) -> bool {
    let after = text.split(HANDLE).skip(1);
    after.into_iter().any(|rest| rest.bytes().take(32).filter(u8::is_ascii_hexdigit).count() == 32)
}

/// What is in a manifest is no secret, and a test's value there by chance.
fn manifests(dir: &Path) -> String {
    let is_toml = |path: &Path| path.extension().is_some_and(|extension| extension == "toml");
    files(dir, &is_toml).into_iter().map(|(_, text)| text).collect()
}

/// The files in a directory that are asked for, with what is in them: the others are not read, for
/// beside the program's own there may be an engine's, with all of its images.
fn files(dir: &Path, is_asked: &dyn Fn(&Path) -> bool) -> Vec<(PathBuf, String)> {
    let mut found = vec![];
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&path, is_asked)),
            Ok(_) if !is_asked(&path) => {}
            // What is larger is no file of the program's, but a disk of a test.
            Ok(kind) if kind.is_file() && path.metadata().is_ok_and(|one| one.len() < LARGE) => {
                let bytes = std::fs::read(&path).unwrap_or_default();
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let is_world = path.file_name() == Some(OsStr::new(WORLD));
                found.push((path, if is_world { without_containers(&text) } else { text }));
            }
            // Links, pipes and sockets lead elsewhere.
            Ok(_) | Err(_) => {}
        }
    }
    found
}

/// A simulated world without what a container has on purpose.
fn without_containers(world: &str) -> String {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.retain(|name, _| !["env", "command"].contains(&name.as_str()));
                map.values_mut().for_each(strip);
            }
            Value::Array(list) => list.iter_mut().for_each(strip),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    match serde_json::from_str::<Value>(world) {
        Ok(mut parsed) => {
            strip(&mut parsed);
            parsed.to_string()
        }
        Err(_) => world.to_owned(),
    }
}

/// The search itself, with something to find.
mod tests {
    use super::*;

    fn given(dir: &Path) -> Command {
        let mut command = Command::new("true");
        command.current_dir(dir).args(["run", "-i", "pw=file:pw"]);
        command
    }

    fn finds(search: impl FnOnce() + std::panic::UnwindSafe) -> bool {
        std::panic::catch_unwind(search).is_err()
    }

    #[test]
    fn a_secret_is_found_wherever_it_is() {
        let value = "correct-horse/1?";
        for form in forms(&value.to_owned()) {
            let place = tempfile::tempdir().expect("a directory");
            std::fs::write(place.path().join("pw"), format!("{value}\n")).expect("a file");
            let said = format!("before {form} after");
            assert!(finds(|| search_said(&given(place.path()), &["", &said])), "{form}");
            assert!(!finds(|| search_said(&given(place.path()), &["nothing"])));
            assert!(!finds(|| search_files(place.path())));
            std::fs::create_dir(place.path().join("state")).expect("a directory");
            std::fs::write(place.path().join("state/journal.db"), said).expect("a file");
            assert!(finds(|| search_files(place.path())), "{form}");
        }
        let handle = format!("{HANDLE}{}", "0a".repeat(16));
        let place = tempfile::tempdir().expect("a directory");
        assert!(finds(|| search_said(&given(place.path()), &[&handle])));
    }
}
