//! Reading `[[steps]]`.

use super::read::{DURATION_HELP, Reader, duration_ms, span_of, to_json, wrong_type};
use super::*;
use toml_span::value::ValueInner;

type Toml<'a> = toml_span::Value<'a>;

pub(super) fn all(value: &Toml<'_>, found: &mut Vec<Diagnostic>) -> Vec<Step> {
    let Some(list) = value.as_array() else {
        found.push(wrong_type(value, "steps", "a list of tables, `[[steps]]`"));
        return vec![];
    };
    if list.is_empty() {
        found.push(Diagnostic::at(span_of(value), "a manifest needs at least one step"));
    }
    list.iter().filter_map(|value| one(value, found)).collect()
}

fn one(value: &Toml<'_>, found: &mut Vec<Diagnostic>) -> Option<Step> {
    let mut reader = Reader::new(value, "a step", found)?;
    let mut spans = StepSpans::default();
    let id = reader.required("id", found);
    let uses = reader.required("uses", found);
    let title = reader.string("title", found).map(|(text, _)| text);
    let phase = phase(&mut reader, &mut spans, found);
    let needs = needs(&mut reader, &mut spans, found);
    let mut expression = |key, span: &mut Range<usize>, found: &mut Vec<Diagnostic>| {
        let (text, at) = reader.string(key, found)?;
        *span = at;
        Some(text)
    };
    let when = expression("when", &mut spans.when, found);
    let for_each = expression("for_each", &mut spans.for_each, found);
    let at_most = at_most(&mut reader, for_each.is_some(), found);
    let (timeout_ms, timeout_span) = reader.duration("timeout", found).unzip();
    spans.timeout = timeout_span.unwrap_or_default();
    let irreversible = reader.string("irreversible", found).map(|(text, _)| text);
    let reveal = reader.get("reveal").map(|value| reveal(value, found)).unwrap_or_default();
    let retry_value = reader.get("retry");
    let retry = retry_value.as_ref().and_then(|value| retry(value, found));
    if let (Some(_), Some(retry), Some(value)) = (&irreversible, &retry, &retry_value)
        && !retry.on.is_empty()
    {
        let message = "a step that can't be undone is not tried again on these";
        let help = "leave `on` out: what such an attempt did is not taken back before the next";
        found.push(Diagnostic::at(span_of(value), message).help(help));
    }
    let with = with(&mut reader, &mut spans, found);
    reader.finish(found);
    let (id, id_span) = id?;
    let (uses, uses_span) = uses?;
    if !is_id(&id) {
        let message = format!("`{id}` can't be a step's id");
        let help = "use lower-case letters, digits and `-`, a letter first";
        found.push(Diagnostic::at(id_span.clone(), message).help(help));
    }
    let uses = match parse_uses(&uses) {
        Ok(uses) => uses,
        Err(why) => {
            let help = "write `plugin/step`, or `./file.wasm#step` for a plugin of your own";
            found.push(Diagnostic::at(uses_span, why).help(help));
            return None;
        }
    };
    spans.id = id_span;
    spans.uses = uses_span;
    let id = StepId(id);
    Some(Step {
        id,
        uses,
        title,
        with,
        phase,
        needs,
        when,
        for_each,
        at_most,
        retry,
        timeout_ms,
        irreversible,
        reveal,
        spans,
    })
}

