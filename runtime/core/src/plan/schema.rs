//! What a JSON Schema leaves room for, along a path.
//!
//! It errs on the side of *there may be*: a schema that allows several forms has the names of all
//! of them, and what it does not speak of may be anything. The one exception is a struct: its
//! schema is open by the letter, and yet it never has more than its fields.

use crate::expr::Part;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Where a path leaves a schema, and the names that there are instead.
pub(super) fn follow<'a>(root: &'a Value, path: &[Part]) -> Option<(usize, BTreeSet<&'a str>)> {
    let mut forms = vec![root];
    for (at, part) in path.iter().enumerate() {
        let mut below = Below {
            root,
            looks: LOOKS_MAX,
            anything: false,
            forms: vec![],
            names: BTreeSet::new(),
        };
        for form in forms {
            below.look(form, part);
        }
        if below.anything {
            return None;
        }
        if below.forms.is_empty() {
            return Some((at, below.names));
        }
        forms = below.forms;
    }
    None
}

/// Schemas looked at for one element of a path: references may go in circles.
const LOOKS_MAX: usize = 1_000;

/// What there may be below a schema, for one element of a path.
struct Below<'a> {
    root: &'a Value,
    looks: usize,
    /// Whether nothing is said of it.
    anything: bool,
    forms: Vec<&'a Value>,
    /// Every name there is.
    names: BTreeSet<&'a str>,
}

impl<'a> Below<'a> {
    fn look(&mut self, schema: &'a Value, part: &Part) {
        let Some(looks) = self.looks.checked_sub(1) else {
            self.anything = true;
            return;
        };
        self.looks = looks;
        let Value::Object(schema) = schema else {
            // `false` takes nothing; what is neither is no schema, and says nothing.
            self.anything |= *schema != Value::Bool(false);
            return;
        };
        let is_elsewhere = self.elsewhere(schema, part);
        self.own(schema, part, is_elsewhere);
    }

    /// The schemas that this one takes in; whether there are any.
    fn elsewhere(&mut self, schema: &'a Map<String, Value>, part: &Part) -> bool {
        let mut any = false;
        if let Some(reference) = schema.get("$ref").or_else(|| schema.get("$dynamicRef")) {
            any = true;
            // Another document's schemas are not here to be looked at.
            let local = reference.as_str().and_then(|to| to.strip_prefix('#'));
            match local.and_then(|pointer| self.root.pointer(pointer)) {
                Some(target) => self.look(target, part),
                None => self.anything = true,
            }
        }
        for key in ["anyOf", "oneOf", "allOf"] {
            for form in schema.get(key).and_then(Value::as_array).into_iter().flatten() {
                any = true;
                self.look(form, part);
            }
        }
        // These hold for some values only, and may still be what has the name.
        let sometimes = ["then", "else"].into_iter().filter_map(|key| schema.get(key));
        let dependent = schema.get("dependentSchemas").and_then(Value::as_object);
        for form in sometimes.chain(dependent.into_iter().flatten().map(|(_, form)| form)) {
            self.look(form, part);
        }
        any
    }

    /// What the schema itself says.
    fn own(&mut self, schema: &'a Map<String, Value>, part: &Part, is_elsewhere: bool) {
        let has = |key: &str| schema.contains_key(key);
        let is = |kind: &str| match schema.get("type") {
            None => None,
            Some(Value::Array(kinds)) => Some(kinds.iter().any(|one| one == kind)),
            Some(one) => Some(one == kind),
        };
        if let Some(values) = literals(schema) {
            let has_parts = |value: &Value| match part {
                Part::Name(_) => value.is_object(),
                Part::Index(_) => value.is_array() || value.is_string(),
            };
            self.anything |= values.iter().any(has_parts);
            return;
        }
        let of_object = ["properties", "patternProperties", "additionalProperties"];
        let of_array = ["items", "prefixItems"];
        let says_parts = of_object.into_iter().chain(of_array).any(has);
        match part {
            Part::Name(name) if is("object").unwrap_or_else(|| of_object.into_iter().any(has)) => {
                self.property(schema, name, is_elsewhere);
            }
            Part::Index(index) if is("array").unwrap_or_else(|| of_array.into_iter().any(has)) => {
                self.item(schema, *index, is_elsewhere);
            }
            // A character of it.
            Part::Index(_) if is("string") == Some(true) => self.anything = true,
            Part::Name(_) | Part::Index(_) => {
                self.anything |= is("object").is_none() && !says_parts && !is_elsewhere;
            }
        }
    }

    fn property(&mut self, schema: &'a Map<String, Value>, name: &str, is_elsewhere: bool) {
        let properties = schema.get("properties").and_then(Value::as_object);
        self.names.extend(properties.into_iter().flatten().map(|(name, _)| name.as_str()));
        if let Some(property) = properties.and_then(|all| all.get(name)) {
            self.forms.push(property);
            return;
        }
        let patterns = schema.get("patternProperties").and_then(Value::as_object);
        self.forms.extend(patterns.into_iter().flatten().map(|(_, form)| form));
        let others =
            schema.get("additionalProperties").or_else(|| schema.get("unevaluatedProperties"));
        match others {
            Some(Value::Bool(false)) => {}
            Some(form) => self.forms.push(form),
            // A struct is open by the letter, and never has more than its fields.
            None => self.anything |= properties.is_none() && patterns.is_none() && !is_elsewhere,
        }
    }

    fn item(&mut self, schema: &'a Map<String, Value>, index: i64, is_elsewhere: bool) {
        let first = schema.get("prefixItems").and_then(Value::as_array);
        let place = usize::try_from(index).ok();
        match (first, place) {
            (Some(first), Some(place)) if place < first.len() => {
                self.forms.push(&first[place]);
                return;
            }
            // From the end, it may be any of them.
            (Some(first), None) => self.forms.extend(first),
            _ => {}
        }
        match schema.get("items") {
            Some(Value::Bool(false)) => {}
            Some(form) => self.forms.push(form),
            None => self.anything |= !is_elsewhere,
        }
    }
}

/// The values that a schema allows, if it lists them.
fn literals(schema: &Map<String, Value>) -> Option<&[Value]> {
    let one = schema.get("const").map(std::slice::from_ref);
    schema.get("enum").and_then(Value::as_array).map(Vec::as_slice).or(one)
}
