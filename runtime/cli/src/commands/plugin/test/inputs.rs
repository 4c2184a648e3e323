//! What a step can be given in a world: found by its schema, the world's own names, and trying.
//!
//! Whatever is found is told: a person who wants something else tried says so.

use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use stepback_simulated::world::World;

/// So many values of one field are tried.
const VALUES_MAX: usize = 12;
/// So many inputs of one step are.
pub const INPUTS_MAX: usize = 600;
/// A schema that refers to itself ends somewhere.
const DEPTH_MAX: usize = 4;

/// The names of a world, by what they are names of.
pub struct Names {
    kinds: Vec<(&'static [&'static str], Vec<Value>)>,
    tags: Vec<Value>,
}

impl Names {
    pub fn of(world: &World) -> Self {
        let engines = || world.engines.values();
        let strings =
            |names: BTreeSet<&String>| names.into_iter().map(|name| json!(name)).collect();
        let containers = engines().flat_map(|engine| engine.containers.keys()).collect();
        let volumes = world.volumes.keys().collect();
        let docker_volumes = engines().flat_map(|engine| engine.volumes.keys()).collect();
        let images = world.registry.keys().collect();
        let types = world.instances.values().map(|instance| &instance.instance_type).collect();
        let zones = world.instances.values().map(|instance| &instance.zone).collect();
        let kinds: Vec<(&[&str], Vec<Value>)> = vec![
            (&["host", "instance", "server", "node"], strings(world.instances.keys().collect())),
            (&["container", "like", "app", "service"], strings(containers)),
            (&["volume"], strings(volumes)),
            (&["volume"], strings(docker_volumes)),
            (&["snapshot"], strings(world.snapshots.keys().collect())),
            (&["image"], strings(images)),
            (&["type"], strings(types)),
            (&["zone"], strings(zones)),
            (&["device"], vec![json!("/dev/sdg")]),
            (&["filesystem"], vec![json!("ext4")]),
            (&["state"], vec![json!("running"), json!("stopped")]),
            (&["restart"], vec![json!("no"), json!("always")]),
            (&["command"], vec![json!("true")]),
        ];
        let tags = world.volumes.values().map(|volume| &volume.tags);
        let tags = tags.chain(world.snapshots.values().map(|snapshot| &snapshot.tags));
        let tags = tags.chain(world.instances.values().map(|instance| &instance.tags));
        Self { kinds, tags: tags.map(|tags| json!(tags)).collect() }
    }

    /// The texts that a field of this name may be meant to have, likeliest first.
    fn texts(&self, field: &str) -> Vec<Value> {
        let is_meant = |words: &[&str]| words.iter().any(|word| field.contains(word));
        let mut all: Vec<Value> = self
            .kinds
            .iter()
            .filter(|(words, _)| is_meant(words))
            .flat_map(|(_, n)| n.clone())
            .collect();
        all.push(json!("stepback-test"));
        if all.len() == 1 {
            // Its name says nothing: it may be anybody's.
            all.extend(self.kinds.iter().take(6).flat_map(|(_, names)| names.clone()));
        }
        all
    }
}

/// What fits a schema: every required field with each value that it may be meant to have, and then
/// the same with one more field.
pub fn inputs(schema: &Value, names: &Names) -> Vec<Value> {
    let no_fields = Map::new();
    let fields = schema["properties"].as_object().unwrap_or(&no_fields);
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let of = |wanted: &[&str]| {
        let each = wanted.iter().map(|name| {
            let null = Value::Null;
            let field = fields.get(*name).unwrap_or(&null);
            (*name, values(field, name, schema, names, 0))
        });
        every(&each.collect::<Vec<_>>())
    };
    let mut all = of(&required);
    for more in fields.keys().filter(|name| !required.contains(&name.as_str())) {
        all.extend(of(&[&required[..], &[more.as_str()]].concat()));
    }
    all
}

/// Every choice of one value for each field: those that differ in one from the likeliest first.
fn every(fields: &[(&str, Vec<Value>)]) -> Vec<Value> {
    let mut all: Vec<(usize, Map<String, Value>)> = vec![(0, Map::new())];
    for (name, values) in fields {
        let with = |(far, map): &(usize, Map<String, Value>)| {
            let (far, map) = (*far, map.clone());
            values.iter().enumerate().map(move |(nth, value)| {
                let mut map = map.clone();
                map.insert((*name).to_owned(), value.clone());
                (far + nth, map)
            })
        };
        all = all.iter().flat_map(with).collect();
        all.sort_by_key(|(far, _)| *far);
        all.truncate(INPUTS_MAX);
    }
    all.into_iter().map(|(_, map)| Value::Object(map)).collect()
}

