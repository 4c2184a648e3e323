//! Reads a manifest and its inputs from the command line.

use crate::args::Operation;
use crate::environment::actor;
use crate::error::CliError;
use crate::files::{self, TEXT_BYTES_MAX};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use stepback_core::inputs::Given;
use stepback_core::manifest::MANIFEST_BYTES_MAX;
use stepback_engine::Request;

/// A manifest's text.
pub fn read(path: &Path) -> Result<String, CliError> {
    files::text(path, MANIFEST_BYTES_MAX as u64)
        .map_err(|why| CliError::usage(why, "give the path of a manifest"))
}

/// Where a manifest's relative paths start.
pub fn base_dir(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// What the command line asks for.
pub fn request(
    operation: &Operation,
    environment: &str,
    no_wait: bool,
) -> Result<Request, CliError> {
    Ok(Request {
        manifest_name: operation.manifest.display().to_string(),
        manifest: read(&operation.manifest)?,
        base_dir: base_dir(&operation.manifest),
        inputs: inputs(operation)?,
        secrets: secrets(operation)?,
        environment: environment.into(),
        actor: actor(),
        no_wait,
    })
}

/// The inputs of the file, then the ones given by name, which win.
fn inputs(operation: &Operation) -> Result<BTreeMap<String, Given>, CliError> {
    let mut inputs = BTreeMap::new();
    if let Some(path) = &operation.inputs_file {
        for (name, value) in read_inputs(path)? {
            inputs.insert(name, Given::Value(value));
        }
    }
    for text in &operation.inputs {
        let Some((name, value)) = text.split_once('=') else {
            return Err(CliError::usage(
                format!("`-i {text}` is not NAME=VALUE"),
                "such as `-i database=main`",
            ));
        };
        inputs.insert(name.to_owned(), Given::Text(value.to_owned()));
    }
    Ok(inputs)
}

/// The references that are given by name.
fn secrets(operation: &Operation) -> Result<BTreeMap<String, String>, CliError> {
    let mut secrets = BTreeMap::new();
    for text in &operation.secrets {
        let Some((name, reference)) = text.split_once('=') else {
            // What was typed may be the secret itself.
            return Err(CliError::usage(
                "`--secret` is not NAME=REFERENCE",
                "such as `--secret db=env:DB_PASSWORD`",
            ));
        };
        if secrets.insert(name.to_owned(), reference.to_owned()).is_some() {
            let message = format!("the secret `{name}` is given twice");
            return Err(CliError::usage(message, "give it once"));
        }
    }
    Ok(secrets)
}

fn read_inputs(path: &Path) -> Result<BTreeMap<String, Value>, CliError> {
    let text = files::text(path, TEXT_BYTES_MAX)
        .map_err(|why| CliError::usage(why, "it is given by `--inputs`"))?;
    let read: Result<BTreeMap<String, Value>, String> = match path.extension() {
        Some(extension) if extension == "json" => {
            serde_json::from_str(&text).map_err(|error| error.to_string())
        }
        _ => toml::from_str(&text).map_err(|error| error.to_string()),
    };
    read.map_err(|why| {
        let help = "write `name = value` lines (TOML), or an object (JSON, in a `.json` file)";
        let message = format!("{} holds no inputs: {}", path.display(), why.trim_end());
        CliError::usage(message, help)
    })
}
