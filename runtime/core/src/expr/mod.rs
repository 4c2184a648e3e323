//! Expressions: minijinja over inputs, outputs, `each`, the operation and its environment.
//!
//! A string that is one `{{ … }}` keeps its type; any other is text. What is not defined is an
//! error, never an empty string. Evaluation sees only the [`Scope`]: no time, no files, no
//! random source, so that the same journal evaluates to the same inputs.
//!
//! What can be told without evaluating is told from minijinja's tokens ([`code`]) and its syntax
//! tree ([`tree`]): no other file looks into a template.

mod code;
mod names;
mod tree;
mod world;

pub(crate) use code::{Reading, foreign};
pub(crate) use names::{is_function, read, unknown_names, unknown_names_of_invariant};
pub(crate) use tree::{Kind, Mention, Outline, Part, Use};
pub(crate) use world::FUNCTIONS as OF_WORLDS;
pub use world::{LOST, SERVING, Seen, WorldFacts, evaluate_over};

use crate::ids::{EachKey, StepId};
use code::Code;
use minijinja::{Environment, UndefinedBehavior, value::Value as Jinja};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// What expressions can see.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scope {
    /// By name; a secret is its placeholder.
    pub inputs: BTreeMap<String, Value>,
    /// The output of each complete step; null for a skipped one.
    pub steps: BTreeMap<StepId, Value>,
    /// An instance's key and value; only for the `with` of a step with `for_each`.
    pub each: Option<(EachKey, Value)>,
    /// A map of its `name` and its `id`, which is null before the operation begins.
    pub operation: Value,
    /// A map of its `name` alone.
    pub environment: Value,
}

/// An expression that can't be compiled or evaluated.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("the expression `{expression}` fails: {why}")]
pub struct ExprError {
    /// As it was written, but for the braces around it; of a long one only the beginning.
    pub expression: String,
    /// What is wrong with it.
    pub why: String,
}

/// `for_each` makes no more instances than this (R15).
pub const INSTANCES_MAX: usize = 1_000;

/// What the placeholder of a secret begins and ends with: nobody types it by accident.
pub const MARK_EDGE: char = '\u{1}';

/// What stands for a secret everywhere but at the provider's door.
///
/// The control characters keep it from being typed by accident.
pub fn secret_placeholder(name: &str) -> String {
    format!("{MARK_EDGE}secret:{name}{MARK_EDGE}")
}

/// Instructions one evaluation may take: far more than any manifest needs.
///
/// It pays for instructions and for the data they make, which is milliseconds at most. It does not
/// bound what one instruction looks at: comparing nested lists or long strings may take much
/// longer, which is why an evaluation that is not [simple](is_simple) has to be one that can be
/// given up.
const FUEL: u64 = 200_000;

/// One for all: making one costs more than evaluating most expressions.
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_recursion_limit(50);
    environment.set_fuel(Some(FUEL));
    environment.add_function("product", product);
    // What holds itself, or is nested without end, overflows the stack of whoever prints it.
    environment.remove_global("namespace");
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

/// An error that shows the expression as it was written, without the braces around it.
fn error(text: &str, why: impl ToString) -> ExprError {
    let text = text.trim();
    let inside = text.strip_prefix("{{").and_then(|text| text.strip_suffix("}}"));
    let shown = match inside {
        Some(inside) if !inside.contains("}}") => {
            let inside = inside.strip_prefix(['-', '+']).unwrap_or(inside);
            inside.strip_suffix(['-', '+']).unwrap_or(inside)
        }
        _ => text,
    };
    ExprError { expression: shown.trim().to_owned(), why: why.to_string() }
}

fn explain(text: &str, why: &minijinja::Error) -> ExprError {
    if why.kind() == minijinja::ErrorKind::OutOfFuel {
        let why = "it does more than an expression may: let it look at less, or let a step of \
                   your own work it out";
        return error(text, why);
    }
    let detail = why.detail().map_or_else(|| why.kind().to_string(), str::to_owned);
    error(text, detail)
}

/// A template longer than this is a program; evaluating one must not take the host's stack.
const TEMPLATE_BYTES_MAX: usize = 4 << 10;
/// More minus signs in a row mean nothing.
const SIGNS_MAX: usize = 100;

fn bounded(text: &str) -> Result<(), ExprError> {
    if text.len() > TEMPLATE_BYTES_MAX {
        let start: String = text.chars().take(40).collect();
        let why = format!("it is longer than {TEMPLATE_BYTES_MAX} bytes");
        return Err(error(&format!("{start}…"), why));
    }
    // Each takes some of the stack of whoever reads it.
    let mut signs = 0;
    for c in text.chars().filter(|c| !c.is_whitespace()) {
        signs = if c == '-' { signs + 1 } else { 0 };
        if signs > SIGNS_MAX {
            return Err(error(text, format!("it has more than {SIGNS_MAX} minus signs in a row")));
        }
    }
    Ok(())
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
    let mut steps: BTreeMap<String, Jinja> = BTreeMap::new();
    for (id, output) in &scope.steps {
        let output = jinja(output);
        // As [`step_id`] has it.
        if id.0.contains('-') {
            steps.insert(id.0.replace('-', "_"), output.clone());
        }
        steps.insert(id.0.clone(), output);
    }
    let mut all: BTreeMap<&str, Jinja> = BTreeMap::from([
        ("inputs", jinja(&scope.inputs)),
        ("steps", Jinja::from(steps)),
        ("operation", jinja(&scope.operation)),
        ("environment", jinja(&scope.environment)),
    ]);
    if let Some((key, value)) = &scope.each {
        let each = BTreeMap::from([("key", Jinja::from(key.0.as_str())), ("value", jinja(value))]);
        all.insert("each", Jinja::from(each));
    }
    Jinja::from(all)
}