fn is_id(id: &str) -> bool {
    id.starts_with(|c: char| c.is_ascii_lowercase())
        && id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

fn parse_uses(text: &str) -> Result<Uses, String> {
    if text.starts_with("oci://") {
        return Err("plugins from a registry are not supported yet".into());
    }
    if let Some((path, step)) = text.rsplit_once('#') {
        if path.is_empty() || step.is_empty() {
            return Err(format!("`{text}` names no file or no step"));
        }
        return Ok(Uses::Path { path: path.into(), step: step.into() });
    }
    match text.split_once('/') {
        Some((plugin, step)) if is_id(plugin) && is_id(step) => {
            Ok(Uses::Named { plugin: plugin.into(), step: step.into() })
        }
        _ => Err(format!("`{text}` does not name a plugin's step")),
    }
}

fn phase(reader: &mut Reader<'_, '_>, spans: &mut StepSpans, found: &mut Vec<Diagnostic>) -> Phase {
    let Some((text, span)) = reader.string("phase", found) else { return Phase::Live };
    spans.phase = span.clone();
    match text.as_str() {
        "live" => Phase::Live,
        "downtime" => Phase::Downtime,
        "cleanup" => Phase::Cleanup,
        other => {
            let help = "write \"live\", \"downtime\" or \"cleanup\"";
            found.push(Diagnostic::at(span, format!("`{other}` is not a phase")).help(help));
            Phase::Live
        }
    }
}

fn needs(
    reader: &mut Reader<'_, '_>,
    spans: &mut StepSpans,
    found: &mut Vec<Diagnostic>,
) -> Option<Vec<StepId>> {
    let value = reader.get("needs")?;
    let Some(list) = value.as_array() else {
        found.push(wrong_type(value, "needs", "a list of step ids"));
        return None;
    };
    let mut ids = vec![];
    for value in list {
        match value.as_str() {
            Some(id) => {
                ids.push(StepId::from(id));
                spans.needs.push(span_of(value));
            }
            None => found.push(wrong_type(value, "needs", "a list of step ids")),
        }
    }
    Some(ids)
}

fn at_most(
    reader: &mut Reader<'_, '_>,
    has_for_each: bool,
    found: &mut Vec<Diagnostic>,
) -> Option<NonZeroU32> {
    let value = reader.get("at_most")?;
    if !has_for_each {
        let message = "`at_most` is for the instances of a `for_each`, and there is none";
        let help = "take it out, or say what the step is for: `for_each = \"{{ inputs.hosts }}\"`";
        found.push(Diagnostic::at(span_of(value), message).help(help));
        return None;
    }
    let number = value.as_integer().and_then(|number| u32::try_from(number).ok());
    let number = number.and_then(NonZeroU32::new);
    if number.is_none() {
        let message = "`at_most` must be a whole number, 1 or more";
        let help = "write how many instances may be under way at a time, or leave it out";
        found.push(Diagnostic::at(span_of(value), message).help(help));
    }
    number
}

fn with(reader: &mut Reader<'_, '_>, spans: &mut StepSpans, found: &mut Vec<Diagnostic>) -> Value {
    let Some(value) = reader.get("with") else { return Value::Object(Default::default()) };
    spans.with = span_of(value);
    match value.as_table() {
        Some(table) => {
            spans.with_keys =
                table.iter().map(|entry| (entry.0.name.to_string(), entry_span(entry))).collect();
            values(value, "", &mut spans.with_values);
        }
        None => found.push(wrong_type(value, "with", "a table")),
    }
    to_json(value)
}

/// From the key to the end of its value: either may be what is wrong.
fn entry_span((key, value): (&toml_span::value::Key<'_>, &Toml<'_>)) -> Range<usize> {
    // A table's place is its header, which may be before or after the key's.
    key.span.start..value.span.end.max(key.span.end)
}

/// The place of everything in a value, by JSON pointer.
fn values(value: &Toml<'_>, around: &str, spans: &mut BTreeMap<String, Range<usize>>) {
    match value.as_ref() {
        ValueInner::Table(table) => {
            for entry in table {
                let at = pointer(around, &entry.0.name);
                values(entry.1, &at, spans);
                spans.insert(at, entry_span(entry));
            }
        }
        ValueInner::Array(list) => {
            for (index, item) in list.iter().enumerate() {
                let at = pointer(around, &index.to_string());
                values(item, &at, spans);
                spans.insert(at, span_of(item));
            }
        }
        ValueInner::String(_)
        | ValueInner::Integer(_)
        | ValueInner::Float(_)
        | ValueInner::Boolean(_) => {}
    }
}

fn reveal(value: &Toml<'_>, found: &mut Vec<Diagnostic>) -> Vec<Sink> {
    let help = "write `reveal = [\"command\"]`: its secrets may then be in a command line, which \
                whoever may list processes or containers reads";
    let Some(items) = value.as_array() else {
        found.push(Diagnostic::at(span_of(value), "`reveal` must be a list").help(help));
        return vec![];
    };
    let mut sinks = vec![];
    for item in items {
        match item.as_str() {
            Some("command") => sinks.push(Sink::Command),
            other => {
                let message = match other {
                    Some(text) => format!("a secret can't be revealed in `{text}`"),
                    None => "`reveal` must be a list of texts".to_owned(),
                };
                found.push(Diagnostic::at(span_of(item), message).help(help));
            }
        }
    }
    sinks
}

fn retry(value: &Toml<'_>, found: &mut Vec<Diagnostic>) -> Option<Retry> {
    let mut reader = Reader::new(value, "`retry`", found)?;
    let attempts = match reader.get("attempts") {
        None => 3,
        Some(value) => match value.as_integer() {
            Some(number @ 1..=100) => number as u32,
            _ => {
                let message = "`attempts` must be a whole number from 1 to 100";
                found.push(Diagnostic::at(span_of(value), message));
                3
            }
        },
    };
    let backoff = match reader.string("backoff", found) {
        None => Some((1_000, 30_000)),
        Some((text, span)) => {
            let range = text.split_once("..").unwrap_or((&text, &text));
            let range = duration_ms(range.0).zip(duration_ms(range.1));
            let range = range.filter(|(min, max)| min <= max);
            if range.is_none() {
                let message = format!("`{text}` is not a backoff");
                let help = format!("write `1s..30s`: {DURATION_HELP}");
                found.push(Diagnostic::at(span, message).help(help));
            }
            range
        }
    };
    let on = reader.get("on").map(|value| retried_on(value, found)).unwrap_or_default();
    reader.finish(found);
    let (backoff_min_ms, backoff_max_ms) = backoff?;
    Some(Retry { attempts, backoff_min_ms, backoff_max_ms, on })
}

fn retried_on(value: &Toml<'_>, found: &mut Vec<Diagnostic>) -> Vec<FailureClass> {
    let names = Retry::ON.map(|class| format!("\"{class}\""));
    let help = format!(
        "write a list of these: {}; `transient` and `deadline` are tried again anyway, and nothing \
         else can be",
        names.join(", ")
    );
    let Some(items) = value.as_array() else {
        found.push(Diagnostic::at(span_of(value), "`on` must be a list").help(help));
        return vec![];
    };
    let mut on = vec![];
    for item in items {
        let text = item.as_str().unwrap_or_default();
        match Retry::ON.into_iter().find(|class| class.to_string() == text) {
            Some(class) => on.push(class),
            None => {
                let message = format!("`{text}` is no failure that can be tried again");
                found.push(Diagnostic::at(span_of(item), message).help(help.clone()));
            }
        }
    }
    on
}
