//! What a step's expressions come to: whether it runs, how often, and with what.
//!
//! Evaluating can take long (see [`expr::is_simple`]), so the machine does in place only what is
//! simple; the rest it asks the driver for, who does it where it can be given up (R15).

use crate::expr::{self, Scope};
use crate::ids::*;
use crate::manifest::{Manifest, Step};
use crate::nesting::must_fit;
use serde_json::Value;
use std::collections::BTreeMap;

/// What a step's expressions come to.
#[derive(Clone, Debug, PartialEq)]
pub enum Evaluated {
    /// Its `when` is false.
    Skipped,
    /// It runs once, with this, or can't because of that.
    Once(Result<Value, String>),
    /// It runs once for each of these.
    Each(Vec<Instance>),
    /// Its `when` or its `for_each` can't be evaluated.
    Failed {
        /// The key of the manifest, such as `when`.
        what: &'static str,
        /// The expression that fails, and what is wrong with it.
        why: String,
    },
}

/// One instance of a step with `for_each`.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// An item's text or number, else its position in the list; of a map, its key.
    pub key: EachKey,
    /// What the instance's expressions see as `each.value`.
    pub value: Value,
    /// The evaluated `with`, or one sentence that says why there is none.
    pub with: Result<Value, String>,
}

/// The operation's outputs, and why some of them are not known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outputs {
    /// Those that are not known are null.
    pub values: BTreeMap<String, Value>,
    /// By an output's name, why its value is not known.
    pub unknown: BTreeMap<String, String>,
}

/// Evaluate a step's `when`, then its `for_each`, then its `with` for each instance.
pub fn step(step: &Step, scope: &Scope) -> Evaluated {
    let failed = |what, why: expr::ExprError| Evaluated::Failed { what, why: why.to_string() };
    match step.when.as_ref().map(|when| expr::evaluate_bool(when, scope)) {
        None | Some(Ok(true)) => {}
        Some(Ok(false)) => return Evaluated::Skipped,
        Some(Err(why)) => return failed("when", why),
    }
    let with = |scope: &Scope| {
        let value = expr::evaluate_value(&step.with, scope)
            .map_err(|why| format!("`with` can't be evaluated: {why}"))?;
        must_fit([&value]).map_err(|why| format!("`with` {why}"))?;
        Ok(value)
    };
    let Some(each) = &step.for_each else { return Evaluated::Once(with(scope)) };
    match expr::evaluate_each(each, scope) {
        Err(why) => failed("for_each", why),
        Ok(all) if let Err(why) = must_fit(all.iter().map(|(_, value)| value)) => {
            Evaluated::Failed { what: "for_each", why: format!("what it goes through {why}") }
        }
        Ok(all) => {
            let mut scope = scope.clone();
            let mut instance = |(key, value): (EachKey, Value)| {
                scope.each = Some((key.clone(), value.clone()));
                Instance { key, value, with: with(&scope) }
            };
            Evaluated::Each(all.into_iter().map(&mut instance).collect())
        }
    }
}

/// Evaluate the operation's outputs.
pub fn outputs(manifest: &Manifest, scope: &Scope) -> Outputs {
    let mut outputs = Outputs::default();
    for (name, template) in &manifest.outputs {
        let value = expr::evaluate_value(&Value::String(template.clone()), scope);
        let value = value.map_err(|why| why.to_string());
        // With those before it: all of them are kept together.
        let value = value.and_then(|value| {
            must_fit(outputs.values.values().chain([&value])).map_err(|why| format!("it {why}"))?;
            Ok(value)
        });
        let value = value.unwrap_or_else(|why| {
            outputs.unknown.insert(name.clone(), why);
            Value::Null
        });
        outputs.values.insert(name.clone(), value);
    }
    outputs
}

impl Evaluated {
    /// Each instance that would run with what it would run with; none if it is skipped.
    ///
    /// # Errors
    /// Why it can't be told, as one sentence.
    pub fn instances(&self, step: &StepId) -> Result<Vec<(StepKey, Value)>, String> {
        let key = |key: Option<EachKey>| StepKey { step: step.clone(), key };
        match self {
            Evaluated::Skipped => Ok(vec![]),
            Evaluated::Once(with) => Ok(vec![(key(None), with.clone()?)]),
            Evaluated::Each(all) => {
                all.iter().map(|one| Ok((key(Some(one.key.clone())), one.with.clone()?))).collect()
            }
            Evaluated::Failed { what, why } => Err(format!("`{what}` can't be evaluated: {why}")),
        }
    }
}

/// Whether all of a step's expressions are simple.
pub(crate) fn is_simple(step: &Step) -> bool {
    let mut texts = step.when.iter().chain(&step.for_each);
    texts.all(|text| expr::is_simple_expression(text)) && expr::is_simple(&step.with)
}

/// Whether all of the operation's outputs are simple.
pub(crate) fn outputs_are_simple(manifest: &Manifest) -> bool {
    let is_simple = |text: &String| expr::is_simple(&Value::String(text.clone()));
    manifest.outputs.values().all(is_simple)
}