fn evaluate_text(text: &str, reading: Reading, context: &Jinja) -> Result<Value, ExprError> {
    evaluate_text_in(&ENVIRONMENT, text, reading, context)
}

fn evaluate_text_in(
    environment: &Environment<'_>,
    text: &str,
    reading: Reading,
    context: &Jinja,
) -> Result<Value, ExprError> {
    match Code::of(text, reading) {
        Code::Template(code) => environment
            .render_str(&code, context.clone())
            .map(Value::String)
            .map_err(|why| explain(text, &why)),
        Code::Expression(code) => {
            let value = environment
                .compile_expression(&code)
                .and_then(|compiled| compiled.eval(context.clone()))
                .map_err(|why| explain(text, &why))?;
            if value.is_undefined() {
                return Err(error(text, "it refers to something that is not there"));
            }
            serde_json::to_value(&value).map_err(|why| error(text, why))
        }
    }
}

fn evaluate_in(template: &Value, context: &Jinja) -> Result<Value, ExprError> {
    match template {
        Value::String(text) if !is_template(text) => Ok(template.clone()),
        Value::String(text) => evaluate_text(text, Reading::Template, context),
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
    match evaluate_text(text, Reading::Expression, &context(scope))? {
        Value::Bool(flag) => Ok(flag),
        other => Err(error(text, format!("it must be true or false, not {other}"))),
    }
}

/// A `for_each`: a list (keys are its strings and numbers, else positions) or a map.
///
/// # Errors
/// [`ExprError`] if it fails, is neither, repeats a key or has more than [`INSTANCES_MAX`] items.
pub fn evaluate_each(text: &str, scope: &Scope) -> Result<Vec<(EachKey, Value)>, ExprError> {
    let value = evaluate_text(text, Reading::Expression, &context(scope))?;
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

/// What a string of a manifest is made of.
fn outline(text: &str, reading: Reading) -> Result<Outline, ExprError> {
    if reading == Reading::Template && !is_template(text) {
        return Ok(Outline { simple: true, kind: Kind::Text, ..Outline::default() });
    }
    bounded(text)?;
    tree::outline(&Code::of(text, reading)).map_err(|why| explain(text, &why))
}

/// The step that `steps.…` names. Ids have no `_`, so that a dash may be written as one.
pub(crate) fn step_id(part: &Part) -> StepId {
    StepId(part.to_string().replace('_', "-"))
}

fn paths(outline: &Outline) -> BTreeSet<Vec<String>> {
    let names = |mention: &Mention| {
        let names = mention.path.iter().map_while(|part| match part {
            Part::Name(name) => Some(name.clone()),
            Part::Index(_) => None,
        });
        let mut path: Vec<String> = names.collect();
        if path.len() > 1 && path[0] == "steps" {
            path[1] = step_id(&mention.path[1]).0;
        }
        path
    };
    outline.mentions.iter().map(names).collect()
}

/// What an expression refers to: `["inputs", "database"]`, `["steps", "find-volume", "id"]`.
///
/// # Errors
/// [`ExprError`] if it does not compile.
pub fn expression_references(text: &str) -> Result<BTreeSet<Vec<String>>, ExprError> {
    Ok(paths(&outline(text, Reading::Expression)?))
}

/// What a value's templates refer to.
///
/// # Errors
/// [`ExprError`] names the first template that does not compile.
pub fn references(template: &Value) -> Result<BTreeSet<Vec<String>>, ExprError> {
    let mut all = BTreeSet::new();
    for text in strings(template) {
        all.extend(paths(&outline(text, Reading::Template)?));
    }
    Ok(all)
}

/// Every string in a value that may be a template; the keys of maps are not.
fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(list) => list.iter().flat_map(strings).collect(),
        Value::Object(map) => map.values().flat_map(strings).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => vec![],
    }
}

/// Whether evaluating a value only walks the data that its templates name, and puts text together:
/// there is nothing in them but literals, paths, `~` and text. A value without templates is simple.
///
/// The data is walked once, and [fuel](FUEL) pays for the rest, so that it takes milliseconds at
/// most and can be done in place. Any other may look at far more than it makes, as a comparison
/// does, and belongs where it can be given up. What does not compile is not simple: nothing is
/// known of it.
pub fn is_simple(template: &Value) -> bool {
    let is_simple = |text: &&str| outline(text, Reading::Template).is_ok_and(|all| all.simple);
    strings(template).iter().all(is_simple)
}

/// [`is_simple`] for a `when` or a `for_each`, with or without its braces.
pub fn is_simple_expression(text: &str) -> bool {
    outline(text, Reading::Expression).is_ok_and(|all| all.simple)
}
