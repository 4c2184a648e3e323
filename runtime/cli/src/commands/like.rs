//! `--like ID`: an operation as an earlier one, changed as told.

use crate::config::Config;
use crate::environment;
use crate::error::CliError;
use crate::shown::row;
use std::collections::BTreeMap;
use stepback_core::OperationId;
use stepback_core::inputs::{self, Given};
use stepback_core::manifest::{Manifest, parse_pinned};
use stepback_core::resource::SEALED;
use stepback_core::state::{State, Status};
use stepback_core::texts::MapTexts;
use stepback_journal::Store;

/// What is to be run, and with what.
pub struct Asked {
    /// The path that the manifest was read from.
    pub name: String,
    pub text: String,
    pub environment: String,
    pub inputs: BTreeMap<String, Given>,
    pub secrets: BTreeMap<String, String>,
}

/// The manifest and the inputs of that operation, with what was given beside it instead of its own.
///
/// # Errors
/// There is no such operation, or it has not the output that an input stands for.
pub async fn asked(
    config: &Config,
    id: OperationId,
    environment: Option<&str>,
    given: BTreeMap<String, Given>,
    secrets: BTreeMap<String, String>,
) -> Result<Asked, CliError> {
    let records = environment::store(config, false)?.load(id).await?;
    let state = State::fold(&records);
    let state = state.map_err(|error| CliError::unreadable(id, error.to_string()))?;
    let Some(pinned) = &state.pinned else {
        return Err(CliError::Internal(shown!("{} has no first event", id)));
    };
    let manifest = parse_pinned(&pinned.manifest_name, &pinned.manifest);
    let manifest = manifest.map_err(CliError::Mistakes)?;
    let environment = environment.unwrap_or(pinned.environment.as_str());
    tell!("like operation {}: {} in {}", id, row(&pinned.manifest_name), row(environment));
    let mut kept = pinned.inputs.clone();
    kept.retain(|name, _| !given.contains_key(name));
    let (mut inputs, mut of_maps) = inputs::again(&manifest, &kept);
    for (name, output) in stand_for_outputs(&manifest, &given) {
        let value = output_of(&state, id, name, output)?;
        tell!("  {} = {}, the output `{}` of operation {}", row(name), row(&value), output, id);
        inputs.insert(name.to_owned(), Given::Value(value));
    }
    inputs.extend(given);
    of_maps.extend(secrets);
    Ok(Asked {
        name: pinned.manifest_name.clone(),
        text: pinned.manifest.clone(),
        environment: config.chosen(Some(environment))?,
        inputs,
        secrets: of_maps,
    })
}

/// The inputs that are an output of the earlier operation, unless another value is given.
fn stand_for_outputs<'a>(
    manifest: &'a Manifest,
    given: &BTreeMap<String, Given>,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let inputs = manifest.inputs.iter().filter(|(name, _)| !given.contains_key(*name));
    inputs.filter_map(|(name, spec)| Some((name.as_str(), spec.like.as_deref()?)))
}

fn output_of(
    state: &State,
    id: OperationId,
    input: &str,
    output: &str,
) -> Result<serde_json::Value, CliError> {
    let value = state.outputs.get(output).filter(|_| state.status == Status::Succeeded);
    let value = value.filter(|_| !state.unknown_outputs.contains_key(output));
    // What a seal stands for nobody knows; it would be taken for a text.
    if value.is_some_and(|value| value.texts().iter().any(|text| text.starts_with(SEALED))) {
        let message = shown!(
            "the output `{}` of operation {} has sealed values in it, and the input `{}` is to be \
             like it",
            output,
            id,
            input
        );
        return Err(CliError::usage(message, shown!("give it: `-i {}=…`", input)));
    }
    value.cloned().ok_or_else(|| {
        let message = shown!(
            "operation {} has no output `{}`, which the input `{}` is to be: only one that \
             succeeded has",
            id,
            output,
            input
        );
        CliError::usage(message, shown!("give it: `-i {}=…`", input))
    })
}
