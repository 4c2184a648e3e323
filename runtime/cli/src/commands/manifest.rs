//! Reads a manifest and its inputs from the command line.

use super::like::{self, Asked};
use crate::actor::actor;
use crate::args::Operation;
use crate::config::Config;
use crate::error::CliError;
use crate::files::{self, TEXT_BYTES_MAX};
use crate::output::Style;
use crate::shown::row;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use stepback_core::OperationId;
use stepback_core::diagnostic::line_column;
use stepback_core::inputs::Given;
use stepback_core::manifest::MANIFEST_BYTES_MAX;
use stepback_engine::Request;
use stepback_provider::passwords::{without_types, without_values};

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

/// What the command line asks for, in this environment if one is chosen.
///
/// # Errors
/// What can't be read, and what is asked for in no way that there is.
pub async fn request(
    config: &Config,
    operation: &Operation,
    environment: Option<&str>,
    no_wait: bool,
) -> Result<Request, CliError> {
    let given = inputs(operation)?;
    given.iter().for_each(|(name, given)| tell_taken_literally(name, given));
    given.iter().for_each(|(name, given)| tell_in_clear(name, given));
    let Asked { name, text, environment, inputs, secrets } =
        match (operation.like, &operation.manifest) {
            (Some(id), _) => {
                let secrets = secrets(&operation.secrets)?;
                like::asked(config, OperationId(id), environment, given, secrets).await?
            }
            (None, Some(path)) => Asked {
                name: path.display().to_string(),
                text: read(path)?,
                environment: config.chosen(environment)?,
                inputs: given,
                secrets: secrets(&operation.secrets)?,
            },
            (None, None) => return Err(CliError::usage("no manifest", "give the path of one")),
        };
    Ok(Request {
        base_dir: base_dir(Path::new(&name)),
        manifest_name: name,
        manifest: text,
        inputs,
        secrets,
        environment: environment.as_str().into(),
        actor: actor(),
        no_wait,
    })
}

/// A text in an input that is a map.
struct InMap {
    /// Where it is, `ann.PASSWORD`.
    path: String,
    /// The last of its keys.
    key: String,
    value: String,
}

impl InMap {
    /// How a secret is asked for in its place: a value of the map itself may be one.
    fn asks(&self) -> &'static str {
        match self.path == self.key {
            true => "a secret is asked for as `{\"secret\": \"NAME\"}` there",
            false => {
                "a secret is asked for as `{\"secret\": \"NAME\"}` in a map's own values, and no \
                 deeper: give it a map of its own"
            }
        }
    }
}

/// The texts in an input that is a map, however deep.
fn texts_in(given: &Given) -> Vec<InMap> {
    let parsed = match given {
        Given::Value(value) => Some(value.clone()),
        Given::Text(text) => serde_json::from_str(text).ok(),
    };
    let mut found = vec![];
    if let Some(map @ Value::Object(_)) = parsed {
        texts_below(&map, "", "", &mut found);
    }
    found
}

fn texts_below(value: &Value, path: &str, key: &str, found: &mut Vec<InMap>) {
    let below = |part: &str| match path {
        "" => part.to_owned(),
        path => format!("{path}.{part}"),
    };
    match value {
        Value::String(value) => {
            let (path, key, value) = (path.to_owned(), key.to_owned(), value.clone());
            found.push(InMap { path, key, value });
        }
        Value::Object(map) => {
            map.iter().for_each(|(key, value)| texts_below(value, &below(key), key, found));
        }
        Value::Array(list) => {
            for (nth, value) in list.iter().enumerate() {
                texts_below(value, &below(&nth.to_string()), key, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// What variables of secrets have in their names.
const OF_SECRETS: [&str; 7] =
    ["password", "passwd", "secret", "token", "credential", "private_key", "api_key"];

/// Say so where a value of a map is a secret by its name: it is kept as it is.
fn tell_in_clear(name: &str, given: &Given) {
    let is_secret = |key: &str| {
        let key = key.to_lowercase().replace('-', "_");
        OF_SECRETS.iter().any(|word| key.contains(word)) && !key.ends_with("_file")
    };
    // `MAX_TOKENS` is none.
    let is_plain = |value: &str| serde_json::from_str::<serde_json::Number>(value).is_ok();
    let may_be = |value: &str| !is_like_a_reference(value) && !is_plain(value);
    let texts = texts_in(given).into_iter();
    for text in texts.filter(|text| is_secret(&text.key) && may_be(&text.value)) {
        tell!(
            "{} `{}` of the input `{}` is kept in the journal as it is, and shown; {}, and given \
             with `--secret NAME=env:…`",
            Style::of_stderr().yellow("warning:"),
            row(&text.path),
            row(name),
            text.asks()
        );
    }
}

/// Say so where a value of a map reads like a secret's reference: it is the text itself.
fn tell_taken_literally(name: &str, given: &Given) {
    for text in texts_in(given) {
        if !is_like_a_reference(&text.value) {
            continue;
        }
        let (name, path, value) = (&row(name), &row(&text.path), &row(&text.value));
        tell!(
            "{} `{}` of the input `{}` is the text `{}` itself; {}, and given with `--secret \
             NAME={}`",
            Style::of_stderr().yellow("warning:"),
            path,
            name,
            value,
            text.asks(),
            value
        );
    }
}

/// `env:NAME`, or `file:PATH` of a file that is there: others begin so as well.
fn is_like_a_reference(value: &str) -> bool {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    value.strip_prefix("env:").is_some_and(is_name)
        || value.strip_prefix("file:").is_some_and(|path| Path::new(path).is_file())
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
            // What was typed may be the value alone.
            return Err(CliError::usage("`-i` is not NAME=VALUE", "such as `-i database=main`"));
        };
        inputs.insert(name.to_owned(), Given::Text(value.to_owned()));
    }
    Ok(inputs)
}

/// The references that are given by name.
pub fn secrets(given: &[String]) -> Result<BTreeMap<String, String>, CliError> {
    let mut secrets = BTreeMap::new();
    for text in given {
        let Some((name, reference)) = text.split_once('=') else {
            // What was typed may be the secret itself.
            return Err(CliError::usage(
                "`--secret` is not NAME=REFERENCE",
                "such as `--secret db=env:DB_PASSWORD`",
            ));
        };
        if secrets.insert(name.to_owned(), reference.to_owned()).is_some() {
            let message = shown!("the secret `{}` is given twice", name);
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
            serde_json::from_str(&text).map_err(|error| without_values(&error.to_string()))
        }
        // Its line may have a secret that somebody wrote out.
        _ => toml::from_str(&text).map_err(|error: toml::de::Error| {
            let (line, column) = line_column(&text, error.span().map_or(0, |span| span.start));
            format!("{line}:{column}: {}", without_types(&without_values(error.message())))
        }),
    };
    read.map_err(|why| {
        let help = "write `name = value` lines (TOML), or an object (JSON, in a `.json` file)";
        let message = shown!("{} holds no inputs: {}", path.display(), why.trim_end());
        CliError::usage(message, help)
    })
}
