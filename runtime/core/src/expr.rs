//! Expressions: minijinja over inputs, outputs, `each`, the operation and its environment.
//!
//! A string that is one `{{ … }}` keeps its type; any other is text. What is not defined is an
//! error, never an empty string. Evaluation sees only the [`Scope`]: no time, no files, no
//! random source, so that the same journal evaluates to the same inputs.

use crate::ids::{EachKey, StepId};
use minijinja::{Environment, UndefinedBehavior, value::Value as Jinja};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// What expressions can see.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scope {
    pub inputs: BTreeMap<String, Value>,
    /// The output of each complete step; null for a skipped one.
    pub steps: BTreeMap<StepId, Value>,
    pub each: Option<(EachKey, Value)>,
    pub operation: Value,
    pub environment: Value,
}

/// An expression that can't be compiled or evaluated.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("the expression `{expression}` fails: {why}")]
pub struct ExprError {
    pub expression: String,
    pub why: String,
}

/// `for_each` makes no more instances than this (R15).
pub const INSTANCES_MAX: usize = 1_000;

/// What stands for a secret everywhere but at the provider's door.
///
/// The control characters keep it from being typed by accident.
pub fn secret_placeholder(name: &str) -> String {
    format!("\u{1}secret:{name}\u{1}")
}

/// Instructions one evaluation may take: far more than any manifest needs, milliseconds at most.
const FUEL: u64 = 200_000;

/// One for all: making one costs more than evaluating most expressions.
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_recursion_limit(50);
    environment.set_fuel(Some(FUEL));
    environment.add_function("product", product);
    environment
});

/// Every pair of two lists, as `{a, b}`.
fn product(a: Vec<Jinja>, b: Vec<Jinja>) -> Result<Vec<Jinja>, minijinja::Error> {
    if a.len().saturating_mul(b.len()) > INSTANCES_MAX {
        let why = format!("a product has at most {INSTANCES_MAX} pairs");
        return Err(minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, why));
    }
    let pair = |x: &Jinja, y: &Jinja| {
        Jinja::from_pairs([("a".to_owned(), x.clone()), ("b".to_owned(), y.clone())])
    };
    Ok(a.iter().flat_map(|x| b.iter().map(move |y| pair(x, y))).collect())
}

fn error(expression: &str, why: impl ToString) -> ExprError {
    ExprError { expression: expression.trim().to_owned(), why: why.to_string() }
}

fn explain(expression: &str, why: &minijinja::Error) -> ExprError {
    let detail = why.detail().map_or_else(|| why.kind().to_string(), str::to_owned);
    error(expression, detail)
}

