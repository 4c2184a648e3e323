//! From TOML to a manifest's parts, with every key accounted for.

use super::*;
use crate::diagnostic::suggest;
use toml_span::value::{Table, ValueInner};

type Toml<'a> = toml_span::Value<'a>;

/// A table that is being read: what is asked for is known, what is left over is a mistake.
pub(super) struct Reader<'a, 'b> {
    table: &'a Table<'b>,
    span: Range<usize>,
    what: &'static str,
    known: Vec<&'static str>,
}

pub(super) fn span_of(value: &Toml<'_>) -> Range<usize> {
    value.span.start..value.span.end
}

impl<'a, 'b> Reader<'a, 'b> {
    pub(super) fn new(
        value: &'a Toml<'b>,
        what: &'static str,
        found: &mut Vec<Diagnostic>,
    ) -> Option<Self> {
        match value.as_table() {
            Some(table) => Some(Self { table, span: span_of(value), what, known: vec![] }),
            None => {
                found.push(Diagnostic::at(span_of(value), format!("{what} must be a table")));
                None
            }
        }
    }

    pub(super) fn get(&mut self, key: &'static str) -> Option<&'a Toml<'b>> {
        self.known.push(key);
        self.table.get(key)
    }

    pub(super) fn string(
        &mut self,
        key: &'static str,
        found: &mut Vec<Diagnostic>,
    ) -> Option<(String, Range<usize>)> {
        let value = self.get(key)?;
        match value.as_str() {
            Some(text) => Some((text.to_owned(), span_of(value))),
            None => {
                found.push(wrong_type(value, key, "a string"));
                None
            }
        }
    }

    pub(super) fn required(
        &mut self,
        key: &'static str,
        found: &mut Vec<Diagnostic>,
    ) -> Option<(String, Range<usize>)> {
        if !self.table.contains_key(key) {
            let message = format!("{} needs `{key}`", self.what);
            found.push(
                Diagnostic::at(self.span.clone(), message).help(format!("add `{key} = \"…\"`")),
            );
        }
        self.string(key, found)
    }

    pub(super) fn duration(
        &mut self,
        key: &'static str,
        found: &mut Vec<Diagnostic>,
    ) -> Option<(u64, Range<usize>)> {
        if let Some(value) = self.table.get(key)
            && value.as_str().is_none()
        {
            self.known.push(key);
            found.push(wrong_type(value, key, "a string").help(DURATION_HELP));
            return None;
        }
        let (text, span) = self.string(key, found)?;
        match duration_ms(&text) {
            Some(ms) => Some((ms, span)),
            None => {
                let message = format!("`{text}` is not a duration");
                found.push(Diagnostic::at(span, message).help(DURATION_HELP));
                None
            }
        }
    }

    /// Every key that nobody asked for is a mistake.
    pub(super) fn finish(self, found: &mut Vec<Diagnostic>) {
        for (key, _) in self.table.iter() {
            let name: &str = &key.name;
            if !self.known.contains(&name) {
                let message = format!("{} has no key `{name}`", self.what);
                let help = suggest(name, self.known.iter().copied());
                found.push(Diagnostic::at(key.span.start..key.span.end, message).help(help));
            }
        }
    }
}

pub(super) fn wrong_type(value: &Toml<'_>, key: &str, wanted: &str) -> Diagnostic {
    let is = value.as_ref().type_str();
    Diagnostic::at(span_of(value), format!("`{key}` must be {wanted}, not {is}"))
}

pub(super) const DURATION_HELP: &str = "write a number and a unit: `500ms`, `30s`, `10m`, `1h30m`";

/// Milliseconds of `500ms`, `30s`, `1h30m`; `None` for anything else, and for more than a year.
pub fn duration_ms(text: &str) -> Option<u64> {
    let mut total_ms = 0u64;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let number: u64 = number.parse().ok()?;
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let unit_ms = match &tail[..end] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total_ms = total_ms.checked_add(number.checked_mul(unit_ms)?)?;
        rest = &tail[end..];
    }
    (!text.is_empty() && total_ms <= 366 * 86_400_000).then_some(total_ms)
}

