//! Holding a step's `with` against the schema that its plugin publishes, before anything in it is
//! evaluated.

use super::schema;
use super::unfold::{PATTERN_BYTES_MAX, Unfolded, unfold};
use crate::diagnostic::{Diagnostic, suggest};
use crate::expr::{self, Kind, Part, Reading};
use crate::manifest::{Step, pointer};
use crate::step::StepInfo;
use jsonschema::error::ValidationErrorKind as Misfit;
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::Value;

/// So many mistakes of one `with` are told, and so many are looked at for them.
pub(super) const TOLD_MAX: usize = 20;
const LOOKED_AT_MAX: usize = 1_000;
/// So much of what does not fit is shown.
const SHOWN_CHARS_MAX: usize = 500;

/// The schema of a step's inputs, ready to check them.
#[derive(Debug)]
pub(super) struct Inputs {
    validator: Validator,
    unfolded: Unfolded,
}

impl Inputs {
    /// Whether that takes no time.
    pub(super) fn takes_at_once(&self, value: &Value) -> bool {
        self.unfolded.takes_at_once(value)
    }

    /// What holds a value against it, if that ends in good time.
    ///
    /// # Errors
    /// That it does not, as a sentence.
    pub(super) fn validator_for(&self, value: &Value) -> Result<&Validator, String> {
        let fits = self.unfolded.must_take(value);
        fits.map(|()| &self.validator).map_err(|why| format!("the plugin's schema {why}"))
    }
}

/// The schema of a step's inputs, if it is one that ends.
///
/// # Errors
/// That it is no schema, or that it comes to more than anybody should check.
pub(super) fn compile(step: &Step, info: &StepInfo) -> Result<Inputs, Diagnostic> {
    let refuse = |message: String| Diagnostic::at(step.spans.uses.clone(), message);
    let unfolded = unfold(&info.input_schema)
        .map_err(|why| refuse(format!("the plugin's schema of `{}` {why}", step.uses)))?;
    // Those that go back, or look around, take time without end.
    let patterns =
        PatternOptions::regex().size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX);
    let validator = jsonschema::options().with_pattern_options(patterns);
    let validator = validator.build(&info.input_schema).map_err(|error| {
        refuse(format!("the plugin's schema of `{}` is broken: {error}", step.uses))
    })?;
    Ok(Inputs { validator, unfolded })
}

/// Everything in `with` that can't fit, whatever its expressions come to.
pub(super) fn check(step: &Step, info: &StepInfo, inputs: &Inputs, found: &mut Vec<Diagnostic>) {
    let mut told = vec![];
    for key in step.with.as_object().into_iter().flatten().map(|(key, _)| key) {
        let path = [Part::Name(key.clone())];
        if let Some((_, names)) = schema::follow(&info.input_schema, &path) {
            told.push(key);
            let message = format!("`{}` takes no input `{key}`", step.uses);
            let span = step.spans.in_with(&pointer("", key));
            found.push(Diagnostic::at(span, message).help(suggest(key, names)));
        }
    }
    let validator = match inputs.validator_for(&step.with) {
        Ok(validator) => validator,
        Err(why) => return found.push(Diagnostic::at(step.spans.in_with(""), why)),
    };
    let most = found.len() + TOLD_MAX;
    for error in validator.iter_errors(&step.with).take(LOOKED_AT_MAX) {
        if found.len() >= most {
            break;
        }
        if is_open(&error, &step.with) {
            continue;
        }
        let path = error.instance_path().to_string();
        if let Misfit::AdditionalProperties { unexpected } = error.kind() {
            let untold = unexpected.iter().filter(|name| !path.is_empty() || !told.contains(name));
            found.extend(untold.map(|name| unknown(step, info, &error, name)));
            continue;
        }
        let text = in_words(&error, &info.input_schema);
        let message = format!("`with` does not fit `{}`: {text}", step.uses);
        let mistake = Diagnostic::at(step.spans.in_with(&path), message);
        // What is open was left out, so that a template which gets here is text.
        let is_text = matches!(error.instance().as_str(), Some(text) if expr::is_template(text));
        found.push(match is_text {
            true => mistake
                .help("an expression among text makes text; one `{{ … }}` alone keeps its type"),
            false => mistake,
        });
    }
}

/// A key that the schema has no place for, at the top or further in.
fn unknown(step: &Step, info: &StepInfo, error: &ValidationError<'_>, name: &str) -> Diagnostic {
    let path = error.instance_path().to_string();
    let schema = error.schema_path().to_string();
    let around = schema.rsplit_once('/').map_or("", |(around, _)| around);
    let properties = info.input_schema.pointer(&format!("{around}/properties"));
    let known = properties.and_then(Value::as_object).into_iter().flatten();
    let names: Vec<&str> = known.map(|(name, _)| name.as_str()).collect();
    let message = match path.trim_start_matches('/') {
        "" => format!("`{}` takes no input `{name}`", step.uses),
        within => format!("`{}` takes no `{name}` in `{within}`", step.uses),
    };
    let span = step.spans.in_with(&pointer(&path, name));
    Diagnostic::at(span, message).help(suggest(name, names))
}

/// Whether an error may go away when expressions are evaluated.
fn is_open(error: &ValidationError<'_>, with: &Value) -> bool {
    let Some(value) = with.pointer(&error.instance_path().to_string()) else { return false };
    match (error.kind(), value) {
        // Text stays text: no other type comes of it.
        (Misfit::Type { .. }, Value::String(text)) if expr::is_template(text) => {
            let outline = expr::read(text, Reading::Template);
            !outline.is_ok_and(|all| all.kind == Kind::Text)
        }
        // These are about what is directly in it, and no expression adds or takes a key.
        (
            Misfit::Type { .. }
            | Misfit::Required { .. }
            | Misfit::AdditionalProperties { .. }
            | Misfit::MinProperties { .. }
            | Misfit::MaxProperties { .. }
            | Misfit::MinItems { .. }
            | Misfit::MaxItems { .. },
            Value::Object(_) | Value::Array(_),
        ) => false,
        // Any other may be about a value further in.
        (_, value) => expr::holds_template(value),
    }
}

/// What does not fit, in words: where a value may be one of several kinds, the schema's own
/// description of it says more than *none of them*.
pub(super) fn in_words(error: &ValidationError<'_>, schema: &Value) -> String {
    let text = whole_in_words(error, schema);
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn whole_in_words(error: &ValidationError<'_>, schema: &Value) -> String {
    let path = error.instance_path().to_string();
    let key = path.split('/').nth(1).unwrap_or_default();
    let described = schema.pointer(&format!("/properties/{key}/description"));
    match (error.kind(), described.and_then(Value::as_str)) {
        (Misfit::AnyOf { .. } | Misfit::OneOfNotValid { .. }, Some(description)) => {
            match description.starts_with('"') {
                true => format!("{} must be {description}", error.instance()),
                false => format!("{} does not fit (it is to be: {description})", error.instance()),
            }
        }
        _ => error.to_string(),
    }
}