/// The code of a template with [`undash`] done to it; the text around it stays as it is.
fn undash_template(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{{").into_iter().chain(rest.find("{%")).min() {
        let close = if rest[start..].starts_with("{{") { "}}" } else { "%}" };
        let end = rest[start..].find(close).map_or(rest.len(), |at| start + at);
        out.push_str(&rest[..start]);
        out.push_str(&undash(&rest[start..end]));
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

/// Step ids have dashes, which minijinja would read as minus signs: `steps.find-volume.id` and
/// `steps['find-volume'].id` become `steps.find_volume.id`. Ids have no `_`, so nothing is
/// confused by it.
fn undash(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    let mut quote: Option<char> = None;
    while let Some(c) = rest.chars().next() {
        let boundary = !out.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '.');
        if quote.is_none()
            && boundary
            && let Some((id, tail)) = step_at(rest)
        {
            out.push_str("steps.");
            out.push_str(&id.replace('-', "_"));
            rest = tail;
            continue;
        }
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            _ => {}
        }
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    out
}

/// The step's id at the beginning of the code, and what follows it.
fn step_at(code: &str) -> Option<(&str, &str)> {
    let is_id = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if let Some(after) = code.strip_prefix("steps.") {
        let end = after.find(|c| !is_id(c)).unwrap_or(after.len());
        return Some(after.split_at(end));
    }
    for quote in ["'", "\""] {
        let Some(after) = code.strip_prefix("steps[").and_then(|c| c.strip_prefix(quote)) else {
            continue;
        };
        let (id, tail) = after.split_at(after.find(|c| !is_id(c))?);
        return Some((id, tail.strip_prefix(quote)?.strip_prefix(']')?));
    }
    None
}

/// A template longer than this is a program; evaluating one must not take the host's stack.
const TEMPLATE_BYTES_MAX: usize = 4 << 10;

fn bounded(text: &str) -> Result<(), ExprError> {
    if text.len() > TEMPLATE_BYTES_MAX {
        let start: String = text.chars().take(40).collect();
        let why = format!("it is longer than {TEMPLATE_BYTES_MAX} bytes");
        return Err(error(&format!("{start}…"), why));
    }
    Ok(())
}

/// The inside of a string that is exactly one `{{ … }}`.
fn sole_expression(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    (!inner.contains("{{") && !inner.contains("}}")).then_some(inner)
}

/// Whether a string is a template at all.
pub fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%")
}

/// Whether there is anything to evaluate in a value.
pub fn holds_template(value: &Value) -> bool {
    match value {
        Value::String(text) => is_template(text),
        Value::Array(list) => list.iter().any(holds_template),
        Value::Object(map) => map.values().any(holds_template),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn jinja(value: impl serde::Serialize) -> Jinja {
    Jinja::from(minijinja::value::Serde(value))
}

fn context(scope: &Scope) -> Jinja {
    let steps: BTreeMap<String, &Value> =
        scope.steps.iter().map(|(id, output)| (id.0.replace('-', "_"), output)).collect();
    let each = scope.each.as_ref().map(|(key, value)| {
        BTreeMap::from([("key", Value::String(key.0.clone())), ("value", value.clone())])
    });
    let mut all: BTreeMap<&str, Jinja> = BTreeMap::from([
        ("inputs", jinja(&scope.inputs)),
        ("steps", jinja(&steps)),
        ("operation", jinja(&scope.operation)),
        ("environment", jinja(&scope.environment)),
    ]);
    if let Some(each) = each {
        all.insert("each", jinja(&each));
    }
    jinja(&all)
}

fn evaluate(expression: &str, context: &Jinja) -> Result<Value, ExprError> {
    let source = undash(expression);
    let compiled =
        ENVIRONMENT.compile_expression(&source).map_err(|why| explain(expression, &why))?;
    let value = compiled.eval(context.clone()).map_err(|why| explain(expression, &why))?;
    if value.is_undefined() {
        return Err(error(expression, "it refers to something that is not there"));
    }
    serde_json::to_value(&value).map_err(|why| error(expression, why))
}

fn evaluate_in(template: &Value, context: &Jinja) -> Result<Value, ExprError> {
    match template {
        Value::String(text) if !is_template(text) => Ok(template.clone()),
        Value::String(text) => match sole_expression(text) {
            Some(expression) => evaluate(expression, context),
            None => ENVIRONMENT
                .render_str(&undash_template(text), context.clone())
                .map(Value::String)
                .map_err(|why| explain(text, &why)),
        },
        Value::Array(list) => list
            .iter()
            .map(|item| evaluate_in(item, context))
            .collect::<Result<_, _>>()
            .map(Value::Array),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| Ok((key.clone(), evaluate_in(value, context)?)))
            .collect::<Result<_, _>>()
            .map(Value::Object),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(template.clone()),
    }
}

/// A value with every template in it evaluated.
///
/// # Errors
/// [`ExprError`] names the first expression that fails.
pub fn evaluate_value(template: &Value, scope: &Scope) -> Result<Value, ExprError> {
    if !holds_template(template) {
        return Ok(template.clone());
    }
    evaluate_in(template, &context(scope))
}

/// A `when`: an expression, with or without its braces, that must be a boolean.
///
/// # Errors
/// [`ExprError`] if it fails or is anything else.
pub fn evaluate_bool(text: &str, scope: &Scope) -> Result<bool, ExprError> {
    match evaluate(sole_expression(text).unwrap_or(text), &context(scope))? {
        Value::Bool(flag) => Ok(flag),
        other => Err(error(text, format!("it must be true or false, not {other}"))),
    }
}

/// A `for_each`: a list (keys are its strings and numbers, else positions) or a map.
///
/// # Errors
/// [`ExprError`] if it fails, is neither, repeats a key or has more than [`INSTANCES_MAX`] items.
pub fn evaluate_each(text: &str, scope: &Scope) -> Result<Vec<(EachKey, Value)>, ExprError> {
    let value = evaluate(sole_expression(text).unwrap_or(text), &context(scope))?;
    let instances: Vec<(EachKey, Value)> = match value {
        Value::Array(list) => list
            .into_iter()
            .enumerate()
            .map(|(index, item)| {
                let key = match &item {
                    Value::String(text) => text.clone(),
                    Value::Number(number) => number.to_string(),
                    _ => index.to_string(),
                };
                (EachKey(key), item)
            })
            .collect(),
        Value::Object(map) => map.into_iter().map(|(key, item)| (EachKey(key), item)).collect(),
        other => return Err(error(text, format!("it must be a list or a map, not {other}"))),
    };
    if instances.len() > INSTANCES_MAX {
        return Err(error(text, format!("it has more than {INSTANCES_MAX} items")));
    }
    let keys: BTreeSet<&EachKey> = instances.iter().map(|(key, _)| key).collect();
    if keys.len() < instances.len() {
        return Err(error(text, "two of its items have the same key"));
    }
    Ok(instances)
}

fn paths(variables: std::collections::HashSet<String>) -> BTreeSet<Vec<String>> {
    let functions = ["range", "dict", "product", "namespace", "debug", "loop"];
    variables
        .into_iter()
        .map(|path| {
            let mut parts: Vec<String> = path.split('.').map(str::to_owned).collect();
            if parts[0] == "steps" && parts.len() > 1 {
                parts[1] = parts[1].replace('_', "-");
            }
            parts
        })
        .filter(|parts| !functions.contains(&parts[0].as_str()))
        .collect()
}

/// What an expression refers to: `["inputs", "database"]`, `["steps", "find-volume", "id"]`.
///
/// # Errors
/// [`ExprError`] if it does not compile.
pub fn expression_references(text: &str) -> Result<BTreeSet<Vec<String>>, ExprError> {
    bounded(text)?;
    let inner = sole_expression(text).unwrap_or(text);
    let source = undash(inner);
    let compiled = ENVIRONMENT.compile_expression(&source).map_err(|why| explain(inner, &why))?;
    Ok(paths(compiled.undeclared_variables(true)))
}

/// What a value's templates refer to.
///
/// # Errors
/// [`ExprError`] names the first template that does not compile.
pub fn references(template: &Value) -> Result<BTreeSet<Vec<String>>, ExprError> {
    match template {
        Value::String(text) if !is_template(text) => Ok(BTreeSet::new()),
        Value::String(text) => match sole_expression(text) {
            Some(inner) => expression_references(inner),
            None => {
                bounded(text)?;
                let source = undash_template(text);
                let compiled =
                    ENVIRONMENT.template_from_str(&source).map_err(|why| explain(text, &why))?;
                Ok(paths(compiled.undeclared_variables(true)))
            }
        },
        Value::Array(list) => union(list.iter()),
        Value::Object(map) => union(map.values()),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(BTreeSet::new()),
    }
}

fn union<'a>(values: impl Iterator<Item = &'a Value>) -> Result<BTreeSet<Vec<String>>, ExprError> {
    let mut all = BTreeSet::new();
    for value in values {
        all.extend(references(value)?);
    }
    Ok(all)
}