/// Milliseconds as a manifest writes them: `500ms`, `30s`, `1h30m`.
pub fn duration_text(ms: u64) -> String {
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    let (mut rest_ms, mut text) = (ms, String::new());
    for (unit, unit_ms) in units {
        if rest_ms >= unit_ms {
            text.push_str(&format!("{}{unit}", rest_ms / unit_ms));
            rest_ms %= unit_ms;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// A TOML value as JSON.
pub(super) fn to_json(value: &Toml<'_>) -> Value {
    match value.as_ref() {
        ValueInner::String(text) => Value::String(text.to_string()),
        ValueInner::Integer(number) => Value::from(*number),
        ValueInner::Float(number) => Value::from(*number),
        ValueInner::Boolean(flag) => Value::Bool(*flag),
        ValueInner::Array(list) => Value::Array(list.iter().map(to_json).collect()),
        ValueInner::Table(table) => {
            Value::Object(table.iter().map(|(k, v)| (k.name.to_string(), to_json(v))).collect())
        }
    }
}

pub(super) fn manifest(
    name: &str,
    text: &str,
    value: &Toml<'_>,
    found: &mut Vec<Diagnostic>,
) -> Option<Manifest> {
    let mut top = Reader::new(value, "a manifest", found)?;
    match top.get("schema") {
        Some(version) if version.as_integer() == Some(SCHEMA) => {}
        Some(version) => found.push(
            Diagnostic::at(span_of(version), "this schema version is not known")
                .help(format!("write `schema = {SCHEMA}`")),
        ),
        None => found.push(
            Diagnostic::at(0..0, "a manifest begins with its schema version")
                .help(format!("write `schema = {SCHEMA}` on the first line")),
        ),
    }
    let operation = match top.get("operation") {
        Some(value) => operation(value, found),
        None => {
            found.push(
                Diagnostic::at(0..0, "a manifest needs an `[operation]` table")
                    .help("add `[operation]` with a `name`"),
            );
            None
        }
    };
    let inputs = top.get("inputs").map(|value| inputs(value, found)).unwrap_or_default();
    let downtime = top.get("downtime").map(|value| downtime(value, found)).unwrap_or_default();
    let written = top.get("outputs").map(|value| outputs(value, found)).unwrap_or_default();
    let (outputs, output_spans) = written;
    let invariants = top.get("invariants").map(|value| invariants::all(value, found));
    let invariants = invariants.unwrap_or_default();
    let steps = match top.get("steps") {
        Some(value) => steps::all(value, found),
        None => {
            found.push(
                Diagnostic::at(0..0, "a manifest needs at least one `[[steps]]` entry")
                    .help("add `[[steps]]` with an `id` and a `uses`"),
            );
            vec![]
        }
    };
    top.finish(found);
    let operation = operation?;
    let (name, text) = (name.to_owned(), text.to_owned());
    Some(Manifest {
        name,
        text,
        operation,
        inputs,
        downtime,
        steps,
        outputs,
        output_spans,
        invariants,
    })
}

fn operation(value: &Toml<'_>, found: &mut Vec<Diagnostic>) -> Option<Operation> {
    let mut reader = Reader::new(value, "`[operation]`", found)?;
    let name = reader.required("name", found);
    let title = reader.string("title", found).map(|(title, _)| title);
    let (timeout_ms, timeout_span) = reader.duration("timeout", found).unzip();
    let timeout_span = timeout_span.unwrap_or_default();
    let (mut locks, mut lock_spans) = (vec![], vec![]);
    if let Some(value) = reader.get("locks") {
        match value.as_array() {
            None => found.push(wrong_type(value, "locks", "a list of strings")),
            Some(list) => {
                for lock in list {
                    match lock.as_str() {
                        Some(_) if locks.len() == LOCKS_MAX => {
                            let message = format!("an operation takes at most {LOCKS_MAX} locks");
                            found.push(Diagnostic::at(span_of(lock), message));
                            break;
                        }
                        Some(text) => {
                            locks.push(text.to_owned());
                            lock_spans.push(span_of(lock));
                        }
                        None => found.push(wrong_type(lock, "locks", "a list of strings")),
                    }
                }
            }
        }
    }
    reader.finish(found);
    let (name, span) = name?;
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        let message = format!("`{name}` can't be an operation's name");
        found.push(Diagnostic::at(span, message).help("use letters, digits, `-`, `_` and `.`"));
    }
    Some(Operation { name, title, locks, lock_spans, timeout_ms, timeout_span })
}

fn downtime(value: &Toml<'_>, found: &mut Vec<Diagnostic>) -> Downtime {
    let Some(mut reader) = Reader::new(value, "`[downtime]`", found) else {
        return Downtime::default();
    };
    let (budget_ms, budget_span) = reader.duration("budget", found).unzip();
    let budget_span = budget_span.unwrap_or_default();
    let mut on_overrun = OnOverrun::Rollback;
    if let Some((text, span)) = reader.string("on_overrun", found) {
        match text.as_str() {
            "rollback" => {}
            "warn" => on_overrun = OnOverrun::Warn,
            other => found.push(
                Diagnostic::at(span, format!("`on_overrun` can't be `{other}`"))
                    .help("write \"rollback\" or \"warn\""),
            ),
        }
    }
    reader.finish(found);
    Downtime { budget_ms, budget_span, on_overrun }
}

type Outputs = (BTreeMap<String, String>, BTreeMap<String, Range<usize>>);

fn outputs(value: &Toml<'_>, found: &mut Vec<Diagnostic>) -> Outputs {
    let (mut all, mut spans) = (BTreeMap::new(), BTreeMap::new());
    let Some(table) = value.as_table() else {
        found.push(wrong_type(value, "outputs", "a table of expressions"));
        return (all, spans);
    };
    for (key, value) in table {
        match value.as_str() {
            Some(text) => {
                all.insert(key.name.to_string(), text.to_owned());
                spans.insert(key.name.to_string(), span_of(value));
            }
            None => found.push(wrong_type(value, &key.name, "a string with an expression")),
        }
    }
    (all, spans)
}

fn inputs(value: &Toml<'_>, found: &mut Vec<Diagnostic>) -> BTreeMap<String, InputSpec> {
    let Some(table) = value.as_table() else {
        found.push(wrong_type(value, "inputs", "a table"));
        return BTreeMap::new();
    };
    let mut all = BTreeMap::new();
    for (key, value) in table {
        let valid = key.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !valid || key.name.starts_with(|c: char| c.is_ascii_digit()) {
            let span = key.span.start..key.span.end;
            let message = format!("`{}` can't be an input's name", key.name);
            found.push(Diagnostic::at(span, message).help("use letters, digits and `_`"));
        }
        if let Some(spec) = input(value, found) {
            all.insert(key.name.to_string(), spec);
        }
    }
    all
}

fn input(value: &Toml<'_>, found: &mut Vec<Diagnostic>) -> Option<InputSpec> {
    let mut reader = Reader::new(value, "an input", found)?;
    let kind = reader.required("type", found);
    let description = reader.string("description", found).map(|(text, _)| text);
    let pattern = reader.string("pattern", found);
    let default = reader.get("default");
    let (like, like_span) = reader.string("like", found).unzip();
    reader.finish(found);
    let (kind_name, kind_span) = kind?;
    let Some((_, kind)) = InputKind::NAMES.iter().find(|(name, _)| *name == kind_name) else {
        let names = InputKind::NAMES.iter().map(|(name, _)| *name);
        let message = format!("`{kind_name}` is not a type");
        found.push(Diagnostic::at(kind_span, message).help(suggest(&kind_name, names)));
        return None;
    };
    if let Some((text, span)) = &pattern
        && let Err(error) = super::pattern(text)
    {
        // The error draws the pattern over several lines; the last one says what is wrong.
        let error = error.to_string();
        let why = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
        let message = format!("this is not a regular expression: {why}");
        found.push(Diagnostic::at(span.clone(), message));
    }
    let pattern = pattern.map(|(text, _)| text);
    let spec = InputSpec {
        kind: *kind,
        pattern,
        default: default.map(to_json),
        description,
        like,
        span: span_of(value),
        like_span: like_span.unwrap_or_default(),
    };
    if let (InputKind::Secret, Some(value)) = (spec.kind, default) {
        let mistake = Diagnostic::at(span_of(value), "a secret has no default");
        found
            .push(mistake.help("whoever runs the operation gives it: `-i NAME=env:…` or `file:…`"));
    } else if let (Some(json), Some(value)) = (&spec.default, default)
        && let Err(why) = crate::inputs::accept(&spec, json)
    {
        found.push(Diagnostic::at(span_of(value), format!("the default {why}")));
    }
    Some(spec)
}
