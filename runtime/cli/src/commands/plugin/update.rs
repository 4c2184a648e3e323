//! `stepback plugin update`: the SDK and the contract of a plugin as this program has them.
//!
//! Nothing else of the plugin is touched. What was changed by hand is told and kept; with
//! `--force` it is written over. The stamp is written last, so that one that was cut off goes on.

use crate::error::{CliError, Exit};
use crate::files;
use crate::kit::{SDK, STAMP, Stamp, digest};
use crate::output::print;
use std::fs;
use std::io;
use std::path::Path;

pub fn run(dir: &Path, force: bool) -> Result<Exit, CliError> {
    let laid = Stamp::read(dir).map_err(|why| {
        let help = "`stepback plugin new NAME` makes a plugin that can be updated";
        CliError::usage(format!("{why}; nothing was changed"), help)
    })?;
    let carried = Stamp::carried();
    if laid.is_newer_than(&carried) && !force {
        let message = format!(
            "the SDK in {} is {}, newer than this program's, {}; nothing was changed",
            dir.display(),
            laid.sdk,
            carried.sdk
        );
        return Err(CliError::usage(message, "take a newer program, or go back with `--force`"));
    }
    let changed = changed_by_hand(dir, &laid, &carried)?;
    if !changed.is_empty() && !force {
        let message = format!(
            "changed by hand in {}: {}; nothing was changed",
            dir.display(),
            changed.join(", ")
        );
        let help = "keep what you need of it elsewhere, then `--force` writes over it";
        return Err(CliError::usage(message, help));
    }
    if changed.is_empty() && laid == carried {
        print(&format!("nothing to do: {} is what there is\n", laid.versions()));
        return Ok(Exit::Succeeded);
    }
    write(dir, &laid, &carried)?;
    print(&format!("from {}\nto   {}\n", laid.versions(), carried.versions()));
    Ok(Exit::Succeeded)
}

/// The digest of the file as it is; `None` if it is gone.
fn now(dir: &Path, path: &str) -> Result<Option<String>, CliError> {
    let whole = dir.join(path);
    match fs::symlink_metadata(&whole) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        _ => files::bytes(&whole, files::TEXT_BYTES_MAX)
            .map(|bytes| Some(digest(&bytes)))
            .map_err(|why| CliError::Usage { message: why, help: None }),
    }
}

/// The files that are neither what was laid nor what would be laid now.
fn changed_by_hand(dir: &Path, laid: &Stamp, carried: &Stamp) -> Result<Vec<String>, CliError> {
    let mut changed = vec![];
    let new = carried.files.keys().filter(|path| !laid.files.contains_key(*path));
    for path in laid.files.keys().chain(new) {
        let (was, is_to_be) = (laid.files.get(path), carried.files.get(path));
        match now(dir, path)? {
            Some(is) if Some(&is) == was || Some(&is) == is_to_be => {}
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
        let message = format!("{} can't be written: {error}", dir.join(path).display());
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
