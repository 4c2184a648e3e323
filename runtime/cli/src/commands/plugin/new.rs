//! `stepback plugin new`: a crate of its own, with a first step, that builds by itself.
//!
//! Everything is written aside and then moved to its place, so that an error leaves nothing
//! half-made. What it is made of is the program's own: nothing is fetched.

use crate::builtins;
use crate::error::{CliError, Exit};
use crate::kit::{EXAMPLE, SDK, STAMP, Stamp};
use crate::output::print;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use stepback_core::shell::word;
use stepback_plugin_build::kit;

const NAME_CHARS_MAX: usize = 64;
/// A crate with this prefix makes a component without it.
const PREFIX: &str = "stepback-plugin-";

/// Names that Cargo or the compiler refuse, or take for something else: Rust's keywords (The Rust
/// Reference, *Keywords*) and the libraries that every crate has.
const TAKEN: &str = "
    abstract alloc as async await become box break const continue core crate do dyn else enum
    extern false final fn for gen if impl in let loop macro match mod move mut override priv
    proc-macro pub ref return self static std struct super test trait true try type typeof unsafe
    unsized use virtual where while yield";

pub fn run(name: &str, dir: Option<PathBuf>) -> Result<Exit, CliError> {
    check_name(name)?;
    let shown = dir.unwrap_or_else(|| PathBuf::from(name));
    let dir = std::path::absolute(&shown).map_err(|error| unwritable(&shown, &error))?;
    must_be_free(&shown, &dir)?;
    let stamp = Stamp::carried();
    let mut all = vec![(STAMP, stamp.text())];
    all.extend(SDK.iter().map(|(path, text)| (*path, (*text).to_owned())));
    for (path, text) in EXAMPLE {
        let text = kit::filled_in(path, text, name);
        all.push((
            path,
            text.map_err(|error| CliError::Internal(shown!("{}", format!("{:#}", error))))?,
        ));
    }
    lay(&dir, &all).map_err(|error| unwritable(&shown, &error))?;
    let there = match shown.display().to_string().as_str() {
        "." => String::new(),
        elsewhere => format!("  cd {}\n", word(elsewhere)),
    };
    print(&shown!(
        "made {} ({}):\n\n{}  stepback plugin build\n  cargo test\n  \
         stepback run operation.toml\n\nREADME.md there has more.\n",
        shown.display(),
        stamp.versions(),
        there
    ));
    Ok(Exit::Succeeded)
}

fn unwritable(dir: &Path, error: &io::Error) -> CliError {
    let message = shown!("{} can't be written: {}", dir.display(), error);
    CliError::usage(message, "choose another place with `--dir DIR`")
}

/// Whether a crate, a component and a plugin of the configuration can have this name.
fn check_name(name: &str) -> Result<(), CliError> {
    let refused = |why: &str, help: &str| {
        Err(CliError::usage(
            shown!("a plugin can't be called `{}`: {}", name, why),
            help.to_owned(),
        ))
    };
    let is_word = |word: &str| {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        !word.is_empty() && word.chars().all(is_plain)
    };
    let is_plain =
        name.starts_with(|c: char| c.is_ascii_lowercase()) && name.split('-').all(is_word);
    let lock = EXAMPLE.iter().find(|(path, _)| *path == "Cargo.lock").map(|(_, lock)| *lock);
    if !is_plain || name.len() > NAME_CHARS_MAX {
        return refused(
            "a name is small letters, digits and single `-` between them, and begins with a letter",
            "such as `volume-label`",
        );
    }
    if let Some(rest) = name.strip_prefix(PREFIX) {
        return refused("its component has no such prefix", &format!("`{rest}` is enough"));
    }
    if builtins::bytes(name).is_some() {
        return refused("the program has one of that name", "choose another name");
    }
    if TAKEN.split_whitespace().any(|taken| taken == name) {
        return refused("the name means something else in Rust", "choose another name");
    }
    if kit::crates(lock.unwrap_or_default()).any(|needed| needed == name) {
        return refused("it depends on a crate of that name", "choose another name");
    }
    Ok(())
}

fn must_be_free(shown: &Path, dir: &Path) -> Result<(), CliError> {
    let help = "choose another name, or another place with `--dir DIR`";
    match fs::read_dir(dir).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(CliError::usage(shown!("{} is not empty", shown.display()), help)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            Err(CliError::usage(shown!("{} is there, and no directory", shown.display()), help))
        }
        Err(error) => Err(unwritable(shown, &error)),
    }
}

/// Write the files aside and move them to their place, all of them or none.
fn lay(dir: &Path, files: &[(&str, String)]) -> io::Result<()> {
    // A directory that is there stays the same one: a shell may be in it.
    let is_there = dir.is_dir();
    let parent = if is_there { dir } else { dir.parent().unwrap_or(dir) };
    fs::create_dir_all(parent)?;
    let part = parent.join(format!(".stepback-new.{}.part", std::process::id()));
    // One of an earlier process of this number may have been left.
    let _ = fs::remove_dir_all(&part);
    let done = write_all(&part, files).and_then(|()| match is_there {
        true => move_into(&part, dir),
        false => fs::rename(&part, dir),
    });
    if done.is_err() {
        // Why it could not be written is told; a part that stays is only untidy.
        let _ = fs::remove_dir_all(&part);
    }
    done
}

fn write_all(part: &Path, files: &[(&str, String)]) -> io::Result<()> {
    for (path, text) in files {
        let path = part.join(path);
        fs::create_dir_all(path.parent().unwrap_or(part))?;
        fs::write(path, text)?;
    }
    Ok(())
}

/// Move everything in one directory into another, or nothing.
fn move_into(part: &Path, dir: &Path) -> io::Result<()> {
    let mut moved = vec![];
    for entry in fs::read_dir(part)? {
        let entry = entry?;
        let to = dir.join(entry.file_name());
        if let Err(error) = fs::rename(entry.path(), &to) {
            for (from, to) in moved {
                // It was moved here just now; what can't go back is told of with the error.
                let _ = fs::rename(to, from);
            }
            return Err(error);
        }
        moved.push((entry.path(), to));
    }
    fs::remove_dir(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_everywhere() {
        for name in ["a", "my-plugin", "label2", "s3-mirror"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        let long = "a".repeat(NAME_CHARS_MAX + 1);
        let bad = "A my_plugin -a a- a--b 2a a.b a/b .. ä fn ebs serde stepback-sdk test";
        for name in bad.split(' ').chain(["", "a b", "stepback-plugin-x", &long]) {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
