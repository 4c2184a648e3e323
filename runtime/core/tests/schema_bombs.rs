//! Schemas of somebody else's plugin that ask for more than a check should take.
//!
//! Each of them kept a program busy until it was killed, or filled its memory.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use stepback_core::manifest;
use stepback_core::plan::{Offers, Plan};
use stepback_core::step::StepInfo;

/// What is said of a `with` under such a schema; nothing, where it fits.
fn said_of(input_schema: &Value, with: &str) -> Vec<String> {
    let info = StepInfo {
        name: "s".to_owned(),
        doc: String::new(),
        input_schema: input_schema.clone(),
        output_schema: json!({}),
        reversible: true,
    };
    let offers: Offers = BTreeMap::from([("p".to_owned(), vec![info].into())]);
    let text = format!(
        "schema = 1\n[operation]\nname = \"x\"\ntitle = \"t\"\nlocks = []\n[[steps]]\nid = \"a\"\n\
         uses = \"p/s\"\nwith = {with}\n"
    );
    match manifest::parse("x.toml", &text).and_then(|manifest| Plan::new(manifest, &offers)) {
        Ok(_) => vec![],
        Err(mistakes) => mistakes.list.into_iter().map(|one| one.message).collect(),
    }
}

fn only(input_schema: &Value, with: &str) -> String {
    let mut all = said_of(input_schema, with);
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}

fn field(schema: &Value) -> Value {
    json!({ "properties": { "a": schema } })
}

#[test]
fn a_pattern_that_looks_around_or_goes_back_is_refused() {
    for pattern in ["^(?:(?:(?=x)|y){1000}){1000}x$", "(?!a)b", "(?<=a)b", r"(a)\1", "(?>a)"] {
        let told = only(&field(&json!({ "pattern": pattern })), "{ a = 'x' }");
        assert!(told.contains("schema of `p/s` is broken"), "{told}");
        assert!(told.contains("is not a \"regex\""), "{told}");
    }
    let plain = field(&json!({ "pattern": "^[a-z]{1,9}$" }));
    assert_eq!(said_of(&plain, "{ a = 'x' }"), Vec::<String>::new());
    assert_eq!(said_of(&plain, "{ a = 'X' }").len(), 1);
}

#[test]
fn many_patterns_are_refused() {
    let patterns = |count: usize| {
        let all = (0..count).map(|at| (format!("(a|b)*a(a|b){{900}}c{at}"), json!(true)));
        field(&json!({ "patternProperties": all.collect::<Map<_, _>>() }))
    };
    let told = only(&patterns(65), "{ a = { x = 1 } }");
    assert!(told.contains("has 65 patterns"), "{told}");
}

#[test]
fn of_many_mistakes_the_first_are_told_and_each_in_short() {
    let all = vec![json!({ "type": "integer" }); 40_000];
    let long = format!("{{ a = '{}' }}", "x".repeat(100_000));
    let told = said_of(&field(&json!({ "allOf": all })), &long);
    assert_eq!(told.len(), 20);
    assert!(told.iter().all(|one| one.chars().count() < 700), "{}", told[0]);
}

#[test]
fn what_stands_within_a_part_with_an_id_is_not_taken_for_something_else() {
    let mut defs = Map::new();
    let mut plain = Map::new();
    for at in 0..40 {
        let next = json!({ "$ref": format!("#/$defs/d{}", at + 1) });
        defs.insert(format!("d{at}"), json!({ "allOf": [next.clone(), next] }));
        plain.insert(format!("d{at}"), json!(true));
    }
    plain.insert("x".to_owned(), json!({ "$id": "http://e.example/y", "$defs": defs }));
    let schema = json!({ "properties": { "a": { "$ref": "#/$defs/x/$defs/d0" } }, "$defs": plain });
    let told = only(&schema, "{ a = 'x' }");
    assert!(told.contains("refers to `#/$defs/x/$defs/d0`, which is not in it"), "{told}");
    // And the same by names that look like pointers.
    for place in ["01", "+1"] {
        let place = format!("/properties/a/prefixItems/{place}");
        let schema = json!({
            "properties": { "a": {
                "prefixItems": [false, { "$ref": format!("#{place}") }],
                "$ref": format!("#{place}"),
            } },
            "default": [{ "$anchor": place }],
        });
        let told = only(&schema, "{ a = [1, 'x'] }");
        assert!(told.contains("which is not in it"), "{told}");
    }
}

#[test]
fn what_siblings_have_not_seen_is_counted_again() {
    let mut schema = json!({ "properties": { "q": {} } });
    for at in 0..30 {
        let other = json!({ "properties": { format!("z{at}"): {} } });
        schema = json!({
            "anyOf": [schema, other],
            "unevaluatedProperties": { "type": "integer" },
        });
    }
    let told = only(&schema, "{ a = 'x' }");
    assert!(told.contains("and 50000 are the most"), "{told}");
}

#[test]
fn a_long_value_under_many_schemas_is_told() {
    let all = vec![json!({ "minLength": 1, "type": "string" }); 40_000];
    let schema = field(&json!({ "items": { "allOf": all } }));
    let list = vec!["'x'"; 2_400].join(",");
    let told = only(&schema, &format!("{{ a = [{list}] }}"));
    assert!(told.contains("with a value of 2402 parts, 3 deep"), "{told}");
    assert!(!told.contains("refers back"), "{told}");
}