/// The values that a field may be meant to have, likeliest first.
fn values(field: &Value, name: &str, root: &Value, names: &Names, depth: usize) -> Vec<Value> {
    let mut all = told(field);
    if let Some(place) = field["$ref"].as_str().and_then(|place| place.strip_prefix('#')) {
        let null = Value::Null;
        let meant = root.pointer(place).unwrap_or(&null);
        if depth < DEPTH_MAX {
            all.extend(values(meant, name, root, names, depth + 1));
        }
    }
    for of in ["anyOf", "oneOf", "allOf"] {
        let ways = field[of].as_array().into_iter().flatten();
        if depth < DEPTH_MAX {
            all.extend(ways.flat_map(|way| values(way, name, root, names, depth + 1)));
        }
    }
    let kinds: Vec<&str> = match &field["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    };
    // Where the author says what it may be, nothing is guessed.
    if all.is_empty() {
        all = kinds.iter().flat_map(|kind| of_kind(kind, field, name, names)).collect();
        if kinds.contains(&"object") && field["properties"].is_object() && depth < DEPTH_MAX {
            all = inputs(field, names);
        }
    }
    let mut seen = BTreeSet::new();
    all.retain(|value| seen.insert(value.to_string()));
    all.truncate(VALUES_MAX);
    all
}

/// Numbers within a schema's bounds, small ones first, and what is at the bounds.
fn numbers(field: &Value) -> Vec<Value> {
    let bound = |name: &str| field[name].as_f64();
    let (least, most) = (bound("minimum"), bound("maximum"));
    let (above, below) = (bound("exclusiveMinimum"), bound("exclusiveMaximum"));
    let low = least.or(above).unwrap_or(1.0);
    let high = most.or(below);
    let middle = high.map(|high| low + (high - low) / 2.0);
    let all = [1.0, low.max(1.0), low, low.ceil(), low + 1.0, low + 29.0, low + 99.0].into_iter();
    let all = all.chain(high).chain(high.map(f64::floor)).chain(middle);
    let fits = |one: &f64| {
        least.is_none_or(|least| *one >= least)
            && most.is_none_or(|most| *one <= most)
            && above.is_none_or(|above| *one > above)
            && below.is_none_or(|below| *one < below)
    };
    let whole = |one: f64| match one.fract() == 0.0 && one.abs() < 9e15 {
        true => json!(one as i64),
        false => json!(one),
    };
    all.filter(fits).map(whole).collect()
}

/// Whether a manifest can have it as it is: TOML has no null, and braces are an expression there.
fn can_be_written(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !["{{", "{%", "{#"].iter().any(|open| text.contains(open)),
        Value::Array(list) => list.iter().all(can_be_written),
        Value::Object(map) => map.values().all(can_be_written),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

/// What the schema itself says.
fn told(field: &Value) -> Vec<Value> {
    let mut all: Vec<Value> = field.get("const").cloned().into_iter().collect();
    all.extend(field["examples"].as_array().into_iter().flatten().cloned());
    all.extend(field.get("default").filter(|value| !value.is_null()).cloned());
    all.extend(field["enum"].as_array().into_iter().flatten().cloned());
    all.retain(can_be_written);
    all
}

fn of_kind(kind: &str, field: &Value, name: &str, names: &Names) -> Vec<Value> {
    match kind {
        "boolean" => vec![json!(true), json!(false)],
        "integer" => numbers(field).into_iter().filter(|one| one.is_i64()).collect(),
        "number" => numbers(field),
        "string" => names.texts(name),
        "array" => {
            let texts = names.texts(name).into_iter().map(|one| json!([one]));
            [json!([])].into_iter().chain(texts).collect()
        }
        "object" => [names.tags.clone(), vec![json!({ "stepback-test": "1" }), json!({})]].concat(),
        _ => vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_within_the_bounds_of_their_schema() {
        for (field, wanted) in [
            (json!({ "type": "integer" }), json!([1, 2, 30, 100])),
            (json!({ "type": "integer", "minimum": 0, "maximum": 0 }), json!([0])),
            (json!({ "type": "integer", "minimum": 5 }), json!([5, 6, 34, 104])),
            (json!({ "type": "integer", "exclusiveMinimum": 5, "maximum": 6 }), json!([6])),
            (
                json!({ "type": "number", "minimum": 0.25, "maximum": 0.75 }),
                json!([0.25, 0.75, 0.5]),
            ),
            (
                json!({ "type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1 }),
                json!([0.5]),
            ),
        ] {
            let no_names = Names { kinds: vec![], tags: vec![] };
            let found = values(&field, "n", &Value::Null, &no_names, 0);
            assert_eq!(json!(found), wanted, "{field}");
        }
    }

    #[test]
    fn what_no_manifest_can_have_is_no_example() {
        let field = json!({ "examples": [null, "{{ x }}", ["{% if %}"], { "a": null }, "plain"] });
        assert_eq!(told(&field), [json!("plain")]);
    }
}
