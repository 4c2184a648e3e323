//! `stepback plugin update`: the SDK and the contract of a plugin as this program has them.
//!
//! Nothing else of the plugin is touched. What was changed by hand is told and kept; with
//! `--force` it is written over. The stamp is written last, so that one that was cut off goes on.

use crate::error::{CliError, Exit};
use crate::files;
use crate::kit::{SDK, STAMP, Stamp, digest, digest_of_lines};
use crate::output::print;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

pub fn run(dir: &Path, force: bool) -> Result<Exit, CliError> {
    let laid = match Stamp::read(dir) {
        Ok(laid) => laid,
        // It was lost, or a merge left its marks in it: what is there is laid down anew.
        Err(_) if force && has_sdk(dir) => Stamp::lost(),
        Err(why) => {
            let help = match has_sdk(dir) {
                true => "`--force` lays sdk/ and wit/ down anew",
                false => "`stepback plugin new NAME` makes a plugin that can be updated",
            };
            return Err(CliError::usage(shown!("{}; nothing was changed", why), help));
        }
    };
    let carried = Stamp::carried();
    must_be_here(dir, laid.files.keys().chain(carried.files.keys()))?;
    if laid.is_newer_than(&carried) && !force {
        let message = shown!(
            "{} has {}, newer than this program's, {}; nothing was changed",
            dir.display(),
            laid.versions(),
            carried.versions()
        );
        return Err(CliError::usage(message, "take a newer program, or go back with `--force`"));
    }
    let changed = changed_by_hand(dir, &laid, &carried)?;
    if !changed.is_empty() && !force {
        let message = shown!(
            "changed by hand in {}: {}; nothing was changed",
            dir.display(),
            changed.join(", ")
        );
        let help = "keep what you need of it elsewhere, then `--force` writes over it";
        return Err(CliError::usage(message, help));
    }
    if changed.is_empty() && laid == carried {
        print(&shown!("nothing to do: {} is what there is\n", laid.versions()));
        return Ok(Exit::Succeeded);
    }
    write(dir, &laid, &carried)?;
    print(&shown!("from {}\nto   {}\n", laid.versions(), carried.versions()));
    Ok(Exit::Succeeded)
}

/// Whether each directory between a plugin and its files is one: what is laid down below a link
/// would be laid, and what is old removed, somewhere else. And whether none of the files is one,
/// which would be found out half way.
fn must_be_here<'a>(
    dir: &Path,
    paths: impl Iterator<Item = &'a String> + Clone,
) -> Result<(), CliError> {
    for path in paths.clone().map(String::as_str).chain([STAMP]) {
        let whole = dir.join(path);
        if fs::symlink_metadata(&whole).is_ok_and(|found| found.is_dir()) {
            let message = shown!("{} is a directory; nothing was changed", whole.display());
            return Err(CliError::usage(message, "move it away: a file has its place there"));
        }
    }
    let above = |path: &'a String| Path::new(path).ancestors().skip(1);
    let between: BTreeSet<&Path> =
        paths.flat_map(above).filter(|path| !path.as_os_str().is_empty()).collect();
    for path in between {
        let whole = dir.join(path);
        if fs::symlink_metadata(&whole).is_ok_and(|found| !found.is_dir()) {
            let message = shown!("{} is no directory; nothing was changed", whole.display());
            let help = "move it away: files would be written and removed where it leads";
            return Err(CliError::usage(message, help));
        }
    }
    Ok(())
}

/// Whether the SDK is there, whatever its stamp says.
fn has_sdk(dir: &Path) -> bool {
    let path = dir.join("sdk/Cargo.toml");
    fs::symlink_metadata(&path).is_ok_and(|found| found.is_file())
        && files::text(&path, files::TEXT_BYTES_MAX)
            .is_ok_and(|text| text.contains("name = \"stepback-sdk\""))
}

/// The digests of the file as it is, and with its lines' ends as they were laid; `None` if it is
/// gone.
fn now(dir: &Path, path: &str) -> Result<Option<[String; 2]>, CliError> {
    let whole = dir.join(path);
    match fs::symlink_metadata(&whole) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // Nobody waits for what a pipe says.
        Ok(found) if !found.is_file() => Ok(Some(["no file".to_owned(), "no file".to_owned()])),
        _ => files::bytes(&whole, files::TEXT_BYTES_MAX)
            .map(|bytes| Some([digest(&bytes), digest_of_lines(&bytes)]))
            .map_err(|why| CliError::Usage { message: why.into(), help: None }),
    }
}

/// The files that are neither what was laid nor what would be laid now.
fn changed_by_hand(dir: &Path, laid: &Stamp, carried: &Stamp) -> Result<Vec<String>, CliError> {
    let mut changed = vec![];
    let new = carried.files.keys().filter(|path| !laid.files.contains_key(*path));
    for path in laid.files.keys().chain(new) {
        let (was, is_to_be) = (laid.files.get(path), carried.files.get(path));
        match now(dir, path)? {
            Some(is) if is.iter().any(|is| Some(is) == was || Some(is) == is_to_be) => {}
            Some(_) if was.is_none() => changed.push(format!("{path} (not Stepback's)")),
            Some(_) => changed.push(path.clone()),
            None if was.is_some() && is_to_be.is_some() => changed.push(format!("{path} (gone)")),
            None => {}
        }
    }
    Ok(changed)
}

fn write(dir: &Path, laid: &Stamp, carried: &Stamp) -> Result<(), CliError> {
    let unwritable = |path: &str, error: io::Error| {
        let message = shown!("{} can't be written: {}", dir.join(path).display(), error);
        CliError::usage(message, "mend that, and update again: it goes on where it stopped")
    };
    let lay = |path: &str, text: &str| {
        let whole = dir.join(path);
        fs::create_dir_all(whole.parent().unwrap_or(dir))
            .and_then(|()| files::write_whole(&whole, text, files::FOR_ALL))
            .map_err(|error| unwritable(path, error))
    };
    for (path, text) in SDK {
        lay(path, text)?;
    }
    for path in laid.files.keys().filter(|path| !carried.files.contains_key(*path)) {
        match fs::remove_file(dir.join(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(unwritable(path, error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    lay(STAMP, &carried.text())
}
